"""The transaction that one thread at a time has open on the writer, and the savepoints in it.

A `with` block is a `Transaction`: the outermost one is BEGIN and the lane, each one inside it is a
savepoint.
"""

from collections.abc import Generator
from contextlib import suppress
from threading import RLock, get_ident
from typing import TYPE_CHECKING
from weakref import ref

import psycopg

from cwstore._postgres.error_map import map_error
from cwstore.core.blocks import block
from cwstore.core.writer_lock import Level, ThreadEnds, note_task
from cwstore.errors import ConflictError, ConflictReason, StoreClosedError

if TYPE_CHECKING:
    from cwstore._postgres.writer import Writer


class TransactionStack:
    """The levels that are open on one writer: the transaction, and the savepoints in it."""

    def __init__(self, writer: "Writer") -> None:
        self._writer = writer
        self._depth = 0  # levels that are open; 1: the transaction alone
        self._entered: list[ref[object]] = []  # what holds each level
        self._thread_ends = ThreadEnds(self._end_of_thread)
        self._from_outside = RLock()  # held while a transaction is ended that was not left

    def commit(self) -> None:
        """Keep the transaction. Raises OutcomeUnknownError if the connection is lost meanwhile."""
        writer = self._writer
        if writer.abort_error is not None:
            writer.refuse()
        writer.running = True
        writer.commit()
        self._depth = 0

    def end(self) -> None:
        """Undo what is not committed and release the writer. Does nothing in another thread.

        If Ctrl-C interrupts it, a second call does the rest.
        """
        writer = self._writer
        if writer.owner != get_ident():
            with suppress(RuntimeError):
                writer.lock.release()  # taken, but Ctrl-C came before `owner` was set
            return
        writer.rollback()
        self._depth = 0
        self._entered.clear()
        writer.abort_error = writer.task = None
        writer.running = False
        slow, writer.slow = writer.slow, []
        writer.ended += 1
        writer.owner = 0
        writer.lock.release()
        if slow:
            writer.tell_slow(slow)

    @block
    def exclusive(self, text: str = "") -> Generator[None]:
        """Hold the writer. For a thread that has no transaction open.

        A BusyError names the table of `text`.
        """
        try:
            self._writer.acquire(text)
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
        writer.note_fork()
        if writer.owner == get_ident():
            self._push_savepoint(level, holder)
            return
        self._thread_ends.watch_this_thread()
        try:
            writer.acquire("")
            writer.begin()
            self._depth = 1
            note_task(writer)
            self._remember(level, 1, holder)
            writer.running = False
        except BaseException:
            self.end()
            raise

    def leave(self, level: Level, succeeded: bool) -> None:
        """Close that level: keep it or undo exactly it. Once it is closed, do nothing."""
        writer = self._writer
        writer.note_fork()
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
        # First: wherever Ctrl-C comes, a savepoint that is there counts, and can be left.
        self._remember(level, number, holder)
        self._depth = number
        try:
            self._run_savepoint(f"SAVEPOINT level{number}")
        except BaseException:  # it is not there, or the whole transaction is lost
            self._depth = number - 1
            raise
        writer.refuse()

    def _pop_savepoint(self, succeeded: bool) -> None:
        if not succeeded:
            self._run_savepoint(f"ROLLBACK TO level{self._depth}")
        self._run_savepoint(f"RELEASE level{self._depth}")
        self._depth -= 1
        del self._entered[self._depth :]

    def _run_savepoint(self, savepoint: str) -> None:
        """Run a savepoint statement. If it fails, nothing of the transaction can be kept."""
        writer = self._writer
        if writer.abort_error is not None or writer.dropped:
            return
        try:
            writer.connection.execute(savepoint.encode())
        except psycopg.Error as error:
            writer.abort_error = map_error(
                error, f"{savepoint} ({writer.name})", writer.busy_timeout
            )
        except BaseException:
            writer.drop_interrupted()
            raise

    # Transactions that are not left as they should be: by Ctrl-C, by another thread, or never

    def _remember(self, level: Level, number: int, holder: object) -> None:
        level.acquisition, level.number = self._writer.acquisition, number
        del self._entered[number - 1 :]
        self._entered.append(ref(holder, lambda _: self.leave(level, succeeded=False)))

    def _end_of_thread(self) -> None:
        with self._from_outside:
            if self._writer.owner == get_ident():
                self.end()

    def _leave_elsewhere(self, acquisition: int, succeeded: bool) -> None:
        """Undo a transaction that is left where it was not entered: in a thread, in a child."""
        writer = self._writer
        with self._from_outside:
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
