"""What a migration on a disk that is full or fails leaves of its connection."""

import errno
import os
import re
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from cwstore._sqlite.connection import connect
from cwstore.errors import BusyError, OutcomeUnknownError, StorageError
from cwstore.migrations.api import migrate
from tests.kits.engine import assert_ours_alone
from tests.kits.migrations import run, upgrade
from tests.kits.processes import FIRST, add, check_between_nothing, left_beside, slow_scripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    add(directory, FIRST)
    return directory


def test_after_a_full_disk_the_connection_can_go_on(file: Path, directory: Path) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    connection = connect(str(file), busy_timeout=1)
    connection.pragma("max_page_count", 50)
    with pytest.raises(StorageError) as raised:
        upgrade(connection, file, directory=directory)
    assert re.fullmatch(
        r"0002_\w+\.sql, statement \d, line \d: the disk is full; make room and try again",
        str(raised.value),
    )
    assert_ours_alone(raised.value)
    assert (connection.in_transaction, connection.pragma("foreign_keys")) == (False, 1)
    check_between_nothing(file, directory)
    connection.pragma("max_page_count", 1_000_000)
    assert upgrade(connection, file, directory=directory).version == 4
    connection.close()


def test_a_migration_leaves_nothing_beside_the_file_though_it_can_open_no_further_one(
    file: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, opened = os.open, set[str]()

    def once(path: str, *options: Any, **more: Any) -> int:
        if str(path) in opened:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if str(path).startswith(f"{file}-"):
            opened.add(str(path))
        return system(path, *options, **more)

    monkeypatch.setattr(os, "open", once)
    assert migrate(file, directory=directory).version == 1
    assert opened == {f"{file}-turn"}
    assert left_beside(file) == ["store.db"]


class Failing:
    """A connection that fails at one statement."""

    def __init__(self, file: Path, statement: str, error: apsw.Error) -> None:
        self._connection = connect(str(file), busy_timeout=1)
        self._failure = statement, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *binds: Any) -> Any:
        if sql == self._failure[0]:
            raise self._failure[1]
        return self._connection.execute(sql, *binds)


def io_error(code: int) -> apsw.Error:
    error = apsw.IOError("disk I/O error")
    cast("Any", error).extendedresult = code
    return error


def test_who_cannot_begin_is_told_what_was_to_be_done(file: Path, directory: Path) -> None:
    failure = apsw.BusyError("database is locked")
    cast("Any", failure).extendedresult = apsw.SQLITE_BUSY
    connection: Any = Failing(file, "BEGIN IMMEDIATE", failure)
    with pytest.raises(BusyError) as raised:
        upgrade(connection, file, directory=directory, busy_timeout=7)
    assert str(raised.value).startswith(
        f"migrating {file}: another connection held the lock for all of the 7 s"
    )
    assert_ours_alone(raised.value)
    connection.close()


def test_a_disk_that_fails_at_commit_leaves_the_outcome_open(file: Path, directory: Path) -> None:
    failure = io_error(apsw.SQLITE_IOERR_FSYNC)
    connection: Any = Failing(file, "COMMIT", failure)
    with pytest.raises(OutcomeUnknownError) as raised:
        upgrade(connection, file, directory=directory)
    assert str(raised.value) == (
        f"COMMIT ({file}, 0001_step.sql): the disk failed; the transaction may or may not be there:"
        " read before you repeat it"
    )
    assert_ours_alone(raised.value)
    assert not connection.in_transaction
    connection.close()


def test_any_other_failure_of_commit_is_a_rollback(file: Path, directory: Path) -> None:
    failure = io_error(apsw.SQLITE_IOERR_WRITE)
    connection: Any = Failing(file, "COMMIT", failure)
    with pytest.raises(StorageError, match="the disk failed") as raised:
        upgrade(connection, file, directory=directory)
    assert_ours_alone(raised.value)
    assert not connection.in_transaction
    connection.close()
    assert run(file, "SELECT * FROM sqlite_schema") == []


def test_a_disk_that_fails_at_the_switch_to_wal_is_told_so(file: Path, directory: Path) -> None:
    migrate(file, directory=directory)
    run(file, "PRAGMA journal_mode = DELETE")
    failure = io_error(apsw.SQLITE_IOERR_WRITE)
    connection: Any = Failing(file, "PRAGMA journal_mode = WAL", failure)
    with pytest.raises(StorageError, match="the disk failed") as raised:
        upgrade(connection, file, directory=directory)
    assert_ours_alone(raised.value)
    connection.close()


def test_foreign_keys_that_stay_off_are_not_overlooked(file: Path, directory: Path) -> None:
    class Stuck(Failing):
        def execute(self, sql: str, *binds: Any) -> Any:
            return super().execute(sql.replace("keys = ON", "keys = OFF"), *binds)

    connection: Any = Stuck(file, "", apsw.Error())
    with pytest.raises(
        StorageError, match=r"^SQLite did not switch foreign keys on again; open the file anew$"
    ):
        upgrade(connection, file, directory=directory)
    connection.close()
