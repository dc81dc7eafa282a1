"""Files that are removed, replaced or given a second name underneath, and logs of other files."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from cwstore import restore
from cwstore._sqlite import (
    file_names,
    read_only,
    reader_pool,
)
from cwstore._sqlite.identity import _NOTE
from cwstore.errors import StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of, run_raw
from tests.kits.disk import remove, replace
from tests.kits.engine import in_child, names
from tests.kits.migrations import names_in

_left_open: list[Store] = []


def write_and_be_killed(file: Path, *made: str) -> None:
    """As a process does that ends without closing anything."""

    def work() -> str:
        store = Store.open(file)
        _left_open.append(store)
        for name in made:
            store.initiatives.create(name=name)
        return "written"

    assert in_child(work)() == "written"


# Under an open store


def rename(file: Path) -> None:
    file.rename(file.with_name("other.db"))


def move_the_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))
    file.parent.mkdir()


def move_all(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (move_all, "store.db was removed or renamed while this store had it open"),
        (remove, "store.db was removed or renamed while this store had it open"),
        (rename, "store.db was removed or renamed while this store had it open"),
        (replace, "store.db was replaced by another file while this store had it open"),
        (move_the_directory, "store.db was removed or renamed while this store had it open"),
    ],
)
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "just changed"])
def test_nothing_is_acknowledged_into_a_file_that_lost_its_name(
    tmp_path: Path,
    migrated: Path,
    monkeypatch: pytest.MonkeyPatch,
    happen: Callable[[Path], None],
    said: str,
    *,
    settled: bool,
) -> None:
    file = tmp_path / "place" / "store.db"
    file.parent.mkdir()
    shutil.copyfile(migrated, file)
    if settled:
        monkeypatch.setattr(file_names, "_SETTLED", 0)
    with Store.open(file) as store:
        made = store.initiatives.create(name="acknowledged")
        store.initiatives.update(made.id, name="there")
        assert names(store) == ["there"]
        happen(file)
        writes: list[Callable[[], object]] = [
            lambda: store.initiatives.create(name="lost"),
            lambda: store.initiatives.update(made.id, name="lost"),
            lambda: store.initiatives.delete(made.id),
            lambda: store.log_chunks.insert_chunks([("a", "a", 1, "lost")]),
        ]
        for act in writes:
            with pytest.raises(StorageError, match=said):
                act()
        with pytest.raises(StorageError, match=said), store.transaction():
            store.initiatives.create(name="lost")
        store.backup(tmp_path / "rescued.db")
        assert names(store) == ["there"]
    with Store.open(tmp_path / "rescued.db") as rescued:
        assert names(rescued) == ["there"]
        assert rescued.check().ok


def test_a_probe_raises_nothing_where_the_directory_is_gone(tmp_path: Path, migrated: Path) -> None:
    file = tmp_path / "place" / "store.db"
    file.parent.mkdir()
    shutil.copyfile(migrated, file)
    with Store.open(file) as store:
        move_all(file)
        report = store.health()
        assert report.disk_free_bytes is None
        assert report.problems[-1] == (
            f"{file}: its directory cannot be looked at; see whether it is there"
        )
        (tmp_path / "elsewhere").rename(file.parent)


@pytest.mark.parametrize("happen", [remove, replace])
def test_who_looks_for_work_in_a_file_that_lost_its_name_is_told_instead_of_finding_none_for_good(
    store: Store,
    file: Path,
    happen: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_pool, "_LOOK_INTERVAL", 0.0)
    assert store.tasks.claim_next_ready() is None
    happen(file)
    with pytest.raises(StorageError, match="while this store had it open; nothing was changed"):
        store.tasks.claim_next_ready()


@pytest.fixture
def dashboard(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that only reads, and looks each time whether its file is there."""
    monkeypatch.setattr(read_only, "_LOOK_INTERVAL", 0.0)
    store.initiatives.create(name="acknowledged")
    with Store.open(file, read_only=True) as opened:
        assert names(opened) == ["acknowledged"]
        yield opened


@pytest.mark.parametrize(("happen", "part"), [(remove, ""), (replace, ""), (replace, "-shm")])
def test_a_store_that_only_reads_does_not_show_an_old_file_for_good(
    dashboard: Store, file: Path, tmp_path: Path, happen: Callable[[Path, str], None], part: str
) -> None:
    feed = dashboard.changes()
    happen(file, part)
    told = (
        f"{file}{part} was removed or replaced while this store had it open, which reads what was"
        " there; close the store and open it anew"
    )
    for ask in (dashboard.initiatives.find_all, dashboard.data_version, dashboard.check):
        with pytest.raises(StorageError) as refused:
            ask()
        assert str(refused.value) == told
    assert dashboard.health().problems == (told,)
    assert [one.operation for one in feed.get(0)] == ["elsewhere"]  # so that whoever waits asks
    assert feed.get(0) == []
    dashboard.backup(tmp_path / "saved.db")
    with Store.open(tmp_path / "saved.db") as saved:
        assert names(saved) == ["acknowledged"]


def test_a_store_that_only_reads_takes_no_further_connection_to_another_file(
    dashboard: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = dashboard.initiatives.find_all()
    monkeypatch.setattr(read_only, "_LOOK_INTERVAL", 3600.0)
    assert names(dashboard) == ["acknowledged"]  # the last look for an hour
    replace(file)
    with pytest.raises(StorageError, match=f"{file} was removed or replaced"):
        list(dashboard.export_initiative(made.id))


def test_a_file_that_is_overwritten_with_a_backup_takes_nothing_of_the_log(
    store: Store, file: Path, tmp_path: Path
) -> None:
    """As `cp store.bak store.db` does beside a running service."""
    store.initiatives.create(name="of old")
    store.backup(tmp_path / "store.bak")
    for number in range(50):
        store.tasks.create(name=f"{number}", description="x" * 4000)
    store.compact()
    shutil.copyfile(tmp_path / "store.bak", file)
    said = f"^{file} was overwritten with another file while this store had it open"

    def write() -> None:
        for number in range(5):
            store.initiatives.create(name=f"just then {number}")

    with pytest.raises(StorageError, match=said):
        write()
    assert re.match(said, store.health().problems[0])
    store.close()
    with pytest.raises(StorageError, match="is not the log of"):
        Store.open(file)
    restore(tmp_path / "store.bak", file)
    with Store.open(file) as again:
        assert names(again) == ["of old"]
        assert again.check().ok


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_no_new_reader_mixes_another_file_with_the_one_that_is_open(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store.initiatives.create(name="acknowledged")
    if when == "before":
        replace(file)
    else:
        replace_during_access(file, monkeypatch)
    with pytest.raises(StorageError, match="was replaced"):
        names(store)


def replace_during_access(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, just before the file is looked at to be opened."""
    stat = os.stat
    looks = 0

    def late(path: str, **options: object) -> os.stat_result:
        nonlocal looks
        looks += path == str(file)
        if looks == 2:
            monkeypatch.undo()
            replace(file)
        return stat(path)

    monkeypatch.setattr(os, "stat", late)


def test_a_writer_that_is_connected_anew_meets_the_other_file(store: Store, file: Path) -> None:
    store.initiatives.create(name="acknowledged")
    engine_of(store)._writer.drop()
    replace(file)
    with pytest.raises(StorageError, match="was replaced by another file"):
        store.initiatives.create(name="lost")


def test_a_file_that_is_replaced_just_when_it_is_opened_is_not_taken(
    file: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(migrated, file)
    access = os.access

    def late(path: str, mode: int, **_: bool) -> bool:
        monkeypatch.undo()
        replace(file)
        return access(path, mode)

    monkeypatch.setattr(os, "access", late)
    with pytest.raises(StorageError, match="was replaced just when it was opened; open it again"):
        Store.open(file)


def test_a_hard_link_made_meanwhile_stops_nobody_who_has_the_file_open(
    store: Store, file: Path, tmp_path: Path, open_store: OpenStore
) -> None:
    store.initiatives.create(name="before")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "store.db").hardlink_to(file)
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]
    assert store.check().ok
    assert store.stats().file_bytes > 0
    store.backup(tmp_path / "copy.db")
    with pytest.raises(StorageError, match="has 2 hard links"):
        open_store()


# Logs


@pytest.fixture
def backup(file: Path, tmp_path: Path, migrated: Path) -> Path:
    """A copy that cwstore made of `file`, before a process was killed on that."""
    shutil.copyfile(migrated, file)
    (tmp_path / "backups").mkdir()
    made = tmp_path / "backups" / "copy.db"
    with Store.open(file) as store:
        store.initiatives.create(name="first")
        store.backup(made)
    write_and_be_killed(file, "second")
    return made


def test_the_log_of_another_file_is_not_applied(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    shutil.copyfile(backup, file)
    log = file.with_name("store.db-wal").read_bytes()
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            open_store()
        assert str(caught.value) == (
            f"{file}-wal is not the log of {file}, but of another file that was in its place: to"
            " apply it would mix two databases; nothing was changed. If the file is a copy that was"
            f" put there, use `cwstore restore COPY {file}`, which keeps file and log under another"
            " name; or put the old file back beside its log. If both were brought here together,"
            f" remove {file}-turn"
        )
    assert file.read_bytes() == backup.read_bytes()
    assert file.with_name("store.db-wal").read_bytes() == log


def test_a_file_and_its_log_go_on_together_wherever_they_are_moved(
    file: Path, backup: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for part in ("", "-wal", "-shm", "-turn"):
        shutil.copyfile(f"{file}{part}", tmp_path / "elsewhere" / f"moved.db{part}")
    with Store.open(tmp_path / "elsewhere" / "moved.db") as store:
        assert names(store) == ["first", "second"]
        store.initiatives.create(name="third")
    assert names_in(tmp_path / "elsewhere") == ["moved.db"]


def test_without_the_log_the_copy_is_opened_and_its_own_log_is_its_own(
    file: Path, backup: Path
) -> None:
    shutil.copyfile(backup, file)
    file.with_name("store.db-wal").unlink()
    write_and_be_killed(file, "of the copy")
    with Store.open(file) as store:
        assert names(store) == ["first", "of the copy"]


def test_nobody_knows_whose_a_log_is_beside_which_there_is_no_note(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    """As version 0.1.0 left it: no refusal of what may be right."""
    with file.with_name("store.db-turn").open("r+b") as turn:
        turn.truncate(40)
    with open_store() as store:
        assert names(store) == ["first", "second"]


def link_to_note(turn: Path) -> None:
    note = turn.with_name("note")
    note.write_bytes(bytes(_NOTE) + (1).to_bytes(8, "little"))  # of another file
    turn.symlink_to(note)


@pytest.mark.parametrize("make", [os.mkfifo, link_to_note])
def test_a_note_in_a_thing_of_another_kind_tells_nothing(
    make: Callable[[Path], None], file: Path
) -> None:
    write_and_be_killed(file, "first")
    turn = file.with_name("store.db-turn")
    turn.unlink()
    make(turn)
    with Store.open(file, read_only=True) as store:
        assert names(store) == ["first"]


@pytest.mark.parametrize(
    ("noted", "told"),
    [(1, True), (1 << 32, True), (0, False), ((1 << 32) + 1, False), ((1 << 64) - 1, False)],
)
def test_a_note_that_holds_no_number_of_a_file_tells_nothing(
    file: Path, noted: int, told: bool
) -> None:
    """A number has 32 bits, and is noted plus one."""
    write_and_be_killed(file, "first")
    with file.with_name("store.db-turn").open("r+b") as turn:
        turn.seek(_NOTE)
        turn.write(noted.to_bytes(8, "little"))
    if told:
        with pytest.raises(StorageError, match="is not the log of"):
            Store.open(file)
    else:
        with Store.open(file) as store:
            assert names(store) == ["first"]


def test_a_second_store_of_the_process_meets_the_copy_as_well(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        store.initiatives.create(name="third")
        file.unlink()
        shutil.copyfile(backup, file)
        with pytest.raises(StorageError, match="is not the log of"):
            open_store()


def test_each_copy_and_each_new_file_is_a_file_of_its_own(tmp_path: Path, backup: Path) -> None:
    numbers: set[int] = set()
    with Store.open(backup) as store:
        for name in ("a", "b"):
            store.backup(tmp_path / name)
            Store.open(tmp_path / f"new {name}").close()
    for path in (backup, tmp_path / "a", tmp_path / "b", tmp_path / "new a", tmp_path / "new b"):
        connection = apsw.Connection(str(path))
        numbers.add(connection.pragma("schema_version"))
        connection.close()
    assert len(numbers) == 5


def test_a_schema_that_changes_much_stays_the_same_file(file: Path, migrated: Path) -> None:
    shutil.copyfile(migrated, file)
    write_and_be_killed(file, "first")
    texts = ["CREATE TABLE x (y)", "DROP TABLE x"] * 200
    run_raw(file, *texts)
    write_and_be_killed(file, "second")
    with Store.open(file) as store:
        assert names(store) == ["first", "second"]


def test_a_file_that_goes_within_a_tick_of_the_clock_of_its_directory_is_noticed(
    file: Path,
) -> None:
    """A file system counts time in steps of some ms: two changes may leave one time."""
    tick = time.time_ns() + 10_000_000_000
    with Store.open(file) as store:
        store.initiatives.create(name="first")
        os.utime(file.parent, ns=(tick, tick))
        store.initiatives.create(name="second")
        file.rename(file.with_name("away.db"))
        os.utime(file.parent, ns=(tick, tick))
        with pytest.raises(StorageError, match="was removed or renamed"):
            store.initiatives.create(name="third")


# The queue of the writers


def test_the_note_stays_as_long_as_a_log_lies_there(file: Path, tmp_path: Path) -> None:
    with Store.open(file, checkpoints="external") as store:
        store.initiatives.create(name="first")
        store.backup(tmp_path / "copy")
        store.initiatives.create(name="in the log")
    assert Path(f"{file}-wal").stat().st_size > 0
    shutil.copyfile(tmp_path / "copy", file)
    with pytest.raises(StorageError, match="is not the log of"):
        Store.open(file)


def test_who_closes_removes_no_queue_but_its_own(file: Path) -> None:
    queue = Path(f"{file}-turn")
    with Store.open(file) as other, Store.open(file) as store:
        store.initiatives.create(name="first")
        store.compact()  # no log is left that would keep it
        queue.unlink()
        feed = other.changes()
        store.close()
        assert queue.exists()
        feed.close()


def test_whose_log_it_is_lies_on_disk_before_the_log_of_another_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the note of the old file would refuse the log of the new one."""
    queue = Path(f"{file}-turn")
    with Store.open(file) as store:
        store.initiatives.create(name="old")
        store.backup(tmp_path / "copy")
        noted = queue.read_bytes()
    queue.write_bytes(noted)  # as a killed process leaves it
    shutil.copyfile(tmp_path / "copy", file)
    synced: list[Path] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with Store.open(file) as store:
        store.initiatives.create(name="new")
        assert queue in synced
        assert queue.read_bytes() != noted


@pytest.mark.parametrize("size", [0, 1, 31, 40, 100_000])
def test_a_queue_that_is_cut_kills_nobody_and_stamps_go_on_rising(
    store: Store, file: Path, size: int, open_store: OpenStore
) -> None:
    first = store.initiatives.create(name="first")
    os.truncate(f"{file}-turn", size)
    second = store.initiatives.create(name="second")
    with open_store() as other:
        third = other.initiatives.create(name="third")
    fourth = store.initiatives.create(name="fourth")
    stamps = [one.created_at for one in (first, second, third, fourth)]
    assert stamps == sorted(set(stamps))
