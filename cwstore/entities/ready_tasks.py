"""Ready tasks: which ones can be claimed now, in which order, and the claim of the next one.

As a rule one of the first tasks in line is ready, and a scan in that order finds it at once. But a
plan may have 60,000 pending tasks behind one phase that nobody has approved: a scan takes 24 ms to
say no (0.09 ms from the open phases), each time that a dispatcher asks. So a claim looks at the
front of the line, then at the tasks of open phases and those without a phase.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString, NamedTuple

from cwstore.core.checks import check_id, check_members
from cwstore.core.repository import fetch_page
from cwstore.core.statement import (
    NEXT_UPDATED_AT,
    Listing,
    Paging,
    Statement,
    lists_of,
    values_of,
)
from cwstore.entities.claims import (
    A_LEASE_HAS_PASSED,
    EXPIRED,
    claim_again,
    hand_over,
    held_by,
    lease_micros,
    take_back_expired,
)
from cwstore.entities.task import (
    FIND_TASK,
    ONLY_AUTO,
    TASK_COLUMNS,
    Task,
    TaskCategory,
    TaskCategoryLike,
    TaskType,
    TaskTypeLike,
    task_rows,
)

if TYPE_CHECKING:
    from cwstore.core.port import Database

_is = values_of(int, Task)
_list = lists_of(Task, FIND_TASK)


class _Choice(NamedTuple):
    """The ready tasks that meet a condition, most urgent first: to look at, or to claim one."""

    find: Listing[Task]
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
    """
    anywhere = _anywhere(kind, owner)
    return _Choice(
        _list(f"SELECT {TASK_COLUMNS} {chosen}", **extra),
        task_rows(_claim_of(f"SELECT id {chosen} LIMIT :limit"), limit=int, **extra),
        _is(
            f"""
            SELECT CASE
                WHEN EXISTS (SELECT 1 {EXPIRED}) THEN 2
                WHEN EXISTS (SELECT 1 {_in_front(condition)}) THEN 1
                ELSE 0
            END /* never NULL: each arm is a number */
            """,
            **extra,
        ),
        _is(f"SELECT EXISTS (SELECT 1 {anywhere})", **extra),
        task_rows(_claim_of(f"SELECT id {anywhere} {_ORDER} LIMIT :limit"), limit=int, **extra),
    )


def _in_front(condition: LiteralString) -> LiteralString:
    """The ready ones of the first pending tasks in line."""
    return f"""
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


def _anywhere(kind: LiteralString, owner: LiteralString) -> LiteralString:
    """The ready tasks of open phases, and those without a phase.

    CROSS JOIN, because the phases shall be looked at first: else the tasks of an initiative are,
    and they may all be of a phase that is not open. A task is of its phase's initiative.
    """
    return f"""
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
              AND {owner}{kind}
        ) AS ready
    """


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


def find_ready(db: "Database", wanted: Wanted, page: Paging) -> list[Task]:
    """See `TaskRepository.find_ready`."""
    choice, binds = _choose(wanted)
    return fetch_page(db, choice.find, page, **binds)


# Claiming

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
            take_back_expired(db)
        held = held_by(db, agent_id)
        if held is not None:
            return claim_again(db, held, micros)
        task = db.write_one(claim, **binds, limit=1)
        return None if task is None else hand_over(db, task, agent_id, micros)


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
    micros = lease_micros(lease)
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
        return choice.claim, binds, bool(db.peek(A_LEASE_HAS_PASSED))
    # "Nothing is ready" stays true until somebody commits. The state is asked for first, so that a
    # commit which comes after the look is noticed by the next one; and only by who found nothing
    # before, since it costs a busy dispatcher 2 µs.
    key = (choice.claim.text, *binds.values())
    state = db.state_token() if key in idle else None
    if state is not None and idle.get(key) == state:
        passed = bool(db.peek(A_LEASE_HAS_PASSED))
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
