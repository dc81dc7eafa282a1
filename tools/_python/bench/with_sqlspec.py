"""sqlspec on the standard library's sqlite3, with the hand-written mapper.

It returns rows as dicts; `schema_type` would make dataclasses of them, but of the raw values.
"""

from importlib import import_module
from typing import Any

from tools._python.bench import common
from tools._python.bench.by_hand import accounts_of, conversations_of, tasks_of
from tools._python.bench.common import make_id, now

sqlspec: Any = import_module("sqlspec")
sqlite: Any = import_module("sqlspec.adapters.sqlite")


def _values(rows: list[dict[str, object]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]


class Adapter:
    """One session, transactions by its own methods."""

    def open(self, file: str) -> None:
        connection = {"database": file, "isolation_level": None, "cached_statements": 2048}
        config = sqlspec.SQLSpec().add_config(sqlite.SqliteConfig(connection_config=connection))
        self.manager = config.provide_session()
        self.session = self.manager.__enter__()
        for pragma in common.PRAGMAS:
            self.session.connection.execute(pragma).fetchall()
        self.session.connection.execute("PRAGMA busy_timeout = 5000").fetchall()

    def close(self) -> None:
        connection = self.session.connection
        self.manager.__exit__(None, None, None)
        connection.close()

    def _one(self, text: str, binds: tuple[object, ...]) -> list[tuple[Any, ...]]:
        session = self.session
        session.begin("IMMEDIATE")
        row = session.select_one(text, binds)
        session.commit()
        return _values([row])

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        values = common.task_values(make_id(), name, phase_id, initiative_id, text)
        stamp = now()
        return tasks_of(self._one(common.CREATE_TASK, (*values, stamp, stamp)))[0]

    def find(self, id: str) -> object:
        row = self.session.select_one_or_none(common.FIND_TASK, (id,))
        return None if row is None else tasks_of(_values([row]))[0]

    def phase_tasks(self, phase_id: str) -> object:
        return tasks_of(_values(self.session.select(common.PHASE_TASKS, (phase_id,))))

    def set_status(self, id: str, status: str) -> object:
        return tasks_of(self._one(common.SET_STATUS, (status, now(), id)))[0]

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        self.session.begin("IMMEDIATE")
        binds = (make_id(), agent_id, name, session, content, now())
        self.session.execute(common.APPEND, binds)
        self.session.commit()
        return None

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        self.session.begin("IMMEDIATE")
        stamp = now()
        rows = [(make_id(), *chunk, stamp) for chunk in chunks]
        self.session.execute_many(common.APPEND, rows)
        self.session.commit()
        return None

    def poll(self, agent_id: str) -> object:
        return conversations_of(_values(self.session.select(common.POLL, (agent_id,))))

    def claim(self, provider: str) -> object:
        text = common.CLAIM_ACCOUNT.replace("?1", ":now").replace("?2", ":provider")
        session = self.session
        session.begin("IMMEDIATE")
        row = session.select_one(text, {"now": now(), "provider": provider})
        session.commit()
        return accounts_of(_values([row]))[0]

    def all_tasks(self) -> object:
        return tasks_of(_values(self.session.select(common.ALL_TASKS)))

    def ready(self, initiative_id: str) -> object:
        return tasks_of(_values(self.session.select(common.READY_TASKS, (initiative_id,))))

    def plan(self, phases: int, tasks: int, edges: list[tuple[int, int]]) -> object:
        session = self.session
        run = session.execute
        session.begin("IMMEDIATE")
        initiative = make_id()
        stamp = now()
        run(common.INSERT_INITIATIVE, (initiative, "plan", "active", 1, None, stamp, stamp))
        made: list[str] = []
        for number in range(phases):
            phase = make_id()
            stamp = now()
            binds = (phase, initiative, f"p{number}", None, "pending", stamp, stamp)
            run(common.INSERT_PHASE, binds)
            for task_number in range(tasks):
                made.append(make_id())
                values = common.task_values(made[-1], f"t{task_number}", phase, initiative, "")
                stamp = now()
                run(common.INSERT_TASK, (*values, stamp, stamp))
        for start, end in edges:
            run(common.INSERT_EDGE, (made[start], made[end]))
        session.commit()
        return initiative
