"""The engine of a store that only reads: without writer, queue and log."""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import suppress
from threading import Lock, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakSet

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.database_file import inode_of
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.fork import ALIVE, abandon_inherited, track
from cwstore._sqlite.look import connect_read_only
from cwstore._sqlite.snapshot import SqliteSnapshot, read_rows
from cwstore._sqlite.version import version_if_current
from cwstore.core.blocks import block
from cwstore.core.checks import for_each
from cwstore.core.clock import Clock
from cwstore.core.faults import loading, read_only_refusal
from cwstore.core.health_report import HealthReport, without_a_look
from cwstore.core.mapping import Row
from cwstore.core.statement import Statement
from cwstore.errors import (
    CwstoreError,
    StorageError,
    StoreClosedError,
)
from cwstore.migrations.scripts import Program

if TYPE_CHECKING:
    from cwstore.core.changes import ChangeFeed
    from cwstore.core.reports import CheckReport, StoreStats

T = TypeVar("T")

_KEPT = 8  # connections that wait for the next call
_LOOK_INTERVAL = 0.05  # seconds from one look at the names of the files to the next
_REPLACED = -2  # no version of a file


def _readable_version(
    connection: Connection, file: str, busy_timeout: float, program: Program
) -> int:
    """The version of the file. Raises MigrationError if it is older than this code can read."""
    version = version_if_current(connection, program)
    if version is not None:
        return version
    with loading("open"):
        from cwstore._sqlite.schema.target import SqliteTarget
        from cwstore.migrations.runner import readable_version

    return readable_version(SqliteTarget(connection, file, busy_timeout, program), program)


class ReadOnlyDatabase:
    """The engine of a store that only reads. Any number of threads read at once.

    A transaction is one moment of the file: what its thread reads in it fits together.
    """

    def __init__(self, file: str, program: Program, clock: Clock, busy_timeout: float) -> None:
        self.file = file
        self._program = program
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._closed_reason = ""
        self._idle: list[Connection] = []
        self._noted: dict[str, tuple[int, int] | None] = {}  # the files that are open, by name
        self._next_look = 0.0  # by `time.monotonic`
        self._snapshots: dict[int, Connection] = {}  # by thread: its transaction
        self._lent: dict[Connection, tuple[str, int, float]] = {}  # for what, to whom, since when
        self._feeds: WeakSet[ChangeFeed] = WeakSet()
        self._seen = -1  # the version of the file that the feeds know
        self._watching = Lock()
        self._watch: Connection | None = None  # notices the commits of others
        with self._lend("open") as connection:
            self.version = _readable_version(connection, file, busy_timeout, program)
        track(self)

    # Reading

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = self._read(statement, statement.bind(binds))
        return statement.map_row(rows.pop(0)) if rows else None

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        return self.fetch_one(statement, **binds), None

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return statement.map(self._read(statement, statement.bind(binds)))

    def _read(self, statement: Statement[Any], values: list[Any]) -> list[Row]:
        with self._lend(statement.text) as connection:
            clock, seconds = self._clock.read, self._busy_timeout
            return list(read_rows(connection, statement, values, clock, seconds))

    @block
    def _lend(self, what: str, *, looks: bool = True) -> Generator[Connection]:
        """The connection of this thread's transaction, one that rests, or a new one.

        With `looks` it is refused where others have another file of that name by now.
        """
        if not ALIVE[0]:  # forked by other than Python
            abandon_inherited()
        held = self._snapshots.get(get_ident())
        if held is not None:
            yield held
            return
        if looks:
            self._look()
        try:
            connection, sees_changes = self._idle.pop(), True
        except IndexError:
            connection, sees_changes = self._connect()
        self._lent[connection] = what, get_ident(), monotonic()
        rests = False
        try:
            yield connection
            rests = sees_changes and not self._closed_reason and len(self._idle) < _KEPT
        finally:
            del self._lent[connection]
            if rests:
                self._idle.append(connection)
            else:
                connection.close()

    def _connect(self) -> tuple[Connection, bool]:
        if self._closed_reason:
            raise StoreClosedError(self._closed_reason)
        connection, sees_changes = connect_read_only(
            self.file,
            busy_timeout=self._busy_timeout,
            application_id=self._program.application_id,
        )
        if sees_changes and not self._noted:
            beside = (f"{self.file}-wal", f"{self.file}-shm")
            self._noted = {
                self.file: connection.inode,
                **{name: inode_of(name) for name in beside},
            }
        if sees_changes and connection.inode != self._noted[self.file]:
            connection.close()
            raise self._replaced(self.file)
        return connection, sees_changes

    def _look(self) -> None:
        """Raise StorageError if others read and write another file, or another log, by now.

        What rests here would show the old one for good.
        """
        now = monotonic()
        if now < self._next_look:
            return
        for name, noted in self._noted.items():
            found = inode_of(name)
            # A log that is removed was nobody's yet.
            if found != noted and (found is not None or name == self.file):
                raise self._replaced(name)
        self._next_look = now + _LOOK_INTERVAL

    @staticmethod
    def _replaced(name: str) -> StorageError:
        return StorageError(
            f"{name} was removed or replaced while this store had it open, which reads what was"
            " there; close the store and open it anew"
        )

    @block
    def transaction(self) -> Generator[None]:
        thread = get_ident()
        if thread in self._snapshots:
            yield  # nothing to keep or to undo
            return
        with self._lend("transaction") as connection:
            connection.execute("BEGIN")
            self._snapshots[thread] = connection
            try:
                yield
            finally:
                del self._snapshots[thread]
                connection.execute("ROLLBACK")

    @block
    def snapshot(self, what: str) -> Generator[SqliteSnapshot]:
        connection, _ = self._connect()
        self._lent[connection] = what, get_ident(), monotonic()
        try:
            yield SqliteSnapshot(connection, self._clock.read, self._busy_timeout)
        finally:
            del self._lent[connection]
            connection.close()

    def in_transaction(self) -> bool:
        return get_ident() in self._snapshots

    def state_token(self) -> object:
        return None

    # Writing is refused

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        self._refuse(statement, binds)

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        self._refuse(statement, binds)

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        self._refuse(statement, binds)

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        for_each(rows, statement.bind)
        raise self._refusal()

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        self._refuse(statement, binds)

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        del link, others
        self._refuse(statement, binds)

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        self._refuse(statement, binds)

    def _refuse(self, statement: Statement[Any], binds: Mapping[str, object]) -> NoReturn:
        statement.bind(binds)  # what is wrong with a value is said first
        raise self._refusal()

    def _refusal(self) -> StorageError:
        return read_only_refusal(self.file)

    def vacuum(self) -> None:
        raise self._refusal()

    def compact(self) -> int:
        raise self._refusal()

    # What the store offers beside repositories

    def query(self, sql: str, binds: Mapping[str, object]) -> list[dict[str, Any]]:
        with loading("query"):
            from cwstore._sqlite.own_sql import run_query

        hidden, seconds = self._program.hidden, self._busy_timeout
        with self._lend("query") as connection:
            return run_query(connection, sql, binds, busy_timeout=seconds, hidden=hidden)

    def changes(self, capacity: int) -> "ChangeFeed":
        """A feed that tells that others have committed."""
        with loading("changes"):
            from cwstore.core.changes import ChangeFeed

        feed = ChangeFeed(capacity, self._tell_elsewhere, lambda: None)
        self._tell_elsewhere()  # to those that there are
        self._feeds.add(feed)
        return feed

    def data_version(self) -> int:
        with self._watching:
            if self._closed_reason:
                raise StoreClosedError(self._closed_reason)
            self._look()
            if self._watch is None:
                self._watch, _ = self._connect()
            try:
                return int(self._watch.pragma("data_version"))
            except apsw.Error as error:
                fault = map_error(
                    error, f"data_version ({self.file})", self._busy_timeout, self.file
                )
        raise fault

    def _tell_elsewhere(self) -> None:
        """Give all feeds that others have committed, if they have since the last look."""
        with suppress(CwstoreError):
            try:
                version = self.data_version()
            except StorageError:
                version = _REPLACED  # or the disk has failed: whoever reads is told
            if version != self._seen:
                with loading("changes"):
                    from cwstore.core.changes import NOTE_OF_ELSEWHERE

                self._seen = version
                for feed in list(self._feeds):
                    feed.publish([NOTE_OF_ELSEWHERE])

    def backup(self, path: str | os.PathLike[str]) -> None:
        with loading("backup"):
            from cwstore._sqlite import backup

        with self._lend("backup", looks=False) as connection:
            backup.write_backup(
                connection,
                path,
                busy_timeout=self._busy_timeout,
                application_id=self._program.application_id,
            )

    def check(self) -> "CheckReport":
        with loading("check"):
            from cwstore._sqlite import inspection

        with self._lend("check") as connection:
            return inspection.check(connection, self.file, self._busy_timeout, self._program)

    def health(self) -> HealthReport:
        try:
            with loading("health"):
                from cwstore._sqlite.health import look
        except StorageError as error:
            return without_a_look(str(error))
        return look(self.file, "", self._lend, lambda: list(self._lent.values()))

    def stats(self) -> "StoreStats":
        with loading("stats"):
            from cwstore._sqlite import inspection
            from cwstore._sqlite.lock_holders import log_readers

        readers = log_readers(self.file, list(self._lent.values()))
        with self._lend("stats") as connection:
            return inspection.stats(connection, self.file, self._busy_timeout, readers)

    def close(self) -> None:
        """Close every connection: those that are lent when they are given back."""
        self._closed_reason = (
            self._closed_reason or f"the store of {self.file} is closed; open a new one"
        )
        for feed in list(self._feeds):
            feed.close()
        with suppress(IndexError):
            while True:
                self._idle.pop().close()
        with self._watching:
            if self._watch is not None:
                self._watch.close()

    def abandon_after_fork(self) -> list[Connection]:
        """In a forked child: refuse every call. Returns the connections that nobody was using."""
        self._closed_reason = self._closed_reason or (
            f"the store of {self.file} was opened before this process was forked;"
            " open a store of its own in the child"
        )
        resting, self._idle = self._idle, []
        if self._watch is not None and not self._watching.locked():
            resting.append(self._watch)
        self._watch, self._watching = None, Lock()
        return resting
