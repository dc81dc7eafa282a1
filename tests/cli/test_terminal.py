"""What a person sees: drawn tables and bars with rich, plain text without it."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cwstore.cli import main, terminal
from cwstore.core.watching import watched_by
from cwstore.migrations import api as migrations
from cwstore.store import Store
from tests.kits.terminal import attach, let_time_pass, without_rich

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
    let_time_pass(monkeypatch, a_second=True)
    assert main(["migrate", str(file)]) == 0
    assert "╭" in out.getvalue()
    assert "0001_initiatives_and_projects" in out.getvalue()
    assert f"migration {NEWEST} of {NEWEST}" in err.getvalue()


def test_a_bar_goes_up_to_the_last_migration(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, float]] = []

    @contextmanager
    def bar(_: str) -> Generator[Callable[[float, float, str], None]]:
        yield lambda done, total, note: seen.append((done, total))

    monkeypatch.setattr(terminal, "progress", bar)
    assert main(["migrate", str(file)]) == 0
    assert seen == sorted(seen)
    assert 0 <= seen[0][0] < 1
    assert seen[-1] == (NEWEST, NEWEST)


@pytest.mark.parametrize("columns", ["60", "80"])
def test_no_name_and_no_number_of_a_table_is_cut(
    current: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out, _ = attach(monkeypatch)
    assert main(["stats", str(current)]) == 0
    assert "…" not in out.getvalue()


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
    let_time_pass(monkeypatch, a_second=True)
    assert main(["migrate", str(file), "--json"]) == 0
    assert json.loads(out.getvalue())["version"] == NEWEST
    assert "Migrating" in err.getvalue()


def test_what_takes_less_than_a_second_has_no_bar(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, err = attach(monkeypatch)
    let_time_pass(monkeypatch, a_second=False)
    assert main(["check", str(current)]) == 0
    assert err.getvalue() == ""


def test_a_terminal_that_can_draw_nothing_gets_no_bar(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, err = attach(monkeypatch)
    monkeypatch.setenv("TERM", "dumb")
    let_time_pass(monkeypatch, a_second=True)
    assert main(["check", str(current)]) == 0
    assert err.getvalue() == ""


@pytest.fixture
def logs(current: Path) -> Path:
    """A file with some pages of logs, a step of each job being a few of them."""
    with Store.open(current) as store:
        for session in (1, 2, 3):
            store.log_chunks.insert_chunks([("gone", "fox", session, "x" * 2_000)] * 30)
    return current


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("backup PATH COPY", ["copying", "looking for damage"]),
        ("check PATH", ["looking for damage", "looking for broken references"]),
        ("restore COPY PATH", ["copying", "looking for damage"]),
        ("prune PATH --keep-sessions 0", ["30", "60", "90", "giving space back"]),
        ("compact PATH", ["giving space back"]),
        ("rehearse PATH", ["copying", "looking for damage"]),
    ],
)
def test_a_bar_moves_on_while_a_job_goes_on(
    command: str, told: list[str], logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._sqlite.backup._PAGES", 8)
    monkeypatch.setattr("cwstore._sqlite.backup._OPERATIONS", 100)
    monkeypatch.setattr("cwstore._sqlite.engine._PAGES_AT_A_TIME", 8)
    monkeypatch.setattr("cwstore.entities.log_retention.ROWS_AT_A_TIME", 10)
    copy = tmp_path / "copy.db"
    if command.startswith("restore"):
        with Store.open(logs) as store:
            store.backup(copy)
    if command.startswith("compact"):
        with Store.open(logs) as store:
            store.log_chunks.delete_by_agent_id("gone")
    seen: list[tuple[str, float]] = []

    def watch(done: float, of: float, note: str) -> None:
        seen.append((note.removesuffix(" log chunks deleted"), done / of))

    words = command.replace("PATH", str(logs)).replace("COPY", str(copy)).split()
    with watched_by(watch):
        assert main(words) == 0
    assert list(dict.fromkeys(note for note, _ in seen if note in told)) == told
    for job in {note for note, _ in seen}:
        parts = [part for note, part in seen if note == job]
        assert parts == sorted(parts)
        assert 0 <= parts[0] <= parts[-1] <= 1
    assert len({part for _, part in seen}) > 1


def test_a_bar_says_what_goes_on(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = attach(monkeypatch)
    let_time_pass(monkeypatch, a_second=True)
    monkeypatch.chdir(tmp_path)
    with Store.open(logs) as store:
        store.initiatives.create(id="I", name="Search")
    for title, command in [
        ("Copying", "backup PATH copy.db"),
        ("Checking", "check PATH"),
        ("Counting", "stats PATH"),
        ("Counting", "prune PATH --keep-sessions 1 --dry-run"),
        ("Pruning", "prune PATH --keep-sessions 1"),
        ("Compacting", "compact PATH"),
        ("Exporting", "export PATH I -o moved.jsonl"),
        ("Importing", "import PATH moved.jsonl --on-conflict skip"),
        ("Drawing", "report PATH"),
        ("Restoring", "restore copy.db PATH"),
        ("Rehearsing", "rehearse PATH"),
    ]:
        err.truncate(0)
        assert main(command.replace("PATH", str(logs)).split()) == 0, (command, err.getvalue())
        assert f"{title} " in err.getvalue(), command
    assert "copy.db" in out.getvalue()


def test_a_table_without_a_header_is_drawn_without_one(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = attach(monkeypatch)
    assert main(["status", str(current)]) == 0
    title, top, first, *_ = out.getvalue().splitlines()
    assert title == str(current)
    assert top.startswith("╭──")
    assert first.split() == ["│", "version", "│", str(NEWEST), "of", str(NEWEST), "│"]


def test_numbers_in_a_table_stand_at_the_right(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = attach(monkeypatch)
    terminal.table("title", ("name", "number"), [("a", "1"), ("long name", "1,000,000")])
    lines = [line.split("│")[1:3] for line in out.getvalue().splitlines() if "│" in line]
    assert lines[1:] == [
        [" a         ", "         1 "],
        [" long name ", " 1,000,000 "],
    ]


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
