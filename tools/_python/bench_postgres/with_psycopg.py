"""Plain psycopg with cwstore's own statements: a round trip a call, rows as tuples, no checks."""

from types import ModuleType
from typing import Any

import psycopg

from cwstore._postgres.statement_text import text_of
from cwstore.core.statement import Statement, bind_names
from cwstore.entities import (
    accounts,
    conversations,
    log_chunks,
    new_tasks,
    ready_tasks,
    task,
    tasks,
)
from tools._python.bench.common import make_id, now

_NEW_TASK = {
    "parent_task_id": None,
    "type": "auto",
    "category": "execute",
    "priority": "medium",
    "status": "pending",
    "requires_approval": None,
    "sort_order": 0,
    "summary": None,
}


class _Text:
    """A statement as a user would have written it for psycopg."""

    def __init__(self, statement: Statement[Any]) -> None:
        self.text = text_of(statement)
        self._names = bind_names(statement.text)

    def values(self, binds: dict[str, Any]) -> list[Any]:
        return [binds[name] for name in self._names]


def _of(module: ModuleType, name: str) -> _Text:
    return _Text(vars(module)[name])


CREATE = _of(new_tasks, "_CREATE_IN_PHASE")
FIND = _of(task, "FIND_TASK")
PHASE = _of(tasks, "_FIND_BY_PHASE")
SET = _Text(vars(tasks)["_UPDATE"].statement({"status": "pending"}, False))
APPEND = _of(log_chunks, "_INSERT_CHUNK")
APPEND_MANY = _of(log_chunks, "_INSERT_ONE_OF_MANY")
POLL = _of(conversations, "_FIND_PENDING_FOR_AGENT")
CLAIM = _of(accounts, "_CLAIM_NEXT_AVAILABLE")
READY = _Text(vars(ready_tasks)["_READY_OF_INITIATIVE"].find)


class Adapter:
    """One connection; each statement commits by itself."""

    def open(self, address: str) -> None:
        """As cwstore's: without these settings the planner sorts whole tables for some of them."""
        self._connection = psycopg.connect(
            address, autocommit=True, prepare_threshold=2, cursor_factory=psycopg.RawCursor
        )
        for name in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"):
            self._connection.execute(f"SET {name} = off".encode())

    def close(self) -> None:
        self._connection.close()

    def _run(self, text: _Text, **binds: Any) -> list[Any]:
        return self._connection.execute(text.text, text.values(binds)).fetchall()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        row = self._run(
            CREATE,
            id=make_id(),
            phase_id=phase_id,
            initiative_id=initiative_id,
            name=name,
            description=text,
            now=now(),
            **_NEW_TASK,
        )
        return row[0]

    def find(self, id: str) -> object:
        rows = self._run(FIND, id=id)
        return rows[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return self._run(PHASE, phase_id=phase_id)

    def set_status(self, id: str, status: str) -> object:
        return self._run(SET, id=id, status=status, now=now())[0]

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self._run(APPEND, **_chunk(agent_id, name, session, content))[0]

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        rows = [APPEND_MANY.values(_chunk(*chunk)) for chunk in chunks]
        with self._connection.transaction():
            self._connection.cursor().executemany(APPEND_MANY.text, rows)
        return None

    def poll(self, agent_id: str) -> object:
        return self._run(POLL, to_agent_id=agent_id, agent_id=agent_id)

    def claim(self, provider: str) -> object:
        return self._run(CLAIM, provider=provider, now=now(), clock=now())[0]

    def ready(self, initiative_id: str) -> object:
        return self._run(READY, initiative_id=initiative_id, type="auto", limit=2**63 - 1)


def _chunk(agent_id: str, name: str, session: int, content: str) -> dict[str, Any]:
    return {
        "id": make_id(),
        "agent_id": agent_id,
        "agent_name": name,
        "session_number": session,
        "content": content,
        "now": now(),
        "rising_id": make_id(),
    }
