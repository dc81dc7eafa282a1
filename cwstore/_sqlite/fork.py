"""After a fork: the child lets go of the parent's connections, so that it can open its own.

SQLite keeps one record per process of the locks on a file. A child inherits the record, but not
the locks. Measured: a connection that the child opened beside the inherited ones held no lock that
others could see, so the parent, when it closed, removed the write-ahead log under it, and what the
child wrote from then on was lost. Closing the inherited ones first, without a checkpoint, touches
nothing but the child's own memory and descriptors, and the record goes with them.

A connection that another thread was using at that moment cannot be closed: nobody will finish
what it was doing. The child then refuses to open that file at all.
"""

import os
from typing import TYPE_CHECKING
from weakref import WeakSet

import apsw

from cwstore.errors import StoreClosedError

if TYPE_CHECKING:
    from typing import Protocol

    from cwstore._sqlite.apsw_types import Connection

    class Forked(Protocol):
        """What a fork concerns."""

        file: str

        def abandon_after_fork(self) -> list[Connection]:
            """In the child: refuse every call; the connections that nobody was using."""
            ...


_watched: "WeakSet[Forked]" = WeakSet()
_opened: set[str] = set()  # files that connections of this process may still have open
_in_use: set[str] = set()  # files that this process may not open


def track(database: "Forked") -> None:
    """Let the database know when this process turns out to be a forked child."""
    _watched.add(database)


def register_open(file: str) -> None:
    """Before a file is opened. Raises StoreClosedError if it was in use when this was forked."""
    if file in _in_use:
        raise StoreClosedError(
            f"{file} was in use by a thread of the parent when this process was forked, and cannot"
            " be opened here; fork while the store rests, or start processes by 'spawn'"
        )
    _opened.add(file)


def _let_go() -> None:
    # Also of files that no store holds: one is being opened, or nobody closed it.
    resting: dict[str, list[Connection]] = {file: [] for file in _opened}
    for database in list(_watched):
        resting.setdefault(database.file, []).extend(database.abandon_after_fork())
    for file, connections in resting.items():
        inherited = [one for one in apsw.connections() if one.filename == file]
        if len(connections) < len(inherited):
            _in_use.add(file)
            _keep_for_good(inherited)
            continue
        for connection in connections:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.close()


def _keep_for_good(connections: list[apsw.Connection]) -> None:
    """Never free them, not even when the interpreter ends: that would undo the parent's work."""
    import ctypes

    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


os.register_at_fork(after_in_child=_let_go)
