"""After a fork the child closes the connections it inherited, so that it can open its own.

SQLite keeps one record per process of the locks on a file. A child inherits the record, but not the
locks. Measured: a connection that the child opened beside the inherited ones held no lock that
others could see. So the parent, when it closed, removed the write-ahead log, and what the child
wrote from then on was lost. The child may close the inherited connections first: without a
checkpoint that touches only its own memory and descriptors, and the record goes with them.

It cannot close a connection that another thread was using at the fork: nobody will finish what that
thread was doing. Then the child refuses to open the file at all.
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
    """Call `abandon_after_fork` of the database in a child that is forked from this process."""
    _watched.add(database)


def register_open(file: str) -> None:
    """Note a file before it is opened. Raises StoreClosedError if it was in use at the fork."""
    if file in _in_use:
        raise StoreClosedError(
            f"{file} was in use by a thread of the parent when this process was forked, and cannot"
            " be opened here; fork while the store rests, or start processes by 'spawn'"
        )
    _opened.add(file)


def _abandon_inherited() -> None:
    # Files without a store count too: a thread was opening one, or nobody closed it.
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
    """Never free them, not even when Python ends: that would undo the parent's work."""
    import ctypes

    for connection in connections:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


os.register_at_fork(after_in_child=_abandon_inherited)
