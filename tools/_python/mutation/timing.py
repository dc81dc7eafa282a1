"""A plugin of pytest: writes how long each test takes to the file that MUTATION_TIMES names."""

import os
from pathlib import Path

import pytest

_seconds: dict[str, float] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count set-up and tear-down too."""
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish() -> None:
    """All are done."""
    lines = [f"{seconds:.3f} {test}\n" for test, seconds in _seconds.items()]
    Path(os.environ["MUTATION_TIMES"]).write_text("".join(lines), encoding="utf-8")
