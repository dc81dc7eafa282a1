"""cwstore under asyncio: the calls of a workload are awaited 50 at a time."""

from collections.abc import Coroutine
from functools import partial
from typing import Any

from cwstore import AsyncStore
from tools._python.bench.common import PAGE, SUMMARY
from tools._python.bench.with_cwstore import make_plan


class Adapter:
    """Its methods are coroutine functions; `child` gathers them."""

    async def open(self, file: str) -> None:
        self.store = store = await AsyncStore.open(file)
        self.find = store.tasks.find_by_id
        self.held: dict[str, str] = {}

    def bind(self) -> None:
        """What a process of one query does not need: the other repositories."""
        store = self.store
        self.phase_tasks = store.tasks.find_by_phase_id
        self.all_tasks = store.tasks.find_all
        self.append_many = store.log_chunks.insert_chunks
        self.poll = store.conversations.find_pending_for_agent
        self.claim = store.accounts.claim_next_available

    async def close(self) -> None:
        await self.store.close()

    def create(
        self, name: str, phase_id: str, initiative_id: str, text: str
    ) -> Coroutine[Any, Any, object]:
        return self.store.tasks.create(
            name=name, phase_id=phase_id, initiative_id=initiative_id, description=text
        )

    def set_status(self, id: str, status: Any) -> Coroutine[Any, Any, object]:
        return self.store.tasks.update(id, status=status)

    def append(
        self, agent_id: str, name: str, session: int, content: str
    ) -> Coroutine[Any, Any, object]:
        return self.store.log_chunks.insert_chunk(
            agent_id, agent_name=name, session_number=session, content=content
        )

    def next_tasks(self, after: str) -> Coroutine[Any, Any, object]:
        return self.store.tasks.find_all(after=after, limit=PAGE)

    def ready(self, initiative_id: str) -> Coroutine[Any, Any, object]:
        return self.store.tasks.find_ready(initiative_id=initiative_id)

    async def claim_task(self, initiative_id: str, agent_id: str) -> object:
        task = await self.store.tasks.claim_next_ready(
            initiative_id=initiative_id, agent_id=agent_id
        )
        if task is not None:
            self.held[agent_id] = task.id
        return task

    async def complete_task(self, agent_id: str) -> object:
        task_id = self.held.pop(agent_id, None)
        if task_id is None:
            return None
        return await self.store.tasks.complete(task_id, agent_id=agent_id, summary=SUMMARY)

    def plan(
        self, phases: int, tasks: int, edges: list[tuple[int, int]]
    ) -> Coroutine[Any, Any, object]:
        return self.store.transaction(partial(make_plan, phases, tasks, edges))
