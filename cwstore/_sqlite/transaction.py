"""The transaction that one thread at a time has open on the writer, and the savepoints in it.

For a statement alone the engine calls `begin`, `commit` and `end`. A `with` block is a
`Transaction`: the outermost one is BEGIN IMMEDIATE, each one inside it is a savepoint.
"""

import time
from collections.abc import Generator
from contextlib import suppress
from threading import RLock, get_ident
from typing import TYPE_CHECKING
from weakref import ref

import apsw

from cwstore._sqlite.busy_handler import LONG
from cwstore._sqlite.error_map import commit_fault, map_error
from cwstore._sqlite.fork import ALIVE, abandon_inherited
from cwstore.core.blocks import block
from cwstore.core.faults import loading, name_holder
from cwstore.core.writer_lock import Level, ThreadEnds, note_task, thread_waited_for
from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    OutcomeUnknownError,
    StorageError,
    StoreClosedError,
)

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection
    from cwstore._sqlite.checkpoint import WalCheckpointer
    from cwstore._sqlite.write_queue import WriteQueue
    from cwstore._sqlite.writer import Writer
    from cwstore.core.slow import SlowStatement


# Each way in which a transaction may end, and what closes it:
#
#   case                                    noticed by                what happens
#   --------------------------------------  ------------------------  ------------------------------
#   its `with` block ends                   Transaction.__exit__      leave keeps it or, if an error
#                                                                     ends it, undoes its level only
#   Ctrl-C comes before __exit__ can begin  the weak reference, in    leave undoes its level as soon
#                                           _entered, to what only    as the exception leaves the
#                                           the block holds           block (core/blocks.py)
#   its thread ends without leaving it      _LastWord, freed with     end undoes it in that thread,
#                                           the thread's locals       which can release the lock
#   another thread leaves or frees it       leave: not the owner      _leave_elsewhere closes the
#                                                                     connection, breaks the lock
#   the process is forked while it is open  fork.py                   the child refuses every call,
#                                                                     the parent goes on


class TransactionStack:
    """The levels that are open on one writer: the transaction, and the savepoints in it."""

    def __init__(self, writer: "Writer") -> None:
        self._writer = writer
        self._depth = 0  # levels that are open; 1: the transaction alone
        self._released = 0  # the level that is kept, or being kept, since one was entered last
        self._entered: list[ref[object]] = []  # what holds each level
        self._checkpointer: WalCheckpointer | None = None  # made by the first transaction
        self._thread_ends = ThreadEnds(self._end_of_thread)
        self._from_outside = RLock()  # held while a transaction is ended that was not left

    def begin(self, text: str) -> None:
        """Wait for the threads' lock, then the write lock; the busy timeout bounds both together.

        A BusyError names the table of `text`.
        """
        writer = self._writer
        waited = writer.acquire(text)
        queue = writer.queue
        if queue is None or self._checkpointer is None:
            queue = self._open_queue()
        self._depth = 1
        try:
            queue.seconds_spent = waited
            if not queue.may_barge():
                queue.seconds_spent += queue.wait_at_most(writer.busy_timeout - waited)
            writer.cursor.execute("BEGIN IMMEDIATE")
            writer.take_over_stamps(queue)
            if queue.listened_until or writer.recorder is not None:
                writer.note_listeners(queue)
            if queue.ticket is not None or waited > LONG:
                self._tell_wait(queue, waited)
            return
        except apsw.Error as error:
            fault = map_error(error, f"BEGIN ({writer.file})", writer.busy_timeout, writer.file)
            if isinstance(fault, BusyError):
                with suppress(OSError):  # it cannot be imported: no descriptors are left
                    from cwstore._sqlite.lock_holders import who_writes

                    holder, process = who_writes(writer.file)
                    began = queue.began(process)
                    name_holder(fault, holder, writer.time_of(began) if began else None)
        finally:
            if queue.ticket is not None:
                queue.leave()
        raise fault

    def _open_queue(self) -> "WriteQueue":
        """What the first transaction takes: after a COMMIT nothing may fail any more."""
        writer = self._writer
        queue = writer.queue or writer.open_queue()
        if not writer.leaves_checkpoints:
            with loading("transaction"):
                from cwstore._sqlite.checkpoint import WalCheckpointer  # reading does not need it

            self._checkpointer = WalCheckpointer(queue, writer.names)
        return queue

    def _tell_wait(self, queue: "WriteQueue", waited: float) -> None:
        """Log a long wait for the write lock; `waited` seconds of it were for other threads."""
        in_queue = 0.0 if queue.ticket is None else time.monotonic() - queue.queued_at
        if waited + in_queue > LONG:
            writer = self._writer
            holder, began = queue.holder, queue.holder_began
            if waited > in_queue:
                holder, began = thread_waited_for(writer), None
            with suppress(OSError):  # a log is no reason to fail
                from cwstore.core.slow import tell_wait  # what most transactions do not need

                tell_wait(writer.file, waited + in_queue, holder, began)

    def commit(self) -> None:
        """Keep the transaction. Raises OutcomeUnknownError if the disk failed meanwhile."""
        writer = self._writer
        if writer.abort_error is not None:
            writer.refuse()
        writer.running = True
        # Before the COMMIT: whoever removes the file from then on, removes what is in it.
        if writer.names is not None:
            writer.names.refuse_if_moved()
        writer.hand_on_stamps()
        recorder = writer.recorder
        if recorder is not None:
            recorder.sharing.before_commit(writer.connection, writer.began)
        try:
            writer.cursor.execute("COMMIT")
        except apsw.Error as error:
            fault = commit_fault(error, writer.busy_timeout, writer.file)
            if writer.names is not None and not isinstance(fault, OutcomeUnknownError):
                problem = writer.names.problem()  # it may have been removed just then
                fault = StorageError(problem) if problem else fault
        else:
            version = writer.note_commit()
            if recorder is not None and recorder.publish(version):
                writer.forget_recorder_if_unheard()
            self._depth = 0
            if self._checkpointer is not None:
                self._checkpointer.after_commit(writer.connection, writer.busy_handler)
            return
        if isinstance(fault, OutcomeUnknownError):
            writer.drop()
        raise fault

    def end(self) -> None:
        """Undo what is not committed and release the writer. Does nothing in another thread.

        If Ctrl-C interrupts it, a second call does the rest.
        """
        writer = self._writer
        if writer.owner != get_ident():
            with suppress(RuntimeError):
                writer.lock.release()  # taken, but Ctrl-C came before `owner` was set
            return
        if self._depth:
            self._undo()
            self._depth = 0
        self._entered.clear()
        writer.abort_error = writer.task = None
        writer.running = False
        slow = writer.slow and self._with_plans()
        writer.owner = 0
        writer.lock.release()
        if slow:
            from cwstore.core.slow import tell_statements

            tell_statements(writer.file, slow)

    def _with_plans(self) -> "list[SlowStatement]":
        """What was slow in this transaction, now that the connection has nothing else to do."""
        from cwstore._sqlite.slow import with_plans

        writer = self._writer
        slow, writer.slow = writer.slow, []
        return with_plans(writer.connection, slow)

    def _undo(self) -> None:
        writer = self._writer
        if writer.recorder is not None:
            writer.recorder.discard()
        writer.forget_block()
        try:
            if not writer.dropped and writer.connection.in_transaction:
                writer.cursor.execute("ROLLBACK")
        except apsw.Error:
            writer.drop()  # closing rolls back

    @block
    def exclusive(self) -> Generator[None]:
        """Hold the writer without a transaction, or in the one that this thread has open."""
        if self._writer.owner == get_ident():
            yield
            return
        try:
            self._writer.acquire("")
            yield
        finally:
            try:
                self.end()
            except BaseException:  # Ctrl-C at its first step
                self.end()
                raise

    # Levels

    def enter(self, level: Level, holder: object) -> None:
        """Open a transaction, or a savepoint in the one that this thread has open.

        It is undone should `holder` be freed before the level is left.
        """
        writer = self._writer
        if writer.owner == get_ident():
            self._push_savepoint(level, holder)
            return
        self._thread_ends.watch_this_thread()
        try:
            self.begin("")
            writer.note_block()
            note_task(writer)
            self._remember(level, 1, holder)
            writer.running = False
        except BaseException:
            self.end()
            raise

    def leave(self, level: Level, succeeded: bool) -> None:
        """Close that level: keep it or undo exactly it. Once it is closed, do nothing."""
        if not ALIVE[0]:
            abandon_inherited()
        writer = self._writer
        if level.acquisition != writer.acquisition or writer.owner != get_ident():
            self._leave_elsewhere(level.acquisition, succeeded)
            return
        while self._depth > level.number:  # what Ctrl-C has left open
            self._pop_savepoint(succeeded=False)
        if level.number == 1:
            try:
                if succeeded:
                    self.commit()
            finally:
                self.end()
        elif self._depth == level.number:
            self._pop_savepoint(succeeded)
            if succeeded:
                writer.refuse()

    def _push_savepoint(self, level: Level, holder: object) -> None:
        writer = self._writer
        writer.refuse()
        number = self._depth + 1
        # All this first: wherever Ctrl-C comes, a savepoint that is there is one that counts, has
        # its mark and can be left.
        self._released = 0
        self._remember(level, number, holder)
        if writer.recorder is not None:
            writer.recorder.savepoint(number)
        self._depth = number
        self._run_savepoint(f"SAVEPOINT level{number}")
        writer.refuse()

    def _pop_savepoint(self, succeeded: bool) -> None:
        number = self._depth
        if succeeded:
            self._released = number
        elif not self._run_savepoint(f"ROLLBACK TO level{number}"):
            succeeded = self._released == number  # Ctrl-C came between RELEASE and here
        self._run_savepoint(f"RELEASE level{number}")
        # Before the level is no longer counted: nobody would come back to it after Ctrl-C.
        if self._writer.recorder is not None:
            self._writer.recorder.close_savepoint(number, succeeded)
        self._depth -= 1
        del self._entered[self._depth :]

    def _run_savepoint(self, savepoint: str) -> bool:
        """Run a savepoint statement. If it fails, nothing of the transaction can be kept.

        False if the savepoint is not there: Ctrl-C came before it was made, or as it was released.
        """
        writer = self._writer
        if writer.abort_error is None:
            try:
                writer.cursor.execute(savepoint)
            except apsw.Error as error:
                if "no such savepoint" in str(error) and writer.connection.in_transaction:
                    return False
                writer.abort_error = map_error(
                    error, f"{savepoint} ({writer.file})", writer.busy_timeout, writer.file
                )
        return True

    # Transactions that are not left as they should be: see the table above

    def _remember(self, level: Level, number: int, holder: object) -> None:
        level.acquisition, level.number = self._writer.acquisition, number
        del self._entered[number - 1 :]
        self._entered.append(ref(holder, lambda _: self.leave(level, succeeded=False)))

    def _end_of_thread(self) -> None:
        with self._from_outside:
            if self._writer.owner == get_ident() and ALIVE[0]:
                self.end()

    def _leave_elsewhere(self, acquisition: int, succeeded: bool) -> None:
        """Undo a transaction that is left where it was not entered: in a thread, in a child."""
        writer = self._writer
        with self._from_outside, suppress(apsw.ThreadingViolationError):  # its thread works on it
            if not writer.closed_reason and writer.owner and acquisition == writer.acquisition:
                writer.drop()
                writer.abort_error = None
                self._entered.clear()
                writer.running = False
                writer.owner = self._depth = 0
                writer.lock.break_lock()
        if succeeded:
            if writer.closed_reason:
                raise StoreClosedError(writer.closed_reason)
            raise ConflictError(
                "transaction left by another thread than had entered it: rolled back",
                reason=ConflictReason.TRANSACTION,
            )

    def abandon_after_fork(self) -> "list[Connection]":
        """In a forked child: forget the transaction of the parent; see `Writer`."""
        self._from_outside = RLock()  # a thread of the parent may have held the old one
        self._depth = 0
        return self._writer.abandon_after_fork()
