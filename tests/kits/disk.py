"""For tests of the SQLite engine: a disk that fails on demand, connections that are open."""

import os
import resource
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import apsw


@contextmanager
def no_descriptors() -> Generator[None, None, None]:
    """While the body runs, this process can open no file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def memory_left(room: int) -> Generator[None, None, None]:
    """While the body runs, SQLite can have so many bytes more."""
    soft, hard = apsw.soft_heap_limit(-1), apsw.hard_heap_limit(-1)
    apsw.hard_heap_limit(apsw.memory_used() + room)
    try:
        yield
    finally:
        apsw.hard_heap_limit(hard)
        apsw.soft_heap_limit(soft)  # the hard one had lowered it: each page was written at once


def remove(file: Path, part: str = "") -> None:
    """Remove the file `store.db`, or what lies beside it under that name and a part."""
    file.with_name(f"store.db{part}").unlink()


def replace(file: Path, part: str = "") -> None:
    """Put a copy in its place."""
    other = file.with_name("other")
    shutil.copyfile(file.with_name(f"store.db{part}"), other)
    other.rename(file.with_name(f"store.db{part}"))


def connections_to(file: Path) -> list[apsw.Connection]:
    """Connections of this process to the file."""
    return [one for one in apsw.connections() if one.filename == str(file)]


class FaultyDisk(apsw.VFS):
    """The default file system of SQLite while it is in use; `fail` says what goes wrong."""

    def __init__(self) -> None:
        super().__init__("faulty", "unix", makedefault=True)
        #: Called with "open", "read", "write" or "sync" and the path; a code makes that fail.
        self.fail: Callable[[str, str], int] = _never

    def xOpen(  # noqa: N802 SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> "FaultyFile":  # a name that apsw gives
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self.check("open", path)
        return FaultyFile(self, path, name, flags)

    def break_down(self, failing: str) -> None:
        """From now on each read, each write or each sync fails."""
        codes = {
            "read": apsw.SQLITE_IOERR_READ,
            "write": apsw.SQLITE_IOERR_WRITE,
            "sync": apsw.SQLITE_IOERR_FSYNC,
        }
        self.fail = lambda operation, path: codes[failing] if operation == failing else 0

    def recover(self) -> None:
        """From now on all goes well."""
        self.fail = _never

    def check(self, operation: str, path: str) -> None:
        code = self.fail(operation, path)
        if code:
            raise apsw.exception_for(code)


class FaultyFile(apsw.VFSFile):
    """A file on it."""

    def __init__(
        self, disk: FaultyDisk, path: str, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> None:
        super().__init__("unix", name, flags)
        self._disk = disk
        self._path = path

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 SQLite's name
        self._disk.check("read", self._path)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 SQLite's name
        self._disk.check("write", self._path)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 SQLite's name
        self._disk.check("sync", self._path)
        super().xSync(flags)


def _never(operation: str, path: str) -> int:
    return 0


def failing_sync(operation: str, path: str) -> int:
    """For `FaultyDisk.fail`: the write-ahead log cannot be synced."""
    return apsw.SQLITE_IOERR_FSYNC if operation == "sync" and path.endswith("-wal") else 0


@contextmanager
def faulty_disk() -> Generator[FaultyDisk, None, None]:
    """What is opened inside lies on a disk that can be made to fail."""
    disk = FaultyDisk()
    try:
        yield disk
    finally:
        disk.recover()
        disk.unregister()
