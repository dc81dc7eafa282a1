"""The apsw engine: one connection that writes, a pool of readers, and SQLite's errors made ours."""

import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.busy_handler import LONG
from cwstore._sqlite.connection import connect, leave_checkpoints
from cwstore._sqlite.database_file import MEMORY, is_there, resolve
from cwstore._sqlite.error_map import map_statement_error
from cwstore._sqlite.fork import ALIVE, abandon_inherited, track
from cwstore._sqlite.reader_pool import Reader, Readers
from cwstore._sqlite.transaction import TransactionStack
from cwstore._sqlite.version import version_if_current
from cwstore._sqlite.writer import Writer
from cwstore.core.blocks import block
from cwstore.core.checks import (
    check_busy_timeout,
    check_checkpoints,
    check_flags,
    check_progress,
    for_each,
)
from cwstore.core.clock import Clock
from cwstore.core.faults import loading
from cwstore.core.health_report import HealthReport, without_a_look
from cwstore.core.mapping import Row
from cwstore.core.repository import write_in_steps
from cwstore.core.statement import Statement
from cwstore.core.writer_lock import Transaction
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CwstoreError,
    StorageError,
    StoreClosedError,
)
from cwstore.migrations.scripts import OURS, Program, load, program_of

if TYPE_CHECKING:
    from cwstore._sqlite.lock_holders import Reading
    from cwstore._sqlite.read_only import ReadOnlyDatabase
    from cwstore._sqlite.snapshot import SqliteSnapshot
    from cwstore.core.changes import ChangeFeed
    from cwstore.core.extension import Extension
    from cwstore.core.reports import CheckReport, Progress, StoreStats

T = TypeVar("T")

_PAGES_AT_A_TIME = 256  # 1 MiB: a few ms of write lock


class SqliteDatabase:
    """One file, shared by the threads of one process.

    Threads write one after another, on one connection. Every transaction begins IMMEDIATE, so it
    waits for other processes when it begins, and never later. A read outside of a transaction
    borrows a connection that cannot write, for one call. A database in memory has one connection;
    threads use it one after another.
    """

    def __init__(
        self,
        writer: Connection,
        file: str,
        *,
        version: int,
        clock: Clock,
        busy_timeout: float,
        durable: bool,
        program: Program,
        leaves_checkpoints: bool = False,
    ) -> None:
        self.file = file
        self.version = version
        self.busy_timeout = busy_timeout
        self._clock = clock
        self._program = program
        number = program.application_id
        self._writer = Writer(
            writer,
            file,
            clock,
            busy_timeout,
            durable=durable,
            application_id=number,
            leaves_checkpoints=leaves_checkpoints,
        )
        self._readers = Readers(file, self._writer.names, busy_timeout, number, leaves_checkpoints)
        self._transactions = TransactionStack(self._writer)
        self._beside: Reading | None = None  # what is read on the connection that writes
        track(self)

    # The port

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        values = statement.bind(binds)
        rows = None
        # A new reader parses the whole schema, some 0.8 ms. A process that opens a store for a
        # few looks does with the connection that it has; but only a reader refuses to write.
        if statement.reads and not self._readers.idle:
            rows, _ = self._read_beside(statement, values)
        if rows is None:
            rows = self._read(statement, values)
        return statement.map_row(rows.pop(0)) if rows else None

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        # A reader has to read again every page that it knew before the last commit: 14 µs for a
        # look at what is ready, where the connection that committed needs 5.
        values = statement.bind(binds)
        rows, state = self._read_beside(statement, values, looks=True)
        if rows is None:
            rows = self._read(statement, values)
        return (statement.map_row(rows.pop(0)) if rows else None), state

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return statement.map(self._read(statement, statement.bind(binds)))

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        return self._write(statement, statement.bind(binds))[0]

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = self._write(statement, statement.bind(binds))
        return rows[0] if rows else None

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return self._write(statement, statement.bind(binds))

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        values = for_each(rows, statement.bind)
        with Transaction(self._transactions):
            self._writer.run_many(statement, values)

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        values = statement.bind(binds)
        writer = self._writer
        if writer.owner == get_ident():  # one statement is atomic without a savepoint
            writer.run(statement, values)
            return writer.connection.changes()
        with Transaction(self._transactions):
            writer.run(statement, values)
            return writer.connection.changes()

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        rows = self._write(statement, statement.bind(binds))
        return rows[0] if rows else None

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        return write_in_steps(self, statement, binds, link, others)

    def transaction(self) -> AbstractContextManager[None]:
        return Transaction(self._transactions)

    def in_transaction(self) -> bool:
        return self._writer.owner == get_ident()

    def state_token(self) -> object:
        writer = self._writer
        return writer.state() if writer.owner == get_ident() else None

    def vacuum(self) -> None:
        """Shrink the file by its free pages, a few at a time, so that others can write between."""
        writer = self._writer
        if writer.owner == get_ident():
            return  # the pages are free only once the transaction is committed
        with loading("prune"):
            from cwstore.core.watching import tell

        free, left, most = 1, 0, 0
        while left < free:  # in a file made without auto_vacuum they never become fewer
            with Transaction(self._transactions):
                ((free,),) = writer.ask("PRAGMA freelist_count")
                writer.ask(f"PRAGMA incremental_vacuum({_PAGES_AT_A_TIME})")
                ((left,),) = writer.ask("PRAGMA freelist_count")
            most = max(most, free)
            tell(most - left, most, "giving space back")
        if writer.leaves_checkpoints:
            return
        with self._transactions.exclusive():
            names = writer.names
            if names is not None and not names.may_checkpoint(writer.connection):
                raise StorageError(names.problem())
            # SQLite cuts the file only when it has moved all of the log into it.
            writer.ask("PRAGMA wal_checkpoint(PASSIVE)")

    def compact(self) -> int:
        """See `Store.compact`."""
        if self._writer.owner == get_ident():
            raise ConflictError(
                "compact() inside of a transaction: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        if self.file == MEMORY:
            return 0
        with loading("compact"):
            from cwstore._sqlite.compaction import compact

        self.do_without_statistics()
        return compact(self.vacuum, self._writer, self._transactions)

    def do_without_statistics(self) -> None:
        """Remove what ANALYZE noted of the tables of cwstore: see `_sqlite/statistics.py`."""
        with self._transactions.exclusive():
            writer = self._writer
            writer.ask("SELECT 1 FROM sqlite_schema LIMIT 1")  # it is as others have left it
            # To ask a table that is not there would be an error in the log of SQLite.
            if not writer.connection.table_exists("main", "sqlite_stat1"):
                return  # nobody ever ran it
            rows = writer.ask("SELECT DISTINCT tbl FROM sqlite_stat1")
        if not rows or self._program.application_id != OURS.application_id:
            return
        with loading("open"):
            from cwstore._sqlite.statistics import remove_statistics

        remove_statistics(writer, self._transactions, self._program, {table for (table,) in rows})

    # Reading

    def _read(self, statement: Statement[Any], values: list[Any]) -> list[Row]:
        if not ALIVE[0]:
            abandon_inherited()
        thread = get_ident()
        writer = self._writer
        if writer.owner == thread and not (writer.running and self.file != MEMORY):
            return writer.run(statement, values)
        readers = self._readers
        idle = readers.idle
        try:
            reader = idle.pop()
        except IndexError:
            reader = None
        if reader is None:
            if self.file == MEMORY:
                with Transaction(self._transactions):
                    return writer.run(statement, values)
            reader = self._open_reader()
        reader.thread = thread
        reader.since = monotonic()
        reader.what = text = statement.text
        try:
            if reader.since > readers.next_look:
                readers.look(reader.since, reads_on=True)
            if statement.timed:
                statement.tell_time(values, self._clock.read())
            rows = reader.execute(text, values).fetchall()
        except BaseException as error:
            readers.drop(reader)  # at once: it may still hold a snapshot
            if not isinstance(error, apsw.Error | UnicodeError):
                raise
            fault = map_statement_error(
                error, text, statement.named(values), self.busy_timeout, self.file
            )
        else:
            seconds = monotonic() - reader.since
            reader.what = ""
            idle.append(reader)
            if seconds > LONG or len(idle) > readers.kept:
                self._after_read(text, seconds)
            return rows
        raise fault

    def _after_read(self, text: str, seconds: float) -> None:
        self._readers.trim()
        if seconds > LONG:
            self._tell_slow(text, seconds)

    def _tell_slow(self, text: str, seconds: float) -> None:
        with suppress(OSError):  # a log is no reason to fail
            from cwstore._sqlite.slow import tell_read

            tell_read(self.file, text, seconds, self.lease_reader)

    def _read_beside(
        self, statement: Statement[Any], values: list[Any], *, looks: bool = False
    ) -> tuple[list[Row] | None, object]:
        """Read on the connection that writes, if no thread uses it; None: it could not be had.

        With `looks` also the state that it saw.
        """
        if not ALIVE[0]:
            abandon_inherited()
        writer = self._writer
        if writer.owner or self.file == MEMORY:
            return None, None
        lock, text, seconds = writer.lock, statement.text, 0.0
        try:
            if not lock.try_acquire() or writer.running or writer.closed_reason or writer.dropped:
                return None, None
            try:
                writer.running = True
                started = monotonic()
                self._beside = text, get_ident(), started
                if started > self._readers.next_look:
                    self._readers.look(started, reads_on=not looks)
                if statement.timed:
                    statement.tell_time(values, self._clock.read())
                rows = writer.cursor.execute(text, values).fetchall()
                seconds = monotonic() - started
                return rows, writer.state() if looks else None
            except BaseException as error:
                if isinstance(error, apsw.Error | UnicodeError):
                    return None, None  # a reader will tell what is wrong
                writer.renew_cursor()  # the old one may still hold a snapshot
                raise
            finally:
                self._beside = None
                writer.running = False
        finally:
            try:
                lock.release()
            except RuntimeError:  # the lock was not taken
                pass
            if seconds > LONG:
                self._tell_slow(text, seconds)

    def _open_reader(self) -> Reader:
        self._refuse_if_closed()
        return self._readers.open()

    @block
    def lease_reader(self, what: str = "whole file") -> Generator[Connection, None, None]:
        """Lend a connection for work on the whole file: a new reader, as a rule.

        In memory there is only one. Nor can a file be opened anew that was removed or replaced.
        """
        self._refuse_if_closed()
        names = self._writer.names
        if names is None or names.problem():
            with self._transactions.exclusive():
                yield self._writer.connection
            return
        with self._readers.for_long(what) as connection:
            yield connection

    @block
    def snapshot(self, what: str) -> "Generator[SqliteSnapshot, None, None]":
        """See `core.port.OpenDatabase.snapshot`."""
        with loading(what):
            from cwstore._sqlite.snapshot import SqliteSnapshot, copy_in_memory

        if self._writer.owner == get_ident():
            raise ConflictError(
                f"{what} inside of a transaction, whose changes it would not see: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        with self.lease_reader(what) as connection:
            if connection is not self._writer.connection:
                yield SqliteSnapshot(connection, self._clock.read, self.busy_timeout)
                return
            copy = copy_in_memory(connection)
        try:
            yield SqliteSnapshot(copy, self._clock.read, self.busy_timeout)
        finally:
            copy.close()

    def open_snapshots(self) -> "list[Reading]":
        """Who holds a snapshot of the file at this moment: reads, and the open transaction."""
        reading = self._readers.open_snapshots()
        if self._beside is not None:
            reading.append(self._beside)
        owner = self._writer.owner
        with suppress(apsw.ConnectionClosedError):
            if owner and self._writer.connection.in_transaction:
                reading.append(("transaction", owner, None))
        return reading

    # Writing

    def _write(self, statement: Statement[T], values: list[Any]) -> list[T]:
        """Run in the thread's open transaction, or in a new one. Maps rows before the COMMIT."""
        writer = self._writer
        if writer.owner == get_ident():
            if not statement.holds_secrets:
                return statement.map(writer.run(statement, values))
            with Transaction(self._transactions):  # a row that cannot be decoded is not changed
                return statement.map(writer.run(statement, values))
        transactions = self._transactions
        try:
            transactions.begin(statement.text)
            rows = statement.map(writer.run_alone(statement, values))
            transactions.commit()
            return rows
        finally:
            try:
                transactions.end()
            except BaseException:  # Ctrl-C at its first step
                transactions.end()
                raise

    # What the store offers beside repositories

    def query(self, sql: str, binds: Mapping[str, object]) -> list[dict[str, Any]]:
        """See `Database.query`."""
        writer = self._writer
        if writer.owner == get_ident():
            writer.refuse()
            return self._run_query(writer.connection, sql, binds)
        with self.lease_reader("query") as connection:
            return self._run_query(connection, sql, binds)

    def _run_query(
        self, connection: Connection, sql: str, binds: Mapping[str, object]
    ) -> list[dict[str, Any]]:
        with loading("query"):
            from cwstore._sqlite.own_sql import run_query

        hidden, seconds = self._program.hidden, self.busy_timeout
        return run_query(connection, sql, binds, busy_timeout=seconds, hidden=hidden)

    def changes(self, capacity: int) -> "ChangeFeed":
        """A feed of what is committed through this store from now on."""
        writer = self._writer
        with loading("changes"):
            from cwstore.core.changes import ChangeFeed

        with self._transactions.exclusive():
            feed = ChangeFeed(capacity, writer.tell_others_changes, writer.stop_if_unheard)
            recorder = writer.open_recorder()
            recorder.add_feed(feed)
            (writer.queue or writer.open_queue()).keep_listening()
        return feed

    def data_version(self) -> int:
        """A number that changes when a connection of another store or process commits."""
        with self._transactions.exclusive():
            return int(self._writer.ask("PRAGMA data_version")[0][0])

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `Store.backup`."""
        with loading("backup"):
            from cwstore._sqlite import backup
            from cwstore.core.log import INFO, log

        with self.lease_reader("backup") as connection:
            made = backup.write_backup(connection, path, busy_timeout=self.busy_timeout)
        log(INFO, "%s: copied to %s, %d bytes", self.file, made.path, made.size)

    def check(self) -> "CheckReport":
        """See `Store.check`."""
        with loading("check"):
            from cwstore._sqlite import inspection

        with self.lease_reader("check") as connection:
            return inspection.check(connection, self.file, self.busy_timeout, self._program)

    def health(self) -> HealthReport:
        """See `Store.health`."""
        try:
            with loading("health"):
                from cwstore._sqlite.health import look
        except StorageError as error:  # it is asked whether the store can work, and it cannot
            return without_a_look(str(error))
        names = self._writer.names
        gone = "" if names is None or self._writer.closed_reason else names.problem()
        return look(
            self.file,
            gone,
            self.lease_reader,
            self.open_snapshots,
            leaves_checkpoints=self._writer.leaves_checkpoints,
        )

    def stats(self) -> "StoreStats":
        """See `Store.stats`."""
        with loading("stats"):
            from cwstore._sqlite import inspection
            from cwstore._sqlite.lock_holders import log_readers

        readers = log_readers(self.file, self.open_snapshots())
        with self.lease_reader("stats") as connection:
            return inspection.stats(connection, self.file, self.busy_timeout, readers)

    def __del__(self) -> None:
        # Nobody can use it any more. Without this, connections, locks and descriptors would stay
        # until the interpreter ends, since a thread that ended may still refer to them.
        writer = getattr(self, "_writer", None)  # None: it was never made
        if not ALIVE[0]:
            abandon_inherited()
        if writer is None or writer.closed_reason or writer.owner:
            return
        try:  # where warnings are errors, it is closed all the same
            warnings.warn(
                f"the store of {self.file} was not closed; use `with` or call close()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        finally:
            self.close()

    def close(self) -> None:
        """Close every connection; waits for the transaction of another thread."""
        was_open = self._writer.close()
        self._readers.close(leaves_log=self._writer.leaves_log)
        if was_open:
            self._writer.leave_queue()

    def abandon_after_fork(self) -> list[Connection]:
        """In a forked child: refuse every call. Returns the connections that nobody was using."""
        return self._readers.abandon_after_fork() + self._transactions.abandon_after_fork()

    def _refuse_if_closed(self) -> None:
        if not ALIVE[0]:
            abandon_inherited()
        if self._writer.closed_reason:
            raise StoreClosedError(self._writer.closed_reason)


def open_database(
    path: str | os.PathLike[str],
    *,
    clock: Callable[[], datetime] | None,
    busy_timeout: float,
    durable: bool,
    backup: bool,
    on_progress: "Callable[[Progress], None] | None",
    migrations: str | os.PathLike[str] | None = None,
    application_id: int | None = None,
    extensions: "Sequence[Extension]" = (),
    checkpoints: str = "own",
    read_only: bool = False,
) -> "SqliteDatabase | ReadOnlyDatabase":
    """Connect, check that the file is the program's, migrate it if need be. See `Store.open`."""
    file = resolve(path)
    program = OURS
    if application_id is not None or extensions:
        from cwstore.core.extension import check_extensions

        program = program_of(migrations, application_id, check_extensions(extensions))
    seconds = check_busy_timeout(busy_timeout)
    stamps = Clock(clock)
    check_flags(durable=durable, backup=backup, read_only=read_only)
    check_progress(on_progress)
    leaves_checkpoints = check_checkpoints(checkpoints)
    if read_only:
        from cwstore._sqlite.read_only import ReadOnlyDatabase

        return ReadOnlyDatabase(file, program, stamps, seconds)
    return _open_to_write(
        file,
        program,
        stamps,
        seconds,
        durable=durable,
        leaves_checkpoints=leaves_checkpoints,
        backup=backup,
        on_progress=on_progress,
    )


def _open_to_write(
    file: str,
    program: Program,
    clock: Clock,
    busy_timeout: float,
    *,
    durable: bool,
    leaves_checkpoints: bool,
    backup: bool,
    on_progress: "Callable[[Progress], None] | None",
) -> SqliteDatabase:
    if not is_there(file):
        from cwstore.migrations.runner import parse_all

        # Now: a bad script shall leave no new file behind.
        parse_all(program, len(load(program.directory)))
    connection = connect(
        file, busy_timeout=busy_timeout, durable=durable, application_id=program.application_id
    )
    try:
        if leaves_checkpoints:
            leave_checkpoints(connection)
        version = version_if_current(connection, program)
        if version is None:
            from cwstore._sqlite.schema.target import SqliteTarget
            from cwstore.migrations.runner import upgrade_all

            target = SqliteTarget(connection, file, busy_timeout, program)
            try:
                done = upgrade_all(target, program, backup=backup, on_progress=on_progress)
                version = done.version
            finally:
                target.detach()
        database = SqliteDatabase(
            connection,
            file,
            version=version,
            clock=clock,
            busy_timeout=busy_timeout,
            durable=durable,
            program=program,
            leaves_checkpoints=leaves_checkpoints,
        )
    except BaseException:
        connection.close()
        with suppress(OSError):  # that would hide what has happened
            from cwstore._sqlite.schema.target import SqliteTarget

            SqliteTarget(connection, file, busy_timeout).close()
        raise
    try:
        with suppress(CwstoreError):  # no reason to refuse the file: the next store tries again
            database.do_without_statistics()
    except BaseException:
        database.close()
        raise
    return database
