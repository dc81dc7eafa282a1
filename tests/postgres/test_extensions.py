"""Tables of a service's own in the schema of a store: versioned and guarded as the store's own."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

import cwstore
from cwstore import Extension, Store
from cwstore.core.reports import ExtensionStatus
from cwstore.errors import CwstoreError, InvalidValueError, MigrationError, SchemaTooNewError
from tests.kits.engine import Task, names
from tests.kits.migrations import scripts

Connection = psycopg.Connection[tuple[Any, ...]]
INVOICES = """
CREATE TABLE billing_invoices (
    id       text    NOT NULL  PRIMARY KEY,
    task_id  text    REFERENCES tasks (id) ON DELETE CASCADE,
    cents    bigint  NOT NULL
);
CREATE INDEX billing_invoices_task_ix ON billing_invoices (task_id);
CREATE VIEW billing_open
AS SELECT i.id, t.name FROM billing_invoices AS i JOIN tasks AS t ON t.id = i.task_id;
"""
PAYMENTS = "CREATE TABLE billing_payments (id text NOT NULL PRIMARY KEY);"


@pytest.fixture
def billing(tmp_path: Path) -> Extension:
    return Extension("billing", migrations=scripts(tmp_path, INVOICES))


@pytest.fixture
def with_invoice(address: str, billing: Extension, superuser: Connection) -> Connection:
    """A superuser's connection to a store with a task and its invoice."""
    with Store.open(address, extensions=[billing]) as store:
        store.tasks.create(name="t", id="t")
    superuser.execute("INSERT INTO billing_invoices VALUES ('i', 't', 5)")
    return superuser


def catalogue(connection: Connection) -> list[tuple[Any, ...]]:
    """All that the schema is made of, and how many columns it has."""
    return connection.execute(
        "SELECT relname, relkind, relnatts FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace ORDER BY relname"
    ).fetchall()


def more(extension: Extension, *texts: str) -> Extension:
    """The same one, later."""
    place = Path(extension.migrations)
    return Extension(extension.name, migrations=scripts(place.parent, INVOICES, *texts))


def test_its_tables_come_into_a_schema_that_is_there(
    store: Store, address: str, billing: Extension, superuser: Connection
) -> None:
    version = store.version
    rehearsed = cwstore.rehearse(address, extensions=[billing])
    assert [step.name for step in rehearsed.steps] == ["billing/0001_step"]
    assert cwstore.status(address, extensions=[billing]).extensions == (
        ExtensionStatus("billing", 0, 1, ("0001_step",)),
    )
    report = cwstore.migrate(address, extensions=[billing])
    assert (report.applied, report.version) == (("billing/0001_step",), version)
    assert cwstore.status(address, extensions=[billing]).extensions == (
        ExtensionStatus("billing", 1, 1, ()),
    )
    without = cwstore.status(address)
    assert without.extensions == (ExtensionStatus("billing", 1, None, ()),)
    assert without.added == ()
    store.tasks.create(name="t", id="t")  # who does not know it goes on
    superuser.execute("INSERT INTO billing_invoices VALUES ('i', 't', 5)")
    with Store.open(address, extensions=[billing]) as opened:
        report_of_it = opened.check()
        assert (report_of_it.ok, report_of_it.added) == (True, ())
        assert "billing_invoices" in {table.name for table in opened.stats().tables}
        assert opened.tasks.delete("t")
    assert superuser.execute("SELECT * FROM billing_invoices").fetchall() == []


def test_a_rehearsal_leaves_no_trace_and_tells_what_would_be_refused(
    with_invoice: Connection, address: str, billing: Extension
) -> None:
    before = catalogue(with_invoice)
    late = more(
        billing,
        "ALTER TABLE billing_invoices ADD COLUMN b bigint;",
        "ALTER TABLE billing_invoices DROP COLUMN cents; SELECT 1 / 0;",
    )
    with pytest.raises(
        MigrationError, match=r"^rehearsed on .+, and undone: billing/0003_step\.sql, statement 2"
    ):
        cwstore.rehearse(address, extensions=[late])
    deferred = more(
        billing,
        "ALTER TABLE billing_invoices ADD CONSTRAINT billing_other FOREIGN KEY (id)"
        " REFERENCES tasks (id) DEFERRABLE INITIALLY DEFERRED NOT VALID;\n"
        "UPDATE billing_invoices SET id = 'k';",
    )
    with pytest.raises(CwstoreError):
        cwstore.rehearse(address, extensions=[deferred])
    assert with_invoice.execute("SELECT * FROM billing_invoices").fetchall() == [("i", "t", 5)]
    assert catalogue(with_invoice) == before


@pytest.mark.slow
def test_a_schema_that_is_not_there_is_made_by_a_rehearsal_and_gone_after_it(
    store: Store, address: str, superuser: Connection
) -> None:
    report = cwstore.rehearse(f"{address}&schema=elsewhere")
    assert (report.version_before, report.version, report.violations) == (0, store.version, ())
    assert report.size > report.size_before
    assert superuser.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'elsewhere'").rowcount == 0


@pytest.mark.slow
def test_it_is_upgraded_and_an_older_program_is_refused(
    with_invoice: Connection, address: str, billing: Extension
) -> None:
    claim = "-- compatible-with: 2\nALTER TABLE billing_payments ADD COLUMN a text;"
    Store.open(address, extensions=[more(billing, PAYMENTS, claim)]).close()
    with pytest.raises(SchemaTooNewError, match="schema version 3, this extension billing knows 1"):
        Store.open(address, extensions=[billing])
    Store.open(address, extensions=[more(billing, PAYMENTS)]).close()
    Store.open(address).close()
    assert with_invoice.execute("SELECT id FROM billing_invoices").fetchall() == [("i",)]


HARM = [
    ("CREATE TABLE invoices (a text);", "what is named billing_…, not invoices"),
    ("CREATE INDEX billing_ix ON tasks (name);", "what is named billing_…, not billing_ix"),
    (
        (
            "CREATE TRIGGER billing_tg AFTER UPDATE ON tasks EXECUTE FUNCTION"
            " suppress_redundant_updates_trigger();"
        ),
        "what is named billing_…, not billing_tg",
    ),
    ("ALTER TABLE tasks ADD COLUMN cents bigint;", "what is named billing_…, not tasks"),
    ("ALTER TABLE tasks RENAME TO billing_tasks;", "what is named billing_…, not"),
    ("DROP VIEW ready_tasks;", "what is named billing_…, not ready_tasks"),
    ("DELETE FROM tasks;", "what is named billing_…, not"),
    ("UPDATE tasks SET name = 'mine';", "what is named billing_…, not tasks"),
    ("DELETE FROM billing_schema_migrations;", "it may not touch schema_migrations"),
    ("UPDATE schema_migrations SET version = 3;", "it may not touch schema_migrations"),
    ("DROP TABLE billing_schema_migrations;", "it may not touch schema_migrations"),
    ("DELETE FROM billing_invoices;", "1 of 1 rows of billing_invoices are gone"),
    ("DROP INDEX billing_invoices_task_ix;", "index billing_invoices_task_ix is gone"),
    ("INSERT INTO billing_invoices VALUES ('j', 'none', 5);", "violates foreign key"),
    ("CREATE TABLE mistake", "statement 1, line 1"),
]
FAST = ("ALTER TABLE tasks ADD", "UPDATE tasks")


@pytest.mark.parametrize(
    ("script", "cause"),
    [pytest.param(*one, marks=() if one[0].startswith(FAST) else pytest.mark.slow) for one in HARM],
)
def test_what_it_may_not_do_is_refused_and_nothing_is_left(
    with_invoice: Connection, address: str, billing: Extension, script: str, cause: str
) -> None:
    before = catalogue(with_invoice)
    with pytest.raises(MigrationError) as refusal:
        cwstore.migrate(address, extensions=[more(billing, script)])
    assert cause in str(refusal.value)
    assert with_invoice.execute("SELECT * FROM billing_open").fetchall() == [("i", "t")]
    assert catalogue(with_invoice) == before


@pytest.mark.slow
def test_its_structure_is_checked_apart_from_ours(
    with_invoice: Connection, address: str, billing: Extension
) -> None:
    with_invoice.execute("CREATE INDEX mine ON billing_invoices (cents)")
    with Store.open(address, extensions=[billing]) as store:
        assert store.check().added == ("index mine on billing_invoices",)
    with_invoice.execute("ALTER TABLE billing_invoices ADD COLUMN note text")
    with Store.open(address) as other:  # who does not know it is not the judge
        assert other.check().ok
    with pytest.raises(MigrationError, match="table billing_invoices is another one"):
        Store.open(address, extensions=[billing])


@pytest.mark.slow
def test_an_edited_migration_and_an_emptied_ledger_are_named(
    with_invoice: Connection, address: str, billing: Extension
) -> None:
    place = Path(billing.migrations).parent
    edited = Extension("billing", migrations=scripts(place, INVOICES.replace("cents", "c")))
    with pytest.raises(MigrationError, match=r"0001_step\.sql was edited after it was applied"):
        Store.open(address, extensions=[edited])
    with_invoice.execute("DELETE FROM billing_schema_migrations")
    with pytest.raises(MigrationError, match="somebody emptied billing_schema_migrations"):
        Store.open(address, extensions=[billing])


def test_a_name_that_is_taken_and_what_is_no_extension_are_refused(
    store: Store, address: str, tmp_path: Path
) -> None:
    directory = scripts(tmp_path, "CREATE TABLE task_prices (a text);")
    with pytest.raises(MigrationError, match="which the extension task did not make; give it"):
        Store.open(address, extensions=[Extension("task", migrations=directory)])
    wrong: Any = ["billing"]
    with pytest.raises(InvalidValueError, match="expected Extension, got str"):
        Store.open(address, extensions=wrong)
    assert names(store) == []


@pytest.mark.slow
def test_of_those_who_start_at_once_one_migrates(
    store: Store, address: str, billing: Extension
) -> None:
    tasks = [Task(lambda: cwstore.migrate(address, extensions=[billing])) for _ in range(6)]
    applied = [task.finish().applied for task in tasks]  # type: ignore[attr-defined]
    assert sorted(applied) == [(), (), (), (), (), ("billing/0001_step",)]
