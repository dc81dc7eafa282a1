"""What a script may do, and what may not be missing after it.

The main cases of each scenario are in test_scenarios.py.
"""

import re
from pathlib import Path

import pytest

from cwstore.errors import (
    MigrationError,
)
from cwstore.migrations.api import (
    migrate,
)
from tests.kits.migrations import BASE, FURNISHED, REBUILD, made_by_base, refused, run, scripts


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


@pytest.mark.parametrize(
    ("number", "end"), [(2, "phases (1 rows)"), (3, "phases (1 rows)"), (4, "; and 1 more")]
)
def test_what_is_not_shown_is_counted(populated: Path, number: int, end: str) -> None:
    values = ", ".join(f"({50 + index})" for index in range(number))
    message = refused(populated, f"INSERT INTO tasks (phase_id) VALUES {values};")
    assert message.partition(". Nothing")[0].endswith(end)


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


def new_violations(file: Path, texts: tuple[str, ...], text: str) -> set[str]:
    """What the refusal of `text`, after BASE and `texts`, lists."""
    message = refused(file, directory=scripts(file.parent, *BASE, *texts, text))
    return set(message.partition("lead nowhere: ")[2].partition(". Nothing")[0].split("; "))


CODES = """
CREATE TABLE codes (id ANY PRIMARY KEY) STRICT;
CREATE TABLE uses (code ANY REFERENCES codes) STRICT;
CREATE TABLE counts (code INTEGER REFERENCES codes) STRICT;
INSERT INTO codes VALUES ('1'), (2);
"""


def test_a_violation_that_only_sqlites_own_comparison_finds_is_refused(populated: Path) -> None:
    rows = "INSERT INTO counts VALUES (1), (1), (2), (3);"
    assert new_violations(populated, (), CODES + rows) == {
        "counts.code = ? is not in codes (2 rows)",
        "counts.code = 3 is not in codes (1 rows)",
    }


def test_a_missing_value_that_is_a_question_mark_is_a_value(populated: Path) -> None:
    rows = "INSERT INTO uses VALUES ('?'), ('?');"
    assert new_violations(populated, (), CODES + rows) == {"uses.code = ? is not in codes (2 rows)"}


def test_an_old_violation_that_only_sqlites_own_comparison_finds_is_left_alone(
    populated: Path,
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, CODES))
    run(populated, "INSERT INTO counts VALUES (1)")
    assert migrate(populated, directory=scripts(populated.parent, *BASE, CODES, "SELECT 1;")).steps
    rows = "INSERT INTO counts VALUES (1);"
    assert new_violations(populated, (CODES, "SELECT 1;"), rows) == {
        "counts.code = ? is not in codes (1 rows)"
    }


def test_missing_values_that_look_the_same_are_counted_together(populated: Path) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, CODES))
    run(populated, "INSERT INTO uses VALUES ('7')")
    assert new_violations(populated, (CODES,), "INSERT INTO uses VALUES (7);") == {
        "uses.code = 7 is not in codes (1 rows)"
    }


RENAMED_TABLE = "-- drops: table tasks\nALTER TABLE tasks RENAME TO jobs;\n"
RENAMED_PARENT = "-- drops: table phases\nALTER TABLE phases RENAME TO stages;\n"
RENAMED_COLUMN = "ALTER TABLE tasks RENAME COLUMN phase_id TO stage_id;\n"


@pytest.mark.parametrize(
    "text",
    [
        RENAMED_TABLE,
        RENAMED_PARENT,
        RENAMED_COLUMN,
        RENAMED_COLUMN + RENAMED_TABLE + RENAMED_PARENT,
    ],
)
def test_a_script_may_rename_what_a_file_that_was_dirty_before_has(
    populated: Path, text: str
) -> None:
    run(populated, "UPDATE tasks SET phase_id = 70 + id WHERE id < 3")
    assert migrate(populated, directory=scripts(populated.parent, *BASE, text)).version == 3


REMARKS = "CREATE TABLE notes (phase_id REFERENCES phases);"


def test_the_same_missing_value_may_be_renamed_in_several_places(populated: Path) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, REMARKS))
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    run(populated, "INSERT INTO notes VALUES (77)")
    text = RENAMED_COLUMN + "ALTER TABLE notes RENAME COLUMN phase_id TO stage_id;"
    assert (
        migrate(populated, directory=scripts(populated.parent, *BASE, REMARKS, text)).version == 4
    )


def test_one_old_violation_under_another_name_covers_one_and_no_more(populated: Path) -> None:
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    found = new_violations(
        populated, (), f"{RENAMED_COLUMN}{REMARKS} INSERT INTO notes VALUES (77);"
    )
    assert len(found) == 1
    assert "= 77 is not in phases (1 rows)" in found.pop()


def test_under_another_name_a_new_violation_is_told_from_the_old_ones(populated: Path) -> None:
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    rows = "INSERT INTO tasks (stage_id) VALUES (77), (78);"
    assert new_violations(populated, (), RENAMED_COLUMN + rows) == {
        "tasks.stage_id = 77 is not in phases (1 rows)",
        "tasks.stage_id = 78 is not in phases (1 rows)",
    }


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (REMARKS, ""),
        ("SELECT 1;", REMARKS),
        (REMARKS, RENAMED_COLUMN),
    ],
)
def test_mending_an_old_violation_does_not_allow_a_new_one_elsewhere(
    populated: Path, before: str, text: str
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, before))
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    moved = "UPDATE tasks SET phase_id = 1 WHERE phase_id = 77;"
    row = "INSERT INTO notes VALUES (77);"
    assert new_violations(populated, (before,), moved + text + row) == {
        "notes.phase_id = 77 is not in phases (1 rows)"
    }


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


FEWER_TASKS = """
CREATE TABLE fewer (
    id INTEGER PRIMARY KEY,
    phase_id INTEGER REFERENCES phases (id) ON DELETE CASCADE,
    owner TEXT NOT NULL DEFAULT 'nobody'
) STRICT;
INSERT INTO fewer SELECT * FROM tasks WHERE id < 3;
DROP TABLE tasks;
ALTER TABLE fewer RENAME TO tasks;
"""


def test_a_table_that_is_there_again_was_not_dropped(populated: Path) -> None:
    declared = "-- drops: table tasks\n"
    assert refused(populated, declared + FEWER_TASKS) == (
        "0003_step.sql: index tasks_phase_ix is gone; if that is meant, add"
        " `-- drops: index tasks_phase_ix`; 1 of 3 rows of tasks are gone; if that is meant, add"
        " `-- deletes: tasks`. Nothing of it was kept, the file is at version 2: mend the script"
        " and migrate again"
    )
    more = "-- drops: index tasks_phase_ix\n-- deletes: tasks\n"
    directory = scripts(populated.parent, *BASE, more + FEWER_TASKS)
    assert migrate(populated, directory=directory).version == 3


def test_what_is_on_a_table_goes_with_it(populated: Path) -> None:
    text = "-- drops: table tasks\nDROP TABLE tasks;"
    migrate(populated, directory=scripts(populated.parent, *BASE, text))
    assert run(populated, "SELECT name FROM sqlite_schema WHERE name LIKE 'tasks%'") == []


NOTES = "CREATE VIRTUAL TABLE notes USING fts5 (body);\nINSERT INTO notes VALUES ('a'), ('b');"


@pytest.mark.parametrize(
    ("text", "loss", "line"),
    [
        ("DELETE FROM notes WHERE body = 'a';", "1 of 2 rows of notes are gone", "deletes: notes"),
        ("DROP TABLE notes;", "table notes is gone", "drops: table notes"),
    ],
)
def test_a_virtual_table_is_one_table_and_its_rows_count(
    populated: Path, text: str, loss: str, line: str
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, NOTES))
    assert refused(populated, NOTES, text) == (
        f"0004_step.sql: {loss}; if that is meant, add `-- {line}`. Nothing of it was kept, the"
        " file is at version 3: mend the script and migrate again"
    )
    directory = scripts(populated.parent, *BASE, NOTES, f"-- {line}\n{text}")
    assert migrate(populated, directory=directory).version == 4


@pytest.mark.parametrize(
    ("there", "text", "line"),
    [
        ('CREATE INDEX "My-ix" ON tasks (owner);', 'DROP INDEX "my-IX";', 'drops: index "my-ix"'),
        (
            'CREATE TABLE "a B" (c); INSERT INTO "a b" VALUES (1);',
            'DELETE FROM "A b";',
            'deletes: "a b"',
        ),
        ('CREATE TABLE "we""ird" (a);', 'DROP TABLE "we""ird";', 'drops: table "we""ird"'),
        ("CREATE VIEW ÄÖIX AS SELECT 1;", "DROP VIEW ÄÖix;", "drops: view ÄÖix"),
    ],
)
def test_the_advice_for_an_odd_name_is_accepted(
    populated: Path, there: str, text: str, line: str
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, there))
    message = refused(populated, there, text)
    assert re.findall(r"add `-- (.*?)`", message) == [line]
    directory = scripts(populated.parent, *BASE, there, f"-- {line}\n{text}")
    assert migrate(populated, directory=directory).version == 4


def test_names_are_told_apart_as_sqlite_does(populated: Path) -> None:
    there = "CREATE TABLE Ä (a); INSERT INTO Ä VALUES (1), (2); CREATE TABLE ä (a);"
    migrate(populated, directory=scripts(populated.parent, *BASE, there))
    message = refused(populated, there, "-- drops: table ä\nDELETE FROM Ä; DROP TABLE Ä;")
    assert "table Ä is gone; if that is meant, add `-- drops: table Ä`" in message


# Numbers that were given out


LOG = """
CREATE TABLE Log (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT);
INSERT INTO log (body) VALUES ('a'), ('b'), ('c'), ('d');
DELETE FROM log WHERE seq > 2;
"""
NEW_LOG = """
CREATE TABLE log_new (seq INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL);
INSERT INTO log_new SELECT * FROM log;
DROP TABLE log;
ALTER TABLE log_new RENAME TO log;
"""


def numbered(file: Path, text: str) -> list[int]:
    """The numbers of the rows of the log after `text`, and of one more."""
    assert migrate(file, directory=scripts(file.parent, *BASE, LOG, text)).version == 4
    return [
        number
        for (number,) in run(file, "INSERT INTO log (body) VALUES ('e'); SELECT seq FROM log")
    ]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (NEW_LOG, 3),
        (NEW_LOG + "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'log';", 4),
        (NEW_LOG + "INSERT INTO sqlite_sequence VALUES ('log', 4);", 3),  # the first row counts
        ("DELETE FROM sqlite_sequence;", 1),
        ("-- deletes: log\n" + NEW_LOG.replace("FROM log;", "FROM log WHERE 0;"), 1),
        ("-- deletes: log\nDROP TABLE log; CREATE TABLE log (seq INTEGER PRIMARY KEY);", 1),
    ],
)
def test_a_script_after_which_a_number_would_be_given_twice_is_refused(
    populated: Path, text: str, first: int
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, LOG))
    assert refused(populated, LOG, text) == (
        f"0004_step.sql: log would give out the numbers from {first} to 4 once more; write 4 into"
        " its row of sqlite_sequence. Nothing of it was kept, the file is at version 3: mend the"
        " script and migrate again"
    )


@pytest.mark.parametrize("number", ["4", "'4'"])
def test_a_rebuild_that_takes_the_number_along_is_carried_out(populated: Path, number: str) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, LOG))
    text = f"{NEW_LOG}UPDATE sqlite_sequence SET seq = {number} WHERE name = 'log';"
    assert numbered(populated, text) == [1, 2, 5]


def test_a_table_that_is_renamed_or_dropped_takes_its_number_along(populated: Path) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, LOG))
    text = "-- drops: table log\nALTER TABLE log RENAME TO journal;"
    gone = "-- drops: table journal\nDROP TABLE journal;"
    directory = scripts(populated.parent, *BASE, LOG, text, gone)
    assert migrate(populated, directory=directory, target=4).version == 4
    assert run(populated, "SELECT * FROM sqlite_sequence") == [("journal", 4)]
    assert migrate(populated, directory=directory).version == 5


def test_a_declaration_covers_what_it_names_and_nothing_else(populated: Path) -> None:
    text = "-- deletes: phases\n-- drops: index phases_ix\n-- drops: view tasks\n"
    assert "table tasks is gone" in refused(populated, text + "DROP TABLE tasks;")
