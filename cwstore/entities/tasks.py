"""Tasks: the units that agents work on, with their dependencies, readiness and claims."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, LiteralString, NamedTuple, TypedDict, Unpack

from cwstore.core import publish
from cwstore.core.checks import NonEmpty, check_id, check_limit, check_members
from cwstore.core.ids import make_id
from cwstore.core.repository import Mode, Repository, command, patch_row, query, row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Patch, Statement, rows_of, values_of
from cwstore.errors import ConflictError, InvalidValueError

__all__ = [
    "Task",
    "TaskCategory",
    "TaskPatch",
    "TaskPriority",
    "TaskRepository",
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


class TaskDependency(NamedTuple):
    """An edge: the task waits for the other."""

    task_id: NonEmpty
    depends_on_task_id: NonEmpty


_COLUMNS: LiteralString = """id, phase_id, initiative_id, parent_task_id, name, description,
    type, category, priority, status, requires_approval, sort_order, summary, created_at,
    updated_at"""
_task = rows_of(Task)
_id = values_of(str, Task)
_flag = values_of(int, Task)

# The initiative comes from the caller, else the phase, else the parent; no row if they disagree.
_CREATE = _task(f"""
    INSERT INTO tasks ({_COLUMNS})
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
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    WHERE id = :id
""")

_FIND_ALL = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    ORDER BY created_at, id
""")

_FIND_BY_INITIATIVE = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    WHERE initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PHASE = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    WHERE phase_id = :phase_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PARENT = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    WHERE parent_task_id = :parent_task_id
    ORDER BY sort_order, created_at, id
""")

_FIND_PENDING_APPROVAL = _task(f"""
    SELECT {_COLUMNS}
    FROM tasks
    WHERE status = 'pending_approval'
    ORDER BY created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE tasks
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    TaskPatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM tasks
    WHERE id = :id
    RETURNING id
""")

_REQUIRES_APPROVAL = _flag(
    """
    SELECT requires_approval
    FROM task_approvals
    WHERE task_id = :task_id
    """,
    task_id=NonEmpty,
)

_REFUSED_CLAIM = (
    "not ready: it is not pending, or its initiative, phase or dependencies hold it back"
)

_CLAIM = _task(
    f"""
    UPDATE tasks
    SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
    WHERE id = (SELECT id FROM ready_tasks WHERE id = :task_id)
    RETURNING {_COLUMNS}
    """,
    task_id=NonEmpty,
)

_GIVE_TO_AGENT = _id(
    f"""
    UPDATE agents
    SET task_id = :task_id, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :agent_id
    RETURNING id
    """,
    task_id=NonEmpty,
    agent_id=NonEmpty,
)

# The edges between tasks, and the statements that follow them.

_edge = rows_of(TaskDependency)
_CREATE_DEPENDENCY = _edge("""
    INSERT INTO task_dependencies (task_id, depends_on_task_id)
    VALUES (:task_id, :depends_on_task_id)
    ON CONFLICT (task_id, depends_on_task_id) DO NOTHING
""")

_DELETE_DEPENDENCY = _edge("""
    DELETE FROM task_dependencies
    WHERE task_id = :task_id
      AND depends_on_task_id = :depends_on_task_id
""")

_GET_DEPENDENCIES = _id(
    """
    SELECT tasks.id
    FROM task_dependencies
    JOIN tasks ON tasks.id = task_dependencies.depends_on_task_id
    WHERE task_dependencies.task_id = :task_id
    ORDER BY tasks.created_at, tasks.id
    """,
    task_id=NonEmpty,
)

_GET_DEPENDENTS = _id(
    """
    SELECT tasks.id
    FROM task_dependencies
    JOIN tasks ON tasks.id = task_dependencies.task_id
    WHERE task_dependencies.depends_on_task_id = :task_id
    ORDER BY tasks.created_at, tasks.id
    """,
    task_id=NonEmpty,
)

# Also through tasks that are not among the ids, and between those.
_EDGES_BELOW = _edge(
    """
    WITH RECURSIVE reached (id) AS (
        SELECT value FROM json_each(:ids)
        UNION
        SELECT edge.depends_on_task_id
        FROM reached
        JOIN task_dependencies AS edge ON edge.task_id = reached.id
    )
    SELECT task_id, depends_on_task_id
    FROM task_dependencies
    WHERE task_id IN (SELECT id FROM reached)
    """,
    ids=str,
)

_FIND_COMPLETED_BELOW = _task(
    f"""
    WITH RECURSIVE reached (id) AS (
        SELECT depends_on_task_id FROM task_dependencies WHERE task_id = :task_id
        UNION
        SELECT edge.depends_on_task_id
        FROM reached
        JOIN task_dependencies AS edge ON edge.task_id = reached.id
    )
    SELECT {_COLUMNS}
    FROM tasks
    WHERE id IN (SELECT id FROM reached)
      AND status = 'completed'
    ORDER BY created_at, id
    """,
    task_id=NonEmpty,
)

# Which tasks are ready: the statements that look at them or claim one, by filter.


class _Choice(NamedTuple):
    """The ready tasks that meet a condition, most urgent first: to look at, or to claim one."""

    find: Statement[Task]
    claim: Statement[Task]


def _choice(condition: LiteralString, **extra: type) -> _Choice:
    chosen: LiteralString = f"""
        FROM ready_tasks
        WHERE {condition}
        ORDER BY
            CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
            sort_order, created_at, id
        LIMIT :limit
    """
    claim: LiteralString = f"""
        UPDATE tasks
        SET status = 'in_progress', updated_at = {NEXT_UPDATED_AT}
        WHERE id = (SELECT id {chosen})
        RETURNING {_COLUMNS}
    """
    return _Choice(
        _task(f"SELECT {_COLUMNS} {chosen}", limit=int, **extra),
        _task(claim, limit=int, **extra),
    )


# One type is an equality; a lookup in a list costs a claim 9 µs more, so it has its own statements.
_AMONG: LiteralString = """type IN (SELECT value FROM json_each(:types))
          AND category IN (SELECT value FROM json_each(:categories))"""
_READY = _choice("type = :type")
_READY_AMONG = _choice(_AMONG, types=str, categories=str)
_READY_OF_INITIATIVE = _choice("initiative_id = :initiative_id AND type = :type")
_READY_OF_INITIATIVE_AMONG = _choice(
    f"initiative_id = :initiative_id AND {_AMONG}", types=str, categories=str
)


def _choose(
    initiative_id: str | None,
    categories: Iterable[TaskCategoryLike] | None,
    types: Iterable[TaskTypeLike],
) -> tuple[_Choice, dict[str, object]]:
    """The statements for a filter, and their binds."""
    wanted = check_members("types", types, TaskType)
    binds: dict[str, object] = {}
    if initiative_id is not None:
        binds["initiative_id"] = initiative_id
    if categories is None and len(wanted) == 1:
        binds["type"] = wanted[0]
        return (_READY if initiative_id is None else _READY_OF_INITIATIVE), binds
    from json import dumps  # what a process that takes any task does not need

    binds["types"] = dumps(wanted)
    binds["categories"] = dumps(
        check_members(
            "categories", TaskCategory if categories is None else categories, TaskCategory
        )
    )
    return (_READY_AMONG if initiative_id is None else _READY_OF_INITIATIVE_AMONG), binds


class TaskRepository(Repository[Mode]):
    """Create, read, update, order and claim tasks."""

    @command
    def create(
        self,
        *,
        name: str,
        phase_id: str | None = None,
        initiative_id: str | None = None,
        parent_task_id: str | None = None,
        description: str | None = None,
        type: TaskTypeLike = TaskType.AUTO,
        category: TaskCategoryLike = TaskCategory.EXECUTE,
        priority: TaskPriorityLike = TaskPriority.MEDIUM,
        status: TaskStatusLike = TaskStatus.PENDING,
        requires_approval: bool | None = None,
        sort_order: int = 0,
        summary: str | None = None,
        id: str | None = None,
    ) -> Task:
        """A new task; without `initiative_id` it gets the one of its phase, else of its parent.

        Raises InvalidValueError if those disagree, MissingReferenceError if one does not exist,
        ConflictError if the id is taken.
        """
        task = self._db.write_one(
            _CREATE,
            id=make_id() if id is None else id,
            phase_id=phase_id,
            initiative_id=initiative_id,
            parent_task_id=parent_task_id,
            name=name,
            description=description,
            type=type,
            category=category,
            priority=priority,
            status=status,
            requires_approval=requires_approval,
            sort_order=sort_order,
            summary=summary,
        )
        if task is None:
            raise InvalidValueError(
                "initiative_id", "the task, its phase and its parent must be of one initiative"
            )
        return task

    @query
    def find_by_id(self, id: str) -> Task | None:
        """The task, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def find_all(self) -> list[Task]:
        """Every task, oldest first."""
        return self._db.fetch_all(_FIND_ALL)

    @query
    def find_by_initiative_id(self, initiative_id: str) -> list[Task]:
        """Tasks of the initiative by sort_order, then oldest first."""
        return self._db.fetch_all(_FIND_BY_INITIATIVE, initiative_id=initiative_id)

    @query
    def find_by_phase_id(self, phase_id: str) -> list[Task]:
        """Tasks of the phase by sort_order, then oldest first."""
        return self._db.fetch_all(_FIND_BY_PHASE, phase_id=phase_id)

    @query
    def find_by_parent_task_id(self, parent_task_id: str) -> list[Task]:
        """Subtasks by sort_order, then oldest first."""
        return self._db.fetch_all(_FIND_BY_PARENT, parent_task_id=parent_task_id)

    @query
    def find_pending_approval(self) -> list[Task]:
        """Tasks whose status is pending_approval, oldest first."""
        return self._db.fetch_all(_FIND_PENDING_APPROVAL)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[TaskPatch]
    ) -> Task:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it with its subtasks and edges: dependents may become ready. False if none was."""
        return self._db.write_one(_DELETE, id=id) is not None

    @query
    def requires_approval(self, task_id: str) -> bool:
        """Whether its result needs approval: its own word, else its initiative's, else yes.

        Raises NotFoundError.
        """
        approval = self._db.fetch_one(_REQUIRES_APPROVAL, task_id=task_id)
        return bool(row_or_raise(approval, "tasks", task_id))

    @command
    def create_dependency(self, task_id: str, depends_on_task_id: str) -> None:
        """Let a task wait for another; an edge that exists is left alone.

        Raises CycleError, and MissingReferenceError if one of the two does not exist.
        """
        self._db.execute(_CREATE_DEPENDENCY, task_id=task_id, depends_on_task_id=depends_on_task_id)

    @command
    def delete_dependency(self, task_id: str, depends_on_task_id: str) -> bool:
        """Remove the edge; False if there was none."""
        return (
            self._db.execute(
                _DELETE_DEPENDENCY, task_id=task_id, depends_on_task_id=depends_on_task_id
            )
            > 0
        )

    @query
    def get_dependencies(self, task_id: str) -> list[str]:
        """Ids of the tasks that it waits for, oldest first."""
        return self._db.fetch_all(_GET_DEPENDENCIES, task_id=task_id)

    @query
    def get_dependents(self, task_id: str) -> list[str]:
        """Ids of the tasks that wait for it, oldest first."""
        return self._db.fetch_all(_GET_DEPENDENTS, task_id=task_id)

    @query
    def dependency_summaries(self, task_id: str) -> list[Task]:
        """All completed tasks that it depends on, directly or not, dependencies first."""
        return self._in_order(self._db.fetch_all(_FIND_COMPLETED_BELOW, task_id=task_id))

    @query
    def topological_order(
        self, *, phase_id: str | None = None, initiative_id: str | None = None
    ) -> list[Task]:
        """The tasks of a phase or of an initiative, dependencies first, else oldest first.

        Raises InvalidValueError unless exactly one of the two is given.
        """
        if (phase_id is None) == (initiative_id is None):
            raise InvalidValueError("phase_id", "give either phase_id or initiative_id")
        if phase_id is not None:
            tasks = self._db.fetch_all(_FIND_BY_PHASE, phase_id=phase_id)
        else:
            tasks = self._db.fetch_all(_FIND_BY_INITIATIVE, initiative_id=initiative_id)
        return self._in_order(sorted(tasks, key=lambda task: (task.created_at, task.id)))

    def _in_order(self, tasks: list[Task]) -> list[Task]:
        from json import dumps

        from cwstore.entities.ordering import dependencies_first  # what most processes do not need

        ids = dumps([task.id for task in tasks])
        edges = self._db.fetch_all(_EDGES_BELOW, ids=ids)
        return dependencies_first(tasks, edges)

    @query
    def find_ready(
        self,
        *,
        initiative_id: str | None = None,
        categories: Iterable[TaskCategoryLike] | None = None,
        types: Iterable[TaskTypeLike] = (TaskType.AUTO,),
        limit: int | None = None,
    ) -> list[Task]:
        """Tasks that can be claimed now: high priority first, then by sort_order, then oldest.

        None means: of any initiative, of every category, all of them.
        """
        choice, binds = _choose(initiative_id, categories, types)
        return self._db.fetch_all(choice.find, **binds, limit=check_limit(limit))

    @command
    def claim(self, task_id: str, *, agent_id: str | None = None) -> Task:
        """Set a ready task in progress and, with `agent_id`, hand it to that agent, as one.

        Of any number of callers in any number of processes one succeeds. Raises NotFoundError for
        an unknown task or agent, and ConflictError if the task is not ready.
        """
        if agent_id is not None:
            check_id("agent_id", agent_id)
        with self._db.transaction():
            task = self._db.write_one(_CLAIM, task_id=task_id)
            if task is None:
                row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=task_id), "tasks", task_id)
                raise ConflictError(f"tasks: {task_id!r} is {_REFUSED_CLAIM}")
            return self._hand_over(task, agent_id)

    @command
    def claim_next_ready(
        self,
        *,
        initiative_id: str | None = None,
        categories: Iterable[TaskCategoryLike] | None = None,
        types: Iterable[TaskTypeLike] = (TaskType.AUTO,),
        agent_id: str | None = None,
    ) -> Task | None:
        """Claim the first task of `find_ready` as `claim` would, or None if there is none.

        Raises NotFoundError for an unknown agent, unless there is no task for it.
        """
        choice, binds = _choose(initiative_id, categories, types)
        if agent_id is None:
            return self._db.write_one(choice.claim, **binds, limit=1)
        check_id("agent_id", agent_id)
        with self._db.transaction():
            task = self._db.write_one(choice.claim, **binds, limit=1)
            return None if task is None else self._hand_over(task, agent_id)

    def _hand_over(self, task: Task, agent_id: str | None) -> Task:
        if agent_id is not None:
            given = self._db.write_one(_GIVE_TO_AGENT, task_id=task.id, agent_id=agent_id)
            row_or_raise(given, "agents", agent_id)
        return task


publish(globals())
