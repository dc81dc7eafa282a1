"""Comparing two structures: what counts, and the line that says it."""

import pytest

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.schema.structure import differences, read_structure

BASE = """
CREATE TABLE phases (id TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE tasks (
    id     TEXT NOT NULL PRIMARY KEY,
    owner  TEXT NOT NULL DEFAULT 'x',
    email  TEXT UNIQUE COLLATE NOCASE,
    size   INTEGER,
    twice  INTEGER GENERATED ALWAYS AS (size * 2),
    phase  TEXT REFERENCES phases (id) ON DELETE CASCADE,
    CONSTRAINT tasks_size_ck CHECK (size > 0),
    CHECK (owner <> '')
);
CREATE INDEX tasks_size_ix ON tasks (size) WHERE size > 3;
CREATE VIEW big AS SELECT id FROM tasks WHERE size > 9;
CREATE TRIGGER tasks_tg AFTER INSERT ON tasks BEGIN SELECT 1; END;
"""


def made(sql: str) -> Connection:
    connection = open_connection(":memory:")
    connection.execute(sql).fetchall()
    return connection


def compared(expected: str, found: str) -> list[str]:
    return differences(read_structure(made(expected)), read_structure(made(found)))


KEY = "foreign key tasks (phase) to phases"
INDEX = "index tasks_size_ix"
ON = "on tasks ( size ) where size > 3"
REPLACE = "ON CONFLICT REPLACE of tasks"
VIEW = "create view big as select id from tasks where size > 9"
TRIGGER = "create trigger tasks_tg after insert on tasks begin select 1 ; end"
CHANGES = [
    ("owner  TEXT NOT NULL", "owner  TEXT", "tasks.owner", "NOT NULL", "NULL"),
    ("owner  TEXT", "owner  BLOB", "tasks.owner", "TEXT", "BLOB"),
    ("owner  TEXT", "owner", "tasks.owner", "TEXT", "no type"),
    ("DEFAULT 'x'", "", "tasks.owner", "DEFAULT 'x'", "no DEFAULT"),
    ("COLLATE NOCASE", "", "tasks.email", "COLLATE NOCASE", "COLLATE BINARY"),
    ("(size * 2)", "(size * 2) STORED", "tasks.twice", "GENERATED VIRTUAL", "GENERATED STORED"),
    ("ON DELETE CASCADE", "", KEY, "ON DELETE CASCADE", "ON DELETE NO ACTION"),
    ("phases (id) ON DELETE", "phases ON DELETE", KEY, "id", "its primary key"),
    (
        "CASCADE,",
        "CASCADE DEFERRABLE INITIALLY DEFERRED,",
        "table tasks",
        "0 deferred foreign keys",
        "1 deferred foreign keys",
    ),
    ("size > 0", "size > 1", "check tasks_size_ck of tasks", "size > 0", "size > 1"),
    (") STRICT", ")", "table phases", "STRICT", "not STRICT"),
    (") STRICT", ") STRICT, WITHOUT ROWID", "table phases", "with rowid", "WITHOUT ROWID"),
    ("INDEX tasks_size", "UNIQUE INDEX tasks_size", INDEX, "not UNIQUE", "UNIQUE"),
    ("WHERE size > 3", "", INDEX, ON, "on tasks ( size )"),
    ("ON tasks (size)", "ON tasks (size DESC)", INDEX, ON, ON.replace("size )", "size desc )")),
    ("size > 9", "size > 8", "view big", VIEW, VIEW.replace("9", "8")),
    ("SELECT 1;", "SELECT 2;", "trigger tasks_tg", TRIGGER, TRIGGER.replace("1", "2")),
    ("INSERT ON", "DELETE ON", "trigger tasks_tg", TRIGGER, TRIGGER.replace("insert", "delete")),
]


@pytest.mark.parametrize(("before", "after", "part", "expected", "found"), CHANGES)
def test_each_change_is_one_line(
    before: str, after: str, part: str, expected: str, found: str
) -> None:
    assert BASE.count(before) == 1
    line = f"{part}: expected {expected}, found {found}"
    assert compared(BASE, BASE.replace(before, after)) == [line]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("UNIQUE", "", "unique tasks (email) is missing"),
        ("size   INTEGER", "size   INTEGER UNIQUE", "unique tasks (size) is not expected"),
        ("REFERENCES phases (id) ON DELETE CASCADE", "", f"{KEY} is missing"),
        (",\n    CHECK (owner <> '')", "", "check owner <> '' of tasks is missing"),
        ("TEXT UNIQUE", "TEXT UNIQUE ON CONFLICT REPLACE", f"{REPLACE} is not expected"),
        (
            "    id     TEXT NOT NULL PRIMARY KEY",
            "    id     TEXT NOT NULL PRIMARY KEY on conflict replace",
            f"{REPLACE} is not expected",
        ),
    ],
)
def test_each_constraint_that_is_missing_or_too_much_is_one_line(
    before: str, after: str, line: str
) -> None:
    assert BASE.count(before) == 1
    assert compared(BASE, BASE.replace(before, after)) == [line]


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        ("ALTER TABLE tasks ADD COLUMN note TEXT;", "column tasks.note is not expected"),
        ("CREATE INDEX owner_ix ON tasks (owner);", "index owner_ix is not expected"),
        ("DROP INDEX tasks_size_ix;", "index tasks_size_ix is missing"),
        ("DROP VIEW big;", "view big is missing"),
        ("DROP TRIGGER tasks_tg;", "trigger tasks_tg is missing"),
        ("CREATE TABLE more (a INTEGER PRIMARY KEY, b UNIQUE);", "table more is not expected"),
        ("DROP TABLE tasks;", "table tasks is missing"),
        ("DROP TABLE phases; CREATE VIEW phases AS SELECT 1;", "view phases is not expected"),
    ],
)
def test_what_is_missing_or_too_much_is_one_line(extra: str, line: str) -> None:
    assert line in compared(BASE, BASE + extra)
    assert len(compared(BASE, BASE + extra)) == 1 + ("VIEW phases" in extra)


def test_layout_case_quotes_and_the_way_it_came_about_make_no_difference() -> None:
    other = BASE.replace("size   INTEGER,", "").replace(
        "CREATE TABLE tasks", 'create table "Tasks"'
    )
    other = other.replace("    twice  INTEGER GENERATED ALWAYS AS (size * 2),\n", "")
    other = other.replace("CONSTRAINT tasks_size_ck CHECK (size > 0),", "/* later */")
    later = """
    ALTER TABLE tasks ADD COLUMN size INTEGER CONSTRAINT tasks_size_ck CHECK ( size>0 );
    ALTER TABLE tasks ADD COLUMN twice INTEGER GENERATED ALWAYS AS (size*2);
    """
    other = other.replace("CREATE INDEX", later + "CREATE INDEX", 1)
    order = "tasks: expected the columns id, owner, email, size, twice, phase"
    assert compared(BASE, other) == [f"{order}, found id, owner, email, phase, size, twice"]
    assert compared(BASE, BASE.upper().replace("'X'", "'x'")) == []


def test_autoincrement_and_a_key_of_two_columns_count() -> None:
    one = "CREATE TABLE a (b INTEGER PRIMARY KEY, c)"
    assert compared(one, "CREATE TABLE a (b INTEGER PRIMARY KEY AUTOINCREMENT, c)") == [
        "a.b: expected no AUTOINCREMENT, found AUTOINCREMENT"
    ]
    assert compared(one, "CREATE TABLE a (b INTEGER, c, PRIMARY KEY (b, c))") == [
        "a.c: expected not in the PRIMARY KEY, found PRIMARY KEY part 2"
    ]


def test_each_conflict_clause_counts_but_the_one_that_holds_anyway() -> None:
    plain = "CREATE TABLE a (b NOT NULL, c UNIQUE)"
    once = "CREATE TABLE a (b NOT NULL, c UNIQUE ON CONFLICT IGNORE)"
    twice = "CREATE TABLE a (b NOT NULL ON CONFLICT IGNORE, c UNIQUE ON CONFLICT IGNORE)"
    assert compared(once, plain) == ["ON CONFLICT IGNORE of a is missing"]
    assert compared(once, twice) == ["ON CONFLICT IGNORE of a: expected 1 times, found 2 times"]
    assert compared(plain, "CREATE TABLE a (b NOT NULL ON CONFLICT ABORT, c UNIQUE)") == []


def test_a_table_that_became_virtual_is_a_difference() -> None:
    one, other = "CREATE TABLE notes (body)", "CREATE VIRTUAL TABLE notes USING fts5 (body)"
    assert (
        "table notes: expected not STRICT, found create virtual table notes using fts5 ( body )"
        in (compared(one, other))
    )
    assert compared(other, other) == []


def test_a_very_long_difference_is_cut() -> None:
    wide = "CREATE VIEW v AS SELECT " + ", ".join(f"{n} AS column_{n}" for n in range(99))
    (line,) = compared(wide, wide.replace("98 AS", "97 AS"))
    assert line.count("...") == 2
    assert len(line) < 500
