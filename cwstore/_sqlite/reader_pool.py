"""The pool of connections that only read: each is lent for one call and kept for the next."""

import time
from collections.abc import Generator
from contextlib import suppress
from threading import get_ident
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.connection import connect_reader, leave_checkpoints
from cwstore.core.blocks import block
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.file_names import FileNames
    from cwstore._sqlite.lock_holders import Reading

_LOOK_INTERVAL = 0.05  # seconds from one look at the names of the files to the next
_KEPT = 8  # opening one costs some 0.8 ms; more than this many at once is rare


class Reader:
    """One connection and, while it is lent: for what, to which thread and since when."""

    __slots__ = ("connection", "execute", "since", "thread", "what")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.execute = connection.cursor().execute
        self.what = ""
        self.thread = 0
        self.since = 0.0


class Readers:
    """The readers of one file. The engine pops one off `idle`, or opens one; see `trim`."""

    def __init__(
        self,
        file: str,
        names: "FileNames | None",
        busy_timeout: float,
        application_id: int,
        leaves_checkpoints: bool,
    ) -> None:
        self.idle: list[Reader] = []
        self.kept = _KEPT  # the most that may stay in `idle`
        self.next_look = 0.0  # whoever begins to read later, by `time.monotonic`, calls `look`
        self._file = file
        self._names = names  # of what the store has open
        self._busy_timeout = busy_timeout
        self._application_id = application_id
        self._leaves_checkpoints = leaves_checkpoints  # to another program
        self._leaves_log = False  # where it is, for whoever opens the file next
        self._open: set[Reader] = set()

    def open(self) -> Reader:
        """One more reader. Raises StorageError, ForeignDatabaseError, BusyError."""
        names = self._names
        if names is not None and (problem := names.problem()):
            raise StorageError(problem)
        connection = connect_reader(
            self._file, busy_timeout=self._busy_timeout, application_id=self._application_id
        )
        if names is not None and connection.inode != names.inode:
            connection.close()
            raise StorageError(names.problem())
        if self._leaves_checkpoints:
            leave_checkpoints(connection)
        reader = Reader(connection)
        self._open.add(reader)
        return reader

    def look(self, now: float, *, reads_on: bool) -> None:
        """Raise StorageError if somebody writes to the file past what is open here.

        They would not be seen, and could write into what is being read. With `reads_on` a file
        that is gone or replaced as a whole may still be read: it is what can be saved.
        """
        names = self._names
        assert names is not None  # in memory there are no readers
        if names.others_are_here() or (not reads_on and names.problem()):
            raise StorageError(names.problem())
        self.next_look = now + _LOOK_INTERVAL

    @block
    def for_long(self, what: str) -> Generator[Connection, None, None]:
        """A new reader for work on the whole file, closed afterwards."""
        reader = self.open()
        reader.thread, reader.since, reader.what = get_ident(), time.monotonic(), what
        try:
            yield reader.connection
        finally:
            self.drop(reader)

    def drop(self, reader: Reader) -> None:
        """Close it instead of giving it back."""
        self._open.discard(reader)
        if self._leaves_log:
            reader.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        reader.connection.close()

    def trim(self) -> None:
        """Close the idle ones that are too many, after one was given back."""
        while len(self.idle) > self.kept:
            with suppress(IndexError):  # another thread has just borrowed it
                self.drop(self.idle.pop())

    def close(self, *, leaves_log: bool = False) -> None:
        """Close the idle ones now, and the lent ones when they are given back.

        With `leaves_log` none of them moves the log into the file.
        """
        self._leaves_log = leaves_log
        self.kept = 0
        self.trim()

    def abandon_after_fork(self) -> list[Connection]:
        """In a forked child: lend none any more. Returns the connections that nobody was using."""
        resting = [reader.connection for reader in self.idle]
        self.idle.clear()
        return resting

    def open_snapshots(self) -> "list[Reading]":
        """What each lent reader reads at this moment."""
        return [
            (what, reader.thread, reader.since)
            for reader in list(self._open)
            if (what := reader.what)
        ]
