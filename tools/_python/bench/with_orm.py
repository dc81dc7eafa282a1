"""SQLAlchemy ORM: statements built once, a session a call, nothing read again after the commit."""

from importlib import import_module
from typing import Any

from tools._python.bench import alchemy
from tools._python.bench.alchemy import sa, utc_now
from tools._python.bench.by_hand import Status
from tools._python.bench.with_core import (
    NEXT,
    bind,
    chunk_values,
    initiative_values,
    phase_values,
    task_values,
)

orm: Any = import_module("sqlalchemy.orm")


class Entity:
    """A row; its attributes are mapped below."""

    def __init__(self, **values: object) -> None:
        for name, value in values.items():
            setattr(self, name, value)


def _mapped(table: Any) -> Any:
    made = type(table.name, (Entity,), {})
    REGISTRY.map_imperatively(made, table)
    return made


REGISTRY = orm.registry(metadata=alchemy.METADATA)
Task = _mapped(alchemy.tasks)
Account = _mapped(alchemy.accounts)
Conversation = _mapped(alchemy.conversations)
Initiative = _mapped(alchemy.initiatives)
Phase = _mapped(alchemy.phases)
Chunk = _mapped(alchemy.chunks)
Edge = _mapped(alchemy.edges)

PHASE = (
    sa.select(Task)
    .where(Task.phase_id == bind("id"))
    .order_by(Task.sort_order, Task.created_at, Task.id)
)
ALL = sa.select(Task).order_by(Task.created_at, Task.id)
READY = (
    sa.select(Task)
    .where(Task.initiative_id == bind("id"), alchemy.READY)
    .order_by(alchemy.URGENCY, Task.sort_order, Task.created_at, Task.id)
)
POLL = (
    sa.select(Conversation)
    .where(Conversation.to_agent_id == bind("id"), Conversation.status == "pending")
    .order_by(Conversation.created_at, Conversation.id)
)
CLAIM = (
    sa.update(Account)
    .where(Account.id == NEXT)
    .values(last_used_at=bind("now"), updated_at=bind("now"))
    .returning(Account)
    .execution_options(synchronize_session=False)
)


class Adapter:
    """Every call takes a session."""

    def open(self, file: str) -> None:
        self.engine, writing = alchemy.open_engine(file)
        self.reading = orm.sessionmaker(self.engine, expire_on_commit=False)
        self.writing = orm.sessionmaker(writing, expire_on_commit=False)

    def close(self) -> None:
        self.engine.dispose()

    def _list(self, statement: Any, **binds: object) -> list[Any]:
        with self.reading() as session:
            rows: list[Any] = session.scalars(statement, binds).all()
        return rows

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        with self.writing.begin() as session:
            task = Task(**task_values(name, phase_id, initiative_id, text))
            session.add(task)
        return task

    def find(self, id: str) -> object:
        with self.reading() as session:
            return session.get(Task, id)

    def phase_tasks(self, phase_id: str) -> object:
        return self._list(PHASE, id=phase_id)

    def set_status(self, id: str, status: str) -> object:
        with self.writing.begin() as session:
            task = session.get(Task, id)
            task.status = Status(status)
            task.updated_at = utc_now()
        return task

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        return self.append_many([(agent_id, name, session, content)])

    def append_many(self, new: list[tuple[str, str, int, str]]) -> object:
        with self.writing.begin() as session:
            session.add_all([Chunk(**chunk_values(*chunk)) for chunk in new])
        return None

    def poll(self, agent_id: str) -> object:
        return self._list(POLL, id=agent_id)

    def claim(self, provider: str) -> object:
        with self.writing.begin() as session:
            return session.scalars(CLAIM, {"whose": provider, "now": utc_now()}).one()

    def all_tasks(self) -> object:
        return self._list(ALL)

    def ready(self, initiative_id: str) -> object:
        return self._list(READY, id=initiative_id)

    def plan(self, phase_count: int, task_count: int, wanted: list[tuple[int, int]]) -> object:
        with self.writing.begin() as session:
            initiative = Initiative(**initiative_values())
            session.add(initiative)
            session.flush()
            made: list[Any] = []
            for number in range(phase_count):
                phase = Phase(**phase_values(initiative.id, number))
                session.add(phase)
                session.flush()
                for index in range(task_count):
                    values = task_values(f"t{index}", phase.id, initiative.id, "")
                    made.append(Task(**values))
                    session.add(made[-1])
            session.flush()
            for start, end in wanted:
                session.add(Edge(task_id=made[start].id, depends_on_task_id=made[end].id))
        return initiative.id
