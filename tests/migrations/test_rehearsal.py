"""Rehearsing migrations on a copy."""

import os
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from cwstore._sqlite.schema import foreign_keys as _foreign_keys
from cwstore.errors import (
    ForeignDatabaseError,
    InvalidValueError,
    MigrationError,
    StorageError,
)
from cwstore.migrations.api import Progress, RehearsalReport, migrate, rehearse
from tests.kits.engine import assert_ours_alone
from tests.kits.migrations import names_in, run

FIRST = (
    "CREATE TABLE parents (id INTEGER PRIMARY KEY);"
    "CREATE TABLE rows (id INTEGER PRIMARY KEY, note TEXT, parent REFERENCES parents);"
    "INSERT INTO rows (note) VALUES ('a'), ('b'), ('c');"
)
SECOND = """UPDATE rows SET note = note || '!' WHERE id > 1;
WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
INSERT INTO rows (id, note) SELECT i, 'some text to fill the page with' FROM n;
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    (directory / "0001_first.sql").write_text(FIRST)
    return directory


@pytest.fixture
def store(tmp_path: Path, directory: Path) -> Path:
    file = tmp_path / "store.db"
    migrate(file, directory=directory)
    return file


def test_a_rehearsal_reports_what_a_migration_would_do_and_leaves_no_trace(
    store: Path, directory: Path
) -> None:
    run(store, "UPDATE rows SET parent = 7 WHERE id < 3")
    (directory / "0002_second.sql").write_text(SECOND)
    (directory / "0003_third.sql").write_text("SELECT 1;")
    before, told = store.read_bytes(), list[Progress]()
    report = rehearse(store, directory=directory, on_progress=told.append)
    assert report == RehearsalReport(
        path=str(store),
        steps=report.steps,
        version_before=1,
        version=3,
        size_before=len(before),
        size=report.size,
        violations=("rows.parent = 7 is not in parents (2 rows)",),
        seconds=report.seconds,
    )
    assert [(step.name, step.rows_changed) for step in report.steps] == [
        ("0002_second", 20_002),
        ("0003_third", 0),
    ]
    assert report.size > 20_000 * 31
    assert [progress.name for progress in told] == ["0002_second"] * 3 + ["0003_third"] * 2
    assert store.read_bytes() == before
    assert names_in(store.parent) == ["sql", "store.db"]
    assert rehearse(store, directory=directory, target=2).version == 2


def test_the_copy_lies_in_a_hidden_directory_beside_the_file_without_a_backup(
    store: Path, directory: Path
) -> None:
    (directory / "0002_second.sql").write_text("SELECT 1;")
    seen: set[tuple[str, ...]] = set()

    def look(_: Progress) -> None:
        (beside,) = (path for path in store.parent.iterdir() if path.name.startswith("."))
        assert beside.name.startswith(".cwstore-")
        seen.add(tuple(names_in(beside)))

    report = rehearse(store, directory=directory, on_progress=look)
    made = "d d-shm d-turn d-wal d.migrating"
    assert seen == {tuple(made.split())}
    assert 0 <= sum(step.seconds for step in report.steps) <= report.seconds


def test_a_rehearsal_that_fails_says_so_and_leaves_no_trace(store: Path, directory: Path) -> None:
    (directory / "0002_second.sql").write_text("UPDATE rows SET parent = 7;")
    before = store.read_bytes()
    with pytest.raises(MigrationError) as failure:
        rehearse(store, directory=directory)
    message = str(failure.value)
    assert message.startswith(f"rehearsed on a copy of {store}, which was not touched: 0002_second")
    assert "rows.parent = 7 is not in parents (3 rows)" in message
    assert store.read_bytes() == before
    assert names_in(store.parent) == ["sql", "store.db"]


def test_a_target_below_the_version_is_refused_by_the_name_of_the_file(
    store: Path, directory: Path
) -> None:
    with pytest.raises(MigrationError) as refusal:
        rehearse(store, directory=directory, target=0)
    assert str(refusal.value) == (
        f"{store} has version 1; there is no way down to 0: restore a backup:"
        f" `cwstore restore BACKUP {store} --directory {directory}`"
    )


@pytest.mark.parametrize(("field", "value"), [("on_progress", 5), ("target", 2), ("target", "1")])
def test_a_bad_option_is_refused_before_anything_happens(
    tmp_path: Path, directory: Path, field: str, value: Any
) -> None:
    options = {field: value}
    with pytest.raises(InvalidValueError, match=f"^{field}: ") as refusal:
        rehearse(tmp_path / "nowhere.db", directory=directory, **options)
    assert refusal.value.field == field
    assert names_in(tmp_path) == ["sql"]


def test_a_copy_that_vacuum_made_can_be_rehearsed_on(store: Path, directory: Path) -> None:
    compact = store.with_name("compact.db")
    run(store, f"VACUUM INTO '{compact}'")
    assert run(compact, "PRAGMA journal_mode") == [("delete",)]
    (directory / "0002_second.sql").write_text(SECOND)
    before = compact.read_bytes()
    report = rehearse(compact, directory=directory)
    assert (report.version_before, report.version) == (1, 2)
    assert report.size > report.size_before == len(before)
    assert compact.read_bytes() == before
    assert names_in(store.parent) == ["compact.db", "sql", "store.db"]


def test_an_up_to_date_file_has_nothing_to_rehearse(store: Path, directory: Path) -> None:
    report = rehearse(store, directory=directory)
    assert (report.steps, report.version, report.violations) == ((), 1, ())
    assert report.size == report.size_before


def test_a_disk_that_fails_under_the_copy_is_told_so(
    store: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: object) -> None:
        error = apsw.FullError("database or disk is full")
        cast("Any", error).extendedresult = apsw.SQLITE_FULL
        raise error

    monkeypatch.setattr(_foreign_keys, "find_violations", fail)
    with pytest.raises(StorageError) as raised:
        rehearse(store, directory=directory)
    assert str(raised.value) == (
        f"rehearsing on a copy of {store}: the disk is full; make room and try again"
    )
    assert_ours_alone(raised.value)
    assert names_in(store.parent) == ["sql", "store.db"]


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path, directory: Path) -> None:
    for path in (tmp_path / "new.db", ":memory:"):
        with pytest.raises(StorageError, match="nothing to rehearse on"):
            rehearse(path, directory=directory)
    assert names_in(tmp_path) == ["sql"]


def test_a_refusal_names_the_file_and_not_the_copy(tmp_path: Path, directory: Path) -> None:
    file = tmp_path / "empty.db"
    file.touch()
    with pytest.raises(ForeignDatabaseError, match=f"{file} is empty"):
        rehearse(file, directory=directory)


def test_a_directory_that_takes_no_copy_is_refused(
    store: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(StorageError) as refusal:
        rehearse(store, directory=directory)
    assert str(refusal.value) == (
        f"cannot rehearse beside {store}: Permission denied; it takes a directory that this user"
        " may write to, and room for a copy"
    )
