"""Paths that are no store: each refused with its own error and a remedy, and left as it was."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from cwstore._sqlite import busy_handler, connection, database_file
from cwstore.core.checks import check_busy_timeout
from cwstore.errors import (
    CorruptDatabaseError,
    CwstoreError,
    ForeignDatabaseError,
    InvalidValueError,
    MigrationError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.disk import (
    connections_to,
)
from tests.kits.engine import (
    Other,
    assert_ours_alone,
    locked,
    whole,
)
from tests.kits.schema import HEAD


def assert_refused(file: Path, error: type[CwstoreError], message: str) -> None:
    """Opening raises exactly that, twice, and changes not one byte of what lies there."""
    before = whole(file.parent)
    for _ in range(2):
        with pytest.raises(error, match=message) as caught:
            Store.open(file, busy_timeout=0)
        assert type(caught.value) is error
        assert str(file) in str(caught.value)
        assert_ours_alone(caught.value)
        assert whole(file.parent) == before
    assert connections_to(file) == []


def foreign(file: Path, *statements: str) -> None:
    db = apsw.Connection(str(file))
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()


# No file that could be one


def test_a_directory_is_refused(file: Path) -> None:
    file.mkdir()
    assert_refused(file, StorageError, "is a directory; give the path of a file in it")


def test_a_named_pipe_is_refused_and_not_waited_for(file: Path) -> None:
    os.mkfifo(file)
    assert_refused(file, StorageError, "is not a regular file; give the path of one")


def test_a_device_is_refused() -> None:
    with pytest.raises(StorageError, match="/dev/null is not a regular file"):
        Store.open("/dev/null")


def test_a_missing_directory_is_refused(file: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot create .*No such file.*check the directory"):
        Store.open(file.parent / "nowhere" / "store.db")
    assert list(file.parent.iterdir()) == []


def test_a_file_taken_for_a_directory_is_refused(file: Path) -> None:
    file.write_text("text")
    with pytest.raises(StorageError, match="Not a directory"):
        Store.open(file / "store.db")


def test_a_name_that_is_too_long_is_refused(file: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        Store.open(file.with_name("x" * 300))


def test_a_file_below_a_directory_whose_name_is_no_utf8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / os.fsdecode(b"\xff")
    place.mkdir()
    monkeypatch.chdir(place)
    (tmp_path / "link.db").symlink_to(place / "store.db")
    for path in ("store.db", tmp_path / "link.db"):
        with pytest.raises(InvalidValueError, match=r"path: .* written as UTF-8") as caught:
            Store.open(path)
        assert caught.value.field == "path"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("version", ["3.52.9", "3.9.0", "2.99.1"])
def test_an_sqlite_that_is_too_old_is_refused_before_a_file_is_made(
    file: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    for path in (file, ":memory:"):
        with pytest.raises(StorageError) as caught:
            Store.open(path)
        assert str(caught.value) == (
            f"apsw runs with SQLite {version}, cwstore needs 3.53 or newer: upgrade apsw, as a"
            " wheel, which brings its own SQLite"
        )
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("version", ["3.53.0", "3.100.1", "4.0"])
def test_an_sqlite_that_is_new_enough_is_used(
    monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    with Store.open(":memory:") as store:
        assert store.initiatives.find_all() == []


def test_a_dangling_link_leads_to_a_new_file_where_it_points(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.db"
    file.symlink_to(target)
    with Store.open(file) as store:
        store.initiatives.create(name="there")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["store.db", "target.db"]
    assert file.is_symlink()
    with Store.open(target) as store:
        assert [one.name for one in store.initiatives.find_all()] == ["there"]


def test_a_link_and_its_target_are_one_store(store: Store, file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(file)
    with Store.open(link) as other:
        other.initiatives.create(name="through the link")
        assert [one.name for one in store.initiatives.find_all()] == ["through the link"]
    assert not list(tmp_path.glob("link.db-*"))


def test_a_link_to_itself_is_refused(file: Path) -> None:
    file.symlink_to(file)
    with pytest.raises(StorageError, match="symbolic link"):
        Store.open(file)


def test_two_names_for_one_file_are_refused(file: Path, tmp_path: Path) -> None:
    Store.open(file).close()
    (tmp_path / "second.db").hardlink_to(file)
    assert_refused(file, StorageError, "has 2 hard links.*keep one name")


def test_names_that_a_killed_creator_left_are_cleared_away(file: Path) -> None:
    Store.open(file).close()
    file.with_name(".store.db.abc.new").hardlink_to(file)
    with Store.open(file) as store:
        assert store.version == HEAD
    assert [one.name for one in file.parent.iterdir()] == ["store.db"]


# Files that are none of ours


@pytest.mark.parametrize("size", [1, 15, 16, 100, 511])
def test_a_file_too_short_for_a_database_is_refused(file: Path, size: int) -> None:
    file.write_bytes((b"SQLite format 3\0" + bytes(600))[:size])
    assert_refused(file, ForeignDatabaseError, f"has only {size} bytes.*remove it to have a new")


def test_an_empty_file_is_refused(file: Path) -> None:
    file.touch()
    assert_refused(file, ForeignDatabaseError, "is empty.*remove it to have a new one made")


def test_an_empty_file_beside_a_log_is_refused_and_the_log_is_kept(file: Path) -> None:
    file.touch()
    file.with_name("store.db-wal").write_bytes(b"all that is left of somebody's data" * 100)
    assert_refused(file, ForeignDatabaseError, "is empty")


@pytest.mark.parametrize("content", [b"no database at all\n" * 100, bytes(8192), b"\xff" * 8192])
def test_a_file_of_something_else_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert_refused(file, ForeignDatabaseError, "give another path")


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("application_id", [0, 1, -1, 0x43575355])
def test_the_database_of_another_application_is_refused(
    file: Path, journal: str, application_id: int
) -> None:
    foreign(
        file,
        f"PRAGMA journal_mode = {journal}",
        f"PRAGMA application_id = {application_id}",
        "CREATE TABLE initiatives (id TEXT)",
    )
    assert_refused(file, ForeignDatabaseError, "another application.*give another path")


def test_our_mark_on_the_tables_of_another_application_is_refused(file: Path) -> None:
    foreign(file, f"PRAGMA application_id = {0x43575354}", "CREATE TABLE theirs (id TEXT)")
    assert_refused(
        file,
        ForeignDatabaseError,
        r"has tables \(theirs\) but no version; it was left alone: give another path$",
    )


_CRASH = """
import os, sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute(f"PRAGMA application_id = {sys.argv[3]}")
db.pragma("journal_mode", sys.argv[2])
db.pragma("cache_size", 1)
db.execute("CREATE TABLE theirs (x)")
db.execute("INSERT INTO theirs VALUES (zeroblob(100000))")
if sys.argv[2] == "delete":
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE theirs SET x = randomblob(100000)")
    db.cache_flush()
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(("journal", "log"), [("wal", "-wal"), ("delete", "-journal")])
def test_the_log_that_another_application_left_is_neither_applied_nor_removed(
    file: Path, journal: str, log: str
) -> None:
    """Any look through SQLite would apply it: recovery is for its owner to do."""
    with Other(_CRASH, file, journal, 7) as other:
        other.process.wait()
    assert file.with_name(f"store.db{log}").stat().st_size > 0
    assert_refused(file, ForeignDatabaseError, "belongs to another application")


def test_a_path_with_signs_that_mean_something_in_an_address_is_looked_at_as_it_is(
    tmp_path: Path,
) -> None:
    file = tmp_path / "a%41?b#c &=ü.db"
    with Other(_CRASH, file, "wal", 7) as other:
        other.process.wait()
    with pytest.raises(ForeignDatabaseError, match="application_id 0x00000007"):
        Store.open(file)
    ours = tmp_path / "a%41?b#c &=ü 2.db"
    with Store.open(ours) as store, Store.open(ours) as second:
        store.initiatives.create(name="there")
        assert [one.name for one in second.initiatives.find_all()] == ["there"]


@pytest.mark.parametrize("log", ["-wal", "-journal"])
def test_no_new_file_is_made_beside_the_log_of_an_old_one(file: Path, log: str) -> None:
    """SQLite would fill the new file with pieces of the old one."""
    with Other(_CRASH, file, "wal", 7) as other:
        other.process.wait()
    file.unlink()
    file.with_name("store.db-shm").unlink()
    file.with_name("store.db-wal").rename(file.with_name(f"store.db{log}"))
    assert_refused(file, StorageError, rf"is not there, but .*{log} is.*put the very file back")
    file.with_name(f"store.db{log}").unlink()
    with Store.open(file) as store:
        assert store.check().ok


def test_the_log_of_a_file_that_another_process_has_just_made_is_no_leftover(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks the file appears, and its log with it."""
    others: list[Store] = []
    look = database_file.find_leftover_log

    def made_meanwhile(path: str) -> str:
        monkeypatch.undo()
        others.append(Store.open(path))
        return look(path)

    monkeypatch.setattr(database_file, "find_leftover_log", made_meanwhile)
    with Store.open(file) as store:
        assert store.version == HEAD
    others.pop().close()


def test_an_empty_log_is_nobodys(file: Path) -> None:
    file.with_name("store.db-wal").touch()
    with Store.open(file) as store:
        assert store.check().ok


def test_opening_a_file_once_more_keeps_the_locks_of_this_process(store: Store, file: Path) -> None:
    """Its log is there, so it is looked at twice; neither look may let go of a lock."""
    with store.transaction():
        store.initiatives.create(name="mine")
        with Store.open(file) as second:
            assert second.initiatives.find_all() == []
        with Other(_TRY, file) as other:
            assert other.end() == ["busy"]
    with Other(_TRY, file) as other:
        assert other.end() == ["free"]


_TRY = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
try:
    db.execute("BEGIN IMMEDIATE")
    print("free")
except apsw.BusyError:
    print("busy")
db.close()
"""


# Files of ours that cannot be used


def test_a_file_of_a_newer_version_is_refused(file: Path) -> None:
    Store.open(file).close()
    foreign(file, f"PRAGMA user_version = {HEAD + 1}")
    assert_refused(file, SchemaTooNewError, f"has schema version {HEAD + 1}, this cwstore knows")


def test_a_newer_file_whose_writer_was_killed_keeps_its_log(file: Path) -> None:
    Store.open(file).close()
    kill = f"""
import os, sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("PRAGMA user_version = {HEAD + 1}")
os.kill(os.getpid(), 9)
"""
    with Other(kill, file) as other:
        other.process.wait()
    files = [file, file.with_name("store.db-wal")]
    before = [one.read_bytes() for one in files]
    with pytest.raises(SchemaTooNewError):
        Store.open(file)
    assert [one.read_bytes() for one in files] == before


@pytest.mark.parametrize(
    ("version", "error"), [(HEAD - 1, MigrationError), (0, MigrationError), (-5, MigrationError)]
)
def test_a_version_that_somebody_set_is_refused(
    file: Path, version: int, error: type[CwstoreError]
) -> None:
    Store.open(file).close()
    foreign(file, f"PRAGMA user_version = {version}")
    assert_refused(file, error, "user_version")


def test_a_file_cut_short_is_refused_as_damaged(file: Path) -> None:
    Store.open(file).close()
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    before = whole(file.parent)
    with pytest.raises(CorruptDatabaseError, match=r"restore a backup|cwstore check") as caught:
        Store.open(file)
    assert_ours_alone(caught.value)
    assert whole(file.parent) == before


def test_a_head_of_ours_on_a_body_of_noise_is_refused_as_damaged(file: Path) -> None:
    Store.open(file).close()
    data = file.read_bytes()
    file.write_bytes(data[:100] + b"\xa5" * (len(data) - 100))
    before = whole(file.parent)
    with pytest.raises(CorruptDatabaseError) as caught:
        Store.open(file)
    assert_ours_alone(caught.value)
    assert whole(file.parent) == before


# Many who come at once


_OPEN = """
import sys
from cwstore.store import Store
print("ready", flush=True)
sys.stdin.readline()
with Store.open(sys.argv[1], busy_timeout=60) as store:
    store.initiatives.create(name=sys.argv[2])
"""


def test_processes_that_find_no_file_make_one_between_them(file: Path) -> None:
    others = [Other(_OPEN, file, number) for number in range(3)]
    assert [one.hear() for one in others] == ["ready"] * 3
    for one in others:
        one.tell()
    for one in others:
        one.end()
    with Store.open(file) as store:
        assert sorted(one.name for one in store.initiatives.find_all()) == ["0", "1", "2"]
    assert [one.name for one in file.parent.iterdir()] == ["store.db"]


def test_a_file_that_appears_while_one_is_made_is_taken(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(file) as store:
        store.initiatives.create(name="there first")
    monkeypatch.setattr(os.path, "lexists", lambda path: False)
    with Store.open(file) as store:
        assert [one.name for one in store.initiatives.find_all()] == ["there first"]
    assert [one.name for one in file.parent.iterdir()] == ["store.db"]


def test_waiting_for_wal_is_bounded(file: Path) -> None:
    Store.open(file).close()
    foreign(file, "PRAGMA journal_mode = DELETE")
    with locked(file), pytest.raises(CwstoreError) as caught:
        Store.open(file, busy_timeout=0.01)
    assert "0.01 s" in str(caught.value)
    with Store.open(file) as store:
        assert engine_of(store)._writer.connection.pragma("journal_mode") == "wal"


def test_a_file_that_is_not_yet_in_wal_is_waited_for_while_somebody_writes_to_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    foreign(file, "PRAGMA journal_mode = DELETE")
    with locked(file) as other:

        def let_it_end(_: float) -> None:
            monkeypatch.undo()
            other.tell()
            assert other.end() == []

        own = SimpleNamespace(monotonic=time.monotonic, sleep=let_it_end)
        monkeypatch.setattr(connection, "time", own)
        with Store.open(file, busy_timeout=60) as store:
            assert engine_of(store)._writer.connection.pragma("journal_mode") == "wal"


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5])
def test_a_busy_timeout_is_a_number_of_seconds(value: float) -> None:
    assert check_busy_timeout(value) == float(value)


def test_a_busy_timeout_for_ever_is_cut_to_what_the_system_can_wait() -> None:
    for seconds in (1e300, 10**400):
        with Store.open(":memory:", busy_timeout=seconds) as store:
            assert store.initiatives.find_all() == []
    with pytest.raises(InvalidValueError):
        Store.open(":memory:", busy_timeout=float("inf"))


# Waiting


def test_who_waits_for_a_lock_looks_often_at_first_and_rarely_later_and_for_no_longer_than_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        pauses.append(seconds)

    monkeypatch.setattr(busy_handler, "time", SimpleNamespace(monotonic=lambda: now, sleep=sleep))
    wait = busy_handler.busy_handler(1.5)
    for _ in range(2):  # each lock is waited for anew
        pauses.clear()
        calls = 0
        while wait(calls):
            calls += 1
        assert pauses[:20] == [0.0001] * 20
        assert pauses[20:1000] == [0.0005] * 980
        assert pauses[-10:-1] == [0.002] * 9
        assert sum(pauses) == pytest.approx(1.5)
