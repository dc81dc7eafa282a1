"""A stand-in for a terminal, and the absence of rich."""

import io
import sys
from collections.abc import Callable

import pytest


class Terminal(io.StringIO):
    """Keeps what is printed, and says that a person watches."""

    def isatty(self) -> bool:
        return True


def attach(monkeypatch: pytest.MonkeyPatch) -> tuple[Terminal, Terminal]:
    """Standard output and standard error become terminals of 100 columns."""
    out, err = Terminal(), Terminal()
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on rich cannot be imported."""
    monkeypatch.setitem(sys.modules, "rich", None)


class _AtOnce:
    """A Timer whose seconds have passed."""

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self.start = act

    def cancel(self) -> None:
        """Too late."""

    def join(self) -> None:
        """It is over."""


def show_bars_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress bars do not wait for a second, and are drawn at the end of a job at the latest."""
    monkeypatch.setattr("cwstore.cli.terminal.Timer", _AtOnce)
