"""For tests of the engine: processes on a leash, a disk that fails on demand, error chains."""

import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Self

import apsw

from cwstore.store import Store

# Longer than anything here takes; a test that waits so long has failed.
PATIENCE = 60.0

_HOLD = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("holding", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
db.close()
"""


class Other:
    """Another process that runs `code` with `sys.argv[1:]` and talks in lines."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *(str(one) for one in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def tell(self, line: str = "go on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """Let it end by itself; what it still said. It must succeed."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0
        return said.splitlines()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def locked(file: Path) -> Generator[Other, None, None]:
    """Another process holds the write lock of the file, until it is told to go on."""
    with Other(_HOLD, file) as other:
        assert other.hear() == "holding"
        yield other


class Task:
    """Work on a thread of its own."""

    def __init__(self, work: Callable[[], object]) -> None:
        executor = ThreadPoolExecutor(1)
        self._future = executor.submit(work)
        executor.shutdown(wait=False)

    def finish(self) -> object:
        """Its result, or the error that it raised."""
        return self._future.result(PATIENCE)


class DeliberateError(Exception):
    """Raised by a test to leave a transaction."""


@contextmanager
def undone(
    store: Store, error: type[BaseException] = DeliberateError
) -> Generator[None, None, None]:
    """A transaction that an exception leaves after the body."""
    with suppress(error), store.transaction():
        yield
        raise error


def names(store: Store) -> list[str]:
    """Of all initiatives, oldest first."""
    return [one.name for one in store.initiatives.find_all()]


def reached(event: Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(PATIENCE)


def connections_to(file: Path) -> list[apsw.Connection]:
    """Connections of this process to the file."""
    return [one for one in apsw.connections() if one.filename == str(file)]


def whole(directory: Path) -> dict[str, object]:
    """Every file below with its bytes, mode and time of change. Only while nothing has it open."""
    found: dict[str, object] = {}
    for one in sorted(directory.rglob("*")):
        status = one.lstat()
        data = one.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[one.name] = (data, stat.S_IFMT(status.st_mode), status.st_mtime_ns)
    return found


def whole_chain(error: BaseException) -> list[BaseException]:
    """The error and all that hang on it as cause or context."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    return chain


def assert_ours_alone(error: BaseException) -> None:
    """Nothing of apsw hangs on the error, nor an error that carries a bound value."""
    for one in whole_chain(error):
        assert not isinstance(one, apsw.Error | UnicodeError), repr(one)


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
        disk.fail = _never
        disk.unregister()
