"""Tells the changes of a store to other processes, and theirs to it, in the order of the commits.

While somebody listens, each commit appends to the ring what changed, and in which state the file is
then (see log_end.py). Each entry says whether it follows the one before it. A listener compares the
file with the newest entry. So a commit that is not in the ring is noticed, by the next commit or by
a listener: of a process that was killed between its COMMIT and its entry, of another program,
of an older version of this one. It is told as "elsewhere".

While nobody listens nothing is written. All that is looked at is a number in `<file>-turn`, which
is read with the last stamp.
"""

from collections.abc import Callable
from contextlib import suppress
from threading import RLock
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.change_ring import ChangeRing, Head
from cwstore._sqlite.log_end import UNKNOWN, LogEnd, end_of_commit, find_end, is_at
from cwstore.core.changes import NOTE_OF_ELSEWHERE, ChangeNote
from cwstore.core.clock import real_time as time

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

_NEXT_LOOK = 0.05  # seconds until it is looked again whether the ring lacks a commit
_NEXT_LOOK_OF_WRITER = 1.0  # seconds until a writer looks again whether the ring is there
_REFUSALS = 20  # looks, 0.05 s apart, at a commit whose process does not come to its entry

Tell = Callable[[list[ChangeNote]], None]


class Sharing:
    """What one store knows of the ring, and of the file after the newest change that was told."""

    def __init__(self, file: str, tell: Tell) -> None:
        self._file = file  # "" in memory: there is no elsewhere
        self._tell = tell
        self.listens = False  # whether this store tells changes
        self._told = RLock()  # held while changes are told, so that they stay in order
        self._head: Head = (0, UNKNOWN)  # up to where they were told
        self._version = -1  # of the file as the connection saw it then
        self._follows: bool = False  # whether the commit at hand does
        self._locked: ChangeRing | None = None  # the ring, for the commit at hand
        self._frames = 0  # of the log after it; 0 while it has written nothing
        self._moved_at = 0  # frames of the log from which on a commit moves it into the file
        self._next_look = 0.0  # at what costs more
        self._refusals = 0
        self._ring = self._open()

    def _open(self) -> ChangeRing | None:
        if self._file:
            with suppress(OSError):
                return ChangeRing(self._file)
        return None

    def listen(self, connection: "Connection") -> None:
        """Tell what is committed from now on. For who holds the writer."""
        with self._told:
            self.listens = True
            self._begin(connection)

    def _begin(self, connection: "Connection") -> None:
        ring = self._ring
        try:
            if not connection.in_transaction:
                connection.pragma("data_version")  # reads what others have committed
            self._version = connection.data_version()
            if ring is not None and ring.try_lock():
                self._head = ring.find_head()
                if not is_at(connection, self._head[1]):
                    end = UNKNOWN if connection.in_transaction else find_end(connection)
                    self._append_gap(ring, end)
        except (apsw.Error, OSError):
            self._head = (0, UNKNOWN)  # the next look tells that something may have come
        finally:
            if ring is not None:
                ring.unlock()

    def replace_connection(self) -> None:
        """The versions that the connection counts begin anew."""
        self._version = -1

    # What others commit

    def look(self, connection: "Connection | None") -> None:
        """Tell what others have committed. The connection that writes; None if a thread uses it."""
        try:
            if not self._told.acquire(False):
                return
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + _NEXT_LOOK
                self._tell_new()
                if connection is not None:
                    self._explain(connection)
            elif self._ring is not None and self._ring.has_news(self._head):
                self._tell_new()
        except (apsw.Error, OSError):
            pass  # as long as it cannot be looked at, nothing is told; the next look tells
        finally:
            with suppress(RuntimeError):  # it was not taken
                self._told.release()

    def _tell_new(self) -> None:
        """Tell what is new in the ring."""
        if self._ring is None:
            return
        entries, self._head = self._ring.read(self._head)
        notes: list[ChangeNote] = []
        if entries is None:
            notes.append(NOTE_OF_ELSEWHERE)  # so much was committed meanwhile
        else:
            for entry in entries:
                if not entry.follows or entry.notes is None:
                    notes.append(NOTE_OF_ELSEWHERE)
                notes += entry.notes or ()
        if notes:
            self._tell(notes)

    def _explain(self, connection: "Connection") -> None:
        """Tell it, if something was committed that is not in the ring."""
        connection.pragma("data_version")  # reads what others have committed
        version = connection.data_version()
        if version == self._version:
            return
        ring = self._ring
        if ring is not None and not ring.is_there():
            ring.close()
            self._ring = self._open()
            self._begin(connection)
        elif ring is not None:
            if is_at(connection, self._head[1]):
                self._version = version
                return
            # Whoever has committed has the lock until it has appended what it was.
            if ring.try_lock(patiently=False):
                self._tell_missing(connection, ring)
                return
            self._refusals += 1
            if self._refusals < _REFUSALS:
                return
        self._refusals = 0
        self._version = version
        self._tell([NOTE_OF_ELSEWHERE])

    def _tell_missing(self, connection: "Connection", ring: ChangeRing) -> None:
        """Append an entry for what is not in the ring, if that is so; then let go of the ring."""
        try:
            self._tell_new()
            if not is_at(connection, self._head[1]):
                self._append_gap(ring, find_end(connection))
                self._tell([NOTE_OF_ELSEWHERE])
        finally:
            ring.unlock()

    def _append_gap(self, ring: ChangeRing, end: LogEnd) -> None:
        """Append an entry for what nobody knows of, after which the file is in that state."""
        place, _ = self._head
        self._head = (ring.append(place, False, None, end), end)
        ring.set_hint(place)

    # What this store commits

    def before_commit(self, connection: "Connection", began: float) -> None:
        """Take the lock of the ring, and tell what others have committed until now.

        `began` is when the transaction did, by CLOCK_MONOTONIC.
        """
        with self._told:
            self._frames = 0
            version = connection.data_version()
            self._follows = version == self._version and self._head[1] != UNKNOWN
            try:
                ring = self._ring
                if began >= self._next_look and not self.listens:
                    ring = self._ring_to_write(began)
                if ring is not None and ring.try_lock():
                    self._locked = ring
                    if not self._follows:
                        if self.listens:
                            self._tell_new()
                        else:
                            self._head = ring.find_head()
                        self._follows = is_at(connection, self._head[1])
            except (apsw.Error, OSError):
                self._follows = False
                self.release()
            if not self._follows and self.listens and version != self._version and self._file:
                self._tell([NOTE_OF_ELSEWHERE])

    def _ring_to_write(self, now: float) -> ChangeRing | None:
        """The ring; another one if somebody has removed it. A look at that a second is enough."""
        ring = self._ring
        if ring is not None:
            self._next_look = now + _NEXT_LOOK_OF_WRITER
            if not ring.is_there():
                ring.close()
                ring = self._ring = self._open()
                self._follows = False
        return ring

    def watch_log(self, connection: "Connection") -> None:
        """Note after each commit of this connection how long it has left the log.

        SQLite has one hook for that and for moving the log into the file by itself. So this does
        that, too. See sqlite3_wal_autocheckpoint.
        """
        self._moved_at = connection.pragma("wal_autocheckpoint")
        connection.set_wal_hook(self._note_log)

    def leave_log(self, connection: "Connection") -> None:
        """Note it no more: SQLite moves the log again."""
        connection.set_wal_hook(None)
        connection.wal_autocheckpoint(self._moved_at)

    def _note_log(self, connection: "Connection", database: str, frames: int) -> int:
        self._frames = frames
        if self._moved_at and frames >= self._moved_at:
            with suppress(apsw.Error):  # what was committed is kept, and a fault shows again
                connection.wal_checkpoint(database, apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    def after_commit(self, connection: "Connection", notes: list[ChangeNote], version: int) -> None:
        """Append what was committed, and tell it. `version` is the one that it has left."""
        with self._told:
            ring, follows, frames = self._locked, self._follows, self._frames
            if ring is None:
                if self._ring is None:
                    self._version = version
            else:
                self._locked = None
                try:
                    if frames:
                        place, before = self._head
                        if follows:
                            end = end_of_commit(connection, before, frames)
                        else:  # it is told as elsewhere, whatever else is in that state
                            end = find_end(connection)
                        self._head = ring.append(place, follows, notes, end), end
                    self._version = version
                except (apsw.Error, OSError):
                    pass  # the commit is there: who listens finds that its entry is not
                finally:
                    ring.unlock()
            if self.listens and notes:
                self._tell(notes)

    def release(self) -> None:
        """Let go of the ring, whatever became of the commit."""
        self._locked = None
        if self._ring is not None:
            self._ring.unlock()

    def close(self) -> None:
        """Close what this process has open of the ring, and change nothing that others see."""
        with self._told:  # nobody may write to a descriptor that is another file's by now
            self.abandon_after_fork()

    def abandon_after_fork(self) -> None:
        """In a forked child: the same. A thread of the parent may have been at work here."""
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()
