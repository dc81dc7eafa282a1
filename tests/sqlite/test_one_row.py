"""Of a change whose row the statement tells, and of any other, the same is told."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from cwstore import Change, ChangeOperation, Database
from cwstore.core import Statement
from cwstore.errors import ConflictError, CwstoreError
from tests.kits.database import engine_of

INSERT, UPDATE, DELETE = ChangeOperation.INSERT, ChangeOperation.UPDATE, ChangeOperation.DELETE

_TABLES = """
CREATE TABLE plain (id TEXT NOT NULL PRIMARY KEY, word TEXT) STRICT;
CREATE TABLE twins (id TEXT NOT NULL, word TEXT UNIQUE ON CONFLICT REPLACE) STRICT;
CREATE TABLE any_case (id TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, word TEXT) STRICT;
CREATE TABLE numbers (id INTEGER PRIMARY KEY, word TEXT) STRICT;
CREATE TABLE stamps (id TEXT NOT NULL PRIMARY KEY, word TEXT) STRICT;
CREATE TABLE keyless (word TEXT NOT NULL PRIMARY KEY) STRICT;
CREATE TABLE loud (id TEXT NOT NULL PRIMARY KEY, word TEXT) STRICT;
CREATE TRIGGER loud_echo BEFORE UPDATE ON loud WHEN old.id = 'a' BEGIN
    UPDATE loud SET word = 'echo' WHERE id = 'b';
END;
INSERT INTO plain VALUES ('a', 'x'), ('b', 'x');
INSERT INTO loud VALUES ('a', 'x'), ('b', 'x');
INSERT INTO twins VALUES ('t', 'x'), ('t', 'y'), ('u', 'z');
INSERT INTO any_case VALUES ('A', 'x');
INSERT INTO numbers VALUES (7, 'x');
"""


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    word: str | None


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_row")
    (folder / "0001_begin.sql").write_text(_TABLES)
    Database.open(folder / "one.db", migrations=folder, application_id=1).close()
    return folder / "one.db"


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Iterator[Database]:
    file = shutil.copy(migrated, tmp_path)
    with Database.open(file, migrations=migrated.parent, application_id=1) as database:
        yield database


def told(database: Database, text: str, id: str | int) -> list[Change]:
    """What a feed tells of a statement that binds this id."""
    with database.changes() as feed:
        engine_of(database).execute(Statement[int](text, Row, int, {"id": type(id)}), id=id)
        return feed.get(timeout=0)


@pytest.mark.parametrize(
    ("text", "id", "changes"),
    [
        ("UPDATE plain SET word = 'y' WHERE id = :id", "a", [(UPDATE, "plain", "a")]),
        ("UPDATE plain SET word = 'y' WHERE id = :id", "none", []),
        (
            "UPDATE loud SET word = 'y' WHERE id = :id",
            "a",
            [(UPDATE, "loud", "b"), (UPDATE, "loud", "a")],
        ),
        (
            "UPDATE plain SET word = 'z' WHERE id = :id OR id = 'b'",
            "a",
            [(UPDATE, "plain", "a"), (UPDATE, "plain", "b")],
        ),
        (
            "UPDATE plain SET word = :id || ' WHERE id = :id' WHERE id < 'b'",
            "b",
            [(UPDATE, "plain", "a")],
        ),
        (
            "UPDATE plain SET word = :id -- WHERE id = :id\n",
            "b",
            [(UPDATE, "plain", "a"), (UPDATE, "plain", "b")],
        ),
        (
            "UPDATE twins SET word = id || rowid WHERE id = :id",
            "t",
            [(UPDATE, "twins", "t"), (UPDATE, "twins", "t")],
        ),
        (
            "UPDATE twins SET word = 'y' WHERE id = :id",
            "u",
            [(DELETE, "twins", "t"), (UPDATE, "twins", "u")],
        ),
        (
            "INSERT INTO twins (id, word) VALUES (:id, 'z')",
            "v",
            [(DELETE, "twins", "u"), (INSERT, "twins", "v")],
        ),
        (
            "INSERT INTO plain (id, word) VALUES (:id, 'x'), ('d', 'x')",
            "c",
            [(INSERT, "plain", "c"), (INSERT, "plain", "d")],
        ),
        ("INSERT INTO plain (id, word) VALUES (:id || '!', 'x')", "e", [(INSERT, "plain", "e!")]),
        (
            "INSERT INTO plain (id) VALUES (:id) ON CONFLICT (id) DO UPDATE SET word = 'c'",
            "a",
            [(UPDATE, "plain", "a")],
        ),
        ("INSERT INTO plain (id) VALUES (:id)", 7, [(INSERT, "plain", "7")]),
        ("INSERT INTO stamps (id) VALUES (:id)", "s", [(INSERT, "stamps", "s")]),
        ("UPDATE any_case SET word = 'y' WHERE id = :id", "a", [(UPDATE, "any_case", "A")]),
        ("UPDATE numbers SET word = 'y' WHERE id = :id", "7", [(UPDATE, "numbers", 7)]),
    ],
)
def test_each_change_is_told_with_its_own_id(
    database: Database, text: str, id: str | int, changes: list[tuple[object, ...]]
) -> None:
    heard = [(one.operation, one.table, one.id) for one in told(database, text, id)]
    assert heard == changes


def test_what_a_statement_was_to_change_is_not_told_of_a_later_one(database: Database) -> None:
    insert = Statement[int]("INSERT INTO plain (id) VALUES (:id)", Row, int, {})
    with database.changes() as feed:
        with database.transaction():
            with suppress(ConflictError):
                engine_of(database).execute(insert, id="a")
            engine_of(database).insert_many(insert, [{"id": "c"}, {"id": "d"}])
        assert feed.get(timeout=0) == [Change(INSERT, "plain", "c"), Change(INSERT, "plain", "d")]


def test_a_statement_on_a_table_that_came_later_is_not_told(database: Database) -> None:
    insert = Statement[int]("INSERT INTO later (id) VALUES (:id)", Row, int, {})
    with database.changes() as feed:
        with database.transaction():
            engine_of(database)._writer.connection.execute("CREATE TABLE later (id TEXT)")
            engine_of(database).execute(insert, id="a")
        assert feed.get(timeout=0) == []


@pytest.mark.parametrize("table", ["nowhere", "keyless"])
def test_a_statement_that_fails_says_why_though_somebody_listens(
    database: Database, table: str
) -> None:
    with pytest.raises(CwstoreError, match=rf"no such.*{'id' if table == 'keyless' else table}"):
        told(database, f"UPDATE {table} SET word = 'y' WHERE id = :id", "a")
