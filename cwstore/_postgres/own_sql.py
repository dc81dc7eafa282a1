"""Run a SELECT that a person made up: it may read, and nothing else."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import psycopg

from cwstore._postgres.connection import quoted, run_batch
from cwstore._postgres.error_map import map_error
from cwstore.core.own_sql import cut_query, one_query, query_values
from cwstore.errors import CwstoreError, InvalidValueError

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection, Cursor, Message

_READS_ONLY = "it may only read; write by a repository"
# Which functions and tables show what others hold, past the name of a table.
_BEHIND = re.compile(r"_to_xml|^pg_stats|^pg_statistic|^ts_stat$|^dblink|^pg_read_|^lo_")
_COLUMNS = """
    SELECT attname, format_type(atttypid, atttypmod)
    FROM pg_attribute
    WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
"""
# What a query sets or locks goes with it.
_ALONE: "tuple[list[Message], list[Message]]" = (
    [(b"BEGIN READ ONLY", ())],
    [(b"ROLLBACK", ()), (b"SELECT pg_advisory_unlock_all()::text", ())],
)
_WITHIN: "tuple[list[Message], list[Message]]" = (
    [(b"SAVEPOINT query", ()), (b"SET LOCAL transaction_read_only = on", ())],
    [(b"ROLLBACK TO query", ()), (b"RELEASE query", ())],
)


def run_query(
    connection: "Connection",
    sql: object,
    binds: Mapping[str, object],
    *,
    busy_timeout: float,
    hidden: tuple[str, str] | None,
) -> list[dict[str, Any]]:
    """The rows as dicts; the column `hidden` of a table is NULL. See `Database.query`.

    In the transaction that the connection has open, or in one of its own; what it sets is undone.
    """
    statement = one_query(sql)
    values = query_values(statement.text, binds)
    text = _numbered(statement.text, list(values)).rstrip("; \n")
    inside = connection.info.transaction_status != 0
    before, after = _WITHIN if inside else _ALONE
    made: list[Cursor] = []
    try:
        if hidden is not None and statement.first_word != "EXPLAIN":
            text = _without(connection, text, *hidden)
        query: Message = (text.encode(), list(values.values()))
        run_batch(connection, [*before, query, *after], made)
        return _rows(made[len(before)])
    except psycopg.Error as error:
        fault = _fault(error, busy_timeout)
    try:
        if inside:
            run_batch(connection, after, [])
        else:
            connection.rollback()
    except psycopg.Error as error:
        fault = map_error(error, "query", busy_timeout)
    raise fault


def _numbered(text: str, names: list[str]) -> str:
    numbers = {f":{name}": f"${number}" for number, name in enumerate(names, 1)}
    return "".join(
        numbers[token.text] if token.kind == "bind" else token.text for token in cut_query(text)
    )


def _without(connection: "Connection", text: str, table: str, column: str) -> str:
    """The query on a table of the same name whose column is NULL."""
    if not _names(text, table, column):
        return text
    found = connection.execute(_COLUMNS.encode(), [quoted(table)]).fetchall()
    columns = ", ".join(
        f"NULL::{kind} AS {quoted(name)}" if name == column else quoted(name)
        for name, kind in found
    )
    # Not recursive: inside of it the name is that of the table itself.
    masked = f"WITH {quoted(table)} AS NOT MATERIALIZED (SELECT {columns} FROM {quoted(table)})"
    return f"{masked} SELECT * FROM ({text}\n) AS query"


def _names(text: str, table: str, column: str) -> bool:
    """Whether the query names the table. Raises InvalidValueError if it could get past the name."""
    before, found = "", False
    for token in cut_query(text):
        if token.kind in ("space", "comment"):
            continue
        name = token.text.strip('"').lower()
        if name == table and before == ".":
            problem = f"write {table} without its schema"
        elif _BEHIND.search(name) or (before == "&" and token.text[0] == '"'):
            problem = f"it may not use {token.text}"
        else:
            problem = ""
        if problem:
            raise InvalidValueError("sql", f"{problem}: the column {column} of {table} is hidden")
        found = found or name == table
        before = token.text
    return found


def _rows(cursor: "Cursor") -> list[dict[str, Any]]:
    columns = [column.name for column in cursor.description or ()]
    for name in columns:
        if columns.count(name) > 1:
            raise InvalidValueError("sql", f"two columns are called {name}: rename one by AS")
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]


def _fault(error: psycopg.Error, busy_timeout: float) -> CwstoreError:
    state = error.sqlstate or ""
    if state == "25006":
        return InvalidValueError("sql", _READS_ONLY)
    if state[:2] in ("0A", "42"):  # of who typed it, not of the database
        return InvalidValueError("sql", str(error.diag.message_primary))
    if state[:2] == "22":  # the text holds a value
        return InvalidValueError(
            "sql", f"PostgreSQL cannot make that of a value ({state}): see what the query casts"
        )
    return map_error(error, "query", busy_timeout)
