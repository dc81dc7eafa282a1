"""cwstore as a service would call it, synchronous."""

from cwstore import Store
from tools._python.bench.common import PAGE, SUMMARY

TYPE_CHECKING = False  # without the import of typing, which W10 would count
if TYPE_CHECKING:
    from typing import Any


class Adapter:
    """Its methods are the repositories' own wherever the arguments agree."""

    def open(self, file: str) -> None:
        self.store = store = Store.open(file)
        self.find = store.tasks.find_by_id
        self.held: dict[str, str] = {}

    def bind(self) -> None:
        """What a process of one query does not need: the other repositories."""
        store = self.store
        self._create = store.tasks.create
        self._update = store.tasks.update
        self._insert_chunk = store.log_chunks.insert_chunk
        self.phase_tasks = store.tasks.find_by_phase_id
        self.all_tasks = store.tasks.find_all
        self.append_many = store.log_chunks.insert_chunks
        self.poll = store.conversations.find_pending_for_agent
        self.claim = store.accounts.claim_next_available

    def close(self) -> None:
        self.store.close()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        return self._create(
            name=name, phase_id=phase_id, initiative_id=initiative_id, description=text
        )

    def set_status(self, id: str, status: "Any") -> object:
        return self._update(id, status=status)

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self._insert_chunk(
            agent_id, agent_name=name, session_number=session, content=content
        )

    def next_tasks(self, after: str) -> object:
        return self.store.tasks.find_all(after=after, limit=PAGE)

    def ready(self, initiative_id: str) -> object:
        return self.store.tasks.find_ready(initiative_id=initiative_id)

    def claim_task(self, initiative_id: str, agent_id: str) -> object:
        task = self.store.tasks.claim_next_ready(initiative_id=initiative_id, agent_id=agent_id)
        if task is not None:
            self.held[agent_id] = task.id
        return task

    def complete_task(self, agent_id: str) -> object:
        task_id = self.held.pop(agent_id, None)
        if task_id is None:
            return None
        return self.store.tasks.complete(task_id, agent_id=agent_id, summary=SUMMARY)

    def plan(self, phases: int, tasks: int, edges: list[tuple[int, int]]) -> object:
        return make_plan(phases, tasks, edges, self.store)


def make_plan(phases: int, tasks: int, edges: list[tuple[int, int]], store: Store) -> str:
    """W11, in one transaction."""
    with store.transaction():
        initiative = store.initiatives.create(name="plan")
        made: list[str] = []
        for number in range(phases):
            phase = store.phases.create(initiative_id=initiative.id, name=f"p{number}")
            for task_number in range(tasks):
                task = store.tasks.create(
                    name=f"t{task_number}", phase_id=phase.id, initiative_id=initiative.id
                )
                made.append(task.id)
        for start, end in edges:
            store.tasks.create_dependency(made[start], made[end])
    return initiative.id
