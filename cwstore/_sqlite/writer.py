"""The connection that writes: threads take turns on it, processes wait for each other fairly."""

import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import TIMEOUT_MAX, RLock, get_ident
from typing import TYPE_CHECKING, Any
from weakref import ref

import apsw

from cwstore._sqlite import connection as _connect
from cwstore._sqlite import error_map as _faults
from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.threads import ThreadEnds, Turn, running_task
from cwstore._sqlite.transaction import Block
from cwstore.core.clock import Clock
from cwstore.core.mapping import Row
from cwstore.core.statement import Statement
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CwstoreError,
    MissingReferenceError,
    OutcomeUnknownError,
    StoreClosedError,
    with_note,
)

if TYPE_CHECKING:
    from cwstore._sqlite.checkpoint import Log
    from cwstore._sqlite.write_queue import Line
    from cwstore.core.changes import Recorder

_UNLOOKED = 3  # commits from one look at the length of the log to the next


class Writer:
    """One connection and the transaction that one thread at a time has open on it."""

    def __init__(
        self, connection: Connection, file: str, clock: Clock, busy_timeout: float, durable: bool
    ) -> None:
        self.owner = 0  # ident of the thread that has a transaction open
        self.closed_reason = ""  # why nothing can be run any more
        self._file = file
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._durable = durable
        # Held by the owner. It knows its thread, should Ctrl-C come before `owner` is set.
        self._turn = Turn()
        self._line: Line | None = None  # opened by the first transaction
        self._use = 0  # number of the last taking of the turn
        self._depth = 0  # nesting of the owner's transactions
        self._blocks: list[ref[Block]] = []  # of the levels
        self._thread_ends = ThreadEnds(self._end_of_thread)
        self._elsewhere = RLock()  # held to end a transaction that its thread has not ended
        self._log: Log | None = None  # made by the first commit
        self._unlooked = 0  # commits until the next look at it
        self._task: object = None  # of an event loop, that entered the open transaction
        self._abort_error: CwstoreError | None = (
            None  # why SQLite undid all of the open transaction
        )
        self._patience = _connect.busy_handler(busy_timeout)
        self.recorder: Recorder | None = None  # while somebody listens to changes
        self._adopt(connection)

    # Statements, by the thread that has the turn

    def run(self, statement: Statement[Any], values: list[Any]) -> list[Row]:
        """Run to the end and fetch every row."""
        if self._abort_error is not None or self._task is not None:
            self._refuse()
        if statement.stamp is not None:
            values[statement.stamp] = self._clock()
        recorder = self.recorder
        noted = 0 if recorder is None else len(recorder.changes)
        try:
            return self._cursor.execute(statement.text, values).fetchall()
        except (apsw.Error, UnicodeEncodeError) as error:
            binds = statement.named(values)
            fault = _faults.map_statement_error(error, statement.text, binds, self._busy_timeout)
        # Raised here, so that neither the apsw error nor bound values hang on to it.
        if recorder is not None:
            del recorder.changes[noted:]
        if not self.connection.in_transaction:
            self._abort_error = fault
        elif isinstance(fault, MissingReferenceError):
            table = _faults.table_of(statement.text)
            fault = _faults.missing_reference(
                table, binds, self.ask(_faults.FOREIGN_KEYS, {"table": table})
            )
        raise fault

    def run_many(self, statement: Statement[Any], rows: list[list[Any]]) -> None:
        """Run a statement that returns nothing once for each row, in a level just entered."""
        at: list[Any] = []

        def stamped() -> Iterator[list[Any]]:
            nonlocal at
            for at in rows:
                if statement.stamp is not None:
                    at[statement.stamp] = self._clock()
                yield at

        try:
            self._cursor.executemany(statement.text, stamped())
            return
        except (apsw.Error, UnicodeEncodeError) as error:
            fault = _faults.map_statement_error(
                error, statement.text, statement.named(at), self._busy_timeout
            )
        if not self.connection.in_transaction:
            self._abort_error = fault
        raise fault

    def ask(self, text: str, binds: Mapping[str, str] | None = None) -> list[Row]:
        """Run what is no statement of a repository."""
        try:
            return self._cursor.execute(text, binds).fetchall()
        except apsw.Error as error:
            fault = _faults.map_error(error, f"{text} ({self._file})", self._busy_timeout)
        raise fault

    # Transactions

    def begin(self, text: str) -> None:
        """Wait for the turn and the write lock, one timeout for both; an error cites `text`."""
        waited = self._take_turn(text)
        line = self._line or self._open_line()
        self._depth = 1
        try:
            line.spent = waited
            if line.is_long():
                line.spent += line.wait_for(self._busy_timeout - waited)
            self._cursor.execute("BEGIN IMMEDIATE")
            return
        except apsw.Error as error:
            fault = _faults.map_error(error, f"BEGIN ({self._file})", self._busy_timeout)
        finally:
            line.leave()
        raise fault

    def _open_line(self) -> "Line":
        from cwstore._sqlite.write_queue import in_line, open_line  # what reading does not need

        line = self._line = open_line(self._file)
        self._patience = in_line(line, self._busy_timeout)
        self.connection.set_busy_handler(self._patience)
        return line

    def commit(self) -> None:
        """Keep the transaction. Raises OutcomeUnknownError if the disk failed meanwhile."""
        if self._abort_error is not None:
            self._refuse()
        try:
            self._cursor.execute("COMMIT")
        except apsw.Error as error:
            fault = _faults.commit_fault(error, self._file, self._busy_timeout)
        else:
            if self.recorder is not None:
                self.recorder.publish()
            self._depth = 0
            self._unlooked -= 1
            if self._unlooked < 0:
                self._look_at_log()
            return
        if isinstance(fault, OutcomeUnknownError):
            self._drop()
        raise fault

    def _look_at_log(self) -> None:
        if self._log is None:
            from cwstore._sqlite.checkpoint import Log  # what reading does not need

            assert self._line is not None  # since the transaction began
            self._log = Log(self._line)
        self._unlooked = _UNLOOKED
        self._log.look(self.connection, self._patience)

    def end(self) -> None:
        """Undo what is not committed and give up the turn. Does nothing without the turn.

        What Ctrl-C interrupts here is done by a second call.
        """
        if self.owner != get_ident():
            with suppress(RuntimeError):
                self._turn.give_up()  # taken, but not yet marked as this thread's
            return
        if self._depth:
            self._undo()
            self._depth = 0
        self._blocks.clear()
        self._abort_error = self._task = None
        self.owner = 0
        self._turn.give_up()

    def _undo(self) -> None:
        if self.recorder is not None:
            self.recorder.take()
        try:
            if not self._dropped and self.connection.in_transaction:
                self._cursor.execute("ROLLBACK")
        except apsw.Error:
            self._drop()  # closing rolls back

    def enter(self, block: Block) -> None:
        """Open a transaction, or a savepoint in the one that this thread has open."""
        if self.owner != get_ident():
            self._thread_ends.expect()
            try:
                self.begin("")
                self._task = running_task()
                self._watch(block, 1)
            except BaseException:
                self.end()
                raise
            return
        self._refuse()
        self._savepoint(f"SAVEPOINT level{self._depth + 1}")
        self._refuse()
        self._depth += 1
        self._watch(block, self._depth)
        if self.recorder is not None:
            self.recorder.savepoint()

    def _watch(self, block: Block, level: int) -> None:
        """Undo the level should the block go before it was left: Ctrl-C can come before `leave`."""
        block.use, block.level = self._use, level
        use = self._use
        self._blocks.append(ref(block, lambda _: self.leave(use, level, succeeded=False)))

    def leave(self, use: int, level: int, succeeded: bool) -> None:
        """Close that level: keep it or undo exactly it. Once it is closed, do nothing."""
        if use != self._use or self.owner != get_ident():
            self._leave_elsewhere(use, succeeded)
            return
        while self._depth > level:  # what Ctrl-C has left open
            self._close_level(succeeded=False)
        if level == 1:
            try:
                if succeeded:
                    self.commit()
            finally:
                self.end()
        elif self._depth == level:
            self._close_level(succeeded)
            if succeeded:
                self._refuse()

    def _close_level(self, succeeded: bool) -> None:
        if not succeeded:
            self._savepoint(f"ROLLBACK TO level{self._depth}")
        self._savepoint(f"RELEASE level{self._depth}")
        self._depth -= 1
        del self._blocks[self._depth :]
        if self.recorder is not None:
            self.recorder.close_savepoint(succeeded)

    def _take_turn(self, text: str) -> float:
        """Wait until no other thread has a transaction open; the seconds that took."""
        waited = 0.0
        if not self._turn.try_acquire():
            started = time.monotonic()
            if not self._turn.take(self._busy_timeout):
                raise _faults.busy_thread(text, self._file, self._busy_timeout)
            waited = time.monotonic() - started
        if self.closed_reason:
            raise StoreClosedError(self.closed_reason)
        self.owner = get_ident()
        self._use += 1
        if self._dropped:
            self._replace_dropped()
        return waited

    @contextmanager
    def exclusive(self) -> Generator[None]:
        """Without a transaction, or in the one that this thread has open."""
        if self.owner == get_ident():
            yield
            return
        try:
            self._take_turn("")
            yield
        finally:
            try:
                self.end()
            except BaseException:  # Ctrl-C at its first step
                self.end()
                raise

    def _savepoint(self, text: str) -> None:
        """If even this fails, nothing of the transaction can be kept."""
        if self._abort_error is None:
            try:
                self._cursor.execute(text)
            except apsw.Error as error:
                self._abort_error = _faults.map_error(
                    error, f"{text} ({self._file})", self._busy_timeout
                )

    def _end_of_thread(self) -> None:
        """Undo what the calling thread has left open, while it can still release the turn."""
        with self._elsewhere:
            if self.owner == get_ident():
                self.end()

    def _leave_elsewhere(self, use: int, succeeded: bool) -> None:
        """Undo a transaction that is left where it was not entered: in a thread, in a child."""
        with self._elsewhere, suppress(apsw.ThreadingViolationError):  # its thread works on it
            if not self.closed_reason and self.owner and use == self._use:
                self._drop()
                self._abort_error = None
                self._blocks.clear()
                self.owner = self._depth = 0
                self._turn.break_lock()
        if succeeded:
            if self.closed_reason:
                raise StoreClosedError(self.closed_reason)
            raise ConflictError(
                "transaction left by another thread than had entered it: rolled back",
                reason=ConflictReason.TRANSACTION,
            )

    def _refuse(self) -> None:
        """Raise if the transaction is of another task, or lost: none of it shall seem kept."""
        if self._task is not None and running_task() is not self._task:
            raise ConflictError(
                "another task of this thread has a transaction open on this store; use AsyncStore,"
                " or do not await inside of `with store.transaction()`",
                reason=ConflictReason.TRANSACTION,
            )
        if self._abort_error is not None:
            lost = self._abort_error
            raise with_note(lost, "(the whole transaction was rolled back: leave it)")

    # The connection

    def _adopt(self, connection: Connection) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._dropped = False
        connection.set_busy_handler(self._patience)
        if self.recorder is not None:
            self.recorder.listen_on(connection)

    def _replace_dropped(self) -> None:
        new = _connect.connect(
            self._file, busy_timeout=self._busy_timeout, durable=self._durable, create=False
        )
        self._adopt(new)

    def _drop(self) -> None:
        """Close a connection whose state is in doubt; the next transaction opens a new one."""
        # A disk that has just failed is not asked to move the write-ahead log into the file.
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._dropped = True
        self.connection.close(True)
        if self._file == _connect.MEMORY:
            self.closed_reason = (
                "the in-memory database was lost with its connection; open a new store"
            )

    def close(self) -> None:
        """Close it; waits for the transaction of another thread. A second call does nothing."""
        if self.owner == get_ident():
            raise ConflictError(
                "close() inside of a transaction: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        try:
            self._turn.take(TIMEOUT_MAX)
            if not self.closed_reason:
                self.closed_reason = f"the store of {self._file} is closed; open a new one"
                self.connection.close()
                if self._line or os.path.exists(f"{self._file}-turn"):  # of who was killed
                    from cwstore._sqlite.write_queue import open_line

                    (self._line or open_line(self._file)).close(self._file)
        finally:
            with suppress(RuntimeError):  # Ctrl-C came before it was taken
                self._turn.give_up()
        if self.recorder is not None:
            for feed in list(self.recorder.feeds):
                feed.close()

    def forget(self) -> list[Connection]:
        """In a forked child: refuse everything; the connection, if nobody was using it."""
        rests = not self.closed_reason and not self.owner and not self._dropped
        resting = [self.connection] if rests and self._turn.try_acquire() else []
        if self._line is not None and not self.closed_reason:
            self._line.forget()
        self._turn, self._elsewhere = Turn(), RLock()
        self.owner = self._depth = 0
        self.closed_reason = self.closed_reason or (
            f"the store of {self._file} was opened before this process was forked;"
            " open a store of its own in the child"
        )
        return resting

    def look_elsewhere(self) -> int | None:
        """`data_version`, or None if that cannot be had at once: nobody else commits meanwhile."""
        if self._file == _connect.MEMORY or self.owner:
            return None
        try:
            if not self._turn.try_acquire() or self.closed_reason:
                return None
            if self._dropped:
                self._replace_dropped()
            return int(self.connection.pragma("data_version"))
        except (apsw.Error, CwstoreError):
            return None
        finally:
            with suppress(RuntimeError):  # it was not taken
                self._turn.give_up()
