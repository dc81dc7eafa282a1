"""Ready tasks: which ones can be claimed now, in which order, and the claim of the next one.

As a rule one of the first tasks in line is ready, and a scan in that order finds it at once. But a
plan may have 60,000 pending tasks behind one phase that nobody has approved: a scan takes 24 ms to
say no (0.09 ms from the open phases), each time that a dispatcher asks. So a claim looks at the
front of the line, 0.6 ms if none of it is ready, then at the tasks of open phases and those without
a phase. Where these are thousands, which have to be gathered and sorted, it first walks ten times
as far along the line.

Who found nothing asks `readiness` first, which the database keeps: whether a task may have become
ready since. A look at 60,000 tasks that wait for one other takes 61 ms, this one some µs.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString, NamedTuple

from cwstore.core.checks import NonEmpty, check_id, check_members
from cwstore.core.faults import loading
from cwstore.core.repository import fetch_page
from cwstore.core.statement import (
    NEXT_UPDATED_AT,
    Listing,
    Paging,
    Statement,
    lists_of,
    rows_of,
    values_of,
)
from cwstore.entities.claims import (
    EXPIRED,
    HELD_BY_AGENT,
    claim_again,
    claim_by,
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
from cwstore.errors import ConflictError, MissingReferenceError

if TYPE_CHECKING:
    from cwstore.core.port import Database

_is = values_of(int, Task)
_id = values_of(str, Task)
_list = lists_of(Task, FIND_TASK)


class _Front(NamedTuple):
    """What a look at the front of the line tells."""

    a_lease_has_passed: bool
    #: Whether the agent that asks has a task in hand.
    holds_one: bool
    #: None: none of them is ready.
    id: NonEmpty | None


class _Readiness(NamedTuple):
    """What changes when a task may have become ready: by a change, by a new task, by time."""

    a_lease_has_passed: bool
    #: Whether the agent that asks has a task in hand.
    holds_one: bool
    changes: int
    #: Of the last task that came; 0: there is none.
    number: int


_front = rows_of(_Front)
_READINESS = rows_of(_Readiness)(
    f"""
    SELECT
        EXISTS (SELECT 1 {EXPIRED}) AS a_lease_has_passed /* never NULL: 0 or 1 */,
        EXISTS (SELECT 1 {HELD_BY_AGENT}) AS holds_one /* never NULL: 0 or 1 */,
        changes,
        coalesce((SELECT max(number) FROM task_arrivals), 0) AS number
    FROM readiness
    WHERE id = 1
    """,
    agent_id=str,
)


class _Choice(NamedTuple):
    """The ready tasks that meet a condition, most urgent first: to look at, or to claim one."""

    find: Listing[Task]
    claim: Statement[Task]
    #: One of the first _FRONT pending tasks in line that is ready.
    look_at_front: Statement["_Front"]
    #: Whether one is ready of the tasks that came since.
    look_at_new: Statement[int]
    #: Whether more than _FEW tasks are in open phases or in none.
    are_many_open: Statement[int]
    #: The first one of ten times as many as the front; `claim` walks along the line too.
    look_along_line: Statement[str]
    #: The first one, and the claim of it: both begin with the phases, and sort.
    look_anywhere: Statement[str]
    claim_anywhere: Statement[Task]


_ORDER: LiteralString = """ORDER BY
            CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
            sort_order, created_at, id"""
_FRONT: LiteralString = "1000"
_FURTHER: LiteralString = "10000"  # walked along in 6 to 12 ms
_FEW: LiteralString = "5000"  # gathered, sorted and looked at in 4 ms
_ALL: LiteralString = "9223372036854775807"  # without a LIMIT SQLite would leave the ORDER BY out


def _choice(kind: LiteralString, owner: LiteralString = "", **extra: Any) -> _Choice:
    condition: LiteralString = f"{owner}{kind}"
    chosen: LiteralString = f"""
        FROM ready_tasks
        WHERE {condition}
        {_ORDER}
    """
    anywhere = _anywhere(kind, owner)
    line: LiteralString = f"FROM tasks WHERE status = 'pending' AND {condition}"
    return _Choice(
        _list(f"SELECT {TASK_COLUMNS} {chosen}", **extra),
        task_rows(_claim_of(f"SELECT id {chosen} LIMIT :limit"), limit=int, **extra),
        _front(
            f"""
            SELECT
                EXISTS (SELECT 1 {EXPIRED}) AS a_lease_has_passed /* never NULL: 0 or 1 */,
                EXISTS (SELECT 1 {HELD_BY_AGENT}) AS holds_one /* never NULL: 0 or 1 */,
                (SELECT ready.id {_ready_of(line, _FRONT)} LIMIT 1) AS id
            """,
            **extra,
            agent_id=str,
        ),
        _is(
            f"""
            SELECT EXISTS (
                SELECT 1
                FROM task_arrivals AS arrival
                CROSS JOIN ready_tasks
                WHERE arrival.number >= :number
                  AND ready_tasks.id = arrival.id
                  AND {condition}
            )
            """,
            number=int,
            **extra,
        ),
        _is(f"SELECT EXISTS (SELECT 1 {anywhere} LIMIT 1 OFFSET {_FEW})", **extra),
        _id(f"SELECT ready.id {_ready_of(line, _FURTHER)} LIMIT 1", **extra),
        _id(f"{_ready_anywhere(anywhere)} LIMIT 1", **extra),
        task_rows(
            _claim_of(f"{_ready_anywhere(anywhere)} LIMIT :limit"),
            limit=int,
            **extra,
        ),
    )


def _ready_of(pending: LiteralString, first: LiteralString) -> LiteralString:
    """The ready ones of the first pending tasks in line, in that order, which CROSS JOIN keeps.

    A task is looked at when its turn has come: whether one is ready costs ten times as much as its
    place in the line.
    """
    return f"""
        FROM {_line(pending, first)}
        CROSS JOIN ready_tasks AS ready
        WHERE ready.id = line.id
    """


def _ready_anywhere(pending: LiteralString) -> LiteralString:
    """The ready ones of all these pending tasks, in line.

    Claims of every database go by this: a filter keeps the order of what it filters, a join need
    not, but is looked through 15 % faster. CASE keeps a planner from making a join of EXISTS.
    """
    return f"""
        SELECT id
        FROM {_line(pending, _ALL)}
        WHERE CASE
                WHEN EXISTS (SELECT 1 FROM ready_tasks AS ready WHERE ready.id = line.id) THEN 1
                ELSE 0
            END = 1
    """


def _line(pending: LiteralString, first: LiteralString) -> LiteralString:
    return f"""(
            SELECT id
            {pending}
            {_ORDER}
            LIMIT {first}
        ) AS line"""


def _anywhere(kind: LiteralString, owner: LiteralString) -> LiteralString:
    """The pending tasks of open phases, and those without a phase.

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
            CROSS JOIN tasks
            WHERE phase_id = open_phase_id
              AND status = 'pending'
              AND {kind}
            UNION ALL
            SELECT id, priority, sort_order, created_at
            FROM tasks
            WHERE status = 'pending'
              AND phase_id IS NULL
              AND {owner}{kind}
        ) AS line
    """


def _claim_of(choice: LiteralString) -> LiteralString:
    return f"""
        UPDATE tasks
        SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
        WHERE id = ({choice})
        RETURNING {TASK_COLUMNS}
    """


#: For what a look has just found.
_CLAIM_FOUND = task_rows(
    f"""
    UPDATE tasks
    SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :task_id
      AND status = 'pending'
    RETURNING {TASK_COLUMNS}
    """,
    task_id=NonEmpty,
)

# One type is an equality; a lookup in a list costs a claim 9 µs more, so it has its own statements.
_AMONG: LiteralString = """type IN (SELECT value FROM json_each(:types))
          AND category IN (SELECT value FROM json_each(:categories))"""
_OWN: LiteralString = "initiative_id = :initiative_id AND "
_READY = _choice("type = :type", type=TaskType)
_READY_AMONG = _choice(_AMONG, types=str, categories=str)
_READY_OF_INITIATIVE = _choice("type = :type", _OWN, type=TaskType, initiative_id=NonEmpty)
_READY_OF_INITIATIVE_AMONG = _choice(
    _AMONG, _OWN, types=str, categories=str, initiative_id=NonEmpty
)


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
    with loading("find_ready"):
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

#: What the file told of readiness, and a token of the state that told it.
_Known = tuple[_Readiness | None, object]
#: What a repository remembers: filters for which nothing was ready, with what was known before;
#: None: it was found out once, and not asked for.
Idle = dict[tuple[object, ...], _Known | None]
_MOST_IDLE = 100  # filters; more than a service has


class _Found(NamedTuple):
    """What a look found out, besides how to claim."""

    #: Nobody's lease has passed, and the agent has nothing in hand.
    plain: bool = True
    a_lease_has_passed: bool = False
    #: The task that is first in line; None: the claim has to find it.
    task_id: str | None = None
    #: In which it is that; None: unknown.
    state: object = None


def claim_next_ready(
    db: "Database",
    idle: Idle,
    wanted: Wanted,
    agent_id: str | None,
    lease: timedelta | None,
) -> Task | None:
    """See `TaskRepository.claim_next_ready`."""
    micros = _check_claim(wanted, agent_id, lease)
    claim, found = _look(db, idle, wanted, agent_id)
    if claim is None:
        return None
    if found.plain and found.state is None:
        _, binds = _choose(wanted)
        try:
            return claim_by(db, claim, {**binds, "limit": 1}, agent_id, micros)
        except (ConflictError, MissingReferenceError):
            pass  # the agent has got a task since, or there is no such agent
    with db.transaction():
        # If nobody committed since the look, it need not be repeated.
        if found.state is not None and found.state == db.state_token():
            task = db.write_one(_CLAIM_FOUND, task_id=found.task_id)
            return None if task is None else hand_over(db, task, agent_id, micros)
        if found.a_lease_has_passed:
            take_back_expired(db)
        held = held_by(db, agent_id)
        if held is not None:
            return claim_again(db, held, micros)
        _, binds = _choose(wanted)
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
    claim, _ = _look(db, idle, wanted, agent_id)
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
) -> tuple[Statement[Task] | None, _Found]:
    """The statement that may claim something, and what else was found out.

    None as statement: there is nothing to claim. Takes no lock.
    """
    choice, binds = _choose(wanted)
    key = (choice.claim.text, *binds.values())
    asking = agent_id or ""  # which is the id of nobody
    known = None
    if key in idle and not db.in_transaction():  # a transaction may be undone, and this be kept
        # Asked for first, so that a commit which comes after the look is noticed by the next one;
        # and only by a caller that found nothing before, since it costs a busy dispatcher 2 µs.
        known = db.look(_READINESS, agent_id=asking)
        if _is_idle_still(db, wanted, idle[key], known):
            idle[key] = known
            return None, _Found()
    front, state = db.look(choice.look_at_front, **binds, agent_id=asking)
    assert front is not None  # it reads no table: there is always a row
    if front.a_lease_has_passed or front.holds_one:
        idle.pop(key, None)
        return choice.claim, _Found(False, front.a_lease_has_passed)
    first, claim = front.id, choice.claim
    if first is None:
        first, claim = _look_further(db, wanted)
    if first is not None:
        idle.pop(key, None)
        return claim, _Found(task_id=first, state=state)
    if len(idle) >= _MOST_IDLE:
        idle.clear()
    idle[key] = known
    return None, _Found()


def _look_further(db: "Database", wanted: Wanted) -> tuple[str | None, Statement[Task]]:
    """The first ready task where none of the front is, and the statement that claims it."""
    choice, binds = _choose(wanted)
    if db.fetch_one(choice.are_many_open, **binds):
        first = db.fetch_one(choice.look_along_line, **binds)
        if first is not None:
            return first, choice.claim
    return db.fetch_one(choice.look_anywhere, **binds), choice.claim_anywhere


def _is_idle_still(db: "Database", wanted: Wanted, before: _Known | None, now: _Known) -> bool:
    """Whether nothing has become ready since: no task by a change, by time, or by being new."""
    if before is None or before[0] is None or now[0] is None:
        return False
    if now[0].a_lease_has_passed or now[0].holds_one or now[0].changes != before[0].changes:
        return False
    if now[1] is not None and now[1] == before[1]:
        return True  # nothing at all was committed
    choice, binds = _choose(wanted)
    return not db.fetch_one(choice.look_at_new, number=before[0].number, **binds)
