"""What was changed, told after the commit: the recorder on the writer, the feeds of listeners."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from os import getpid
from types import TracebackType
from typing import Any, Self, TypeAlias

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore.core import publish
from cwstore.core.checks import is_integer, is_number
from cwstore.errors import InvalidValueError, StoreClosedError

__all__ = ["Change", "ChangeFeed", "ChangeOperation"]

_LOOK_ELSEWHERE = 0.05  # seconds between two looks whether another process has committed


class ChangeOperation(StrEnum):
    """What happened."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    #: Another process, or another store, committed something: nobody knows what. Read again.
    ELSEWHERE = "elsewhere"
    #: The listener was too slow, so changes before this one are missing. Read again.
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was changed; in the order of the changes."""

    operation: ChangeOperation
    #: None for what has no table: elsewhere and overflow.
    table: str | None = None
    #: Of an edge, both ids; None where `table` is.
    id: str | tuple[str, ...] | None = None


#: The fields of a Change. Noted by who writes, who shall not pay for making a Change of them.
_Note: TypeAlias = tuple[ChangeOperation, str | None, str | tuple[str, ...] | None]

_ELSEWHERE: _Note = (ChangeOperation.ELSEWHERE, None, None)
_OVERFLOW: _Note = (ChangeOperation.OVERFLOW, None, None)
_OPERATIONS = {
    apsw.SQLITE_INSERT: ChangeOperation.INSERT,
    apsw.SQLITE_UPDATE: ChangeOperation.UPDATE,
    apsw.SQLITE_DELETE: ChangeOperation.DELETE,
}
_ID_COLUMNS = """
    SELECT cid
    FROM pragma_table_info(:table)
    WHERE name = 'id'
       OR pk > 0 AND NOT EXISTS (SELECT 1 FROM pragma_table_info(:table) WHERE name = 'id')
    ORDER BY cid
"""


class Recorder:
    """Notes each change that the writer makes, cascades and triggers too, until the commit."""

    def __init__(self, connection: Connection) -> None:
        self.changes: list[_Note] = []
        self.feeds: list[ChangeFeed] = []
        self._most = 0  # changes of one transaction that any feed can hold
        self._id_columns: dict[str, list[int]] = {}
        self._marks: list[int] = []  # where each open savepoint began
        self.listen_on(connection)

    def listen_on(self, connection: Connection) -> None:
        """Note the changes of this connection; what another had noted was not committed."""
        self._forget()
        self._connection = connection
        ((_, _, file), *_) = connection.execute("PRAGMA database_list").fetchall()
        self._next_look = 0.0 if file else math.inf  # in memory there is no elsewhere
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        for (table,) in connection.execute(tables).fetchall():
            columns = connection.execute(_ID_COLUMNS, {"table": table}).fetchall()
            self._id_columns[table] = [column for (column,) in columns]
        connection.preupdate_hook(self._note)
        for feed in self.feeds:
            feed.doubt()

    def leave(self, feed: "ChangeFeed") -> bool:
        """Take leave of a listener; True if it was the last, and nothing is noted any more."""
        if feed in self.feeds:
            self.feeds.remove(feed)
        if not self.feeds:
            self._connection.preupdate_hook(None)
        return not self.feeds

    def savepoint(self) -> None:
        """A savepoint begins."""
        self._marks.append(len(self.changes))

    def close_savepoint(self, succeeded: bool) -> None:
        """The innermost savepoint ends; forget its changes if it was undone."""
        # One without a mark began before the recording: all of it belongs to that savepoint.
        began = self._marks.pop() if self._marks else 0
        if not succeeded:
            del self.changes[began:]

    def take(self) -> None:
        """The transaction ends without a commit that was told."""
        if self.changes and not self._in_transaction():
            # It may be kept: the disk failed in the commit, or Ctrl-C came right after it.
            for feed in self.feeds:
                feed.publish([_ELSEWHERE], None)
        self._forget()

    def publish(self) -> None:
        """Tell all listeners what was committed, and now and then that others have committed."""
        if self.changes:
            version = self._look_elsewhere()
            for feed in list(self.feeds):
                feed.publish(self.changes, version)
        self._forget()

    def _forget(self) -> None:
        self.changes.clear()
        self._marks.clear()

    def _in_transaction(self) -> bool:
        try:
            return self._connection.in_transaction
        except apsw.ConnectionClosedError:
            return False

    def _look_elsewhere(self) -> int | None:
        """`data_version`, by who has the turn: beside busy writers no listener gets it."""
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + _LOOK_ELSEWHERE
        try:
            return int(self._connection.pragma("data_version"))
        except apsw.Error:
            return None

    def _note(self, update: Any) -> None:
        noted = len(self.changes)
        if not noted:
            self._most = max((feed.capacity for feed in self.feeds), default=0)
        if noted > self._most:
            return  # more than anybody can hold; what is undone is still a part from the end
        columns = self._id_columns.get(update.table_name)
        if columns is None:
            return
        if noted == self._most:
            self.changes.append(_OVERFLOW)
            return
        row = update.new if update.opcode == apsw.SQLITE_INSERT else update.old
        key = row[columns[0]] if len(columns) == 1 else tuple(row[at] for at in columns)
        self.changes.append((_OPERATIONS[update.opcode], update.table_name, key))


class ChangeFeed:
    """The changes since it was opened, of all commits through this store, in their order.

    Iterate to wait for each next one; or `get` those that are there. Close it when done: as a
    context manager, or by `close`. What was rolled back never shows. Threads may share a feed;
    each change goes to one of them. A forked child opens a feed of its own.
    """

    def __init__(
        self,
        capacity: object,
        look_elsewhere: Callable[[], int | None],
        leave: Callable[["ChangeFeed"], None],
    ) -> None:
        if not is_integer(capacity) or capacity < 1:
            raise InvalidValueError("capacity", "must be a number of changes, at least 1")
        self.capacity = capacity
        self._look_elsewhere = look_elsewhere
        self._leave = leave
        self._process = getpid()
        self._notes: deque[_Note] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        self._seen = look_elsewhere()  # None: unknown, so the first number known is news

    def publish(self, notes: list[_Note], version: int | None) -> None:
        """Append what a transaction changed. A full feed forgets, and says so."""
        with self._arrived:
            if self._closed:
                return
            self._notes.extend(notes)
            self._compare(version)
            if len(self._notes) > self.capacity:
                self._notes.clear()
                self._notes.append(_OVERFLOW)
            self._arrived.notify_all()

    def doubt(self) -> None:
        """The numbers that `look_elsewhere` gives begin anew."""
        with self._arrived:
            self._seen = None

    def get(self, timeout: float | None = None) -> list[Change]:
        """Every change that has come; waits up to `timeout` seconds (None: for good) for one.

        Empty if none came in time. Raises StoreClosedError once the feed or its store is closed
        and everything that came was taken, and in a forked child; InvalidValueError.
        """
        self._refuse_inherited()
        deadline = time.monotonic() + _seconds(timeout)
        with self._arrived:
            while not self._notes:
                if self._closed:
                    raise StoreClosedError("the change feed is closed; open another")
                if self._compare(self._look_elsewhere()):
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                self._arrived.wait(min(left, _LOOK_ELSEWHERE))
            changes = [Change(*note) for note in self._notes]
            self._notes.clear()
            return changes

    def _compare(self, version: int | None) -> bool:
        """Note it, if others have committed since the last look; whether they have."""
        if version is None or version == self._seen:
            return False
        self._seen = version
        self._notes.append(_ELSEWHERE)
        return True

    def _refuse_inherited(self) -> None:
        # Before anything is locked: a thread of the parent may have held the lock at the fork.
        if getpid() != self._process:
            raise StoreClosedError(
                "the change feed was opened before this process was forked; open a store of its"
                " own in the child, and a feed of that"
            )

    def close(self) -> None:
        """Stop listening and wake who waits; a second call does nothing.

        Raises BusyError if another thread had a transaction open for all of the busy timeout: the
        feed is closed all the same, but until it is closed again, writes go on being noted.
        """
        if getpid() != self._process:
            return
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
        with suppress(StoreClosedError):  # the store was closed meanwhile: nobody writes
            self._leave(self)

    def __iter__(self) -> Iterator[Change]:
        """Yield change after change until the feed or the store is closed."""
        while True:
            try:
                changes = self.get()
            except StoreClosedError:
                self._refuse_inherited()
                return
            yield from changes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _seconds(timeout: object) -> float:
    if timeout is None:
        return math.inf
    if not is_number(timeout):
        raise InvalidValueError(
            "timeout", f"expected seconds as a number, or None, got {type(timeout).__name__}"
        )
    if not timeout <= math.inf:  # NaN
        raise InvalidValueError("timeout", "must be a number of seconds")
    return float(max(0, min(timeout, threading.TIMEOUT_MAX)))  # an int may be too large for one


publish(globals())
