"""The one connection that writes. Threads take turns on it by its lock.

Transactions on it are opened and ended in transaction.py.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import TIMEOUT_MAX, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any

import apsw

from cwstore._sqlite.busy_handler import LONG, busy_handler
from cwstore._sqlite.connection import connect, leave_checkpoints
from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.error_map import FOREIGN_KEYS, HOLDING_KEYS, map_error, map_statement_error
from cwstore._sqlite.file_names import FileNames
from cwstore._sqlite.fork import ALIVE, abandon_inherited
from cwstore.core.clock import real_time as time
from cwstore.core.faults import (
    loading,
    missing_reference,
    not_json,
    still_referred_to,
    table_of,
)
from cwstore.core.writer_lock import FairLock, acquire, refuse_others
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
    StorageError,
    StoreClosedError,
    of_item,
    with_note,
)

if TYPE_CHECKING:
    from datetime import datetime
    from weakref import ref

    from cwstore._sqlite.apsw_types import Connection
    from cwstore._sqlite.change_recorder import Recorder
    from cwstore._sqlite.write_queue import WriteQueue
    from cwstore.core.clock import Clock
    from cwstore.core.mapping import Row
    from cwstore.core.slow import SlowStatement
    from cwstore.core.statement import Statement

_HAS_STAMPS = "SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = 'newest_stamp'"
_KEEP_STAMP = """
    INSERT INTO stamps (id, stamp)
    VALUES (1, :stamp)
    ON CONFLICT (id) DO UPDATE
    SET stamp = excluded.stamp
    WHERE excluded.stamp > stamps.stamp
"""


class Writer:
    """The connection, its lock, and the checks before each statement."""

    def __init__(
        self,
        connection: "Connection",
        file: str,
        clock: "Clock",
        busy_timeout: float,
        *,
        durable: bool,
        application_id: int,
        leaves_checkpoints: bool,
    ) -> None:
        self.file = file
        self.busy_timeout = busy_timeout  # seconds
        self._clock = clock
        self._durable = durable
        self._application_id = application_id
        self.leaves_checkpoints = leaves_checkpoints  # to another program
        self.leaves_log = False  # it is closed, and the log stays where it is
        # The lock knows the thread that holds it, should Ctrl-C come before `owner` is set.
        self.lock = FairLock()
        self.owner = 0  # ident of the thread that holds the lock; 0: none
        # The owner is in the midst of a call, which is not its `with` block: who comes now has
        # interrupted it.
        self.running = False
        self.acquisition = 0  # counts how often the lock was taken
        self.closed_reason = ""  # why nothing can be run any more
        self.abort_error: CwstoreError | None = None  # why SQLite undid the open transaction
        self.task: ref[Any] | None = None  # to the task or greenlet that opened the transaction
        self.queue: WriteQueue | None = None  # opened by the first transaction
        self.busy_handler = busy_handler(busy_timeout)
        self.recorder: Recorder | None = None  # while somebody listens to changes
        self.slow: list[SlowStatement] = []  # of this transaction, to be logged at its end
        self.waited_for = 0  # ident of the thread that had the lock when one last waited
        self.waited_for_name: str | None = None
        self.began = 0.0  # when the owner took the lock, by CLOCK_MONOTONIC
        self._noted = False  # others can read who has it open, and since when
        self._handed_on = 0  # the stamp of the last writer, whatever its process
        self._knows_stamps = False  # of what the file holds, and other writers gave out
        self.names = None if file == MEMORY else FileNames(file, connection)
        self._adopted = 0  # connections so far
        self._left_at = -1  # the connection's `data_version` after the last transaction of ours
        self._adopt(connection)

    # Statements, by the thread that holds the lock

    def run(self, statement: "Statement[Any]", values: list[Any]) -> "list[Row]":
        """Run to the end and fetch every row, in the transaction that the thread has open."""
        if self.running or self.abort_error is not None or self.task is not None or not ALIVE[0]:
            self.refuse()
        self.running = True
        try:
            return self.run_alone(statement, values)
        finally:
            self.running = False

    def run_alone(self, statement: "Statement[Any]", values: list[Any]) -> "list[Row]":
        """As `run`, for a transaction of this statement alone."""
        if statement.timed:
            statement.give_stamp(values, self._clock)
        recorder = self.recorder
        noted = 0 if recorder is None else recorder.expect(statement.text, values)
        started = monotonic()
        try:
            rows = self.cursor.execute(statement.text, values).fetchall()
            if monotonic() - started > LONG:
                self._note_slow(statement.text, monotonic() - started)
            return rows
        except (apsw.Error, UnicodeError) as error:
            binds = statement.named(values)
            fault = self._fault(error, statement, binds)
        # Raised outside of the `except`, so that neither the apsw error nor binds hang on to it.
        if recorder is not None:
            del recorder.changes[noted:]
        if not self.connection.in_transaction:
            self.abort_error = fault
        elif isinstance(fault, MissingReferenceError):
            fault = self._broken_reference(statement.text, binds)
        raise fault

    def _broken_reference(self, text: str, binds: Mapping[str, Any]) -> MissingReferenceError:
        table = table_of(text)
        if "DELETE FROM" in text:
            keys = self.ask(HOLDING_KEYS)
            return still_referred_to(table, [(child, column) for child, column in keys])
        return missing_reference(table, binds, self._missing_parents(table, binds))

    def _note_slow(self, text: str, seconds: float) -> None:
        with suppress(OSError):  # a log is no reason to fail
            from cwstore.core.slow import slow_statement

            self.slow.append(slow_statement(text, seconds))

    def _missing_parents(self, table: str, binds: Mapping[str, Any]) -> list[tuple[str, str]]:
        """The first column of `table` whose bind names a row that is not there, and its table.

        All columns that refer to others if none does: SQLite does not tell which one it was.
        """
        keys = self.ask(FOREIGN_KEYS, {"table": table})
        for column, parent, key in keys:
            given = binds.get(column)
            there = f'SELECT 1 FROM "{parent}" WHERE "{key}" = :given'  # names of our own schema
            if isinstance(given, str) and not self.ask(there, {"given": given}):
                return [(column, parent)]
        return [(column, parent) for column, parent, _ in keys]

    def run_many(self, statement: "Statement[Any]", rows: list[list[Any]]) -> None:
        """Run a statement that returns nothing once for each row.

        The caller has just opened a transaction or savepoint for it.
        """
        self.running = True
        try:
            self._run_each(statement, rows)
        finally:
            self.running = False

    def _run_each(self, statement: "Statement[Any]", rows: list[list[Any]]) -> None:
        current: list[Any] = []
        begun = 0
        if self.recorder is not None:
            self.recorder.expected = None

        def stamped() -> Iterator[list[Any]]:
            nonlocal current, begun
            for current in rows:
                begun += 1
                if statement.timed:
                    statement.give_stamp(current, self._clock)
                yield current

        try:
            self.cursor.executemany(statement.text, stamped())
            return
        except (apsw.Error, UnicodeError) as error:
            fault = self._fault(error, statement, statement.named(current))
        if not self.connection.in_transaction:
            self.abort_error = fault
        if isinstance(fault, InvalidValueError):
            fault = of_item(fault, begun - 1)
        raise fault

    # Stamps rise in commit order: each writer begins behind the one that wrote before it

    def take_over_stamps(self, queue: "WriteQueue") -> None:
        """Go on behind the last stamp of the file. For a transaction that has just begun."""
        if self.connection.data_version() == self._left_at:
            return  # nobody else has written
        if not self._knows_stamps:
            self._raise_clock(self._newest_stamp())
            self._knows_stamps = True
        self._handed_on = queue.last_stamp
        self._raise_clock(self._handed_on or None)

    def note_listeners(self, queue: "WriteQueue") -> None:
        """Record what the transaction that has just begun changes, if somebody listens."""
        listened = queue.is_listened(self.began)
        recorder = self.recorder
        if recorder is None:
            if not listened:
                return
            recorder = self.open_recorder()
        recorder.others_listen = listened
        if not listened:
            recorder.keep_listening(queue)

    def open_recorder(self) -> "Recorder":
        """The recorder; if there is none, it is made. For the thread that holds the lock."""
        if self.recorder is None:
            with loading("changes"):
                from cwstore._sqlite.change_recorder import Recorder

            try:
                self.recorder = Recorder(self.connection)
            except apsw.Error as error:  # it reads which tables there are
                fault = map_error(error, f"changes ({self.file})", self.busy_timeout, self.file)
            else:
                return self.recorder
            raise fault
        return self.recorder

    def _raise_clock(self, stamp: int | None) -> None:
        if stamp is not None:
            self._clock.raise_to(stamp)

    def hand_on_stamps(self) -> None:
        """Tell the next writer, in whatever process. For a transaction that is about to commit."""
        last = self._clock.last
        if self.queue is not None and last > self._handed_on:
            self.queue.last_stamp = self._handed_on = last
            self._noted = False
        elif self._noted:
            self.forget_block()

    def note_block(self) -> None:
        """Let others know since when a `with` block is open. For one that has just begun."""
        assert self.queue is not None
        self._noted = True
        self.queue.note_holder(time.monotonic(), self._handed_on)

    def forget_block(self) -> None:
        """Take it back, while the block has the write lock still."""
        if self._noted and self.queue is not None:
            self.queue.forget_holder()
        self._noted = False

    def time_of(self, moment: float) -> "datetime":
        """What the clock of the store showed then."""
        return self._clock.at(moment)

    def note_commit(self) -> int:
        """Note the version of the file that the transaction has left, and return it."""
        version = self._left_at = self.connection.data_version()
        return version

    def _newest_stamp(self) -> int | None:
        """The newest stamp in the file, as far as it can be had without reading all of it."""
        try:
            found = self.ask("SELECT stamp FROM newest_stamp") if self.ask(_HAS_STAMPS) else []
        except CwstoreError:
            return None  # a table is gone, or damaged: the statement that needs it will tell
        stamp = found[0][0] if found else None
        return stamp if isinstance(stamp, int) else None  # damaged, as above

    def _publish_last_stamp(self) -> None:
        """Store the last stamp, and let those who listen know that nothing else was changed."""
        recorder = self.recorder
        try:
            if recorder is not None:
                recorder.sharing.before_commit(self.connection, self.began)
            self._keep_last_stamp()
        finally:
            if recorder is not None:
                recorder.publish(self.note_commit())

    def _keep_last_stamp(self) -> None:
        """Store the last stamp in the file, unless it tells by itself, or somebody else writes.

        Without it, a clock that is set back before the file is opened again would give out stamps
        that lie before those of rows which were updated.
        """
        last = self._clock.last
        try:
            newest = self._newest_stamp() if self._knows_stamps else last
            if (newest is not None and newest >= last) or not self.ask(_HAS_STAMPS):
                return
            self.connection.set_busy_handler(None)
            self.cursor.execute("PRAGMA synchronous = NORMAL")  # it may be lost in a power cut
            self.cursor.execute(_KEEP_STAMP, {"stamp": last}).fetchall()
        except (apsw.Error, CwstoreError):
            pass  # who writes now keeps it, or the disk fails: what was committed is kept

    def _fault(
        self,
        error: apsw.Error | UnicodeError,
        statement: "Statement[Any]",
        binds: Mapping[str, Any],
    ) -> CwstoreError:
        fault = map_statement_error(error, statement.text, binds, self.busy_timeout, self.file)
        if not isinstance(error, apsw.ConstraintError) or not isinstance(fault, InvalidValueError):
            return fault
        field = fault.field
        if not statement.is_json(field):
            return fault
        text = binds[field]
        return not_json(field, text if isinstance(text, str) else text.reveal())

    def ask(self, text: str, binds: Mapping[str, str] | None = None) -> "list[Row]":
        """Run SQL of the engine's own, and fetch every row.

        On a cursor of its own: a signal handler may read in the transaction before all is fetched.
        """
        try:
            return self.connection.execute(text, binds).fetchall()
        except apsw.Error as error:
            fault = map_error(error, f"{text} ({self.file})", self.busy_timeout, self.file)
        raise fault

    def refuse(self) -> None:
        """Raise if the transaction is not the caller's to go on with, or SQLite undid it.

        After SQLite has undone a transaction, no statement in it may seem to succeed.
        """
        if not ALIVE[0]:
            abandon_inherited()
            raise StoreClosedError(self.closed_reason)
        refuse_others(self)
        if self.abort_error is not None:
            lost = self.abort_error
            raise with_note(lost, "(the whole transaction was rolled back: leave it)")

    # The lock

    def acquire(self, text: str) -> float:
        """Wait until no other thread holds the lock. Returns the seconds that took.

        A BusyError names the table of `text`. Raises StoreClosedError.
        """
        if not ALIVE[0]:
            abandon_inherited()
        waited = acquire(self, text, self.file)
        if self.dropped:
            self._replace_dropped()
        return waited

    def open_queue(self) -> "WriteQueue":
        """Open the queue of all processes, and let the busy handler wait in it."""
        with loading("transaction"):  # what reading does not need
            from cwstore._sqlite.write_queue import open_write_queue, queueing_busy_handler

        queue = self.queue = open_write_queue(self.file)
        queue.note(self.ask("PRAGMA schema_version")[0][0] & 0xFFFFFFFF)
        self.busy_handler = queueing_busy_handler(queue, self.busy_timeout)
        self.connection.set_busy_handler(self.busy_handler)
        return queue

    def tell_others_changes(self) -> None:
        """Give all feeds what others have committed since the last look. Never waits."""
        recorder, queue = self.recorder, self.queue
        if recorder is None or queue is None or self.file == MEMORY or not ALIVE[0]:
            return
        if self.owner:  # it may wait for another process, which commits all the time
            recorder.sharing.look(None)
            return
        try:
            if not self.lock.try_acquire():
                recorder.sharing.look(None)
                return
            if self.running or self.closed_reason:
                return
            if self.dropped:
                self._replace_dropped()
            queue.keep_listening()
            recorder.sharing.look(self.connection)
        except (apsw.Error, CwstoreError):
            return
        finally:
            with suppress(RuntimeError):  # the lock was not taken
                self.lock.release()

    def stop_if_unheard(self) -> None:
        """Stop recording if no feed is left. Never waits: the thread that writes now does it."""
        if self.owner == get_ident():
            self.forget_recorder_if_unheard()
            return
        try:
            if self.lock.try_acquire() and not self.closed_reason and not self.dropped:
                self.forget_recorder_if_unheard()
        finally:
            with suppress(RuntimeError):  # the lock was not taken
                self.lock.release()

    def forget_recorder_if_unheard(self) -> None:
        """The same, for the thread that holds the lock."""
        if self.recorder is not None and not self.recorder.is_heard(self.queue):
            self.recorder = None

    # The connection

    def state(self) -> tuple[int, int]:
        """What the connection saw last: another value once anybody has committed, this one too."""
        return self._adopted, self.connection.data_version()

    def _adopt(self, connection: "Connection") -> None:
        self._adopted += 1
        self._left_at = -1
        self.connection = connection
        self.cursor = connection.cursor()
        self.dropped = False
        connection.set_busy_handler(self.busy_handler)
        if self.recorder is not None:
            self.recorder.listen_on(connection)

    def renew_cursor(self) -> None:
        """Undo what a read was interrupted in. For the thread that holds the lock."""
        self.cursor.close(True)
        self.cursor = self.connection.cursor()

    def _replace_dropped(self) -> None:
        new = connect(
            self.file,
            busy_timeout=self.busy_timeout,
            durable=self._durable,
            create=False,
            application_id=self._application_id,
        )
        assert self.names is not None  # a database in memory is not opened again
        if new.inode != self.names.inode:
            new.close()
            raise StorageError(self.names.problem())
        try:
            if self.leaves_checkpoints:
                leave_checkpoints(new)
            self.names.note_log(new)
            self._adopt(new)
            return
        except apsw.Error as error:
            fault: CwstoreError = map_error(
                error, f"opening {self.file}", self.busy_timeout, self.file
            )
        except StorageError as error:  # the log was emptied
            fault = error
        new.close(True)
        self.dropped = True
        raise fault

    def drop(self) -> None:
        """Close a connection whose state is in doubt. The next `acquire` opens a new one."""
        # A disk that has just failed is not asked to move the write-ahead log into the file.
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self.dropped = True
        self.connection.close(True)
        if self.file == MEMORY:
            self.closed_reason = (
                "the in-memory database was lost with its connection; open a new store"
            )

    def close(self) -> bool:
        """Close the connection and all feeds. Waits for the transaction of another thread.

        A second call does nothing, and returns False. Raises ConflictError inside a transaction of
        this thread.
        """
        if not ALIVE[0]:
            abandon_inherited()
        if self.owner == get_ident():
            raise ConflictError(
                "close() inside of a transaction: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        try:
            self.lock.acquire(TIMEOUT_MAX)
            was_open = not self.closed_reason
            if was_open:
                self.closed_reason = f"the store of {self.file} is closed; open a new one"
                try:
                    if not self.dropped:
                        self._leave_log()
                finally:
                    self.connection.close()
        finally:
            with suppress(RuntimeError):  # Ctrl-C came before the lock was taken
                self.lock.release()
        if self.recorder is not None:
            for feed in self.recorder.feeds:
                feed.close()
            self.recorder.sharing.close()
        return was_open

    def _leave_log(self) -> None:
        """See to it that nothing is lost of what the log holds, before the connection closes."""
        names = self.names
        fate = "move" if names is None else names.fate_of_log(self.connection)
        if fate == "move":
            self._publish_last_stamp()
            return
        self.leaves_log = True
        self.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if fate == "copy" and not sys.is_finalizing():  # then nothing can be imported
            with suppress(OSError):  # not even that: no descriptors are left
                from cwstore._sqlite.rescue import rescue

                rescue(self.connection, self.file, self.busy_timeout)

    def leave_queue(self) -> None:
        """Give up the queue, after every connection was closed."""
        queue, self.queue = self.queue, None
        # A process that was killed leaves the file of the queue behind. Nothing can be imported
        # any more where the interpreter ends and nobody closed the store.
        if queue is None and os.path.exists(f"{self.file}-turn") and not sys.is_finalizing():
            with suppress(OSError):  # it stays
                from cwstore._sqlite.write_queue import open_write_queue

                queue = open_write_queue(self.file)
        if queue is not None:
            queue.close(self.file)

    def abandon_after_fork(self) -> "list[Connection]":
        """In a forked child: refuse every call from now on.

        Returns the connection, for the caller to close, unless a thread of the parent was using it.
        """
        rests = not self.closed_reason and not self.owner and not self.dropped
        resting = [self.connection] if rests and self.lock.try_acquire() else []
        if self.queue is not None:
            self.queue.detach()
            self.queue = None
        if self.recorder is not None:
            self.recorder.sharing.abandon_after_fork()
        self.lock = FairLock()
        self.owner = 0
        self.running = False
        self.closed_reason = self.closed_reason or (
            f"the store of {self.file} was opened before this process was forked;"
            " open a store of its own in the child"
        )
        return resting
