"""Connections that only read: lent for one call, then kept for the next, a few at a time."""

from collections.abc import Generator
from contextlib import contextmanager

from cwstore import _connect
from cwstore._apsw import Connection, Cursor

_KEPT = 8  # opening one costs some 100 µs; more than this many at once is rare


class Readers:
    """The readers of one file. Who needs one pops it off `idle`, or opens it."""

    def __init__(self, file: str, busy_timeout: float) -> None:
        self.idle: list[Cursor] = []
        self._file = file
        self._busy_timeout = busy_timeout
        self._closed = False

    def open(self) -> Cursor:
        """One more reader. Raises StorageError, ForeignDatabaseError, BusyError."""
        return _connect.connect_reader(self._file, busy_timeout=self._busy_timeout).cursor()

    @contextmanager
    def for_long(self) -> Generator[Connection, None, None]:
        """A reader for whole-file work, closed afterwards."""
        connection = self.open().connection
        try:
            yield connection
        finally:
            connection.close()

    def take_back(self, cursor: Cursor) -> None:
        """Keep it for the next call, or close it if there are enough."""
        if len(self.idle) >= _KEPT:
            cursor.connection.close()
            return
        self.idle.append(cursor)
        if self._closed:  # meanwhile: nobody else will close this one
            self.close()

    def close(self) -> None:
        """Close the idle ones now, and the lent ones when they come back."""
        self._closed = True
        while True:
            try:
                cursor = self.idle.pop()
            except IndexError:
                return
            cursor.connection.close()
