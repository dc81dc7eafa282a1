"""What a script may do, and what may not be missing after it.

The main cases of each scenario are in test_migration_scenarios.py.
"""

from pathlib import Path

import pytest

from cwstore.errors import (
    MigrationError,
)
from cwstore.migrations import (
    migrate,
)
from tests.migration_kit import BASE, FURNISHED, REBUILD, made_by_base, refused, run, scripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


# Scenarios E, F: rebuilding a parent table, foreign keys


@pytest.mark.parametrize(
    ("start", "lost"),
    [
        ("CREATE INDEX", "index phases_name_ix"),
        ("CREATE TRIGGER", "trigger phases_tg"),
        ("CREATE VIEW", "view named"),
    ],
)
def test_what_a_rebuild_forgets_to_make_again_is_named(
    tmp_path: Path, file: Path, start: str, lost: str
) -> None:
    migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED))
    forgetful = "".join(
        line for line in REBUILD.splitlines(keepends=True) if not line.startswith(start)
    )
    declaration = f"{lost} is gone; if that is meant, add `-- drops: {lost}`"
    message = refused(file, directory=scripts(tmp_path, *BASE, FURNISHED, forgetful))
    assert declaration in message
    declared = f"-- drops: {lost}\n{forgetful}"
    assert migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED, declared)).version == 4


def test_a_rebuild_that_forgets_a_row_is_refused(tmp_path: Path, file: Path) -> None:
    migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED))
    lossy = REBUILD.replace("FROM phases;\nDROP", "FROM phases WHERE id = 1;\nDROP")
    message = refused(file, directory=scripts(tmp_path, *BASE, FURNISHED, lossy))
    assert "1 of 2 rows of phases are gone; if that is meant, add `-- deletes: phases`" in message


def test_only_the_first_few_violations_are_shown(populated: Path) -> None:
    many = "INSERT INTO tasks (phase_id) VALUES (50), (51), (52), (53), (54);"
    message = refused(populated, many)
    assert message.count("is not in phases (1 rows)") == 3
    assert "; and 2 more." in message


def test_a_file_that_was_dirty_before_can_still_be_upgraded(populated: Path) -> None:
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    rebuild = """
    CREATE TABLE tasks_new (id INTEGER PRIMARY KEY, owner TEXT, phase_id INTEGER REFERENCES phases);
    INSERT INTO tasks_new SELECT id, owner, phase_id FROM tasks ORDER BY id DESC;
    DROP TABLE tasks;
    ALTER TABLE tasks_new RENAME TO tasks;
    CREATE INDEX tasks_phase_ix ON tasks (phase_id);
    """
    texts = [*BASE, rebuild]
    assert migrate(populated, directory=scripts(populated.parent, *texts)).version == 3
    with pytest.raises(MigrationError, match="phase_id = 78 is not in phases"):
        migrate(
            populated,
            directory=scripts(populated.parent, *texts, "INSERT INTO tasks VALUES (9, 'x', 78);"),
        )


@pytest.mark.parametrize(
    ("table", "dirt", "rows", "shown"),
    [
        (
            "CREATE TABLE c (a, b, FOREIGN KEY (a, b) REFERENCES pairs (x, y));",
            "INSERT INTO c VALUES (1, NULL), (1, 2), (1, 2)",
            "INSERT INTO c VALUES (1, 3), (1, 2), (NULL, 4);",
            {"c.a, b = 1, 3 is not in pairs (1 rows)", "c.a, b = 1, 2 is not in pairs (1 rows)"},
        ),
        (
            "CREATE TABLE c (a PRIMARY KEY REFERENCES absent (id)) WITHOUT ROWID;",
            "INSERT INTO c VALUES (1)",
            "INSERT INTO c VALUES (2);",
            {"c.a = 2 is not in absent (1 rows)"},
        ),
    ],
)
def test_old_and_new_violations_of_odd_keys_are_told_apart(
    populated: Path, table: str, dirt: str, rows: str, shown: set[str]
) -> None:
    texts = (*BASE, "CREATE TABLE pairs (x, y, PRIMARY KEY (x, y));" + table)
    migrate(populated, directory=scripts(populated.parent, *texts))
    run(populated, dirt)
    message = refused(populated, directory=scripts(populated.parent, *texts, rows))
    listed = message.partition("lead nowhere: ")[2].partition(". Nothing")[0]
    assert set(listed.split("; ")) == shown


def test_a_foreign_key_that_fits_no_parent_is_refused(populated: Path) -> None:
    text = "CREATE TABLE c (a REFERENCES phases (name));"
    assert "0003_step.sql: foreign key mismatch" in refused(populated, text)


# Scenario K: what a script may not do


TRANSACTION = "it may not begin, end or nest a transaction"
ATTACH = "it may not attach or detach a database"
PRAGMA = "it may not use PRAGMA"
LEDGER = "it may not touch schema_migrations"


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("end transaction", TRANSACTION),
        ("BEGIN", TRANSACTION),
        ("RELEASE a", TRANSACTION),
        ("EXPLAIN COMMIT", TRANSACTION),
        ("EXPLAIN SAVEPOINT a", TRANSACTION),
        ("DETACH b", ATTACH),
        ("EXPLAIN ATTACH ':memory:' AS b", ATTACH),
        ("EXPLAIN DETACH b", ATTACH),
        ("/* */ vacuum into 'b'", "it may not VACUUM"),
        ("PRAGMA foreign_keys = ON", PRAGMA),
        ("EXPLAIN PRAGMA application_id = 9", PRAGMA),
        ("SELECT * FROM pragma_user_version", PRAGMA),
        ("DELETE FROM schema_migrations", LEDGER),
        ("UPDATE schema_migrations SET checksum = ''", LEDGER),
        ("INSERT INTO schema_migrations (version) VALUES (3)", LEDGER),
        ("DROP TABLE schema_migrations", LEDGER),
        ("ALTER TABLE Schema_Migrations ADD COLUMN a", LEDGER),
        ("CREATE INDEX b ON schema_migrations (name)", LEDGER),
        ("UPDATE sqlite_schema SET sql = ''", "table sqlite_master may not be modified"),
        ("SELECT load_extension('a')", "not authorized"),
    ],
)
def test_what_is_the_runners_business_is_denied(
    populated: Path, statement: str, cause: str
) -> None:
    message = refused(populated, f"CREATE TABLE a (b);\n{statement};\nCREATE TABLE c (d);\n")
    assert message.startswith(f"0003_step.sql, statement 2, line 2: {cause}")


def test_a_script_may_read_the_ledger(populated: Path) -> None:
    text = "CREATE TABLE seen AS SELECT max(version) AS newest FROM schema_migrations;"
    migrate(populated, directory=scripts(populated.parent, *BASE, text))
    assert run(populated, "SELECT * FROM seen") == [(2,)]


def test_full_text_search_and_checked_columns_need_no_permission(populated: Path) -> None:
    text = """
    CREATE VIRTUAL TABLE notes USING fts5 (body);
    INSERT INTO notes VALUES ('found me');
    ALTER TABLE tasks ADD COLUMN size INTEGER NOT NULL DEFAULT 1 CHECK (size > 0);
    ANALYZE;
    REINDEX tasks_phase_ix;
    """
    directory = scripts(populated.parent, *BASE, text)
    assert migrate(populated, directory=directory).version == 3
    assert migrate(populated, directory=directory).applied == ()
    assert run(populated, "SELECT body FROM notes WHERE notes MATCH 'found'") == [("found me",)]


# Scenario L: a script that fails on rows only


def test_a_unique_index_that_the_rows_refuse_is_named(tmp_path: Path, populated: Path) -> None:
    text = "CREATE UNIQUE INDEX uq ON tasks (phase_id);"
    assert "UNIQUE constraint failed: tasks.phase_id" in refused(populated, text)


# Scenario M: losses


@pytest.mark.parametrize(
    ("text", "loss", "line"),
    [
        ("ALTER TABLE tasks RENAME TO jobs;", "table tasks is gone", "drops: table tasks"),
        (
            "UPDATE OR REPLACE phases SET id = 1 WHERE id = 2;",
            "1 of 2 rows of phases are gone",
            "deletes: phases",
        ),
    ],
)
def test_a_loss_that_is_not_declared_is_refused(
    populated: Path, text: str, loss: str, line: str
) -> None:
    assert f"{loss}; if that is meant, add `-- {line}`" in refused(populated, text)


@pytest.mark.parametrize(
    "text",
    [
        "-- drops: index Tasks_Phase_IX\nDROP INDEX tasks_phase_ix;",
        "-- why\n--deletes:tasks\nDELETE FROM tasks WHERE id = 2;",
        "SELECT 1;\n    -- deletes: tasks\nDELETE FROM tasks;",
    ],
)
def test_a_loss_that_is_declared_is_carried_out(populated: Path, text: str) -> None:
    assert migrate(populated, directory=scripts(populated.parent, *BASE, text)).version == 3


def test_a_declaration_covers_what_it_names_and_nothing_else(populated: Path) -> None:
    text = "-- deletes: phases\n-- drops: index phases_ix\n-- drops: view tasks\n"
    assert "table tasks is gone" in refused(populated, text + "DROP TABLE tasks;")
