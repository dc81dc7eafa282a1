"""The commands that make a file smaller, and the one that begins a migration."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cwstore.cli import main
from cwstore.migrations import api as migrations
from cwstore.migrations import scripts
from cwstore.store import Store

NEWEST = migrations.status(":memory:").newest


def spoken(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


@pytest.fixture
def logged(file: Path) -> Path:
    """A file with five sessions of 100 kB, one a day; the last one is of today."""
    for days in range(4, -1, -1):
        then = datetime.now(UTC) - timedelta(days=days, minutes=1)
        with Store.open(file, clock=lambda then=then: then) as store:
            for _ in range(2):
                store.log_chunks.insert_chunk(
                    "a", agent_name="fox", session_number=5 - days, content="x" * 50_000
                )
    return file


def sessions(file: Path) -> set[int]:
    with Store.open(file) as store:
        return {chunk.session_number for chunk in store.log_chunks.find_by_agent_id("a")}


CRITERIA = [
    (["--older-than", "60h"], {3, 4, 5}),
    (["--keep-sessions", "1"], {5}),
    (["--max-size", "250kB"], {4, 5}),
    (["--older-than", "84h", "--keep-sessions", "3"], {3, 4, 5}),
]


@pytest.mark.parametrize(("criteria", "left"), CRITERIA)
def test_prune_deletes_what_its_dry_run_counts(
    criteria: list[str], left: set[int], logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = 5 - len(left)
    text = f"{gone} sessions with {2 * gone} log chunks, {gone * 100:.1f} kB of text.\n"
    assert main(["prune", str(logged), *criteria, "--dry-run"]) == 0
    assert capsys.readouterr() == (f"Would delete {text}", "")
    assert sessions(logged) == {1, 2, 3, 4, 5}
    counted = spoken(capsys, "prune", logged, *criteria, "--dry-run")
    assert main(["prune", str(logged), *criteria]) == 0
    assert capsys.readouterr() == (f"Deleted {text}", "")
    assert sessions(logged) == left
    assert counted == {
        "dry_run": True,
        "sessions": gone,
        "chunks": 2 * gone,
        "bytes": gone * 100_000,
    }
    again = spoken(capsys, "prune", logged, *criteria)
    assert again == {"dry_run": False, "sessions": 0, "chunks": 0, "bytes": 0}


def test_prune_makes_the_file_smaller(logged: Path) -> None:
    before = logged.stat().st_size
    assert main(["prune", str(logged), "--keep-sessions", "0"]) == 0
    assert logged.stat().st_size < before - 400_000


def test_prune_without_a_criterion_is_wrong_usage(
    logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prune", str(logged)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        "cwstore prune: error: say what may go: --older-than 30d, --keep-sessions 3"
        " or --max-size 2GB\n"
    )


def test_prune_refuses_a_number_below_zero(
    logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["prune", str(logged), "--keep-sessions", "-1"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(
        "cwstore prune: error: argument --keep-sessions: '-1' is not a number, 0 or more\n"
    )


def test_compact_gives_the_space_of_deleted_rows_back(
    logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(logged) as store:
        assert store.log_chunks.delete_by_agent_id("a") == 10
        store.pages.find_all()
    before = logged.stat().st_size
    report = spoken(capsys, "compact", logged)
    assert report["file_bytes"] == logged.stat().st_size == before - report["bytes"]
    assert main(["compact", str(logged)]) == 0
    assert capsys.readouterr().out == (
        f"{logged}: 0 bytes given back to the file system;"
        f" the file has {logged.stat().st_size / 1_000:.1f} kB.\n"
    )


def test_status_can_tell_by_its_exit_code_that_a_migration_is_pending(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.migrate(file, target=9)
    assert main(["status", str(file)]) == 0
    assert main(["status", str(file), "--exit-code"]) == 3
    assert main(["status", str(file), "--exit-code", "--json"]) == 3
    migrations.migrate(file)
    assert main(["status", str(file), "--exit-code"]) == 0


def test_new_writes_the_next_script_of_a_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "start", "--directory", str(tmp_path)]) == 0
    first = tmp_path / "0001_start.sql"
    assert capsys.readouterr().out == (
        f"{first}\nWrite its statements, then try it: `cwstore rehearse PATH`.\n"
    )
    first.write_text("CREATE TABLE a (b) STRICT;", encoding="utf-8")
    second = tmp_path / "0002_more.sql"
    assert spoken(capsys, "new", "more", "--directory", tmp_path) == {"path": str(second)}
    assert main(["new", "Bad name", "--directory", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "cwstore: name: 'Bad name' must say what it does, in snake_case, at most 60\n"
    )
    assert sorted(tmp_path.iterdir()) == [first, second]


def test_new_adds_nothing_to_an_installed_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = Path(scripts.__file__).parents[1] / "sql" / "migrations"
    monkeypatch.setattr("cwstore.migrations.new.default_directory", lambda: str(installed))
    assert main(["new", "labels"]) == 1
    assert capsys.readouterr().err == (
        f"cwstore: {installed} belongs to the installed cwstore: give --directory with the"
        " migrations of your own database\n"
    )


def test_new_says_why_it_cannot_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cwstore.migrations.new.default_directory", lambda: str(tmp_path))
    monkeypatch.setattr("cwstore.migrations.new.open", full_disk, raising=False)
    assert main(["new", "labels"]) == 1
    assert capsys.readouterr().err == (
        f"cwstore: cannot write {tmp_path / '0001_labels.sql'}: No space left on device\n"
    )


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_stats_draws_what_tables_and_logs_take(
    logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(logged) as store:
        store.log_chunks.insert_chunk("b", agent_name="owl", session_number=1, content="é")
    assert main(["stats", str(logged)]) == 0
    out = capsys.readouterr().out.splitlines()
    (chunks,) = [line for line in out if line.startswith("  agent_log_chunks ")]
    assert chunks.endswith("  " + 10 * "#")
    assert out[out.index("Logs of agents") :] == [
        "Logs of agents",
        "  agent  sessions  chunks  bytes of text",
        "  fox           5      10        500,000  ##########",
        "  owl           1       1              2  #",
    ]
    assert spoken(capsys, "stats", logged)["agent_logs"] == [
        {"agent_id": "a", "agent_name": "fox", "sessions": 5, "chunks": 10, "bytes": 500_000},
        {"agent_id": "b", "agent_name": "owl", "sessions": 1, "chunks": 1, "bytes": 2},
    ]


def test_stats_tells_who_reads_although_the_process_has_no_name(
    logged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gone = 2**22 + 1  # more than any process has
    locks = tmp_path / "locks"
    monkeypatch.setattr("cwstore._sqlite.lock_holders._LOCKS", str(locks))
    with Store.open(logged) as store:
        store.initiatives.create(name="one")
        place = f"00:2a:{Path(f'{logged}-shm').stat().st_ino}"
        locks.write_text(
            f"1: POSIX  ADVISORY  READ {os.getpid()} {place} 128 128\n"
            f"2: POSIX  ADVISORY  READ {gone} {place} 124 124\n"
        )
        assert main(["stats", str(logged)]) == 0
    assert f"Process {gone} (unknown) holds a snapshot of the file.\n" in capsys.readouterr().out


def test_stats_lists_the_longest_logs(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(file) as store:
        store.log_chunks.insert_chunks((f"a{n}", f"fox-{n}", 1, n * "x") for n in range(30))
    assert main(["stats", str(file)]) == 0
    out = capsys.readouterr().out.splitlines()
    begin = out.index("Logs of agents: the 20 longest of 30; --json tells all")
    assert [line.split()[0] for line in out[begin + 2 :]] == [f"fox-{n}" for n in range(29, 9, -1)]
