"""Obstacles: what keeps a task from being ready."""

from enum import StrEnum
from typing import TYPE_CHECKING

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.repository import row_or_raise
from cwstore.core.statement import rows_of
from cwstore.entities.task import FIND_TASK

if TYPE_CHECKING:
    from cwstore.core.port import Database

__all__ = ["Obstacle", "ObstacleKind"]


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


def find_obstacles(db: "Database", task_id: str) -> list[Obstacle]:
    """What holds the task back; none for a task that does not exist."""
    return db.fetch_all(_OBSTACLES, task_id=task_id)


def why_not_ready(db: "Database", task_id: str) -> list[Obstacle]:
    """See `TaskRepository.why_not_ready`."""
    obstacles = find_obstacles(db, task_id)
    if not obstacles:
        row_or_raise(db.fetch_one(FIND_TASK, id=task_id), "tasks", task_id)
    return obstacles


publish(globals())
