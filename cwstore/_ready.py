"""Which tasks are ready: the statements that look at them or claim one, by filter."""

from collections.abc import Iterable
from typing import LiteralString, NamedTuple

from cwstore._rows import check_members
from cwstore._sql import RISING, Statement
from cwstore._task import (
    TASK_COLUMNS,
    Task,
    TaskCategory,
    TaskCategoryLike,
    TaskType,
    TaskTypeLike,
    task_rows,
)


class Choice(NamedTuple):
    """The ready tasks that meet a condition, most urgent first: to look at, or to claim one."""

    find: Statement[Task]
    claim: Statement[Task]


def _choice(condition: LiteralString, **extra: type) -> Choice:
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
        SET status = 'in_progress', updated_at = {RISING}
        WHERE id = (SELECT id {chosen})
        RETURNING {TASK_COLUMNS}
    """
    return Choice(
        task_rows(f"SELECT {TASK_COLUMNS} {chosen}", limit=int, **extra),
        task_rows(claim, limit=int, **extra),
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


def choose(
    initiative_id: str | None,
    categories: Iterable[TaskCategoryLike] | None,
    types: Iterable[TaskTypeLike],
) -> tuple[Choice, dict[str, object]]:
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
