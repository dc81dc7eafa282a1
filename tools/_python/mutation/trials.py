"""Tries changes in copies of the checkout, each in a process of its own that ends with the trial.

A process of each copy has the tests collected (`host`) and puts the change into a fork of itself. A
fresh trial begins with the import of everything, as the change may matter there.
"""

import os
import signal
from collections.abc import Iterator
from importlib import import_module
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from tools._python.mutation.host import begin
from tools._python.mutation.reasons import Change

for _name in ("apsw.ext", "asyncio", "hypothesis.strategies", "multiprocessing.pool", "sqlite3"):
    import_module(_name)

_PATIENCE = 300.0  # seconds for the collection of the tests


class _Host(NamedTuple):
    pid: int
    asked: Connection

    def end(self) -> None:
        self.asked.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _start(tree: Path, files: list[str]) -> _Host | None:
    """None if the tests cannot be collected."""
    here, there = Pipe()
    pid = os.fork()
    if pid == 0:
        here.close()
        begin(tree, files, there)
    there.close()
    host = _Host(pid, here)
    try:
        if here.poll(_PATIENCE):
            here.recv()
            return host
    except EOFError:
        pass
    host.end()
    return None


class Ended(NamedTuple):
    """How a trial went."""

    change: Change
    noticed_by: str  #: a test, or what else failed; "" if all tests passed
    fresh: bool
    hangs: bool = False  #: the test took too long


class _Running(NamedTuple):
    change: Change
    tree: Path
    host: _Host
    fresh: bool


class Trials:
    """At most one at a time in each copy."""

    def __init__(self, trees: list[Path], files: list[str]) -> None:
        self._files = files
        self._free: list[tuple[Path, _Host | None]] = [(tree, None) for tree in trees]
        self._running: dict[Connection, _Running] = {}
        self._failed: list[Ended] = []
        self._stamp = 0

    def begin(self, change: Change, tests: list[tuple[str, float]], *, fresh: bool) -> None:
        """Try it on these tests, with the seconds they take; for whoever has waited for room."""
        tree, host = self._free.pop()
        if host and fresh:
            host.end()
            host = None
        if fresh:
            self._write(tree / change.file, change)
        host = host or _start(tree, self._files)
        if not fresh:
            self._write(tree / change.file, change)
        if host is None:
            self._take_back(tree, change, None)
            self._failed.append(Ended(change, "the import", fresh))
        else:
            host.asked.send((None if fresh or change.new == change.old else change, tests))
            self._running[host.asked] = _Running(change, tree, host, fresh)

    def ended(self, *, all_of_them: bool = False) -> Iterator[Ended]:
        """Wait until there is room, or nothing runs."""
        yield from self._failed
        self._failed.clear()
        while self._running and (all_of_them or not self._free):
            ready = set(wait(list(self._running)))
            for one in [one for asked, one in self._running.items() if asked in ready]:
                del self._running[one.host.asked]
                noticed_by, hangs = one.host.asked.recv()
                if one.fresh:
                    one.host.end()
                self._take_back(one.tree, one.change, None if one.fresh else one.host)
                yield Ended(one.change, noticed_by, one.fresh, hangs)

    def close(self) -> None:
        """End the processes that wait."""
        for _, host in self._free:
            if host:
                host.end()
        self._free.clear()

    def _write(self, file: Path, change: Change) -> None:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        end = change.first + len(change.old)
        if tuple(lines[change.first : end]) != change.old:
            raise ValueError(f"{file} is not what the change was made for: {change}")
        file.rename(file.with_name(f"{file.name}.whole"))
        lines[change.first : end] = change.new
        file.write_text("".join(lines), encoding="utf-8")
        # What was compiled of another change made within the same second must not be taken.
        self._stamp += 1
        os.utime(file, (self._stamp, self._stamp))

    def _take_back(self, tree: Path, change: Change, host: _Host | None) -> None:
        file = tree / change.file
        file.with_name(f"{file.name}.whole").replace(file)
        self._free.append((tree, host))
