"""What tools/snapshot writes is current, and it refuses what must not change or is not true."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cwstore.core.statement import bind_names
from cwstore.migrations.scripts import load
from tools._python import snapshot
from tools._python.released import (
    broken_records,
    false_claims,
    fingerprints,
    made,
    manifest,
    recorded,
    released,
)

SQL = Path(__file__).parents[2] / "sql"
HEAD = len(load())
NEWEST = load()[-1].file_name
NEXT, AFTER_NEXT = f"{HEAD + 1:04}", f"{HEAD + 2:04}"
STATEMENTS = f"statements/{HEAD:04}.sql"


@pytest.fixture(scope="module")
def generated() -> dict[Path, str]:
    return snapshot.generated(SQL)


@pytest.fixture
def sql(tmp_path: Path, generated: dict[Path, str]) -> Path:
    """A copy of sql/ to break, everything in it current."""
    copy = Path(shutil.copytree(SQL, tmp_path / "sql"))
    for path, text in generated.items():
        (copy / path.relative_to(SQL)).write_text(text, encoding="utf-8")
    return copy


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")


def test_every_generated_file_is_current() -> None:
    """If this fails, run tools/snapshot and look at what it changed."""
    assert list(snapshot.stale(SQL)) == []


@pytest.mark.slow
def test_the_table_of_methods_is_written_into_the_readme_and_nothing_else_is_touched(
    sql: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = sql.parent / "README.md"
    whole = (SQL.parent / "README.md").read_text(encoding="utf-8")
    edit_at = whole.index("| `tasks` | ")
    readme.write_text(whole[:edit_at] + whole[whole.index("| `agents` | ") :], encoding="utf-8")
    assert snapshot.main(["--sql", str(sql), "--check"]) == 1
    assert capsys.readouterr().err.endswith("README.md is not current: run tools/snapshot\n")
    assert snapshot.main(["--sql", str(sql)]) == 0
    assert readme.read_text(encoding="utf-8") == whole


def test_the_diagram_shows_tables_keys_and_what_happens_when_a_parent_is_deleted() -> None:
    lines = (SQL / "diagram.md").read_text(encoding="utf-8").splitlines()
    assert '    phases |o--o{ tasks : "phase_id, cascade"' in lines
    assert '    initiatives ||--o{ phases : "initiative_id, cascade"' in lines
    assert '    agents |o--o{ task_attempts : "agent_id, set null"' in lines
    at = lines.index("    phase_dependencies {")
    assert lines[at + 1 : at + 4] == [
        "        TEXT phase_id PK, FK",
        "        TEXT depends_on_phase_id PK, FK",
        "    }",
    ]


# sql/fingerprints


def test_each_migration_and_the_structure_after_it_are_as_they_were_recorded() -> None:
    """A migration that was released is frozen: what has to change goes into a new one."""
    assert broken_records(SQL) == []
    assert recorded(SQL) == fingerprints(tuple(load()))
    assert len({line.structure for line in recorded(SQL)}) == len(load())


@pytest.mark.parametrize(
    "version", [pytest.param(version, marks=pytest.mark.slow) for version in (1, 10, 11)]
)
def test_a_migration_edited_by_one_token_is_refused_and_nothing_is_written(
    sql: Path, version: int, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(sql / "migrations")[version - 1].file_name
    edit(sql / "migrations" / script, "', '", "', 'x', '")
    before = {path: path.read_bytes() for path in sql.rglob("*") if path.is_file()}
    assert snapshot.main(["--sql", str(sql)]) == 1
    assert {path: path.read_bytes() for path in before} == before
    assert f"tools/snapshot: {script} was edited after it was recorded" in capsys.readouterr().err
    assert any(script in line for line in broken_records(sql))


def test_comments_and_layout_of_a_migration_may_change(sql: Path) -> None:
    edit(
        sql / "migrations" / "0007_reviews.sql",
        "CREATE TABLE review_comments (",
        "create\ntable review_comments (",
    )
    edit(sql / "migrations" / "0007_reviews.sql", "create\ntable", "CREATE  TABLE")
    edit(sql / "migrations" / "0007_reviews.sql", "-- Serves review", "-- It serves review")
    assert broken_records(sql) == []
    assert list(snapshot.stale(sql)) == [sql / "schema.sql"]


def test_a_structure_that_is_not_the_recorded_one_is_told(sql: Path) -> None:
    edit(sql / "fingerprints", recorded(sql)[4].structure, "0123456789abcdef")
    (line,) = broken_records(sql)
    assert line.startswith("version 5 has another structure than recorded")


def test_a_recorded_migration_that_is_gone_is_told(sql: Path) -> None:
    (sql / "migrations" / NEWEST).unlink()
    (line,) = broken_records(sql)
    assert line == f"migration {HEAD:04} is recorded, but it is gone: restore it"
    assert snapshot.problems(sql) == [
        f"{STATEMENTS} is of a version that no migration leads to: remove it"
    ]


@pytest.mark.slow
def test_a_migration_that_was_never_released_can_be_recorded_anew(sql: Path) -> None:
    with (sql / "migrations" / NEWEST).open("a", encoding="utf-8") as stream:
        stream.write("CREATE TABLE x (y);\n")
    assert snapshot.main(["--sql", str(sql), "--amend", str(HEAD)]) == 0
    assert recorded(sql)[:-1] == recorded(SQL)[:-1]
    assert recorded(sql)[-1] != recorded(SQL)[-1]
    assert snapshot.main(["--sql", str(sql), "--check"]) == 0


# sql/statements, and what is promised about them


def test_the_statements_of_the_newest_version_fit_its_schema() -> None:
    newest = manifest(SQL, len(load()))
    assert len(newest) > 200
    expected = {"new_tasks._CREATE", "tasks._UPDATE()", "tasks._UPDATE(name if unchanged)"}
    assert expected <= set(newest)
    connection = made(load())
    for text in newest.values():
        assert not text.startswith("--")
        connection.execute(f"EXPLAIN {text}", dict.fromkeys(bind_names(text))).fetchall()


# The newest version of each release so far: add the one that is about to be released.
RELEASED = [11, 16, 17]


def test_there_is_a_manifest_of_each_released_version_and_of_the_newest_one() -> None:
    """No code was of a version in between: it came out together with later ones."""
    assert released(SQL) == sorted({*RELEASED, HEAD})


def test_there_is_a_manifest_of_every_version_that_a_claim_spans() -> None:
    """From the first release on: what came before it had no code of its own."""
    spanned = {
        version
        for file in load()
        for version in range(file.parse().compatible_with or file.version, file.version)
        if version >= RELEASED[0]
    }
    assert spanned - set(released(SQL)) == set()


def test_what_the_migrations_claim_to_be_compatible_with_is_true() -> None:
    assert false_claims(SQL) == []


def claim(sql: Path, script: str, of: int = HEAD) -> list[str]:
    """What is found to be false if a new migration claims compatibility with version `of`."""
    path = sql / "migrations" / f"{NEXT}_next.sql"
    path.write_text(f"-- compatible-with: {of}\n{script}", encoding="utf-8")
    prefix = f"{NEXT}_next.sql is not compatible with {of}: "
    return [line.removeprefix(prefix) for line in false_claims(sql) if line.startswith(prefix)]


OLD_PROJECTS = "ALTER TABLE projects RENAME TO old;"
FALSE_CLAIMS = [
    (
        "ALTER TABLE projects DROP COLUMN last_fetched_at;",
        "projects._UPDATE(name) fails: no such column: last_fetched_at",
    ),
    (
        "ALTER TABLE phases RENAME COLUMN name TO title;",
        "phases._UPDATE(name) fails: no such column: name",
    ),
    ("DROP VIEW ready_tasks;", "ready_tasks._READY.find fails: no such table: ready_tasks"),
    (
        """ALTER TABLE agents DROP CONSTRAINT agents_mode_ck;
        ALTER TABLE agents ADD CONSTRAINT agents_mode_ck CHECK (mode IN ('execute', 'dream'));""",
        "check agents_mode_ck of agents is another one: mode in ( 'execute' , 'dream' )",
    ),
    (
        "ALTER TABLE phases ADD CONSTRAINT phases_short_ck CHECK (length(name) < 9);",
        "check phases_short_ck of phases is new: length ( name ) < 9",
    ),
    (
        "CREATE UNIQUE INDEX phases_name_ix ON phases (name);",
        "index phases_name_ix is new: on phases ( name )",
    ),
    (
        f"{OLD_PROJECTS} CREATE TABLE projects (id INTEGER);",
        "column projects.id is another one: INTEGER NULL",
    ),
    (
        f"{OLD_PROJECTS} CREATE TABLE projects (id TEXT, kind TEXT NOT NULL);",
        "column projects.kind is new and has to be given: add a DEFAULT",
    ),
    (
        f"{OLD_PROJECTS} CREATE TABLE projects (id TEXT, default_branch TEXT UNIQUE);",
        "unique projects (default_branch) is new",
    ),
    (
        f"{OLD_PROJECTS} CREATE TABLE projects (id TEXT, url TEXT REFERENCES old (url));",
        "foreign key projects (url) to old is new",
    ),
]


@pytest.mark.parametrize(
    ("script", "line"),
    [
        pytest.param(*one, marks=pytest.mark.slow if at % 3 else ())
        for at, one in enumerate(FALSE_CLAIMS)
    ],
)
def test_a_false_claim_is_found(sql: Path, script: str, line: str) -> None:
    assert line in claim(sql, script)


def test_a_statement_that_returns_other_columns_is_a_false_claim(sql: Path) -> None:
    statements = sql / STATEMENTS
    statements.write_text("-- phases._ALL\nSELECT * FROM phases;\n", encoding="utf-8")
    columns = "id, initiative_id, name, content, status, created_at, updated_at, note"
    assert claim(sql, "ALTER TABLE phases ADD COLUMN note TEXT;") == [
        f"phases._ALL returns other columns: {columns}"
    ]


def test_what_older_code_does_not_notice_is_a_true_claim(sql: Path) -> None:
    script = """
        ALTER TABLE phases ADD COLUMN note TEXT;
        ALTER TABLE phases ADD COLUMN kind TEXT NOT NULL DEFAULT 'x';
        ALTER TABLE phases ADD CONSTRAINT phases_kind_ck CHECK (kind IN ('x', 'y'));
        CREATE INDEX phases_kind_ix ON phases (kind);
        CREATE UNIQUE INDEX phases_note_ix ON phases (note);
        CREATE TABLE notes (id TEXT NOT NULL UNIQUE CHECK (id <> ''));
        ALTER TABLE tasks DROP CONSTRAINT tasks_name_ck;
    """
    assert claim(sql, script) == []


@pytest.mark.slow
def test_a_claim_is_held_against_each_version_since_and_not_before_it(sql: Path) -> None:
    (sql / "migrations" / f"{NEXT}_a.sql").write_text("CREATE TABLE a (b);", encoding="utf-8")
    statements = sql / "statements" / f"{NEXT}.sql"
    shutil.copy(sql / STATEMENTS, statements)
    with statements.open("a", encoding="utf-8") as stream:
        stream.write("\n-- a._ALL\nSELECT b FROM a;\n")
    third = sql / "migrations" / f"{AFTER_NEXT}_b.sql"
    third.write_text(f"-- compatible-with: {HEAD}\nDROP TABLE a;", encoding="utf-8")
    false = f"{third.name} is not compatible with {HEAD + 1}: "
    assert false_claims(sql) == [f"{false}a._ALL fails: no such table: a"]
    statements.unlink()
    missing = f"statements/{NEXT}.sql is missing, which tells what that code asks"
    assert false_claims(sql) == [f"{false}{missing}"]


# the command


QUICK = {"statement"}  # in the fast tests, too
FALSE_CLAIM = f"-- compatible-with: {HEAD}\nDROP TABLE tasks;"
SPOILT: dict[str, Callable[[Path], object]] = {
    "edited": lambda sql: edit(sql / "schema.sql", "TEXT", "text"),
    "missing": lambda sql: (sql / "schema.sql").unlink(),
    "statement": lambda sql: edit(sql / STATEMENTS, "SELECT", "select"),
    "migration": lambda sql: (sql / "migrations" / f"{NEXT}_x.sql").write_text(
        "CREATE TABLE x (y);"
    ),
    "old migration": lambda sql: edit(sql / "migrations" / "0011_refine.sql", "refine'", "other'"),
    "gap": lambda sql: next((sql / "migrations").glob("0003*")).unlink(),
    "false claim": lambda sql: (sql / "migrations" / f"{NEXT}_x.sql").write_text(FALSE_CLAIM),
}


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(spoil, id=name, marks=() if name in QUICK else pytest.mark.slow)
        for name, spoil in SPOILT.items()
    ],
)
def test_the_check_fails_on_anything_that_is_not_as_it_should_be(
    sql: Path, spoil: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert snapshot.main(["--sql", str(sql), "--check"]) == 0
    assert capsys.readouterr() == ("", "")
    spoil(sql)
    before = {path: path.read_bytes() for path in sql.rglob("*") if path.is_file()}
    assert snapshot.main(["--sql", str(sql), "--check"]) == 1
    assert capsys.readouterr().err.startswith("tools/snapshot: ")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_the_tool_writes_what_is_missing_and_leaves_older_statements_alone(
    sql: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now = manifest(sql, HEAD)
    edit(sql / STATEMENTS, "SELECT", "select")
    (sql / "migrations" / f"{NEXT}_x.sql").write_text("CREATE TABLE x (y);", encoding="utf-8")
    assert snapshot.main(["--sql", str(sql)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {sql / name}"
        for name in ("schema.sql", "diagram.md", "fingerprints", f"statements/{NEXT}.sql")
    ]
    assert manifest(sql, HEAD) != now
    assert manifest(sql, HEAD + 1) == now
    assert recorded(sql)[:HEAD] == recorded(SQL)
    assert snapshot.main(["--sql", str(sql)]) == 0
    assert capsys.readouterr() == ("", "")
