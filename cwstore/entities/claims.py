"""Claims: who holds a task. Each claim opens an attempt, and the holder alone ends it.

The holder is the agent of the open attempt; of attempts that name none, it is whoever names none.
The store knows agents and not processes: two processes that act as one agent are one holder. If the
first may still live when the second is started, give each an agent of its own.

`tasks` opens and ends attempts; `agents` ends those of agents that are gone. Triggers of the
database end the attempt of a task that leaves `in_progress`, whatever statement changes it.
"""

from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, LiteralString

from cwstore.core import publish
from cwstore.core.checks import (
    NonEmpty,
    check_flags,
    check_id,
    check_text,
)
from cwstore.core.entity import dataclass
from cwstore.core.faults import loading, no_row
from cwstore.core.repository import fetch_page, row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, lists_of, rows_of, values_of
from cwstore.entities.task import (
    FIND_TASK,
    TASK_COLUMNS,
    Task,
    TaskStatus,
    task_rows,
)
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    InvalidValueError,
    MissingReferenceError,
)

if TYPE_CHECKING:
    from cwstore.core.port import Database
    from cwstore.core.statement import Statement

__all__ = ["AttemptOutcome", "TaskAttempt"]


class AttemptOutcome(StrEnum):
    """How an attempt ended; None while it is open."""

    COMPLETED = "completed"
    RELEASED = "released"
    FAILED = "failed"
    #: Its agent crashed or was deleted, or its lease passed.
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class TaskAttempt:
    """One row of `task_attempts`, as it was when read."""

    id: NonEmpty
    task_id: NonEmpty
    #: None: claimed by nobody named, or the agent is gone.
    agent_id: NonEmpty | None
    #: The agent's name when it claimed; None: claimed by nobody named.
    agent_name: str | None
    #: 1, 2, … within the task.
    number: int
    #: Once the clock shows this time anybody may take the task back; None: no lease.
    lease_until: datetime | None
    #: None: the attempt is open.
    outcome: AttemptOutcome | None
    #: Why it was released, failed or lost.
    detail: str | None
    #: Set exactly when there is an outcome.
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime


_COLUMNS: LiteralString = """id, task_id, agent_id, agent_name, number, lease_until, outcome,
    detail, ended_at, created_at, updated_at"""
_attempt = rows_of(TaskAttempt)
_id = values_of(str, TaskAttempt)
_flag = values_of(int, TaskAttempt)
_task_id = values_of(str, Task)

_MICROSECOND = timedelta(microseconds=1)
_LONGEST_LEASE = timedelta(days=36_500)


def lease_micros(lease: object) -> int | None:
    """The bind `:lease`: microseconds, None for no lease."""
    if lease is None:
        return None
    if not isinstance(lease, timedelta):
        raise InvalidValueError("lease", f"expected timedelta or None, got {type(lease).__name__}")
    if not timedelta(0) < lease <= _LONGEST_LEASE:
        raise InvalidValueError("lease", "must be longer than 0 and at most 36,500 days")
    return lease // _MICROSECOND


# Not after 9999-12-31T23:59:59.999999Z, the last moment that a datetime can say.
_LEASE_END: LiteralString = """CASE
            WHEN :clock + :lease < 253402300799999999 THEN :clock + :lease
            WHEN :lease IS NOT NULL THEN 253402300799999999
        END"""

_OPEN_ATTEMPT = _attempt(
    f"""
    INSERT INTO task_attempts ({_COLUMNS})
    SELECT
        :rising_id, id, :agent_id,
        (SELECT name FROM agents WHERE id = :agent_id),
        (SELECT coalesce(max(number), 0) + 1 FROM task_attempts WHERE task_id = :task_id),
        {_LEASE_END}, NULL, NULL, NULL, :now, :now
    FROM tasks
    WHERE id = :task_id
    """,
    lease=int | None,
)

_FIND_ATTEMPT = _attempt(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE id = :id
""")
_list = lists_of(TaskAttempt, _FIND_ATTEMPT)

# The number is unique within the task: `id` adds nothing to the order, nor to what it costs.
_FIND_ATTEMPTS = _list(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE task_id = :task_id
    ORDER BY number, id
""")

_FIND_OPEN_ATTEMPTS = _list(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE outcome IS NULL
    ORDER BY created_at, id
""")

_FIND_OPEN_ATTEMPTS_OF_AGENT = _list(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE agent_id = :agent_id
      AND outcome IS NULL
    ORDER BY created_at, id
""")

#: The attempt of an agent that has a task in hand.
HELD_BY_AGENT: LiteralString = """FROM task_attempts
    WHERE agent_id = :agent_id
      AND outcome IS NULL"""
_FIND_OPEN_ATTEMPT_OF_AGENT = _attempt(f"SELECT {_COLUMNS} {HELD_BY_AGENT}")

_FIND_OPEN_ATTEMPT_OF_TASK = _attempt(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE task_id = :task_id
      AND outcome IS NULL
""")

#: Returns the attempt of a holder; nothing to anybody else.
_END_ATTEMPT = _attempt(
    f"""
    UPDATE task_attempts
    SET outcome = :outcome, detail = :detail, ended_at = :now, updated_at = {NEXT_UPDATED_AT}
    WHERE task_id = :task_id
      AND outcome IS NULL
      AND agent_id IS NOT DISTINCT FROM :agent_id
    RETURNING {_COLUMNS}
    """,
    outcome=AttemptOutcome,
    detail=str | None,
    agent_id=NonEmpty | None,
)

#: Without a new lease the old one stays: a claim never becomes endless by being repeated.
_EXTEND_LEASE = _attempt(
    f"""
    UPDATE task_attempts
    SET lease_until = {_LEASE_END}, updated_at = {NEXT_UPDATED_AT}
    WHERE task_id = :task_id
      AND outcome IS NULL
      AND agent_id IS NOT DISTINCT FROM :agent_id
    RETURNING {_COLUMNS}
    """,
    lease=int,
    agent_id=NonEmpty | None,
)

EXPIRED: LiteralString = """FROM task_attempts
    WHERE lease_until <= :clock
      AND lease_until IS NOT NULL
      AND outcome IS NULL"""
A_LEASE_HAS_PASSED = _flag(f"SELECT EXISTS (SELECT 1 {EXPIRED})")

_LOSE_EXPIRED = _id(f"""
    UPDATE task_attempts
    SET outcome = 'lost', detail = 'the lease passed', ended_at = :now,
        updated_at = {NEXT_UPDATED_AT}
    WHERE lease_until <= :clock
      AND lease_until IS NOT NULL
      AND outcome IS NULL
    RETURNING task_id
""")

#: Returns the task that the agent had in hand.
_LOSE_ATTEMPT_OF_AGENT = _id(
    f"""
    UPDATE task_attempts
    SET outcome = 'lost', detail = :detail, ended_at = :now, updated_at = {NEXT_UPDATED_AT}
    WHERE agent_id = :agent_id
      AND outcome IS NULL
    RETURNING task_id
    """,
    detail=str,
)

#: For a task whose attempt was lost.
_GIVE_BACK = _id(f"""
    UPDATE tasks
    SET status = 'pending', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :task_id
      AND status = 'in_progress'
    RETURNING id
""")

_CLAIM = task_rows(
    f"""
    UPDATE tasks
    SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
    WHERE id = (SELECT id FROM ready_tasks WHERE id = :task_id)
    RETURNING {TASK_COLUMNS}
    """,
    task_id=NonEmpty,
)

_COMPLETE = task_rows(
    f"""
    UPDATE tasks
    SET status = 'completed', summary = coalesce(:summary, summary),
        updated_at = {NEXT_UPDATED_AT}
    WHERE id = (
            SELECT task_id
            FROM task_attempts
            WHERE task_id = :task_id
              AND outcome IS NULL
              AND agent_id IS NOT DISTINCT FROM :agent_id
        )
    RETURNING {TASK_COLUMNS}
    """,
    summary=str | None,
    task_id=NonEmpty,
    agent_id=NonEmpty | None,
)

_LEAVE = task_rows(
    f"""
    UPDATE tasks
    SET status = :status, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :task_id
    RETURNING {TASK_COLUMNS}
    """,
    task_id=NonEmpty,
)

_GIVE_BACK_ALL = task_rows(
    f"""
    UPDATE tasks
    SET status = 'pending', updated_at = {NEXT_UPDATED_AT}
    WHERE id IN (SELECT value FROM json_each(:ids))
      AND status = 'in_progress'
    RETURNING {TASK_COLUMNS}
    """,
    ids=str,
)

_GIVE_TO_AGENT = _task_id(
    f"""
    UPDATE agents
    SET task_id = :task_id, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :agent_id
      AND :task_id IS NOT NULL
    """,
    task_id=NonEmpty,
    agent_id=NonEmpty,
)

# Looking


def find_attempts(db: "Database", task_id: str, page: Paging) -> list[TaskAttempt]:
    """See `TaskRepository.find_attempts`."""
    return fetch_page(db, _FIND_ATTEMPTS, page, task_id=task_id)


def find_open_attempts(db: "Database", agent_id: str | None, page: Paging) -> list[TaskAttempt]:
    """See `TaskRepository.find_open_attempts`."""
    if agent_id is not None:
        return fetch_page(db, _FIND_OPEN_ATTEMPTS_OF_AGENT, page, agent_id=agent_id)
    return fetch_page(db, _FIND_OPEN_ATTEMPTS, page)


# Claiming


def claim(db: "Database", task_id: str, agent_id: str | None, lease: timedelta | None) -> Task:
    """See `TaskRepository.claim`."""
    micros = lease_micros(lease)
    if agent_id is not None:
        check_id("agent_id", agent_id)
    if held_by(db, agent_id) is None:
        try:
            task = claim_by(db, _CLAIM, {"task_id": task_id}, agent_id, micros)
            if task is not None:
                return task
        except (ConflictError, MissingReferenceError):
            pass  # the agent has got another task since, or there is no such agent
    with db.transaction():
        held = held_by(db, agent_id)
        if held is not None and held.task_id == task_id:
            return claim_again(db, held, micros)
        if held is not None:
            raise ConflictError(
                f"agents: {agent_id!r} holds task {held.task_id!r}; complete, fail or release that"
                " first",
                reason=ConflictReason.HELD,
                table="agents",
                id=agent_id,
            )
        task = db.write_one(_CLAIM, task_id=task_id)
        if task is None and take_back_expired(db):
            task = db.write_one(_CLAIM, task_id=task_id)
        if task is None:
            raise _refused_claim(db, task_id)
        return hand_over(db, task, agent_id, micros)


def held_by(db: "Database", agent_id: str | None) -> TaskAttempt | None:
    """The open attempt of that agent; None: it holds nothing, or nobody is named."""
    if agent_id is None:
        return None
    return db.look(_FIND_OPEN_ATTEMPT_OF_AGENT, agent_id=agent_id)[0]


def claim_by(
    db: "Database",
    claim: "Statement[Task]",
    binds: dict[str, object],
    agent_id: str | None,
    lease: int | None,
) -> Task | None:
    """Run the claim and hand the task over. None: there was none to claim.

    Raises ConflictError if the agent has a task in hand, MissingReferenceError if there is no such
    agent.
    """
    others: list[tuple[Statement[Any], dict[str, object]]] = [
        (_OPEN_ATTEMPT, {"agent_id": agent_id, "lease": lease})
    ]
    if agent_id is not None:
        others.insert(0, (_GIVE_TO_AGENT, {"agent_id": agent_id}))
    return db.write_with(claim, binds, "task_id", others)


def claim_again(db: "Database", held: TaskAttempt, lease: int | None) -> Task:
    if lease is not None:
        db.write_one(_EXTEND_LEASE, task_id=held.task_id, agent_id=held.agent_id, lease=lease)
    return row_or_raise(db.fetch_one(FIND_TASK, id=held.task_id), "tasks", held.task_id)


def hand_over(db: "Database", task: Task, agent_id: str | None, lease: int | None) -> Task:
    if agent_id is not None and not db.execute(_GIVE_TO_AGENT, task_id=task.id, agent_id=agent_id):
        raise no_row("agents", agent_id)
    db.execute(_OPEN_ATTEMPT, task_id=task.id, agent_id=agent_id, lease=lease)
    return task


def _refused_claim(db: "Database", task_id: str) -> ConflictError:
    row_or_raise(db.fetch_one(FIND_TASK, id=task_id), "tasks", task_id)
    held = db.fetch_one(_FIND_OPEN_ATTEMPT_OF_TASK, task_id=task_id)
    if held is not None:
        return ConflictError(
            f"tasks: {task_id!r} is held by {_named(held)}; wait for its report",
            reason=ConflictReason.HELD,
            table="tasks",
            id=task_id,
        )
    with loading("claim"):
        from cwstore.entities.obstacles import find_obstacles  # what most claims do not need

    obstacles = find_obstacles(db, task_id)
    reasons = "; ".join(f"{one.kind} {one.id!r} is {one.status}" for one in obstacles)
    return ConflictError(
        f"tasks: {task_id!r} is not ready: {reasons}",
        reason=ConflictReason.NOT_READY,
        table="tasks",
        id=task_id,
    )


# Reporting, for the holder alone


def complete(db: "Database", task_id: str, agent_id: str | None, summary: str | None) -> Task:
    """See `TaskRepository.complete`."""
    task = db.write_one(_COMPLETE, task_id=task_id, agent_id=agent_id, summary=summary)
    if task is None:
        raise _not_held(db, task_id, agent_id)
    return task


def release(db: "Database", task_id: str, agent_id: str | None, detail: str | None) -> Task:
    """See `TaskRepository.release`."""
    return _end(
        db,
        task_id,
        agent_id,
        outcome=AttemptOutcome.RELEASED,
        detail=detail,
        status=TaskStatus.PENDING,
    )


def fail(db: "Database", task_id: str, agent_id: str | None, detail: str, retry: bool) -> Task:
    """See `TaskRepository.fail`."""
    check_flags(retry=retry)
    check_text("detail", detail)
    status = TaskStatus.PENDING if retry else TaskStatus.BLOCKED
    return _end(db, task_id, agent_id, outcome=AttemptOutcome.FAILED, detail=detail, status=status)


def extend_lease(
    db: "Database", task_id: str, agent_id: str | None, lease: timedelta
) -> TaskAttempt:
    """See `TaskRepository.extend_lease`."""
    micros = lease_micros(lease)
    if micros is None:
        raise InvalidValueError("lease", "expected timedelta, got NoneType")
    attempt = db.write_one(_EXTEND_LEASE, task_id=task_id, agent_id=agent_id, lease=micros)
    if attempt is None:
        raise _not_held(db, task_id, agent_id)
    return attempt


def _end(
    db: "Database",
    task_id: str,
    agent_id: str | None,
    *,
    outcome: AttemptOutcome,
    detail: str | None,
    status: TaskStatus,
) -> Task:
    with db.transaction():
        ended = db.write_one(
            _END_ATTEMPT, task_id=task_id, agent_id=agent_id, outcome=outcome, detail=detail
        )
        if ended is None:
            raise _not_held(db, task_id, agent_id)
        task = db.write_one(_LEAVE, task_id=task_id, status=status)
        return row_or_raise(task, "tasks", task_id)


def _not_held(db: "Database", task_id: str, agent_id: str | None) -> ConflictError:
    task = row_or_raise(db.fetch_one(FIND_TASK, id=task_id), "tasks", task_id)
    held = db.fetch_one(_FIND_OPEN_ATTEMPT_OF_TASK, task_id=task_id)
    who = "nobody named" if agent_id is None else f"agent {agent_id!r}"
    now = f"held by {_named(held)}" if held else f"{task.status} and held by nobody"
    return ConflictError(
        f"tasks: {task_id!r} is not held by {who}: it is {now}; nothing was changed."
        " find_attempts tells what became of it",
        reason=ConflictReason.NOT_HELD,
        table="tasks",
        id=task_id,
    )


# Taking back


def expire_leases(db: "Database") -> list[Task]:
    """See `TaskRepository.expire_leases`."""
    if not db.fetch_one(A_LEASE_HAS_PASSED):
        return []
    with db.transaction():
        return take_back_expired(db)


def take_back_expired(db: "Database") -> list[Task]:
    expired = db.write_all(_LOSE_EXPIRED)
    if not expired:
        return []
    with loading("expire_leases"):
        from json import dumps  # what most claims do not need

    _tell_taken_back(expired, "the lease passed")
    tasks = db.write_all(_GIVE_BACK_ALL, ids=dumps(expired))
    return sorted(tasks, key=lambda task: (task.created_at, task.id))


def take_back_from(db: "Database", agent_id: str, detail: str) -> None:
    """The agent is gone: its open attempt is lost, its task pending.

    For a caller who has a transaction open.
    """
    task_id = db.write_one(_LOSE_ATTEMPT_OF_AGENT, agent_id=agent_id, detail=detail)
    if task_id is not None:
        _tell_taken_back([task_id], detail)
        db.write_one(_GIVE_BACK, task_id=task_id)


def _tell_taken_back(task_ids: list[str], why: str) -> None:
    with suppress(OSError):  # a log is no reason to fail
        from cwstore.core.log import INFO, log

        for task_id in task_ids:
            log(INFO, "task %s is taken back: %s", task_id, why)


def _named(attempt: TaskAttempt) -> str:
    if attempt.agent_id is None:
        return "nobody named"
    return f"agent {attempt.agent_name!r} ({attempt.agent_id})"


publish(globals())
