"""A PostgreSQL database of a store, looked at past cwstore: see `tests/kits/database.py`."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest

from cwstore._postgres.engine import PostgresDatabase
from cwstore.core.database import Database
from cwstore.store import Store
from tests.kits.postgres_server import ADDRESSES

Row = tuple[Any, ...]


def address_of(file: object) -> str | None:
    """The address of the database that a path stands for; None: it is a file."""
    return ADDRESSES.get(str(file))


def give_its_own_time(store: Store, clock: Callable[[], datetime]) -> None:
    """See `store_of_its_own_time`: the clock alone gives stamps, and none is handed on."""
    assert isinstance(store._db, PostgresDatabase)
    lane: Any = store._db._writer.lane
    own: Any = store._db._writer
    lane.last_stamp = lambda: (b"SELECT -9223372036854775807::bigint", ())
    lane.hand_on = lambda stamp: (b"SELECT 1", ())

    def stamp_alone(now: int) -> tuple[bytes, tuple[str]]:
        return b"SELECT set_config('cwstore.stamp', $1::text, true)", (str(own._clock()),)

    lane.stamp_alone = stamp_alone


def writer_of(store: Database) -> Any:
    """The writer of a store on PostgreSQL; None: it is on a file."""
    return store._db._writer if isinstance(store._db, PostgresDatabase) else None


def listener_of(store: Database) -> Any:
    """What hears the changes of a store on PostgreSQL; None: it is on a file."""
    return store._db._listener if isinstance(store._db, PostgresDatabase) else None


class RawPostgres:
    """A connection of its own, which reads what is committed."""

    def __init__(self, address: str) -> None:
        self._connection = psycopg.connect(address, autocommit=True)

    def rows(self, table: str) -> list[Row]:
        return self._connection.execute(f'SELECT * FROM "{table}"'.encode()).fetchall()

    def tables(self) -> set[str]:
        text = b"SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        return {str(name) for (name,) in self._connection.execute(text)}

    def query(self, sql: str) -> list[Row]:
        return self._connection.execute(sql.encode()).fetchall()

    def commits(self) -> object:
        return self.query("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")

    def problems(self) -> list[Row]:
        return []

    def close(self) -> None:
        self._connection.close()


def run(address: str, *statements: str) -> None:
    if any(one.startswith("REPLACE") for one in statements):
        pytest.skip("only SQLite has REPLACE")
    with psycopg.connect(address) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def change(address: str, sql: str, binds: tuple[object, ...]) -> int:
    with psycopg.connect(address) as connection:
        return connection.execute(sql.replace("?", "%s").encode(), binds or None).rowcount


def tamper(address: str, sql: str, binds: tuple[object, ...]) -> int:
    """What would stop it is dropped."""
    while True:
        try:
            return change(address, sql, binds)
        except psycopg.IntegrityError as error:
            table, name = error.diag.table_name, error.diag.constraint_name
        run(address, f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
