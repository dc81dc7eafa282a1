"""A stand-in for a terminal, and the absence of rich."""

import io
import sys
from collections.abc import Callable
from functools import partial

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


class _Timer:
    """A Timer whose seconds have passed, or never pass."""

    def __init__(self, seconds: float, act: Callable[[], None], *, passed: bool) -> None:
        assert seconds == 1
        self._act = act if passed else None

    def start(self) -> None:
        if self._act is not None:
            self._act()

    def cancel(self) -> None:
        """Too late, or not needed."""

    def join(self) -> None:
        """It is over."""


def let_time_pass(monkeypatch: pytest.MonkeyPatch, *, a_second: bool) -> None:
    """Each job of a command takes a second, after which there is a bar; or none does."""
    monkeypatch.setattr("cwstore.cli.terminal.Timer", partial(_Timer, passed=a_second))
