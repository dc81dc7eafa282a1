"""The database of a store, looked at past cwstore.

What every engine must pass looks at the database through this module alone. A path that stands for
a database of PostgreSQL is taken to `tests/kits/postgres.py`.
"""

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import apsw
import psycopg

from cwstore._sqlite.engine import SqliteDatabase
from cwstore.aio import AsyncStore
from cwstore.core.database import Database
from cwstore.store import Store
from tests.kits import postgres
from tests.kits.postgres import RawPostgres, address_of

Row = tuple[Any, ...]
#: The fixture `open_store`: opens a store on the database of the test; takes its options.
OpenStore = Callable[..., Store]

#: What the driver raises, and no error of ours may carry.
DRIVER_ERROR = apsw.Error | psycopg.Error

#: A program that holds the write lock of the file named by its argument, until it reads a line.
HOLD_LOCK = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("holding", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
db.close()
"""


def open_at(address: object, **options: Any) -> Store:
    """A store on any database of the engine; `open_store` opens it on the one of the test."""
    return Store.open(cast("str", address_of(address) or address), **options)


async def open_async(address: object, **options: Any) -> AsyncStore:
    """The same for awaited calls."""
    return await AsyncStore.open(cast("str", address_of(address) or address), **options)


def open_private(**options: Any) -> Store:
    """A store on a database that nobody else can open and that goes with it."""
    return open_at(":memory:", **options)


def copy_database(source: Path, target: Path) -> None:
    """A database that nobody has open, once more: 20 times as fast as making one."""
    if address := address_of(source):
        postgres.copy(address, target)
        return
    shutil.copy(source, target)  # its mode, too


def copy_of(store: Store, target: Path) -> None:
    """What the store has, once more; on PostgreSQL what it was copied from."""
    if postgres.writer_of(store):
        postgres.copy_again(store, target)
    else:
        store.backup(target)


def remove_database(path: Path) -> None:
    """For what is not a file; a file goes with its directory."""
    if address := address_of(path):
        postgres.remove(address, path)


def engine_of(store: Database) -> SqliteDatabase:
    """The engine below a store, for tests of the engine itself and for this module."""
    assert isinstance(store._db, SqliteDatabase)
    return store._db


def store_of_its_own_time(path: object, clock: Callable[[], datetime]) -> Store:
    """A store whose stamps are those of its clock, also where the file has later ones.

    Rows of any age may lie in a file: an import keeps times, and version 11 gave them out so.
    """
    store = open_at(path, clock=clock)
    if address_of(path):
        postgres.give_its_own_time(store, clock)
        return store
    writer: Any = engine_of(store)._writer
    writer.take_over_stamps = writer.hand_on_stamps = lambda *_: None
    return store


class RawDatabase:
    """A connection of its own, which reads what is committed."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def rows(self, table: str) -> list[Row]:
        """Every row of the table, in no order."""
        return self._connection.execute(f'SELECT * FROM "{table}"').fetchall()

    def tables(self) -> set[str]:
        """The names of all tables, those of the engine and of the migrations too."""
        text = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        return {str(name) for (name,) in self._connection.execute(text)}

    def query(self, sql: str) -> list[Row]:
        """What a SELECT finds."""
        return self._connection.execute(sql).fetchall()

    def commits(self) -> object:
        """Another value after every commit that others made."""
        return self._connection.pragma("data_version")

    def problems(self) -> list[Row]:
        """Damage, and references that lead nowhere."""
        found = [
            *self._connection.execute("PRAGMA integrity_check").fetchall(),
            *self._connection.execute("PRAGMA foreign_key_check").fetchall(),
        ]
        return [row for row in found if row != ("ok",)]

    def close(self) -> None:
        self._connection.close()


def open_raw(file: Path) -> RawDatabase | RawPostgres:
    """To be closed by the caller; `raw` closes it itself."""
    if address := address_of(file):
        return RawPostgres(address)
    return RawDatabase(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY))


@contextmanager
def raw(file: Path) -> Generator[RawDatabase | RawPostgres, None, None]:
    """A look at the database of a store that may be open."""
    opened = open_raw(file)
    try:
        yield opened
    finally:
        opened.close()


@contextmanager
def in_use(file: Path) -> Generator[None, None, None]:
    """Another connection has it open, so that a store is not the last to close it."""
    if address_of(file):
        yield
        return
    connection = apsw.Connection(str(file))
    try:
        connection.pragma("data_version")
        yield
    finally:
        connection.close()


def contents(file: Path) -> dict[str, list[Row]]:
    """Every row of every table, but for what counts changes and tells of no row."""
    with raw(file) as database:
        return {
            name: sorted(database.rows(name), key=repr)
            for name in database.tables() - {"readiness", "cycle_guard"}
        }


def tamper(file: Path, sql: str, *binds: object) -> int:
    """Run one statement that no check and no foreign key stops; how many rows it changed."""
    if address := address_of(file):
        return postgres.tamper(address, sql, binds)
    connection = apsw.Connection(str(file))
    try:
        connection.pragma("ignore_check_constraints", True)
        connection.pragma("foreign_keys", False)
        connection.execute(sql, binds)
        return connection.changes()
    finally:
        connection.close()


def run_raw(file: Path, *statements: str) -> None:
    """SQL of a program that knows nothing of cwstore, in one transaction; foreign keys are on."""
    if address := address_of(file):
        postgres.run(address, *statements)
        return
    connection = apsw.Connection(str(file))
    try:
        connection.pragma("foreign_keys", True)
        with connection:
            for statement in statements:
                connection.execute(statement).fetchall()
    finally:
        connection.close()


def change(file: Path, sql: str, *binds: object) -> int:
    """Run one statement as another program would, guards and all; how many rows it changed."""
    if address := address_of(file):
        return postgres.change(address, sql, binds)
    connection = apsw.Connection(str(file))
    try:
        connection.pragma("foreign_keys", True)
        connection.execute(sql, binds)
        return connection.changes()
    finally:
        connection.close()


def steps_of_reading(store: Store, act: Callable[[], object]) -> int:
    """How many instructions the connections of the store that are open spend on it."""
    spent = 0

    def count() -> bool:
        nonlocal spent
        spent += 1
        return False

    engine = engine_of(store)
    connections = [reader.connection for reader in engine._readers.idle]
    connections.append(engine._writer.connection)
    for connection in connections:
        connection.set_progress_handler(count, 1)
    try:
        act()
    finally:
        for connection in connections:
            connection.set_progress_handler(None)
    return spent


def rows_written(store: Store) -> int:
    """How many rows the store has inserted, updated and deleted, of which two are compared."""
    if postgres.writer_of(store):
        return postgres.rows_written(store)
    return engine_of(store)._writer.connection.total_changes()


def rows_of_each_commit(store: Store) -> list[int]:
    """Filled with the rows that each commit from now on has changed, by cascade and trigger too."""
    connection: Any = engine_of(store)._writer.connection
    counts: list[int] = []
    seen = connection.total_changes()

    def count() -> bool:
        nonlocal seen
        now = connection.total_changes()
        counts.append(now - seen)
        seen = now
        return False

    connection.set_commit_hook(count)
    return counts


def referenced_tables(store: Store) -> dict[str, str]:
    """By column that is a foreign key: the table that it refers to."""
    if postgres.writer_of(store):
        return postgres.referenced_tables(store)
    text = """
        SELECT key."from", key."table" FROM sqlite_schema AS owner,
        pragma_foreign_key_list(owner.name) AS key WHERE owner.type = 'table'
    """
    return {
        str(column): str(table)
        for column, table in engine_of(store)._writer.connection.execute(text)
    }


def records_changes(store: Database) -> bool:
    """Whether the store notes what it changes, as it does while somebody listens."""
    if listener := postgres.listener_of(store):
        return bool(listener._feeds)
    return engine_of(store)._writer.recorder is not None


def feeds_heard(store: Store) -> int:
    """How many feeds each commit of the store is told to."""
    if listener := postgres.listener_of(store):
        return len(listener.feeds)
    recorder = engine_of(store)._writer.recorder
    return 0 if recorder is None else len(recorder._feeds)


def has_seen_who_writes(store: Store) -> bool:
    """Whether it waits for the write lock, and has looked which process has it."""
    if writer := postgres.writer_of(store):
        return writer._seen is not None
    queue = engine_of(store)._writer.queue
    return queue is not None and queue.holder is not None


def has_named_whom_it_waits_for(store: Store) -> bool:
    """Whether a thread waits for another one, and has noted its name."""
    writer = postgres.writer_of(store) or engine_of(store)._writer
    return writer.waited_for_name is not None


def waiting_threads(store: Store) -> int:
    """How many threads wait at this moment to write through the store."""
    writer = postgres.writer_of(store) or engine_of(store)._writer
    return len(writer.lock._waiting)
