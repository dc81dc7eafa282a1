"""For tests of an engine: processes on a leash, work on threads, error chains."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

import pytest

from cwstore.errors import CwstoreError, InvalidValueError
from cwstore.store import Store
from tests.kits import postgres
from tests.kits.database import DRIVER_ERROR, HOLD_LOCK
from tests.kits.postgres import address_of

# Longer than anything here takes; a test that waits so long has failed.
PATIENCE = 60.0


class Other:
    """Another process that runs `code` with `sys.argv[1:]`; both sides send lines.

    A path that stands for a database comes as its address.
    """

    def __init__(self, code: str, *arguments: object, stderr: int | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *(address_of(one) or str(one) for one in arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
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
        """Wait for its end, which must be a success; the lines that it printed until then."""
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
    """Another process holds the write lock of the database, until it is told to go on."""
    with Other(postgres.HOLD_LOCK if address_of(file) else HOLD_LOCK, file) as other:
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
    """Run the body in a transaction that an exception then rolls back."""
    with suppress(error), store.transaction():
        yield
        raise error


def names(store: Store) -> list[str]:
    """Of all initiatives, oldest first."""
    return [one.name for one in store.initiatives.find_all()]


def reached(event: Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(PATIENCE)


def whole(directory: Path) -> dict[str, object]:
    """Every file below with its bytes, mode and time of change. Nobody may have one open."""
    found: dict[str, object] = {}
    for one in sorted(directory.rglob("*")):
        status = one.lstat()
        data = one.read_bytes() if stat.S_ISREG(status.st_mode) else None
        found[one.name] = (data, stat.S_IFMT(status.st_mode), status.st_mtime_ns)
    return found


def whole_chain(error: BaseException) -> list[BaseException]:
    """The error, its cause and context, and theirs."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in chain:
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    return chain


def assert_ours_alone(error: BaseException) -> None:
    """No error of the driver is in the chain, nor one that carries a bound value."""
    for one in whole_chain(error):
        assert not isinstance(one, DRIVER_ERROR | UnicodeError), repr(one)


def in_child(work: Callable[[], str]) -> Callable[[], str]:
    """Fork, and run `work` in the child. The function returned waits for its result or error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "died"
        try:
            os.close(reading)
            said = work()
        except CwstoreError as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)

    def outcome() -> str:
        with os.fdopen(reading) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return said

    return outcome


def assert_no_query(store: Store, sql: Any, binds: dict[str, Any], message: str) -> None:
    """`store.query` refuses it with this message, and an open transaction can go on."""
    store.tasks.create(name="t", id="t")
    with pytest.raises(InvalidValueError) as refusal:
        store.query(sql, **binds)
    assert str(refusal.value).startswith(message)
    with suppress(DeliberateError), store.transaction():
        store.tasks.update("t", name="u")
        with pytest.raises(InvalidValueError):
            store.query(sql, **binds)
        assert store.tasks.get("t").name == "u"
        raise DeliberateError
    assert store.tasks.get("t").name == "t"
