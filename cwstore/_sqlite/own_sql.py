"""Run a SELECT that a person made up: it may read, and nothing else."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, cast

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.error_map import map_error
from cwstore.core.checks import is_integer, to_micros
from cwstore.core.lexer import UnfinishedTextError, split, spoken
from cwstore.errors import InvalidValueError

#: Also of the functions that tell about the schema, `pragma_table_info(:table)` and so on.
_HARMLESS = {
    apsw.SQLITE_SELECT,
    apsw.SQLITE_READ,
    apsw.SQLITE_FUNCTION,
    apsw.SQLITE_RECURSIVE,
    apsw.SQLITE_PRAGMA,
}
_READING = ("SELECT", "WITH", "VALUES", "EXPLAIN")


def run_query(
    connection: Connection,
    sql: object,
    binds: Mapping[str, object],
    *,
    busy_timeout: float,
    hidden: tuple[str, str] | None,
) -> list[dict[str, Any]]:
    """The rows as dicts; the column `hidden` of a table is NULL. See `Database.query`."""
    text = _one_statement(sql)
    values = _values(text, binds)
    cursor: Any = connection.cursor()
    columns: list[str] = []

    def may(action: int, first: str | None, second: str | None, *_: object) -> int:
        if action == apsw.SQLITE_READ and (first, second) == hidden:
            return apsw.SQLITE_IGNORE
        return apsw.SQLITE_OK if action in _HARMLESS else apsw.SQLITE_DENY

    def look(traced: Any, _text: str, _binds: object) -> bool:
        """After the statement is prepared, before it runs."""
        columns.extend(name for name, _ in traced.get_description())
        for name in columns:
            if columns.count(name) > 1:
                raise InvalidValueError("sql", f"two columns are called {name}: rename one by AS")
        return True

    cursor.exec_trace = look
    connection.set_authorizer(may)
    try:
        return [dict(zip(columns, row, strict=True)) for row in cursor.execute(text, values)]
    except apsw.Error as error:
        fault = map_error(error, "query", busy_timeout)
        if isinstance(error, apsw.AuthError):
            fault = InvalidValueError("sql", "it may only read; write by a repository")
        elif isinstance(error, apsw.SQLError):  # the fault is in the SQL, not in the file
            fault = InvalidValueError("sql", str(error))
    finally:
        connection.set_authorizer(None)
    raise fault


def _one_statement(sql: object) -> str:
    if not isinstance(sql, str):
        raise InvalidValueError("sql", f"expected str, got {type(sql).__name__}")
    try:
        statements = split(sql)
    except UnfinishedTextError as error:
        raise InvalidValueError("sql", f"line {error.line}: {error}") from None
    if len(statements) != 1:
        raise InvalidValueError("sql", f"expected one statement, got {len(statements)}")
    if statements[0].first_word not in _READING:
        raise InvalidValueError("sql", f"expected a query: {', '.join(_READING)}")
    return statements[0].text


def _values(text: str, binds: Mapping[str, object]) -> dict[str, object]:
    """The binds as SQLite takes them. Each must be in the text, and the other way round."""
    written = [token.text for token in spoken(text) if token.kind == "bind"]
    named = {name[1:] for name in written if name.startswith(":")}
    if len(named) < len(set(written)):
        raise InvalidValueError("sql", "binds are written as :name")
    for name in sorted(named - binds.keys()):
        raise InvalidValueError(name, "this bind has no value")
    for name in sorted(binds.keys() - named):
        raise InvalidValueError(name, "no bind of this name is in the SQL")
    return {name: _value(name, value) for name, value in binds.items()}


def _value(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return to_micros(name, value)
    if isinstance(value, Enum):
        value = cast("object", value.value)
    if is_integer(value) and not -(2**63) <= value < 2**63:
        raise InvalidValueError(name, "does not fit into 64 bits")
    if isinstance(value, float) and value - value != 0:  # SQLite would make NULL of NaN
        raise InvalidValueError(name, "must be a finite number")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:  # carries the text: it is not chained
            pass
        else:
            return str(value)
        raise InvalidValueError(name, "contains a lone surrogate, which is not text")
    if value is not None and not isinstance(value, int | float | bytes):
        raise InvalidValueError(name, f"SQLite has no value for {type(value).__name__}")
    return value
