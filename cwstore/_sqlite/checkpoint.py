"""The write-ahead log is kept short, however many read and write.

SQLite moves the log into the file as it grows, but begins it anew only if at some moment all of it
is moved and nobody reads from it. Among processes that never rest no such moment comes: eight that
write made over 100 MB of log a second. So whoever finds the log long after a commit makes the
moment: it holds up writing until those who are reading have finished, a few ms as a rule; who comes
to read meanwhile reads from the file. Somebody who has been reading for longer is not waited for;
`Store.stats` tells who it is. `tools/wal` measures what that gives.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.busy_handler import busy_handler

if TYPE_CHECKING:
    from cwstore._sqlite.write_queue import WriteQueue

LONG = 4096  # pages: 16 MB
_WAIT = 0.1  # seconds for others to finish; several threads that share one Python take their time
_PINNED = 1000  # pages that cannot be moved: a reader was there before they were written
_STEP = 1000  # pages that the log may grow by until readers are waited for once more


class Log:
    """What a writer knows of the log."""

    __slots__ = ("_limit", "_queue")

    def __init__(self, queue: "WriteQueue") -> None:
        self._queue = queue
        self._limit = LONG

    def look(self, connection: Connection, patience: Callable[[int], bool]) -> None:
        """Begin the log anew if it is long. It takes 0.1 µs to see that it is not.

        For a writer outside of a transaction; `patience` is its busy handler. Raises nothing of
        apsw's: what was committed is kept, and whatever is wrong will show by itself.
        """
        try:
            pages, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if pages <= LONG:
                self._limit = LONG
            elif pages > self._limit:
                self._shorten(connection, patience)
        except apsw.Error:
            pass

    def _shorten(self, connection: Connection, patience: Callable[[int], bool]) -> None:
        wait, looks = busy_handler(_WAIT), 0
        while True:
            # First without a lock, so that little is left to be moved while nobody can write.
            _, pages, moved = _checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")
            if pages >= 0:
                if pages <= LONG or pages - moved > _PINNED:
                    return
                busy, pages = self._restart(connection, patience)
                if pages >= 0:
                    self._limit = pages + _STEP if busy else LONG
                    return
            # Another process is at it: writing on meanwhile would make its work endless.
            if not wait(looks):
                return
            looks += 1

    def _restart(self, connection: Connection, patience: Callable[[int], bool]) -> tuple[int, int]:
        # Pages of the log that are written over cost less than new ones, so the file stays as long
        # as it is; but not if it grew beside a long read.
        connection.execute("PRAGMA journal_size_limit = 33554432").fetchall()
        connection.set_busy_handler(busy_handler(_WAIT))
        try:
            self._queue.wait_at_most(_WAIT)  # it takes the lock of writers
            busy, pages, _ = _checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)")
        finally:
            self._queue.leave()
            connection.set_busy_handler(patience)
        return busy, pages


def _checkpoint(connection: Connection, text: str) -> tuple[int, int, int]:
    """Whether something is left to do, the pages of the log, and those that are moved.

    The numbers are -1 if somebody else was doing it.
    """
    (row,) = connection.execute(text).fetchall()
    busy, pages, moved = row
    return busy, pages, moved
