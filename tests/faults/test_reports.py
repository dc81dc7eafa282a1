"""What others have reported of stores like this one, as a user here would meet it."""

import errno
import os
import signal
from pathlib import Path

import pytest

import cwstore
from cwstore.errors import BusyError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Other, locked, names
from tools._python.faults.broken_files import make_base
from tools._python.faults.system_calls import Guard, Operation, watched
from tools._python.faults.work import make_old, picture_of

NO_DESCRIPTORS = """
import os, resource, sys
from cwstore.errors import StorageError
from cwstore.store import Store

with Store.open(sys.argv[1]) as store:
    store.initiatives.create(name="before")
    store.check()  # Python loads what it takes
    store.backup(sys.argv[1] + ".first")
    free = os.dup(0)
    os.close(free)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    for call in (store.check, lambda: store.backup(sys.argv[1] + ".bak")):
        try:
            call()
        except StorageError as error:
            print("open files" in str(error))
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    store.backup(sys.argv[1] + ".bak")
    print(len(store.initiatives.find_all()))
"""


def test_a_process_without_descriptors_is_told_so_and_goes_on_when_it_has_some(file: Path) -> None:
    with Other(NO_DESCRIPTORS, file) as other:
        assert other.end() == ["True", "True", "1"]


class FullForTheLog(Guard):
    """The backup fits on the disk, what the migrations write does not."""

    def before(self, operation: Operation) -> int:
        is_log = operation.kind == "write" and operation.path.endswith("store.db-wal")
        return errno.ENOSPC if is_log else 0


def test_a_disk_that_is_full_in_the_midst_of_a_migration_leaves_file_and_backup(
    place: Path,
) -> None:
    file = place / "store.db"
    make_old(file, 11)
    before = picture_of(file)
    with watched(str(place), FullForTheLog()), pytest.raises(StorageError, match="disk is full"):
        cwstore.migrate(file)
    assert picture_of(file) == before
    assert picture_of(place / "store.db.v11.bak") == before
    assert cwstore.migrate(file).version_before == 11


@pytest.mark.parametrize("version", [0, 11])
def test_a_migration_needs_no_directory_for_temporary_files(
    version: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(place / "store.db", version)
    for variable in ("SQLITE_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(place / "nowhere"))
    cwstore.migrate(place / "store.db")
    with Store.open(place / "store.db") as store:
        assert store.check().ok


def test_side_files_that_a_killed_process_left_are_no_damage(place: Path) -> None:
    file = make_base(place, with_log=True)
    for ending, data in (("-shm", os.urandom(32_768)), ("-turn", os.urandom(48))):
        (place / f"store.db{ending}").write_bytes(data)
    with Store.open(file) as store:
        assert names(store)[-3:] == ["logged"] * 3
        assert store.check().ok


def test_a_backup_of_a_store_at_work_takes_no_side_file_from_it(store: Store, file: Path) -> None:
    store.initiatives.create(name="before")
    there = {one.name for one in file.parent.iterdir()}
    store.backup(file.with_name("copy"))
    assert {one.name for one in file.parent.iterdir()} == there | {"copy"}
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]


def test_a_process_that_is_stopped_in_a_transaction_holds_up_writers_and_nobody_else(
    file: Path, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=0.1) as store:
        store.initiatives.create(name="before")
        with locked(file) as other:
            os.kill(other.process.pid, signal.SIGSTOP)
            with pytest.raises(BusyError) as refused:
                store.initiatives.create(name="late")
            assert f"process {other.process.pid}" in str(refused.value.holder)
            assert names(store) == ["before"]
            assert store.check().ok
            store.backup(file.with_name("copy"))
            os.kill(other.process.pid, signal.SIGCONT)
            other.tell()
            other.end()
        store.initiatives.create(name="after")
        assert names(store) == ["before", "after"]
