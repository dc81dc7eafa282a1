"""What tasks wait for: the edges between them, and the statements that follow these."""

from dataclasses import dataclass

from cwstore._rows import NonEmpty
from cwstore._sql import rows_of, values_of
from cwstore._task import TASK_COLUMNS, Task, task_rows


@dataclass(frozen=True, slots=True)
class TaskDependency:
    """An edge: the task waits for the other."""

    task_id: NonEmpty
    depends_on_task_id: NonEmpty


_edge = rows_of(TaskDependency)
_id = values_of(str, Task)

CREATE_DEPENDENCY = _edge("""
    INSERT INTO task_dependencies (task_id, depends_on_task_id)
    VALUES (:task_id, :depends_on_task_id)
    ON CONFLICT (task_id, depends_on_task_id) DO NOTHING
""")

DELETE_DEPENDENCY = _edge("""
    DELETE FROM task_dependencies
    WHERE task_id = :task_id
      AND depends_on_task_id = :depends_on_task_id
""")

GET_DEPENDENCIES = _id(
    """
    SELECT tasks.id
    FROM task_dependencies
    JOIN tasks ON tasks.id = task_dependencies.depends_on_task_id
    WHERE task_dependencies.task_id = :task_id
    ORDER BY tasks.created_at, tasks.id
    """,
    task_id=NonEmpty,
)

GET_DEPENDENTS = _id(
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
EDGES_BELOW = _edge(
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

FIND_COMPLETED_BELOW = task_rows(
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
