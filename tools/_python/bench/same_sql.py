"""The limit with cwstore's own statements: what of a ratio is SQL, and what is Python."""

from types import ModuleType

from cwstore.entities import (
    accounts,
    conversations,
    log_chunks,
    new_tasks,
    ready_tasks,
    task,
    tasks,
)
from tools._python.bench import limit
from tools._python.bench.common import BEGIN, TASK_COLUMNS, make_id, now


def _text(module: ModuleType, name: str) -> str:
    text: str = vars(module)[name].text
    return text


CREATE = _text(new_tasks, "_CREATE_IN_PHASE")
FIND = _text(task, "FIND_TASK")
PHASE = _text(tasks, "_FIND_BY_PHASE")
ALL = _text(tasks, "_FIND_ALL")
SET = vars(tasks)["_UPDATE"].statement({"status": "pending"}, False).text
APPEND = _text(log_chunks, "_INSERT_CHUNK")
APPEND_MANY = _text(log_chunks, "_INSERT_ONE_OF_MANY")
POLL = _text(conversations, "_FIND_PENDING_FOR_AGENT")
CLAIM = _text(accounts, "_CLAIM_NEXT_AVAILABLE")
READY = vars(ready_tasks)["_READY_OF_INITIATIVE"].find.text
NAMES = TASK_COLUMNS.split(", ")[:-2]


class Adapter(limit.Adapter):
    """Named binds, and whatever the statements return. The limit's: `plan`, and claims of tasks."""

    def _one(self, text: str, binds: dict[str, object]) -> object:
        run = self.run
        run(BEGIN)
        rows = run(text, binds).fetchall()
        run("COMMIT")
        return rows[0]

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        return self._one(
            CREATE,
            {
                "id": make_id(),
                "phase_id": phase_id,
                "initiative_id": initiative_id,
                "parent_task_id": None,
                "name": name,
                "description": text,
                "type": "auto",
                "category": "execute",
                "priority": "medium",
                "status": "pending",
                "requires_approval": None,
                "sort_order": 0,
                "summary": None,
                "now": now(),
            },
        )

    def find(self, id: str) -> object:
        rows = self.run(FIND, {"id": id}).fetchall()
        return rows[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return self.run(PHASE, {"phase_id": phase_id}).fetchall()

    def set_status(self, id: str, status: str) -> object:
        return self._one(SET, {"id": id, "status": status, "now": now()})

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        binds: dict[str, object] = {
            "id": make_id(),
            "agent_id": agent_id,
            "agent_name": name,
            "session_number": session,
            "content": content,
            "now": now(),
        }
        return self._one(APPEND, binds)

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        run = self.run
        run(BEGIN)
        for agent_id, name, session, content in chunks:
            binds: dict[str, object] = {
                "id": make_id(),
                "agent_id": agent_id,
                "agent_name": name,
                "session_number": session,
                "content": content,
                "now": now(),
            }
            run(APPEND_MANY, binds)
        run("COMMIT")
        return None

    def poll(self, agent_id: str) -> object:
        return self.run(POLL, {"agent_id": agent_id}).fetchall()

    def claim(self, provider: str) -> object:
        return self._one(CLAIM, {"provider": provider, "now": now()})

    def all_tasks(self) -> object:
        return self.run(ALL).fetchall()

    def ready(self, initiative_id: str) -> object:
        binds = {"initiative_id": initiative_id, "type": "auto", "limit": 2**63 - 1}
        return self.run(READY, binds).fetchall()
