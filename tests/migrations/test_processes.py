"""Migrations among processes: at once, killed, interrupted."""

import fcntl
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cwstore._sqlite.connection import connect
from cwstore._sqlite.schema.lock import migration_lock
from cwstore.errors import BusyError, MigrationError, StorageError
from cwstore.migrations.api import migrate, status
from tests.kits.engine import assert_ours_alone
from tests.kits.migrations import run, upgrade
from tests.kits.processes import (
    FIRST,
    add,
    check_between_nothing,
    child,
    filling,
    go,
    left_beside,
    read_until,
    slow_scripts,
)

ENDLESS = """
CREATE TABLE made (id INTEGER PRIMARY KEY);
WITH RECURSIVE n (i) AS (SELECT inside() UNION ALL SELECT i + 1 FROM n)
SELECT count(*) FROM n;
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    add(directory, FIRST)
    return directory


# Scenario D: six at once


@pytest.mark.parametrize("old", [True, False])
def test_of_six_processes_one_migrates_and_five_wait(
    file: Path, directory: Path, old: bool
) -> None:
    if old:
        migrate(file, directory=directory)
    add(directory, *(filling(number, 30_000) for number in range(4)))
    with (
        child(file, directory) as a,
        child(file, directory) as b,
        child(file, directory) as c,
        child(file, directory) as d,
        child(file, directory) as e,
        child(file, directory) as f,
    ):
        processes = (a, b, c, d, e, f)
        for process in processes:
            read_until(process, "ready")
        for process in processes:
            go(process)
        ends = [process.communicate()[0].splitlines()[-1] for process in processes]
        codes = [process.returncode for process in processes]
    assert codes == [0] * 6
    assert sorted(ends) == [*["applied 0 5"] * 5, f"applied {4 if old else 5} 5"]
    assert run(file, "SELECT count(*) FROM rows") == [(120_000,)]
    migrate(file, directory=directory)  # alone: see left_beside
    assert left_beside(file) == ["store.db", *["store.db.v1.bak"] * old]


def test_who_waits_longer_than_its_patience_is_told_so(file: Path, directory: Path) -> None:
    with (
        migration_lock(str(file)),
        pytest.raises(
            BusyError,
            match=r": another process has been migrating it for 0\.05 s; wait for it, or end it:"
            " the file stays whole$",
        ),
        migration_lock(str(file), seconds=0.05),
    ):
        raise AssertionError("two have the turn")
    assert migrate(file, directory=directory).version == 1


@pytest.mark.parametrize("call", ["flock", "unlink"])
def test_ctrl_c_just_as_the_turn_is_taken_or_given_back_leaves_it_to_nobody(
    file: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Whoever migrates next in this process would wait for itself."""
    module: ModuleType = fcntl if call == "flock" else os
    system = getattr(module, call)

    def interrupted(*arguments: Any) -> None:
        if call == "flock":
            system(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, call, interrupted)
    with pytest.raises(KeyboardInterrupt), migration_lock(str(file)):
        pass
    monkeypatch.undo()
    with migration_lock(str(file), seconds=0.05):
        pass
    assert migrate(file, directory=directory).version == 1
    assert left_beside(file) == ["store.db"]


def test_a_turn_that_was_left_behind_is_taken_over(file: Path, directory: Path) -> None:
    file.with_name("store.db.migrating").touch()
    assert migrate(file, directory=directory).version == 1
    assert left_beside(file) == ["store.db"]


def test_a_turn_that_cannot_be_taken_is_refused_with_a_remedy(
    file: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_locks)
        with pytest.raises(StorageError, match="No locks available"):
            migrate(file, directory=directory)
    file.with_name("store.db.migrating").unlink()
    file.with_name("store.db.migrating").mkdir()
    with pytest.raises(
        StorageError,
        match=(r"^cannot make and lock .*: Is a directory; let this user write to the directory$"),
    ):
        migrate(file, directory=directory)


def test_a_turn_whose_file_goes_before_it_is_locked_is_taken_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had the turn before removes the file that this process has just opened."""
    lock, locked = fcntl.flock, list[int]()

    def late(descriptor: int, operation: int) -> None:
        if not locked:
            file.with_name("store.db.migrating").unlink()
        locked.append(descriptor)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with migration_lock(str(file)):
        assert left_beside(file) == ["store.db.migrating"]
    assert len(locked) == 2


def test_a_turn_whose_file_somebody_removed_ends_all_the_same(file: Path) -> None:
    with migration_lock(str(file)):
        file.with_name("store.db.migrating").unlink()
    assert left_beside(file) == []


def test_a_writer_that_does_not_let_go_is_busy_within_the_bound(
    file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    add(directory, "SELECT 1;")
    writer = connect(str(file), busy_timeout=0)
    writer.execute("BEGIN IMMEDIATE").fetchall()
    connection = connect(str(file), busy_timeout=0.05)
    with pytest.raises(BusyError, match=r"for all of the 0\.05 s") as raised:
        upgrade(connection, file, directory=directory, busy_timeout=0.05)
    assert_ours_alone(raised.value)
    assert connection.pragma("foreign_keys") == 1
    writer.execute("ROLLBACK").fetchall()
    assert upgrade(connection, file, directory=directory).version == 2
    connection.close()
    writer.close()


def test_an_up_to_date_file_is_opened_while_another_one_writes(file: Path, directory: Path) -> None:
    migrate(file, directory=directory)
    writer = connect(str(file), busy_timeout=0)
    writer.execute("BEGIN IMMEDIATE").fetchall()
    connection = connect(str(file), busy_timeout=0)
    assert upgrade(connection, file, directory=directory, busy_timeout=0).applied == ()
    connection.close()
    writer.close()


def test_the_version_is_read_again_under_the_lock(file: Path, directory: Path) -> None:
    """Another process migrates after this one has looked and before it has the lock."""
    migrate(file, directory=directory)
    add(directory, "CREATE TABLE made (id INTEGER PRIMARY KEY);")

    class Hurried:
        """A connection that is overtaken just before it takes the lock."""

        def __init__(self) -> None:
            self._connection = connect(str(file), busy_timeout=1)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, sql: str, *binds: Any) -> Any:
            if sql == "BEGIN IMMEDIATE":
                other = connect(str(file), busy_timeout=1)
                other.execute("BEGIN IMMEDIATE").fetchall()
                other.execute("CREATE TABLE made (id INTEGER PRIMARY KEY)").fetchall()
                other.execute(
                    "INSERT INTO schema_migrations VALUES (2, '0002_step', :sum, 0, NULL, 0, 0)",
                    {"sum": "00" * 32},
                ).fetchall()
                other.execute("PRAGMA user_version = 2").fetchall()
                other.execute("COMMIT").fetchall()
                other.close()
            return self._connection.execute(sql, *binds)

    connection: Any = Hurried()
    with pytest.raises(MigrationError, match=r"0002_step\.sql was edited after it was applied"):
        upgrade(connection, file, directory=directory)
    assert not connection.in_transaction
    connection.close()


# Scenario I: killed


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_whole_file_that_migrates_on(
    tmp_path: Path, file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    moment = random.Random(20)
    versions: set[int] = set()
    for number in range(20):
        killed = tmp_path / f"killed{number}" / "store.db"
        killed.parent.mkdir()
        shutil.copy(file, killed)
        with child(killed, directory) as process:
            read_until(process, "ready")
            go(process)
            # From a step on that the child tells, some milliseconds further.
            read_until(process, f"started 000{2 + number % 3}_step {number % 4}")
            try:
                process.wait(moment.random() * 0.1)
            except subprocess.TimeoutExpired:
                process.kill()
        version = check_between_nothing(killed, directory)
        versions.add(version)
        assert migrate(killed, directory=directory).version == 4
        check_between_nothing(killed, directory)
        # Killed after its last COMMIT, it leaves an empty file that the next migration removes.
        harmless = {"store.db.migrating"} if version == 4 else set[str]()
        assert set(left_beside(killed)) - harmless == {"store.db", "store.db.v1.bak"} | (
            {f"store.db.v{version}.bak"} if version < 4 else set[str]()
        )
    assert len(versions) > 1


@pytest.mark.slow
def test_a_process_killed_while_it_makes_the_backup_leaves_no_half_backup(
    tmp_path: Path, file: Path, directory: Path
) -> None:
    add(directory, filling(1, 100_000))
    migrate(file, directory=directory)
    add(directory, filling(2, 10))
    moment = random.Random(5)
    for number in range(5):
        killed = tmp_path / f"killed{number}" / "store.db"
        killed.parent.mkdir()
        shutil.copy(file, killed)
        with child(killed, directory) as process:
            read_until(process, "ready")
            go(process)
            try:
                process.wait(moment.random() * 0.05)
            except subprocess.TimeoutExpired:
                process.kill()
        for backup in killed.parent.glob("*.bak"):
            assert run(backup, "SELECT count(*) FROM rows") == [(100_000,)]
        assert migrate(killed, directory=directory).version == 3
        assert left_beside(killed) in (["store.db", "store.db.v2.bak"], ["store.db"])


# Scenario O: ctrl-C


def test_ctrl_c_ends_a_long_statement_and_rolls_back(file: Path, directory: Path) -> None:
    migrate(file, directory=directory)
    before = file.read_bytes()
    add(directory, ENDLESS)
    with child(file, directory) as process:
        read_until(process, "ready")
        go(process)
        read_until(process, "inside")
        with pytest.raises(subprocess.TimeoutExpired):  # by then no Python runs any more
            process.wait(0.2)
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate()
    assert (told.split(), process.returncode) == (["interrupted", "False", "1"], 0)
    assert left_beside(file) == ["store.db", "store.db.v1.bak"]
    assert file.read_bytes() == before
    assert status(file, directory=directory).version == 1


def test_ctrl_c_ends_a_process_that_waits_for_its_turn(file: Path, directory: Path) -> None:
    with migration_lock(str(file)), child(file, directory) as process:
        read_until(process, "ready")
        go(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.communicate()[0].split() == ["interrupted", "False", "1"]
