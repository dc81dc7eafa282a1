"""SQLAlchemy Core: expressions, one connection of the pool a call, rows with converted values."""

from typing import Any

from tools._python.bench import alchemy
from tools._python.bench.alchemy import (
    accounts,
    chunks,
    conversations,
    edges,
    initiatives,
    phases,
    sa,
    tasks,
    utc_now,
)
from tools._python.bench.common import chunk_row, make_id, task_row

bind: Any = sa.bindparam
CREATE = sa.insert(tasks).returning(tasks)
FIND = sa.select(tasks).where(tasks.c.id == bind("id"))
PHASE = (
    sa.select(tasks)
    .where(tasks.c.phase_id == bind("id"))
    .order_by(tasks.c.sort_order, tasks.c.created_at, tasks.c.id)
)
ALL = sa.select(tasks).order_by(tasks.c.created_at, tasks.c.id)
SET_STATUS = (
    sa.update(tasks)
    .where(tasks.c.id == bind("key"))
    .values(status=bind("new_status"), updated_at=bind("now"))
    .returning(tasks)
)
READY = (
    sa.select(tasks)
    .where(tasks.c.initiative_id == bind("id"), alchemy.READY)
    .order_by(alchemy.URGENCY, tasks.c.sort_order, tasks.c.created_at, tasks.c.id)
)
POLL = (
    sa.select(conversations)
    .where(conversations.c.to_agent_id == bind("id"), conversations.c.status == "pending")
    .order_by(conversations.c.created_at, conversations.c.id)
)
NEXT = (
    sa.select(accounts.c.id)
    .where(
        accounts.c.provider == bind("whose"),
        sa.or_(~accounts.c.is_exhausted, accounts.c.exhausted_until <= bind("now")),
    )
    .order_by(
        accounts.c.last_used_at.nulls_first(),
        accounts.c.sort_order,
        accounts.c.created_at,
        accounts.c.id,
    )
    .limit(1)
    .scalar_subquery()
)
CLAIM = (
    sa.update(accounts)
    .where(accounts.c.id == NEXT)
    .values(last_used_at=bind("now"), updated_at=bind("now"))
    .returning(accounts)
)


class Adapter:
    """Every call takes a connection of the pool."""

    def open(self, file: str) -> None:
        self.reading, self.writing = alchemy.open_engine(file)

    def close(self) -> None:
        self.reading.dispose()

    def _read(self, statement: Any, **binds: object) -> list[Any]:
        with self.reading.connect() as connection:
            rows: list[Any] = connection.execute(statement, binds).all()
        return rows

    def _write(self, statement: Any, **binds: object) -> Any:
        with self.writing.begin() as connection:
            return connection.execute(statement, binds).one()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        return self._write(CREATE, **task_values(name, phase_id, initiative_id, text))

    def find(self, id: str) -> object:
        rows = self._read(FIND, id=id)
        return rows[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return self._read(PHASE, id=phase_id)

    def set_status(self, id: str, status: str) -> object:
        return self._write(SET_STATUS, key=id, new_status=status, now=utc_now())

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self.append_many([(agent_id, name, session, content)])

    def append_many(self, new: list[tuple[str, str, int, str]]) -> object:
        with self.writing.begin() as connection:
            connection.execute(sa.insert(chunks), [chunk_values(*chunk) for chunk in new])
        return None

    def poll(self, agent_id: str) -> object:
        return self._read(POLL, id=agent_id)

    def claim(self, provider: str) -> object:
        return self._write(CLAIM, whose=provider, now=utc_now())

    def all_tasks(self) -> object:
        return self._read(ALL)

    def ready(self, initiative_id: str) -> object:
        return self._read(READY, id=initiative_id)

    def plan(self, phase_count: int, task_count: int, wanted: list[tuple[int, int]]) -> object:
        with self.writing.begin() as connection:
            initiative = initiative_values()
            connection.execute(sa.insert(initiatives), initiative)
            made: list[str] = []
            for number in range(phase_count):
                phase = phase_values(initiative["id"], number)
                connection.execute(sa.insert(phases), phase)
                new = [
                    task_values(f"t{index}", phase["id"], initiative["id"], "")
                    for index in range(task_count)
                ]
                connection.execute(sa.insert(tasks), new)
                made += [task["id"] for task in new]
            pairs = [
                {"task_id": made[start], "depends_on_task_id": made[end]} for start, end in wanted
            ]
            connection.execute(sa.insert(edges), pairs)
        return initiative["id"]


def task_values(name: str, phase_id: str, initiative_id: str, text: str) -> dict[str, Any]:
    """A new row of `tasks`."""
    stamp = utc_now()
    row = task_row(name, phase_id, initiative_id, text)
    return {**row, "created_at": stamp, "updated_at": stamp}


def chunk_values(agent_id: str, name: str, session: int, content: str) -> dict[str, Any]:
    """A new row of `agent_log_chunks`."""
    return {**chunk_row(agent_id, name, session, content), "created_at": utc_now()}


def initiative_values() -> dict[str, Any]:
    """A new row of `initiatives`."""
    stamp = utc_now()
    return {
        "id": make_id(),
        "name": "plan",
        "status": "active",
        "merge_requires_approval": True,
        "branch": None,
        "created_at": stamp,
        "updated_at": stamp,
    }


def phase_values(initiative_id: str, number: int) -> dict[str, Any]:
    """A new row of `phases`."""
    stamp = utc_now()
    return {
        "id": make_id(),
        "initiative_id": initiative_id,
        "name": f"p{number}",
        "content": None,
        "status": "pending",
        "created_at": stamp,
        "updated_at": stamp,
    }
