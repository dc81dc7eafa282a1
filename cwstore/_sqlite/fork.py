"""The book of the connections that this process has open, and what a forked child does with them.

SQLite keeps one record per process of the locks on a file. A child inherits the record, but not the
locks. Measured: a connection that the child opened beside the inherited ones held no lock that
others could see. So the parent, when it closed, removed the write-ahead log, and what the child
wrote from then on was lost. The child may close the inherited connections first: without a
checkpoint that touches only its own memory and descriptors, and the record goes with them.

It cannot close a connection that another thread was using at the fork: nobody will finish what that
thread was doing. Then the child refuses to open the file at all.

The book is our own. To ask apsw for the connections of the process gives those of others too, and
one that is busy in another thread answers no question.

Python calls a hook in a child that it forked itself. A child that C code forked (uWSGI, ctypes) is
noticed at its first call: each one looks at `ALIVE`.

The book also tells when a file is open here, but by none of these connections: see `register_open`.
"""

import os
import sys
from collections.abc import Generator
from contextlib import suppress
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap
from typing import TYPE_CHECKING
from weakref import WeakSet, ref

import apsw

from cwstore.core.blocks import block
from cwstore.core.clock import real_time as time
from cwstore.core.faults import loading
from cwstore.errors import StorageError, StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Forked(Protocol):
        """A database that must be told of a fork."""

        def abandon_after_fork(self) -> Sequence[object]:
            """In the child: refuse every call; the connections that nobody was using."""
            ...


_WIPE_ON_FORK = 18  # MADV_WIPEONFORK of Linux, which mmap does not name before Python 3.13
_MEMORY = ":memory:"
_LOOKS = 50  # 2 ms apart: whoever is just closing a file has done so by then

_watched: "WeakSet[Forked]" = WeakSet()
_opening: dict[object, str] = {}  # files that threads of this process are just opening
_book: "dict[int, tuple[ref[BookedConnection], str]]" = {}  # by id(): open connections, their files
_in_use: dict[str, str] = {}  # files that this process may not open, and who used them


class _ByPid:
    """As a page that is wiped at a fork, where the system has none; a look takes 0.2 µs."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, place: int) -> int:
        return os.getpid() == self._pid

    def __setitem__(self, place: int, value: int) -> None:
        self._pid = os.getpid()


def _wiped_at_fork() -> "mmap | _ByPid":
    page = mmap(-1, PAGESIZE, flags=MAP_PRIVATE | MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:
        return _ByPid()
    page[0] = 1
    return page


#: `ALIVE[0]` is 0 in a child in which `abandon_inherited` was not called yet. A look takes 10 ns.
ALIVE = _wiped_at_fork()


class BookedConnection(apsw.Connection):
    """A connection that stands in the book until it is closed or freed."""

    #: Of its file, when that was opened: device and number. None where nobody looked.
    inode: tuple[int, int] | None = None

    def __init__(self, file: str, flags: int, *, statementcachesize: int) -> None:
        place = object()
        _opening[place] = file
        try:
            if apsw.connection_hooks:
                with loading("open"):
                    from cwstore._sqlite.others_hooks import without_hooks

                with without_hooks():
                    super().__init__(file, flags, statementcachesize=statementcachesize)
            else:
                super().__init__(file, flags, statementcachesize=statementcachesize)
            key = id(self)
            _book[key] = ref(self, lambda _: _book.pop(key, None)), file
        finally:
            del _opening[place]

    def close(self, force: bool = False) -> None:
        """As of `apsw.Connection`."""
        super().close(force)
        _book.pop(id(self), None)


def track(database: "Forked") -> None:
    """Call `abandon_after_fork` of the database in a child that is forked from this process."""
    _watched.add(database)


def register_open(file: str) -> None:
    """Call it before a file is opened.

    Raises StoreClosedError if it was in use when this process was forked, and StorageError if this
    process has it open by another copy of SQLite.
    """
    if not ALIVE[0]:
        abandon_inherited()
    if file in _in_use:
        raise StoreClosedError(
            f"{file} was in use by {_in_use[file]} when this process was forked, and cannot"
            " be opened here; fork while the store rests, or start processes by 'spawn'"
        )
    if "_sqlite3" in sys.modules and not _has_open(file):
        _refuse_other_copy(file)


@block
def opening(file: str) -> Generator[None]:
    """The body opens the file, and closes it again, otherwise than by a connection of the book."""
    place = object()
    _opening[place] = file
    try:
        yield
    finally:
        del _opening[place]


def _has_open(file: str) -> bool:
    """Whether apsw has it open, or may have."""
    files = [*_opening.values(), *(name for _, name in list(_book.values()))]
    return file in files or len(apsw.connections()) > len(_book)


def _refuse_other_copy(file: str) -> None:
    """Raise StorageError if the file is open here all the same.

    The locks of a file belong to the process: whoever closes it drops those of all. Python's
    sqlite3 brings another SQLite than apsw, and each knows of its own files alone.
    """
    for _ in range(_LOOKS):
        # What is no regular file is refused for that.
        if not os.path.isfile(file) or not _open_past_us({file}):
            return
        time.sleep(0.002)
    raise StorageError(
        f"{file} is open in this process past apsw, by Python's sqlite3 or as a plain file: whoever"
        " closes it there drops the locks of this store, and the file would be damaged. Close it"
        " first; for SQL of your own use `store.query` or apsw"
    )


def abandon_inherited() -> None:
    """In a forked child: close the inherited connections that rest, keep the others for good."""
    ALIVE[0] = 1
    # Kept as objects: to free one would close it, with a checkpoint.
    rest = [one for database in list(_watched) for one in database.abandon_after_fork()]
    resting = {*map(id, rest)}
    inherited = [(one, file) for link, file in list(_book.values()) if (one := link()) is not None]
    # Connections without a store count too: a thread was opening one, or nobody closed it.
    busy = {file for one, file in inherited if id(one) not in resting} | {*_opening.values()}
    for connection, file in inherited:
        if file in busy or not _close(connection):
            _keep_for_good(connection)
            busy.add(file)
    _in_use.update(dict.fromkeys(busy - {_MEMORY}, "a thread of the parent"))
    closed = {file for _, file in inherited} - busy - {_MEMORY}
    if closed:
        _in_use.update(dict.fromkeys(_open_past_us(closed), "a connection that is not cwstore's"))


def _open_past_us(files: set[str]) -> set[str]:
    """Those that this process still has open: SQLite's record of them goes on as well."""
    with suppress(OSError):  # a system without /proc
        open_here = {*map(_inode, os.listdir("/proc/self/fd"))} - {None}
        return {file for file in files if _inode(file) in open_here}
    return set()


def _inode(file: str) -> tuple[int, int] | None:
    """Device and number of the file at a path, or behind a descriptor (digits)."""
    try:
        status = os.stat(int(file) if file.isdecimal() else file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _close(connection: BookedConnection) -> bool:
    """Close it and touch nothing that others see. False if it cannot be done."""
    with suppress(apsw.Error):
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        connection.close()
        return True
    return False


def _keep_for_good(connection: apsw.Connection) -> None:
    """Never free it, not even when Python ends: that would undo the parent's work."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))


os.register_at_fork(after_in_child=abandon_inherited)
