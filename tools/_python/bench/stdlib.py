"""The standard library's sqlite3 with the hand-written mapper.

Its SQLite may be as old as Python: no QPSG before Python 3.12, no DEFENSIVE.
"""

import sqlite3

from tools._python.bench.by_hand import accounts_of, conversations_of, tasks_of
from tools._python.bench.common import (
    ALL_TASKS,
    APPEND,
    BEGIN,
    CLAIM_ACCOUNT,
    CLAIM_TASK,
    COMPLETE_TASK,
    CREATE_TASK,
    FIND_TASK,
    GIVE_TASK,
    INSERT_EDGE,
    INSERT_INITIATIVE,
    INSERT_PHASE,
    INSERT_TASK,
    NEXT_TASKS,
    PHASE_TASKS,
    POLL,
    PRAGMAS,
    READY_TASKS,
    SET_STATUS,
    SUMMARY,
    make_id,
    now,
)


def connect(file: str) -> sqlite3.Connection:
    """A connection with cwstore's settings, as far as this module can."""
    connection = sqlite3.connect(
        file, timeout=5.0, isolation_level=None, cached_statements=2048, check_same_thread=False
    )
    for pragma in PRAGMAS:
        connection.execute(pragma).fetchall()
    return connection


class Adapter:
    """One connection, one cursor, positional binds, slotted dataclasses."""

    def open(self, file: str) -> None:
        self.connection = connect(file)
        self.cursor = self.connection.cursor()
        self.run = self.cursor.execute
        self.held: dict[str, str] = {}

    def close(self) -> None:
        self.connection.close()

    def create(self, name: str, phase_id: str, initiative_id: str, text: str) -> object:
        run = self.run
        run(BEGIN)
        stamp = now()
        binds = (
            *(make_id(), phase_id, initiative_id, None, name, text, "auto", "execute", "medium"),
            *("pending", None, 0, None, stamp, stamp),
        )
        rows = run(CREATE_TASK, binds).fetchall()
        run("COMMIT")
        return tasks_of(rows)[0]

    def find(self, id: str) -> object:
        rows = self.run(FIND_TASK, (id,)).fetchall()
        return tasks_of(rows)[0] if rows else None

    def phase_tasks(self, phase_id: str) -> object:
        return tasks_of(self.run(PHASE_TASKS, (phase_id,)).fetchall())

    def set_status(self, id: str, status: str) -> object:
        run = self.run
        run(BEGIN)
        rows = run(SET_STATUS, (status, now(), id)).fetchall()
        run("COMMIT")
        return tasks_of(rows)[0]

    def append(self, agent_id: str, name: str, session: int, content: str) -> object:
        run = self.run
        run(BEGIN)
        run(APPEND, (make_id(), agent_id, name, session, content, now()))
        run("COMMIT")
        return None

    def append_many(self, chunks: list[tuple[str, str, int, str]]) -> object:
        self.run(BEGIN)
        stamp = now()
        self.cursor.executemany(APPEND, [(make_id(), *chunk, stamp) for chunk in chunks])
        self.run("COMMIT")
        return None

    def poll(self, agent_id: str) -> object:
        return conversations_of(self.run(POLL, (agent_id,)).fetchall())

    def claim(self, provider: str) -> object:
        run = self.run
        run(BEGIN)
        rows = run(CLAIM_ACCOUNT, (now(), provider)).fetchall()
        run("COMMIT")
        return accounts_of(rows)[0]

    def claim_task(self, initiative_id: str, agent_id: str) -> object:
        run = self.run
        run(BEGIN)
        stamp = now()
        rows = run(CLAIM_TASK, (stamp, initiative_id)).fetchall()
        if rows:
            run(GIVE_TASK, (rows[0][0], stamp, agent_id))
        run("COMMIT")
        if not rows:
            return None
        self.held[agent_id] = rows[0][0]
        return tasks_of(rows)[0]

    def complete_task(self, agent_id: str) -> object:
        task = self.held.pop(agent_id, None)
        if task is None:
            return None
        run = self.run
        run(BEGIN)
        rows = run(COMPLETE_TASK, (SUMMARY, now(), task, agent_id)).fetchall()
        run("COMMIT")
        return tasks_of(rows)[0]

    def all_tasks(self) -> object:
        return tasks_of(self.run(ALL_TASKS).fetchall())

    def next_tasks(self, after: str) -> object:
        return tasks_of(self.run(NEXT_TASKS, (after,)).fetchall())

    def ready(self, initiative_id: str) -> object:
        return tasks_of(self.run(READY_TASKS, (initiative_id,)).fetchall())

    def plan(self, phases: int, tasks: int, edges: list[tuple[int, int]]) -> object:
        run = self.run
        run(BEGIN)
        initiative = make_id()
        stamp = now()
        run(INSERT_INITIATIVE, (initiative, "plan", "active", 1, None, stamp, stamp))
        made: list[str] = []
        for number in range(phases):
            phase = make_id()
            stamp = now()
            run(INSERT_PHASE, (phase, initiative, f"p{number}", None, "pending", stamp, stamp))
            for task_number in range(tasks):
                task = make_id()
                made.append(task)
                stamp = now()
                binds = (
                    *(task, phase, initiative, None, f"t{task_number}", None, "auto", "execute"),
                    *("medium", "pending", None, 0, None, stamp, stamp),
                )
                run(INSERT_TASK, binds)
        for start, end in edges:
            run(INSERT_EDGE, (made[start], made[end]))
        run("COMMIT")
        return initiative
