"""aiosql with its apsw adapter, on the limit's connection, with the hand-written mapper."""

from importlib import import_module
from typing import Any

from tools._python.bench import common
from tools._python.bench.by_hand import accounts_of, conversations_of, tasks_of
from tools._python.bench.common import BEGIN, make_id, now
from tools._python.bench.limit import connect

aiosql: Any = import_module("aiosql")


def _named(text: str, *names: str) -> str:
    """The shared text with named binds, the only ones that aiosql knows."""
    if "?1" in text:
        for number, name in enumerate(names, 1):
            text = text.replace(f"?{number}", f":{name}")
        return text
    for name in names:
        text = text.replace("?", f":{name}", 1)
    return text


_TASK = (
    *("id", "phase_id", "initiative_id", "parent_task_id", "name", "description", "type"),
    *("category", "priority", "status", "requires_approval", "sort_order", "summary"),
    *("created", "updated"),
)
_CHUNK = ("id", "agent_id", "agent_name", "session_number", "content", "created")

QUERIES = f"""
-- name: create_task^
{_named(common.CREATE_TASK, *_TASK)};
-- name: insert_task!
{_named(common.INSERT_TASK, *_TASK)};
-- name: find_task^
{_named(common.FIND_TASK, "id")};
-- name: phase_tasks
{_named(common.PHASE_TASKS, "id")};
-- name: all_tasks
{common.ALL_TASKS};
-- name: set_status^
{_named(common.SET_STATUS, "status", "now", "id")};
-- name: ready_tasks
{_named(common.READY_TASKS, "id")};
-- name: append!
{_named(common.APPEND, *_CHUNK)};
-- name: append_many*!
{_named(common.APPEND, *_CHUNK)};
-- name: poll
{_named(common.POLL, "id")};
-- name: claim^
{_named(common.CLAIM_ACCOUNT, "now", "provider")};
-- name: insert_initiative!
{_named(common.INSERT_INITIATIVE, "id", "name", "status", "approval", "branch", "now", "now")};
-- name: insert_phase!
{_named(common.INSERT_PHASE, "id", "initiative", "name", "content", "status", "now", "now")};
-- name: insert_edge!
{_named(common.INSERT_EDGE, "start", "end")};
"""


class Adapter:
    """aiosql's functions; transactions are the connection's."""

    def open(self, file: str) -> None:
        self.connection = connect(file)
        self.queries: Any = aiosql.from_str(QUERIES, "apsw", mandatory_parameters=False)

    def close(self) -> None:
        self.connection.close()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        connection = self.connection
        connection.execute(BEGIN)
        values = common.task_values(make_id(), name, phase_id, initiative_id, text)
        stamp = now()
        binds = dict(zip(_TASK, [*values, stamp, stamp], strict=True))
        row = self.queries.create_task(connection, **binds)
        connection.execute("COMMIT")
        return tasks_of([row])[0]

    def find(self, id: str) -> object:
        row = self.queries.find_task(self.connection, id=id)
        return None if row is None else tasks_of([row])[0]

    def phase_tasks(self, phase_id: str) -> object:
        return tasks_of(list(self.queries.phase_tasks(self.connection, id=phase_id)))

    def set_status(self, id: str, status: str) -> object:
        connection = self.connection
        connection.execute(BEGIN)
        row = self.queries.set_status(connection, status=status, now=now(), id=id)
        connection.execute("COMMIT")
        return tasks_of([row])[0]

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        connection = self.connection
        connection.execute(BEGIN)
        self.queries.append(
            connection,
            id=make_id(),
            agent_id=agent_id,
            agent_name=name,
            session_number=session,
            content=content,
            created=now(),
        )
        connection.execute("COMMIT")
        return None

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        connection = self.connection
        connection.execute(BEGIN)
        stamp = now()
        rows = [dict(zip(_CHUNK, (make_id(), *chunk, stamp), strict=True)) for chunk in chunks]
        self.queries.append_many(connection, rows)
        connection.execute("COMMIT")
        return None

    def poll(self, agent_id: str) -> object:
        return conversations_of(list(self.queries.poll(self.connection, id=agent_id)))

    def claim(self, provider: str) -> object:
        connection = self.connection
        connection.execute(BEGIN)
        row = self.queries.claim(connection, now=now(), provider=provider)
        connection.execute("COMMIT")
        return accounts_of([row])[0]

    def all_tasks(self) -> object:
        return tasks_of(list(self.queries.all_tasks(self.connection)))

    def ready(self, initiative_id: str) -> object:
        return tasks_of(list(self.queries.ready_tasks(self.connection, id=initiative_id)))

    def plan(self, phases: int, tasks: int, edges: list[tuple[int, int]]) -> object:
        connection, queries = self.connection, self.queries
        connection.execute(BEGIN)
        initiative = make_id()
        fixed = {"status": "active", "approval": 1, "branch": None}
        queries.insert_initiative(connection, id=initiative, name="plan", now=now(), **fixed)
        made: list[str] = []
        for number in range(phases):
            phase = make_id()
            binds = {"name": f"p{number}", "content": None, "status": "pending", "now": now()}
            queries.insert_phase(connection, id=phase, initiative=initiative, **binds)
            for task_number in range(tasks):
                made.append(make_id())
                values = common.task_values(made[-1], f"t{task_number}", phase, initiative, "")
                stamp = now()
                queries.insert_task(
                    connection, **dict(zip(_TASK, [*values, stamp, stamp], strict=True))
                )
        for start, end in edges:
            queries.insert_edge(connection, start=made[start], end=made[end])
        connection.execute("COMMIT")
        return initiative
