"""What `check` tells of a file that no store would open, and of one with damaged pages."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import apsw
import pytest

from cwstore._sqlite.inspection import CheckReport, check_file
from cwstore.cli import main
from cwstore.core.watching import watched_by
from cwstore.errors import (
    BusyError,
    ConflictError,
    CorruptDatabaseError,
    ForeignDatabaseError,
    MigrationError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.migrations.api import migrate, status
from cwstore.migrations.scripts import default_directory
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.engine import assert_ours_alone, locked
from tests.kits.migrations import run
from tests.kits.schema import HEAD

WHOLE = CheckReport(integrity=(), foreign_keys=(), drift=())
MALFORMED = "database disk image is malformed"
OLD = 9


@pytest.fixture
def current(file: Path) -> Path:
    """A file of the newest version with some rows."""
    with Store.open(file) as store:
        for number in range(60):
            store.initiatives.create(name=f"initiative {number} " + "x" * 300)
    return file


def damage(file: Path, table: str) -> None:
    """Overwrite the last page of a table."""
    ((page,),) = run(file, f"SELECT max(pageno) FROM dbstat WHERE name = '{table}'")
    whole = file.read_bytes()
    file.write_bytes(whole[: (page - 1) * 4096] + b"\xff" * 4096 + whole[page * 4096 :])


def test_ctrl_c_gets_through_while_a_file_is_checked(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(done: float, of: float, note: str) -> None:
        if note == "looking for damage":
            raise KeyboardInterrupt

    monkeypatch.setattr("cwstore._sqlite.backup._OPERATIONS", 10)
    with Store.open(current) as store:
        with watched_by(interrupt), pytest.raises(KeyboardInterrupt):
            store.check()
        assert store.check().ok


def test_a_check_says_what_it_is_at(current: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cwstore._sqlite.backup._OPERATIONS", 100_000_000)
    told: list[tuple[float, float, str]] = []
    with watched_by(lambda *step: told.append(step)):
        check_file(current)
    assert told == [(99, 100, "looking for broken references")]


def reported(file: Path, capsys: pytest.CaptureFixture[str]) -> CheckReport:
    """What is found; the command must list the same, exit with 1, and leave the file alone."""
    before = file.read_bytes()
    report = check_file(file)
    assert main(["check", str(file), "--json"]) == 1
    said, complaint = capsys.readouterr()
    assert json.loads(said) == json.loads(json.dumps({"ok": False, **asdict(report)}))
    assert complaint == (
        f"cwstore: {file} has the problems listed;"
        f" restore a backup: `cwstore restore BACKUP {file}`\n"
    )
    assert file.read_bytes() == before
    return report


# Files that no store would open


def test_what_was_changed_by_hand_is_listed_with_all_else_that_is_wrong(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(current, "PRAGMA foreign_keys = OFF")
    run(current, "DROP INDEX initiatives_status_ix")
    run(current, "CREATE TABLE mine (a)")
    run(current, "INSERT INTO phase_dependencies VALUES ('nothing', 'nowhere')")
    with pytest.raises(MigrationError):
        Store.open(current)
    assert reported(current, capsys) == CheckReport(
        integrity=(),
        foreign_keys=("phase_dependencies: 2 rows refer to rows of phases that do not exist",),
        drift=("index initiatives_status_ix is missing",),
        added=("table mine",),
    )


def test_where_foreign_keys_make_no_sense_any_more_the_structure_is_still_compared(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(current, "DROP TABLE review_comments")
    run(current, "CREATE TABLE review_comments (phase_id REFERENCES phases (content))")
    run(current, "INSERT INTO review_comments VALUES ('x')")
    report = reported(current, capsys)
    assert report.integrity == ()
    assert report.foreign_keys == ('foreign key mismatch - "review_comments" referencing "phases"',)
    assert "column review_comments.body is missing" in report.drift


def test_an_older_file_is_held_against_its_own_version(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    migrate(file, target=OLD)
    before = file.read_bytes()
    assert check_file(file) == WHOLE
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr() == (
        f"{file}: OK: no damage, no broken references, schema as expected.\n",
        "",
    )
    assert file.read_bytes() == before
    assert status(file).version == OLD
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    run(file, "CREATE TABLE mine (a)")
    assert check_file(file) == CheckReport((), (), (), added=("table mine",))
    run(file, "ALTER TABLE tasks ADD COLUMN mine TEXT")
    assert reported(file, capsys) == CheckReport(
        (), (), ("column tasks.mine is not expected",), added=("table mine",)
    )


def test_what_is_no_file_of_ours_is_refused_and_none_is_made(file: Path) -> None:
    with pytest.raises(StorageError, match=f"{file} is not there; give the path"):
        check_file(file)
    with pytest.raises(StorageError, match=":memory: is not there"):
        check_file(":memory:")
    with pytest.raises(StorageError, match="is a directory"):
        check_file(file.parent)
    assert list(file.parent.iterdir()) == []
    run(file, "CREATE TABLE theirs (a)")
    with pytest.raises(ForeignDatabaseError, match="belongs to another application"):
        check_file(file)


def newer(file: Path, compatible_with: str) -> None:
    """One more migration than this code knows."""
    run(
        file,
        "INSERT INTO schema_migrations"
        f" SELECT version + 1, '9999_later', '', 0, {compatible_with}, structure, 0"
        " FROM schema_migrations ORDER BY version DESC LIMIT 1",
    )
    run(file, f"PRAGMA user_version = {status(':memory:').newest + 1}")


def test_a_newer_file_is_refused_unless_it_says_that_this_code_may_use_it(current: Path) -> None:
    newer(current, "NULL")
    with pytest.raises(SchemaTooNewError, match="update cwstore"):
        check_file(current)
    run(current, "UPDATE schema_migrations SET compatible_with = 1 WHERE name = '9999_later'")
    assert check_file(current) == WHOLE
    with Store.open(current) as store:
        assert store.check() == WHOLE
    run(current, "CREATE TABLE mine (a)")
    assert check_file(current) == WHOLE  # it may be of the newer code
    run(current, "DROP INDEX tasks_parent_task_ix")
    with pytest.raises(MigrationError, match="changed by hand"):
        check_file(current)


def test_what_the_log_holds_is_read_and_stays_there(current: Path, tmp_path: Path) -> None:
    with Store.open(current) as store:
        store.initiatives.create(name="in the log")
        copies = [tmp_path / f"copy.db{end}" for end in ("", "-wal")]
        for end, copy in zip(("", "-wal"), copies, strict=True):
            copy.write_bytes(Path(f"{current}{end}").read_bytes())
            copy.chmod(0o600)
    before = [copy.read_bytes() for copy in copies]
    assert check_file(copies[0]) == WHOLE
    assert [copy.read_bytes() for copy in copies] == before


def test_a_file_that_is_written_to_can_be_checked(current: Path) -> None:
    with locked(current):
        assert check_file(current) == WHOLE


def test_a_file_that_somebody_has_for_himself_alone_is_in_use_and_not_damaged(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._sqlite.inspection.BUSY_TIMEOUT", 0.0)
    other = apsw.Connection(str(current))
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT").fetchall()
    with pytest.raises(BusyError) as refused:
        check_file(current)
    other.close()
    assert refused.value.waited == 0.0
    assert check_file(current) == WHOLE


def test_an_error_of_the_disk_is_no_damage_and_says_what_was_done(
    current: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise apsw.exception_for(apsw.SQLITE_IOERR_READ)

    monkeypatch.setattr("cwstore._sqlite.inspection.find_damage", fail)
    with Store.open(current) as store, pytest.raises(StorageError) as refused:
        store.check()
    assert str(refused.value).startswith("checking: ")


def test_a_ledger_of_another_shape_is_refused(current: Path) -> None:
    run(current, "ALTER TABLE schema_migrations RENAME COLUMN text_sum TO length")
    with pytest.raises(CorruptDatabaseError, match="reading the version of") as caught:
        check_file(current)
    assert_ours_alone(caught.value)


# Damaged pages


def test_damage_is_told_as_far_as_it_could_be_read_and_the_rest_is_checked(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(current, "PRAGMA foreign_keys = OFF")
    run(current, "INSERT INTO phase_dependencies VALUES ('nothing', 'nowhere')")
    damage(current, "initiatives")
    with Store.open(current) as store:
        report = store.check()
    first, *_, last = report.integrity
    assert first.startswith("*** in database main ***")
    assert last == MALFORMED
    assert report == CheckReport(
        report.integrity,
        ("phase_dependencies: 2 rows refer to rows of phases that do not exist",),
        (),
    )
    assert reported(current, capsys) == report
    told = r"not kept, its source is damaged: \*\*\* in"
    with Store.open(current) as store, pytest.raises(CorruptDatabaseError, match=told):
        store.backup(current.with_name("copy.db"))


def test_a_count_that_cannot_be_read_is_damage_beside_what_sqlite_finds(current: Path) -> None:
    ((page,),) = run(current, "SELECT pageno FROM dbstat WHERE name = 'readiness'")
    damage(current, "readiness")
    found = f"Tree {page} page {page}: btreeInitPage() returns error code 11"
    assert check_file(current) == CheckReport(
        (f"*** in database main ***\n{found}", MALFORMED), (), ()
    )


def test_a_file_that_cannot_even_be_opened_is_a_finding(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current.write_bytes(current.read_bytes()[: 4096 * 3])
    assert reported(current, capsys) == CheckReport(
        (f"opening {current}: database disk image is malformed",), (), ()
    )


def test_where_rows_that_refer_cannot_be_read_the_structure_is_still_compared(
    current: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(current) as store:
        owner = store.initiatives.find_all()[0].id
        for number in range(60):
            store.phases.create(initiative_id=owner, name=f"phase {number} " + "x" * 300)
    run(current, "CREATE TABLE mine (a)")
    damage(current, "phases")
    report = reported(current, capsys)
    assert report.integrity[0].startswith("*** in database main ***")
    assert report.integrity.count(MALFORMED) == 1
    assert report == CheckReport(report.integrity, (), (), added=("table mine",))


def test_a_query_of_a_damaged_table_says_that_the_file_is_damaged(current: Path) -> None:
    with Store.open(current) as store:
        for number in range(60):
            store.projects.create(name=f"{number} " + "x" * 300, url=str(number))
    damage(current, "projects")
    with Store.open(current, read_only=True) as store:
        with pytest.raises(CorruptDatabaseError):
            store.query("SELECT sum(length(default_branch)) FROM projects")
        assert store.query("SELECT count(*) AS n FROM phases") != []


def test_a_damaged_ledger_is_damage(current: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(current, "schema_migrations")
    report = reported(current, capsys)
    assert report.integrity[0].startswith("*** in database main ***")
    assert report == CheckReport(report.integrity, (), ())


@pytest.mark.parametrize("kept", [True, False])
def test_pages_of_one_form_that_have_changed_places_are_damage(file: Path, kept: bool) -> None:
    """SQLite finds nothing wrong with them. A stamp is kept where the rows do not tell it."""
    with Store.open(file) as store:
        made = store.initiatives.create(name="first")
        if kept:
            store.initiatives.update(made.id, name="renamed")
    assert check_file(file) == WHOLE
    one, other = (
        run(file, f"SELECT (pageno - 1) * 4096 FROM dbstat WHERE name = '{table}'")[0][0]
        for table in ("readiness", "stamps")
    )
    old = file.read_bytes()
    new = bytearray(old)
    new[one : one + 4096], new[other : other + 4096] = old[other:][:4096], old[one:][:4096]
    file.write_bytes(new)
    assert check_file(file) == CheckReport(
        ("readiness: it has no count; its page may have changed places with that of stamps",),
        (),
        (),
    )


# In memory


def test_in_memory_a_store_is_copied_checked_and_counted(tmp_path: Path) -> None:
    with Store.open(":memory:") as store:
        made = store.initiatives.create(name="kept")
        store.backup(tmp_path / "copy.db")
        assert store.check() == WHOLE
        assert {table.name: table.rows for table in store.stats().tables}["initiatives"] == 1
        ((pages,),) = engine_of(store)._writer.ask("PRAGMA page_count")
        assert store.stats().file_bytes == pages * 4096
        with store.transaction():
            store.initiatives.create(name="not yet")
            with pytest.raises(ConflictError, match="leave it first"):
                store.backup(tmp_path / "other.db")
            assert store.check() == WHOLE
            assert {table.name: table.rows for table in store.stats().tables}["initiatives"] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]
    with Store.open(tmp_path / "copy.db") as copy:
        assert copy.initiatives.find_all() == [made]


def test_a_store_is_checked_and_counted_as_it_is_now_not_as_it_was_opened(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer code has migrated it meanwhile, and lets this code go on."""
    newer = tmp_path / "newer"
    shutil.copytree(default_directory(), newer)
    more = f"-- compatible-with: {HEAD}\nCREATE TABLE more (id INTEGER PRIMARY KEY) STRICT;\n"
    (newer / f"{HEAD + 1:04}_more.sql").write_text(more)
    with Store.open(file) as store:
        assert store.check() == WHOLE
        migrate(file, directory=newer, backup=False)
        assert store.check() == WHOLE
        assert store.stats().version == HEAD + 1
        store.initiatives.create(name="goes on")
    with Store.open(":memory:") as memory, memory.transaction():
        assert memory.check() == WHOLE
