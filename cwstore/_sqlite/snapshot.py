"""Read many rows as they are at one moment, while others write."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.error_map import map_statement_error
from cwstore.core.mapping import Row
from cwstore.core.statement import Statement

T = TypeVar("T")


class SqliteSnapshot:
    """One connection inside of a read transaction; see `core.port.Snapshot`."""

    def __init__(
        self, connection: Connection, read_clock: Callable[[], int], busy_timeout: float
    ) -> None:
        connection.execute("BEGIN")  # it sees the moment of its first read, until it is closed
        self._connection = connection
        self._read_clock = read_clock
        self._busy_timeout = busy_timeout

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = list(self._rows(statement, binds))
        return statement.map_row(rows.pop(0)) if rows else None

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return statement.map(list(self._rows(statement, binds)))

    def iterate(self, statement: Statement[T], /, **binds: object) -> Iterator[T]:
        # Asked for anew for each row: the first call puts the compiled function in its own place.
        return (statement.map_row(row) for row in self._rows(statement, binds))

    def _rows(self, statement: Statement[Any], binds: dict[str, object]) -> Iterator[Row]:
        values = statement.bind(binds)
        return read_rows(self._connection, statement, values, self._read_clock, self._busy_timeout)


def read_rows(
    connection: Connection,
    statement: Statement[Any],
    values: list[Any],
    read_clock: Callable[[], int],
    busy_timeout: float,
) -> Iterator[Row]:
    """The rows of a SELECT one after another; `values` are what its `bind` has returned."""
    if statement.timed:
        statement.tell_time(values, read_clock())
    try:
        yield from connection.execute(statement.text, values)
        return
    except (apsw.Error, UnicodeError) as error:
        named = statement.named(values)
        fault = map_statement_error(error, statement.text, named, busy_timeout, connection.filename)
    raise fault


def copy_in_memory(connection: Connection) -> Connection:
    """A private copy of a database in memory, which has one connection for all."""
    copy = open_connection(MEMORY)
    untyped: Any = copy
    with untyped.backup("main", connection, "main") as backup:
        backup.step(-1)
    return copy
