"""A stand-in for a terminal, and the absence of rich."""

import io
import sys

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
