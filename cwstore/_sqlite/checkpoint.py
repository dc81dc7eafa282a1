"""Keeps the write-ahead log short, however many processes read and write.

SQLite moves the log into the file as it grows. But it begins the log anew only at a moment when all
of it is moved and nobody reads from it. Among processes that never rest no such moment comes: eight
that write made over 100 MB of log a second. So a writer that, after a commit, finds the log too
long makes such a moment. It holds up other writers until those who read from the log have finished,
a few ms as a rule; whoever begins to read meanwhile reads from the file. It does not wait for a
longer read; `Store.stats` tells whose it is. `tools/wal` measures what that gives.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.busy_handler import busy_handler

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection
    from cwstore._sqlite.file_names import FileNames
    from cwstore._sqlite.write_queue import WriteQueue

LONG = 4096  # pages: 16 MB
_COMMITS_UNSEEN = 3  # from one look at the length of the log to the next
_WAIT = 0.1  # seconds for others to finish; threads that share one Python take their time
_PINNED = 1000  # pages that cannot be moved: a reader was there before they were written
_STEP = 1000  # pages that the log may grow by until readers are waited for once more


class WalCheckpointer:
    """Looks at the log after commits, and shortens it when it is long."""

    __slots__ = ("_limit", "_names", "_queue", "_told", "_unseen")

    def __init__(self, queue: "WriteQueue", names: "FileNames | None") -> None:
        self._queue = queue
        self._names = names  # None in memory
        self._limit = LONG  # pages; more once readers were waited for in vain
        self._told = 0  # pages from which on it is logged that the log is long
        self._unseen = 0  # commits until the next look

    def after_commit(self, connection: "Connection", handler: Callable[[int], bool]) -> None:
        """Begin the log anew if it is long. Looks after every fourth commit; a look takes 0.1 µs.

        `handler` is the busy handler of the connection, which must have no transaction open.
        Raises nothing of apsw or the system: what was committed is kept, and a fault shows again.
        """
        self._unseen -= 1
        if self._unseen >= 0:
            return
        self._unseen = _COMMITS_UNSEEN
        try:
            pages, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if self._names is not None and not self._names.look_inside(connection, pages):
                return  # who commits next is told
            if pages <= LONG:
                self._limit, self._told = LONG, 0
            elif pages > self._limit:
                self._shorten(connection, handler)
        except (apsw.Error, OSError):  # of the disk, or an import that found no descriptors left
            pass

    def _shorten(self, connection: "Connection", handler: Callable[[int], bool]) -> None:
        wait, looks = busy_handler(_WAIT), 0
        while True:
            # First without a lock, so that little is left to be moved while nobody can write.
            _, pages, moved = _checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")
            if pages >= 0:
                if pages <= LONG:
                    return
                if pages - moved > _PINNED:
                    self._tell_readers(connection.filename, pages)
                    return
                busy, pages = self._restart(connection, handler)
                if pages >= 0:
                    self._limit = pages + _STEP if busy else LONG
                    if busy:
                        self._tell_readers(connection.filename, pages)
                    return
            # Another process runs a checkpoint. If this one wrote on, that would never end.
            if not wait(looks):
                return
            looks += 1

    def _tell_readers(self, file: str, pages: int) -> None:
        """Log that the log cannot begin anew, and who reads from it; again when it has doubled."""
        if pages < self._told:
            return
        self._told = 2 * pages
        from cwstore._sqlite.lock_holders import log_readers
        from cwstore.core.log import WARNING, log

        who = ", ".join(f"{one.pid} ({one.process or 'unknown'})" for one in log_readers(file, []))
        log(
            WARNING,
            "%s: the write-ahead log has %d pages and cannot begin anew; who reads: process %s",
            file,
            pages,
            who or "unknown",
        )

    def _restart(self, connection: "Connection", handler: Callable[[int], bool]) -> tuple[int, int]:
        # SQLite overwrites pages of the log faster than it adds new ones, so the log file stays as
        # long as it is; but no longer than this, if it grew beside a long read.
        connection.execute("PRAGMA journal_size_limit = 33554432").fetchall()
        connection.set_busy_handler(busy_handler(_WAIT))
        try:
            self._queue.wait_at_most(_WAIT)  # RESTART takes the write lock
            busy, pages, _ = _checkpoint(connection, "PRAGMA wal_checkpoint(RESTART)")
        finally:
            self._queue.leave()
            connection.set_busy_handler(handler)
        return busy, pages


def truncate(connection: "Connection", queue: "WriteQueue", handler: Callable[[int], bool]) -> None:
    """Move all of the log into the file and cut it to nothing, unless somebody reads from it.

    `handler` is the busy handler of the connection, which must have no transaction open.
    """
    _checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")
    connection.set_busy_handler(busy_handler(_WAIT))
    try:
        queue.wait_at_most(_WAIT)  # TRUNCATE takes the write lock
        _checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        queue.leave()
        connection.set_busy_handler(handler)


def _checkpoint(connection: "Connection", text: str) -> tuple[int, int, int]:
    """Run a checkpoint: whether something is left to do, pages of the log, pages that are moved.

    Both numbers are -1 if another connection was running one.
    """
    (row,) = connection.execute(text).fetchall()
    busy, pages, moved = row
    return busy, pages, moved
