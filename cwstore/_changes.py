"""What was changed, told after the commit: the recorder on the writer, the feeds of listeners."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import apsw

from cwstore._apsw import Connection
from cwstore.errors import InvalidValueError, StoreClosedError

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
        self.changes: list[Change] = []
        self.feeds: list[ChangeFeed] = []
        self._id_columns: dict[str, list[int]] = {}
        self._marks: list[int] = []  # where each open savepoint began
        self.listen_on(connection)

    def listen_on(self, connection: Connection) -> None:
        """Note the changes of this connection."""
        self._connection = connection
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        for (table,) in connection.execute(tables).fetchall():
            columns = connection.execute(_ID_COLUMNS, {"table": table}).fetchall()
            self._id_columns[table] = [column for (column,) in columns]
        connection.preupdate_hook(self._note)

    def leave(self, feed: "ChangeFeed") -> bool:
        """Take leave of a listener; True if it was the last, and nothing is noted any more."""
        if feed in self.feeds:
            self.feeds.remove(feed)
        if not self.feeds:
            self._connection.preupdate_hook(None)
        return not self.feeds

    def mark(self) -> None:
        """A savepoint begins."""
        self._marks.append(len(self.changes))

    def close_mark(self, succeeded: bool) -> None:
        """The innermost savepoint ends; forget its changes if it was undone."""
        if self._marks:
            began = self._marks.pop()
            if not succeeded:
                del self.changes[began:]

    def take(self) -> list[Change]:
        """What was noted since the last time."""
        changes, self.changes = self.changes, []
        self._marks.clear()
        return changes

    def publish(self) -> None:
        """Tell all listeners what was committed."""
        changes = self.take()
        for feed in list(self.feeds) if changes else ():
            feed.publish(changes)

    def _note(self, update: Any) -> None:
        columns = self._id_columns.get(update.table_name)
        if columns is None:
            return
        row = update.new if update.opcode == apsw.SQLITE_INSERT else update.old
        key = row[columns[0]] if len(columns) == 1 else tuple(row[at] for at in columns)
        self.changes.append(Change(_OPERATIONS[update.opcode], update.table_name, key))


class ChangeFeed:
    """The changes since it was opened, of all commits through this store, in their order.

    Iterate to wait for each next one; or `get` those that are there. Close it when done: as a
    context manager, or by `close`. What was rolled back never shows. Threads may share a feed;
    each change goes to one of them.
    """

    def __init__(
        self,
        capacity: object,
        look_elsewhere: Callable[[], int | None],
        leave: Callable[["ChangeFeed"], None],
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int) or capacity < 1:
            raise InvalidValueError("capacity", "must be a number of changes, at least 1")
        self._capacity = capacity
        self._look_elsewhere = look_elsewhere
        self._leave = leave
        self._changes: deque[Change] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        self._seen = look_elsewhere()

    def publish(self, changes: list[Change]) -> None:
        """Append what a transaction changed. A full feed forgets, and says so."""
        with self._arrived:
            self._changes.extend(changes)
            if len(self._changes) > self._capacity:
                self._changes.clear()
                self._changes.append(Change(ChangeOperation.OVERFLOW))
            self._arrived.notify_all()

    def get(self, timeout: float | None = None) -> list[Change]:
        """Every change that has come; waits up to `timeout` seconds (None: for good) for one.

        Empty if none came in time. Raises StoreClosedError once the feed or its store is closed
        and everything that came was taken.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._arrived:
            while not self._changes:
                if self._closed:
                    raise StoreClosedError("the change feed is closed; open another")
                if self._elsewhere():
                    return [Change(ChangeOperation.ELSEWHERE)]
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return []
                self._arrived.wait(_LOOK_ELSEWHERE if left is None else min(left, _LOOK_ELSEWHERE))
            changes = list(self._changes)
            self._changes.clear()
            return changes

    def _elsewhere(self) -> bool:
        version = self._look_elsewhere()
        if version is None or version == self._seen:
            return False
        known, self._seen = self._seen, version
        return known is not None

    def close(self) -> None:
        """Stop listening and wake who waits; a second call does nothing."""
        self._leave(self)
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()

    def __iter__(self) -> Iterator[Change]:
        """Yield change after change until the feed or the store is closed."""
        while True:
            try:
                changes = self.get()
            except StoreClosedError:
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
