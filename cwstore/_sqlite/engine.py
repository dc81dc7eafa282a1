"""The apsw engine: one writer lane, readers lent per call, transactions, and errors made ours."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import apsw

from cwstore._sqlite import connection as _connect
from cwstore._sqlite import fork as _fork
from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.error_map import (
    map_statement_error,
    table_of,
)
from cwstore._sqlite.reader_pool import Reader, Readers, Reading
from cwstore._sqlite.transaction import Block
from cwstore._sqlite.writer import Writer
from cwstore.core.clock import Clock
from cwstore.core.mapping import Row
from cwstore.core.statement import Patch, Statement
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    NotFoundError,
    StoreClosedError,
)

if TYPE_CHECKING:
    from cwstore.core.changes import ChangeFeed

T = TypeVar("T")

_PAGES_AT_A_TIME = 256  # 1 MiB: a few ms of write lock


class SqliteDatabase:
    """One file, shared by the threads of one process.

    Writes take turns on one connection; every transaction begins IMMEDIATE, so it waits for other
    processes at its first statement or not at all. Reads outside of a transaction borrow a
    connection that cannot write and hold it for one call. An in-memory database has one
    connection, on which everything takes turns.
    """

    def __init__(
        self,
        writer: Connection,
        file: str,
        *,
        clock: Clock,
        busy_timeout: float,
        durable: bool,
    ) -> None:
        self.file = file
        self.busy_timeout = busy_timeout
        self._clock = clock
        self._readers = Readers(file, busy_timeout)
        self._writer = Writer(writer, file, clock, busy_timeout, durable)
        _fork.track(self)

    # The port

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = self._read(statement, statement.bind(binds))
        return statement.map_row(rows[0]) if rows else None

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
        values = [statement.bind(binds) for binds in rows]
        with Block(self._writer):
            self._writer.run_many(statement, values)

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        values = statement.bind(binds)
        writer = self._writer
        if writer.owner == get_ident():  # one statement needs no savepoint: it is whole by itself
            writer.run(statement, values)
            return writer.connection.changes()
        with Block(writer):
            writer.run(statement, values)
            return writer.connection.changes()

    def patch(
        self, patch: Patch[T], id: str, if_updated_at: datetime | None, values: Mapping[str, object]
    ) -> T:
        statement = patch.statement(values, if_updated_at is not None)
        binds = {**values, "id": id}
        if if_updated_at is not None:
            binds["if_updated_at"] = if_updated_at
        rows = self._write(statement, statement.bind(binds))
        if rows:
            return rows[0]
        table = table_of(statement.text)
        if if_updated_at is None or self.fetch_one(patch.find, id=id) is None:
            raise NotFoundError(f"{table}: no row has the id {id!r}", table=table, id=id)
        raise ConflictError(
            f"{table}: row {id!r} was updated since {if_updated_at.isoformat()};"
            " read it again and decide anew",
            reason=ConflictReason.STALE,
            table=table,
            id=id,
        )

    def transaction(self) -> AbstractContextManager[None]:
        return Block(self._writer)

    def in_transaction(self) -> bool:
        return self._writer.owner == get_ident()

    def state_token(self) -> object:
        if self._writer.owner == get_ident() or self.file == _connect.MEMORY:
            return None
        readers = self._readers
        try:
            reader = readers.idle.pop()
        except IndexError:
            reader = self._open_reader()
        try:
            ((version,),) = reader.execute("PRAGMA data_version").fetchall()
        except apsw.Error:
            readers.drop(reader)
            return None
        readers.idle.append(reader)
        # The number means something to that connection alone.
        return reader.number, version

    def vacuum(self) -> None:
        """Shrink the file by its free pages, a few at a time, so that other writers get between."""
        writer = self._writer
        if writer.owner == get_ident():
            return  # the pages are free only once the transaction is committed
        free, left = 1, 0
        while left < free:  # nor is there an end where the file was made without auto_vacuum
            with Block(writer):
                ((free,),) = writer.ask("PRAGMA freelist_count")
                writer.ask(f"PRAGMA incremental_vacuum({_PAGES_AT_A_TIME})")
                ((left,),) = writer.ask("PRAGMA freelist_count")
        with writer.exclusive():
            # SQLite cuts the file when it has moved all of the log into it.
            writer.ask("PRAGMA wal_checkpoint(PASSIVE)")

    # Reading

    def _read(self, statement: Statement[Any], values: list[Any]) -> list[Row]:
        thread = get_ident()
        if self._writer.owner == thread:
            return self._writer.run(statement, values)
        readers = self._readers
        idle = readers.idle
        try:
            reader = idle.pop()
        except IndexError:
            reader = None
        if reader is None:
            if self.file == _connect.MEMORY:
                with Block(self._writer):
                    return self._writer.run(statement, values)
            reader = self._open_reader()
        reader.thread = thread
        reader.since = monotonic()
        reader.what = text = statement.text
        try:
            if statement.stamp is not None:
                values[statement.stamp] = self._clock.read()
            rows = reader.execute(text, values).fetchall()
        except BaseException as error:
            readers.drop(reader)  # at once: it may still hold a snapshot
            if not isinstance(error, apsw.Error | UnicodeEncodeError):
                raise
            fault = map_statement_error(error, text, statement.named(values), self.busy_timeout)
        else:
            reader.what = ""
            idle.append(reader)
            if len(idle) > readers.kept:
                readers.trim()
            return rows
        raise fault

    def _open_reader(self) -> Reader:
        self._refuse_if_closed()
        return self._readers.open()

    @contextmanager
    def lease_reader(self, what: str = "whole file") -> Generator[Connection, None, None]:
        """Lend a connection for whole-file work: a reader of its own, or memory's only one."""
        if self.file == _connect.MEMORY:
            with self._writer.exclusive():
                yield self._writer.connection
            return
        self._refuse_if_closed()
        with self._readers.for_long(what) as connection:
            yield connection

    def open_snapshots(self) -> list[Reading]:
        """What holds a snapshot of the file at this moment: reads, and the open transaction."""
        reading = self._readers.open_snapshots()
        owner = self._writer.owner
        with suppress(apsw.ConnectionClosedError):
            if owner and self._writer.connection.in_transaction:
                reading.append(("transaction", owner, None))
        return reading

    # Writing

    def _write(self, statement: Statement[T], values: list[Any]) -> list[T]:
        """Run in the open transaction or in one of its own. Rows are mapped before the COMMIT."""
        writer = self._writer
        if writer.owner == get_ident():
            return statement.map(writer.run(statement, values))
        try:
            writer.begin(statement.text)
            rows = statement.map(writer.run(statement, values))
            writer.commit()
            return rows
        finally:
            try:
                writer.end()
            except BaseException:  # Ctrl-C at its first step
                writer.end()
                raise

    # The store's own

    def changes(self, capacity: int) -> "ChangeFeed":
        """A feed of what is committed through this store from now on."""
        from cwstore.core.changes import ChangeFeed, Recorder

        writer = self._writer
        feed = ChangeFeed(capacity, writer.look_elsewhere, self._unlisten)
        with writer.exclusive():
            if writer.recorder is None:
                writer.recorder = Recorder(writer.connection)
            writer.recorder.feeds.append(feed)
        return feed

    def _unlisten(self, feed: "ChangeFeed") -> None:
        """The last one who leaves stops the recording, once nobody writes."""
        writer = self._writer
        if writer.closed_reason:
            return
        with writer.exclusive():
            if writer.recorder is not None and writer.recorder.leave(feed):
                writer.recorder = None

    def data_version(self) -> int:
        """A number that changes when a connection of another store or process commits."""
        with self._writer.exclusive():
            return int(self._writer.ask("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """Close every connection; waits for the transaction of another thread."""
        self._writer.close()
        self._readers.close()

    def forget(self) -> list[Connection]:
        """In a forked child: refuse everything; the connections that nobody was using."""
        return self._readers.forget() + self._writer.forget()

    def _refuse_if_closed(self) -> None:
        if self._writer.closed_reason:
            raise StoreClosedError(self._writer.closed_reason)
