"""The psycopg engine: one connection that writes, a pool of readers, PostgreSQL's errors ours."""

import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psycopg

from cwstore._postgres import reports
from cwstore._postgres.address import Address, parse
from cwstore._postgres.connection import LONG, Connection
from cwstore._postgres.error_map import map_statement_error
from cwstore._postgres.listener import Listener
from cwstore._postgres.reader_pool import Readers
from cwstore._postgres.schema.target import PostgresTarget, program_for
from cwstore._postgres.server_check import closed_on_error, connect_both
from cwstore._postgres.snapshot import PostgresSnapshot
from cwstore._postgres.statement_text import guarded_text_of, linked_text_of, text_of
from cwstore._postgres.transaction import TransactionStack
from cwstore._postgres.version import current_schema, version_if_current
from cwstore._postgres.writer import Call, Writer
from cwstore.core.blocks import block
from cwstore.core.checks import check_busy_timeout, check_flags, check_progress, for_each
from cwstore.core.clock import Clock
from cwstore.core.clock import real_time as time
from cwstore.core.faults import loading
from cwstore.core.mapping import Row
from cwstore.core.repository import write_in_steps
from cwstore.core.statement import Statement
from cwstore.core.writer_lock import Transaction
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    InvalidValueError,
    StorageError,
    StoreClosedError,
)
from cwstore.migrations.scripts import Program

if TYPE_CHECKING:
    from cwstore.core.changes import ChangeFeed
    from cwstore.core.extension import Extension
    from cwstore.core.health_report import HealthReport
    from cwstore.core.reports import CheckReport, Progress, StoreStats

T = TypeVar("T")


class PostgresDatabase:
    """One schema of one database, shared by the threads of one process.

    Threads write one after another, on one connection; processes one after another, in the lane. A
    read outside of a transaction borrows a connection that cannot write, for one call.
    """

    def __init__(
        self,
        writer: Connection,
        reader: Connection,
        address: Address,
        *,
        version: int,
        clock: Clock,
        busy_timeout: float,
        durable: bool,
        read_only: bool,
        program: Program,
    ) -> None:
        self.file = address.name
        self.version = version
        self._address = address
        self._clock = clock
        self._program = program
        self._busy_timeout = busy_timeout
        schema = current_schema(writer)
        self._readers = Readers(address, busy_timeout, reader)
        self._writer = Writer(
            writer, self._readers, clock, schema, durable=durable, read_only=read_only
        )
        self._transactions = TransactionStack(self._writer)
        self._listener = Listener(address, busy_timeout, self._writer)

    # The port

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        rows = self._read(statement, statement.bind(binds))
        return statement.map_row(rows.pop(0)) if rows else None

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        # Other programs may write outside of the lane: no state is known to be still the same.
        return self.fetch_one(statement, **binds), None

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        return statement.map(self._read(statement, statement.bind(binds)))

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        values = statement.bind(binds)
        # What it returns is what was just checked, so that it can be mapped. But a text may look as
        # an encoded secret does.
        text = guarded_text_of if statement.holds_secrets else text_of
        return self._write(statement, values, text)[0]

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
        if self._writer.owner == get_ident():
            return int(self._writer.run(statement, values)[0][0])
        rows = self._run_alone([Call(statement, text_of(statement), values)])
        if rows is None:
            with Transaction(self._transactions):
                rows = self._writer.run(statement, values)
        return int(rows[0][0])

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        if self._writer.owner == get_ident() or self._decodes(statement):
            return write_in_steps(self, statement, binds, link, others)
        first = guarded_text_of(statement, keeps_id=True)
        calls = [Call(statement, first, statement.bind(binds))]
        stamps = int(statement.timed)
        for other, its_binds in others:
            linked = linked_text_of(other, link, stamps)
            values = other.bind({**its_binds, link: "not known yet"})
            values[linked.place] = None
            calls.append(Call(other, linked.text, values))
            stamps += other.timed
        rows = self._run_alone(calls)
        if rows is None:
            return write_in_steps(self, statement, binds, link, others)
        return statement.map(rows)[0] if rows else None

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        rows = self._write(statement, statement.bind(binds))
        return rows[0] if rows else None

    def transaction(self) -> AbstractContextManager[None]:
        return Transaction(self._transactions)

    def in_transaction(self) -> bool:
        return self._writer.owner == get_ident()

    def state_token(self) -> object:
        return None

    def vacuum(self) -> None:
        """Nothing to do: PostgreSQL uses the space of deleted rows again by itself."""
        self._writer.refuse_to_write()

    def compact(self) -> int:
        """PostgreSQL does that by itself, or by VACUUM FULL."""
        self._refuse_if_closed()
        raise StorageError(
            f"{self.file}: PostgreSQL uses the space of deleted rows again by itself; VACUUM FULL"
            " gives it back, and locks each table meanwhile"
        )

    # Reading

    def _read(self, statement: Statement[Any], values: list[Any]) -> list[Row]:
        writer = self._writer
        if writer.owner == get_ident() and not writer.running:
            return writer.run(statement, values, reads=True)
        self._refuse_if_closed()
        if statement.timed:
            statement.tell_time(values, self._clock.read())
        text, began = text_of(statement), time.monotonic()
        try:
            rows = self._readers.read(text, values)
        except (psycopg.Error, UnicodeError) as error:
            binds = statement.named(values)
            fault = map_statement_error(error, statement, binds, self._busy_timeout)
        else:
            if (seconds := time.monotonic() - began) > LONG:
                self._tell_slow(text, seconds)
            return rows
        raise fault

    def _tell_slow(self, text: bytes, seconds: float) -> None:
        with suppress(OSError):  # a log is no reason to fail
            from cwstore._postgres.slow import tell  # what most processes do not need
            from cwstore.core.slow import slow_statement

            tell(self.file, [slow_statement(text.decode(), seconds)], self.lease_reader)

    @block
    def lease_reader(self) -> Generator[Connection, None, None]:
        """Lend a connection that only reads."""
        self._refuse_if_closed()
        with self._readers.lend() as reader:
            yield reader

    @block
    def snapshot(self, what: str) -> Generator[PostgresSnapshot, None, None]:
        """See `core.port.OpenDatabase.snapshot`."""
        if self._writer.owner == get_ident():
            raise ConflictError(
                f"{what} inside of a transaction, whose changes it would not see: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        with self.lease_reader() as reader:
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            try:
                yield PostgresSnapshot(reader, self._clock.read, self._busy_timeout)
            finally:
                if not reader.closed:
                    reader.execute("ROLLBACK")

    # Writing

    def _write(
        self,
        statement: Statement[T],
        values: list[Any],
        text: Callable[[Statement[Any]], bytes] = guarded_text_of,
    ) -> list[T]:
        """Run in the thread's open transaction, or in a new one. Keeps no row that is no entity."""
        if self._writer.owner == get_ident():
            if not statement.holds_secrets:
                return statement.map(self._writer.run(statement, values))
        elif not self._decodes(statement):
            rows = self._run_alone([Call(statement, text(statement), values)])
            if rows is not None:
                return statement.map(rows)
        with Transaction(self._transactions):  # a row that cannot be decoded is not changed
            return statement.map(self._writer.run(statement, values))

    def _run_alone(self, calls: list[Call]) -> list[Row] | None:
        """See `Writer.run_alone`."""
        with self._transactions.exclusive(calls[0].statement.text):
            return self._writer.run_alone(calls)

    @staticmethod
    def _decodes(statement: Statement[Any]) -> bool:
        """Whether only a codec can tell that its rows can be mapped."""
        return statement.holds_secrets and statement.codec is not None

    # What the store offers beside repositories

    def query(self, sql: str, binds: Mapping[str, object]) -> list[dict[str, Any]]:
        """See `Database.query`."""
        with loading("query"):
            from cwstore._postgres.own_sql import run_query

        seconds, hidden = self._busy_timeout, self._program.hidden
        writer = self._writer
        if writer.owner != get_ident():
            with self.lease_reader() as reader:
                return run_query(reader, sql, binds, busy_timeout=seconds, hidden=hidden)
        writer.refuse_unless_ours()
        with writer.in_call():
            return run_query(writer.connection, sql, binds, busy_timeout=seconds, hidden=hidden)

    def changes(self, capacity: int) -> "ChangeFeed":
        """See `Store.changes`."""
        with loading("changes"):
            from cwstore.core.changes import ChangeFeed

        feed = ChangeFeed(capacity, self._listener.look, self._listener.leave)
        if self._writer.owner == get_ident():
            self._writer.refuse()
            self._listener.add(feed)
            return feed
        if self._writer.read_only:
            self._refuse_if_closed()
            self._listener.add(feed, wait=True)
            return feed
        with Transaction(self._transactions):  # whoever wrote before in the lane has ended
            self._writer.let_tables_tell()
            self._listener.add(feed)
        return feed

    def data_version(self) -> int:
        """A number that changes when anybody commits."""
        with self.lease_reader() as reader:
            return reports.data_version(reader)

    def backup(self, path: str | os.PathLike[str]) -> None:
        """PostgreSQL has tools of its own for that."""
        del path
        self._refuse_if_closed()
        raise StorageError(
            f"{self.file}: back PostgreSQL up by pg_dump, or by pgBackRest and the like"
        )

    def check(self) -> "CheckReport":
        """See `Store.check`."""
        self._refuse_if_closed()
        return reports.check(self._address, self._busy_timeout, self._program)

    def health(self) -> "HealthReport":
        """See `Store.health`."""
        return reports.health(self.lease_reader, self.file)

    def stats(self) -> "StoreStats":
        """See `Store.stats`."""
        with self.lease_reader() as reader:
            return reports.stats(reader, self.version)

    def __del__(self) -> None:
        writer = getattr(self, "_writer", None)  # None: it was never made
        if writer is None:
            return
        writer.note_fork()
        if writer.closed_reason or writer.owner:
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
        if self._writer.close():  # in a forked child they are its parent's
            self._listener.close()
            self._readers.close()

    def _refuse_if_closed(self) -> None:
        self._writer.note_fork()
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
    checkpoints: Literal["own", "external"] = "own",
    read_only: bool = False,
) -> PostgresDatabase:
    """Connect, check that the schema is the program's, migrate it if need be. See `Store.open`."""
    if checkpoints != "own":
        raise InvalidValueError("checkpoints", "are the server's: leave it out")
    check_flags(durable=durable, backup=backup, read_only=read_only)
    check_progress(on_progress)
    address = parse(path)
    program = program_for(migrations, application_id, extensions)
    seconds = check_busy_timeout(busy_timeout)
    stamps = Clock(clock)
    connection, reader = connect_both(
        address, busy_timeout=seconds, own_clock=clock is not None, read_only=read_only
    )
    with closed_on_error(connection, reader):
        target = PostgresTarget(connection, address, seconds, program)
        return PostgresDatabase(
            connection,
            reader,
            address,
            version=_version_of(connection, target, program, read_only, on_progress),
            clock=stamps,
            busy_timeout=seconds,
            durable=durable,
            read_only=read_only,
            program=program,
        )


def _version_of(
    connection: Connection,
    target: PostgresTarget,
    program: Program,
    read_only: bool,
    on_progress: "Callable[[Progress], None] | None",
) -> int:
    """Of the schema, after it was migrated if need be; with `read_only` it is only checked."""
    version = version_if_current(connection, program, target.name)
    if version is not None:
        return version
    from cwstore.migrations.runner import readable_version, upgrade_all

    if read_only:
        return readable_version(target, program)
    # There is nothing to copy it to: see `backup`.
    return upgrade_all(target, program, backup=False, on_progress=on_progress).version
