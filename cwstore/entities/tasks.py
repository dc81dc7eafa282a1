"""Tasks: the units that agents work on, with their dependencies, readiness and claims."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, LiteralString, NamedTuple, Unpack, cast

from cwstore import entities
from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.faults import loading, on_use
from cwstore.core.repository import (
    Mode,
    Repository,
    command,
    fetch_page,
    patch_row,
    query,
    row_or_raise,
)
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, Patch, lists_of, rows_of, values_of
from cwstore.entities.task import (
    FIND_TASK,
    ONLY_AUTO,
    TASK_COLUMNS,
    NewTask,
    Task,
    TaskCategory,
    TaskCategoryLike,
    TaskPatch,
    TaskPlace,
    TaskPriority,
    TaskPriorityLike,
    TaskStatus,
    TaskStatusLike,
    TaskType,
    TaskTypeLike,
    task_rows,
)
from cwstore.errors import CycleError, InvalidValueError

if TYPE_CHECKING:
    from cwstore.core.port import Database
    from cwstore.core.repository import Handle
    from cwstore.entities import (
        bulk_delete,
        claims,
        new_tasks,
        obstacles,
        ordering,
        plan_edges,
        ready_tasks,
        task_moves,
    )
    from cwstore.entities.ready_tasks import Idle
else:
    bulk_delete = on_use("cwstore.entities.bulk_delete", "tasks")
    claims = on_use("cwstore.entities.claims", "tasks")
    new_tasks = on_use("cwstore.entities.new_tasks", "tasks")
    obstacles = on_use("cwstore.entities.obstacles", "tasks")
    ordering = on_use("cwstore.entities.ordering", "tasks")
    plan_edges = on_use("cwstore.entities.plan_edges", "tasks")
    ready_tasks = on_use("cwstore.entities.ready_tasks", "tasks")
    task_moves = on_use("cwstore.entities.task_moves", "tasks")

__all__ = ["TaskRepository"]

_id = values_of(str, Task)
_flag = values_of(int, Task)
_list = lists_of(Task, FIND_TASK)

_FIND_ALL = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    ORDER BY created_at, id
""")

_FIND_BY_INITIATIVE = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PHASE = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE phase_id = :phase_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PARENT = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE parent_task_id = :parent_task_id
    ORDER BY sort_order, created_at, id
""")

# Of all initiatives; those that are pending have an index of their own, by priority.
_FIND_BY_STATUS = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE status = :status
      AND status <> 'pending'
    ORDER BY sort_order, created_at, id
""")

_PENDING: LiteralString = f"""SELECT {TASK_COLUMNS}
        FROM tasks
        WHERE status = 'pending'
          AND CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END"""

_FIND_PENDING = _list(f"""
    SELECT
        id /* never NULL: a column of tasks, as all that follow */, phase_id, initiative_id,
        parent_task_id, name /* never NULL: so */, description, type /* never NULL: so */,
        category /* never NULL: so */, priority /* never NULL: so */, status /* never NULL: so */,
        requires_approval, sort_order /* never NULL: so */, summary,
        created_at /* never NULL: so */, updated_at /* never NULL: so */
    FROM (
        {_PENDING} = 0
        UNION ALL
        {_PENDING} = 1
        UNION ALL
        {_PENDING} = 2
    ) AS pending
    WHERE 1 = 1
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_STATUS_AND_INITIATIVE = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE status = :status
      AND initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
""")

_FIND_PENDING_APPROVAL = _list(f"""
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE status = 'pending_approval'
    ORDER BY created_at, id
""")


class _TaskCount(NamedTuple):
    """How many tasks have a status."""

    status: TaskStatus
    number: int


_count = rows_of(_TaskCount)
_COUNT_BY_STATUS = _count("""
    SELECT
        status /* never NULL: a column of tasks, or a literal */,
        number /* never NULL: a count */
    FROM (
        SELECT status, count(*) AS number
        FROM tasks
        WHERE status <> 'pending'
        GROUP BY status
        UNION ALL
        SELECT 'pending', count(*)
        FROM tasks
        WHERE status = 'pending'
    ) AS counts
""")

_COUNT_BY_STATUS_IN_INITIATIVE = _count(
    """
    SELECT status, count(*) AS number
    FROM tasks
    WHERE initiative_id = :initiative_id
    GROUP BY status
    """,
    initiative_id=NonEmpty,
)

_COUNT_BY_STATUS_IN_PHASE = _count(
    """
    SELECT status, count(*) AS number
    FROM tasks
    WHERE phase_id = :phase_id
    GROUP BY status
    """,
    phase_id=NonEmpty,
)

_COUNT_BY_STATUS_IN_BOTH = _count(
    """
    SELECT status, count(*) AS number
    FROM tasks
    WHERE phase_id = :phase_id
      AND initiative_id = :initiative_id
    GROUP BY status
    """,
    phase_id=NonEmpty,
    initiative_id=NonEmpty,
)

_UPDATE = Patch(
    f"""
    UPDATE tasks
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {TASK_COLUMNS}
    """,
    TaskPatch,
    FIND_TASK,
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


class TaskDependency(NamedTuple):
    """An edge: the task waits for the other."""

    task_id: NonEmpty
    depends_on_task_id: NonEmpty


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
        SELECT id FROM tasks WHERE id IN (SELECT value FROM json_each(:ids))
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

_FIND_COMPLETED_BELOW = task_rows(
    f"""
    WITH RECURSIVE reached (id) AS (
        SELECT depends_on_task_id FROM task_dependencies WHERE task_id = :task_id
        UNION
        SELECT edge.depends_on_task_id
        FROM reached
        JOIN task_dependencies AS edge ON edge.task_id = reached.id
    )
    SELECT {TASK_COLUMNS}
    FROM tasks
    WHERE id IN (SELECT id FROM reached)
      AND status = 'completed'
    ORDER BY created_at, id
    """,
    task_id=NonEmpty,
)


class TaskRepository(Repository[Mode]):
    """Create, read, update, order and claim tasks.

    What makes tasks is in `new_tasks`, what has to do with claims in `claims`, `ready_tasks` and
    `obstacles`. Each is imported when it is first needed.
    """

    __slots__ = ("_idle",)

    def __init__(self, db: "Handle[Mode] | Database") -> None:
        super().__init__(cast("Database", db))
        self._idle: Idle = {}

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
        values: dict[str, object] = {
            "id": id,
            "initiative_id": initiative_id,
            "name": name,
            "description": description,
            "type": type,
            "category": category,
            "priority": priority,
            "status": status,
            "requires_approval": requires_approval,
            "sort_order": sort_order,
            "summary": summary,
        }
        return new_tasks.create_task(self._db, phase_id, parent_task_id, values)

    @command
    def create_many(self, tasks: Iterable[NewTask]) -> list[Task]:
        """Make all of them in their order, or none: each as `create` would.

        A task may be the parent of one that comes after it. The iterable is read to its end before
        the transaction begins. Raises what `create` raises; the message tells which task it was,
        and so does `InvalidValueError.index`.
        """
        return new_tasks.create_tasks(self._db, TaskRepository(self._db).create, tasks)

    @query
    def find_by_id(self, id: str) -> Task | None:
        """The task, or None."""
        return self._db.fetch_one(FIND_TASK, id=id)

    @query
    def get(self, id: str) -> Task:
        """The task. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(FIND_TASK, id=id), "tasks", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Task]:
        """Every task, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_initiative_id(self, initiative_id: str, **page: Unpack[Paging]) -> list[Task]:
        """Tasks of the initiative by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @query
    def find_by_phase_id(self, phase_id: str, **page: Unpack[Paging]) -> list[Task]:
        """Tasks of the phase by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_PHASE, page, phase_id=phase_id)

    @query
    def find_by_parent_task_id(self, parent_task_id: str, **page: Unpack[Paging]) -> list[Task]:
        """Subtasks by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_PARENT, page, parent_task_id=parent_task_id)

    @query
    def find_by_status(
        self, status: TaskStatusLike, initiative_id: str | None = None, **page: Unpack[Paging]
    ) -> list[Task]:
        """Tasks of that status, of any initiative or of one, by sort_order, then oldest first."""
        if initiative_id is None and status == TaskStatus.PENDING:
            return fetch_page(self._db, _FIND_PENDING, page)
        if initiative_id is None:
            return fetch_page(self._db, _FIND_BY_STATUS, page, status=status)
        return fetch_page(
            self._db,
            _FIND_BY_STATUS_AND_INITIATIVE,
            page,
            status=status,
            initiative_id=initiative_id,
        )

    @query
    def count_by_status(
        self, *, initiative_id: str | None = None, phase_id: str | None = None
    ) -> dict[TaskStatus, int]:
        """How many tasks have each status: all, or those of an initiative, of a phase, of both.

        Every status is there, with 0 where no task has it.
        """
        if phase_id is not None and initiative_id is not None:
            counts = self._db.fetch_all(
                _COUNT_BY_STATUS_IN_BOTH, initiative_id=initiative_id, phase_id=phase_id
            )
        elif phase_id is not None:
            counts = self._db.fetch_all(_COUNT_BY_STATUS_IN_PHASE, phase_id=phase_id)
        elif initiative_id is not None:
            counts = self._db.fetch_all(_COUNT_BY_STATUS_IN_INITIATIVE, initiative_id=initiative_id)
        else:
            counts = self._db.fetch_all(_COUNT_BY_STATUS)
        return dict.fromkeys(TaskStatus, 0) | dict(counts)

    @query
    def find_pending_approval(self, **page: Unpack[Paging]) -> list[Task]:
        """Tasks whose status is pending_approval, oldest first."""
        return fetch_page(self._db, _FIND_PENDING_APPROVAL, page)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[TaskPatch]
    ) -> Task:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def move(self, id: str, **place: Unpack[TaskPlace]) -> Task:
        """Move it to another initiative or phase, or below another task, as one; the task.

        What is not given stays. What is given of initiative and phase, all tasks below it get too,
        and chats about them go with them into the initiative. None takes it out: of its phase, from
        below its parent. Raises InvalidValueError if then the task, its phase and its parent, or a
        task below it and that one's phase, were not of one initiative; CycleError, with the ring,
        if the new parent is the task or below it; NotFoundError; MissingReferenceError for a place
        that does not exist.
        """
        return task_moves.move_task(self._db, id, place)

    @command
    def delete(self, id: str) -> bool:
        """Delete it with its subtasks and edges: dependents may become ready. False if none was.

        Subtasks may be nested to any depth. One transaction, however many they are.
        """
        with self._db.transaction():
            bulk_delete.delete_subtasks(self._db, id)
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
        self._create_edge(task_id, depends_on_task_id)

    @command
    def create_dependencies(self, edges: Iterable[tuple[str, str]]) -> int:
        """Make all these edges, or none: pairs of a task and what it waits for, in any order.

        How many are new: those that exist are left alone. The iterable is read to its end before
        the transaction begins. Raises CycleError, MissingReferenceError if a task does not exist,
        and InvalidValueError, whose `index` tells which pair it was.
        """
        return plan_edges.create_edges(self._db, self._create_edge, edges)

    def _create_edge(self, task_id: str, depends_on_task_id: str) -> int:
        """1, or 0 if the edge was there."""
        try:
            return self._db.execute(
                _CREATE_DEPENDENCY, task_id=task_id, depends_on_task_id=depends_on_task_id
            )
        except CycleError:
            edges = self._edges_below([depends_on_task_id])
        raise ordering.ring_error("task_dependencies", edges, task_id, depends_on_task_id)

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
        return ordering.dependencies_first(tasks, self._edges_below([task.id for task in tasks]))

    def _edges_below(self, ids: list[str]) -> list[TaskDependency]:
        with loading("dependency_summaries"):
            from json import dumps

        return self._db.fetch_all(_EDGES_BELOW, ids=dumps(ids))

    @query
    def find_ready(
        self,
        *,
        initiative_id: str | None = None,
        categories: Iterable[TaskCategoryLike] | None = None,
        types: Iterable[TaskTypeLike] = ONLY_AUTO,
        **page: Unpack[Paging],
    ) -> list[Task]:
        """Tasks that can be claimed now: high priority first, then by sort_order, then oldest.

        None means: of any initiative, of every category. A page may begin after any task that
        exists, be it ready or not: after the place that its priority, sort_order and age give it.
        """
        wanted = ready_tasks.Wanted(initiative_id, categories, types)
        return ready_tasks.find_ready(self._db, wanted, page)

    @query
    def why_not_ready(self, task_id: str) -> "list[entities.Obstacle]":
        """What holds it back: itself, its initiative, its phase, other phases, other tasks.

        In this order, each kind oldest first; empty when it is ready. Raises NotFoundError.
        """
        return obstacles.why_not_ready(self._db, task_id)

    @command
    def claim(
        self, task_id: str, *, agent_id: str | None = None, lease: timedelta | None = None
    ) -> Task:
        """Set a ready task in progress, open an attempt of the agent and give it the task, as one.

        Of any number of callers in any number of processes one succeeds. With `lease` others may
        take the task back once it has passed; without, only `agents.reconcile` can tell that the
        holder is gone, and of one that names no agent nobody can. An agent that claims the task it
        holds gets it again, with the new lease, if one is given. Raises NotFoundError for an
        unknown task or agent, and ConflictError: somebody else holds the task, the agent holds
        another one, or what holds the task back.
        """
        return claims.claim(self._db, task_id, agent_id, lease)

    @command
    def claim_next_ready(
        self,
        *,
        initiative_id: str | None = None,
        categories: Iterable[TaskCategoryLike] | None = None,
        types: Iterable[TaskTypeLike] = ONLY_AUTO,
        agent_id: str | None = None,
        lease: timedelta | None = None,
    ) -> Task | None:
        """Claim the first task of `find_ready` as `claim` would, or None if there is none.

        Tasks whose lease has passed are taken back first. An agent that holds a task already gets
        that one again, with the new lease, if one is given. When nothing is ready this is a read:
        it takes no lock and waits for no writer. Raises NotFoundError for an unknown agent, unless
        there is no task for it.
        """
        wanted = ready_tasks.Wanted(initiative_id, categories, types)
        return ready_tasks.claim_next_ready(self._db, self._idle, wanted, agent_id, lease)

    def _may_claim(
        self,
        *,
        initiative_id: str | None = None,
        categories: Iterable[TaskCategoryLike] | None = None,
        types: Iterable[TaskTypeLike] = ONLY_AUTO,
        agent_id: str | None = None,
        lease: timedelta | None = None,
    ) -> bool:
        """Whether `claim_next_ready` may give something: the look that it begins with."""
        wanted = ready_tasks.Wanted(initiative_id, categories, types)
        return ready_tasks.may_claim(self._db, self._idle, wanted, agent_id, lease)

    @command
    def complete(
        self, task_id: str, *, agent_id: str | None = None, summary: str | None = None
    ) -> Task:
        """Set it completed and end the attempt, as one; for the holder alone.

        `agent_id` None is the holder that was not named. None as summary keeps the one there is.
        Raises NotFoundError, and ConflictError to whoever is not the holder, or no longer.
        """
        return claims.complete(self._db, task_id, agent_id, summary)

    @command
    def release(
        self, task_id: str, *, agent_id: str | None = None, detail: str | None = None
    ) -> Task:
        """Give it back: it is pending again, the attempt released; for the holder alone.

        Raises NotFoundError, and ConflictError to whoever is not the holder, or no longer.
        """
        return claims.release(self._db, task_id, agent_id, detail)

    @command
    def fail(
        self, task_id: str, *, agent_id: str | None = None, detail: str, retry: bool = True
    ) -> Task:
        """End the attempt as failed; for the holder alone.

        The task is pending again, or blocked without `retry`. `detail` says why. Raises
        NotFoundError, and ConflictError to whoever is not the holder, or no longer.
        """
        return claims.fail(self._db, task_id, agent_id, detail, retry)

    @command
    def extend_lease(
        self, task_id: str, lease: timedelta, *, agent_id: str | None = None
    ) -> "entities.TaskAttempt":
        """Let the lease of the open attempt end that long from now; for the holder alone.

        Raises NotFoundError, and ConflictError to whoever is not the holder, or no longer.
        """
        return claims.extend_lease(self._db, task_id, agent_id, lease)

    @query
    def find_attempts(self, task_id: str, **page: Unpack[Paging]) -> "list[entities.TaskAttempt]":
        """The attempts at a task by number: the oldest first. Pages take the id of an attempt."""
        return claims.find_attempts(self._db, task_id, page)

    @query
    def find_open_attempts(
        self, agent_id: str | None = None, **page: Unpack[Paging]
    ) -> "list[entities.TaskAttempt]":
        """Attempts that did not end, oldest first; with `agent_id` that agent's, if it has one.

        Without, they are all: those that name an agent, and those that name none. A page may begin
        after an attempt that has ended since.
        """
        return claims.find_open_attempts(self._db, agent_id, page)

    @command
    def expire_leases(self) -> list[Task]:
        """Take back each task whose lease has passed: its attempt is lost, it is pending again.

        Returns the tasks, oldest first. When no lease has passed this is a read.
        """
        return claims.expire_leases(self._db)


publish(globals())
