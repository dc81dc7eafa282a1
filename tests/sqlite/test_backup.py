"""Copies of a database in use: whole, checked, private, or not there at all."""

import os
from pathlib import Path
from typing import Any, cast

import pytest

from cwstore._sqlite import backup as _backup
from cwstore._sqlite import drafts
from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.backup import Backup, keep_newest, write_backup
from cwstore._sqlite.connection import connect
from cwstore._sqlite.drafts import draft_beside
from cwstore.core.watching import watched_by
from cwstore.errors import CorruptDatabaseError, InvalidValueError, MigrationError, StorageError
from cwstore.migrations.api import migrate
from tests.kits.engine import assert_ours_alone, in_child
from tests.kits.migrations import names_in, run

ROWS = 20_000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A file with enough rows for a copy of several steps."""
    directory = tmp_path / "sql"
    directory.mkdir()
    (directory / "0001_rows.sql").write_text(
        "CREATE TABLE parents (id INTEGER PRIMARY KEY);"
        "CREATE TABLE rows (id INTEGER PRIMARY KEY, note TEXT, parent REFERENCES parents);"
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)"
        "INSERT INTO rows SELECT i, 'some text to fill the page with ' || i, NULL FROM n;"
    )
    file = tmp_path / "store.db"
    migrate(file, directory=directory)
    return file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "copy.db"


def pending(store: Path, text: str = "SELECT 1;") -> Path:
    """Another migration in the directory; returns the directory."""
    directory = store.with_name("sql")
    (directory / f"{len(names_in(directory)) + 1:04}_more.sql").write_text(text)
    return directory


def test_a_backup_is_the_same_database_and_private(store: Path, target: Path) -> None:
    run(store, "INSERT INTO rows (parent) VALUES (7), (8)")
    assert write_backup(str(store), target, busy_timeout=1) == Backup(
        str(target), target.stat().st_size
    )
    assert target.stat().st_mode & 0o777 == 0o600
    assert names_in(target.parent) == ["copy.db"]
    query = "SELECT * FROM rows"
    assert run(target, query) == run(store, query)
    assert migrate(target, directory=store.with_name("sql")).applied == ()


def test_what_others_write_meanwhile_neither_enters_nor_restarts_the_copy(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_backup, "_PAGES", 10)
    writer = connect(str(store), busy_timeout=1)
    steps = 0

    class Interleaved:
        """A connection whose copies are written to between any two steps."""

        def __init__(self, connection: Connection) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def backup(self, *arguments: Any) -> Any:
            pages = cast("Any", self._connection).backup(*arguments)
            step = pages.step

            class Pages:
                page_count = remaining = 1

                def __enter__(self) -> Any:
                    pages.__enter__()
                    return self

                def __exit__(self, *details: Any) -> Any:
                    return pages.__exit__(*details)

                def step(self, count: int) -> bool:
                    nonlocal steps
                    steps += 1
                    writer.execute("UPDATE rows SET note = note || '!' WHERE id = 1").fetchall()
                    return step(count)

            return Pages()

    def interleaved(file: str) -> Any:
        return Interleaved(open_connection(file))

    monkeypatch.setattr(_backup, "open_connection", interleaved)
    write_backup(str(store), target, busy_timeout=1)
    writer.close()
    assert 10 < steps < store.stat().st_size // 4096 // 5
    assert run(target, "SELECT count(*) FROM rows") == [(ROWS,)]
    assert "!" not in run(target, "SELECT note FROM rows WHERE id = 1")[0][0]


def test_the_copy_is_on_disk_before_it_has_its_name_and_then_the_name(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, link = os.fsync, os.link

    def note(descriptor: int) -> None:
        done.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    def name(old: str, new: str) -> None:
        done.append("named")
        link(old, new)

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(os, "link", name)
    write_backup(str(store), target, busy_timeout=1)
    copy, named, directory = done
    assert (Path(copy).name, named, directory) == ("d", "named", str(target.parent))


def test_a_connection_can_be_the_source(target: Path) -> None:
    memory = connect(":memory:", busy_timeout=1)
    memory.execute("CREATE TABLE a (b)").fetchall()
    write_backup(memory, target, busy_timeout=1)
    assert not memory.in_transaction
    assert run(target, "SELECT * FROM a") == []


def test_inside_a_transaction_a_connection_copies_what_it_sees(target: Path) -> None:
    memory = connect(":memory:", busy_timeout=1)
    memory.execute("CREATE TABLE a (b)").fetchall()
    memory.execute("BEGIN").fetchall()
    write_backup(memory, target, busy_timeout=1)
    assert memory.in_transaction


def test_ctrl_c_gets_through_while_a_copy_is_verified(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: float, of: float, note: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_backup, "_OPERATIONS", 10)
    before = names_in(target.parent)
    with watched_by(interrupt), pytest.raises(KeyboardInterrupt):
        write_backup(str(store), target, busy_timeout=1)
    assert names_in(target.parent) == before


def test_a_copy_says_how_far_it_is(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = store.stat().st_size // 4096
    monkeypatch.setattr(_backup, "_PAGES", pages // 2)
    monkeypatch.setattr(_backup, "_OPERATIONS", 100_000_000)
    told: list[tuple[float, float, str]] = []
    with watched_by(lambda *step: told.append(step)):
        write_backup(str(store), target, busy_timeout=1)
    assert told == [(done, pages, "copying") for done in (pages // 2, pages // 2 * 2)]


def test_a_file_that_exists_is_not_overwritten(store: Path, target: Path) -> None:
    target.write_text("precious")
    for taken in (target, store):
        with pytest.raises(StorageError, match=f"{taken} exists; choose another name"):
            write_backup(str(store), taken, busy_timeout=1)
    assert target.read_text() == "precious"
    assert names_in(target.parent) == ["copy.db"]


def test_a_file_that_appears_during_the_copy_is_not_overwritten(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_away(path: str) -> bool:
        return False

    target.write_text("precious")
    monkeypatch.setattr(os.path, "lexists", look_away)
    with pytest.raises(StorageError, match="exists"):
        write_backup(str(store), target, busy_timeout=1)
    assert target.read_text() == "precious"
    assert names_in(target.parent) == ["copy.db"]


def test_a_file_is_replaced_on_request(store: Path, target: Path) -> None:
    target.write_text("old")
    write_backup(str(store), target, busy_timeout=1, replace=True)
    assert run(target, "SELECT count(*) FROM rows") == [(ROWS,)]
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_link_is_replaced_and_not_followed(store: Path, target: Path) -> None:
    precious = target.with_name("precious")
    precious.write_text("precious")
    target.symlink_to(precious)
    write_backup(str(store), target, busy_timeout=1, replace=True)
    assert (target.is_symlink(), precious.read_text()) == (False, "precious")
    assert run(target, "SELECT count(*) FROM rows") == [(ROWS,)]
    assert names_in(target.parent) == ["copy.db", "precious"]


def test_a_file_is_replaced_where_the_process_stands(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target.parent)
    target.write_text("old")
    made = write_backup(str(store), target.name, busy_timeout=1, replace=True)
    assert made == Backup(str(target), target.stat().st_size)


def test_a_target_that_cannot_be_written_is_refused(store: Path, target: Path) -> None:
    nowhere = target.parent / "no" / "where.db"
    with pytest.raises(StorageError) as refused:
        write_backup(str(store), nowhere, busy_timeout=1)
    assert str(refused.value) == (
        f"cannot write the backup {nowhere}: No such file or directory; choose a directory that"
        " this user may write to, with room for a copy"
    )
    with pytest.raises(InvalidValueError, match="path: a backup needs a file"):
        write_backup(str(store), ":memory:", busy_timeout=1)
    with pytest.raises(StorageError, match=r"cannot write the backup .*irectory"):
        write_backup(str(store), target.parent, busy_timeout=1, replace=True)
    assert names_in(target.parent) == []


def test_a_damaged_source_gives_no_backup(store: Path, target: Path) -> None:
    run(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    pages = bytearray(store.read_bytes())
    pages[-4096:-4000] = b"\xff" * 96
    store.write_bytes(pages)
    with pytest.raises(
        CorruptDatabaseError,
        match=(
            rf"(?s)was not kept, its source is damaged: .*; run `cwstore check {store}`; if it"
            rf" finds damage, `cwstore restore BACKUP {store}`; if it finds none, check the disk$"
        ),
    ):
        write_backup(str(store), target, busy_timeout=1)
    assert names_in(target.parent) == []


def test_an_error_of_the_disk_gives_no_backup(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: str) -> Connection:
        connection = open_connection(file)
        connection.pragma("max_page_count", 20)
        return connection

    def absent(file: str) -> Connection:
        return open_connection(file + "/x")

    monkeypatch.setattr(_backup, "open_connection", full)
    with pytest.raises(StorageError, match=r"writing the backup .*: the disk is full") as raised:
        write_backup(str(store), target, busy_timeout=1)
    assert_ours_alone(raised.value)
    monkeypatch.setattr(_backup, "open_connection", absent)
    with pytest.raises(StorageError, match="cannot be opened") as raised:
        write_backup(str(store), target, busy_timeout=1)
    assert_ours_alone(raised.value)
    assert names_in(target.parent) == []


# Before a migration


def test_a_file_with_a_version_is_copied_before_it_is_migrated(store: Path) -> None:
    before = run(store, "SELECT * FROM rows")
    report = migrate(store, directory=pending(store, "-- deletes: rows\nDELETE FROM rows;"))
    backup = store.with_name("store.db.v1.bak")
    assert report.backup == str(backup)
    assert backup.stat().st_mode & 0o777 == 0o600
    assert run(backup, "SELECT * FROM rows") == before
    assert run(backup, "PRAGMA user_version") == [(1,)]
    assert run(store, "SELECT * FROM rows") == []


def test_no_backup_is_made_when_none_is_wanted_or_needed(store: Path) -> None:
    directory = store.with_name("sql")
    assert migrate(store, directory=directory).backup is None
    assert migrate(store, directory=pending(store), backup=False).backup is None
    assert names_in(store.parent) == ["sql", "store.db"]


def test_one_run_makes_one_backup(store: Path) -> None:
    pending(store)
    assert migrate(store, directory=pending(store)).backup == f"{store}.v1.bak"
    assert [path.name for path in store.parent.glob("*.bak")] == ["store.db.v1.bak"]


def test_the_newest_three_backups_are_kept(store: Path) -> None:
    strangers = ("store.db.v1.bak.txt", "store.db.vx.bak", "other.db.v1.bak", ".store.db.vx.tmp")
    for name in strangers:
        store.with_name(name).touch()
    for _ in range(5):
        migrate(store, directory=pending(store))
    kept = {path.name for path in store.parent.iterdir()} - {"sql", "store.db", *strangers}
    assert kept == {f"store.db.v{version}.bak" for version in (3, 4, 5)}


def test_backups_of_a_sibling_and_what_a_user_is_just_copying_are_left_alone(store: Path) -> None:
    """The sibling's name is a dot and ours; the copy has the name of a backup of ours."""
    others = [f".store.db.v{version}.bak" for version in range(1, 6)]
    others += [".store.db.v9.bak.A_b-9.tmp", "store.db.v9.bak-wal"]
    for name in others:
        store.with_name(name).write_text(name)
    with draft_beside(str(store.with_name("store.db.v9.bak"))) as draft:
        Path(draft).write_text("half a copy")
        for _ in range(5):
            migrate(store, directory=pending(store))
        assert Path(draft).read_text() == "half a copy"
    assert [store.with_name(name).read_text() for name in others] == others


def test_of_a_name_with_signs_of_a_pattern_just_the_own_backups_are_pruned(store: Path) -> None:
    file = store.rename(store.with_name("a+(b).db"))
    others = [f"{name}.v1.bak" for name in ("aab.db", "ab.db", "a+(b)_db")]
    for name in others:
        file.with_name(name).write_text(name)
    for _ in range(5):
        migrate(file, directory=pending(file))
    assert [file.with_name(name).read_text() for name in others] == others
    assert len(list(file.parent.glob("a+(b).db.v*.bak"))) == 3


def test_what_killed_processes_were_copying_goes_when_the_next_copy_is_made(
    store: Path, target: Path
) -> None:
    def die() -> str:
        with draft_beside(str(target)) as draft:
            for part in ("", "-wal", "-shm", "-journal"):
                Path(f"{draft}{part}").touch()
            os._exit(0)

    in_child(die)()
    assert len(list(target.parent.iterdir())) == 1
    strange = target.with_name(".cwstore-x.tmp")
    strange.mkdir()
    (strange / "precious").touch()
    target.with_name(".cwstore-y.tmp").touch()
    write_backup(str(store), target, busy_timeout=1)
    assert names_in(target.parent) == [".cwstore-x.tmp", ".cwstore-y.tmp", "copy.db"]
    assert names_in(strange) == ["precious"]


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked", "just then"])
def test_a_draft_that_another_process_takes_for_a_dead_one_is_made_anew(
    store: Path, target: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    make = os.mkdir
    lock = drafts.flock

    def and_remove(directory: str, mode: int) -> None:
        make(directory, mode)
        monkeypatch.undo()
        Path(directory).rmdir()

    def remove_and_lock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        (directory,) = target.parent.iterdir()
        directory.rmdir()
        lock(descriptor, operation)

    def taken(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        raise BlockingIOError

    if when == "before it is opened":
        monkeypatch.setattr(os, "mkdir", and_remove)
    else:
        meanwhile = taken if when == "just then" else remove_and_lock
        monkeypatch.setattr(drafts, "flock", meanwhile)
    write_backup(str(store), target, busy_timeout=1)
    assert "copy.db" in names_in(target.parent)


def test_the_backup_of_this_run_is_kept_whatever_time_the_others_show(store: Path) -> None:
    later = store.stat().st_mtime + 3600
    for version in (7, 8, 9):
        other = store.with_name(f"store.db.v{version}.bak")
        other.touch()
        os.utime(other, (later + version, later + version))
    migrate(store, directory=pending(store))
    kept = {path.name for path in store.parent.glob("*.bak")}
    assert kept == {f"store.db.v{version}.bak" for version in (1, 8, 9)}


def test_what_only_has_the_name_of_a_backup_is_left_alone(store: Path) -> None:
    precious = store.with_name("precious")
    precious.write_text("precious")
    for name in ("store.db.v7.bak", ".store.db.v7.bak.abc.tmp"):
        store.with_name(name).mkdir()
    for name in ("store.db.v8.bak", ".store.db.v8.bak.abc.tmp"):
        store.with_name(name).symlink_to(precious)
    for link in ("store.db.v2.bak", "store.db.v9.bak"):
        store.with_name(link).symlink_to("nowhere")
    before = set(names_in(store.parent))
    for _ in range(4):
        migrate(store, directory=pending(store))
    assert set(names_in(store.parent)) - before == {"store.db.v3.bak", "store.db.v4.bak"}
    assert before <= set(names_in(store.parent))
    assert not store.with_name("store.db.v2.bak").is_symlink()
    assert precious.read_text() == "precious"


def test_an_old_backup_that_cannot_be_removed_refuses_the_migration(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def keep(path: str) -> None:
        if path.endswith(".v1.bak"):
            raise PermissionError(13, "Permission denied")
        unlink(path)

    monkeypatch.setattr(os, "unlink", keep)
    for _ in range(3):
        migrate(store, directory=pending(store))
    with pytest.raises(StorageError) as refusal:
        migrate(store, directory=pending(store))
    assert str(refusal.value) == (
        f"cannot remove an old backup beside {store}: Permission denied; nothing was migrated: mend"
        " that, or do without a backup (backup=False, on the command line --no-backup)"
    )
    assert run(store, "PRAGMA user_version") == [(4,)]


def test_the_backup_just_made_is_kept_whatever_its_time(tmp_path: Path) -> None:
    for version in range(1, 6):
        backup = tmp_path / f"a.db.v{version}.bak"
        backup.touch()
        os.utime(backup, ns=(0, version))
    keep_newest(str(tmp_path / "a.db"), str(tmp_path / "a.db.v1.bak"))
    assert names_in(tmp_path) == ["a.db.v1.bak", "a.db.v4.bak", "a.db.v5.bak"]


def test_a_backup_that_cannot_be_written_refuses_the_migration(store: Path) -> None:
    directory = pending(store)
    store.with_name("store.db.v1.bak").mkdir()
    with pytest.raises(StorageError) as refusal:
        migrate(store, directory=directory)
    assert "nothing was migrated: mend that, or do without a backup" in str(refusal.value)
    assert run(store, "PRAGMA user_version") == [(1,)]
    assert names_in(store.parent) == ["sql", "store.db", "store.db.v1.bak"]
    assert migrate(store, directory=directory, backup=False).version == 2


def test_a_backup_stays_when_the_migration_fails_and_is_made_anew(store: Path) -> None:
    directory = pending(store, "nonsense;")
    with pytest.raises(MigrationError):
        migrate(store, directory=directory)
    run(store, "DELETE FROM rows")
    (directory / "0002_more.sql").write_text("SELECT 1;")
    assert migrate(store, directory=directory).version == 2
    assert run(store.with_name("store.db.v1.bak"), "SELECT count(*) FROM rows") == [(0,)]


def test_a_damaged_file_is_not_migrated(store: Path) -> None:
    directory = pending(store)
    pages = bytearray(store.read_bytes())
    pages[-4096:-4000] = b"\xff" * 96
    store.write_bytes(pages)
    with pytest.raises(CorruptDatabaseError, match="its source is damaged"):
        migrate(store, directory=directory)
    assert run(store, "PRAGMA user_version") == [(1,)]
