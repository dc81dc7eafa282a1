"""What a script may do, and what may not be missing after it."""

from pathlib import Path

import pytest

from cwstore.errors import (
    MigrationError,
)
from cwstore.migrations import (
    migrate,
)
from tests.migration_kit import BASE, PHASES, TASKS, content, made_by_base, refused, run, scripts


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


# Scenarios E, F: rebuilding a parent table


REBUILD = """
DROP VIEW named;
CREATE TABLE phases_new (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    parent_id INTEGER REFERENCES phases_new (id) ON DELETE CASCADE,
    CONSTRAINT phases_name_ck CHECK (name <> '')
) STRICT;
INSERT INTO phases_new (id, name, parent_id) SELECT id, name, parent_id FROM phases;
DROP TABLE phases;
ALTER TABLE phases_new RENAME TO phases;
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""
FURNISHED = """
ALTER TABLE phases ADD COLUMN parent_id INTEGER REFERENCES phases (id) ON DELETE CASCADE;
UPDATE phases SET parent_id = 1 WHERE id = 2;
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""


def test_rebuilding_a_parent_table_loses_no_row_and_no_index(tmp_path: Path, file: Path) -> None:
    migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED))
    before = content(file)
    migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED, REBUILD))
    after = content(file)
    assert [after[name] for name in ("phases", "tasks")] == [before["phases"], before["tasks"]]
    assert {row[1] for row in after[""]} == {row[1] for row in before[""]}
    run(file, "PRAGMA foreign_keys = ON; DELETE FROM phases WHERE id = 1")
    assert run(file, "SELECT * FROM tasks") == []


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


def test_new_foreign_key_violations_are_refused_and_shown(populated: Path) -> None:
    message = refused(populated, "UPDATE tasks SET phase_id = 77 WHERE phase_id = 1;")
    assert message.startswith(
        "0003_step.sql: it leaves foreign keys that lead nowhere: tasks.phase_id = 77 is not in"
        " phases (2 rows). Nothing of it was kept"
    )


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


# Scenario G: triggers


def test_triggers_with_semicolons_of_every_kind_are_applied_whole(
    tmp_path: Path, file: Path
) -> None:
    trigger = """CREATE TRIGGER t AFTER INSERT ON a WHEN NEW.b IS NOT NULL BEGIN
        -- a comment; with one; END;
        INSERT INTO log VALUES (CASE WHEN NEW.b = ';' THEN 'semi;END;' ELSE 'other' END);
        INSERT INTO log VALUES ('it''s; /* no comment */ END;');
    END;"""
    text = f"CREATE TABLE a (b);\nCREATE TABLE log (c);\n{trigger}\nINSERT INTO a VALUES (';');"
    migrate(file, directory=scripts(tmp_path, text))
    assert run(file, "SELECT c FROM log") == [("semi;END;",), ("it's; /* no comment */ END;",)]
    assert run(file, "SELECT sql FROM sqlite_schema WHERE name = 't'") == [(trigger[:-1],)]


# Scenario K: what a script may not do


TRANSACTION = "it may not begin, end or nest a transaction"
ATTACH = "it may not attach or detach a database"
PRAGMA = "it may not use PRAGMA"
LEDGER = "it may not touch schema_migrations"


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("COMMIT", TRANSACTION),
        ("end transaction", TRANSACTION),
        ("ROLLBACK", TRANSACTION),
        ("BEGIN", TRANSACTION),
        ("SAVEPOINT a", TRANSACTION),
        ("RELEASE a", TRANSACTION),
        ("EXPLAIN COMMIT", TRANSACTION),
        ("EXPLAIN SAVEPOINT a", TRANSACTION),
        ("ATTACH ':memory:' AS b", ATTACH),
        ("DETACH b", ATTACH),
        ("EXPLAIN ATTACH ':memory:' AS b", ATTACH),
        ("EXPLAIN DETACH b", ATTACH),
        ("VACUUM", "it may not VACUUM"),
        ("/* */ vacuum into 'b'", "it may not VACUUM"),
        ("PRAGMA user_version = 9", PRAGMA),
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


@pytest.mark.parametrize(
    ("texts", "cause"),
    [
        (
            ("INSERT OR ROLLBACK INTO phases (id, name) VALUES (1, 'again');",),
            "statement 2, line 2: UNIQUE constraint failed: phases.id (and it ends the whole",
        ),
        (
            (
                "CREATE TRIGGER a AFTER UPDATE ON phases BEGIN SELECT RAISE(ROLLBACK, 'no'); END;",
                "UPDATE phases SET name = 'x';",
            ),
            "statement 3, line 3: no (and it ends the whole transaction: OR ROLLBACK or RAISE",
        ),
    ],
)
def test_a_statement_that_rolls_the_transaction_back_is_named_with_its_true_cause(
    populated: Path, texts: tuple[str, ...], cause: str
) -> None:
    message = refused(populated, "\n".join(("CREATE TABLE a (b);", *texts, "SELECT 1;")))
    assert message.startswith(f"0003_step.sql, {cause}")


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


# Scenario L: scripts that fail on rows only


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ALTER TABLE tasks ADD COLUMN boss TEXT NOT NULL;", "Cannot add a NOT NULL column"),
        (
            "ALTER TABLE tasks ADD COLUMN a ANY DEFAULT (1 + 1);",
            "Cannot add a column with non-constant",
        ),
        ("ALTER TABLE tasks ADD CONSTRAINT tasks_id_ck CHECK (id > 1);", "constraint failed"),
        ("CREATE UNIQUE INDEX uq ON tasks (phase_id);", "UNIQUE constraint failed: tasks.phase_id"),
    ],
)
def test_a_script_that_passes_on_an_empty_table_may_fail_on_a_populated_one(
    tmp_path: Path, populated: Path, text: str, cause: str
) -> None:
    empty = TASKS.partition("INSERT")[0]
    migrate(tmp_path / "empty.db", directory=scripts(tmp_path, PHASES, empty))
    directory = scripts(tmp_path, PHASES, empty, text)
    assert migrate(tmp_path / "empty.db", directory=directory).version == 3
    assert cause in refused(populated, text)


# Scenario M: losses


@pytest.mark.parametrize(
    ("text", "loss", "line"),
    [
        ("DROP TABLE tasks;", "table tasks is gone", "drops: table tasks"),
        (
            "DROP INDEX tasks_phase_ix;",
            "index tasks_phase_ix is gone",
            "drops: index tasks_phase_ix",
        ),
        ("DELETE FROM tasks WHERE id = 2;", "1 of 3 rows of tasks are gone", "deletes: tasks"),
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
        "-- drops: table tasks\nDROP TABLE tasks;",
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
