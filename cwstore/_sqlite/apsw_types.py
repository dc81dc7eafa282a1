"""What this package uses of apsw, typed.

apsw's own stub names `collections.abc.Buffer`, which Python 3.11 does not have. So under pyright
strict every call to it is partially unknown.
"""

import os
from typing import TYPE_CHECKING, cast

import apsw

from cwstore._sqlite.fork import BookedConnection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    Binds = Mapping[str, Any] | Sequence[Any] | None

    class Cursor(Protocol):
        """The part of apsw.Cursor that runs statements."""

        @property
        def connection(self) -> "Connection": ...
        def execute(self, statements: str, bindings: Binds = None, /) -> "Cursor": ...
        def executemany(
            self, statements: str, sequenceofbindings: Iterable[Sequence[Any]], /
        ) -> "Cursor": ...
        def fetchall(self) -> list[tuple[Any, ...]]: ...
        def close(self, force: bool = False) -> None: ...
        def __iter__(self) -> Iterator[tuple[Any, ...]]: ...

    class Connection(Protocol):
        """The part of apsw.Connection that this package calls, and what `fork.py` adds to it."""

        inode: tuple[int, int] | None

        convert_binding: Callable[[Any, int, Any], Any] | None

        @property
        def filename(self) -> str: ...
        @property
        def in_transaction(self) -> bool: ...
        def cursor(self) -> Cursor: ...
        def execute(self, statements: str, bindings: Binds = None, /) -> Cursor: ...
        def pragma(self, name: str, value: Any = None, /) -> Any: ...
        def config(self, op: int, *args: int) -> int: ...
        def limit(self, id: int, newval: int = -1) -> int: ...
        def changes(self) -> int: ...
        def total_changes(self) -> int: ...
        def data_version(self) -> int: ...
        def status(self, op: int, reset: bool = False, /) -> tuple[int, int]: ...
        def read(self, schema: str, which: int, offset: int, amount: int) -> tuple[bool, bytes]: ...
        def readonly(self, name: str) -> bool: ...
        def close(self, force: bool = False) -> None: ...
        def wal_checkpoint(self, dbname: str, mode: int) -> tuple[int, int]: ...
        def set_busy_handler(self, callable: Callable[[int], bool] | None) -> None: ...
        def preupdate_hook(self, callback: Callable[[Any], None] | None) -> None: ...
        def wal_autocheckpoint(self, n: int) -> None: ...
        def set_wal_hook(
            self, callable: "Callable[[Connection, str, int], int] | None"
        ) -> None: ...
        def set_authorizer(self, callable: Callable[..., int] | None) -> None: ...
        def set_progress_handler(
            self, callable: Callable[[], bool] | None, nsteps: int = 100
        ) -> None: ...

else:  # a Protocol costs time at import, and nobody checks by it at run time
    Connection, Cursor = apsw.Connection, apsw.Cursor


def open_connection(
    file: str,
    flags: int = apsw.SQLITE_OPEN_READWRITE,
    *,
    cached_statements: int = 100,
) -> Connection:
    """Connect; nothing is set on the connection."""
    connection = BookedConnection(sqlite_name(file), flags, statementcachesize=cached_statements)
    return cast("Connection", connection)


def sqlite_name(file: str) -> str:
    """The text that means this file to SQLite, which takes all names for UTF-8."""
    return file if file.isascii() else os.fsencode(file).decode()


def go_on() -> bool:
    """For a progress handler: being called at all lets Python handle signals."""
    return False
