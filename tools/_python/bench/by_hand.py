"""What a careful user writes by hand on apsw: the limit's calls, with slotted dataclasses."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from tools._python.bench import limit
from tools._python.bench.common import (
    ALL_TASKS,
    BEGIN,
    CLAIM_ACCOUNT,
    CLAIM_TASK,
    COMPLETE_TASK,
    CREATE_TASK,
    FIND_TASK,
    GIVE_TASK,
    NEXT_TASKS,
    PHASE_TASKS,
    POLL,
    READY_TASKS,
    SET_STATUS,
    SUMMARY,
    make_id,
    now,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

TYPE_CHECKING = False  # without the import of typing, which W10 would count
if TYPE_CHECKING:
    from typing import Any

    Row = tuple[Any, ...]

Type = StrEnum(
    "Type",
    {
        "AUTO": "auto",
        "VERIFY": "checkpoint:human-verify",
        "DECISION": "checkpoint:decision",
        "ACTION": "checkpoint:human-action",
    },
)
Category = StrEnum(
    "Category",
    ["execute", "research", "discuss", "plan", "detail", "refine", "verify", "merge", "review"],
)
Priority = StrEnum("Priority", ["low", "medium", "high"])
Status = StrEnum("Status", ["pending_approval", "pending", "in_progress", "completed", "blocked"])
Answered = StrEnum("Answered", ["pending", "answered"])
TYPES, CATEGORIES, PRIORITIES, STATUSES, ANSWERED = (
    {str(member): member for member in enum}
    for enum in (Type, Category, Priority, Status, Answered)
)


@dataclass(slots=True)
class Task:
    """One row of `tasks`."""

    id: str
    phase_id: str | None
    initiative_id: str | None
    parent_task_id: str | None
    name: str
    description: str | None
    type: StrEnum
    category: StrEnum
    priority: StrEnum
    status: StrEnum
    requires_approval: bool | None
    sort_order: int
    summary: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Account:
    """One row of `accounts`."""

    id: str
    email: str
    provider: str
    config_json: str | None
    credentials: str | None
    is_exhausted: bool
    exhausted_until: datetime | None
    last_used_at: datetime | None
    sort_order: int
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Conversation:
    """One row of `conversations`."""

    id: str
    from_agent_id: str
    to_agent_id: str
    initiative_id: str | None
    phase_id: str | None
    task_id: str | None
    question: str
    answer: str | None
    status: StrEnum
    created_at: datetime
    updated_at: datetime


# fmt: off
def tasks_of(rows: "list[Row]") -> list[Task]:
    """The mapper of `tasks`, written out."""
    return [
        Task(
            key, phase, initiative, parent, name, text, TYPES[kind], CATEGORIES[category],
            PRIORITIES[priority], STATUSES[status], None if approval is None else approval != 0,
            order, summary, EPOCH + MICROSECOND * created, EPOCH + MICROSECOND * updated,
        )
        for key, phase, initiative, parent, name, text, kind, category, priority, status, approval,
            order, summary, created, updated in rows
    ]


def accounts_of(rows: "list[Row]") -> list[Account]:
    """The mapper of `accounts`."""
    return [
        Account(
            key, email, provider, config, credentials, exhausted != 0,
            None if until is None else EPOCH + MICROSECOND * until,
            None if last is None else EPOCH + MICROSECOND * last,
            order, EPOCH + MICROSECOND * created, EPOCH + MICROSECOND * updated,
        )
        for key, email, provider, config, credentials, exhausted, until, last, order, created,
            updated in rows
    ]


def conversations_of(rows: "list[Row]") -> list[Conversation]:
    """The mapper of `conversations`."""
    return [
        Conversation(
            key, asker, asked, initiative, phase, task, question, answer, ANSWERED[status],
            EPOCH + MICROSECOND * created, EPOCH + MICROSECOND * updated,
        )
        for key, asker, asked, initiative, phase, task, question, answer, status, created,
            updated in rows
    ]
# fmt: on


class Adapter(limit.Adapter):
    """The limit's, where nothing is returned."""

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
