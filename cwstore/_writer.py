"""The connection that writes: threads take turns on it, processes wait for each other fairly."""

import os
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import TIMEOUT_MAX, RLock, get_ident
from typing import TYPE_CHECKING, Any, NoReturn

import apsw

from cwstore import _connect, _faults
from cwstore._apsw import Connection
from cwstore._clock import Clock
from cwstore._rows import Row
from cwstore._sql import Statement
from cwstore._threads import ThreadEnds, Turn
from cwstore.errors import (
    BusyError,
    ConflictError,
    CwstoreError,
    MissingReferenceError,
    OutcomeUnknownError,
    StoreClosedError,
)

if TYPE_CHECKING:
    from cwstore._changes import ChangeFeed, Recorder
    from cwstore._line import Line
    from cwstore._wal import Log

_UNLOOKED = 3  # commits from one look at the length of the log to the next


class Writer:
    """One connection and the transaction that one thread at a time has open on it."""

    def __init__(
        self, connection: Connection, file: str, clock: Clock, busy_timeout: float, durable: bool
    ) -> None:
        self.owner = 0  # ident of the thread that has a transaction open
        self.gone = ""  # why nothing can be run any more
        self._file = file
        self._clock = clock
        self._busy_timeout = busy_timeout
        self._durable = durable
        # Held by the owner. It knows its thread, should Ctrl-C come before `owner` is set.
        self._turn = Turn()
        self._line: Line | None = None  # opened by the first transaction
        self._waited = 0.0  # seconds of the busy timeout spent before asking SQLite
        self._transaction = 0  # number of the last one that was entered
        self._depth = 0  # nesting of the owner's transactions
        self._thread_ends = ThreadEnds(self._end_of_thread)
        self._elsewhere = RLock()  # held to end a transaction that its thread has not ended
        self._log: Log | None = None  # made by the first commit
        self._unlooked = 0  # commits until the next look at it
        self._lost: CwstoreError | None = None  # why SQLite undid all of the open transaction
        self._patience = _connect.patience(busy_timeout)
        self._recorder: Recorder | None = None  # while somebody listens to changes
        self._adopt(connection)

    # Statements, by the thread that has the turn

    def run(self, statement: Statement[Any], binds: dict[str, Any]) -> list[Row]:
        """Run to the end and fetch every row."""
        if self._lost is not None:
            self._raise_lost()
        if statement.stamped:
            binds["now"] = self._clock()
        recorder = self._recorder
        noted = 0 if recorder is None else len(recorder.changes)
        try:
            return self._cursor.execute(statement.text, binds).fetchall()
        except (apsw.Error, UnicodeEncodeError) as error:
            fault = _faults.fault_of(error, statement.text, binds, self._busy_timeout)
        # Raised here, so that neither the apsw error nor bound values hang on to it.
        if recorder is not None:
            del recorder.changes[noted:]
        if not self.connection.in_transaction:
            self._lost = fault
        elif isinstance(fault, MissingReferenceError):
            table = _faults.table_of(statement.text)
            fault = _faults.missing_reference(
                table, binds, self.ask(_faults.FOREIGN_KEYS, {"table": table})
            )
        raise fault

    def run_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        """Run a statement that returns nothing once for each row, in a level of the caller's."""
        if self._lost is not None:
            self._raise_lost()
        at: dict[str, Any] = {}

        def stamped() -> Iterator[dict[str, Any]]:
            nonlocal at
            for at in rows:
                at["now"] = self._clock()
                yield at

        try:
            self._cursor.executemany(statement.text, stamped())
            return
        except (apsw.Error, UnicodeEncodeError) as error:
            fault = _faults.fault_of(error, statement.text, at, self._busy_timeout)
        if not self.connection.in_transaction:
            self._lost = fault
        raise fault

    def ask(self, text: str, binds: Mapping[str, str] | None = None) -> list[Row]:
        """Run what is no statement of a repository."""
        try:
            return self._cursor.execute(text, binds).fetchall()
        except apsw.Error as error:
            fault = _faults.translate(error, f"{text} ({self._file})", self._busy_timeout)
        raise fault

    # Transactions

    def begin(self, what: str) -> None:
        """Wait for the turn of this thread and for the file's write lock, together one timeout."""
        self._take_turn(what)
        line = self._line or self._open_line()
        self._depth = 1
        try:
            if line.is_long():
                self._waited += line.wait_for(self._busy_timeout - self._waited)
            self._cursor.execute("BEGIN IMMEDIATE")
            return
        except apsw.Error as error:
            fault = _faults.translate(error, f"BEGIN ({self._file})", self._busy_timeout)
        finally:
            line.leave()
        raise fault

    def _open_line(self) -> "Line":
        from cwstore._line import in_line, open_line  # what reading does not need

        line = self._line = open_line(self._file)
        self._patience = in_line(line, self._busy_timeout, lambda: self._waited)
        self.connection.set_busy_handler(self._patience)
        return line

    def commit(self) -> None:
        """Keep the transaction. Raises OutcomeUnknownError if the disk failed meanwhile."""
        if self._lost is not None:
            self._raise_lost()
        try:
            self._cursor.execute("COMMIT")
        except apsw.Error as error:
            fault = _faults.commit_fault(error, self._file, self._busy_timeout)
        else:
            self._depth = 0
            if self._recorder is not None:
                self._recorder.publish()
            self._unlooked -= 1
            if self._unlooked < 0:
                self._look_at_log()
            return
        if isinstance(fault, OutcomeUnknownError):
            self._drop()
        raise fault

    def _look_at_log(self) -> None:
        if self._log is None:
            from cwstore._wal import Log  # what reading does not need

            assert self._line is not None  # since the transaction began
            self._log = Log(self._line)
        self._unlooked = _UNLOOKED
        self._log.look(self.connection, self._patience)

    def end(self) -> None:
        """Undo what is not committed and give up the turn. Does nothing without the turn."""
        if self.owner != get_ident():
            with suppress(RuntimeError):
                self._turn.give_up()  # taken, but not yet marked as this thread's
            return
        if self._depth:
            self._undo()
        self._lost = None
        self.owner = 0
        self._turn.give_up()

    def _undo(self) -> None:
        self._depth = 0
        if self._recorder is not None:
            self._recorder.take()
        try:
            if not self._dropped and self.connection.in_transaction:
                self._cursor.execute("ROLLBACK")
        except apsw.Error:
            self._drop()  # closing rolls back

    def enter(self) -> int:
        """Open a transaction, or a savepoint in the one that this thread has open; its number."""
        if self.owner != get_ident():
            self._thread_ends.expect()
            try:
                self.begin("transaction")
                self._transaction += 1
                return self._transaction
            except BaseException:
                self.end()
                raise
        self._savepoint("SAVEPOINT level")
        if self._lost is not None:
            self._raise_lost()
        self._depth += 1
        if self._recorder is not None:
            self._recorder.mark()
        return self._transaction

    def leave(self, transaction: int, succeeded: bool) -> None:
        """Close the innermost level of that transaction: keep it or undo exactly it."""
        if transaction != self._transaction or self.owner != get_ident():
            self._leave_elsewhere(transaction, succeeded)
            return
        if self._depth == 1:
            try:
                if succeeded:
                    self.commit()
            finally:
                self.end()
            return
        self._depth -= 1
        if not succeeded:
            self._savepoint("ROLLBACK TO level")
        self._savepoint("RELEASE level")
        if self._recorder is not None:
            self._recorder.close_mark(succeeded)
        if succeeded and self._lost is not None:
            self._raise_lost()

    def _take_turn(self, what: str) -> None:
        """Wait until no other thread has a transaction open."""
        waited = 0.0
        if not self._turn.take_at_once():
            started = time.monotonic()
            if not self._turn.take(self._busy_timeout):
                raise BusyError(
                    f"{_faults.table_of(what)}: another thread of this process had a transaction"
                    f" open on {self._file} for all of the {self._busy_timeout:g} s that this store"
                    " may wait"
                )
            waited = time.monotonic() - started
        if self.gone:
            raise StoreClosedError(self.gone)
        self.owner = get_ident()
        self._waited = waited
        if self._dropped:
            self._adopt(
                _connect.connect(
                    self._file,
                    busy_timeout=self._busy_timeout,
                    durable=self._durable,
                    create=False,
                )
            )

    @contextmanager
    def _having_turn(self, what: str) -> Generator[None]:
        """Without a transaction, or in the one that this thread has open."""
        if self.owner == get_ident():
            yield
            return
        try:
            self._take_turn(what)
            yield
        finally:
            self.end()

    def _savepoint(self, text: str) -> None:
        """If even this fails, nothing of the transaction can be kept."""
        if self._lost is None:
            try:
                self._cursor.execute(text)
            except apsw.Error as error:
                self._lost = _faults.translate(error, f"{text} ({self._file})", self._busy_timeout)

    def _end_of_thread(self) -> None:
        """Undo what the calling thread has left open, while it can still release the turn."""
        with self._elsewhere:
            if self.owner == get_ident():
                self.end()

    def _leave_elsewhere(self, transaction: int, succeeded: bool) -> None:
        """Undo a transaction that is left where it was not entered: in a thread, in a child."""
        with self._elsewhere:
            if not self.gone and self.owner and transaction == self._transaction:
                self._drop()
                self._lost = None
                self.owner = self._depth = 0
                self._turn = Turn()  # the other thread's can only be released there
        if succeeded:
            if self.gone:
                raise StoreClosedError(self.gone)
            raise ConflictError(
                "transaction left by another thread than had entered it: rolled back"
            )

    def _raise_lost(self) -> NoReturn:
        """Raised for every further use of the transaction, so that none is taken for kept."""
        lost = self._lost
        assert lost is not None
        raise type(lost)(f"{lost} (the whole transaction was rolled back: leave it)")

    # The connection

    def _adopt(self, connection: Connection) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._dropped = False
        connection.set_busy_handler(self._patience)
        if self._recorder is not None:
            self._recorder.listen_on(connection)

    def _drop(self) -> None:
        """Close a connection whose state is in doubt; the next transaction opens a new one."""
        self._dropped = True
        # A disk that has just failed is not asked to move the write-ahead log into the file.
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.connection.close(True)
        if self._file == _connect.MEMORY:
            self.gone = "the in-memory database was lost with its connection; open a new store"

    def data_version(self) -> int:
        """A number that changes when a connection of another store or process commits."""
        with self._having_turn("data_version"):
            return int(self.ask("PRAGMA data_version")[0][0])

    def close(self) -> None:
        """Close it; waits for the transaction of another thread."""
        if self.owner == get_ident():
            raise ConflictError("close() inside of a transaction: leave it first")
        self._turn.take(TIMEOUT_MAX)
        try:
            self.gone = f"the store of {self._file} is closed; open a new one"
            self.connection.close()
        finally:
            self._turn.give_up()
        if self._recorder is not None:
            for feed in self._recorder.feeds:
                feed.close()

    def leave_line(self) -> None:
        """After `close`. Also removes the line of processes that were killed."""
        line = self._line
        if line is None and os.path.exists(f"{self._file}-turn"):
            from cwstore._line import open_line

            line = open_line(self._file)
        if line is not None:
            line.close(self._file)

    def forget(self) -> list[Connection]:
        """In a forked child: refuse everything; the connection, if nobody was using it."""
        resting = [] if self.gone or self.owner or self._dropped else [self.connection]
        if self._line is not None and not self.gone:
            self._line.forget()
        self._turn, self._elsewhere = Turn(), RLock()
        self.owner = self._depth = 0
        self.gone = self.gone or (
            f"the store of {self._file} was opened before this process was forked;"
            " open a store of its own in the child"
        )
        return resting

    # Changes

    def listen(self, capacity: int) -> "ChangeFeed":
        """Open a feed of what is written from now on, once it is committed."""
        from cwstore._changes import ChangeFeed, Recorder

        feed = ChangeFeed(capacity, self._look_elsewhere, self._unlisten)
        with self._having_turn("changes"):
            if self._recorder is None:
                self._recorder = Recorder(self.connection)
            self._recorder.feeds.append(feed)
        return feed

    def _unlisten(self, feed: "ChangeFeed") -> None:
        """The last one who leaves stops the recording, once nobody writes."""
        if self.gone:
            return
        with self._having_turn("changes"):
            if self._recorder is not None and self._recorder.leave(feed):
                self._recorder = None

    def _look_elsewhere(self) -> int | None:
        """`data_version`, or None if that cannot be had at once: nobody else commits meanwhile."""
        if self._file == _connect.MEMORY or self.owner or not self._turn.take_at_once():
            return None
        try:
            if self.gone or self._dropped:
                return None
            return int(self.connection.pragma("data_version"))
        except apsw.Error:
            return None
        finally:
            self._turn.give_up()
