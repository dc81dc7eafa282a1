"""The pool of connections that only read: each is lent for one call and kept for the next."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from cwstore._postgres.connection import Connection, connect
from cwstore._postgres.error_map import is_lost
from cwstore._postgres.writer import is_stale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwstore._postgres.address import Address
    from cwstore.core.mapping import Row

_KEPT = 16  # opening one costs some ms; AsyncStore reads on so many threads


class Readers:
    """The readers of one database."""

    def __init__(self, address: "Address", busy_timeout: float, first: Connection) -> None:
        self.idle = [first]
        self._kept = _KEPT
        self._address = address
        self._busy_timeout = busy_timeout

    def read(self, text: bytes, values: "Sequence[Any]") -> "list[Row]":
        """Every row of a SELECT. It is asked once more if its connection turns out to be lost."""
        again = False
        while True:
            reader = self.borrow()
            try:
                rows = reader.execute(text, values).fetchall()
            except psycopg.Error as error:
                reader.close()
                if again or not is_lost(error):
                    raise
                again = True
                self.close_idle()  # they will not be better
            except BaseException:
                reader.close()
                raise
            else:
                self.give_back(reader)
                return rows

    def borrow(self) -> Connection:
        """A connection that is up. Raises StorageError."""
        while True:
            try:
                reader = self.idle.pop()
            except IndexError:
                return connect(self._address, busy_timeout=self._busy_timeout, read_only=True)
            if not is_stale(reader):
                return reader
            reader.close()

    def give_back(self, reader: Connection) -> None:
        """Keep it for the next call, unless there are enough."""
        self.idle.append(reader)
        while len(self.idle) > self._kept:
            with suppress(IndexError):  # another thread has just borrowed it
                self.idle.pop().close()

    def close_idle(self) -> None:
        """Close those that rest."""
        while self.idle:
            with suppress(IndexError):
                self.idle.pop().close()

    def close(self) -> None:
        """Close the idle ones now, and the lent ones when they are given back."""
        self._kept = 0
        self.close_idle()
