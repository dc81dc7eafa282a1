"""Migrations on a disk that is full, fails, or may not be written to."""

import os
import pwd
import shutil
from collections.abc import Generator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, cast

import apsw
import pytest

from cwstore import _connect
from cwstore.errors import OutcomeUnknownError, StorageError
from cwstore.migrations import bring_up, migrate
from tests.migration_kit import run
from tests.process_kit import FIRST, add, check_between_nothing, child, left_beside, slow_scripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    add(directory, FIRST)
    return directory


# Scenario N: the disk


def test_a_full_disk_in_mid_migration_leaves_the_file_as_it_was(
    file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    connection = _connect.connect(str(file), busy_timeout=1)
    connection.pragma("max_page_count", 50)
    with pytest.raises(StorageError) as failure:
        bring_up(connection, str(file), directory=directory)
    assert str(failure.value).startswith(
        "0002_step.sql, statement 2, line 3: the disk is full; make room and try again"
    )
    assert (connection.in_transaction, connection.pragma("foreign_keys")) == (False, 1)
    check_between_nothing(file, directory)
    connection.pragma("max_page_count", 1_000_000)
    assert bring_up(connection, str(file), directory=directory).version == 4
    connection.close()


LIMITED = """
import resource, signal, sys
from cwstore.errors import StorageError
from cwstore.migrations import migrate

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    migrate(sys.argv[1], directory=sys.argv[2])
except StorageError as error:
    print(error)
"""


def test_a_disk_that_fails_in_mid_migration_leaves_the_file_as_it_was(
    file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    with child(file, directory, program=LIMITED) as process:
        told, _ = process.communicate()
    assert told.startswith(f"COMMIT ({file}, 0002_step.sql): the disk failed"), told
    assert check_between_nothing(file, directory) == 1
    assert migrate(file, directory=directory).version == 4


# A user who is not root, whatever runs the tests: root may write anywhere.
AS_NOBODY = """
import sys, tempfile, os, random, hashlib, secrets, fcntl
from cwstore import _apply, _backup, _drift, _turn
from cwstore.errors import CwstoreError
from cwstore.migrations import migrate, rehearse, status

if os.geteuid() == 0:
    os.setgid(int(sys.argv[4]))
    os.setuid(int(sys.argv[4]))
file, directory, verb = sys.argv[1:4]
try:
    {"migrate": migrate, "rehearse": rehearse, "status": status}[verb](file, directory=directory)
    print("done")
except CwstoreError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def public() -> Generator[Path]:
    """A directory that a user without rights can reach."""
    place = Path(mkdtemp())
    place.chmod(0o755)
    yield place
    place.chmod(0o755)
    shutil.rmtree(place)


def test_a_read_only_directory_is_refused_with_a_remedy(public: Path) -> None:
    directory, file = public / "sql", public / "place" / "store.db"
    directory.mkdir()
    file.parent.mkdir()
    add(directory, FIRST)
    migrate(file, directory=directory)
    nobody = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    add(directory, "SELECT 1;")
    os.chown(file, nobody, -1)
    os.chown(file.parent, nobody, -1)
    file.parent.chmod(0o555)
    before = file.read_bytes()
    for verb in ("migrate", "rehearse"):
        with child(file, directory, verb, nobody, program=AS_NOBODY) as process:
            told, _ = process.communicate()
        assert told.startswith("StorageError"), told
        assert file.read_bytes() == before
    file.parent.chmod(0o755)
    assert left_beside(file) == ["store.db"]
    with child(file, directory, "migrate", nobody, program=AS_NOBODY) as process:
        assert process.communicate()[0] == "done\n"


def test_a_new_file_in_a_read_only_directory_is_refused(public: Path) -> None:
    directory, place = public / "sql", public / "place"
    directory.mkdir()
    add(directory, FIRST)
    place.mkdir(mode=0o555)
    nobody = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    with child(place / "a.db", directory, "migrate", nobody, program=AS_NOBODY) as process:
        assert process.communicate()[0].startswith("StorageError cannot create")
    assert list(place.iterdir()) == []


# The connection


class Failing:
    """A connection that fails at one statement."""

    def __init__(self, file: Path, statement: str, error: apsw.Error) -> None:
        self._connection = _connect.connect(str(file), busy_timeout=1)
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


def test_a_disk_that_fails_at_commit_leaves_the_outcome_open(file: Path, directory: Path) -> None:
    failure = io_error(apsw.SQLITE_IOERR_FSYNC)
    connection: Any = Failing(file, "COMMIT", failure)
    with pytest.raises(
        OutcomeUnknownError, match=r"COMMIT .*0001_step\.sql.* may or may not be there"
    ):
        bring_up(connection, str(file), directory=directory)
    assert not connection.in_transaction
    connection.close()


def test_any_other_failure_of_commit_is_a_rollback(file: Path, directory: Path) -> None:
    failure = io_error(apsw.SQLITE_IOERR_WRITE)
    connection: Any = Failing(file, "COMMIT", failure)
    with pytest.raises(StorageError, match="the disk failed"):
        bring_up(connection, str(file), directory=directory)
    assert not connection.in_transaction
    connection.close()
    assert run(file, "SELECT * FROM sqlite_schema") == []


def test_a_disk_that_fails_at_the_switch_to_wal_is_told_so(file: Path, directory: Path) -> None:
    migrate(file, directory=directory)
    run(file, "PRAGMA journal_mode = DELETE")
    failure = io_error(apsw.SQLITE_IOERR_WRITE)
    connection: Any = Failing(file, "PRAGMA journal_mode = WAL", failure)
    with pytest.raises(StorageError, match="the disk failed"):
        bring_up(connection, str(file), directory=directory)
    connection.close()


def test_foreign_keys_that_stay_off_are_not_overlooked(file: Path, directory: Path) -> None:
    class Stuck(Failing):
        def execute(self, sql: str, *binds: Any) -> Any:
            return super().execute(sql.replace("keys = ON", "keys = OFF"), *binds)

    connection: Any = Stuck(file, "", apsw.Error())
    with pytest.raises(StorageError, match="did not switch foreign keys on again"):
        bring_up(connection, str(file), directory=directory)
    connection.close()
