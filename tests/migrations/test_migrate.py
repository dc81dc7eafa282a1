"""Migrating a file: what a run does, reports and refuses, in one process."""

from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import apsw
import pytest

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.connection import connect
from cwstore.errors import (
    InvalidValueError,
    MigrationError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.migrations.api import (
    MigrationReport,
    MigrationStatus,
    Progress,
    migrate,
    status,
)
from tests.kits.migrations import (
    BASE,
    PHASES,
    content,
    made_by_base,
    names_in,
    refused,
    run,
    scripts,
    upgrade,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


# What a run does


def test_a_new_file_gets_every_migration_in_order(tmp_path: Path, file: Path) -> None:
    started, started_at = monotonic(), time_ns() // 1000
    report = migrate(file, directory=scripts(tmp_path, *BASE))
    took = monotonic() - started
    assert report == MigrationReport(
        applied=("0001_step", "0002_step"),
        version_before=0,
        version=2,
        backup=None,
        seconds=report.seconds,
        steps=report.steps,
    )
    assert [(step.name, step.statements, step.rows_changed) for step in report.steps] == [
        ("0001_step", 1, 0),
        ("0002_step", 4, 5),
    ]
    assert 0 <= sum(step.seconds for step in report.steps) <= report.seconds <= took
    first, second = (at for (at,) in run(file, "SELECT applied_at FROM schema_migrations"))
    assert started_at <= first <= second <= time_ns() // 1000
    assert run(file, "SELECT id, owner FROM tasks") == [(n, "nobody") for n in (1, 2, 3)]
    assert run(file, "PRAGMA user_version") == [(2,)]
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_up_to_date_file_is_left_alone(populated: Path) -> None:
    before = populated.read_bytes()
    report = migrate(populated, directory=populated.parent / "sql0")
    assert (report.applied, report.version_before, report.version) == ((), 2, 2)
    assert populated.read_bytes() == before
    assert names_in(populated.parent) == ["sql0", "store.db"]


def test_an_up_to_date_file_is_not_waited_for(populated: Path) -> None:
    writer = open_connection(str(populated))
    writer.execute("BEGIN IMMEDIATE")
    assert migrate(populated, directory=populated.parent / "sql0").applied == ()
    writer.close()


def test_who_migrates_holds_a_file_beside_it_meanwhile(tmp_path: Path, file: Path) -> None:
    seen: list[list[str]] = []
    directory = scripts(tmp_path, PHASES)
    migrate(file, directory=directory, on_progress=lambda _: seen.append(names_in(tmp_path)))
    beside = ["sql0", "store.db", "store.db-shm", "store.db-turn", "store.db-wal"]
    beside.append("store.db.migrating")
    assert seen == [beside, beside]
    assert names_in(tmp_path) == ["sql0", "store.db"]


def test_a_run_without_a_backup_makes_none(populated: Path) -> None:
    directory = scripts(populated.parent, *BASE, "SELECT 1;")
    assert migrate(populated, directory=directory, backup=False).backup is None
    assert names_in(populated.parent) == ["sql0", "sql1", "store.db"]


def test_the_migrations_of_cwstore_itself_are_the_default(file: Path) -> None:
    report = migrate(file)
    assert report.version == len(report.applied) > 0
    assert migrate(file).applied == ()


def test_memory_is_migrated_too(tmp_path: Path) -> None:
    assert migrate(":memory:", directory=scripts(tmp_path, *BASE)).version == 2
    assert [path.name for path in tmp_path.iterdir()] == ["sql0"]


def test_a_target_stops_the_run_and_the_next_one_goes_on(tmp_path: Path, file: Path) -> None:
    directory = scripts(tmp_path, *BASE, "SELECT 1;")
    assert migrate(file, directory=directory, target=0).version == 0
    assert migrate(file, directory=directory, target=1).applied == ("0001_step",)
    assert migrate(file, directory=directory, target=1).applied == ()
    assert migrate(file, directory=directory).applied == ("0002_step", "0003_step")


def test_there_is_no_way_down(populated: Path) -> None:
    before = content(populated)
    with pytest.raises(MigrationError) as refusal:
        migrate(populated, directory=populated.parent / "sql0", target=1)
    assert str(refusal.value) == (
        f"{populated} has version 2; there is no way down to 1: restore a backup:"
        f" `cwstore restore BACKUP {populated} --directory {populated.parent / 'sql0'}`"
    )
    assert content(populated) == before


@pytest.mark.parametrize("target", [-1, 3, True, "1", 1.0])
def test_a_target_that_is_no_version_is_refused(tmp_path: Path, file: Path, target: Any) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        migrate(file, directory=scripts(tmp_path, *BASE), target=target)
    assert refusal.value.field == "target"
    assert str(refusal.value) == (
        "target: must be a version from 0 to 2"
        if type(target) is int
        else f"target: expected int or None, got {type(target).__name__}"
    )
    assert not file.exists()


@pytest.mark.parametrize(
    ("field", "value"), [("on_progress", 5), ("backup", "no"), ("backup", 1), ("backup", None)]
)
def test_a_bad_option_is_refused_before_anything_happens(
    tmp_path: Path, file: Path, field: str, value: Any
) -> None:
    options = {field: value}
    with pytest.raises(InvalidValueError, match=f"^{field}: ") as refusal:
        migrate(file, directory=tmp_path / "nowhere", **options)
    assert refusal.value.field == field
    assert names_in(tmp_path) == []


def test_progress_is_told_before_the_first_statement_and_after_each_one(
    tmp_path: Path, file: Path
) -> None:
    told: list[Progress] = []
    started = monotonic()
    migrate(file, directory=scripts(tmp_path, *BASE), on_progress=told.append)
    one = [Progress(1, 2, "0001_step", done, 1, told[done].seconds) for done in (0, 1)]
    two = [Progress(2, 2, "0002_step", done, 4, told[2 + done].seconds) for done in range(5)]
    assert told == one + two
    for step in (told[:2], told[2:]):
        seconds = [0.0, *(progress.seconds for progress in step), monotonic() - started]
        assert seconds == sorted(seconds)


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_an_exception_from_the_progress_callback_rolls_the_script_back(
    populated: Path, reason: type[BaseException]
) -> None:
    before = content(populated)

    def stop(progress: Progress) -> None:
        if progress.statement == 2:
            raise reason

    directory = scripts(populated.parent, *BASE, "CREATE TABLE a (b);\nDELETE FROM tasks;\n")
    with pytest.raises(reason):
        migrate(populated, directory=directory, on_progress=stop)
    assert content(populated) == before


def test_the_writer_is_as_it_was_after_a_run_and_after_a_failure(
    tmp_path: Path, file: Path
) -> None:
    connection = connect(str(file), busy_timeout=1)
    upgrade(connection, file, directory=scripts(tmp_path, *BASE))
    check_writer(connection)
    with pytest.raises(MigrationError):
        upgrade(connection, file, directory=scripts(tmp_path, *BASE, "PRAGMA x;"))
    check_writer(connection)
    connection.close()


def check_writer(connection: Connection) -> None:
    assert connection.pragma("foreign_keys") == 1
    assert not connection.in_transaction
    assert connection.pragma("journal_mode") == "wal"
    connection.execute("SAVEPOINT a").fetchall()  # no authorizer is left
    connection.execute("ROLLBACK").fetchall()
    with pytest.raises(apsw.ConstraintError):
        connection.execute("INSERT INTO tasks (phase_id) VALUES (99)").fetchall()


# Scenario A: failures


def test_an_error_inside_a_statement_has_the_line_of_the_token(populated: Path) -> None:
    message = refused(populated, "-- é\nUPDATE tasks SET owner =\n  'éé'\n  || boss;\n")
    assert message.startswith("0003_step.sql, statement 1, line 4: no such column: boss")


def test_the_scripts_before_a_failing_one_stay(tmp_path: Path, file: Path) -> None:
    with pytest.raises(MigrationError, match=r"0003_step\.sql.*at version 2"):
        migrate(file, directory=scripts(tmp_path, *BASE, "nonsense;"))
    assert run(file, "PRAGMA user_version") == [(2,)]
    assert run(file, "SELECT count(*) FROM schema_migrations") == [(2,)]


def test_a_pending_script_that_cannot_be_read_holds_up_none_before_it(populated: Path) -> None:
    directory = scripts(populated.parent, *BASE, "CREATE TABLE a (b);", "SELECT 'a;")
    with pytest.raises(MigrationError, match=r"0004_step\.sql, line 1: the ' is never closed"):
        migrate(populated, directory=directory)
    assert run(populated, "PRAGMA user_version") == [(3,)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0003_step.sql holds no statement; write one, or remove the file"),
        ("-- soon\n", "0003_step.sql holds no statement"),
        ("SELECT 1;\nSELECT 'a;\n", "0003_step.sql, line 2: the ' is never closed"),
        ("SELECT 1;\nSELECT 'a\0';\n", "0003_step.sql, line 2: holds U+0000"),
        ("-- a\0\nSELECT 1;\n", "0003_step.sql, line 1: holds U+0000"),
        ("INSERT INTO tasks (id) VALUES (:id);", "statement 1, line 1: "),
        ("CREATE TEMP TABLE map (a);", "it leaves the temporary map: drop it"),
    ],
)
def test_a_script_that_makes_no_sense_is_refused(populated: Path, text: str, message: str) -> None:
    assert message in refused(populated, text)


def test_a_temporary_table_may_be_used_and_dropped(populated: Path) -> None:
    text = "CREATE TEMP TABLE map AS SELECT 1; DROP TABLE temp.map;"
    assert migrate(populated, directory=scripts(populated.parent, *BASE, text)).version == 3


# Scenario B: a newer file


@pytest.mark.parametrize(
    ("claims", "oldest"),
    [
        (("",), 3),
        (("-- compatible-with: 2\n", ""), 4),
        (("", "-- compatible-with: 2\n"), 3),
        (("-- compatible-with: 2\n", "-- compatible-with: 3\n"), 3),
    ],
)
def test_a_newer_file_without_a_promise_is_refused(
    populated: Path, claims: tuple[str, ...], oldest: int
) -> None:
    newer = (f"{claim}CREATE TABLE t{n} (a);" for n, claim in enumerate(claims))
    migrate(populated, directory=scripts(populated.parent, *BASE, *newer))
    before = populated.read_bytes()
    for use in (migrate, status):
        with pytest.raises(SchemaTooNewError) as refusal:
            use(populated, directory=populated.parent / "sql0")
        assert str(refusal.value) == (
            f"{populated} has schema version {2 + len(claims)}, this cwstore knows 2; it can be"
            f" used by cwstore with schema version {oldest} and up: update cwstore, or restore a"
            f" backup: `cwstore restore {populated}.v2.bak {populated} --directory"
            f" {populated.parent / 'sql0'}`"
        )
    assert populated.read_bytes() == before


def test_a_newer_file_with_a_promise_is_used_and_stays_newer(populated: Path) -> None:
    newer = "-- compatible-with: 2\nALTER TABLE tasks ADD COLUMN note TEXT;"
    newest = "-- compatible-with: 1\nSELECT 1;"
    migrate(populated, directory=scripts(populated.parent, *BASE, newer, newest))
    connection = connect(str(populated), busy_timeout=1)
    report = upgrade(connection, populated, directory=populated.parent / "sql0")
    assert (report.applied, report.version_before, report.version) == ((), 4, 4)
    connection.execute("INSERT INTO tasks (id) VALUES (9)").fetchall()
    assert connection.execute("SELECT owner FROM tasks WHERE id = 9").fetchall() == [("nobody",)]
    connection.close()
    assert status(populated, directory=populated.parent / "sql0").compatible_from == 2
    with pytest.raises(MigrationError, match="no way down"):
        migrate(populated, directory=populated.parent / "sql0", target=2)


def test_what_the_write_ahead_log_of_a_refused_file_holds_is_not_moved(populated: Path) -> None:
    writer = open_connection(str(populated))
    writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    writer.execute("PRAGMA user_version = 7").fetchall()
    writer.close()
    log = populated.with_name("store.db-wal")
    before = populated.read_bytes(), log.read_bytes()
    with pytest.raises(SchemaTooNewError):
        migrate(populated, directory=populated.parent / "sql0")
    assert (populated.read_bytes(), log.read_bytes()) == before
    assert before[1]


def test_looking_at_a_file_does_not_move_what_its_write_ahead_log_holds(populated: Path) -> None:
    writer = open_connection(str(populated))
    writer.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    writer.execute("UPDATE phases SET name = 'x'").fetchall()
    writer.close()
    log = populated.with_name("store.db-wal")
    before = populated.read_bytes(), log.read_bytes()
    assert status(populated, directory=populated.parent / "sql0").version == 2
    assert (populated.read_bytes(), log.read_bytes()) == before
    assert before[1]


def test_a_file_that_somebody_took_out_of_wal_is_put_back_before_it_is_migrated(
    populated: Path,
) -> None:
    run(populated, "PRAGMA journal_mode = DELETE")
    directory = scripts(populated.parent, *BASE, "CREATE TABLE a (b);")
    seen: list[object] = []

    def look(progress: Progress) -> None:
        found = status(populated, directory=directory)
        seen.append((run(populated, "PRAGMA journal_mode"), found.version))

    migrate(populated, directory=directory, on_progress=look)
    assert seen == [([("wal",)], 2), ([("wal",)], 2)]


def test_a_file_that_somebody_took_out_of_wal_is_put_back_unless_unless_it_is_refused(
    populated: Path,
) -> None:
    run(populated, "PRAGMA journal_mode = DELETE")
    migrate(populated, directory=populated.parent / "sql0")
    assert run(populated, "PRAGMA journal_mode") == [("wal",)]
    run(populated, "PRAGMA journal_mode = DELETE")
    run(populated, "PRAGMA user_version = 7")
    before = populated.read_bytes()
    with pytest.raises(SchemaTooNewError):
        migrate(populated, directory=populated.parent / "sql0")
    assert populated.read_bytes() == before


# Scenario H: files that are not ours


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a directory"):
        migrate(tmp_path, directory=scripts(tmp_path, *BASE))


# Status


def test_status_tells_what_a_run_would_do_and_does_nothing(populated: Path) -> None:
    before = populated.read_bytes()
    directory = scripts(populated.parent, *BASE, "SELECT 1;")
    assert status(populated, directory=directory) == MigrationStatus(
        path=str(populated),
        version=2,
        newest=3,
        pending=("0003_step",),
        compatible_from=2,
        size=populated.stat().st_size,
        backup=f"{populated}.v2.bak",
    )
    assert status(populated, directory=populated.parent / "sql0").backup is None
    assert populated.read_bytes() == before
    assert names_in(populated.parent) == ["sql0", "sql1", "store.db"]


def assert_status_refuses_as_migrate_does(file: Path, directory: Path, message: str) -> None:
    for use in (status, migrate):
        with pytest.raises(StorageError) as refusal:
            use(file, directory=directory)
        assert str(refusal.value) == message


def test_status_refuses_a_place_where_no_file_can_be_made(tmp_path: Path, file: Path) -> None:
    directory = scripts(tmp_path, *BASE)
    absent = tmp_path / "nowhere" / "store.db"
    assert_status_refuses_as_migrate_does(
        absent,
        directory,
        f"cannot create {absent}: No such file or directory; check the directory",
    )
    file.write_text("text")
    below = file / "store.db"
    assert_status_refuses_as_migrate_does(
        below, directory, f"cannot create {below}: Not a directory; check the directory"
    )
    assert names_in(tmp_path) == ["sql0", "store.db"]


@pytest.mark.parametrize("log", ["-wal", "-journal"])
def test_status_refuses_the_place_of_a_file_that_left_its_log(
    tmp_path: Path, file: Path, log: str
) -> None:
    file.with_name(f"store.db{log}").write_text("pages")
    assert_status_refuses_as_migrate_does(
        file,
        scripts(tmp_path, *BASE),
        f"{file} is not there, but {file}{log} is: the log of a database that was moved or"
        " removed. It may hold the only copy of what was written last: put the very file back"
        f" beside it, or `cwstore restore BACKUP {file}`, which keeps the log; to have a new"
        " database made, rename the log",
    )
    assert names_in(tmp_path) == ["sql0", f"store.db{log}"]


def test_status_of_memory_looks_at_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ":memory:-wal").write_text("pages")
    assert status(":memory:", directory=scripts(tmp_path, *BASE)).version == 0


def test_status_of_a_file_that_is_not_there_makes_none(tmp_path: Path, file: Path) -> None:
    directory = scripts(tmp_path, *BASE)
    pending = ("0001_step", "0002_step")
    assert status(file, directory=directory) == MigrationStatus(
        str(file), 0, 2, pending, 0, 0, None
    )
    assert not file.exists()
    migrate(file, directory=directory, target=0)
    assert status(file, directory=directory) == MigrationStatus(
        str(file), 0, 2, pending, 0, file.stat().st_size, None
    )
