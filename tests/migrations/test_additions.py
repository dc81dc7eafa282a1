"""What somebody added to a file is left alone, reported, and named where it is in the way."""

from pathlib import Path

import pytest

from cwstore._sqlite.apsw_types import open_connection
from cwstore.cli import main
from cwstore.errors import MigrationError
from cwstore.migrations import runner
from cwstore.migrations.api import migrate, rehearse, status
from cwstore.store import Store
from tests.kits.engine import DeliberateError
from tests.kits.migrations import PHASES, TASKS, made_by_base, refused, run, scripts

ADDED = (
    "CREATE INDEX mine_ix ON tasks (owner)",
    "CREATE VIEW mine AS SELECT id FROM tasks",
    "CREATE TABLE my_notes (task_id INTEGER REFERENCES tasks (id), text)",
    "CREATE INDEX my_notes_ix ON my_notes (task_id)",
    "CREATE TRIGGER mine_tg AFTER UPDATE ON tasks BEGIN SELECT 1; END",
    "CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)",
)
TOLD = (
    "index mine_ix on tasks",
    "index my_notes_ix on my_notes",
    "table _litestream_seq",
    "table my_notes",
    "trigger mine_tg on tasks",
    "view mine",
)
THIRD = "ALTER TABLE tasks ADD COLUMN note TEXT; UPDATE tasks SET note = 'x';"


@pytest.fixture
def populated(tmp_path: Path) -> Path:
    return made_by_base(tmp_path)


@pytest.fixture
def furnished(populated: Path) -> Path:
    for sql in ADDED:
        run(populated, sql)
    return populated


def test_a_store_opens_with_all_that_can_be_added_and_tells_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "store.db"
    Store.open(file).close()
    added = [sql.replace("owner", "name") for sql in ADDED]
    for sql in added:
        run(file, sql)
    assert status(file).added == TOLD
    assert main(["status", str(file)]) == 0
    assert (
        "added by somebody, and left alone: trigger mine_tg on tasks\n" in capsys.readouterr().out
    )
    assert main(["check", str(file)]) == 0
    assert "Somebody added, and it is left alone: view mine\n" in capsys.readouterr().out

    def look_closer(*_: object, **__: object) -> None:
        raise DeliberateError

    monkeypatch.setattr(runner, "upgrade", look_closer)  # it costs no closer look
    with Store.open(file) as store:
        report = store.check()
        assert (report.ok, report.added) == (True, TOLD)
        store.tasks.create(name="t", id="t")
    assert run(file, "SELECT id FROM mine") == [("t",)]


def test_an_upgrade_leaves_it_alone_and_goes_on_doing_so(furnished: Path) -> None:
    directory = scripts(furnished.parent, PHASES, TASKS, THIRD, "CREATE TABLE later (a);")
    before = run(furnished, "SELECT sql FROM sqlite_schema WHERE name LIKE '%m_ne%'")
    assert rehearse(furnished, directory=directory).version == 4
    assert migrate(furnished, directory=directory).version == 4
    assert run(furnished, "SELECT sql FROM sqlite_schema WHERE name LIKE '%m_ne%'") == before
    assert status(furnished, directory=directory).added == TOLD
    for sql in ("DROP TRIGGER mine_tg", "DROP VIEW mine", "DROP TABLE my_notes"):
        run(furnished, sql)
    # What was noted of the structure is that of the scripts alone.
    assert status(furnished, directory=directory).added == (TOLD[0], TOLD[2])
    run(furnished, "DROP INDEX mine_ix; DROP TABLE _litestream_seq")
    assert status(furnished, directory=directory).added == ()


@pytest.mark.parametrize("name", ["notes", "create", "it's mine", '"', "ß", "sql%"])
def test_it_may_have_any_name(populated: Path, name: str) -> None:
    quoted = name.replace('"', '""')
    run(populated, f'CREATE TABLE "{quoted}" (a); CREATE INDEX "{quoted} ix" ON tasks (owner)')
    directory = scripts(populated.parent, PHASES, TASKS, f"-- notes {name}\nSELECT 1;")
    assert migrate(populated, directory=directory).version == 3
    assert status(populated, directory=directory).added == (
        f"index {name} ix on tasks",
        f"table {name}",
    )


def test_a_change_beside_it_is_still_found(furnished: Path) -> None:
    run(furnished, "DROP INDEX tasks_phase_ix")
    assert "version 2: index tasks_phase_ix is missing; undo" in refused(furnished, "SELECT 1;")
    run(furnished, "CREATE INDEX tasks_phase_ix ON tasks (owner)")
    assert "index tasks_phase_ix: expected on tasks" in refused(furnished, "SELECT 1;")


def test_names_that_need_quotes_are_held_to_what_the_scripts_say(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    directory = scripts(tmp_path, 'CREATE TABLE "the ""old"" one" (a); CREATE TABLE b (c);')
    migrate(file, directory=directory)
    run(file, 'DROP TABLE "the ""old"" one"; CREATE VIEW mine AS SELECT 1')
    assert 'table the "old" one is missing' in refused(file, directory=directory)


REBUILD = """
CREATE TABLE tasks_new (id INTEGER PRIMARY KEY, phase_id INTEGER REFERENCES phases (id), a) STRICT;
INSERT INTO tasks_new SELECT id, phase_id, owner FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_new RENAME TO tasks;
CREATE INDEX tasks_phase_ix ON tasks (phase_id);
""".replace(", a) STRICT", ", a TEXT) STRICT")


@pytest.mark.parametrize(
    ("sql", "script", "named"),
    [
        ("CREATE INDEX mine ON tasks (owner)", REBUILD, "index mine on tasks"),
        ("CREATE VIEW mine AS SELECT id FROM tasks", REBUILD, "view mine"),
        (
            "CREATE TRIGGER mine AFTER UPDATE ON tasks BEGIN SELECT 1; END",
            REBUILD,
            "trigger mine on tasks",
        ),
        ("CREATE TABLE mine (a)", "CREATE TABLE mine (id);", "table mine"),
        ("CREATE INDEX mine ON tasks (id)", "CREATE TABLE mine (id);", "index mine on tasks"),
        (
            "CREATE UNIQUE INDEX mine ON tasks (owner) WHERE owner <> 'nobody'",
            "UPDATE tasks SET owner = 'me';",
            "index mine on tasks",
        ),
        (
            "CREATE TRIGGER mine BEFORE UPDATE ON tasks BEGIN SELECT RAISE(ABORT, 'no'); END",
            "UPDATE tasks SET owner = 'me';",
            "trigger mine on tasks",
        ),
        (
            "CREATE TRIGGER mine AFTER INSERT ON tasks BEGIN UPDATE tasks SET owner = NULL; END",
            "INSERT INTO tasks (id) VALUES (4);",
            "trigger mine on tasks",
        ),
        (
            "CREATE TABLE mine (phase INTEGER REFERENCES phases (id)); INSERT INTO mine VALUES (2)",
            "-- deletes: tasks\n-- deletes: phases\nDELETE FROM tasks; DELETE FROM phases;",
            "table mine",
        ),
    ],
)
def test_what_is_in_the_way_of_a_migration_is_named_and_left_alone(
    populated: Path, sql: str, script: str, named: str
) -> None:
    run(populated, sql)
    assert refused(populated, script).endswith(
        f"Nothing of it was kept, the file is at version 2: in the way is what somebody added,"
        f" {named}; drop it, migrate, and make it again"
    )


def test_what_is_not_in_the_way_is_not_accused(populated: Path) -> None:
    for name in ("statement", "line", "kept"):
        run(populated, f"CREATE TABLE {name} (a)")
    assert refused(populated, "INSERT INTO phases VALUES (1, 'again');").endswith(
        "UNIQUE constraint failed: phases.id. Nothing of it was kept, the file is at version 2:"
        " mend the script and migrate again"
    )


def test_a_table_of_a_module_that_is_not_here_and_a_key_that_fits_no_table_do_no_harm(
    populated: Path,
) -> None:
    run(populated, "CREATE TABLE unfit (phase TEXT REFERENCES phases (name))")
    connection = open_connection(str(populated))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "INSERT INTO sqlite_schema"
        " VALUES ('table', 'vectors', 'vectors', 0, 'CREATE VIRTUAL TABLE vectors USING vec0(a)')"
    )
    connection.close()
    directory = scripts(populated.parent, PHASES, TASKS, THIRD)
    assert migrate(populated, directory=directory).version == 3
    assert status(populated, directory=directory).added == ("table unfit", "table vectors")
    bad = "CREATE TABLE mine (phase TEXT REFERENCES phases (name));"
    directory = scripts(populated.parent, PHASES, TASKS, THIRD, bad)
    with pytest.raises(MigrationError, match='foreign key mismatch - "mine" referencing "phases"'):
        migrate(populated, directory=directory)


def test_a_store_with_a_table_of_a_module_that_is_not_here_works(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    Store.open(file).close()
    connection = open_connection(str(file))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "INSERT INTO sqlite_schema"
        " VALUES ('table', 'vectors', 'vectors', 0, 'CREATE VIRTUAL TABLE vectors USING vec0(a)')"
    )
    connection.close()
    with Store.open(file) as store, store.changes() as changes:
        store.tasks.create(name="t", id="t")
        assert changes.get(1)
        assert store.check().added == ("table vectors",)
        assert "vectors" not in {table.name for table in store.stats().tables}
        store.backup(tmp_path / "copy.db")


def test_a_file_of_newer_code_may_have_additions_too(populated: Path) -> None:
    newer = scripts(
        populated.parent,
        PHASES,
        TASKS,
        "-- compatible-with: 2\nCREATE TABLE later (a); CREATE INDEX later_ix ON later (a);",
    )
    migrate(populated, directory=newer)
    run(populated, "CREATE TABLE mine (a); CREATE VIEW also AS SELECT 1")
    older = populated.parent / "sql0"
    assert migrate(populated, directory=older).version == 3
    assert status(populated, directory=older).added == ()
    run(populated, "ALTER TABLE later ADD COLUMN b")
    assert "changed by hand after version 3" in refused(populated, directory=older)
    for number in range(12):
        run(populated, f"CREATE TABLE mine{number} (a)")
    assert migrate(populated, directory=older).version == 3  # nobody can tell


def test_a_new_file_that_litestream_has_met_first_is_no_foreign_one(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    directory = scripts(tmp_path, PHASES)
    migrate(file, directory=directory, target=0)
    run(file, "CREATE TABLE _litestream_lock (id INTEGER)")
    assert migrate(file, directory=directory).version == 1
    assert status(file, directory=directory).added == ("table _litestream_lock",)
    run(file, "DROP TABLE _litestream_lock")
    assert status(file, directory=directory).added == ()


def test_it_is_looked_at_in_the_version_that_the_file_has(furnished: Path) -> None:
    """`later` is of somebody as long as the script that makes it has not run."""
    run(furnished, "CREATE TABLE later (a)")
    directory = scripts(furnished.parent, PHASES, TASKS, "CREATE TABLE later (a);")
    assert "table later" in status(furnished, directory=directory).added
    with pytest.raises(MigrationError, match="in the way is what somebody added, table later;"):
        migrate(furnished, directory=directory)
