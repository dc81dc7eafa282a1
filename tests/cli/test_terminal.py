"""What a person sees: drawn tables and bars with rich, plain text without it."""

import json
from pathlib import Path

import pytest

from cwstore.cli import main, terminal
from cwstore.migrations import api as migrations
from cwstore.store import Store
from tests.kits.terminal import attach, without_rich

NEWEST = migrations.status(":memory:").newest


@pytest.fixture
def current(file: Path) -> Path:
    """A file of the newest version."""
    Store.open(file).close()
    return file


def test_a_terminal_gets_a_drawn_table_and_a_bar(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = attach(monkeypatch)
    assert main(["migrate", str(file)]) == 0
    assert "╭" in out.getvalue()
    assert "0001_initiatives_and_projects" in out.getvalue()
    assert f"migration {NEWEST} of {NEWEST}" in err.getvalue()


def test_a_terminal_without_rich_gets_plain_text_and_no_bar(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = attach(monkeypatch)
    without_rich(monkeypatch)
    assert main(["migrate", str(file)]) == 0
    assert "╭" not in out.getvalue()
    assert "\n  0001_initiatives_and_projects  " in out.getvalue()
    assert err.getvalue() == ""


def test_json_is_not_mixed_with_progress(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = attach(monkeypatch)
    assert main(["migrate", str(file), "--json"]) == 0
    assert json.loads(out.getvalue())["version"] == NEWEST
    assert "migration" in err.getvalue()


def test_a_table_without_a_header_is_drawn_without_one(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = attach(monkeypatch)
    assert main(["status", str(current)]) == 0
    title, top, first, *_ = out.getvalue().splitlines()
    assert title == str(current)
    assert top.startswith("╭──")
    assert first.split() == ["│", "version", "│", str(NEWEST), "of", str(NEWEST), "│"]


def test_what_a_terminal_would_obey_is_shown_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = attach(monkeypatch)
    terminal.say("a\x1b[2Jb\ud800c\n")
    terminal.table("t\x07", ("x", "y"), [("[bold]1[/bold]", "é\x9b")])
    terminal.complain("me", "one\ntwo \x1b[0m")
    assert out.getvalue().startswith("a\\x1b[2Jb\\ud800c\\n\n")
    assert "[bold]1[/bold]" in out.getvalue()
    assert "é\\x9b" in out.getvalue()
    assert err.getvalue() == "me: one two \\x1b[0m\n"
    without_rich(monkeypatch)
    terminal.table("t\x07", ("x", "y"), [("\x1b", "2")])
    assert out.getvalue().endswith("t\\x07\n  x     y\n  \\x1b  2\n")
