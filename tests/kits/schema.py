"""The schema on raw apsw, for tests of the schema: expected tables, databases, valid rows."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import apsw

MIGRATIONS = sorted((Path(__file__).parents[2] / "sql" / "migrations").glob("*.sql"))
HEAD = len(MIGRATIONS)

# The tables of the specification. A column is: name, `#` if INTEGER (else TEXT), `?` if nullable,
# `=` default, `>` parent table with what its deletion does.
SPECIFIED = {
    table: columns.split()
    for table, columns in {
        "initiatives": """id name status='active' merge_requires_approval#=1 branch?
            created_at# updated_at#""",
        "phases": """id initiative_id>initiatives:CASCADE name content? status='pending'
            created_at# updated_at#""",
        "phase_dependencies": "phase_id>phases:CASCADE depends_on_phase_id>phases:CASCADE",
        "tasks": """id phase_id?>phases:CASCADE initiative_id?>initiatives:CASCADE
            parent_task_id?>tasks:CASCADE name description? type='auto' category='execute'
            priority='medium' status='pending' requires_approval#? sort_order#=0 summary?
            created_at# updated_at#""",
        "task_dependencies": "task_id>tasks:CASCADE depends_on_task_id>tasks:CASCADE",
        "task_attempts": """id task_id>tasks:CASCADE agent_id?>agents:SET_NULL agent_name? number#
            lease_until#? outcome? detail? ended_at#? created_at# updated_at#""",
        "agents": """id name task_id?>tasks:SET_NULL initiative_id?>initiatives:SET_NULL
            session_id? worktree_id provider='claude' account_id?>accounts:SET_NULL status='idle'
            mode='execute' pid#? process_token? exit_code#? output_file_path? result?
            pending_questions? user_dismissed_at#? created_at# updated_at#""",
        "accounts": """id email provider='claude' config_json? credentials? is_exhausted#=0
            exhausted_until#? last_used_at#? sort_order#=0 created_at# updated_at#""",
        "proposals": """id agent_id>agents:CASCADE initiative_id>initiatives:CASCADE target_type
            target_id? title summary? content? metadata? status='pending' sort_order#=0
            created_at# updated_at#""",
        "pages": """id initiative_id>initiatives:CASCADE parent_page_id?>pages:CASCADE title
            content? sort_order#=0 created_at# updated_at#""",
        "projects": "id name url default_branch='main' last_fetched_at#? created_at# updated_at#",
        "initiative_projects": """initiative_id>initiatives:CASCADE
            project_id>projects:CASCADE""",
        "messages": """id sender_type sender_id?>agents:SET_NULL recipient_type
            recipient_id?>agents:SET_NULL type='info' content requires_response#=0
            status='pending' parent_message_id?>messages:SET_NULL created_at# updated_at#""",
        "agent_log_chunks": """seq#? id agent_id agent_name session_number# content
            created_at#""",
        "conversations": """id from_agent_id>agents:CASCADE to_agent_id>agents:CASCADE
            initiative_id?>initiatives:SET_NULL phase_id?>phases:SET_NULL
            task_id?>tasks:SET_NULL question answer? status='pending' created_at# updated_at#""",
        "change_sets": """id initiative_id>initiatives:CASCADE agent_id?>agents:SET_NULL
            agent_name? summary? status='applied' created_at# updated_at#""",
        "change_set_entries": """id change_set_id>change_sets:CASCADE entity_type entity_id action
            previous_state? new_state? sort_order#=0 created_at#""",
        "chat_sessions": """id target_type target_id initiative_id>initiatives:CASCADE
            agent_id?>agents:SET_NULL status='active' created_at# updated_at#""",
        "chat_messages": """id chat_session_id>chat_sessions:CASCADE role content
            change_set_id?>change_sets:SET_NULL created_at#""",
        "review_comments": """id phase_id>phases:CASCADE file_path line_number# line_type body
            author='you' resolved#=0 created_at# updated_at#""",
    }.items()
}
# Those that the store has for itself: the specification asks for what they do, no method shows
# their rows, and whoever reads the file may leave them out.
INTERNAL = {
    # Times rise over all restarts, whatever the clock does: the last one of an update or a claim is
    # in no row's created_at. One row, kept by the engine.
    "stamps": ["id#", "stamp#"],
    # A dispatcher that found nothing learns cheaply that nothing became ready since. One row, kept
    # by triggers.
    "readiness": ["id#", "changes#"],
    # A cycle is found without walking the whole plan. Kept by triggers.
    "task_levels": ["task_id>tasks:CASCADE", "level#"],
    "phase_levels": ["phase_id>phases:CASCADE", "level#"],
    # The number of a log session is never used twice, though its chunks were pruned. Kept by a
    # trigger.
    "agent_log_sessions": ["agent_id>agents:CASCADE", "last_session_number#"],
}
TABLES = SPECIFIED | INTERNAL
JUNCTIONS = {"phase_dependencies", "task_dependencies", "initiative_projects"}
KEPT_BY_TRIGGERS = {
    "task_levels",
    "phase_levels",
    "agent_log_sessions",
}  # their key is that of the row told of
WITHOUT_ROWID = JUNCTIONS | KEPT_BY_TRIGGERS | {"task_attempts"}

# What `add` stores where it is told nothing and the column has no default.
FILL = {
    "initiative_id": "i", "phase_id": "p", "project_id": "pr", "agent_id": "a",
    "task_id": "t",
    "from_agent_id": "a", "to_agent_id": "a", "change_set_id": "cs", "chat_session_id": "ch",
    "sender_type": "user", "recipient_type": "user", "target_type": "task", "entity_type": "task",
    "action": "create", "new_state": "{}", "role": "user", "line_type": "added",
    "line_number": 1, "session_number": 1,
    "id": 1,  # of stamps and readiness: other ids are made
}  # fmt: skip


def column_name(token: str) -> str:
    return re.match(r"\w+", token)[0]  # type: ignore[index]


def migrate(db: apsw.Connection, first: int, last: int) -> None:
    """Run the migrations first to last the way the runner does."""
    for path in MIGRATIONS[first - 1 : last]:
        db.pragma("foreign_keys", False)
        db.execute("BEGIN IMMEDIATE")
        for _ in db.execute(path.read_text()):
            pass
        assert db.pragma("foreign_key_check") is None
        db.execute("COMMIT")
        db.pragma("foreign_keys", True)


def database(version: int = HEAD) -> apsw.Connection:
    db = apsw.Connection(":memory:")
    for option in (apsw.SQLITE_DBCONFIG_DQS_DDL, apsw.SQLITE_DBCONFIG_DQS_DML):
        db.config(option, 0)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.pragma("recursive_triggers", True)
    migrate(db, 1, version)
    return db


ids = itertools.count(1)


def add(db: apsw.Connection, table: str, **given: Any) -> str:
    """Store a row that is valid but for what is given, and return its id."""
    number = next(ids)
    without_id = JUNCTIONS | INTERNAL.keys()
    row: dict[str, Any] = {"id": f"row-{number}"} if table not in without_id else {}
    for token in TABLES[table]:
        name = column_name(token)
        if name == "new_state" or not re.search(r"[?=]", token):
            row.setdefault(name, FILL.get(name, number if "#" in token else f"text-{number}"))
    row |= given
    db.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})",
        row,
    )
    return str(row.get("id"))


def populate(db: apsw.Connection) -> None:
    """At least one row in every table, and in `tasks` a small tree with edges."""
    add(db, "initiatives", id="i")
    add(db, "projects", id="pr")
    add(db, "initiative_projects")
    add(db, "phases", id="p")
    add(db, "phases", id="p2")
    add(db, "phase_dependencies", depends_on_phase_id="p2")
    add(db, "tasks", id="t", phase_id="p", initiative_id="i", requires_approval=0, summary="done")
    add(db, "tasks", id="t2", initiative_id="i", parent_task_id="t", sort_order=-7)
    add(db, "tasks", id="t3", parent_task_id="t2", description="é\n'", status="completed")
    add(db, "task_dependencies", task_id="t2", depends_on_task_id="t3")
    add(db, "accounts", id="ac")
    add(db, "agents", id="a", task_id="t", initiative_id="i", account_id="ac")
    add(db, "messages", id="m", sender_type="agent", sender_id="a")
    add(db, "messages", parent_message_id="m", recipient_type="agent", recipient_id="a")
    add(db, "conversations", id="co", initiative_id="i", phase_id="p", task_id="t2")
    add(db, "pages", id="pg")
    add(db, "pages", parent_page_id="pg")
    add(db, "proposals")
    add(db, "change_sets", id="cs", agent_id="a")
    add(db, "change_set_entries")
    add(db, "chat_sessions", id="ch", target_id="t", agent_id="a")
    add(db, "chat_messages", change_set_id="cs")
    add(db, "review_comments")
    add(db, "agent_log_chunks")
    if "task_attempts" in inventory(db):
        add(db, "task_attempts", agent_id="a", agent_name="A", lease_until=5)
    if "stamps" in inventory(db):
        add(db, "stamps", stamp=9)
    if "task_levels" in inventory(db):
        add(db, "task_levels", task_id="t", level=1)
        add(db, "agent_log_sessions", agent_id="a", last_session_number=4)
    if "phase_levels" in inventory(db):
        add(db, "phase_levels", phase_id="p", level=1)


def rows(db: apsw.Connection, sql: str, **binds: Any) -> list[Any]:
    """All rows; of a single column, its values."""
    found = db.execute(sql, binds).fetchall()
    return [row[0] for row in found] if found and len(found[0]) == 1 else found


def contents(db: apsw.Connection) -> dict[str, list[Any]]:
    tables = [table for table in TABLES if table in inventory(db)]
    return {table: rows(db, f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


def inventory(db: apsw.Connection) -> dict[str, str]:
    """The stored text of all tables, indexes, triggers and views by name."""
    return dict(rows(db, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL"))


def code(error: apsw.Error) -> int:
    """The extended result code, which apsw's type stub does not know."""
    return getattr(error, "extendedresult", -1)
