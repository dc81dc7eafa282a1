"""Migrations of a schema: made, refused, compared, and by whom they are applied."""

from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

import cwstore
from cwstore._postgres.schema.target import PostgresTarget, open_target, program_for
from cwstore.core.database import Database
from cwstore.core.reports import CheckReport
from cwstore.errors import (
    BusyError,
    CwstoreError,
    ForeignDatabaseError,
    InvalidValueError,
    MigrationError,
    OutcomeUnknownError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.migrations.scripts import newest, scripts_of
from cwstore.store import Store
from tests.kits.engine import Other, Task, names
from tests.kits.postgres_server import Server

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]
OURS = program_for(None, None, ())
VERSION = newest(scripts_of(OURS))
FILES = {
    "0001_wishes.sql": "CREATE TABLE wishes (id text PRIMARY KEY, n bigint);\n"
    "CREATE INDEX wishes_ix ON wishes (n);\nINSERT INTO wishes (id) VALUES ('a'), ('b');",
    "0002_more.sql": "ALTER TABLE wishes ADD COLUMN m bigint;",
}


@pytest.fixture
def empty(postgres_server: Server) -> Any:
    """The address of a database without a table."""
    name = postgres_server.new_database()
    yield postgres_server.address(name)
    postgres_server.drop(name)


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """A directory with the scripts of a service."""
    directory = tmp_path / "sql"
    directory.mkdir()
    for name, text in FILES.items():
        (directory / name).write_text(text)
    return directory


def test_a_new_schema_is_made_and_found_current_the_next_time(empty: str) -> None:
    report = cwstore.migrate(empty)
    assert (report.version_before, report.version, report.backup) == (0, VERSION, None)
    assert report.applied == tuple(one.name for one in scripts_of(OURS))
    again = cwstore.migrate(empty)
    assert (again.applied, again.version) == ((), VERSION)
    with Store.open(empty) as store:
        assert store.version == VERSION
        assert store.check().ok


def test_status_tells_what_is_pending_and_changes_nothing(empty: str, scripts: Path) -> None:
    before = cwstore.status(empty)
    assert (before.version, before.newest, len(before.pending)) == (0, VERSION, 1)
    cwstore.migrate(empty, directory=scripts, application_id=7, target=1)
    found = cwstore.status(empty, directory=scripts, application_id=7)
    assert (found.version, found.pending, found.backup) == (1, ("0002_more",), None)
    assert (found.added, found.extensions, found.exposed) == ((), (), ())
    assert found.size > 0


def test_a_schema_of_its_own_is_made_and_keeps_to_itself(empty: str) -> None:
    own = f"{empty}&schema=My%20%22own%22%27s"
    with Store.open(own) as store, Store.open(empty) as other:
        store.initiatives.create(name="mine")
        other.initiatives.create(name="theirs")
        assert (names(store), names(other)) == (["mine"], ["theirs"])
        assert store.check() == other.check()
        assert store.check().ok
        with store.transaction():  # each has a lane of its own
            other.initiatives.create(name="at once")
    with Store.open(own) as store:
        assert names(store) == ["mine"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new", "old", "tasks", "t", "ON%20", "public.x"])
def test_a_schema_may_have_the_name_of_what_its_tables_speak_of(empty: str, name: str) -> None:
    for _ in range(2):
        with Store.open(f"{empty}&schema={name}") as store:
            assert store.check() == CheckReport((), (), ())


def test_no_schema_of_the_search_path_is_refused(empty: str) -> None:
    with pytest.raises(StorageError, match=r"of the search_path is there; name one by \?schema=$"):
        Store.open(f"{empty}&options=-csearch_path%3Dnowhere")


def test_tables_of_another_program_are_left_alone(address: str, scripts: Path) -> None:
    with psycopg.connect(f"{address}") as connection:
        connection.execute("DELETE FROM schema_migrations")
    with pytest.raises(MigrationError, match="emptied"):
        Store.open(address)
    with psycopg.connect(address) as connection:
        connection.execute("DROP TABLE schema_migrations")
    with pytest.raises(ForeignDatabaseError, match="has tables"):
        Store.open(address)


def test_a_schema_of_another_application_is_left_alone(empty: str, scripts: Path) -> None:
    cwstore.migrate(empty, directory=scripts, application_id=7)
    with pytest.raises(ForeignDatabaseError) as caught:
        Store.open(empty)
    assert str(caught.value) == (
        f"{empty}: its tables are another program's; it was left alone: give another database, or"
        " another schema by ?schema="
    )


def test_an_edited_script_and_newer_tables_are_refused(empty: str, scripts: Path) -> None:
    cwstore.migrate(empty, directory=scripts, application_id=7)
    (scripts / "0002_more.sql").unlink()
    with pytest.raises(SchemaTooNewError):
        cwstore.migrate(empty, directory=scripts, application_id=7)
    (scripts / "0002_more.sql").write_text("ALTER TABLE wishes ADD COLUMN other bigint;")
    with pytest.raises(MigrationError, match="was edited"):
        cwstore.migrate(empty, directory=scripts, application_id=7)
    (scripts / "0002_more.sql").write_text("-- said\n" + FILES["0002_more.sql"])
    assert cwstore.migrate(empty, directory=scripts, application_id=7).applied == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP INDEX tasks_created_ix", "index tasks_created_ix is missing"),
        ("ALTER TABLE tasks DROP CONSTRAINT tasks_name_ck", "table tasks is another one"),
        ("ALTER TABLE tasks ALTER COLUMN name DROP NOT NULL", "table tasks is another one"),
        ("ALTER TABLE tasks DISABLE TRIGGER tasks_end_attempt_tg", "trigger tasks_end_attempt_tg"),
        ("DROP TRIGGER agents_lose_attempt_tg ON agents", "trigger agents_lose_attempt_tg is"),
        (
            "CREATE OR REPLACE FUNCTION take_cycle_guard() RETURNS void LANGUAGE sql AS ''",
            "function take_cycle_guard is another one",
        ),
        (("CREATE OR REPLACE VIEW task_approvals AS SELECT id AS task_id, 1::bigint AS"
         " requires_approval FROM tasks"), "view task_approvals is another one"),
        ("ALTER TABLE agents ALTER COLUMN status SET DEFAULT 'running'", "table agents is"),
    ],
)  # fmt: skip
def test_what_somebody_changed_is_found_and_refused(
    store: Store, address: str, superuser: Connection, change: str, said: str
) -> None:
    superuser.execute(change.encode())
    assert any(said in line for line in store.check().drift)
    with pytest.raises(MigrationError, match=said):
        Store.open(address)


def test_what_somebody_added_is_told_and_left_alone(
    store: Store, address: str, superuser: Connection
) -> None:
    superuser.execute("CREATE INDEX mine ON tasks (name)")
    superuser.execute("CREATE TABLE theirs (id bigint)")
    report = store.check()
    assert (report.ok, report.added) == (True, ("index mine on tasks", "table theirs"))
    assert cwstore.status(address).added == report.added
    Store.open(address).close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CREATE TABLE x (id bigint); COMMIT;", "statement 2, line 1: it may not begin, end"),
        ("SET search_path = x;", "may not change settings"),
        ("VACUUM;", "cannot be part of a transaction"),
        ("CREATE INDEX CONCURRENTLY x ON wishes (n);", "CONCURRENTLY"),
        ("SELECT set_config('search_path', 'x', false);", "may not change settings"),
        ("SELECT setval('some_seq', 1);", "setval is not undone with a transaction"),
        ("ALTER SYSTEM SET fsync = off;", "cannot be part of a transaction"),
        ("DO $$ BEGIN END $$;", "cannot see through it"),
        ("CREATE TABLE wishes (id bigint);", 'relation "wishes" already exists'),
        ("DROP INDEX wishes_ix;", "add `-- drops: index wishes_ix`"),
        ("DELETE FROM wishes WHERE id = 'a';", "1 of 2 rows of wishes are gone"),
        ("DROP TABLE wishes;", "table wishes is gone"),
    ],
)
def test_a_script_that_does_harm_leaves_no_trace(
    empty: str, scripts: Path, text: str, said: str
) -> None:
    cwstore.migrate(empty, directory=scripts, application_id=7)
    (scripts / "0003_harm.sql").write_text(text)
    with pytest.raises(MigrationError, match="the database is at version 2") as caught:
        cwstore.migrate(empty, directory=scripts, application_id=7)
    assert said in str(caught.value)
    (scripts / "0003_harm.sql").unlink()
    assert cwstore.migrate(empty, directory=scripts, application_id=7).applied == ()


def test_a_declared_loss_is_no_harm_and_changed_rows_are_counted(empty: str, scripts: Path) -> None:
    cwstore.migrate(empty, directory=scripts, application_id=7)
    (scripts / "0003_less.sql").write_text(
        "-- deletes: wishes\n-- drops: index wishes_ix\n"
        "DELETE FROM wishes WHERE id = 'a';\nDROP INDEX wishes_ix;"
    )
    (scripts / "0004_nothing_left.sql").write_text(
        "-- drops: table wishes\nCREATE INDEX on_it ON wishes (m);\nDROP TABLE wishes;"
    )
    said: list[object] = []
    report = cwstore.migrate(
        empty, directory=scripts, application_id=7, on_progress=lambda one: said.append(one.name)
    )
    assert [step.rows_changed for step in report.steps] == [1, 0]
    assert set(said) == {"0003_less", "0004_nothing_left"}


def test_ctrl_c_between_two_statements_leaves_no_trace(empty: str, scripts: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.statement == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cwstore.migrate(empty, directory=scripts, application_id=7, on_progress=stop)
    assert cwstore.status(empty, directory=scripts, application_id=7).version == 0


def test_a_server_that_fails_in_a_migration_is_told_as_such(empty: str, scripts: Path) -> None:
    (scripts / "0003_cut.sql").write_text("SELECT pg_terminate_backend(pg_backend_pid());")
    with pytest.raises(StorageError, match="ended the connection"):
        cwstore.migrate(empty, directory=scripts, application_id=7)
    assert cwstore.status(empty, directory=scripts, application_id=7).version == 2


@pytest.mark.parametrize(
    ("work", "error"),
    [
        ("PERFORM pg_terminate_backend(pg_backend_pid());", OutcomeUnknownError),
        ("RAISE EXCEPTION USING ERRCODE = '53100';", StorageError),
    ],
    ids=["cut", "refused"],
)
def test_a_migration_whose_commit_fails_says_whether_it_may_be_there(
    empty: str, scripts: Path, work: str, error: type[CwstoreError]
) -> None:
    (scripts / "0003_late.sql").write_text(
        f"CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {work} RETURN NULL;"
        " END $$;\nCREATE CONSTRAINT TRIGGER late AFTER INSERT ON wishes DEFERRABLE INITIALLY"
        " DEFERRED FOR EACH ROW EXECUTE FUNCTION late();\nINSERT INTO wishes (id) VALUES ('z');"
    )
    with pytest.raises(error):
        cwstore.migrate(empty, directory=scripts, application_id=7)
    assert cwstore.status(empty, directory=scripts, application_id=7).version == 2


def test_a_user_without_rights_is_told_so(address: str, superuser: Connection) -> None:
    superuser.execute("DROP ROLE IF EXISTS somebody")
    superuser.execute("CREATE ROLE somebody LOGIN")
    try:
        with pytest.raises(StorageError, match="GRANT"):
            Store.open(address.replace("user=cwstore", "user=somebody"))
    finally:
        superuser.execute("DROP ROLE somebody")


def test_a_script_may_take_longer_than_a_statement_may(
    empty: str, scripts: Path, superuser: Connection
) -> None:
    name = empty.partition("///")[2].partition("?")[0]
    superuser.execute(f"ALTER DATABASE {name} SET statement_timeout = '1h'".encode())
    (scripts / "0003_tells.sql").write_text(
        "CREATE TABLE told (t text);\nINSERT INTO told SELECT current_setting('statement_timeout');"
    )
    with Database.open(empty, migrations=scripts, application_id=7) as opened:
        assert opened._db._writer.connection.execute("SHOW statement_timeout").fetchall() == [  # type: ignore[attr-defined]
            ("1h",)
        ]
    with psycopg.connect(empty) as other:
        assert other.execute("SELECT t FROM told").fetchall() == [("0",)]


_OPEN = """
import sys
import cwstore
print("ready", flush=True)
sys.stdin.readline()
print(len(cwstore.migrate(sys.argv[1]).applied))
with cwstore.Store.open(sys.argv[1]) as store:
    store.initiatives.create(name="x")
"""


@pytest.mark.slow
def test_of_six_processes_that_start_at_once_one_migrates(empty: str) -> None:
    with ExitStack() as stack:
        racers = [stack.enter_context(Other(_OPEN, f"{empty}&schema=new")) for _ in range(6)]
        assert [racer.hear() for racer in racers] == ["ready"] * 6
        for racer in racers:
            racer.tell()
        assert sorted(racer.end() for racer in racers) == [["0"]] * 5 + [["1"]]
    with Store.open(f"{empty}&schema=new") as store:
        assert names(store) == ["x"] * 6
        assert store.check().ok


_MIGRATE = """
import sys
import cwstore
print("ready", flush=True)
cwstore.migrate(sys.argv[1], directory=sys.argv[2], application_id=7)
"""


def test_a_migrator_that_is_killed_leaves_no_trace_and_no_lock(empty: str, scripts: Path) -> None:
    (scripts / "0003_waits.sql").write_text(
        "UPDATE wishes SET n = 1;\nSELECT pg_advisory_xact_lock(5);\nDROP INDEX wishes_ix;\n"
        "-- drops: index wishes_ix"
    )
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with psycopg.connect(empty, autocommit=True) as gate:
        gate.execute("SELECT pg_advisory_lock(5)")
        with Other(_MIGRATE, empty, scripts) as migrator:
            assert migrator.hear() == "ready"
            while gate.execute(waits).fetchall() == [(0,)]:
                Event().wait(0.005)
        assert gate.execute("SELECT count(*) FROM wishes WHERE n = 1").fetchall() == [(0,)]
        gate.execute("SELECT pg_advisory_unlock(5)")
        report = cwstore.migrate(empty, directory=scripts, application_id=7)
    assert (report.version_before, report.applied) == (2, ("0003_waits",))


def test_of_threads_that_start_at_once_one_migrates(empty: str) -> None:
    tasks = [Task(lambda: cwstore.migrate(f"{empty}&schema=new")) for _ in range(4)]
    applied = [task.finish().applied for task in tasks]  # type: ignore[attr-defined]
    assert sorted(map(len, applied)) == [0, 0, 0, 1]


def test_a_table_in_use_is_waited_for_in_vain(
    empty: str, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._postgres.schema.target._BUSY_TIMEOUT", 0.05)
    cwstore.migrate(empty, directory=scripts, application_id=7, target=1)
    with psycopg.connect(empty) as other:
        other.execute("SELECT * FROM wishes")
        with pytest.raises(BusyError):
            cwstore.migrate(empty, directory=scripts, application_id=7)
    assert cwstore.migrate(empty, directory=scripts, application_id=7).applied == ("0002_more",)


def test_what_a_file_can_do_and_a_server_cannot_is_said(address: str) -> None:
    with pytest.raises(InvalidValueError, match="must be a version from 17"):
        cwstore.migrate(address, target=3)


def test_newer_tables_than_this_code_are_not_compared(store: Store, superuser: Connection) -> None:
    superuser.execute(
        "INSERT INTO schema_migrations SELECT version + 1, 'x', checksum, text_sum, version,"
        " structure, applied_at, application_id FROM schema_migrations"
    )
    superuser.execute("CREATE TABLE newer (id bigint)")
    report = store.check()
    assert (report.ok, report.added) == (True, ())


def test_a_schema_that_another_process_makes_meanwhile_is_taken(
    empty: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = PostgresTarget._schema
    calls = [0]

    def late(self: PostgresTarget) -> str | None:
        calls[0] += 1
        return None if calls[0] == 1 else seen(self)

    monkeypatch.setattr(PostgresTarget, "_schema", late)
    assert cwstore.migrate(f"{empty}&schema=public").version == VERSION
    target = open_target(empty, OURS)
    assert target.with_program(OURS).read_state().version == VERSION
    target.close()
