"""Connections that only read: lent for one call, then kept for the next, a few at a time."""

import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from threading import get_ident

from cwstore._sqlite import connection as _connect
from cwstore._sqlite.apsw_types import Connection

_KEPT = 8  # opening one costs some 100 µs; more than this many at once is rare

_numbers = count()

#: What is read (SQL, or a name for it), the thread, and when it began by `time.monotonic`.
Reading = tuple[str, int, float | None]


class Reader:
    """One connection, and while it is lent: for what, to which thread and since when."""

    __slots__ = ("connection", "execute", "number", "since", "thread", "what")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.execute = connection.cursor().execute
        self.number = next(_numbers)  # no other reader of this process has it
        self.what = ""
        self.thread = 0
        self.since = 0.0


class Readers:
    """The readers of one file. Who needs one pops it off `idle`, or opens it; see `trim`."""

    def __init__(self, file: str, busy_timeout: float) -> None:
        self.idle: list[Reader] = []
        self.kept = _KEPT  # more than this many are not to be left in `idle`
        self._file = file
        self._busy_timeout = busy_timeout
        self._open: set[Reader] = set()

    def open(self) -> Reader:
        """One more reader. Raises StorageError, ForeignDatabaseError, BusyError."""
        reader = Reader(_connect.connect_reader(self._file, busy_timeout=self._busy_timeout))
        self._open.add(reader)
        return reader

    @contextmanager
    def for_long(self, what: str) -> Generator[Connection, None, None]:
        """A reader for whole-file work, closed afterwards."""
        reader = self.open()
        reader.thread, reader.since, reader.what = get_ident(), time.monotonic(), what
        try:
            yield reader.connection
        finally:
            self.drop(reader)

    def drop(self, reader: Reader) -> None:
        """Close it instead of bringing it back."""
        self._open.discard(reader)
        reader.connection.close()

    def trim(self) -> None:
        """Close the idle ones that are too many. For who has just brought one back to `idle`."""
        while len(self.idle) > self.kept:
            with suppress(IndexError):  # another thread has just taken it
                self.drop(self.idle.pop())

    def close(self) -> None:
        """Close the idle ones now, and the lent ones when they come back."""
        self.kept = 0
        self.trim()

    def forget(self) -> list[Connection]:
        """In a forked child: lend none any more; the connections that nobody was using."""
        resting = [reader.connection for reader in self.idle]
        self.idle.clear()
        return resting

    def open_snapshots(self) -> list[Reading]:
        """What each lent one reads at this moment."""
        return [
            (what, reader.thread, reader.since)
            for reader in list(self._open)
            if (what := reader.what)
        ]
