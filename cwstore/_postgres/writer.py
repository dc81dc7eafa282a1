"""The one connection of a store that writes. Threads take turns on it by its lock.

Transactions on it are opened and ended in transaction.py.
"""

import os
import sys
from contextlib import suppress
from threading import TIMEOUT_MAX, get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from cwstore._postgres.connection import (
    LONG,
    Connection,
    Cursor,
    Message,
    connect,
    failed_at,
    is_stale,
    run_batch,
)
from cwstore._postgres.durability import is_wait_cancelled, wait_after_commit
from cwstore._postgres.error_map import (
    COLUMNS_OF_INDEX,
    FOREIGN_KEY,
    is_lost,
    is_of_standby,
    map_error,
    map_statement_error,
    not_replicated,
    outcome_unknown,
)
from cwstore._postgres.lane import BEGIN, COMMIT, Lane
from cwstore._postgres.row_guard import UNFIT
from cwstore._postgres.statement_text import text_of
from cwstore._postgres.telling import let_tables_tell
from cwstore.core.blocks import block
from cwstore.core.clock import real_time as time
from cwstore.core.faults import missing_reference, name_holder, read_only_refusal, table_of, taken
from cwstore.core.ids import make_rising_id
from cwstore.core.writer_lock import FairLock, acquire, refuse_others, thread_waited_for
from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    CorruptDatabaseError,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
    StorageError,
    StoreClosedError,
    of_item,
    with_note,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import datetime
    from weakref import ref

    from cwstore._postgres.lane import Holder
    from cwstore._postgres.reader_pool import Readers
    from cwstore.core.clock import Clock
    from cwstore.core.mapping import Row
    from cwstore.core.slow import SlowStatement
    from cwstore.core.statement import Statement

_ROWS_AT_A_TIME = 200  # of a batch: what the server answers must fit into the buffers of sockets
_BEGIN_TO_READ: Message = (b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
_LOOK: Message = (b"SELECT 1", ())
_SAVEPOINT: Message = (b"SAVEPOINT statement", ())
_RELEASE: Message = (b"RELEASE statement", ())
_ROLLBACK_TO: Message = (b"ROLLBACK TO statement", ())

# A connection that was inherited by a fork is the parent's. To free it here would end its session.
_inherited: list[Connection] = []


class Call(NamedTuple):
    """A statement that is sent with its COMMIT."""

    statement: "Statement[Any]"
    text: bytes
    values: list[Any]


class Writer:
    """The connection, its lock, and the checks before each statement."""

    def __init__(
        self,
        connection: Connection,
        readers: "Readers",
        clock: "Clock",
        schema: str,
        *,
        durable: bool,
        read_only: bool,
    ) -> None:
        self.address = readers.address
        self.name = readers.address.name
        self.busy_timeout = readers.busy_timeout
        self._readers = readers
        self.lane = Lane(connection, schema)
        self._clock = clock
        self._durable = durable
        self.read_only = read_only
        self._process = os.getpid()
        # The lock knows the thread that holds it, should Ctrl-C come before `owner` is set.
        self.lock = FairLock()
        self.owner = 0  # ident of the thread that holds the lock; 0: none
        # The owner is in the midst of a call, which is not its `with` block: who comes now has
        # interrupted it.
        self.running = False
        self.acquisition = 0  # counts how often the lock was taken
        self.closed_reason = ""  # why nothing can be run any more
        self.abort_error: CwstoreError | None = None  # why the open transaction is lost
        self.task: ref[Any] | None = None  # to the task or greenlet that opened the transaction
        self.waited_for = 0  # ident of the thread that had the lock when one last waited
        self.waited_for_name: str | None = None
        self.began = 0.0  # when the owner took the lock, by CLOCK_MONOTONIC
        self._waited = 0.0  # seconds for other threads, of the busy timeout of this acquisition
        self._handed_on = 0  # the last stamp of whoever held the lane before
        self._wrote = False  # something in the open transaction
        self._seen: Holder | None = None  # who had the lane when an answer did not come for long
        self._seen_at = 0.0  # when that was, by `time.monotonic`
        self.slow: list[SlowStatement] = []  # of this transaction, to be logged at its end
        self.ended = 0  # transactions, so that a feed knows whether there may be something to hear
        self._adopt(connection)

    # A transaction, by the thread that holds the lock

    def begin(self) -> None:
        """Begin, take the lane, go on behind the last stamp. Raises BusyError, StorageError."""
        self._wrote = False
        if self.read_only:  # keeps nobody waiting
            self._batch([_BEGIN_TO_READ], "BEGIN")
            return
        started = time.monotonic()
        made = self._batch(
            [BEGIN, *self._lock_timeout(), self.lane.take, self.lane.last_stamp()], "BEGIN"
        )
        ((last,),) = made[-1].fetchall()
        self._handed_on = last
        self._clock.raise_to(last)
        self._tell_wait(time.monotonic() - started)

    def commit(self) -> None:
        """Hand on the last stamp and keep the transaction. Raises OutcomeUnknownError."""
        if is_stale(self.connection):  # if the server has ended the session, nothing is committed
            self._batch([_LOOK], "COMMIT")
        messages = [COMMIT]
        if self._clock.last > self._handed_on:
            messages.insert(0, self.lane.hand_on(self._clock.last))
        at = len(messages) - 1
        if self._wrote and self._wait is not None:
            messages.append(self._wait)
        self._batch(messages, "COMMIT", at)
        self._refuse_if_not_replicated()

    def rollback(self) -> None:
        """Undo the open transaction. A connection that cannot do that is given up."""
        if self.dropped or self.connection.info.transaction_status == 0:
            return
        try:
            self.connection.rollback()  # and forget what was prepared, or seemed to be
        except psycopg.Error:
            self.drop()
        except BaseException:
            self.drop()
            raise

    def _batch(self, messages: list[Message], what: str, commit: int | None = None) -> list[Cursor]:
        """Run SQL of the engine's own in one round trip. After an error nothing of it is kept.

        But if it comes after the message number `commit`, the outcome is unknown.
        """
        made: list[Cursor] = []
        try:
            run_batch(self.connection, messages, made)
            return made
        except psycopg.Error as error:
            self._drop_if_standby(error)
            lost = is_lost(error) or (commit is not None and failed_at(made) > commit)
            fault = map_error(error, f"{what} ({self.name})", self.busy_timeout)
        except BaseException:
            self.drop()
            raise
        if lost:
            self.drop()
            if commit is not None:
                fault = outcome_unknown(self.name)
        self._name_holder(fault)
        raise fault

    def _lock_timeout(self) -> list[Message]:
        """For a transaction whose thread has waited for others before."""
        if not self._waited:
            return []
        left = max(1, round((self.busy_timeout - self._waited) * 1000))
        return [(b"SELECT set_config('lock_timeout', $1::text, true)", (f"{left}ms",))]

    def time_of(self, moment: float) -> "datetime":
        """What the clock of the store showed then."""
        return self._clock.at(moment)

    def _name_holder(self, fault: CwstoreError) -> None:
        if isinstance(fault, BusyError) and not self.dropped:
            self.rollback()
            with suppress(psycopg.Error):
                holder = self.lane.holder(self.connection)
                name_holder(fault, holder.process, holder.since)

    # Statements, by the thread that holds the lock

    def run_alone(self, calls: "Sequence[Call]") -> "list[Row] | None":
        """Run statements as a transaction of their own, in one round trip; the rows of the first.

        None: one of these may be no entity, and nothing was changed. Run it in steps, which tell.
        """
        self.refuse_to_write()
        messages = [BEGIN, *self._lock_timeout(), self.lane.take]
        timed = [call for call in calls if call.statement.timed]
        if timed:
            messages.append(self._give_out(timed))
        at = len(messages)
        messages += [(call.text, call.values) for call in calls]
        messages.append(COMMIT)
        if self._wait is not None:
            messages.append(self._wait)
        made: list[Cursor] = []
        started = time.monotonic()
        try:
            run_batch(self.connection, messages, made)
        except (psycopg.Error, UnicodeError) as error:
            fault = self._fault_alone(error, calls, failed_at(made) - at)
        except BaseException:
            self.drop()
            raise
        else:
            seconds = time.monotonic() - started
            self._refuse_if_not_replicated()
            if timed:
                ((first,),) = made[at - 1].fetchall()
                self._clock.raise_to(int(first) + len(timed) - 1)
            if self._waited + seconds > LONG:
                self._note_long(seconds, made, calls[0].statement)
            return made[at].fetchall() if made[at].description else [(made[at].rowcount,)]
        if fault is None:
            return None
        raise fault

    def _give_out(self, calls: "list[Call]") -> Message:
        """What gives each a stamp, which is known only once they were run."""
        shown = [self._clock.read() for _ in calls]
        for (statement, _, values), now in zip(calls, shown, strict=True):
            if statement.clock is not None:
                values[statement.clock] = now
            if statement.rising_id is not None:
                values[statement.rising_id] = make_rising_id(0)  # the server puts the stamp in
        return self.lane.give_out(max(shown[0], self._clock.last + 1), len(calls) - 1)

    def _fault_alone(
        self, error: psycopg.Error | UnicodeError, calls: "Sequence[Call]", at: int
    ) -> CwstoreError | None:
        """`at`: which message failed: of a statement its number, then the COMMIT, the wait for it.

        None: a row may be no entity.
        """
        if isinstance(error, psycopg.Error) and (is_lost(error) or at > len(calls)):
            self.drop()
            return outcome_unknown(self.name)
        self.rollback()
        self._drop_if_standby(error)
        if 0 <= at < len(calls):
            if isinstance(error, psycopg.Error) and error.sqlstate == UNFIT:
                return None
            return self._fault(error, calls[at].statement, calls[at].values)
        assert isinstance(error, psycopg.Error)
        fault = map_error(error, f"BEGIN ({self.name})", self.busy_timeout)
        self._name_holder(fault)
        return fault

    def run(
        self, statement: "Statement[Any]", values: list[Any], *, reads: bool = False
    ) -> "list[Row]":
        """Run in the transaction that the thread has open, and fetch every row.

        If it fails, what was done before stays; but not if it `reads`: then only a damaged
        database can make it fail, and a savepoint would be paid for nothing.
        """
        self.refuse_unless_ours()
        started = time.monotonic()
        self.running = True
        try:
            (rows,) = self._run_each(statement, [values], reads=reads)
            if (seconds := time.monotonic() - started) > LONG:
                self._note_slow(statement, seconds)
            return rows
        finally:
            self.running = False

    @block
    def in_call(self) -> "Generator[None]":
        """Use the connection in the open transaction. After an interruption nothing of it stays."""
        self.running = True
        try:
            yield
        except CwstoreError:
            raise
        except BaseException:
            self.drop_interrupted()
            raise
        finally:
            self.running = False

    def run_many(self, statement: "Statement[Any]", rows: list[list[Any]]) -> None:
        """Run a statement that returns nothing once for each row.

        The caller has just opened a transaction or savepoint for it.
        """
        self.running = True
        try:
            for start in range(0, len(rows), _ROWS_AT_A_TIME):
                self._run_each(statement, rows[start : start + _ROWS_AT_A_TIME], start)
        finally:
            self.running = False

    def _run_each(
        self,
        statement: "Statement[Any]",
        rows: list[list[Any]],
        start: int | None = None,
        *,
        reads: bool = False,
    ) -> "list[list[Row]]":
        """Run it once for the binds of each row; `start` is the first one's number in its batch.

        None: it is no batch.
        """
        if not reads:
            self.refuse_to_write()
        for values in rows:
            if statement.timed:
                statement.give_stamp(values, self._clock)
        messages: list[Message] = [(text_of(statement), values) for values in rows]
        if not reads:
            self._wrote = True
            messages = [_SAVEPOINT, *messages, _RELEASE]
        made: list[Cursor] = []
        try:
            run_batch(self.connection, messages, made)
            done = made if reads else made[1:-1]
            return [one.fetchall() if one.description else [(one.rowcount,)] for one in done]
        except (psycopg.Error, UnicodeError) as error:
            at = min(max(0, failed_at(made) - 1), len(rows) - 1)
            fault = self._fault_within(error, statement, rows[at], reads)
        except BaseException:
            self.drop_interrupted()
            raise
        if isinstance(fault, InvalidValueError) and start is not None:
            fault = of_item(fault, start + at)
        raise fault

    def _fault_within(
        self,
        error: psycopg.Error | UnicodeError,
        statement: "Statement[Any]",
        values: list[Any],
        reads: bool,
    ) -> CwstoreError:
        self._drop_if_standby(error)
        if isinstance(error, psycopg.Error) and (self.dropped or is_lost(error)):
            self.drop()
            self.abort_error = map_error(error, self.name, self.busy_timeout)
            return self.abort_error
        if reads:
            self.abort_error = self._fault(error, statement, values, look=False)
            return self.abort_error
        try:
            run_batch(self.connection, [_ROLLBACK_TO, _RELEASE], [])
        except psycopg.Error as lost:
            self.drop()
            self.abort_error = map_error(lost, self.name, self.busy_timeout)
            return self.abort_error
        fault = self._fault(error, statement, values)
        if isinstance(fault, CorruptDatabaseError):
            self.abort_error = fault  # psycopg takes what cannot be prepared for prepared
        return fault

    def _fault(
        self,
        error: psycopg.Error | UnicodeError,
        statement: "Statement[Any]",
        values: list[Any],
        *,
        look: bool = True,
    ) -> CwstoreError:
        """The error to raise, with the columns that the catalogue names, if one may `look`."""
        binds = statement.named(values)
        fault = map_statement_error(error, statement, binds, self.busy_timeout)
        if not look or isinstance(error, UnicodeError):
            return fault
        with suppress(psycopg.Error):
            return self._named(fault, error, statement, binds)
        return fault

    def _named(
        self,
        fault: CwstoreError,
        error: psycopg.Error,
        statement: "Statement[Any]",
        binds: "Mapping[str, Any]",
    ) -> CwstoreError:
        table = error.diag.table_name or table_of(statement.text)
        where = error.diag.schema_name or self.lane.schema
        if isinstance(fault, MissingReferenceError):
            name = error.diag.constraint_name
            keys = self.connection.execute(FOREIGN_KEY, [name, _quoted(where)]).fetchall()
            return missing_reference(table, binds, [(str(key), str(to)) for key, to in keys])
        if error.sqlstate == "23505":
            name = error.diag.constraint_name
            found = self.connection.execute(COLUMNS_OF_INDEX, [name, _quoted(where)]).fetchall()
            taken_fault = taken(", ".join(f"{table}.{column}" for (column,) in found))
            # A new row is not there, unless its id is what another one has.
            if found == [("id",)] or statement.text.startswith("UPDATE"):
                given = binds.get("id")
                taken_fault.id = given if isinstance(given, str) else None
            return taken_fault
        self._name_holder(fault)
        return fault

    def refuse_to_write(self) -> None:
        """Raise StorageError if the store was opened to read only."""
        if self.read_only:
            raise read_only_refusal(self.name)

    def refuse_unless_ours(self) -> None:
        """As `refuse`, for each statement of an open transaction: a quick look first."""
        if self.running or self.abort_error is not None or self.task is not None:
            self.refuse()
        self.note_fork()
        if self.closed_reason:  # in a forked child
            raise StoreClosedError(self.closed_reason)

    def refuse(self) -> None:
        """Raise if the transaction is not the caller's to go on with, or was lost."""
        self.note_fork()
        if self.closed_reason:
            raise StoreClosedError(self.closed_reason)
        refuse_others(self)
        if self.abort_error is not None:
            lost = self.abort_error
            raise with_note(lost, "(the whole transaction was rolled back: leave it)")

    # The lock

    def acquire(self, text: str) -> None:
        """Wait until no other thread holds the lock, and have a connection that is up.

        A BusyError names the table of `text`. Raises StoreClosedError, StorageError.
        """
        self.note_fork()
        self._seen = None
        self._waited = acquire(self, text, self.name)
        if self.dropped or is_stale(self.connection):
            self._reconnect()

    # What took long, to be logged

    def _look_for_holder(self) -> None:
        """See who has the lane, while this transaction waits for it."""
        if "logging" not in sys.modules:
            return
        session = self.connection.info.backend_pid
        with suppress(psycopg.Error, CwstoreError), self._readers.lend() as reader:
            self._seen = self.lane.holder(reader, session)
            self._seen_at = time.monotonic()

    def _tell_wait(self, seconds: float) -> None:
        """Log a long wait for the lane, and for other threads before."""
        if self._waited + seconds <= LONG:
            return
        holder, began = None, None
        if self._waited > seconds:
            holder = thread_waited_for(self)
        elif self._seen is not None:
            holder = self._seen.process
            if self._seen.seconds is not None:
                began = self._seen_at - self._seen.seconds
        with suppress(OSError):  # a log is no reason to fail
            from cwstore.core.slow import tell_wait  # what most transactions do not need

            tell_wait(self.name, self._waited + seconds, holder, began)

    def _note_long(
        self, seconds: float, made: "Sequence[Cursor]", statement: "Statement[Any]"
    ) -> None:
        """Tell a long wait from a slow statement that was sent with its COMMIT."""
        ((_, waited),) = made[2 if self._waited else 1].fetchall()
        self._tell_wait(waited)
        if seconds - waited > LONG:
            self._note_slow(statement, seconds - waited)

    def _note_slow(self, statement: "Statement[Any]", seconds: float) -> None:
        with suppress(OSError):
            from cwstore.core.slow import slow_statement

            # Without the guard, which is no part of its plan that anybody asks for.
            self.slow.append(slow_statement(text_of(statement).decode(), seconds))

    def tell_slow(self, slow: "list[SlowStatement]") -> None:
        """Log them with their plans."""
        with suppress(OSError):
            from cwstore._postgres.slow import tell

            tell(self.name, slow, self._readers.lend)

    def let_tables_tell(self) -> None:
        """Have every table tell what is changed, in the open transaction. Raises StorageError."""
        try:
            self._wrote = let_tables_tell(self.connection) or self._wrote
            return
        except psycopg.Error as error:
            fault = map_error(error, f"listening to {self.name}", self.busy_timeout)
        self._name_holder(fault)
        raise fault

    # The connection

    def _reconnect(self) -> None:
        if not self.dropped:
            self.drop()
        new = connect(self.address, busy_timeout=self.busy_timeout, read_only=self.read_only)
        try:
            self._adopt(new)
            return
        except psycopg.Error as error:
            fault = map_error(error, f"opening {self.name}", self.busy_timeout)
        new.close()
        raise fault

    def _adopt(self, connection: Connection) -> None:
        self._wait = wait_after_commit(connection, self._durable)
        self._not_replicated = False
        connection.add_notice_handler(self._hear)
        connection.when_long = self._look_for_holder
        self.connection = connection
        self.dropped = False

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        if is_wait_cancelled(notice):
            self._not_replicated = True

    def _refuse_if_not_replicated(self) -> None:
        if self._not_replicated:
            self._not_replicated = False
            raise not_replicated(self.name)

    def _drop_if_standby(self, error: psycopg.Error | UnicodeError) -> None:
        """Let the next call look for the server that writes now, as the address tells."""
        if isinstance(error, psycopg.Error) and is_of_standby(error):
            self.drop()
            self._readers.close_idle()

    def drop(self) -> None:
        """Close a connection whose state is in doubt. The next `acquire` opens a new one."""
        self.dropped = True
        with suppress(psycopg.Error):
            self.connection.close()

    def drop_interrupted(self) -> None:
        """The same within a transaction, nothing of which stays: Ctrl-C came in a statement."""
        self.drop()
        self.abort_error = StorageError(f"{self.name}: a statement was interrupted")

    def note_fork(self) -> None:
        """In a forked child: refuse every call from now on, and leave the session to the parent."""
        if os.getpid() == self._process:
            return
        self._process = os.getpid()
        _inherited.append(self.connection)
        self.lock = FairLock()
        self.owner = 0
        self.running = False
        self.closed_reason = self.closed_reason or (
            f"the store of {self.name} was opened before this process was forked;"
            " open a store of its own in the child"
        )

    def close(self) -> bool:
        """Close the connection. Waits for the transaction of another thread.

        A second call does nothing, and returns False. Raises ConflictError inside a transaction of
        this thread.
        """
        self.note_fork()
        if self.owner == get_ident():
            raise ConflictError(
                "close() inside of a transaction: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        try:
            self.lock.acquire(TIMEOUT_MAX)
            was_open = not self.closed_reason
            if was_open:
                self.closed_reason = f"the store of {self.name} is closed; open a new one"
                self.drop()
        finally:
            with suppress(RuntimeError):  # Ctrl-C came before the lock was taken
                self.lock.release()
        return was_open


def _quoted(schema: str) -> str:
    return '"' + schema.replace('"', '""') + '"'
