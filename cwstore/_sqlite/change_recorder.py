"""Records what the writer changes, cascades and triggers too, and publishes it after the commit.

SQLite calls the recorder before each row changes (its preupdate hook). To get the old row from it
takes half as long as all the rest, so that is not done where the text of a statement tells which
row it will change.
"""

from typing import TYPE_CHECKING, Any
from weakref import ref

import apsw

from cwstore._sqlite.change_sharing import Sharing
from cwstore._sqlite.one_row import OneRow, find_one_row
from cwstore.core.changes import (
    NOTE_OF_ELSEWHERE,
    NOTE_OF_OVERFLOW,
    ChangeFeed,
    ChangeNote,
    ChangeOperation,
    open_feeds,
)
from cwstore.core.clock import real_time as time

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection
    from cwstore._sqlite.write_queue import WriteQueue

_OPERATIONS = {
    apsw.SQLITE_INSERT: ChangeOperation.INSERT,
    apsw.SQLITE_UPDATE: ChangeOperation.UPDATE,
    apsw.SQLITE_DELETE: ChangeOperation.DELETE,
}
# SQLite tells nothing of the rows of a virtual table, and those of its shadow tables are its own
# affair. What makes `readiness` change is told, so it is not; nor is the last stamp, which nobody
# reads. Another program may have tables of these names.
_TOLD = """
    SELECT name
    FROM pragma_table_list
    WHERE schema = 'main'
      AND type = 'table'
      AND name <> 'sqlite_schema'
      AND (
            name NOT IN ('readiness', 'stamps')
         OR NOT EXISTS (
                SELECT 1
                FROM sqlite_schema
                WHERE type = 'view'
                  AND name = 'newest_stamp'
            )
      )
"""
_ID_COLUMNS = """
    SELECT cid
    FROM pragma_table_info(:table)
    WHERE name = 'id'
       OR pk > 0 AND NOT EXISTS (SELECT 1 FROM pragma_table_info(:table) WHERE name = 'id')
    ORDER BY cid
"""


_UNSEEN: OneRow = (ChangeOperation.UPDATE, "", 0)  # of a statement that was not looked at
MOST_SHARED = 10_000  # changes of one transaction that others are told one by one


class Recorder:
    """The changes of the open transaction, and who gets them when it commits: feeds, and others."""

    def __init__(self, connection: "Connection") -> None:
        self.changes: list[ChangeNote] = []
        self._feeds: list[ref[ChangeFeed]] = []  # a feed that nobody holds is heard by nobody
        self.others_listen = False  # stores of other processes, or others of this one
        self._most = 0  # changes of one transaction that anybody can hold
        self._id_columns: dict[str, list[int]] = {}
        self._one_rows: dict[str, OneRow | None] = {}  # by the text of a statement
        self.expected: ChangeNote | None = None  # what its statement itself will change, if known
        self._savepoints: dict[int, int] = {}  # by level: how many changes were noted before it
        ((_, _, file), *_) = connection.execute("PRAGMA database_list").fetchall()
        self.sharing = Sharing(file, self._tell)
        self.listen_on(connection)

    def listen_on(self, connection: "Connection") -> None:
        """Record this connection. What an earlier one had noted was not committed: forget it."""
        self._forget()
        self._one_rows.clear()
        self._connection = connection
        for (table,) in connection.execute(_TOLD).fetchall():
            columns = connection.execute(_ID_COLUMNS, {"table": table}).fetchall()
            self._id_columns[table] = [column for (column,) in columns]
        connection.preupdate_hook(self._note)
        self.sharing.watch_log(connection)
        self.sharing.replace_connection()

    @property
    def feeds(self) -> list[ChangeFeed]:
        """Those that are neither closed nor dropped."""
        return open_feeds(self._feeds)

    def add_feed(self, feed: ChangeFeed) -> None:
        """Let it hear what is published from now on."""
        if self.feeds:
            self.sharing.look(self._connection)  # what was committed before it is not for it
        else:
            self.sharing.listen(self._connection)
        self._feeds.append(ref(feed))

    def is_heard(self, queue: "WriteQueue | None") -> bool:
        """Whether anybody listens. If nobody does, nothing is recorded any more."""
        if self._feeds:
            left = self.feeds
            self._feeds = [ref(feed) for feed in left]
            self.sharing.listens = bool(left)
            if queue is not None and not left:
                queue.stop_listening()
                self.others_listen = queue.is_listened(time.monotonic())
        heard = self.others_listen or bool(self._feeds)
        if not heard:
            self._connection.preupdate_hook(None)
            self.sharing.leave_log(self._connection)
            self.sharing.close()
        return heard

    def keep_listening(self, queue: "WriteQueue") -> None:
        """Say again that the feeds listen, whom nobody has asked for long."""
        if self._feeds:
            queue.keep_listening()

    def _tell(self, notes: list[ChangeNote]) -> None:
        for feed in self.feeds:
            feed.publish(notes)

    def expect(self, text: str, values: list[Any]) -> int:
        """Note what the statement that is about to run will change, if its text tells.

        Returns how many changes were noted before it.
        """
        row = self._one_rows.get(text, _UNSEEN)
        if row is _UNSEEN:
            row = self._find_one_row(text)
        if row is None:
            self.expected = None
        else:
            operation, table, place = row
            key = values[place]
            self.expected = (operation, table, key) if type(key) is str else None
        return len(self.changes)

    def _find_one_row(self, text: str) -> OneRow | None:
        row = find_one_row(self._connection, text)
        if row is not None and row[1] not in self._id_columns:
            row = None
        self._one_rows[text] = row
        return row

    def savepoint(self, level: int) -> None:
        """Begin the savepoint of this level, the innermost one."""
        self._savepoints[level] = len(self.changes)

    def close_savepoint(self, level: int, succeeded: bool) -> None:
        """End the innermost savepoint, this level. If it was undone, forget its changes.

        A second call, after Ctrl-C in the first, does the rest.
        """
        if not succeeded:
            # One that is not known is older than the recording: all changes belong to it.
            del self.changes[self._savepoints.get(level, 0) :]

    def publish(self, version: int) -> bool:
        """Give what was committed to all who listen; `version` is what the connection left.

        Whether it is to be asked if anybody listens still.
        """
        self.sharing.after_commit(self._connection, self.changes, version)
        self._forget()
        return not self.others_listen or bool(self._feeds)

    def discard(self) -> None:
        """End a transaction whose commit was not published."""
        self.sharing.release()
        if self.changes and not self._in_transaction():
            # It may be there: the disk failed in the COMMIT, or Ctrl-C came right after it.
            self._tell([NOTE_OF_ELSEWHERE])
        self._forget()

    def _forget(self) -> None:
        self.changes.clear()
        self.expected = None
        if self._savepoints:
            self._savepoints.clear()

    def _in_transaction(self) -> bool:
        try:
            return self._connection.in_transaction
        except apsw.ConnectionClosedError:
            return False

    def _note(self, update: Any) -> None:
        note = self.expected
        if note is not None and not update.depth and _OPERATIONS[update.opcode] is note[0]:
            self.expected = None  # by no trigger, nor in the place of another row
        elif update.table_name in self._id_columns:
            note = None
        else:
            return
        changes = self.changes
        if not changes:
            self._most = MOST_SHARED if self.others_listen else 0
            if self._feeds:
                self._most = max(self._most, *(feed.capacity for feed in self.feeds), 0)
        elif len(changes) >= self._most:
            if len(changes) == self._most:
                changes.append(NOTE_OF_OVERFLOW)
            return  # more than anybody can hold; an undone savepoint still cuts from the end
        changes.append(note or self._read(update))

    def _read(self, update: Any) -> ChangeNote:
        code, table = update.opcode, update.table_name
        columns = self._id_columns[table]
        row = update.new if code == apsw.SQLITE_INSERT else update.old
        key = row[columns[0]] if len(columns) == 1 else tuple(row[at] for at in columns)
        return _OPERATIONS[code], table, key
