"""The scenarios A to P, each asked for by a call and on the command line.

Each refusal is one error of ours without a traceback, and leaves the file as it was (`refused`).
Those that need several processes, or a disk that fails (D, I, N, O), are in
test_migration_scenarios_processes.py; variants that differ in details only in the other tests of
migrations.
"""

import shutil
from pathlib import Path

import pytest

from cwstore.errors import SchemaTooNewError
from cwstore.migrations.api import migrate, status
from cwstore.migrations.scripts import APPLICATION_ID, default_directory
from cwstore.store import Store
from tests.kits.migrations import (
    BASE,
    FURNISHED,
    PHASES,
    REBUILD,
    TASKS,
    Face,
    by_call,
    content,
    faces,
    made_by_base,
    names_in,
    refused,
    run,
    scripts,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


@faces
def test_a_second_statement_that_fails_leaves_nothing_and_is_named(
    face: Face, populated: Path
) -> None:
    text = "-- two statements\nCREATE TABLE extra (a);\n\nINSERT INTO tasks (id)\nVALUES (1);\n"
    assert refused(populated, text, face=face) == (
        "0003_step.sql, statement 2, line 4: UNIQUE constraint failed: tasks.id. Nothing of it was"
        " kept, the file is at version 2: mend the script and migrate again"
    )


@faces
def test_a_text_that_ends_in_mid_statement_for_sqlite_is_refused(
    face: Face, populated: Path
) -> None:
    text = "DELETE FROM tasks\n-- only\0 one\nWHERE id = 1;\n"
    assert refused(populated, text, face=face) == "0003_step.sql, line 2: holds U+0000"


@faces
def test_b_a_newer_file_without_a_claim_is_refused_with_both_versions(
    face: Face, populated: Path
) -> None:
    migrate(populated, directory=scripts(populated.parent, *BASE, "CREATE TABLE newer (a);"))
    older = populated.parent / "sql0"
    assert refused(populated, directory=older, face=face, error="SchemaTooNewError") == (
        f"{populated} has schema version 3, this cwstore knows 2; it can be used by cwstore with"
        " schema version 3 and up: update cwstore, or restore a backup:"
        f" `cwstore restore {populated}.v2.bak {populated} --directory {older}`"
    )


@faces
@pytest.mark.parametrize("claim", [True, False])
def test_b_a_newer_file_is_opened_read_and_written_by_older_code_if_it_claims_so(
    face: Face, file: Path, tmp_path: Path, claim: bool
) -> None:
    directory = Path(shutil.copytree(default_directory(), tmp_path / "sql"))
    newest = status(":memory:").newest
    script = "ALTER TABLE initiatives ADD COLUMN note TEXT;"
    name = f"{newest + 1:04}_note.sql"
    (directory / name).write_text(f"-- compatible-with: {newest}\n{script}" if claim else script)
    assert face(file, directory).report["version"] == newest + 1
    if not claim:
        with pytest.raises(SchemaTooNewError):
            Store.open(file)
        return
    with Store.open(file) as store:
        made = store.initiatives.create(name="Older code")
        assert store.initiatives.update(made.id, name="It writes").name == "It writes"
        assert [one.id for one in store.initiatives.find_all()] == [made.id]
        assert store.version == newest + 1


@faces
@pytest.mark.parametrize(
    ("before", "after"), [("'nobody'", "'somebody'"), ("'nobody'", "'nobody --'")]
)
def test_c_an_applied_migration_edited_by_one_token_is_refused(
    face: Face, populated: Path, before: str, after: str
) -> None:
    directory = scripts(populated.parent, PHASES, TASKS.replace(before, after))
    assert refused(populated, directory=directory, face=face) == (
        f"0002_step.sql was edited after it was applied to {populated}; restore its text, and put"
        " the change into a new migration"
    )


@faces
@pytest.mark.parametrize(
    ("before", "after"), [("\n", "\r\n"), ("\n", " -- why\n"), ("    ", "\t\n ")]
)
def test_c_an_applied_migration_may_be_reformatted_and_commented(
    face: Face, populated: Path, before: str, after: str
) -> None:
    directory = scripts(populated.parent, PHASES, TASKS.replace(before, after))
    assert face(populated, directory).report["version"] == 2


@faces
def test_e_a_rebuilt_parent_table_loses_no_row_and_no_index(
    face: Face, tmp_path: Path, file: Path
) -> None:
    migrate(file, directory=scripts(tmp_path, *BASE, FURNISHED))
    before = content(file)
    directory = scripts(tmp_path, *BASE, FURNISHED, REBUILD)
    assert face(file, directory).report["applied"] in (("0004_step",), ["0004_step"])
    after = content(file)
    assert [after[name] for name in ("phases", "tasks")] == [before["phases"], before["tasks"]]
    assert {row[1] for row in after[""]} == {row[1] for row in before[""]}
    run(file, "PRAGMA foreign_keys = ON; DELETE FROM phases WHERE id = 1")
    assert run(file, "SELECT * FROM tasks") == []


@faces
def test_f_new_foreign_key_violations_are_refused_and_shown(face: Face, populated: Path) -> None:
    message = refused(populated, "UPDATE tasks SET phase_id = 77 WHERE phase_id = 1;", face=face)
    assert message == (
        "0003_step.sql: it leaves foreign keys that lead nowhere: tasks.phase_id = 77 is not in"
        " phases (2 rows). Nothing of it was kept, the file is at version 2: mend the script and"
        " migrate again"
    )


@faces
def test_f_a_file_that_was_dirty_before_can_still_be_upgraded(face: Face, populated: Path) -> None:
    run(populated, "UPDATE tasks SET phase_id = 77 WHERE id = 1")
    directory = scripts(populated.parent, *BASE, "UPDATE tasks SET owner = 'x';")
    assert face(populated, directory).report["version"] == 3


@faces
def test_g_triggers_with_semicolons_of_every_kind_are_applied_whole(
    face: Face, tmp_path: Path, file: Path
) -> None:
    trigger = """CREATE TRIGGER t AFTER INSERT ON a WHEN NEW.b IS NOT NULL BEGIN
        -- a comment; with one; END;
        INSERT INTO log VALUES (CASE WHEN NEW.b = ';' THEN 'semi;END;' ELSE 'other' END);
        INSERT INTO log VALUES ('it''s; /* no comment */ END;');
    END;"""
    text = f"CREATE TABLE a (b);\nCREATE TABLE log (c);\n{trigger}\nINSERT INTO a VALUES (';');"
    assert face(file, scripts(tmp_path, text)).report["steps"][0]["statements"] == 4
    assert run(file, "SELECT c FROM log") == [("semi;END;",), ("it's; /* no comment */ END;",)]
    assert run(file, "SELECT sql FROM sqlite_schema WHERE name = 't'") == [(trigger[:-1],)]


OURS = f"PRAGMA application_id = {APPLICATION_ID};"


@faces
@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("PRAGMA application_id = 7; CREATE TABLE a (b)", "(application_id 0x00000007)"),
        ("CREATE TABLE a (b)", "(application_id 0x00000000)"),
        ("PRAGMA user_version = 2", "(application_id 0x00000000)"),
        (
            f"{OURS} CREATE TABLE a (b)",
            "has tables (a) but no version; it was left alone: give another path",
        ),
        (
            f"{OURS} CREATE TABLE a(z); CREATE TABLE b(z); CREATE TABLE c(z); CREATE TABLE d(z)",
            "has tables (a, b, c) but no version; it was left alone: give another path",
        ),
        (b"", "is empty"),
        (b"x", "has only 1 bytes"),
        (b"not a database" * 99, "not an SQLite database"),
    ],
)
def test_h_a_file_that_is_not_ours_is_refused_unchanged(
    face: Face, tmp_path: Path, file: Path, made: str | bytes, told: str
) -> None:
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        run(file, made)
    directory = scripts(tmp_path, *BASE)
    before, beside = file.read_bytes(), names_in(tmp_path)
    answer = face(file, directory)
    assert answer.error == "ForeignDatabaseError"
    assert str(file) in answer.message
    assert told in answer.message
    assert "give another path" in answer.message
    assert (file.read_bytes(), names_in(tmp_path)) == (before, beside)


@faces
def test_j_a_number_that_comes_late_is_refused_by_name(face: Face, populated: Path) -> None:
    names = ("0001_step.sql", "0002_merged_late.sql", "0003_step.sql")
    directory = scripts(populated.parent, PHASES, "SELECT 1;", TASKS, names=names)
    assert refused(populated, directory=directory, face=face) == (
        f"{populated}: version 2 was applied from 0002_step.sql, but the directory has"
        " 0002_merged_late.sql; a migration that comes late takes the next free number"
    )


@faces
@pytest.mark.parametrize(
    ("third", "told"),
    [
        ("0004_d.sql", "migration 0003 is missing: 0002_step.sql is followed by 0004_d.sql; "),
        (
            "0002_twice.sql",
            (
                "0002_step.sql and 0002_twice.sql have the same number; give the one that"
                " was not released yet the next free number"
            ),
        ),
    ],
)
def test_j_a_gap_and_a_number_used_twice_are_refused_by_name(
    face: Face, populated: Path, third: str, told: str
) -> None:
    names = ("0001_step.sql", "0002_step.sql", third)
    directory = scripts(populated.parent, *BASE, "SELECT 1;", names=names)
    message = refused(populated, directory=directory, face=face)
    assert message.startswith(told)
    assert "not released yet" in message


@faces
@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("COMMIT", "it may not begin, end or nest a transaction"),
        ("ROLLBACK", "it may not begin, end or nest a transaction"),
        ("SAVEPOINT a", "it may not begin, end or nest a transaction"),
        ("ATTACH ':memory:' AS b", "it may not attach or detach a database"),
        ("VACUUM", "it may not VACUUM: that cannot be part of a transaction"),
        ("PRAGMA user_version = 9", "it may not use PRAGMA: the runner sets versions"),
        (
            "INSERT OR ROLLBACK INTO phases (id, name) VALUES (1, 'again')",
            "UNIQUE constraint failed: phases.id (and it ends the whole transaction: OR ROLLBACK",
        ),
        ("DELETE FROM phases", "no (and it ends the whole transaction: OR ROLLBACK or RAISE(ROLL"),
    ],
)
def test_k_what_would_end_the_transaction_is_refused_with_its_true_cause(
    face: Face, populated: Path, statement: str, cause: str
) -> None:
    trigger = "CREATE TRIGGER kept BEFORE DELETE ON phases BEGIN SELECT RAISE(ROLLBACK, 'no'); END;"
    message = refused(populated, f"{trigger}\n{statement};\nCREATE TABLE c (d);\n", face=face)
    assert message.startswith(f"0003_step.sql, statement 2, line 2: {cause}")
    assert message.endswith("at version 2: mend the script and migrate again")


@faces
@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("ALTER TABLE tasks ADD COLUMN boss TEXT NOT NULL;", "Cannot add a NOT NULL column"),
        ("ALTER TABLE tasks ADD COLUMN a ANY DEFAULT (1 + 1);", "Cannot add a column with non-con"),
        ("ALTER TABLE tasks ADD CONSTRAINT tasks_id_ck CHECK (id > 1);", "constraint failed"),
    ],
)
def test_l_a_script_that_passes_on_an_empty_table_may_fail_on_a_populated_one(
    face: Face, tmp_path: Path, populated: Path, text: str, cause: str
) -> None:
    empty = TASKS.partition("INSERT")[0]
    directory = scripts(tmp_path, PHASES, empty, text)
    assert by_call(tmp_path / "empty.db", directory).report["version"] == 3
    message = refused(populated, text, face=face)
    assert message.startswith(f"0003_step.sql, statement 1, line 1: {cause}")


@faces
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
    ],
)
def test_m_a_loss_is_refused_unless_the_script_declares_it(
    face: Face, populated: Path, text: str, loss: str, line: str
) -> None:
    message = refused(populated, text, face=face)
    assert message.startswith(f"0003_step.sql: {loss}; if that is meant, add `-- {line}`")
    declared = scripts(populated.parent, *BASE, f"-- {line}\n{text}")
    assert face(populated, declared).report["version"] == 3


@faces
def test_n_a_backup_that_cannot_be_written_refuses_the_migration(
    face: Face, populated: Path
) -> None:
    populated.with_name("store.db.v2.bak").mkdir()
    assert refused(populated, "SELECT 1;", face=face, error="StorageError") == (
        f"cannot write the backup {populated}.v2.bak: Is a directory; choose a directory that"
        " this user may write to, with room for a copy; nothing was migrated: mend that, or do"
        " without a backup (backup=False, on the command line --no-backup)"
    )
    assert names_in(populated.parent) == ["sql0", "sql1", "store.db", "store.db.v2.bak"]


@faces
def test_p_a_tampered_user_version_is_refused_with_the_value_to_restore(
    face: Face, populated: Path
) -> None:
    run(populated, "PRAGMA user_version = 1")
    assert refused(populated, face=face) == (
        f"{populated}: schema_migrations says version 2, user_version says 1; if somebody set it by"
        " hand, set it back: PRAGMA user_version = 2"
    )


@faces
@pytest.mark.parametrize(
    ("sql", "line"),
    [
        (
            "ALTER TABLE tasks ALTER COLUMN owner DROP NOT NULL",
            "tasks.owner: expected NOT NULL, found NULL",
        ),
        ("DROP INDEX tasks_phase_ix", "index tasks_phase_ix is missing"),
    ],
)
def test_p_drift_made_by_hand_is_named_in_one_line(
    face: Face, populated: Path, sql: str, line: str
) -> None:
    run(populated, sql)
    assert refused(populated, "SELECT 1;", face=face) == (
        f"{populated} is not structured as version 2: {line}; undo what was changed by hand, or"
        f" restore a backup: `cwstore restore BACKUP {populated} --directory"
        f" {populated.parent / 'sql1'}`"
    )


@faces
def test_p_a_ledger_and_a_structure_that_disagree_are_refused(face: Face, populated: Path) -> None:
    """The ledger knows two versions, the file looks as after the first."""
    run(populated, "DROP TABLE tasks")
    assert "is not structured as version 2: table tasks is missing" in refused(populated, face=face)
    run(populated, "DROP TABLE schema_migrations")
    told = ": user_version says 2, but there is no schema_migrations; restore a backup: "
    assert told in refused(populated, face=face)
