"""A PostgreSQL database of a store, looked at past cwstore: see `tests/kits/database.py`."""

from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Any

import psycopg
import pytest

from cwstore._postgres.engine import PostgresDatabase
from cwstore.core.database import Database
from cwstore.store import Store
from tests.kits.postgres_server import ADDRESSES

Row = tuple[Any, ...]

#: A program that holds the lane of the database at its argument, until it reads a line.
HOLD_LOCK = """
import sys, psycopg
with psycopg.connect(sys.argv[1]) as db:
    db.execute("SELECT set_config('application_name', 'the holder', false)")
    db.execute("SELECT pg_advisory_xact_lock(hashtextextended('cwstore public', 0))")
    print("holding", flush=True)
    sys.stdin.readline()
    db.rollback()
"""
_COPIES = count(1)
#: By address: the database that was copied to it.
_SOURCES: dict[str, str] = {}


def address_of(file: object) -> str | None:
    """The address of the database that a path stands for; None: it is a file."""
    return ADDRESSES.get(str(file))


def _administer(address: str, statement: str) -> None:
    """As superuser, outside of the database at the address."""
    name = address.partition("///")[2].partition("?")[0]
    with psycopg.connect(address.replace(f"///{name}?", "///postgres?"), autocommit=True) as other:
        other.execute(statement.format(name).encode())


def copy(address: str, target: object) -> None:
    """A database that nobody has open, once more; the path `target` stands for it."""
    name = address.partition("///")[2].partition("?")[0]
    new = f"copy_{next(_COPIES)}"
    _administer(address, f"CREATE DATABASE {new} TEMPLATE {{}} STRATEGY file_copy")
    ADDRESSES[str(target)] = made = address.replace(f"///{name}?", f"///{new}?")
    _SOURCES[made] = address


def copy_again(store: Store, target: object) -> None:
    """What the database of the store was copied from, once more."""
    copy(_SOURCES[store.path], target)


def remove(address: str, path: object) -> None:
    del ADDRESSES[str(path)]
    _administer(address, "DROP DATABASE {} WITH (FORCE)")


def referenced_tables(store: Database) -> dict[str, str]:
    """See `tests/kits/database.py`."""
    text = """
        SELECT attribute.attname, parent.relname
        FROM pg_constraint AS key
        JOIN pg_class AS parent ON parent.oid = key.confrelid
        JOIN pg_attribute AS attribute
          ON attribute.attrelid = key.conrelid AND attribute.attnum = key.conkey[1]
        WHERE key.contype = 'f'
    """
    return {str(a): str(b) for a, b in writer_of(store).connection.execute(text).fetchall()}


def rows_written(store: Database) -> int:
    """How many rows the open transaction has inserted, updated and deleted."""
    text = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::bigint FROM pg_stat_xact_user_tables"
    ((rows,),) = writer_of(store).connection.execute(text).fetchall()
    return int(rows or 0)


def give_its_own_time(store: Store, clock: Callable[[], datetime]) -> None:
    """See `store_of_its_own_time`: the clock alone gives stamps, and none is handed on."""
    assert isinstance(store._db, PostgresDatabase)
    lane: Any = store._db._writer.lane
    own: Any = store._db._writer
    lane.last_stamp = lambda: (b"SELECT -9223372036854775807::bigint", ())
    lane.hand_on = lambda stamp: (b"SELECT 1", ())

    def give_out(expected: int, more: int) -> tuple[bytes, tuple[str]]:
        first, *_ = [own._clock() for _ in range(1 + more)]
        return b"SELECT set_config('cwstore.stamp', $1::text, true)", (str(first),)

    lane.give_out = give_out


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
        return self.query("SELECT xid::text FROM pg_last_committed_xact()")

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
