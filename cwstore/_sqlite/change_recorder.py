"""Records what the writer changes, cascades and triggers too, and publishes it after the commit.

SQLite calls the recorder before each row changes (its preupdate hook).
"""

import math
from typing import TYPE_CHECKING, Any
from weakref import ref

import apsw

from cwstore.core.changes import (
    LOOK_INTERVAL,
    NOTE_OF_ELSEWHERE,
    NOTE_OF_OVERFLOW,
    ChangeFeed,
    ChangeNote,
    ChangeOperation,
)
from cwstore.core.clock import real_time as time

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

_OPERATIONS = {
    apsw.SQLITE_INSERT: ChangeOperation.INSERT,
    apsw.SQLITE_UPDATE: ChangeOperation.UPDATE,
    apsw.SQLITE_DELETE: ChangeOperation.DELETE,
}
# A virtual table has no page, and SQLite tells nothing of its rows. What makes `readiness` change
# is told, so it is not.
_TOLD = """
    SELECT name
    FROM sqlite_schema
    WHERE type = 'table'
      AND rootpage > 0
      AND name <> 'readiness'
"""
_ID_COLUMNS = """
    SELECT cid
    FROM pragma_table_info(:table)
    WHERE name = 'id'
       OR pk > 0 AND NOT EXISTS (SELECT 1 FROM pragma_table_info(:table) WHERE name = 'id')
    ORDER BY cid
"""


class Recorder:
    """The changes of the open transaction, and the feeds that get them when it commits."""

    def __init__(self, connection: "Connection") -> None:
        self.changes: list[ChangeNote] = []
        self._feeds: list[ref[ChangeFeed]] = []  # a feed that nobody holds is heard by nobody
        self._most = 0  # changes of one transaction that the largest feed can hold
        self._id_columns: dict[str, list[int]] = {}
        self._savepoints: dict[int, int] = {}  # by level: how many changes were noted before it
        self.listen_on(connection)

    def listen_on(self, connection: "Connection") -> None:
        """Record this connection. What an earlier one had noted was not committed: forget it."""
        self._forget()
        self._connection = connection
        ((_, _, file), *_) = connection.execute("PRAGMA database_list").fetchall()
        self._next_look = 0.0 if file else math.inf  # in memory there is no elsewhere
        for (table,) in connection.execute(_TOLD).fetchall():
            columns = connection.execute(_ID_COLUMNS, {"table": table}).fetchall()
            self._id_columns[table] = [column for (column,) in columns]
        connection.preupdate_hook(self._note)
        for feed in self.feeds:
            feed.doubt()

    @property
    def feeds(self) -> list[ChangeFeed]:
        """Those that are neither closed nor dropped."""
        known = [one() for one in self._feeds]
        return [feed for feed in known if feed is not None and not feed.is_closed]

    def add_feed(self, feed: ChangeFeed) -> None:
        """Let it hear what is published from now on."""
        self._feeds.append(ref(feed))

    def is_heard(self) -> bool:
        """Whether a feed is left. If none is, nothing is recorded any more."""
        left = self.feeds
        self._feeds = [ref(feed) for feed in left]
        if not left:
            self._connection.preupdate_hook(None)
        return bool(left)

    def savepoint(self, level: int) -> None:
        """Begin the savepoint of this level, the innermost one."""
        self._savepoints[level] = len(self.changes)

    def close_savepoint(self, level: int, succeeded: bool) -> None:
        """End the innermost savepoint, this level. If it was undone, forget its changes."""
        # One that is not known is older than the recording: all changes belong to it.
        began = self._savepoints.pop(level, 0)
        if not succeeded:
            del self.changes[began:]

    def discard(self) -> None:
        """End a transaction whose commit was not published."""
        if self.changes and not self._in_transaction():
            # It may be there: the disk failed in the COMMIT, or Ctrl-C came right after it.
            for feed in self.feeds:
                feed.publish([NOTE_OF_ELSEWHERE], None)
        self._forget()

    def publish(self) -> None:
        """Give all feeds what was committed, and now and then, that others have committed."""
        if self.changes:
            version = self._look_elsewhere()
            for feed in self.feeds:
                feed.publish(self.changes, version)
        self._forget()

    def _forget(self) -> None:
        self.changes.clear()
        self._savepoints.clear()

    def _in_transaction(self) -> bool:
        try:
            return self._connection.in_transaction
        except apsw.ConnectionClosedError:
            return False

    def _look_elsewhere(self) -> int | None:
        """`data_version`. Beside busy threads no listener gets the connection to ask for it."""
        now = time.monotonic()
        if now < self._next_look:
            return None
        self._next_look = now + LOOK_INTERVAL
        try:
            return int(self._connection.pragma("data_version"))
        except apsw.Error:
            return None

    def _note(self, update: Any) -> None:
        noted = len(self.changes)
        if not noted:
            self._most = max((feed.capacity for feed in self.feeds), default=0)
        if noted > self._most:
            return  # more than any feed can hold; an undone savepoint still cuts from the end
        columns = self._id_columns.get(update.table_name)
        if columns is None:
            return
        if noted == self._most:
            self.changes.append(NOTE_OF_OVERFLOW)
            return
        row = update.new if update.opcode == apsw.SQLITE_INSERT else update.old
        key = row[columns[0]] if len(columns) == 1 else tuple(row[at] for at in columns)
        self.changes.append((_OPERATIONS[update.opcode], update.table_name, key))
