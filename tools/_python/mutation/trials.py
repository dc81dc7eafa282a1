"""Tries changes in copies of the checkout, each in a process of its own that ends with the trial.

The processes are forked from one that has imported pytest and what else takes long, but nothing of
cwstore: so each of them imports the change, and whatever it starts finds it, too.
"""

import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tools._python.mutation.reasons import Change

for _name in ("apsw.ext", "asyncio", "hypothesis.strategies", "multiprocessing.pool", "sqlite3"):
    import_module(_name)

_PATIENCE = 30.0  # seconds, and some times what the tests take


class _Running(NamedTuple):
    change: Change
    tree: Path
    pid: int
    until: float


class Trials:
    """At most one at a time in each copy."""

    def __init__(self, trees: list[Path]) -> None:
        self._free = list(trees)
        self._running: dict[int, _Running] = {}  # by a handle of the process
        self._stamp = 0

    def begin(self, change: Change, tests: list[str], seconds: float) -> None:
        """Try it on these tests, which take so long without it; for whoever has waited for room."""
        tree = self._free.pop()
        self._write(tree / change.file, change)
        pid = os.fork()
        if pid == 0:
            _run(tree, tests)
        until = time.monotonic() + _PATIENCE + 10 * seconds
        self._running[os.pidfd_open(pid)] = _Running(change, tree, pid, until)

    @property
    def has_room(self) -> bool:
        """Whether another one can begin."""
        return bool(self._free)

    def ended(self, *, all_of_them: bool = False) -> Iterator[tuple[Change, bool]]:
        """Wait until there is room, or nothing runs; tells whether the tests noticed the change."""
        while self._running and (all_of_them or not self._free):
            first = min(trial.until for trial in self._running.values())
            ready, _, _ = select.select(self._running, [], [], max(0.0, first - time.monotonic()))
            for handle in ready or [h for h, one in self._running.items() if one.until == first]:
                yield self._end(handle, in_time=bool(ready))

    def _end(self, handle: int, *, in_time: bool) -> tuple[Change, bool]:
        trial = self._running.pop(handle)
        with suppress(ProcessLookupError):  # with all that it started
            os.killpg(trial.pid, signal.SIGKILL)
        _, status = os.waitpid(trial.pid, 0)
        os.close(handle)
        file = trial.tree / trial.change.file
        file.with_name(f"{file.name}.whole").replace(file)
        self._free.append(trial.tree)
        return trial.change, not in_time or status != 0

    def _write(self, file: Path, change: Change) -> None:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        end = change.first + len(change.old)
        file.with_name(f"{file.name}.whole").write_text("".join(lines), encoding="utf-8")
        lines[change.first : end] = change.new
        file.write_text("".join(lines), encoding="utf-8")
        # What was compiled of another change made within the same second must not be taken.
        self._stamp += 1
        os.utime(file, (self._stamp, self._stamp))


def _run(tree: Path, tests: list[str]) -> None:
    """In a process of its own: exits with 0 if the tests pass."""
    os.setsid()
    os.chdir(tree)
    log = os.open(tree / "trial.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.path.insert(0, str(tree))
    sys.dont_write_bytecode = True
    os.environ.update(PYTHONPATH=str(tree), PYTHONDONTWRITEBYTECODE="1")
    options = ["-x", "-q", f"--basetemp={tree}/tmp"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of what is imported already
    code = 1
    try:
        code = pytest.main([*options, *tests])
    except BaseException:  # noqa: BLE001 the process must end here, whatever it is
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
