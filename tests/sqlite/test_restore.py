"""A backup in the place of a file: whole; what was there is kept, its log applied to nothing."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import apsw
import pytest

from cwstore import RestoreReport, restore
from cwstore.errors import (
    BusyError,
    CorruptDatabaseError,
    ForeignDatabaseError,
    InvalidValueError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.store import Store
from tests.kits.database import run_raw
from tests.kits.engine import Other, in_child, names, whole
from tests.kits.migrations import names_in, run
from tests.kits.schema import HEAD

_left_open: list[Store] = []


def write(file: Path, *made: str) -> None:
    with Store.open(file) as store:
        for name in made:
            store.initiatives.create(name=name)


def write_and_be_killed(file: Path, *made: str) -> None:
    """As `write`, by a process that then ends without closing anything."""

    def work() -> str:
        store = Store.open(file)
        _left_open.append(store)
        for name in made:
            store.initiatives.create(name=name)
        return "written"

    assert in_child(work)() == "written"


def stored(file: Path) -> list[str]:
    with Store.open(file) as store:
        return names(store)


@pytest.fixture
def backup(file: Path, tmp_path: Path, migrated: Path) -> Path:
    """A backup of `file` with one initiative; the file has gone on and has two."""
    shutil.copyfile(migrated, file)
    write(file, "first")
    (tmp_path / "backups").mkdir()
    made = tmp_path / "backups" / "copy.db"
    with Store.open(file) as store:
        store.backup(made)
        store.initiatives.create(name="second")
    return made


def test_the_copy_has_the_place_and_what_was_there_is_kept(file: Path, backup: Path) -> None:
    file.chmod(0o640)
    before = whole(backup.parent)
    report = restore(backup, str(file))
    assert report == RestoreReport(str(file), HEAD, file.stat().st_size, report.kept)
    assert report.kept is not None
    kept = Path(report.kept)
    assert names_in(file.parent) == ["backups", "store.db", kept.name]
    assert kept.name.startswith("store.db.replaced-20")
    assert file.stat().st_mode & 0o777 == 0o640
    with Store.open(file) as store:
        assert store.check().ok
    assert (stored(file), stored(kept)) == (["first"], ["first", "second"])
    assert whole(backup.parent) == before


def test_a_file_that_is_gone_is_restored_and_its_log_is_kept(file: Path, backup: Path) -> None:
    write_and_be_killed(file, "third")
    file.unlink()
    log = file.with_name("store.db-wal").read_bytes()
    report = restore(backup, file)
    assert report.kept is not None
    assert Path(f"{report.kept}-wal").read_bytes() == log
    assert stored(file) == ["first"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_place_where_nothing_was_keeps_nothing(file: Path, backup: Path, tmp_path: Path) -> None:
    report = restore(backup, tmp_path / "new.db")
    assert report.kept is None
    assert stored(tmp_path / "new.db") == ["first"]


def test_killed_where_the_copy_has_two_names_it_can_be_opened(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "new.db"

    def begin() -> str:
        with monkeypatch.context() as patched:
            _die_before(patched, "unlink", 0)
            restore(backup, file)
        return "ended"

    in_child(begin)()
    assert file.stat().st_nlink == 2
    assert stored(file) == ["first"]


def test_a_name_that_no_draft_gave_it_is_refused(backup: Path, tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    restore(backup, file)
    (tmp_path / ".cwstore-abcdef.tmp").mkdir()
    (tmp_path / "mine.db").hardlink_to(file)
    with pytest.raises(StorageError, match="has 2 hard links"):
        stored(file)
    assert (tmp_path / "mine.db").exists()


def test_a_draft_whose_directory_cannot_be_opened_is_not_left(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_it = os.open

    def fail(path: str, flags: int, *mode: int) -> int:
        if ".cwstore-" in path:  # as drafts are called
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_it(path, flags, *mode)

    there = names_in(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", fail)
        with pytest.raises(StorageError, match="Too many open files"):
            restore(backup, tmp_path / "new.db")
    assert names_in(tmp_path) == there


def test_where_nothing_was_too_an_error_of_the_disk_is_one_of_ours(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise apsw.exception_for(apsw.SQLITE_CANTOPEN)

    monkeypatch.setattr("cwstore._sqlite.restore.open_unlocked", fail)
    with pytest.raises(StorageError, match=r"restoring .*new\.db: the file cannot be opened"):
        restore(backup, tmp_path / "new.db")


def test_an_empty_log_and_an_index_of_the_log_are_not_left(file: Path, backup: Path) -> None:
    for part in ("-wal", "-shm"):
        file.with_name(f"store.db{part}").touch()
    report = restore(backup, file)
    assert report.kept is not None
    assert names_in(file.parent) == ["backups", "store.db", Path(report.kept).name]


def test_the_log_of_a_killed_process_stays_with_its_file(file: Path, backup: Path) -> None:
    write_and_be_killed(file, "third")
    report = restore(backup, file)
    assert report.kept is not None
    assert stored(file) == ["first"]
    assert stored(Path(report.kept)) == ["first", "second", "third"]


def test_what_was_copied_over_by_hand_is_mended(file: Path, backup: Path) -> None:
    write_and_be_killed(file, "third")
    shutil.copyfile(backup, file)
    with pytest.raises(StorageError, match="cwstore restore COPY"):
        Store.open(file)
    restore(backup, file)
    assert stored(file) == ["first"]


def test_two_in_one_second_keep_both(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.gmtime", lambda: (2026, 11, 28, 1, 2, 3, 5, 332, 0))
    made = [restore(backup, file).kept for _ in range(2)]
    assert made == [f"{file}.replaced-20261128T010203Z", f"{file}.replaced-20261128T010203Z-2"]


def test_a_damaged_file_is_replaced_and_kept(file: Path, backup: Path) -> None:
    file.write_bytes(b"nothing of use" * 100)
    report = restore(backup, file)
    assert report.kept is not None
    assert Path(report.kept).read_bytes() == b"nothing of use" * 100
    assert stored(file) == ["first"]


def test_a_backup_that_a_store_is_using_is_copied_as_it_is_now(file: Path, backup: Path) -> None:
    with Store.open(backup) as store:
        store.initiatives.create(name="later")
        restore(backup, file)
    assert stored(file) == ["first", "later"]


def test_the_log_of_version_0_1_0_which_has_no_note_stays_with_its_file(
    file: Path, backup: Path
) -> None:
    write_and_be_killed(file, "third")
    file.with_name("store.db-turn").unlink()
    report = restore(backup, file)
    assert report.kept is not None
    assert stored(file) == ["first"]
    assert stored(Path(report.kept)) == ["first", "second", "third"]


def test_a_copy_in_a_new_place_is_there_although_its_draft_cannot_be_removed(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink

    def fail(path: str) -> None:
        if ".cwstore-" in path:  # as drafts are called
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", fail)
        restore(backup, tmp_path / "new.db")
    assert stored(tmp_path / "new.db") == ["first"]


def test_who_may_not_give_files_away_gives_the_copy_the_old_mode_at_least(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "chown", refuse)
    file.chmod(0o640)
    restore(backup, file)
    assert file.stat().st_mode & 0o777 == 0o640


# What is refused, and changes nothing


def assert_refused(error: type[Exception], text: str, backup: object, file: Path) -> None:
    before = whole(file.parent)
    with pytest.raises(error, match=text):
        restore(backup, file)  # type: ignore[arg-type]
    assert whole(file.parent) == before


def test_a_file_that_this_process_has_open_is_refused(file: Path, backup: Path) -> None:
    with Store.open(file) as store:
        with pytest.raises(
            BusyError,
            match=(
                r"is open: another store or process has it, or its disk has no locks; close it"
                r" there,"
                " then restore$"
            ),
        ) as caught:
            restore(backup, file)
        assert caught.value.waited == 0
        store.initiatives.create(name="third")
        assert names(store) == ["first", "second", "third"]
    assert names_in(file.parent) == ["backups", "store.db"]


_OPEN = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1]) as store:
    store.initiatives.find_all()
    print("open", flush=True)
    sys.stdin.readline()
    store.initiatives.create(name="third")
"""


def test_a_file_that_another_process_has_open_is_refused_and_the_process_named(
    file: Path, backup: Path
) -> None:
    with Other(_OPEN, file) as other:
        assert other.hear() == "open"
        with pytest.raises(BusyError) as caught:
            restore(backup, file)
        assert caught.value.holder == f"process {other.process.pid} (python)"
        assert f"{file} is open: process {other.process.pid}" in str(caught.value)
        other.tell()
        other.end()
    assert stored(file) == ["first", "second", "third"]


def test_a_damaged_backup_is_refused(file: Path, backup: Path) -> None:
    data = bytearray(backup.read_bytes())
    data[4096 * 3 : 4096 * 12] = b"x" * 4096 * 9
    backup.write_bytes(data)
    told = (
        f"^{backup} is damaged, and {file} was left as it is: restore another backup;"
        f" if `cwstore check {backup}` finds no damage, check the disk$"
    )
    assert_refused(CorruptDatabaseError, told, backup, file)
    backup.write_bytes(data[: 4096 * 3])
    assert_refused(CorruptDatabaseError, told, backup, file)


def test_what_is_no_backup_of_ours_is_refused(file: Path, backup: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 5000)
    (tmp_path / "empty").touch()
    run_raw(backup, "PRAGMA application_id = 7")
    newer = tmp_path / "newer.db"
    write(newer, "x")
    run(newer, "PRAGMA user_version = 999")
    for path, error, text in (
        (tmp_path / "nothing", StorageError, "is not there; give the path of a backup"),
        (tmp_path / "text", ForeignDatabaseError, "is not an SQLite database"),
        (tmp_path / "empty", ForeignDatabaseError, "is empty"),
        (tmp_path, StorageError, "is a directory"),
        (backup, ForeignDatabaseError, "belongs to another application"),
        (newer, SchemaTooNewError, "has schema version 999"),
        (file, InvalidValueError, "is the very file"),
        (":memory:", InvalidValueError, "^backup: what is in memory"),
        (7, InvalidValueError, "^backup: expected str"),
        ("", InvalidValueError, "^backup: must be a non-empty path"),
    ):
        assert_refused(error, text, path, file)
    for place in (":memory:", "", "\ud800"):
        with pytest.raises(InvalidValueError, match=r"^path: "):
            restore(backup, place)


def test_what_is_no_file_of_ours_is_not_replaced(file: Path, backup: Path, tmp_path: Path) -> None:
    run_raw(file, "PRAGMA application_id = 7")
    told = (
        r"belongs to another application \(application_id 0x00000007\); it was left alone: give"
        " another path$"
    )
    assert_refused(ForeignDatabaseError, told, backup, file)
    with pytest.raises(
        StorageError, match=f"^{tmp_path} is not a regular file; give the path of one"
    ):
        restore(backup, tmp_path)


def test_a_place_that_cannot_be_written_to_is_named(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(
        StorageError, match=r"cannot restore .*: No space left on device; nothing is lost$"
    ):
        restore(backup, file)
    assert stored(file) == ["first", "second"]


def test_a_disk_that_fails_is_told_as_such(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str) -> bytes:
        raise apsw.exception_for(apsw.SQLITE_IOERR_READ)

    monkeypatch.setattr("cwstore._sqlite.restore.read_header", fail)
    assert_refused(StorageError, r"restoring .*the disk failed", backup, file)


def test_a_log_that_cannot_be_looked_at_is_not_taken_for_none(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_and_be_killed(file, "third")
    look, replace = os.stat, os.replace

    def fail(path: Any, **options: Any) -> os.stat_result:
        if str(path).endswith("-wal"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return look(path, **options)

    with monkeypatch.context() as patched:

        def break_down(old: str, new: str) -> None:
            replace(old, new)
            patched.setattr(os, "stat", fail)

        patched.setattr(os, "replace", break_down)
        with pytest.raises(StorageError, match=r"cannot look at .*-wal: Input/output error"):
            restore(backup, file)
    again = restore(backup, file)
    assert again.kept is not None
    kept = [Path(one) for one in names_in(file.parent) if ".replaced-" in one]
    assert ["first", "second", "third"] in [
        stored(file.parent / one) for one in kept if not one.name.endswith(("-wal", "-shm"))
    ]


def test_the_copy_and_whose_log_is_kept_lie_on_disk_before_the_file_is_replaced(
    file: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves the copy beside the log of the old file, and nobody can tell."""
    write_and_be_killed(file, "third")
    queue = file.with_name("store.db-turn")
    queue.unlink()
    done: list[str] = []
    sync, replace, rename, remove, link = os.fsync, os.replace, os.rename, os.unlink, os.link

    def note(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def swap(old: str, new: str) -> None:
        done.append("replaced")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note)

    def move(old: str, new: str) -> None:
        done.append("log moved")
        rename(old, new)

    monkeypatch.setattr(os, "replace", swap)

    def unlink(path: str) -> None:
        done.append(f"no {Path(path).name}")
        remove(path)

    def keep(old: str, new: str) -> None:
        done.append("kept")
        link(old, new)

    monkeypatch.setattr(os, "rename", move)
    monkeypatch.setattr(os, "unlink", unlink)
    monkeypatch.setattr(os, "link", keep)
    restore(backup, file)
    kept, swapped, moved = map(done.index, ("kept", "replaced", "log moved"))
    assert {queue.name, "d"} <= {*done[:swapped]}  # the copy, under the name that it had
    assert file.parent.name in done[kept:swapped]  # else a power cut may take the new name back
    assert file.parent.name in done[swapped:moved]
    assert file.parent.name in done[moved : done.index(f"no {queue.name}")]


# Killed at any moment


def _die_before(monkeypatch: pytest.MonkeyPatch, call: str, number: int) -> None:
    """The process ends instead of making that call of `os` for the n-th time."""
    act: Callable[..., object] = getattr(os, call)
    left = number

    def count(*arguments: object, **options: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(7)
        return act(*arguments, **options)

    monkeypatch.setattr(os, call, count)


_STEPS = [
    *(("link", 0), ("replace", 0), ("rename", 0)),
    *(("fsync", n) for n in range(4)),
    *(("unlink", n) for n in range(0, 7, 2)),
]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(step, id=str(step), marks=pytest.mark.slow if at % 2 else ())
        for at, step in enumerate(_STEPS)
    ],
)
@pytest.mark.parametrize("by_hand", [False, True], ids=["in place", "copied over"])
def test_killed_at_any_step_the_one_or_the_other_is_there_and_a_second_run_ends_it(
    file: Path,
    backup: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[str, int],
    *,
    by_hand: bool,
) -> None:
    write_and_be_killed(file, "third")
    if by_hand:
        shutil.copyfile(backup, file)

    def begin() -> str:
        with monkeypatch.context() as patched:
            _die_before(patched, *step)
            restore(backup, file)
        return "ended"

    in_child(begin)()
    old = ["first", "second", "third"]
    found: list[str] | str
    try:
        found = stored(file)
    except StorageError as error:
        found = str(error)
    expected: list[object] = [["first"]] if by_hand else [["first"], old]
    assert found in expected or f"is not the log of {file}" in found
    report = restore(backup, file)
    assert stored(file) == ["first"]
    left = [path for path in file.parent.iterdir() if ".replaced-" in path.name]
    assert report.kept is not None
    assert Path(report.kept) in left
    if not by_hand:
        kept = [path for path in left if not path.name.endswith("-wal")]
        assert old in [stored(path) for path in kept]
