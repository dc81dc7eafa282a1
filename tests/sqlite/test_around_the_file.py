"""Small things around the file that a careless change would break unnoticed."""

import os
import time
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

import pytest

from cwstore._sqlite import side_files
from cwstore._sqlite.schema import lock
from cwstore.cli import main
from cwstore.migrations.api import migrate
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.migrations import run


@pytest.mark.parametrize("name", ["a.b.db", "a+b.db", "a(b.db", "a[b].db"])
def test_old_backups_are_found_whatever_signs_the_name_has(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    others = [tmp_path / f"{other}.v1.bak" for other in ("aXb.db", "aab.db", "ab.db")]
    for other in others:
        other.write_bytes(b"")
    for version in range(1, 6):
        backup = Path(f"{file}.v{version}.bak")
        backup.write_bytes(b"")
        os.utime(backup, (version, version))
    migrate(file, target=9)
    Store.open(file).close()
    left = sorted(path.name for path in tmp_path.glob("*.bak") if path not in others)
    assert left == [f"{name}.v{version}.bak" for version in (4, 5, 9)]
    assert all(other.exists() for other in others)


def test_a_copy_is_on_disk_before_it_has_its_name_and_the_name_before_it_is_reported(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = file.with_name("copy")
    done: list[tuple[str, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(("directory" if path.is_dir() else "copy", copy.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    store.backup(copy)
    assert done == [("copy", False), ("directory", True)]


def test_a_queue_that_is_a_link_is_not_followed(store: Store, file: Path) -> None:
    victim = file.with_name("victim")
    victim.write_bytes(b"")
    Path(f"{file}-turn").symlink_to(victim)
    store.tasks.create(name="a")
    assert victim.read_bytes() == b""


@pytest.mark.parametrize("size", [1, 8, 31])
def test_a_queue_that_was_cut_short_is_filled_up_again(store: Store, file: Path, size: int) -> None:
    queue = Path(f"{file}-turn")
    queue.write_bytes(bytes(size))
    store.tasks.create(name="a")  # touching what is not there would kill the process
    assert queue.stat().st_size >= 32
    assert engine_of(store)._writer.queue is not None


def test_the_name_of_a_backup_has_the_time_in_utc(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC-9")
    time.tzset()
    try:
        before = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        assert main(["backup", str(file)]) == 0
        after = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    finally:
        monkeypatch.undo()
        time.tzset()
    (made,) = file.parent.glob("store.db.*.bak")
    assert before <= made.name.split(".")[2] <= after


def test_rows_are_counted_exactly_whatever_form_their_table_has(file: Path) -> None:
    with Store.open(file) as store:
        task = store.tasks.create(name="tried again and again")
    run(
        file,
        "INSERT INTO task_attempts (id, task_id, number, outcome, ended_at, created_at, updated_at)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500)"
        f" SELECT i, '{task.id}', i, 'released', 1, 1, 1 FROM n",
    )
    with Store.open(file) as store:
        tables = {table.name: table.rows for table in store.stats().tables}
    assert (tables["task_attempts"], tables["tasks"]) == (500, 1)
    assert tables == {name: run(file, f"SELECT count(*) FROM {name}")[0][0] for name in tables}


def test_free_and_pending_bytes_are_counted_exactly(file: Path) -> None:
    with Store.open(file) as store:
        store.log_chunks.insert_chunks(("agent", "a", 1, "x" * 3_000) for _ in range(20))
        store.log_chunks.delete_by_agent_id("agent")
    with Store.open(file) as store:
        store.initiatives.create(name="in the log")
        stats = store.stats()
        ((free,),) = run(file, "PRAGMA freelist_count")
        size = Path(f"{file}-wal").stat().st_size
    assert free > 0
    assert stats.free_bytes == free * 4096
    assert stats.wal_pending_bytes == size - 32  # all but the head of the log


def test_the_lock_of_a_migration_is_held_until_its_file_has_no_name(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever waits could lock a file that is then removed, and another makes a new one."""
    removed: list[str] = []

    def remove(path: str) -> None:
        with Path(path).open("rb") as again, pytest.raises(BlockingIOError):
            flock(again, LOCK_EX | LOCK_NB)
        removed.append(path)

    monkeypatch.setattr(lock, "remove", remove)
    with lock.migration_lock(str(file)):
        pass
    assert removed == [f"{file}.migrating"]


def test_a_side_file_is_its_owners_alone_before_it_is_shared_whatever_the_umask(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_files, "_share_as", lambda *_: None)  # as where a process dies then
    before = os.umask(0)
    try:
        os.close(side_files.open_side_file(f"{file}-turn", str(file)))
    finally:
        os.umask(before)
    assert Path(f"{file}-turn").stat().st_mode & 0o777 == 0o600
