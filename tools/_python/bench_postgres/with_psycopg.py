"""Plain psycopg with cwstore's own statements: a round trip a call, rows as tuples, no checks."""

from typing import Any

import psycopg

from cwstore._postgres.statement_text import text_of
from cwstore.core.statement import Statement, bind_names
from tools._python.bench import own_statements as own
from tools._python.bench.common import now


class _Text:
    """A statement as a user would have written it for psycopg."""

    def __init__(self, statement: Statement[Any]) -> None:
        self.text = text_of(statement)
        self._names = bind_names(statement.text)

    def values(self, binds: dict[str, Any]) -> list[Any]:
        return [binds[name] for name in self._names]


CREATE = _Text(own.CREATE)
FIND = _Text(own.FIND)
PHASE = _Text(own.PHASE)
SET = _Text(own.SET)
APPEND = _Text(own.APPEND)
APPEND_MANY = _Text(own.APPEND_MANY)
POLL = _Text(own.POLL)
CLAIM = _Text(own.CLAIM)
READY = _Text(own.READY)


#: What a store switches off.
SETTINGS = (
    "enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_bitmapscan", "jit"
)  # fmt: skip


class Adapter:
    """One connection; each statement commits by itself."""

    def open(self, address: str) -> None:
        """As cwstore's: without these settings the planner sorts whole tables for some of them."""
        self._connection = psycopg.connect(
            address, autocommit=True, prepare_threshold=2, cursor_factory=psycopg.RawCursor
        )
        for name in SETTINGS:
            self._connection.execute(f"SET {name} = off".encode())

    def close(self) -> None:
        self._connection.close()

    def _run(self, text: _Text, **binds: Any) -> list[Any]:
        return self._connection.execute(text.text, text.values(binds)).fetchall()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        return self._run(CREATE, **own.new_task(name, phase_id, initiative_id, text))[0]

    def find(self, id: str) -> object:
        rows = self._run(FIND, id=id)
        return rows[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return self._run(PHASE, phase_id=phase_id)

    def set_status(self, id: str, status: str) -> object:
        return self._run(SET, id=id, status=status, now=now())[0]

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self._run(APPEND, **own.new_chunk(agent_id, name, session, content))[0]

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        rows = [APPEND_MANY.values(own.new_chunk(*chunk)) for chunk in chunks]
        with self._connection.transaction():
            self._connection.cursor().executemany(APPEND_MANY.text, rows)
        return None

    def poll(self, agent_id: str) -> object:
        return self._run(POLL, to_agent_id=agent_id, agent_id=agent_id)

    def claim(self, provider: str) -> object:
        return self._run(CLAIM, provider=provider, now=now(), clock=now())[0]

    def ready(self, initiative_id: str) -> object:
        return self._run(READY, initiative_id=initiative_id, type="auto", limit=2**63 - 1)
