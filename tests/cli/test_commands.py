"""The command line: what it prints, its exit codes, and that no failure shows a traceback."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore.cli import main, terminal, upkeep_commands
from cwstore.migrations import api as migrations
from cwstore.store import Store

ROOT = Path(__file__).parents[2]
NEWEST = migrations.status(":memory:").newest
OLD = 9  # the version before the two migrations that came later


@pytest.fixture
def current(file: Path) -> Path:
    """A file of the newest version."""
    Store.open(file).close()
    return file


@pytest.fixture
def old(file: Path) -> Path:
    """A file that has migrations pending."""
    migrations.migrate(file, target=OLD)
    return file


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cwstore", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def spoken(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """What a command that is done says as JSON."""
    assert main([*map(str, arguments), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


# migrate, status, rehearse


def test_migrate_makes_a_file_and_says_what_it_did(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(file)]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[1].split() == ["migration", "statements", "rows", "changed", "seconds"]
    assert lines[2].split()[0] == "0001_initiatives_and_projects"
    assert lines[-1] == f"{file} has version {NEWEST}; {NEWEST} migrations applied."
    assert err == ""
    assert migrations.status(file).pending == ()


def test_migrate_of_a_current_file_has_nothing_to_do(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", str(current)]) == 0
    assert capsys.readouterr().out == (f"{current} has version {NEWEST}; 0 migrations applied.\n")


def test_migrate_stops_at_the_target(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(file), "--target", "1"]) == 0
    assert capsys.readouterr().out.endswith(f"{file} has version 1; 1 migration applied.\n")


def test_migrate_names_the_backup(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate", str(old)]) == 0
    assert f"Backup: {old}.v{OLD}.bak" in capsys.readouterr().out.splitlines()


def test_migrate_reports_as_json(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = spoken(capsys, "migrate", old)
    assert report["version_before"] == OLD
    assert report["version"] == NEWEST
    assert report["backup"] == f"{old}.v{OLD}.bak"
    assert [step["name"] for step in report["steps"]] == report["applied"]


def test_status_lists_what_is_pending_and_makes_nothing(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        str(file),
        f"  version                          0 of {NEWEST}",
        "  usable by code from version            0",
        "  size                         no file yet",
    ]
    assert lines[-NEWEST] == "pending: 0001_initiatives_and_projects"
    assert not file.exists()


def test_status_of_an_old_file_points_to_the_rehearsal(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(old)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"`cwstore rehearse {old}` shows what they would do."


def test_status_reports_as_json(current: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert spoken(capsys, "status", current) == {
        "path": str(current),
        "version": NEWEST,
        "newest": NEWEST,
        "pending": [],
        "compatible_from": 16,
        "size": current.stat().st_size,
        "backup": None,
        "exposed": [],
        "added": [],
        "extensions": [],
    }


def test_rehearse_changes_nothing(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = old.read_bytes()
    assert main(["rehearse", str(old)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{old} was not touched. It would go from version {OLD} to {NEWEST},")
    assert old.read_bytes() == before


def test_rehearse_of_a_file_that_is_up_to_date_says_so(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rehearse", str(current)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"{current} was not touched. Nothing is pending: version {NEWEST}."


def test_rehearse_tells_foreign_keys_that_lead_nowhere(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_an_orphan(old)
    assert main(["rehearse", str(old)]) == 0
    assert "broken foreign key: " in capsys.readouterr().out


def test_rehearse_reports_as_json(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = spoken(capsys, "rehearse", old)
    assert (report["version_before"], report["version"]) == (OLD, NEWEST)
    assert report["violations"] == []


# check, backup, stats


def leave_an_orphan(file: Path) -> None:
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("INSERT INTO phase_dependencies VALUES ('nothing', 'nowhere')")
    connection.close()


def test_check_finds_a_whole_file_whole(current: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(current)]) == 0
    assert capsys.readouterr() == (
        f"{current}: OK: no damage, no broken references, schema as expected.\n",
        "",
    )
    assert spoken(capsys, "check", current) == {
        "ok": True,
        "integrity": [],
        "foreign_keys": [],
        "drift": [],
        "exposed": [],
        "added": [],
    }


def test_check_lists_problems_and_fails(current: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave_an_orphan(current)
    problem = "phase_dependencies: 2 rows refer to rows of phases that do not exist"
    back = f"restore a backup: `cwstore restore BACKUP {current}`"
    advice = f"cwstore: {current} has the problems listed; {back}\n"
    assert main(["check", str(current)]) == 1
    assert capsys.readouterr() == (f"{problem}\n", advice)
    assert main(["check", str(current), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "ok": False,
        "integrity": [],
        "foreign_keys": [problem],
        "drift": [],
        "exposed": [],
        "added": [],
    }
    assert err == advice


def test_backup_makes_a_store_like_the_first(
    current: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(current) as store:
        made = store.initiatives.create(name="Kept")
    copy, again = tmp_path / "copy.db", tmp_path / "again.db"
    assert main(["backup", str(current), str(copy)]) == 0
    size = copy.stat().st_size
    assert capsys.readouterr().out == f"{copy}: {size:,} bytes, verified.\n"
    assert spoken(capsys, "backup", current, again) == {"path": str(again), "bytes": size}
    with Store.open(copy) as store:
        assert store.initiatives.find_all() == [made]


def test_backups_that_are_made_in_one_second_have_names_of_their_own(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(upkeep_commands, "datetime", Stopped)
    begin = f"{current}.20260102T030405Z"
    Path(f"{begin}-3.bak").symlink_to("nowhere")
    names = [spoken(capsys, "backup", current)["path"] for _ in range(3)]
    assert names == [f"{begin}.bak", f"{begin}-2.bak", f"{begin}-4.bak"]


def test_backup_without_a_target_is_named_by_the_time_beside_the_file(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earliest = datetime.now(UTC).replace(microsecond=0)
    assert main(["backup", str(current)]) == 0
    said = capsys.readouterr().out
    (copy,) = current.parent.glob("*.bak")
    made = datetime.strptime(copy.name, f"{current.name}.%Y%m%dT%H%M%SZ.bak").replace(tzinfo=UTC)
    assert earliest <= made <= datetime.now(UTC)
    assert said == f"{copy}: {copy.stat().st_size:,} bytes, verified.\n"
    copy.unlink()
    (again,) = [spoken(capsys, "backup", current)["path"]]
    assert [str(path) for path in current.parent.glob("*.bak")] == [again]
    with Store.open(again) as store:
        assert store.check().ok


def test_backup_never_replaces_a_file(
    current: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "there").write_text("mine")
    assert main(["backup", str(current), str(tmp_path / "there")]) == 1
    assert capsys.readouterr().err.startswith(f"cwstore: {tmp_path / 'there'} exists; ")
    assert (tmp_path / "there").read_text() == "mine"


def test_stats_counts_the_rows_of_each_table(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(current) as store:
        store.initiatives.create(name="One")
    assert main(["stats", str(current)]) == 0
    out = capsys.readouterr().out
    *table, last = out.splitlines()
    assert re.fullmatch(
        rf"Version {NEWEST}; [\d,]+ bytes in the file \([\d,]+ free\) and [\d,]+ in its"
        rf" write-ahead log"
        r" \([\d,]+ of them not moved into the file yet\)\.",
        last,
    )
    rows = {line.split()[0]: line.split()[1] for line in table[2:]}
    assert (rows["initiatives"], rows["tasks"]) == ("1", "0")
    tables = {table["name"]: table["rows"] for table in spoken(capsys, "stats", current)["tables"]}
    assert (tables["initiatives"], tables["tasks"]) == (1, 0)


@pytest.mark.parametrize("command", ["backup", "stats"])
def test_looking_neither_makes_nor_migrates_a_file(
    command: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [command, str(file), *([str(tmp_path / "copy")] if command == "backup" else [])]
    assert main(arguments) == 1
    gone = f"cwstore: {file} is not there; give the path of a cwstore file\n"
    assert capsys.readouterr() == ("", gone)
    assert not file.exists()
    migrations.migrate(file, target=OLD)
    assert main(arguments) == 1
    assert capsys.readouterr().err == (
        f"cwstore: {file} has version {OLD}, this cwstore works on {NEWEST}:"
        f" run `cwstore migrate {file}` first\n"
    )
    assert migrations.status(file).version == OLD


# Failures


def foreign(file: Path) -> None:
    connection = apsw.Connection(str(file))
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def too_new(file: Path) -> None:
    Store.open(file).close()
    connection = apsw.Connection(str(file))
    connection.pragma("user_version", 9_999)
    connection.close()


def text(file: Path) -> None:
    file.write_text("this is not a database, but it is long enough to be one\n" * 20)


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (Path.mkdir, "StorageError"),
        (text, "ForeignDatabaseError"),
        (foreign, "ForeignDatabaseError"),
        (too_new, "SchemaTooNewError"),
    ],
)
@pytest.mark.parametrize("command", ["migrate", "status", "rehearse", "check", "stats", "demo"])
def test_a_path_that_cannot_be_used_gives_one_line_and_1(
    command: str, spoil: Any, error: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(file)
    before = file.read_bytes() if file.is_file() else None
    assert main([command, str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("cwstore: ")
    assert str(file) in err
    assert err.count("\n") == 1
    assert main([command, str(file), "--json"]) == 1
    again = capsys.readouterr()
    assert again.err == err
    assert json.loads(again.out) == {
        "error": {"type": error, "message": err.removeprefix("cwstore: ").rstrip()}
    }
    assert (file.read_bytes() if file.is_file() else None) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["migrate"],
        ["new"],
        ["unknown", "x"],
        ["migrate", "x", "--target", "two"],
        ["backup"],
        ["demo", "--workers", "0"],
        ["demo", "--workers", "65"],
        ["demo", "--workers", "four"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: cwstore")


@pytest.mark.parametrize("workers", ["0", "65", "four"])
def test_wrong_usage_says_how_many_workers_there_may_be(
    workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["demo", "--workers", workers])
    assert capsys.readouterr().err.endswith(
        "cwstore demo: error: argument --workers: must be a number from 1 to 64\n"
    )


@pytest.mark.parametrize("name", ["", "missing.jsonl"])
def test_a_backlog_that_cannot_be_read_leaves_no_store_behind(
    name: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backlog = tmp_path / name
    assert main(["demo", str(file), "--backlog", str(backlog)]) == 1
    assert capsys.readouterr().err.startswith(f"cwstore: cannot read {backlog}: ")
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_130_and_one_line(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(migrations, "migrate", interrupted)
    assert main(["migrate", str(file)]) == 130
    assert capsys.readouterr() == (
        "",
        "cwstore: stopped; what was not finished was rolled back\n",
    )


def test_an_error_of_the_system_is_one_line(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/some/file")

    monkeypatch.setattr(terminal, "print_json", full)
    monkeypatch.setattr(terminal, "table", full)
    assert main(["status", str(current)]) == 1
    assert capsys.readouterr().err == "cwstore: /some/file: No space left on device\n"


def test_a_reader_who_leaves_early_is_no_error_to_see(current: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "cwstore", "stats", str(current)],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_module_can_be_imported_without_being_run() -> None:
    assert import_module("cwstore.__main__").main is main


def test_the_module_runs_as_a_command(file: Path, tmp_path: Path) -> None:
    done = run("migrate", file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["version"] == NEWEST
    refused = run("migrate", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"cwstore: {tmp_path}")
    assert refused.stderr.count("\n") == 1
    assert run().returncode == 2
    assert run("--help").returncode == 0


def test_starting_loads_nothing_that_a_command_may_not_need() -> None:
    script = (
        "import sys, cwstore.cli.parser\n"
        "heavy = {'rich', 'multiprocessing', 'hypothesis', 'cwstore.store', 'cwstore._demo.run'}\n"
        "print(heavy & sys.modules.keys())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    assert done.stdout == "set()\n"
