"""Every statement is one that PostgreSQL can prepare on its schema."""

from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

import cwstore._overview
import cwstore._transfer
import cwstore.entities
from cwstore._postgres.statement_text import text_of
from cwstore.core.statement import Statement, rows_of, values_of
from cwstore.entities.initiatives import Initiative
from cwstore.store import Store
from cwstore.testing.checker.found import find_statements, sources_of

Connection = psycopg.Connection[tuple[Any, ...]]


def faults(connection: Connection, statements: dict[str, Statement[Any]]) -> dict[str, str]:
    """What is wrong with those that cannot be prepared."""
    found: dict[str, str] = {}
    for name, statement in statements.items():
        try:
            connection.execute(b"PREPARE statement AS " + text_of(statement))
            connection.execute("DEALLOCATE statement")
        except psycopg.Error as error:
            found[name] = str(error)
    return found


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a service's own table."""

    id: str
    weight: float
    body: bytes


_LIGHTER = rows_of(Sample)("""
    SELECT id, weight, body FROM samples WHERE weight < :weight AND body = :body
""")


def test_numbers_with_a_point_and_bytes_of_a_service_are_taken_as_they_are(
    store: Store, superuser: Connection
) -> None:
    superuser.execute("CREATE TABLE samples (id text, weight double precision, body bytea)")
    superuser.execute("INSERT INTO samples VALUES ('s', 0.1, '\\x0061'), ('t', 3, '\\x0061')")
    found = store._db.fetch_all(_LIGHTER, weight=0.5, body=b"\0a")
    assert found == [Sample("s", 0.1, b"\0a")]


def test_every_statement_can_be_prepared(store: Store, superuser: Connection) -> None:
    statements = {
        f"{one.subject}{label}": statement
        for package in (cwstore.entities, cwstore._transfer, cwstore._overview)
        for one in find_statements(sources_of(package))
        for label, statement in one.variants().items()
    }
    assert len(statements) > 700
    assert faults(superuser, statements) == {}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ifnull(branch, 'x') FROM initiatives WHERE id = :id",
        "SELECT name FROM initiatives WHERE id = :id AND merge_requires_approval",
        "INSERT OR IGNORE INTO initiatives (id) VALUES (:id)",
    ],
)
def test_what_only_sqlite_takes_is_found(store: Store, superuser: Connection, text: Any) -> None:
    assert list(faults(superuser, {"planted": values_of(str, Initiative)(text)})) == ["planted"]
