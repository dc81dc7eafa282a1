"""Tables of a service's own in the file of a store: versioned and guarded as the store's own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwstore import Extension, Store, migrate, rehearse, restore, status
from cwstore.cli import main
from cwstore.core.reports import ExtensionStatus, Progress
from cwstore.errors import (
    InvalidValueError,
    MigrationError,
    MissingReferenceError,
    SchemaTooNewError,
)
from cwstore.migrations import runner
from tests.kits.engine import DeliberateError
from tests.kits.migrations import content, names_in, run, scripts

INVOICES = """
CREATE TABLE billing_invoices (
    id       TEXT     NOT NULL  PRIMARY KEY,
    task_id  TEXT     REFERENCES tasks (id) ON DELETE CASCADE,
    cents    INTEGER  NOT NULL
) STRICT;
CREATE INDEX billing_invoices_task_ix ON billing_invoices (task_id);
CREATE VIEW billing_open
AS SELECT i.id, t.name FROM billing_invoices AS i JOIN tasks AS t ON t.id = i.task_id;
"""
PAYMENTS = "CREATE TABLE billing_payments (id TEXT NOT NULL PRIMARY KEY) STRICT;"
NEWEST = status(":memory:").newest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def billing(tmp_path: Path) -> Extension:
    return Extension("billing", migrations=scripts(tmp_path, INVOICES))


@pytest.fixture
def store(file: Path, billing: Extension) -> Iterator[Store]:
    with Store.open(file, extensions=[billing]) as store:
        yield store


def more(extension: Extension, *texts: str) -> Extension:
    """The same one, later."""
    place = Path(extension.migrations)
    return Extension(extension.name, migrations=scripts(place.parent, INVOICES, *texts))


def add_invoice(file: Path, id: str, task_id: str | None = None) -> None:
    task = "NULL" if task_id is None else f"'{task_id}'"
    run(file, f"INSERT INTO billing_invoices VALUES ('{id}', {task}, 5)")


def test_its_tables_are_there_and_refer_to_ours(store: Store, file: Path) -> None:
    store.tasks.create(name="t", id="t")
    add_invoice(file, "i", "t")
    assert store.query("SELECT * FROM billing_open") == [{"id": "i", "name": "t"}]
    assert store.tasks.delete("t")
    assert store.query("SELECT id FROM billing_invoices") == []
    assert store.version == NEWEST
    report = store.check()
    assert (report.ok, report.added) == (True, ())
    assert "billing_schema_migrations" in {table.name for table in store.stats().tables}


def test_rows_that_it_holds_cannot_be_deleted_and_who_holds_them_is_said(
    file: Path, tmp_path: Path
) -> None:
    stays = """CREATE TABLE billing_stays (
        id       TEXT NOT NULL PRIMARY KEY,
        task_id  TEXT NOT NULL REFERENCES tasks (id)
    );"""
    holding = Extension("billing", migrations=scripts(tmp_path, stays))
    with Store.open(file, extensions=[holding]) as store:
        initiative = store.initiatives.create(name="i")
        task = store.tasks.create(name="t", initiative_id=initiative.id)
        run(file, f"INSERT INTO billing_stays VALUES ('s', '{task.id}')")
        for table, delete in (
            ("tasks", lambda: store.tasks.delete(task.id)),
            ("initiatives", lambda: store.initiatives.delete(initiative.id)),
        ):
            with pytest.raises(MissingReferenceError) as refusal:
                delete()
            assert str(refusal.value) == (
                f"{table}: billing_stays.task_id still refers to what would be deleted; delete or"
                " change those rows first"
            )
        assert store.tasks.find_all() == [task]


def test_it_is_opened_again_without_a_closer_look_with_it_or_without(
    store: Store, file: Path, billing: Extension, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_closer(*_: object, **__: object) -> None:
        raise DeliberateError

    monkeypatch.setattr(runner, "upgrade", look_closer)
    Store.open(file, extensions=(billing,)).close()
    with Store.open(file) as other:
        assert other.tasks.create(name="t").name == "t"
        report = other.check()
        assert (report.ok, report.added) == (True, ())


def test_it_comes_into_a_file_that_is_there_after_a_backup(
    file: Path, billing: Extension, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(file) as store:
        store.tasks.create(name="t", id="t")
    report = rehearse(file, extensions=[billing])
    assert [step.name for step in report.steps] == ["billing/0001_step"]
    assert status(file, extensions=[billing]).extensions == (
        ExtensionStatus("billing", 0, 1, ("0001_step",)),
    )
    report = migrate(file, extensions=[billing])
    copy = file.with_name(f"store.db.v{NEWEST}-billing-0.bak")
    assert (report.applied, report.backup) == (("billing/0001_step",), str(copy))
    with Store.open(copy) as before:
        assert before.tasks.get("t").name == "t"
        assert before.query("SELECT 1 FROM pragma_table_info('billing_invoices')") == []
    assert status(file, extensions=[billing]).extensions == (ExtensionStatus("billing", 1, 1, ()),)
    assert status(file).extensions == (ExtensionStatus("billing", 1, None, ()),)
    assert status(file).added == ()
    assert main(["status", str(file)]) == 0
    told = "extension billing: version 1 (its migrations were not given)\n"
    assert told in capsys.readouterr().out


def test_its_migrations_are_told_under_its_name_as_they_run(
    file: Path, billing: Extension, caplog: pytest.LogCaptureFixture
) -> None:
    Store.open(file).close()
    told: list[Progress] = []
    with caplog.at_level("INFO", logger="cwstore"):
        migrate(file, backup=False, extensions=[billing], on_progress=told.append)
    assert told == [
        Progress(1, 1, "billing/0001_step", done, 3, told[done].seconds) for done in range(4)
    ]
    (logged,) = caplog.messages
    assert logged.startswith(f"{file}: migration billing/0001_step applied: 3 statements, ")


def test_a_new_file_gets_all_at_once_and_no_backup(file: Path, billing: Extension) -> None:
    assert status(file, extensions=[billing]).extensions == (
        ExtensionStatus("billing", 0, 1, ("0001_step",)),
    )
    report = migrate(file, extensions=[billing])
    assert (len(report.applied), report.applied[-1]) == (NEWEST + 1, "billing/0001_step")
    assert names_in(file.parent) == ["sql0", "store.db"]


def test_its_tables_wait_until_ours_are_the_newest(file: Path, billing: Extension) -> None:
    assert migrate(file, target=11, extensions=[billing]).version == 11
    assert run(file, "SELECT name FROM sqlite_schema WHERE name LIKE 'billing%'") == []


def test_each_upgrade_keeps_a_backup_and_an_older_program_is_told_which_serves(
    store: Store, file: Path, billing: Extension
) -> None:
    add_invoice(file, "i")
    store.close()
    claim = "-- compatible-with: 2\nALTER TABLE billing_payments ADD COLUMN a TEXT;"
    later = more(billing, PAYMENTS, claim)
    with Store.open(file, extensions=[later]) as upgraded:
        assert upgraded.query("SELECT id FROM billing_invoices") == [{"id": "i"}]
        assert upgraded.version == NEWEST
    last = more(billing, PAYMENTS, claim, "CREATE TABLE billing_rest (a);")
    assert migrate(file, extensions=[last]).backup == f"{file}.v{NEWEST}-billing-3.bak"
    with pytest.raises(SchemaTooNewError) as refusal:
        Store.open(file, extensions=[billing])
    copy = f"{file}.v{NEWEST}-billing-1.bak"
    assert str(refusal.value) == (
        f"{file} has schema version 4, this extension billing knows 1; it can be used by the"
        " extension billing with schema version 4 and up: update the extension billing, or restore"
        f" a backup: `cwstore restore {copy} {file}`"
    )
    restore(f"{file}.v{NEWEST}-billing-3.bak", file)
    Store.open(file, extensions=[more(billing, PAYMENTS)]).close()
    restore(copy, file)
    with Store.open(file, extensions=[billing]) as older:
        assert older.query("SELECT id FROM billing_invoices") == [{"id": "i"}]


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("CREATE TABLE invoices (a);", "what is named billing_…, not invoices"),
        ("CREATE INDEX billing_ix ON tasks (name);", "what is named billing_…, not tasks"),
        (
            "CREATE TRIGGER billing_tg AFTER UPDATE ON tasks BEGIN SELECT 1; END;",
            "what is named billing_…, not tasks",
        ),
        ("ALTER TABLE tasks ADD COLUMN cents INTEGER;", "what is named billing_…, not tasks"),
        ("ALTER TABLE tasks RENAME TO billing_tasks;", "what is named billing_…, not tasks"),
        (
            "-- drops: table billing_invoices\nALTER TABLE billing_invoices RENAME TO invoices;",
            "it makes the table invoices, which must be named billing_…",
        ),
        ("DROP VIEW ready_tasks;", "what is named billing_…, not ready_tasks"),
        ("DELETE FROM tasks;", "what is named billing_…, not tasks"),
        ("UPDATE tasks SET name = 'mine';", "what is named billing_…, not tasks"),
        ("INSERT INTO tasks (id) VALUES ('mine');", "what is named billing_…, not tasks"),
        ("PRAGMA user_version = 3;", "it may not use PRAGMA"),
        ("DELETE FROM billing_schema_migrations;", "it may not touch schema_migrations"),
        ("DELETE FROM billing_invoices;", "1 of 1 rows of billing_invoices are gone"),
        ("DROP INDEX billing_invoices_task_ix;", "index billing_invoices_task_ix is gone"),
        ("INSERT INTO billing_invoices VALUES ('j', 'none', 5);", "keys that lead nowhere"),
        ("CREATE TABLE mistake", "statement 1, line 1"),
    ],
)
def test_what_it_may_not_do_is_refused_and_nothing_is_left(
    store: Store, file: Path, billing: Extension, script: str, cause: str
) -> None:
    add_invoice(file, "i")
    store.close()
    before = content(file)
    with pytest.raises(MigrationError) as refusal:
        migrate(file, extensions=[more(billing, script)])
    assert cause in str(refusal.value)
    assert content(file) == before
    Store.open(file, extensions=[billing]).close()


def test_it_may_rebuild_its_own_tables(store: Store, file: Path, billing: Extension) -> None:
    add_invoice(file, "i")
    store.close()
    rebuild = """
        -- drops: view billing_open
        DROP VIEW billing_open;
        CREATE TABLE billing_new (id TEXT NOT NULL PRIMARY KEY, cents INTEGER NOT NULL) STRICT;
        INSERT INTO billing_new SELECT id, cents FROM billing_invoices;
        -- drops: table billing_invoices
        DROP TABLE billing_invoices;
        ALTER TABLE billing_new RENAME TO billing_invoices;
        INSERT INTO billing_invoices SELECT id, 1 FROM tasks;
        -- drops: index billing_invoices_task_ix
    """.replace("        ", "")
    with Store.open(file, extensions=[more(billing, rebuild)]) as later:
        assert later.query("SELECT id FROM billing_invoices") == [{"id": "i"}]
        assert later.check().ok


def test_its_structure_is_checked_apart_from_ours(
    store: Store, file: Path, billing: Extension
) -> None:
    run(file, "CREATE INDEX mine ON billing_invoices (cents)")
    assert store.check().added == ("index mine on billing_invoices",)
    store.close()
    Store.open(file, extensions=[billing]).close()
    run(file, "ALTER TABLE billing_invoices ADD COLUMN note TEXT")
    with Store.open(file) as other:  # who does not know it is not the judge
        assert other.check().ok
    with pytest.raises(MigrationError) as refusal:
        Store.open(file, extensions=[billing])
    assert "column billing_invoices.note is not expected" in str(refusal.value)


def test_a_file_that_lacks_it_altogether_has_not_drifted(store: Store, file: Path) -> None:
    run(file, "DROP VIEW billing_open")
    run(file, "DROP TABLE billing_invoices; DROP TABLE billing_schema_migrations")
    assert store.check().ok


def test_drift_of_ours_is_told_beside_it(store: Store, file: Path) -> None:
    ((index,),) = run(
        file, "SELECT name FROM sqlite_schema WHERE type = 'index' AND name LIKE 'tasks_phase%'"
    )
    run(file, f"DROP INDEX {index}; DROP INDEX billing_invoices_task_ix")
    assert store.check().drift == (
        f"index {index} is missing",
        "index billing_invoices_task_ix is missing",
    )


def test_an_edited_migration_and_an_emptied_ledger_are_named(
    store: Store, file: Path, billing: Extension
) -> None:
    store.close()
    edited = Extension("billing", migrations=scripts(file.parent, INVOICES.replace("cents", "c")))
    with pytest.raises(MigrationError, match=r"^billing/0001_step\.sql was edited after it was ap"):
        Store.open(file, extensions=[edited])
    place = Path(edited.migrations)
    (place / "0001_step.sql").rename(place / "0001_other.sql")
    told = r"applied from billing/0001_step\.sql, but the directory has billing/0001_other\.sql; a"
    with pytest.raises(MigrationError, match=told):
        Store.open(file, extensions=[edited])
    run(file, "DELETE FROM billing_schema_migrations")
    with pytest.raises(MigrationError, match="somebody emptied billing_schema_migrations"):
        Store.open(file, extensions=[billing])


def test_a_name_that_is_taken_is_refused(file: Path, tmp_path: Path) -> None:
    Store.open(file).close()
    directory = scripts(tmp_path, "CREATE TABLE task_prices (a);")
    with pytest.raises(
        MigrationError,
        match=(
            r" has task_approvals, task_arrivals, task_attempts already, which the extension task"
            " did not make; give it another name$"
        ),
    ):
        Store.open(file, extensions=[Extension("task", migrations=directory)])


@pytest.mark.parametrize("name", ["", "Billing", "my_app", "1st", "a" * 31, 5, None])
def test_a_name_is_letters_and_digits(name: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match=r"name: .* an extension is named by a to z"):
        Extension(name, migrations=tmp_path)


@pytest.mark.parametrize("place", [None, 5, b"sql", "a\0b", "\ud800"])
def test_the_directory_of_its_migrations_is_a_path(place: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"^migrations: "):
        Extension("billing", migrations=place)


def test_what_is_given_as_extensions_is_checked(file: Path, billing: Extension) -> None:
    bad: Any
    for bad, problem in (
        (billing, "expected a list of Extension, got Extension"),
        (["billing"], "expected Extension, got str"),
        ([billing, billing], "billing is named twice"),
    ):
        with pytest.raises(InvalidValueError, match=f"extensions: {problem}"):
            Store.open(file, extensions=bad)
    assert not file.exists()


def test_a_bad_script_leaves_no_new_file(file: Path, tmp_path: Path) -> None:
    bad = Extension("billing", migrations=scripts(tmp_path, "SELECT 'never closed"))
    for make in (Store.open, migrate):
        with pytest.raises(MigrationError, match=r"0001_step\.sql, line 1"):
            make(file, extensions=[bad])
    assert not file.exists()


def test_two_of_them_do_not_know_each_other(file: Path, billing: Extension, tmp_path: Path) -> None:
    stock = Extension("stock", migrations=scripts(tmp_path, "CREATE TABLE stock_items (a);"))
    with Store.open(file, extensions=[billing, stock]) as store:
        assert store.check().ok
    assert [one.name for one in status(file, extensions=[stock]).extensions] == ["billing", "stock"]
    Store.open(file, extensions=[stock]).close()


OPEN = """
import sys
from cwstore import Extension, Store

sys.stdin.readline()
with Store.open(sys.argv[1], extensions=[Extension("billing", migrations=sys.argv[2])]) as store:
    print(len(store.query("SELECT id FROM billing_invoices")), store.version)
"""


def test_of_six_processes_that_start_at_once_one_migrates(file: Path, billing: Extension) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, file, billing.migrations],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    told = [racer.communicate(timeout=120) for racer in racers]
    assert told == [(f"0 {NEWEST}\n", "")] * 6
    assert len(run(file, "SELECT version FROM billing_schema_migrations")) == 1
