"""Delete trees of any depth, and initiatives of any size.

SQLite counts ON DELETE CASCADE from row to row as nested triggers: it refuses at 1,000, and each
level makes all above it dearer (every cursor that is opened looks at all that are open: 800 nested
tasks took 3 s). So what is nested goes from the leaves up, row by row, and nothing is left for the
cascade to walk down.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from json import dumps
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from cwstore.core.bounds import ROWS_A_STATEMENT, ROWS_AT_A_TIME, SECONDS_AT_A_TIME
from cwstore.core.checks import NonEmpty, check_id
from cwstore.core.statement import NEXT_UPDATED_AT, rows_of, values_of
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError

if TYPE_CHECKING:
    from cwstore.core.port import Database
    from cwstore.core.statement import Statement

_IDS_AT_A_TIME = 250


class _Node(NamedTuple):
    """A row of a tree."""

    id: NonEmpty
    parent_id: NonEmpty | None


_node = rows_of(_Node)
_id = values_of(str, _Node)


# Trees


_TASKS_BELOW_TASK = _node("""
    WITH RECURSIVE below (id) AS (
        SELECT id FROM tasks WHERE parent_task_id = :id
        UNION
        SELECT child.id
        FROM below
        JOIN tasks AS child ON child.parent_task_id = below.id
    )
    SELECT tasks.id, tasks.parent_task_id AS parent_id
    FROM below
    JOIN tasks ON tasks.id = below.id
""")

_TASKS_OF_PHASE = _node("""
    WITH RECURSIVE below (id) AS (
        SELECT id FROM tasks WHERE phase_id = :id
        UNION
        SELECT child.id
        FROM below
        JOIN tasks AS child ON child.parent_task_id = below.id
    )
    SELECT tasks.id, tasks.parent_task_id AS parent_id
    FROM below
    JOIN tasks ON tasks.id = below.id
""")

# Also those that are of its phases alone, which only another program can have stored.
_TASKS_OF_INITIATIVE = _node("""
    WITH RECURSIVE below (id) AS (
        SELECT id
        FROM tasks
        WHERE initiative_id = :id
           OR phase_id IN (SELECT id FROM phases WHERE initiative_id = :id)
        UNION
        SELECT child.id
        FROM below
        JOIN tasks AS child ON child.parent_task_id = below.id
    )
    SELECT tasks.id, tasks.parent_task_id AS parent_id
    FROM below
    JOIN tasks ON tasks.id = below.id
""")

_PAGES_BELOW_PAGE = _node("""
    WITH RECURSIVE below (id) AS (
        SELECT id FROM pages WHERE parent_page_id = :id
        UNION
        SELECT child.id
        FROM below
        JOIN pages AS child ON child.parent_page_id = below.id
    )
    SELECT pages.id, pages.parent_page_id AS parent_id
    FROM below
    JOIN pages ON pages.id = below.id
""")

_PAGES_OF_INITIATIVE = _node("""
    WITH RECURSIVE below (id) AS (
        SELECT id FROM pages WHERE initiative_id = :id
        UNION
        SELECT child.id
        FROM below
        JOIN pages AS child ON child.parent_page_id = below.id
    )
    SELECT pages.id, pages.parent_page_id AS parent_id
    FROM below
    JOIN pages ON pages.id = below.id
""")

_DELETE_ROW = {
    "tasks": _id("DELETE FROM tasks WHERE id = :id"),
    "pages": _id("DELETE FROM pages WHERE id = :id"),
    "phases": _id("DELETE FROM phases WHERE id = :id"),
    "proposals": _id("DELETE FROM proposals WHERE id = :id"),
    "change_sets": _id("DELETE FROM change_sets WHERE id = :id"),
    "chat_sessions": _id("DELETE FROM chat_sessions WHERE id = :id"),
    "initiatives": _id("DELETE FROM initiatives WHERE id = :id"),
}


def delete_subtasks(db: "Database", task_id: str) -> None:
    """Delete all tasks below that one, for a caller who has a transaction open."""
    _delete_nested(db, "tasks", db.fetch_all(_TASKS_BELOW_TASK, id=task_id))


def delete_subpages(db: "Database", page_id: str) -> None:
    """Delete all pages below that one, for a caller who has a transaction open."""
    _delete_nested(db, "pages", db.fetch_all(_PAGES_BELOW_PAGE, id=page_id))


def delete_nested_of_phase(db: "Database", phase_id: str) -> None:
    """Delete what is nested in the phase, for a caller who has a transaction open."""
    _delete_nested(db, "tasks", db.fetch_all(_TASKS_OF_PHASE, id=phase_id))


def delete_nested_of_initiative(db: "Database", initiative_id: str) -> None:
    """Delete what is nested in the initiative, for a caller who has a transaction open."""
    _delete_nested(db, "tasks", db.fetch_all(_TASKS_OF_INITIATIVE, id=initiative_id))
    _delete_nested(db, "pages", db.fetch_all(_PAGES_OF_INITIATIVE, id=initiative_id))


def _delete_nested(db: "Database", table: str, nodes: list[_Node]) -> None:
    """The leaves first. What has no parent is left to the cascade, which is shallow then."""
    nested = {node.id for node in nodes if node.parent_id is not None}
    for key in leaves_first(nodes) if nested else ():
        if key in nested:
            db.execute(_DELETE_ROW[table], id=key)


def leaves_first(nodes: list[_Node]) -> list[str]:
    """Their ids, each before its parent. Those in a ring, which others must have stored, first."""
    known = {node.id for node in nodes}
    below: defaultdict[str | None, list[str]] = defaultdict(list)
    for node in nodes:
        below[node.parent_id if node.parent_id in known else None].append(node.id)
    found = below[None]
    for key in found:  # grows
        found += below.get(key, ())
    return [*known.difference(found), *reversed(found)]


# Initiatives of any size


_ARCHIVE = _id(f"""
    UPDATE initiatives
    SET status = 'archived', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
      AND status <> 'archived'
""")

_OWNED = {
    "chat_sessions": _id("SELECT id FROM chat_sessions WHERE initiative_id = :id"),
    "change_sets": _id("SELECT id FROM change_sets WHERE initiative_id = :id"),
    "proposals": _id("SELECT id FROM proposals WHERE initiative_id = :id"),
    "phases": _id("SELECT id FROM phases WHERE initiative_id = :id"),
}

# What goes, or is let go, before the row that it belongs to, a few rows at a time.
_BELONGING: "dict[str, tuple[str, ...]]" = {
    "chat_sessions": ("chat_messages",),
    "change_sets": ("change_set_entries",),
    "proposals": (),
    "tasks": ("edges", "edges to", "task_attempts", "conversations about"),
    "pages": (),
    "phases": ("review_comments", "phase edges", "phase edges to", "conversations in"),
}
_LET_GO = {"conversations about", "conversations in"}  # updated: no rows that are deleted

_CLEAR: "dict[str, Statement[str]]" = {
    "chat_messages": _id(
        """
        DELETE FROM chat_messages
        WHERE id IN (
            SELECT id FROM chat_messages
            WHERE chat_session_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "change_set_entries": _id(
        """
        DELETE FROM change_set_entries
        WHERE id IN (
            SELECT id FROM change_set_entries
            WHERE change_set_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "edges": _id(
        """
        DELETE FROM task_dependencies
        WHERE (task_id, depends_on_task_id) IN (
            SELECT task_id, depends_on_task_id FROM task_dependencies
            WHERE task_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "edges to": _id(
        """
        DELETE FROM task_dependencies
        WHERE (task_id, depends_on_task_id) IN (
            SELECT task_id, depends_on_task_id FROM task_dependencies
            WHERE depends_on_task_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "task_attempts": _id(
        """
        DELETE FROM task_attempts
        WHERE id IN (
            SELECT id FROM task_attempts
            WHERE task_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "conversations about": _id(
        f"""
        UPDATE conversations
        SET task_id = NULL, updated_at = {NEXT_UPDATED_AT}
        WHERE id IN (
            SELECT id FROM conversations
            WHERE task_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "conversations in": _id(
        f"""
        UPDATE conversations
        SET phase_id = NULL, updated_at = {NEXT_UPDATED_AT}
        WHERE id IN (
            SELECT id FROM conversations
            WHERE phase_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "review_comments": _id(
        """
        DELETE FROM review_comments
        WHERE id IN (
            SELECT id FROM review_comments
            WHERE phase_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "phase edges": _id(
        """
        DELETE FROM phase_dependencies
        WHERE (phase_id, depends_on_phase_id) IN (
            SELECT phase_id, depends_on_phase_id FROM phase_dependencies
            WHERE phase_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
    "phase edges to": _id(
        """
        DELETE FROM phase_dependencies
        WHERE (phase_id, depends_on_phase_id) IN (
            SELECT phase_id, depends_on_phase_id FROM phase_dependencies
            WHERE depends_on_phase_id IN (SELECT value FROM json_each(:ids))
            LIMIT :rows
        )
        """,
        ids=str,
        rows=int,
    ),
}

# What refers to the initiative itself.
_LEAVE = {
    "agents": _id(
        f"""
        UPDATE agents
        SET initiative_id = NULL, updated_at = {NEXT_UPDATED_AT}
        WHERE id IN (SELECT id FROM agents WHERE initiative_id = :id LIMIT :rows)
        """,
        rows=int,
    ),
    "conversations": _id(
        f"""
        UPDATE conversations
        SET initiative_id = NULL, updated_at = {NEXT_UPDATED_AT}
        WHERE id IN (SELECT id FROM conversations WHERE initiative_id = :id LIMIT :rows)
        """,
        rows=int,
    ),
}

_CLEAR_PROJECTS = _id("""
    DELETE FROM initiative_projects
    WHERE initiative_id = :id
""")


def purge_initiative(
    db: "Database", initiative_id: str, on_progress: Callable[[int], object] | None
) -> int:
    """See `InitiativeRepository.purge`."""
    check_id("initiative_id", initiative_id)
    if on_progress is not None and not callable(on_progress):
        raise InvalidValueError("on_progress", "expected a callable that takes a number of rows")
    if db.in_transaction():
        raise ConflictError(
            "purge() inside of a transaction: leave it first, or use delete()",
            reason=ConflictReason.TRANSACTION,
        )
    db.execute(_ARCHIVE, id=initiative_id)
    total = 0
    for deleted in _purge(db, initiative_id):
        total += deleted
        if on_progress is not None:
            on_progress(total)
    return total


def _purge(db: "Database", initiative_id: str) -> Iterator[int]:
    """The rows that each transaction has deleted."""
    found = True
    while found:  # until a round finds nothing that came in meanwhile
        found = False
        for table in _BELONGING:
            ids = _find(db, table, initiative_id)
            for first in range(0, len(ids), _IDS_AT_A_TIME):
                found = True
                yield from _delete_some(db, table, ids[first : first + _IDS_AT_A_TIME])
    _let_go(db, initiative_id)
    with db.transaction():
        delete_nested_of_initiative(db, initiative_id)
        deleted = db.execute(_CLEAR_PROJECTS, id=initiative_id)
        deleted += db.execute(_DELETE_ROW["initiatives"], id=initiative_id)
    yield deleted


def _let_go(db: "Database", initiative_id: str) -> None:
    """Free what refers to the initiative and stays."""
    for table in ("agents", "conversations"):
        while db.execute(_LEAVE[table], id=initiative_id, rows=ROWS_A_STATEMENT):
            pass


def _find(db: "Database", table: str, initiative_id: str) -> list[str]:
    """Ids of the rows of that table that the initiative owns, each before its parent."""
    if table == "tasks":
        return leaves_first(db.fetch_all(_TASKS_OF_INITIATIVE, id=initiative_id))
    if table == "pages":
        return leaves_first(db.fetch_all(_PAGES_OF_INITIATIVE, id=initiative_id))
    return db.fetch_all(_OWNED[table], id=initiative_id)


def _delete_some(db: "Database", table: str, ids: list[str]) -> Iterator[int]:
    """Delete these rows with what belongs to them, in as many transactions as it takes."""
    left = ids[::-1]
    while left:
        with db.transaction():
            end = monotonic() + SECONDS_AT_A_TIME
            deleted, goes_on = _clear(db, table, dumps(left), end)
            while goes_on and left:
                deleted += db.execute(_DELETE_ROW[table], id=left.pop())
                goes_on = monotonic() < end
        yield deleted


def _clear(db: "Database", table: str, ids: str, end: float) -> tuple[int, bool]:
    """Delete what belongs to these rows: how many rows, and whether that was all."""
    deleted = touched = 0
    for what in _BELONGING[table]:
        rows = ROWS_A_STATEMENT
        while rows == ROWS_A_STATEMENT:
            if touched >= ROWS_AT_A_TIME or (touched and monotonic() >= end):
                return deleted, False
            rows = db.execute(_CLEAR[what], ids=ids, rows=ROWS_A_STATEMENT)
            touched += rows
            deleted += 0 if what in _LET_GO else rows
    return deleted, True
