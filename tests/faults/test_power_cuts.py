"""Power cuts: what is on the disk afterwards is a moment of the history, with all that was owed."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cwstore._sqlite import backup, engine, restore
from tools._python.faults import restore_cuts
from tools._python.faults.power_cuts import CASES, Case, Run, sweep

CASE = {case.name: case for case in CASES}

FewWrites = Callable[[bool], Case]


@pytest.fixture
def few_writes(migrated: Path) -> FewWrites:
    """A case of some hundred operations, durable or not."""

    def copied(directory: Path) -> None:
        shutil.copyfile(migrated, directory / "store.db")

    def work(run: Run) -> None:
        with run.open() as store:
            for number in range(3):
                store.initiatives.create(id=str(number), name="x" * 2_000 * number + "x")
                run.told(str(number))
            store.backup(run.directory / "copy.bak")
            run.told("backup")

    return lambda durable: Case("few writes", durable, copied, work)


@pytest.mark.parametrize("durable", [True, False])
def test_after_a_power_cut_the_file_is_whole_and_has_what_was_acknowledged(
    durable: bool, few_writes: FewWrites, place: Path
) -> None:
    outcome = sweep(few_writes(durable), place, every=97)

    assert outcome.faults == []
    assert outcome.cuts > 20
    assert outcome.disks > 5


@pytest.mark.slow
def test_a_durable_store_owes_its_work_also_where_another_made_the_log(place: Path) -> None:
    outcome = sweep(CASE["two stores, one durable"], place, until=110, every=19)

    assert outcome.faults == []
    assert outcome.cuts > 40


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_made_whole_or_not_at_all_though_the_power_is_cut(
    durable: bool, place: Path
) -> None:
    name = "new file, durable" if durable else "new file"
    outcome = sweep(CASE[name], place, until=60, every=9)

    assert outcome.faults == []
    assert outcome.cuts > 40


@pytest.mark.slow
def test_a_migration_is_whole_or_not_there_though_the_power_is_cut(place: Path) -> None:
    outcome = sweep(CASE["migration of one version, durable"], place, every=41)

    assert outcome.faults == []
    assert outcome.cuts > 40


@pytest.mark.slow
@pytest.mark.parametrize("case", restore_cuts.CASES, ids=[one.name for one in restore_cuts.CASES])
def test_a_restore_leaves_the_old_file_or_the_copy_and_loses_neither(
    case: Case, place: Path
) -> None:
    outcome = restore_cuts.sweep(case, place, every=23)

    assert outcome.faults == []
    assert outcome.cuts > 40


# The sweep itself can fail


def faults_of(case: Case, place: Path) -> set[str]:
    """What a sweep finds, without where. A kept backup can be lost at 14 operations in a row."""
    found = sweep(case, place, ways=("lost", "names lost", "data lost"), every=13)
    return {fault.rpartition(": ")[2] for fault in found.faults}


@pytest.mark.slow
def test_a_directory_that_is_not_synced_after_a_backup_is_found(
    few_writes: FewWrites, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = backup.sync
    monkeypatch.setattr(backup, "sync", lambda path: None if Path(path).is_dir() else sync(path))

    assert faults_of(few_writes(False), place) == {"the backup copy.bak is lost"}


@pytest.mark.slow
def test_a_backup_that_is_named_before_it_is_on_disk_is_found(
    few_writes: FewWrites, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, copy_pages = backup.sync, backup._copy_pages

    def copy_carelessly(source: Any, copy: Any) -> None:
        copy.execute("PRAGMA synchronous = OFF")
        copy_pages(source, copy)

    monkeypatch.setattr(backup, "sync", lambda path: sync(path) if Path(path).is_dir() else None)
    monkeypatch.setattr(backup, "_copy_pages", copy_carelessly)

    assert "the backup copy.bak is lost" in faults_of(few_writes(False), place)


@pytest.mark.slow
def test_a_durable_store_that_does_not_sync_its_commits_is_found(
    few_writes: FewWrites, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = engine.connect

    def connect_carelessly(file: str, *, busy_timeout: float, **options: Any) -> Any:
        return connect(file, busy_timeout=busy_timeout)

    monkeypatch.setattr(engine, "connect", connect_carelessly)

    found = faults_of(few_writes(True), place)
    assert "3 transactions that were acknowledged are lost" in found


@pytest.mark.slow
def test_an_old_file_whose_new_name_is_not_on_disk_before_the_copy_has_its_place_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = (case for case in restore_cuts.CASES if case.name == "restore")
    monkeypatch.setattr(restore, "keep_as", lambda file, kept: None)

    faults = restore_cuts.sweep(case, place, every=11).faults
    assert any("of the old file only" in fault for fault in faults)
