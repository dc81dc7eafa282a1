"""Claims: who holds a task. Each claim opens an attempt, and the holder alone ends it.

`tasks` opens and ends attempts; `agents` ends those of agents that are gone. Triggers of the
database end the attempt of a task that leaves `in_progress`, whatever statement changes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, LiteralString, NamedTuple

from cwstore.core import publish
from cwstore.core.checks import (
    NonEmpty,
    check_flags,
    check_id,
    check_limit,
    check_members,
    check_text,
)
from cwstore.core.repository import row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Statement, rows_of, values_of
from cwstore.entities.task import (
    FIND_TASK,
    ONLY_AUTO,
    TASK_COLUMNS,
    Task,
    TaskCategory,
    TaskCategoryLike,
    TaskStatus,
    TaskType,
    TaskTypeLike,
    task_rows,
)
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError

if TYPE_CHECKING:
    from cwstore.core.port import Database

__all__ = ["AttemptOutcome", "Obstacle", "ObstacleKind", "TaskAttempt"]


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
    #: After this time anybody may take the task back; None: no lease.
    lease_until: datetime | None
    #: None: the attempt is open.
    outcome: AttemptOutcome | None
    #: Why it was released, failed or lost.
    detail: str | None
    #: Set exactly when there is an outcome.
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ObstacleKind(StrEnum):
    """What holds a task back."""

    #: The task itself: it is not pending.
    TASK = "task"
    #: Its initiative is not active.
    INITIATIVE = "initiative"
    #: Its phase is neither approved nor in progress.
    PHASE = "phase"
    #: A phase that its phase depends on is not completed.
    PHASE_DEPENDENCY = "phase_dependency"
    #: A task that it depends on is not completed.
    TASK_DEPENDENCY = "task_dependency"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that keeps a task from being ready."""

    kind: ObstacleKind
    #: Of the task, initiative or phase.
    id: NonEmpty
    #: That this one has now.
    status: str


_COLUMNS: LiteralString = """id, task_id, agent_id, agent_name, number, lease_until, outcome,
    detail, ended_at, created_at, updated_at"""
_attempt = rows_of(TaskAttempt)
_id = values_of(str, TaskAttempt)
_flag = values_of(int, TaskAttempt)
_task_id = values_of(str, Task)
_is = values_of(int, Task)

_MICROSECOND = timedelta(microseconds=1)
_LONGEST_LEASE = timedelta(days=36_500)


def _lease_micros(lease: object) -> int | None:
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
            WHEN :now + :lease < 253402300799999999 THEN :now + :lease
            WHEN :lease IS NOT NULL THEN 253402300799999999
        END"""

_OPEN_ATTEMPT = _attempt(
    f"""
    INSERT INTO task_attempts ({_COLUMNS})
    VALUES (
        :rising_id, :task_id, :agent_id,
        (SELECT name FROM agents WHERE id = :agent_id),
        (SELECT coalesce(max(number), 0) + 1 FROM task_attempts WHERE task_id = :task_id),
        {_LEASE_END}, NULL, NULL, NULL, :now, :now
    )
    """,
    lease=int | None,
)

_FIND_ATTEMPTS = _attempt(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE task_id = :task_id
    ORDER BY number
""")

_FIND_OPEN_ATTEMPTS = _attempt(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE outcome IS NULL
    ORDER BY created_at, id
""")

_FIND_OPEN_ATTEMPT_OF_AGENT = _attempt(f"""
    SELECT {_COLUMNS}
    FROM task_attempts
    WHERE agent_id = :agent_id
      AND outcome IS NULL
""")

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
    SET lease_until = coalesce({_LEASE_END}, lease_until), updated_at = {NEXT_UPDATED_AT}
    WHERE task_id = :task_id
      AND outcome IS NULL
      AND agent_id IS NOT DISTINCT FROM :agent_id
    RETURNING {_COLUMNS}
    """,
    lease=int | None,
    agent_id=NonEmpty | None,
)

_PASSED: LiteralString = """FROM task_attempts
    WHERE lease_until <= :now
      AND lease_until IS NOT NULL
      AND outcome IS NULL"""
_A_LEASE_HAS_PASSED = _flag(f"SELECT EXISTS (SELECT 1 {_PASSED})")

_LOSE_EXPIRED = _id(f"""
    UPDATE task_attempts
    SET outcome = 'lost', detail = 'the lease passed', ended_at = :now,
        updated_at = {NEXT_UPDATED_AT}
    WHERE lease_until <= :now
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

_OBSTACLES = rows_of(Obstacle)(
    """
    SELECT
        kind /* never NULL: each part has a literal */,
        id /* never NULL: of the table that each part reads */,
        CAST(status AS TEXT) AS status /* never NULL: the same; of three tables, so of no enum */
    FROM (
        SELECT 1 AS rank, 'task' AS kind, id, status, created_at
        FROM tasks
        WHERE id = :task_id
          AND status <> 'pending'
        UNION ALL
        SELECT 2, 'initiative', owner.id, owner.status, owner.created_at
        FROM tasks AS task
        JOIN initiatives AS owner ON owner.id = task.initiative_id
        WHERE task.id = :task_id
          AND owner.status <> 'active'
        UNION ALL
        SELECT 3, 'phase', phase.id, phase.status, phase.created_at
        FROM tasks AS task
        JOIN phases AS phase ON phase.id = task.phase_id
        WHERE task.id = :task_id
          AND phase.status NOT IN ('approved', 'in_progress')
        UNION ALL
        SELECT 4, 'phase_dependency', needed.id, needed.status, needed.created_at
        FROM tasks AS task
        JOIN phase_dependencies AS edge ON edge.phase_id = task.phase_id
        JOIN phases AS needed ON needed.id = edge.depends_on_phase_id
        WHERE task.id = :task_id
          AND needed.status <> 'completed'
        UNION ALL
        SELECT 5, 'task_dependency', needed.id, needed.status, needed.created_at
        FROM task_dependencies AS edge
        JOIN tasks AS needed ON needed.id = edge.depends_on_task_id
        WHERE edge.task_id = :task_id
          AND needed.status <> 'completed'
    ) AS obstacles
    ORDER BY rank, created_at, id
    """,
    task_id=NonEmpty,
)

_GIVE_TO_AGENT = _task_id(
    f"""
    UPDATE agents
    SET task_id = :task_id, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :agent_id
    RETURNING id
    """,
    task_id=NonEmpty,
    agent_id=NonEmpty,
)

# Which tasks are ready: the statements that look at them or claim one, by filter.
#
# As a rule one of the first tasks in line is ready, and a scan in that order finds it at once. But
# a plan may have 60,000 pending tasks behind one phase that nobody has approved: a scan takes 24 ms
# to say no (0.09 ms from the open phases), each time that a dispatcher asks. So a claim looks at
# the front of the line, then at the tasks of open phases and those without a phase.


class _Choice(NamedTuple):
    """The ready tasks that meet a condition, most urgent first: to look at, or to claim one."""

    find: Statement[Task]
    claim: Statement[Task]
    #: 2: a lease has passed; 1: one of the first _FRONT pending tasks in line is ready; 0: neither.
    look_at_front: Statement[int]
    #: Whether there is any, and the claim: both begin with the phases.
    is_one_anywhere: Statement[int]
    claim_anywhere: Statement[Task]


_ORDER: LiteralString = """ORDER BY
            CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
            sort_order, created_at, id"""
_FRONT: LiteralString = "400"
_LEASE_PASSED = 2


def _choice(kind: LiteralString, owner: LiteralString = "", **extra: type) -> _Choice:
    condition: LiteralString = f"{owner}{kind}"
    chosen: LiteralString = f"""
        FROM ready_tasks
        WHERE {condition}
        {_ORDER}
        LIMIT :limit
    """
    in_front: LiteralString = f"""
        FROM (
            SELECT id
            FROM tasks
            WHERE status = 'pending'
              AND {condition}
            {_ORDER}
            LIMIT {_FRONT}
        ) AS line
        CROSS JOIN ready_tasks AS ready
        WHERE ready.id = line.id
    """
    # CROSS JOIN, because the phases shall be looked at first: else the tasks of an initiative are,
    # and they may all be of a phase that is not open. A task is of its phase's initiative.
    anywhere: LiteralString = f"""
        FROM (
            SELECT id, priority, sort_order, created_at
            FROM (
                SELECT id AS open_phase_id
                FROM phases
                WHERE {owner}(status = 'approved' OR status = 'in_progress')
            ) AS open_phases
            CROSS JOIN ready_tasks
            WHERE phase_id = open_phase_id
              AND {kind}
            UNION ALL
            SELECT id, priority, sort_order, created_at
            FROM ready_tasks
            WHERE phase_id IS NULL
              AND {condition}
        ) AS ready
    """
    return _Choice(
        task_rows(f"SELECT {TASK_COLUMNS} {chosen}", limit=int, **extra),
        task_rows(_claim_of(f"SELECT id {chosen}"), limit=int, **extra),
        _is(
            f"""
            SELECT CASE
                WHEN EXISTS (SELECT 1 {_PASSED}) THEN 2
                WHEN EXISTS (SELECT 1 {in_front}) THEN 1
                ELSE 0
            END /* never NULL: each arm is a number */
            """,
            **extra,
        ),
        _is(f"SELECT EXISTS (SELECT 1 {anywhere})", **extra),
        task_rows(_claim_of(f"SELECT id {anywhere} {_ORDER} LIMIT :limit"), limit=int, **extra),
    )


def _claim_of(choice: LiteralString) -> LiteralString:
    return f"""
        UPDATE tasks
        SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
        WHERE id = ({choice})
        RETURNING {TASK_COLUMNS}
    """


# One type is an equality; a lookup in a list costs a claim 9 µs more, so it has its own statements.
_AMONG: LiteralString = """type IN (SELECT value FROM json_each(:types))
          AND category IN (SELECT value FROM json_each(:categories))"""
_OWN: LiteralString = "initiative_id = :initiative_id AND "
_READY = _choice("type = :type")
_READY_AMONG = _choice(_AMONG, types=str, categories=str)
_READY_OF_INITIATIVE = _choice("type = :type", _OWN)
_READY_OF_INITIATIVE_AMONG = _choice(_AMONG, _OWN, types=str, categories=str)


class Wanted(NamedTuple):
    """Which ready tasks a caller asks for."""

    initiative_id: str | None  #: None: of any initiative
    categories: Iterable[TaskCategoryLike] | None  #: None: all
    types: Iterable[TaskTypeLike]


def _choose(wanted: Wanted) -> tuple[_Choice, dict[str, object]]:
    """The statements for what is wanted, and their binds."""
    initiative_id, categories, types = wanted
    if types is ONLY_AUTO and categories is None:  # the default
        if initiative_id is None:
            return _READY, {"type": TaskType.AUTO}
        return _READY_OF_INITIATIVE, {"initiative_id": initiative_id, "type": TaskType.AUTO}
    chosen = check_members("types", types, TaskType)
    binds: dict[str, object] = {}
    if initiative_id is not None:
        binds["initiative_id"] = initiative_id
    if categories is None and len(chosen) == 1:
        binds["type"] = chosen[0]
        return (_READY if initiative_id is None else _READY_OF_INITIATIVE), binds
    from json import dumps  # what a process that takes any task does not need

    binds["types"] = dumps(chosen)
    binds["categories"] = dumps(
        check_members(
            "categories", TaskCategory if categories is None else categories, TaskCategory
        )
    )
    return (_READY_AMONG if initiative_id is None else _READY_OF_INITIATIVE_AMONG), binds


# Looking


def find_ready(db: "Database", wanted: Wanted, limit: int | None) -> list[Task]:
    """See `TaskRepository.find_ready`."""
    choice, binds = _choose(wanted)
    return db.fetch_all(choice.find, **binds, limit=check_limit(limit))


def why_not_ready(db: "Database", task_id: str) -> list[Obstacle]:
    """See `TaskRepository.why_not_ready`."""
    obstacles = db.fetch_all(_OBSTACLES, task_id=task_id)
    if not obstacles:
        row_or_raise(db.fetch_one(FIND_TASK, id=task_id), "tasks", task_id)
    return obstacles


def find_attempts(db: "Database", task_id: str) -> list[TaskAttempt]:
    """See `TaskRepository.find_attempts`."""
    return db.fetch_all(_FIND_ATTEMPTS, task_id=task_id)


def find_open_attempts(db: "Database", agent_id: str | None) -> list[TaskAttempt]:
    """See `TaskRepository.find_open_attempts`."""
    if agent_id is not None:
        return db.fetch_all(_FIND_OPEN_ATTEMPT_OF_AGENT, agent_id=agent_id)
    return db.fetch_all(_FIND_OPEN_ATTEMPTS)


# Claiming


def claim(db: "Database", task_id: str, agent_id: str | None, lease: timedelta | None) -> Task:
    """See `TaskRepository.claim`."""
    micros = _lease_micros(lease)
    if agent_id is not None:
        check_id("agent_id", agent_id)
    with db.transaction():
        held = held_by(db, agent_id)
        if held is not None and held.task_id == task_id:
            return _claimed_again(db, held, micros)
        if held is not None:
            raise ConflictError(
                f"agents: {agent_id!r} holds task {held.task_id!r}; complete, fail or release that"
                " first",
                reason=ConflictReason.HELD,
                table="agents",
                id=agent_id,
            )
        task = db.write_one(_CLAIM, task_id=task_id)
        if task is None and _take_back_expired(db):
            task = db.write_one(_CLAIM, task_id=task_id)
        if task is None:
            raise _refused_claim(db, task_id)
        return _hand_over(db, task, agent_id, micros)


#: What a repository remembers: filters for which nothing was ready, with the state of the file
#: at that time.
Idle = dict[tuple[object, ...], object]
_MOST_IDLE = 100  # filters; more than a service has


def claim_next_ready(
    db: "Database",
    idle: Idle,
    wanted: Wanted,
    agent_id: str | None,
    lease: timedelta | None,
) -> Task | None:
    """See `TaskRepository.claim_next_ready`."""
    micros = _check_claim(wanted, agent_id, lease)
    claim, binds, a_lease_has_passed = _look(db, idle, wanted, agent_id)
    if claim is None:
        return None
    with db.transaction():
        if a_lease_has_passed:
            _take_back_expired(db)
        held = held_by(db, agent_id)
        if held is not None:
            return _claimed_again(db, held, micros)
        task = db.write_one(claim, **binds, limit=1)
        return None if task is None else _hand_over(db, task, agent_id, micros)


def may_claim(
    db: "Database",
    idle: Idle,
    wanted: Wanted,
    agent_id: str | None,
    lease: timedelta | None,
) -> bool:
    """Whether `claim_next_ready` may give something: the look that it begins with."""
    _check_claim(wanted, agent_id, lease)
    claim, _, _ = _look(db, idle, wanted, agent_id)
    return claim is not None


def _check_claim(wanted: Wanted, agent_id: str | None, lease: timedelta | None) -> int | None:
    """Refuse what no claim may be given. Returns the lease in microseconds."""
    if wanted.initiative_id is not None:
        check_id("initiative_id", wanted.initiative_id)
    micros = _lease_micros(lease)
    if agent_id is not None:
        check_id("agent_id", agent_id)
    return micros


def _look(
    db: "Database", idle: Idle, wanted: Wanted, agent_id: str | None
) -> tuple[Statement[Task] | None, dict[str, object], bool]:
    """The statement that may claim something and its binds; whether a lease has passed.

    None as statement: there is nothing to claim. Takes no lock.
    """
    choice, binds = _choose(wanted)
    if held_by(db, agent_id) is not None:
        return choice.claim, binds, bool(db.peek(_A_LEASE_HAS_PASSED))
    # "Nothing is ready" stays true until somebody commits. The state is asked for first, so that a
    # commit which comes after the look is noticed by the next one; and only by who found nothing
    # before, since it costs a busy dispatcher 2 µs.
    key = (choice.claim.text, *binds.values())
    state = db.state_token() if key in idle else None
    if state is not None and idle.get(key) == state:
        passed = bool(db.peek(_A_LEASE_HAS_PASSED))
        return (choice.claim if passed else None), binds, passed
    front = db.peek(choice.look_at_front, **binds)
    if front:
        idle.pop(key, None)
        return choice.claim, binds, front == _LEASE_PASSED
    if db.fetch_one(choice.is_one_anywhere, **binds):
        return choice.claim_anywhere, binds, False
    if len(idle) >= _MOST_IDLE:
        idle.clear()
    idle[key] = state
    return None, binds, False


def held_by(db: "Database", agent_id: str | None) -> TaskAttempt | None:
    """The open attempt of that agent; None: it holds nothing, or nobody is named."""
    if agent_id is None:
        return None
    return db.peek(_FIND_OPEN_ATTEMPT_OF_AGENT, agent_id=agent_id)


def _claimed_again(db: "Database", held: TaskAttempt, lease: int | None) -> Task:
    if lease is not None:
        db.write_one(_EXTEND_LEASE, task_id=held.task_id, agent_id=held.agent_id, lease=lease)
    return row_or_raise(db.fetch_one(FIND_TASK, id=held.task_id), "tasks", held.task_id)


def _hand_over(db: "Database", task: Task, agent_id: str | None, lease: int | None) -> Task:
    if agent_id is not None:
        given = db.write_one(_GIVE_TO_AGENT, task_id=task.id, agent_id=agent_id)
        row_or_raise(given, "agents", agent_id)
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
    obstacles = db.fetch_all(_OBSTACLES, task_id=task_id)
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
    micros = _lease_micros(lease)
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
    if not db.fetch_one(_A_LEASE_HAS_PASSED):
        return []
    with db.transaction():
        return _take_back_expired(db)


def _take_back_expired(db: "Database") -> list[Task]:
    expired = db.write_all(_LOSE_EXPIRED)
    if not expired:
        return []
    from json import dumps  # what most claims do not need

    tasks = db.write_all(_GIVE_BACK_ALL, ids=dumps(expired))
    return sorted(tasks, key=lambda task: (task.created_at, task.id))


def take_back_from(db: "Database", agent_id: str, detail: str) -> None:
    """The agent is gone: its open attempt is lost, its task pending.

    For a caller who has a transaction open.
    """
    task_id = db.write_one(_LOSE_ATTEMPT_OF_AGENT, agent_id=agent_id, detail=detail)
    if task_id is not None:
        db.write_one(_GIVE_BACK, task_id=task_id)


def _named(attempt: TaskAttempt) -> str:
    if attempt.agent_id is None:
        return "nobody named"
    return f"agent {attempt.agent_name!r} ({attempt.agent_id})"


publish(globals())
