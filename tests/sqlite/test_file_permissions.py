"""Files and directories that a user may not use. Root may, so it is tried without its rights."""

import os
import pwd
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from cwstore.errors import (
    CwstoreError,
)
from cwstore.store import Store
from tests.kits.engine import assert_ours_alone, whole
from tests.kits.processes import give_up_rights


def without_rights(work: Callable[[], object]) -> str:
    """The error that `work` raises where permissions count for root too, or "no error"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "died"
        try:
            give_up_rights()
            work()
            said = "no error"
        except CwstoreError as error:
            assert_ours_alone(error)
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "message"),
    [
        (0o000, 0o777, "cannot be read and written by this user; run: chmod u.rw "),
        (0o444, 0o777, "cannot be read and written by this user; run: chmod u.rw "),
        (0o222, 0o777, "cannot be read and written by this user; run: chmod u.rw "),
        (0o666, 0o555, "check path and permissions|let this user write"),
        (0o666, 0o000, "Permission denied; check the"),
    ],
)
def test_a_file_that_may_not_be_used_is_refused(
    file_mode: int, directory_mode: int, message: str
) -> None:
    with TemporaryDirectory() as place:
        directory = Path(place) / "stores"
        directory.mkdir()
        directory.parent.chmod(0o755)
        file = directory / "store.db"
        Store.open(file).close()
        before = whole(directory)
        file.chmod(file_mode)
        directory.chmod(directory_mode)
        said = without_rights(lambda: Store.open(file))
        directory.chmod(0o755)
        file.chmod(0o600)
        assert re.match(f"StorageError: .*{re.escape(str(file))}.*({message})", said), said
        assert whole(directory) == before


@pytest.mark.parametrize("is_known", [True, False])
def test_a_file_of_another_user_is_refused_with_its_owner_and_the_command(
    is_known: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(user: int) -> object:
        raise KeyError(user)

    Store.open(file).close()
    owner = os.geteuid()
    name = pwd.getpwuid(owner).pw_name if is_known else f"user {owner}"
    if not is_known:
        monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: False)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    with pytest.raises(CwstoreError) as refused:
        Store.open(file)
    assert str(refused.value) == (
        f"{file} cannot be read and written by this user; it belongs to {name}: run as that user,"
        f" or: sudo chown 4000000 {file}"
    )


def test_a_file_on_a_read_only_mount_is_refused_and_no_command_advised_that_cannot_help(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: False)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(CwstoreError) as refused:
        Store.open(file)
    assert str(refused.value) == (
        f"{file} cannot be read and written by this user; its file system is mounted read-only:"
        " mount it to write, or open the store to read (`read_only=True`)"
    )


def test_a_file_that_sqlite_can_open_for_reading_only_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Permissions can change after the look at them, and SQLite then says nothing."""
    monkeypatch.setattr(os, "access", lambda path, mode, **_: True)
    with TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        file = Path(place) / "store.db"
        Store.open(file).close()
        file.chmod(0o444)
        said = without_rights(lambda: Store.open(file))
        assert said == (
            f"StorageError: {file} can only be read; let this user write (chmod u+rw {file}, and"
            " u+rwx its directory), or allow this process more open files (ulimit -n)"
        )


def test_a_directory_that_may_not_be_written_to_gets_no_new_file() -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        said = without_rights(lambda: Store.open(Path(place) / "store.db"))
        Path(place).chmod(0o755)
        assert re.match("StorageError: cannot create .*Permission denied; check the", said), said
        assert list(Path(place).iterdir()) == []


def test_a_directory_that_may_not_be_listed_keeps_nobody_from_a_check(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("cwstore._sqlite.permissions.os.listdir", refuse)
        assert store.check().ok
