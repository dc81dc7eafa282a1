"""The file of an exported initiative: JSON Lines, one row a line.

The first line says what it is, the last one how many rows there are, so that a file which was cut
off is noticed. Between them each line is a row, `{"table": …, "row": {…}}`, after the rows that it
refers to. Times are ISO 8601 in UTC. JSON columns are texts, kept to the letter. Everything beyond
ASCII is escaped, so that a line ends where it ends for everybody.

Version 1 has the tables and fields below. A version never changes once it is released: a new table
or field makes a new one, and older files go on being read.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from cwstore.core.checks import hints_of, rule_of
from cwstore.errors import CwstoreError, InvalidValueError, at_place

FORMAT = "cwstore-initiative"
VERSION = 1

#: What each table of the format has, in the order of the file.
FIELDS: dict[str, tuple[str, ...]] = {
    "initiatives": (
        "id", "name", "status", "merge_requires_approval", "branch", "created_at", "updated_at",
    ),
    "projects": (
        "id", "name", "url", "default_branch", "last_fetched_at", "created_at", "updated_at",
    ),
    "initiative_projects": ("initiative_id", "project_id"),
    "phases": ("id", "initiative_id", "name", "content", "status", "created_at", "updated_at"),
    "phase_dependencies": ("phase_id", "depends_on_phase_id"),
    "tasks": (
        "id", "phase_id", "initiative_id", "parent_task_id", "name", "description", "type",
        "category", "priority", "status", "requires_approval", "sort_order", "summary",
        "created_at", "updated_at",
    ),
    "task_dependencies": ("task_id", "depends_on_task_id"),
    "agents": (
        "id", "name", "task_id", "initiative_id", "session_id", "worktree_id", "provider",
        "account_id", "status", "mode", "pid", "process_token", "exit_code", "output_file_path",
        "result", "pending_questions", "user_dismissed_at", "created_at", "updated_at",
    ),
    "agent_log_sessions": ("agent_id", "last_session_number"),
    "task_attempts": (
        "id", "task_id", "agent_id", "agent_name", "number", "lease_until", "outcome", "detail",
        "ended_at", "created_at", "updated_at",
    ),
    "pages": (
        "id", "initiative_id", "parent_page_id", "title", "content", "sort_order", "created_at",
        "updated_at",
    ),
    "proposals": (
        "id", "agent_id", "initiative_id", "target_type", "target_id", "title", "summary",
        "content", "metadata", "status", "sort_order", "created_at", "updated_at",
    ),
    "change_sets": (
        "id", "initiative_id", "agent_id", "agent_name", "summary", "status", "created_at",
        "updated_at",
    ),
    "change_set_entries": (
        "id", "change_set_id", "entity_type", "entity_id", "action", "previous_state",
        "new_state", "sort_order", "created_at",
    ),
    "chat_sessions": (
        "id", "target_type", "target_id", "initiative_id", "agent_id", "status", "created_at",
        "updated_at",
    ),
    "chat_messages": (
        "id", "chat_session_id", "role", "content", "change_set_id", "created_at",
    ),
    "review_comments": (
        "id", "phase_id", "file_path", "line_number", "line_type", "body", "author", "resolved",
        "created_at", "updated_at",
    ),
    "messages": (
        "id", "sender_type", "sender_id", "recipient_type", "recipient_id", "type", "content",
        "requires_response", "status", "parent_message_id", "created_at", "updated_at",
    ),
    "conversations": (
        "id", "from_agent_id", "to_agent_id", "initiative_id", "phase_id", "task_id", "question",
        "answer", "status", "created_at", "updated_at",
    ),
    "agent_log_chunks": (
        "id", "agent_id", "agent_name", "session_number", "content", "created_at",
    ),
}  # fmt: skip


def head_line(initiative_id: str, name: str, schema: int) -> str:
    """The first line."""
    return _line(
        {
            "format": FORMAT,
            "version": VERSION,
            "schema": schema,
            "initiative": initiative_id,
            "name": name,
        }
    )


def row_line(table: str, entity: object) -> str:
    """The line of a row."""
    return line_of(table, {field: getattr(entity, field) for field in FIELDS[table]})


def line_of(table: str, row: Mapping[str, Any]) -> str:
    """The line of a row that is given by field."""
    return _line({"table": table, "row": row})


def end_line(rows: int) -> str:
    """The last line."""
    return _line({"end": rows})


def read_line(text: object) -> dict[str, Any] | None:
    """The object of a line; None: it is blank. Raises InvalidValueError."""
    if not isinstance(text, str):
        raise InvalidValueError("lines", f"expected str, got {type(text).__name__}")
    if not text.strip():
        return None
    try:
        value: Any = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"{error.msg} at character {error.pos + 1}"
        raise InvalidValueError("lines", f"not JSON: {problem}") from None
    except RecursionError:
        raise InvalidValueError("lines", "nested too deeply") from None
    if not isinstance(value, dict):
        raise InvalidValueError("lines", "not a JSON object")
    return cast("dict[str, Any]", value)


def read_head(line: Mapping[str, Any]) -> tuple[str, int]:
    """The id of the initiative, and the version of the schema. Raises InvalidValueError."""
    if line.get("format") != FORMAT:
        raise InvalidValueError("format", f"expected a file made by `cwstore export` ({FORMAT})")
    version, initiative = line.get("version"), line.get("initiative")
    if version != VERSION:
        raise InvalidValueError(
            "version", f"this cwstore reads {VERSION}, the file has {version!r}: upgrade cwstore"
        )
    if not isinstance(initiative, str):
        raise InvalidValueError("initiative", "expected the id of the initiative")
    schema = line.get("schema")
    if type(schema) is not int:
        raise InvalidValueError("schema", "expected the version of the schema, a number")
    return initiative, schema


def read_row(line: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Table and fields of a row. Raises InvalidValueError."""
    table, row = line.get("table"), line.get("row")
    fields = FIELDS.get(table) if isinstance(table, str) else None
    if fields is None:
        raise InvalidValueError("table", f"{table!r} is not one of: {', '.join(FIELDS)}")
    if not isinstance(row, dict):
        raise InvalidValueError("row", "expected a JSON object")
    given = cast("dict[str, Any]", row)
    if wrong := sorted(given.keys() ^ set(fields)):
        kind = "missing" if wrong[0] in fields else "unknown"
        raise InvalidValueError(wrong[0], f"{kind} in a row of {table}")
    return cast(str, table), given


def times_of(entity: type[Any], fields: Iterable[str]) -> tuple[str, ...]:
    """The fields of an entity that are times."""
    hints = hints_of(entity)
    return tuple(field for field in fields if rule_of(hints[field]).is_time)


def read_time(field: str, value: object) -> datetime | None:
    """A time of a row. Raises InvalidValueError."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(cast(str, value))
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidValueError(field, "expected a time such as 2026-05-04T12:00:00.000000+00:00")


def at_line(error: CwstoreError, number: int) -> CwstoreError:
    """The same error, with the number of the line, from 1, before its message."""
    return at_place(error, f"line {number}")


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, default=datetime.isoformat, separators=(",", ":")) + "\n"
