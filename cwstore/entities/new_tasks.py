"""New tasks: one, or a whole plan of them."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from cwstore.core.faults import on_use
from cwstore.core.ids import make_id
from cwstore.entities.batches import act_on, several
from cwstore.entities.task import TASK_COLUMNS, NewTask, Task, task_rows
from cwstore.errors import CycleError, InvalidValueError, MissingReferenceError

if TYPE_CHECKING:
    from cwstore.core.port import Database
    from cwstore.entities import ordering
else:
    ordering = on_use("cwstore.entities.ordering", "tasks")

_KEYS = NewTask.__annotations__.keys()

# The initiative comes from the caller, else the phase, else the parent; no row if they disagree.
# The first two do what the third one does for most tasks, in half the time: SQLite keeps aside what
# an INSERT selects if the table has triggers.
_CREATE_ALONE = task_rows(f"""
    INSERT INTO tasks ({TASK_COLUMNS})
    VALUES (
        :id, NULL, :initiative_id, NULL, :name, :description, :type, :category, :priority,
        :status, :requires_approval, :sort_order, :summary, :now, :now
    )
    RETURNING {TASK_COLUMNS}
""")

# No initiative has the id '': if there is no such phase, or it is of another initiative, the
# foreign key refuses the row.
_CREATE_IN_PHASE = task_rows(f"""
    INSERT INTO tasks ({TASK_COLUMNS})
    VALUES (
        :id, :phase_id,
        coalesce(
            (
                SELECT initiative_id
                FROM phases
                WHERE id = :phase_id
                  AND initiative_id = coalesce(:initiative_id, initiative_id)
            ),
            ''
        ),
        NULL, :name, :description, :type, :category, :priority, :status, :requires_approval,
        :sort_order, :summary, :now, :now
    )
    RETURNING {TASK_COLUMNS}
""")

_CREATE = task_rows(f"""
    INSERT INTO tasks ({TASK_COLUMNS})
    SELECT
        :id, :phase_id, owner.initiative_id, :parent_task_id, :name, :description, :type,
        :category, :priority, :status, :requires_approval, :sort_order, :summary, :now, :now
    FROM (
        SELECT coalesce(
            :initiative_id,
            (SELECT initiative_id FROM phases WHERE id = :phase_id),
            (SELECT initiative_id FROM tasks WHERE id = :parent_task_id)
        ) AS initiative_id
    ) AS owner
    WHERE NOT EXISTS (
            SELECT 1 FROM phases
            WHERE id = :phase_id AND initiative_id <> owner.initiative_id
        )
      AND NOT EXISTS (
            SELECT 1 FROM tasks
            WHERE id = :parent_task_id AND initiative_id <> owner.initiative_id
        )
    RETURNING {TASK_COLUMNS}
""")


def create_task(
    db: "Database", phase_id: str | None, parent_task_id: str | None, values: dict[str, object]
) -> Task:
    """See `TaskRepository.create`; `values` are what it takes besides."""
    if values["id"] is None:
        values["id"] = make_id()
    if parent_task_id is None:
        if phase_id is None:
            return db.insert(_CREATE_ALONE, **values)
        with suppress(MissingReferenceError):  # the last one tells what is wrong
            return db.insert(_CREATE_IN_PHASE, phase_id=phase_id, **values)
    try:
        task = db.write_one(_CREATE, phase_id=phase_id, parent_task_id=parent_task_id, **values)
    except CycleError:  # its own parent: no other ring is closed by a new task
        raise _own_parent(str(parent_task_id)) from None
    if task is None:
        raise InvalidValueError(
            "initiative_id", "the task, its phase and its parent must be of one initiative"
        )
    return task


def _own_parent(id: str) -> CycleError:
    return ordering.ring_error("tasks", [], id, id)


def create_tasks(
    db: "Database", create: Callable[..., Task], tasks: Iterable[NewTask]
) -> list[Task]:
    """See `TaskRepository.create_many`; `create` makes one."""
    given = [act_on(index, _task, task) for index, task in enumerate(several("tasks", tasks))]
    with db.transaction():
        return [
            act_on(index, lambda task: create(**task), task) for index, task in enumerate(given)
        ]


def _task(item: object) -> dict[str, object]:
    if not isinstance(item, Mapping):
        raise InvalidValueError("tasks", f"expected a mapping, got {type(item).__name__}")
    task = dict(cast(Mapping[str, object], item))
    for key in task:
        if key not in _KEYS:
            raise InvalidValueError(str(key), f"unknown; what can be given: {', '.join(_KEYS)}")
    if "name" not in task:
        raise InvalidValueError("name", "is missing")
    return task
