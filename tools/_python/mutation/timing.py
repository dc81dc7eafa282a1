"""A plugin of pytest: writes how long each test takes, to the file that MUTATION_TIMES names.

A `+` stands before those that start processes. What coverage notes while the tests are imported has
the context IMPORT.
"""

import os
import sys
from pathlib import Path

import coverage
import pytest

IMPORT = "import"
_STARTS = {"os.fork", "os.posix_spawn", "subprocess.Popen"}

_seconds: dict[str, float] = {}
_starting: set[str] = set()


def pytest_load_initial_conftests() -> None:
    """pytest-cov has begun just before."""
    if measured := coverage.Coverage.current():
        measured.switch_context(IMPORT)


def pytest_runtest_logstart(nodeid: str) -> None:
    """From here on it is this test that does something."""
    _seconds[nodeid] = 0.0


def _look(event: str, _: object) -> None:
    if event in _STARTS and _seconds:
        _starting.add(next(reversed(_seconds)))


sys.addaudithook(_look)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count set-up and tear-down too."""
    _seconds[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    """All are done."""
    lines = [
        f"{seconds:.3f} {'+' if test in _starting else '-'} {test}\n"
        for test, seconds in _seconds.items()
    ]
    Path(os.environ["MUTATION_TIMES"]).write_text("".join(lines), encoding="utf-8")
