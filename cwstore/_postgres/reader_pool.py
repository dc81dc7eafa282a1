"""The pool of connections that only read: each is lent for one call and kept for the next."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg

from cwstore._postgres.connection import Connection, connect, is_stale
from cwstore._postgres.error_map import is_lost
from cwstore.core.blocks import block

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from cwstore._postgres.address import Address
    from cwstore.core.mapping import Row

_KEPT = 16  # opening one costs some ms; AsyncStore reads on so many threads


class Readers:
    """The readers of one database."""

    def __init__(self, address: "Address", busy_timeout: float, first: Connection) -> None:
        self.idle = [first]
        self._kept = _KEPT
        self.address = address
        self.busy_timeout = busy_timeout  # seconds

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
                return connect(self.address, busy_timeout=self.busy_timeout, read_only=True)
            if not is_stale(reader):
                return reader
            reader.close()

    @block
    def lend(self) -> "Generator[Connection, None, None]":
        """A connection for a block; after an error in it another one will be opened."""
        reader = self.borrow()
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        self.give_back(reader)

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
