"""What a file says about its past, against the scripts and against what it holds.

The main cases of each scenario are in test_migration_scenarios.py.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, cast

import pytest

from cwstore._sqlite.schema import drift as _drift
from cwstore.errors import (
    CorruptDatabaseError,
    InvalidValueError,
    MigrationError,
    SchemaTooNewError,
)
from cwstore.migrations import runner
from cwstore.migrations import scripts as _migration_files
from cwstore.migrations.api import migrate
from cwstore.store import Store
from tests.kits.engine import DeliberateError, assert_ours_alone
from tests.kits.migrations import (
    BASE,
    PHASES,
    TASKS,
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


# Scenario C: an edited migration


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("(3, 2)", "(3, 1)"),
        lambda text: text.replace("CREATE TABLE", "create table"),
        lambda text: text + ";",
    ],
)
def test_an_applied_migration_that_was_edited_is_refused(
    populated: Path, edit: Callable[[str], str]
) -> None:
    assert edit(TASKS) != TASKS
    directory = scripts(populated.parent, PHASES, edit(TASKS))
    assert refused(populated, directory=directory) == (
        f"0002_step.sql was edited after it was applied to {populated}; restore its text, and put"
        " the change into a new migration"
    )


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("    ", "\t").replace("\n", " -- why\n\n"),
        lambda text: f"/* {text} */ {text}",
        lambda text: text.replace("(id, name)", "( id , name )"),
    ],
)
def test_an_applied_migration_may_be_laid_out_anew(
    populated: Path, edit: Callable[[str], str]
) -> None:
    directory = scripts(populated.parent, PHASES, edit(TASKS))
    assert migrate(populated, directory=directory).version == 2


def test_an_edit_right_after_another_one_is_seen(populated: Path) -> None:
    """The clock of a file system is coarse: same size, same time, another text."""
    directory = populated.parent / "sql0"
    script = directory / "0002_step.sql"
    script.write_text(TASKS)
    migrate(populated, directory=directory)
    before = script.stat()
    script.write_text(TASKS.replace("'nobody'", "'no-one'"))
    os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "0002_step.sql was edited" in refused(populated, directory=directory)


def test_a_script_is_parsed_once(tmp_path: Path) -> None:
    (script,) = _migration_files.load(scripts(tmp_path, "SELECT 1;"))
    assert script.parse() is script.parse()


def test_scripts_of_a_given_directory_are_read_anew_each_time(tmp_path: Path) -> None:
    directory = scripts(tmp_path, "SELECT 1;")
    script = directory / "0001_step.sql"
    for text in ("SELECT 2;", "SELECT 3;"):
        script.write_text(text)
        for path in (script, directory):
            os.utime(path, (1, 1))
        assert [file.text for file in _migration_files.load(directory)] == [text]


def test_a_process_goes_on_with_the_scripts_that_it_has_loaded(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code knows no more than those: an upgrade on disk is for the next process."""
    directory = scripts(tmp_path, *BASE)
    monkeypatch.setattr(_migration_files, "default_directory", lambda: str(directory))
    assert migrate(file).version == 2
    (directory / "0003_step.sql").write_text("SELECT 1;")
    (directory / "0002_step.sql").write_text("SELECT 'edited';")
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", None)
        assert migrate(file).version == 2
        assert migrate(tmp_path / "new.db").version == 2


def test_line_endings_inside_a_string_do_not_depend_on_the_checkout(
    tmp_path: Path, file: Path
) -> None:
    text = "CREATE TABLE a (b);\nINSERT INTO a VALUES ('one\ntwo');\n"
    migrate(file, directory=scripts(tmp_path, text.replace("\n", "\r\n")))
    assert run(file, "SELECT b FROM a") == [("one\ntwo",)]
    assert migrate(file, directory=scripts(tmp_path, text)).applied == ()


def test_a_carriage_return_alone_is_no_line_ending(tmp_path: Path, file: Path) -> None:
    migrate(file, directory=scripts(tmp_path, "CREATE TABLE a AS SELECT 'one\rtwo' AS b;\r\n"))
    assert run(file, "SELECT b FROM a") == [("one\rtwo",)]


# Scenario J: numbers


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0002_b.sql",), "migration 0001 is missing: the first one is 0002_b.sql"),
        (("0000_a.sql",), "migration 0001 is missing: the first one is 0000_a.sql"),
        (("0001_a.sql", "2_b.sql"), "2_b.sql is not named like a migration: 0001_what_it_does.sql"),
        (("0001_a.sql", "0002-b.sql"), "0002-b.sql is not named like a migration"),
        (("0001_a.sql", "0002_.sql"), "0002_.sql is not named like a migration"),
        (("0001_a.sql", "0002_b.SQL"), "0002_b.SQL is not named like a migration"),
        (("0001_a.sql", "0002_a b.sql"), "0002_a b.sql is not named like a migration"),
        (
            ("0001_a.sql", "0003_c.sql"),
            (
                "migration 0002 is missing: 0001_a.sql is followed by 0003_c.sql; restore it, or"
                " renumber those that were not released yet"
            ),
        ),
        ((), "sql0 holds no migration; give the directory with 0001_<name>.sql"),
    ],
)
def test_gaps_duplicates_and_bad_names_are_refused_by_name(
    tmp_path: Path, file: Path, names: tuple[str, ...], message: str
) -> None:
    directory = scripts(tmp_path, *["SELECT 1;"] * len(names), names=names)
    with pytest.raises(MigrationError) as refusal:
        migrate(file, directory=directory)
    assert message in str(refusal.value)
    assert not file.exists()


def test_other_files_in_the_directory_do_not_matter(tmp_path: Path, file: Path) -> None:
    names = ("0001_a.sql", "README.md", ".0002_b.sql")
    directory = scripts(tmp_path, "SELECT 1;", "# hi", "being edited", names=names)
    assert migrate(file, directory=directory).applied == ("0001_a",)


def test_a_directory_that_cannot_be_read_is_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(MigrationError) as unread:
        migrate(file, directory=tmp_path / "nowhere")
    assert str(unread.value) == (
        f"cannot read the migrations in {tmp_path / 'nowhere'}: No such file or directory; give a"
        " directory with 0001_<name>.sql that this user may read"
    )
    for bad in (cast("str", b"sql"), cast("str", 5), "sql\0", "sql\ud800"):
        with pytest.raises(InvalidValueError) as refusal:
            migrate(file, directory=bad)
        assert refusal.value.field == "directory"
        assert str(refusal.value) == (
            "directory: no path of this system can hold its text"
            if bad == "sql\ud800"
            else "directory: expected a path as str or os.PathLike[str]"
        )
    directory = scripts(tmp_path, "SELECT 1;")
    (directory / "0001_step.sql").write_bytes(b"SELECT '\xff';")
    with pytest.raises(MigrationError, match=r"0001_step\.sql is not UTF-8 text; save it as such$"):
        migrate(file, directory=directory)
    assert not file.exists()


@pytest.mark.parametrize("third", ["SELECT 'a;", "-- hi\n", "-- drops: all\nSELECT 1;"])
def test_a_script_that_cannot_be_understood_leaves_no_new_file(
    tmp_path: Path, file: Path, third: str
) -> None:
    directory = scripts(tmp_path, *BASE, third)
    with pytest.raises(MigrationError, match=r"0003_step\.sql"):
        migrate(file, directory=directory)
    assert names_in(tmp_path) == ["sql0"]
    assert migrate(file, directory=directory, target=2).version == 2


@pytest.mark.parametrize("text", ["", "-- deletes: all rows\nSELECT 1;"])
def test_a_store_on_broken_migrations_makes_no_file(
    tmp_path: Path, file: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = scripts(tmp_path, text or "SELECT 1;", names=("0001_a.sql" if text else "1.sql",))
    monkeypatch.setattr(_migration_files, "default_directory", lambda: str(directory))
    with pytest.raises(MigrationError):
        Store.open(file)
    assert names_in(tmp_path) == ["sql0"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "-- compatible-with: new",
            (
                "line 1: `compatible-with: new` must name a version from 1 to 2, the oldest code"
                " that can go on using the file"
            ),
        ),
        ("-- compatible-with: 3", "line 1: `compatible-with: 3` must name a version from 1 to 2"),
        ("-- compatible-with: 0", "line 1: `compatible-with: 0` must name a version from 1 to 2"),
        (
            "-- hi\n-- compatible-with: 1",
            "line 2: `compatible-with` must be the first line of the file",
        ),
        (
            "-- drops: tasks_phase_ix",
            "line 1: write `-- drops: index name` (or table, trigger, view), one a line",
        ),
        ("-- drops: column tasks.a", "line 1: write `-- drops: index name`"),
        ("-- deletes: all rows", "line 1: write `-- deletes: table_name`, one table a line"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(
    populated: Path, header: str, message: str
) -> None:
    assert f"0003_step.sql, {message}" in refused(populated, f"{header}\nSELECT 1;")


# Scenario P: tampering and drift


@pytest.mark.parametrize("version", [0, 3])
def test_a_tampered_user_version_is_named(populated: Path, version: int) -> None:
    run(populated, f"PRAGMA user_version = {version}")
    assert refused(populated, "SELECT 1;", "SELECT 1;") == (
        f"{populated}: schema_migrations says version 2, user_version says {version}; if somebody"
        " set it by hand, set it back: PRAGMA user_version = 2"
    )


def test_a_user_version_beyond_the_code_is_too_new_and_said_to_look_tampered_with(
    populated: Path,
) -> None:
    run(populated, "PRAGMA user_version = 3")
    with pytest.raises(SchemaTooNewError, match="ends at 2, so user_version may have been set by"):
        migrate(populated, directory=populated.parent / "sql0")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "DELETE FROM schema_migrations WHERE version = 1",
            "store.db: schema_migrations lacks version 1; restore a backup",
        ),
        (
            "DELETE FROM schema_migrations",
            "store.db: somebody emptied schema_migrations; restore a backup",
        ),
        (
            "DELETE FROM schema_migrations; PRAGMA user_version = 0",
            "store.db: somebody emptied schema_migrations; restore a backup",
        ),
        ("UPDATE schema_migrations SET version = 9 WHERE version = 2", "lacks version 2"),
    ],
)
def test_a_damaged_ledger_is_named(populated: Path, sql: str, message: str) -> None:
    run(populated, sql)
    assert message in refused(populated)


def test_a_ledger_that_somebody_made_anew_with_other_types_is_named(populated: Path) -> None:
    run(populated, "CREATE TABLE kept AS SELECT * FROM schema_migrations")
    run(populated, "DROP TABLE schema_migrations")
    run(
        populated,
        "CREATE TABLE schema_migrations AS"
        " SELECT iif(version = 2, 'two', version) AS version, name, checksum, text_sum,"
        " compatible_with, structure, applied_at FROM kept",
    )
    run(populated, "DROP TABLE kept")
    with pytest.raises(
        CorruptDatabaseError, match=": schema_migrations is damaged; restore a backup: "
    ):
        migrate(populated)


def test_what_the_ledger_says_of_a_script_is_the_same_in_every_release(
    tmp_path: Path, file: Path
) -> None:
    texts = (
        "-- one\nCREATE TABLE one (a, b); CREATE INDEX i ON one (a);",
        "-- compatible-with: 1\nSELECT 'é', 2 FROM one;",
    )
    one = "7295de9f34593ae812adf03f309965d92edf5034ddd99d491739332ef0e49f5a"
    two = "acd34f07da5044543360244ec9ed8990457a8c4a8b1460e085583a9f21c8bb2a"
    migrate(file, directory=scripts(tmp_path, *texts))
    assert run(
        file,
        "SELECT version, name, checksum, text_sum, compatible_with, structure"
        " FROM schema_migrations",
    ) == [
        (1, "0001_step", one, 3805586909, None, 166851895),
        (2, "0002_step", two, 1792416508, 1, 166851895),
    ]


def test_a_ledger_of_another_shape_is_a_corrupt_file(populated: Path) -> None:
    run(populated, "ALTER TABLE schema_migrations DROP COLUMN checksum")
    with pytest.raises(CorruptDatabaseError, match="checksum") as raised:
        migrate(populated, directory=populated.parent / "sql0")
    assert f"reading the version of {populated}" in str(raised.value)
    with pytest.raises(CorruptDatabaseError, match="checksum") as raised:
        Store.open(populated)
    assert_ours_alone(raised.value)


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("ALTER TABLE tasks ADD COLUMN note TEXT", "column tasks.note is not expected"),
        ("ALTER TABLE tasks DROP COLUMN owner", "column tasks.owner is missing"),
    ],
)
def test_drift_made_by_hand_is_named_in_one_line(populated: Path, sql: str, line: str) -> None:
    run(populated, sql)
    assert refused(populated) == (
        f"{populated} is not structured as version 2: {line}; undo what was changed by hand, or"
        f" restore a backup: `cwstore restore BACKUP {populated} --directory"
        f" {populated.parent / 'sql1'}`"
    )


def test_a_conflict_clause_in_a_table_made_by_hand_is_named(tmp_path: Path, file: Path) -> None:
    table = "CREATE TABLE projects (name TEXT UNIQUE{});"
    directory = scripts(tmp_path, table.format(""))
    migrate(file, directory=directory)
    run(file, "DROP TABLE projects;" + table.format(" ON CONFLICT REPLACE"))
    assert refused(file, directory=directory) == (
        f"{file} is not structured as version 1: ON CONFLICT REPLACE of projects is not expected;"
        " undo what was changed by hand, or restore a backup:"
        f" `cwstore restore BACKUP {file} --directory {directory}`"
    )


def test_a_store_that_is_open_names_a_conflict_clause_made_by_hand(file: Path) -> None:
    with Store.open(file) as store:
        (text,) = run(file, "SELECT sql FROM sqlite_schema WHERE name = 'projects'")[0]
        by_hand = text.replace("NOT NULL  UNIQUE", "NOT NULL  UNIQUE ON CONFLICT REPLACE", 1)
        run(file, f"DROP TABLE projects; {by_hand}")
        assert store.check().drift == ("ON CONFLICT REPLACE of projects is not expected",)


def refuse_to_look_closer(*arguments: object, **options: object) -> NoReturn:
    raise DeliberateError


def test_an_up_to_date_file_is_opened_without_a_closer_look(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setattr(runner, "upgrade", refuse_to_look_closer)
    Store.open(file).close()


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE agent (a)",  # a word of the scripts
        "PRAGMA user_version = 1",
        "PRAGMA user_version = 99",
        "PRAGMA journal_mode = DELETE",
        "DROP TABLE schema_migrations",
        "DELETE FROM schema_migrations",
        "DELETE FROM schema_migrations WHERE version = 2",
        "DELETE FROM schema_migrations WHERE version > 10",
        "UPDATE schema_migrations SET structure = 0",
        "UPDATE schema_migrations SET text_sum = 0 WHERE version = 1",
        "UPDATE schema_migrations SET name = 'mine' WHERE version = 1",
    ],
)
def test_a_file_that_is_not_as_it_was_left_is_looked_at_closer(
    file: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    run(file, sql)
    monkeypatch.setattr(runner, "upgrade", refuse_to_look_closer)
    with pytest.raises(DeliberateError):
        Store.open(file)


def test_much_drift_is_counted(populated: Path) -> None:
    run(populated, ";".join(f"ALTER TABLE tasks ADD COLUMN mine{n} TEXT" for n in range(7)))
    assert "column tasks.mine4 is not expected; and 2 more; undo" in refused(populated)


def test_drift_is_found_before_a_pending_migration_is_applied(populated: Path) -> None:
    run(populated, "DROP INDEX tasks_phase_ix")
    assert "index tasks_phase_ix is missing" in refused(populated, "SELECT 1;")


def test_the_same_structure_in_another_text_is_no_drift(
    populated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(populated, "DROP INDEX tasks_phase_ix")
    run(populated, 'create index "tasks_phase_ix" on tasks(phase_id) -- by hand')
    directory = populated.parent / "sql0"
    assert migrate(populated, directory=directory).version == 2
    with monkeypatch.context() as patch:  # once found equal, it is not compared again
        patch.setattr(_drift, "drift", None)
        assert migrate(populated, directory=directory).version == 2
    assert migrate(populated, directory=scripts(populated.parent, *BASE, "SELECT 1;")).version == 3


def test_drift_of_a_newer_file_cannot_be_named_but_is_refused(populated: Path) -> None:
    newer = scripts(populated.parent, *BASE, "-- compatible-with: 2\nSELECT 1;")
    migrate(populated, directory=newer)
    run(populated, "DROP INDEX tasks_phase_ix")
    with pytest.raises(
        MigrationError,
        match=(
            ": its structure was changed by hand after version 3 was applied; open it with the"
            " cwstore that wrote it to see where, or restore a backup: "
        ),
    ):
        migrate(populated, directory=populated.parent / "sql0")


def test_statistics_are_no_drift(populated: Path) -> None:
    run(populated, "ANALYZE")
    assert migrate(populated, directory=populated.parent / "sql0").applied == ()


def test_an_installed_package_brings_its_own_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "cwstore"
    package.mkdir()
    monkeypatch.setattr(_migration_files, "__file__", str(package / "migrations" / "scripts.py"))
    assert _migration_files.default_directory() == str(tmp_path / "sql" / "migrations")
    (package / "sql" / "migrations").mkdir(parents=True)
    assert _migration_files.default_directory() == str(package / "sql" / "migrations")
