"""What a task is: its enums, its row and what may be changed of it.

`tasks` has the repository, `claims` what happens when a task is claimed. Both need the row.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, LiteralString, Required, TypedDict

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.statement import rows_of

__all__ = [
    "NewTask",
    "Task",
    "TaskCategory",
    "TaskPatch",
    "TaskPlace",
    "TaskPriority",
    "TaskStatus",
    "TaskType",
]


class TaskType(StrEnum):
    """Who finishes it: an agent alone, or a person at a checkpoint."""

    AUTO = "auto"
    CHECKPOINT_HUMAN_VERIFY = "checkpoint:human-verify"
    CHECKPOINT_DECISION = "checkpoint:decision"
    CHECKPOINT_HUMAN_ACTION = "checkpoint:human-action"


TaskTypeLike = (
    TaskType
    | Literal["auto", "checkpoint:human-verify", "checkpoint:decision", "checkpoint:human-action"]
)


class TaskCategory(StrEnum):
    """The kind of work."""

    EXECUTE = "execute"
    RESEARCH = "research"
    DISCUSS = "discuss"
    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"
    VERIFY = "verify"
    MERGE = "merge"
    REVIEW = "review"


TaskCategoryLike = (
    TaskCategory
    | Literal[
        "execute", "research", "discuss", "plan", "detail", "refine", "verify", "merge", "review"
    ]
)


class TaskPriority(StrEnum):
    """High goes first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


TaskPriorityLike = TaskPriority | Literal["low", "medium", "high"]


#: What an agent takes, unless it says otherwise.
ONLY_AUTO = (TaskType.AUTO,)


class TaskStatus(StrEnum):
    """Only a pending task can be ready; claiming it makes it in progress."""

    PENDING_APPROVAL = "pending_approval"
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"


TaskStatusLike = (
    TaskStatus | Literal["pending_approval", "pending", "in_progress", "completed", "blocked"]
)


@dataclass(frozen=True, slots=True)
class Task:
    """One row of `tasks`, as it was when read."""

    id: NonEmpty
    phase_id: NonEmpty | None
    initiative_id: NonEmpty | None
    parent_task_id: NonEmpty | None
    name: NonEmpty
    description: str | None
    type: TaskType
    category: TaskCategory
    priority: TaskPriority
    status: TaskStatus
    #: None inherits from the initiative; `TaskRepository.requires_approval` tells the outcome.
    requires_approval: bool | None
    sort_order: int
    #: The agent's result, handed to dependent tasks as context; None until there is one.
    summary: str | None
    created_at: datetime
    updated_at: datetime


class NewTask(TypedDict, total=False):
    """What `create_many` takes: the arguments of `create`; only the name is needed."""

    name: Required[str]
    phase_id: str | None
    initiative_id: str | None
    parent_task_id: str | None
    description: str | None
    type: TaskTypeLike
    category: TaskCategoryLike
    priority: TaskPriorityLike
    status: TaskStatusLike
    requires_approval: bool | None
    sort_order: int
    summary: str | None
    #: None, or left out: one is made.
    id: str | None


class TaskPatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    name: str
    description: str | None
    type: TaskTypeLike
    category: TaskCategoryLike
    priority: TaskPriorityLike
    status: TaskStatusLike
    requires_approval: bool | None
    sort_order: int
    summary: str | None


class TaskPlace(TypedDict, total=False):
    """Where a task may be moved to; a missing key keeps what it is, None takes it out of there."""

    initiative_id: str | None
    phase_id: str | None
    parent_task_id: str | None


TASK_COLUMNS: LiteralString = """id, phase_id, initiative_id, parent_task_id, name, description,
    type, category, priority, status, requires_approval, sort_order, summary, created_at,
    updated_at"""
task_rows = rows_of(Task)

FIND_TASK = task_rows(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE id = :id
""")


publish(globals())
