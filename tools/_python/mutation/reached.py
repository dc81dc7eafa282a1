"""Which tests reach which line: all tests of a part run once, and coverage notes it."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from coverage import CoverageData

from tools._python.mutation.reasons import Change


class Reached:
    """The tests of a part, the quickest first, and the lines that each of them reaches."""

    def __init__(self, tree: Path, files: list[str]) -> None:
        """Run them in a copy of the checkout. Raises SystemExit if they fail."""
        self._tree = tree
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
        lines = (line.split(" ", 1) for line in times.read_text(encoding="utf-8").splitlines())
        self.seconds = {test: float(seconds) for seconds, test in lines}
        self.all = sorted(self.seconds, key=lambda test: self.seconds[test])
        self._data = CoverageData(basename=str(tree / ".cache" / "coverage" / "data"))
        self._data.read()

    def tests_of(self, change: Change) -> tuple[list[str], bool]:
        """Those that reach the line; and whether it runs elsewhere, too.

        That is in another process, or when something is imported. All, if no test reaches it.
        """
        last = change.first + max(1, len(change.old))
        found = self._found(change, range(change.first + 1, last + 1))
        tests = [test for test in self.all if test in found]
        return tests or self.all, not tests or "" in found

    def others_of(self, change: Change) -> list[str]:
        """Those that reach other lines of the file alone."""
        known, _ = self.tests_of(change)
        found = self._found(change, None) - set(known)
        return [test for test in self.all if test in found]

    def _found(self, change: Change, lines: Iterable[int] | None) -> set[str]:
        by_line = self._data.contexts_by_lineno(str(self._tree / change.file))
        wanted = by_line if lines is None else lines
        return {one.partition("|")[0] for line in wanted for one in by_line.get(line, ())}
