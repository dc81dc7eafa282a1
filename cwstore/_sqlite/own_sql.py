"""Run a SELECT that a person made up: it may read, and nothing else."""

from collections.abc import Mapping
from typing import Any

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.error_map import map_error
from cwstore.core.own_sql import one_query, query_values
from cwstore.errors import InvalidValueError

#: Also of the functions that tell about the schema, `pragma_table_info(:table)` and so on.
_HARMLESS = {
    apsw.SQLITE_SELECT,
    apsw.SQLITE_READ,
    apsw.SQLITE_FUNCTION,
    apsw.SQLITE_RECURSIVE,
    apsw.SQLITE_PRAGMA,
}


def run_query(
    connection: Connection,
    sql: object,
    binds: Mapping[str, object],
    *,
    busy_timeout: float,
    hidden: tuple[str, str] | None,
) -> list[dict[str, Any]]:
    """The rows as dicts; the column `hidden` of a table is NULL. See `Database.query`."""
    text = one_query(sql).text
    values = query_values(text, binds)
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
        fault = map_error(error, "query", busy_timeout, connection.filename)
        if isinstance(error, apsw.AuthError):
            fault = InvalidValueError("sql", "it may only read; write by a repository")
        elif isinstance(error, apsw.SQLError):  # the fault is in the SQL, not in the file
            fault = InvalidValueError("sql", str(error))
    finally:
        connection.set_authorizer(None)
    raise fault
