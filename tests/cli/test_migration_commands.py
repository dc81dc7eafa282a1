"""`cwstore migrate`, `status` and `rehearse` with their options, on scripts of another database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cwstore.cli import main
from tests.kits.migrations import BASE, ROOT, made_by_base, names_in, run, scripts


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


@pytest.fixture
def directory(populated: Path) -> Path:
    """BASE, which the file has, and two scripts more."""
    return scripts(populated.parent, *BASE, "UPDATE tasks SET owner = 'x';", "SELECT 1;")


def spoken(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_status_tells_all_that_a_migration_would_do(
    populated: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(populated), "--directory", str(directory)]) == 0
    size, backup = f"{populated.stat().st_size:,} bytes", f"{populated}.v2.bak"
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        str(populated),
        "version 2 of 4",
        "usable by code from version 2",
        f"size {size}",
        f"backup before migrating {backup}",
        "pending migrations 2",
        "pending: 0003_step",
        "pending: 0004_step",
        f"`cwstore rehearse {populated} --directory {directory}` shows what they would do.",
    ]
    assert spoken(capsys, "status", populated, "--directory", directory) == {
        "path": str(populated),
        "version": 2,
        "newest": 4,
        "pending": ["0003_step", "0004_step"],
        "compatible_from": 2,
        "size": populated.stat().st_size,
        "backup": backup,
        "exposed": [],
        "added": [],
        "extensions": [],
    }


def test_rehearse_tells_time_rows_changed_size_and_violations(
    populated: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = populated.read_bytes()
    assert main(["rehearse", str(populated), "--directory", str(directory)]) == 0
    title, head, first, second, violations, sizes = capsys.readouterr().out.splitlines()
    assert title.startswith("Rehearsed on a copy in ")
    assert head.split() == ["migration", "statements", "rows", "changed", "seconds"]
    assert first.split()[:3] == ["0003_step", "1", "3"]
    assert second.split()[:3] == ["0004_step", "1", "0"]
    assert violations == "0 broken foreign keys"
    size = f"{len(before):,}"
    assert sizes == (
        f"{populated} was not touched. It would go from version 2 to 4, from {size} to {size}"
        " bytes."
    )
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    arguments = ("rehearse", populated, "--directory", directory, "--target", 3)
    report = spoken(capsys, *arguments)
    assert [step["name"] for step in report["steps"]] == ["0003_step"]
    assert report["violations"] == ["tasks.phase_id = 77 is not in phases (1 rows)"]
    assert names_in(populated.parent) == ["sql0", "sql1", "store.db"]


def test_migrate_stops_at_a_target_and_makes_no_backup_if_none_is_wanted(
    populated: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("migrate", populated, "--directory", directory, "--no-backup")
    report = spoken(capsys, *arguments, "--target", 3)
    assert (report["applied"], report["version"], report["backup"]) == (["0003_step"], 3, None)
    assert names_in(populated.parent) == ["sql0", "sql1", "store.db"]
    assert spoken(capsys, *arguments)["applied"] == ["0004_step"]
    assert run(populated, "SELECT DISTINCT owner FROM tasks") == [("x",)]


def test_a_script_that_holds_a_zero_is_refused_in_one_line(
    populated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = scripts(populated.parent, *BASE, "SELECT 1;\nSELECT /* \0 */ 2;\n")
    arguments = ["migrate", str(populated), "--directory", str(directory)]
    message = "0003_step.sql, line 2: holds U+0000"
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", f"cwstore: {message}\n")
    assert main([*arguments, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told == {"error": {"type": "MigrationError", "message": message}}


@pytest.mark.parametrize("command", ["migrate", "status", "rehearse"])
def test_a_path_that_is_no_utf8_is_refused_in_one_line(tmp_path: Path, command: str) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.db"
    arguments = [os.fsencode(sys.executable), b"-m", b"cwstore", command.encode(), path]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, check=False)
    message = "must be a path that can be written as UTF-8; rename the file or its directory"
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"cwstore: path: {message}\n"
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("command", ["migrate", "status", "rehearse"])
def test_a_directory_without_migrations_is_refused_in_one_line(
    populated: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = populated.parent / "nowhere"
    assert main([command, str(populated), "--directory", str(nowhere)]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"cwstore: cannot read the migrations in {nowhere}: ")


def test_advice_repeats_what_names_another_program(
    populated: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = populated.with_name("other.db")
    given = ["--directory", str(directory), "--application-id", "MINE"]
    assert main(["migrate", str(file), "--target", "1", *given]) == 0
    assert main(["status", str(file), *given]) == 0
    told = capsys.readouterr().out
    assert f"rehearse {file} --directory {directory} --application-id 0x4d494e45`" in told
    assert main(["stats", str(file), *given]) == 1
    assert capsys.readouterr().err.endswith(
        f"version 1, this program works on 4: run `cwstore migrate {file} --directory {directory}"
        " --application-id 0x4d494e45` first\n"
    )
    assert main(["migrate", str(file.with_name("new.db")), "--application-id", "MINE"]) == 1
    assert capsys.readouterr().err == (
        "cwstore: directory: a program with an application_id of its own has its own migrations\n"
    )
    assert not file.with_name("new.db").exists()
    with pytest.raises(SystemExit):
        main(["status", str(file), "--application-id", "five5"])
    assert (
        "'five5' is no application id: write a number, or its four letters"
        in capsys.readouterr().err
    )
