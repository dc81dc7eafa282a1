"""Read what was committed at one moment, while others write."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg

from cwstore._postgres.error_map import map_statement_error
from cwstore._postgres.statement_text import text_of
from cwstore.core.statement import Statement

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection
    from cwstore.core.mapping import Row

T = TypeVar("T")

_ROWS_AT_A_TIME = 1_000


class PostgresSnapshot:
    """The state that a connection sees whose transaction has begun at REPEATABLE READ."""

    def __init__(
        self, connection: "Connection", now: Callable[[], int], busy_timeout: float
    ) -> None:
        self._connection = connection
        self._now = now
        self._busy_timeout = busy_timeout
        self._cursors = 0

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = self._run(statement, binds)
        return statement.map_row(rows[0]) if rows else None

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return statement.map(self._run(statement, binds))

    def iterate(self, statement: Statement[T], /, **binds: object) -> Iterator[T]:
        values = self._values(statement, binds)
        self._cursors += 1
        name = f"cwstore_{self._cursors}"
        try:
            with psycopg.RawServerCursor(self._connection, name) as cursor:
                cursor.itersize = _ROWS_AT_A_TIME
                cursor.execute(text_of(statement), values)
                while rows := cursor.fetchmany(_ROWS_AT_A_TIME):
                    yield from statement.map(rows)
            return
        except (psycopg.Error, UnicodeError) as error:
            fault = map_statement_error(
                error, statement, statement.named(values), self._busy_timeout
            )
        raise fault

    def _run(self, statement: Statement[Any], binds: dict[str, object]) -> "list[Row]":
        values = self._values(statement, binds)
        try:
            return self._connection.execute(text_of(statement), values).fetchall()
        except (psycopg.Error, UnicodeError) as error:
            fault = map_statement_error(
                error, statement, statement.named(values), self._busy_timeout
            )
        raise fault

    def _values(self, statement: Statement[Any], binds: dict[str, object]) -> list[Any]:
        values = statement.bind(binds)
        if statement.timed:
            statement.tell_time(values, self._now())
        return values
