"""Move a task with its subtree: into another initiative or phase, below another task."""

from typing import TYPE_CHECKING, LiteralString, NamedTuple, TypeVar

from cwstore.core.checks import NonEmpty
from cwstore.core.repository import row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, rows_of, values_of
from cwstore.entities.ordering import ring_error
from cwstore.entities.task import FIND_TASK, TASK_COLUMNS, Task, TaskPlace, task_rows
from cwstore.errors import InvalidValueError, MissingReferenceError

if TYPE_CHECKING:
    from cwstore.core.port import Database

T = TypeVar("T")


class _Nesting(NamedTuple):
    """The task lies in the other one."""

    id: NonEmpty
    parent_task_id: NonEmpty


_id = values_of(str, Task)

_FIND_INITIATIVE = _id(
    """
    SELECT id
    FROM initiatives
    WHERE id = :initiative_id
    """,
    initiative_id=NonEmpty,
)

_INITIATIVE_OF_PHASE = _id("""
    SELECT initiative_id
    FROM phases
    WHERE id = :phase_id
""")

# The bind is called as the argument of `move` is: an error names that.
_FIND_PARENT = task_rows(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE id = :parent_task_id
""")

_NESTINGS_ABOVE = rows_of(_Nesting)("""
    WITH RECURSIVE above (id, parent_task_id) AS (
        SELECT id, parent_task_id FROM tasks WHERE id = :parent_task_id
        UNION
        SELECT tasks.id, tasks.parent_task_id
        FROM above
        JOIN tasks ON tasks.id = above.parent_task_id
    )
    SELECT id /* never NULL: a key */, parent_task_id /* never NULL: see WHERE */
    FROM above
    WHERE parent_task_id IS NOT NULL
""")

_MOVE = task_rows(
    f"""
    UPDATE tasks
    SET initiative_id = :initiative_id, phase_id = :phase_id, parent_task_id = :parent_task_id,
        updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
    RETURNING {TASK_COLUMNS}
    """,
    initiative_id=NonEmpty | None,
    phase_id=NonEmpty | None,
    parent_task_id=NonEmpty | None,
)

_BELOW: LiteralString = """WITH RECURSIVE below (id) AS (
        SELECT id FROM tasks WHERE parent_task_id = :id
        UNION
        SELECT tasks.id FROM below JOIN tasks ON tasks.parent_task_id = below.id
    )"""

_MOVE_SUBTREE_TO_INITIATIVE = _id(
    f"""
    {_BELOW}
    UPDATE tasks
    SET initiative_id = :initiative_id, updated_at = {NEXT_UPDATED_AT}
    WHERE id IN (SELECT id FROM below)
      AND initiative_id IS DISTINCT FROM :initiative_id
    """,
    initiative_id=NonEmpty | None,
)

_MOVE_SUBTREE_TO_PHASE = _id(
    f"""
    {_BELOW}
    UPDATE tasks
    SET phase_id = :phase_id, updated_at = {NEXT_UPDATED_AT}
    WHERE id IN (SELECT id FROM below)
      AND phase_id IS DISTINCT FROM :phase_id
    """,
    phase_id=NonEmpty | None,
)

_FIND_MISFIT_BELOW = _id(f"""
    {_BELOW}
    SELECT tasks.id
    FROM tasks
    JOIN phases ON phases.id = tasks.phase_id
    WHERE tasks.id IN (SELECT id FROM below)
      AND phases.initiative_id IS DISTINCT FROM tasks.initiative_id
    LIMIT 1
""")

# Else the chat about a task would be deleted with the initiative that the task has left.
_MOVE_CHATS = _id(
    f"""
    {_BELOW}
    UPDATE chat_sessions
    SET initiative_id = :initiative_id, updated_at = {NEXT_UPDATED_AT}
    WHERE target_type = 'task'
      AND (target_id = :id OR target_id IN (SELECT id FROM below))
      AND initiative_id <> :initiative_id
    """,
    initiative_id=NonEmpty,
)


def move_task(db: "Database", id: str, place: TaskPlace) -> Task:
    """See `TaskRepository.move`."""
    for key in place:
        if key not in TaskPlace.__annotations__:
            raise InvalidValueError(key, f"a move takes: {', '.join(TaskPlace.__annotations__)}")
    with db.transaction():
        task = row_or_raise(db.fetch_one(FIND_TASK, id=id), "tasks", id)
        initiative_id = place.get("initiative_id", task.initiative_id)
        phase_id = place.get("phase_id", task.phase_id)
        parent_task_id = place.get("parent_task_id", task.parent_task_id)
        if initiative_id is not None:
            found = db.fetch_one(_FIND_INITIATIVE, initiative_id=initiative_id)
            _known(found, "initiatives", "initiative_id", initiative_id)
        if phase_id is not None:
            owner = db.fetch_one(_INITIATIVE_OF_PHASE, phase_id=phase_id)
            _refuse_mismatch(_known(owner, "phases", "phase_id", phase_id), initiative_id)
        if parent_task_id is not None:
            _check_parent(db, id, parent_task_id, initiative_id)
        moved = db.write_one(
            _MOVE,
            id=id,
            initiative_id=initiative_id,
            phase_id=phase_id,
            parent_task_id=parent_task_id,
        )
        _move_subtree(db, id, place)
        return row_or_raise(moved, "tasks", id)


def _move_subtree(db: "Database", id: str, place: TaskPlace) -> None:
    """Let all below the task follow into the initiative and the phase, whichever is given."""
    if "initiative_id" in place:
        initiative_id = place["initiative_id"]
        db.execute(_MOVE_SUBTREE_TO_INITIATIVE, id=id, initiative_id=initiative_id)
        if initiative_id is not None:  # a chat is always of one
            db.execute(_MOVE_CHATS, id=id, initiative_id=initiative_id)
    if "phase_id" in place:
        db.execute(_MOVE_SUBTREE_TO_PHASE, id=id, phase_id=place["phase_id"])
    if place.keys() <= {"parent_task_id"}:
        return
    if db.fetch_one(_FIND_MISFIT_BELOW, id=id) is not None:
        raise InvalidValueError(
            "phase_id", "a task below it is in a phase of another initiative: give both"
        )


def _check_parent(db: "Database", id: str, parent_task_id: str, initiative_id: str | None) -> None:
    parent = db.fetch_one(_FIND_PARENT, parent_task_id=parent_task_id)
    above = db.fetch_all(_NESTINGS_ABOVE, parent_task_id=parent_task_id)
    if parent_task_id == id or any(one.parent_task_id == id for one in above):
        raise ring_error("tasks", above, id, parent_task_id)
    owner = _known(parent, "tasks", "parent_task_id", parent_task_id).initiative_id
    if owner is not None:
        _refuse_mismatch(owner, initiative_id)


def _refuse_mismatch(owner: str, initiative_id: str | None) -> None:
    if owner != initiative_id:
        raise InvalidValueError(
            "initiative_id", "the task, its phase and its parent must be of one initiative"
        )


def _known(found: T | None, table: str, field: str, id: str) -> T:
    if found is None:
        raise MissingReferenceError(
            f"tasks.{field}: no row of {table} has the id {id!r}; create it first", field=field
        )
    return found
