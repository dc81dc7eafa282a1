"""Which tests reach which line: all tests of a part run once, and coverage notes it."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData

from tools._python.mutation.reasons import Change
from tools._python.mutation.timing import IMPORT

_FEW = 20
# What these compile for a statement is used by all tests that come later in the same process.
_COMPILE = {f"cwstore/core/{name}.py" for name in ("checks", "mapping", "statement")}


class Reached:
    """The tests of a part, the quickest first, and the lines that each of them reaches."""

    def __init__(self, tree: Path, files: list[str]) -> None:
        """Run them in a copy of the checkout. Raises SystemExit if they fail."""
        self._tree = tree
        self._first = f"{files[0]}::"
        times = tree / "times"
        options = ["--cov=cwstore", "--cov-context=test", "--cov-report=", "--cov-fail-under=0"]
        log = tree / "reached.log"
        with log.open("w", encoding="utf-8") as out:
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "pytest", "-q", "-m", "not slow and not postgresql"),
                    *("-p", "tools._python.mutation.timing", *options, *files),
                ],
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree), "MUTATION_TIMES": str(times)},
                stdout=out,
                stderr=out,
                check=False,
            )
        if done.returncode:
            sys.exit(f"the tests fail without a change: see {log}")
        lines = [line.split(" ", 2) for line in times.read_text(encoding="utf-8").splitlines()]
        self.seconds = {test: float(seconds) for seconds, _, test in lines}
        self._starting = {test for _, sign, test in lines if sign == "+"}
        self.all = sorted(self.seconds, key=lambda test: self.seconds[test])
        self._data = CoverageData(basename=str(tree / ".cache" / "coverage" / "data"))
        self._data.read()

    def tests_of(self, change: Change) -> list[str]:
        """Those that reach the line."""
        return self._named(self._found(change, self._lines(change)))

    def leave_out(self, tests: set[str]) -> None:
        """Ask these no more."""
        self.all = [test for test in self.all if test not in tests]

    def others_of(self, change: Change) -> tuple[list[str], bool]:
        """Those that may notice it although they do not; and whether its import may matter.

        Another process may run the line. And what it made may have been kept, and used by others:
        by those of the first file, and by all that reach its file if few tests reach the line, or
        if it compiles what is kept.
        """
        found = self._found(change, self._lines(change))
        known = self.tests_of(change)
        if IMPORT in found:
            return self.all, True
        others = {test for test in self.all if test.startswith(self._first)}
        if "" in found or not known:
            others |= self._starting
        if len(known) < _FEW or change.file in _COMPILE:
            others |= self._found(change, None)
        return self._named(others - set(known)), False

    def _named(self, tests: set[str]) -> list[str]:
        return [test for test in self.all if test in tests]

    def _lines(self, change: Change) -> Iterable[int]:
        return range(change.first + 1, change.first + max(1, len(change.old)) + 1)

    def _found(self, change: Change, lines: Iterable[int] | None) -> set[str]:
        by_line = self._data.contexts_by_lineno(str(self._tree / change.file))
        wanted = by_line if lines is None else lines
        return {one.partition("|")[0] for line in wanted for one in by_line.get(line, ())}
