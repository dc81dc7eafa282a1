"""A new file, when another process or the disk comes in between; what cannot be used after all."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore._sqlite import apsw_types, connection, fork
from cwstore.errors import ForeignDatabaseError, InvalidValueError, StorageError
from cwstore.migrations.api import rehearse
from cwstore.store import Store, restore
from tests.kits.disk import (
    faulty_disk,
)
from tests.kits.engine import (
    assert_ours_alone,
)
from tests.kits.schema import HEAD


def names_in(directory: Path) -> list[str]:
    return sorted(one.name for one in directory.iterdir())


# Another process


def test_a_file_that_another_process_makes_meanwhile_is_taken(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def slowly(draft: str, path: str) -> None:
        monkeypatch.undo()
        with Store.open(file) as other:
            other.initiatives.create(name="of the other process")
        link(draft, path)

    monkeypatch.setattr(os, "link", slowly)
    with Store.open(file) as store:
        assert [one.name for one in store.initiatives.find_all()] == ["of the other process"]
    assert names_in(tmp_path) == ["store.db"]


def test_a_draft_that_another_process_cleared_away_is_not_missed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def and_clear(draft: str, path: str) -> None:
        link(draft, path)
        Path(draft).unlink()

    monkeypatch.setattr(os, "link", and_clear)
    with Store.open(file) as store:
        assert store.version == HEAD
    assert names_in(tmp_path) == ["store.db"]


def test_a_draft_that_cannot_be_looked_at_is_not_made_again_and_again(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.stat

    def fail(path: Any, **options: Any) -> os.stat_result:
        if ".cwstore-" in str(path):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return look(path, **options)

    with Store.open(file) as store:
        monkeypatch.setattr(os, "stat", fail)
        with pytest.raises(StorageError, match=r"cannot write the backup .*Input/output error"):
            store.backup(tmp_path / "copy")
    assert names_in(tmp_path) == ["store.db"]


def test_drafts_that_go_while_they_are_looked_at_are_not_missed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    draft = tmp_path / ".store.db.ours.new"
    draft.hardlink_to(file)
    scan: Callable[[str], Iterator[os.DirEntry[str]]] = os.scandir

    def and_clear(directory: str) -> Iterator[os.DirEntry[str]]:
        entries = list(scan(directory))
        monkeypatch.undo()
        draft.unlink()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", and_clear)
    with Store.open(file) as store:
        assert store.version == HEAD


def test_a_draft_of_another_file_is_left_alone(file: Path, tmp_path: Path) -> None:
    Store.open(file).close()
    (tmp_path / ".store.db.ours.new").hardlink_to(file)
    (tmp_path / ".store.db.theirs.new").write_text("not done yet")
    Store.open(file).close()
    assert names_in(tmp_path) == [".store.db.theirs.new", "store.db"]


# The disk


def test_a_directory_in_which_no_file_can_be_made_is_refused_and_nothing_is_left(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(draft: str, path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StorageError, match=r"cannot create .*output error; check the directory"):
        Store.open(file)
    assert names_in(tmp_path) == []


def test_a_disk_that_fails_while_a_file_is_made_leaves_nothing(file: Path, tmp_path: Path) -> None:
    with faulty_disk() as disk:
        disk.fail = lambda operation, path: apsw.SQLITE_IOERR_WRITE if operation == "write" else 0
        with pytest.raises(StorageError, match=r"creating .*the disk failed") as caught:
            Store.open(file)
        assert_ours_alone(caught.value)
        assert names_in(tmp_path) == []


# Names


def long_name(directory: Path, length: int) -> Path:
    """A path of that many bytes, in directories that exist."""
    while len(str(directory)) < length - 112:
        directory /= "d" * 100
    directory /= "d" * (length - len(str(directory)) - len("//store.db"))
    directory.mkdir(parents=True)
    return directory / "store.db"


def test_a_path_of_490_bytes_is_made_backed_up_rehearsed_and_restored(tmp_path: Path) -> None:
    path = long_name(tmp_path, 490)
    assert len(str(path)) == 490
    with Store.open(path) as store:
        store.initiatives.create(name="x")
        store.backup(path.with_name("copy.db"))
    rehearse(path)
    restore(path.with_name("copy.db"), path)
    with Store.open(path) as store:
        assert [one.name for one in store.initiatives.find_all()] == ["x"]


@pytest.mark.parametrize("length", [500, 510])
def test_a_path_that_is_too_long_for_sqlite_is_refused_as_such(tmp_path: Path, length: int) -> None:
    path = long_name(tmp_path, length)
    told = r": this path has 5\d\d bytes, and SQLite takes 504; use a shorter one$"
    with pytest.raises(StorageError, match=told):
        Store.open(path)
    assert names_in(path.parent) == []


def test_a_name_that_is_no_utf_8_where_names_are_written_otherwise_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would open a file of another name than the one that was looked at."""
    monkeypatch.setattr(os, "fsencode", lambda name: str(name).encode("latin-1"))
    with pytest.raises(InvalidValueError, match="must be a path that can be written as UTF-8"):
        Store.open(tmp_path / "\xe9.db")
    assert names_in(tmp_path) == []


def test_a_name_beyond_ascii_is_as_good_as_any(tmp_path: Path) -> None:
    with Store.open(tmp_path / "Zürich 東京.db") as store:
        store.initiatives.create(name="x")
        store.backup(tmp_path / "Kopie é.db")
    restore(tmp_path / "Kopie é.db", tmp_path / "Zürich 東京.db")
    with Store.open(tmp_path / "Zürich 東京.db") as store:
        assert [one.name for one in store.initiatives.find_all()] == ["x"]


# What may not be, or cannot


def test_something_else_beside_a_log_is_refused_and_the_log_is_kept(file: Path) -> None:
    file.write_bytes(b"no database at all\n" * 100)
    log = file.with_name("store.db-wal")
    log.write_bytes(b"all that is left of somebody's data" * 100)
    with pytest.raises(ForeignDatabaseError, match="is not an SQLite database"):
        Store.open(file)
    assert log.read_bytes() == b"all that is left of somebody's data" * 100


def test_a_file_that_this_user_may_not_use_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: False)
    with pytest.raises(StorageError, match="cannot be read and written by this user"):
        Store.open(file)


def test_a_file_that_can_only_be_read_after_all_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setattr(connection, "_READ_WRITE", apsw.SQLITE_OPEN_READONLY)
    with pytest.raises(StorageError, match="can only be read; let this user write"):
        Store.open(file)


class WithoutForeignKeys(fork.BookedConnection):
    """As of an SQLite that was built without them."""

    def config(self, op: int, *args: Any) -> int:
        return 0 if op == apsw.SQLITE_DBCONFIG_ENABLE_FKEY else super().config(op, *args)


def test_an_sqlite_without_foreign_keys_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setattr(apsw_types, "BookedConnection", WithoutForeignKeys)
    with pytest.raises(
        StorageError, match="this SQLite was built without foreign keys; install apsw from a wheel"
    ):
        Store.open(file)
