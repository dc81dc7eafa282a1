"""Every statement is one that PostgreSQL can prepare on its schema."""

from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import psycopg
import pytest

import cwstore._overview
import cwstore._transfer
import cwstore.entities
from cwstore._postgres.preparing import prepared_at
from cwstore._postgres.statement_text import text_of
from cwstore.core.statement import Statement, bind_names, rows_of, values_of
from cwstore.entities.initiatives import Initiative
from cwstore.entities.ready_tasks import (
    _READY,
    _READY_AMONG,
    _READY_OF_INITIATIVE,
    _READY_OF_INITIATIVE_AMONG,
)
from cwstore.errors import InvalidValueError
from cwstore.migrations.scripts import default_directory
from cwstore.store import Store
from cwstore.testing import check_statements
from cwstore.testing.checker.found import find_statements, sources_of
from tests.kits.postgres import writer_of


def faults(address: str, statements: dict[str, Statement[Any]]) -> dict[str, str | None]:
    """What is wrong with those that cannot be prepared."""
    with prepared_at(address) as problem_of:
        told = {name: problem_of(statement) for name, statement in statements.items()}
    return {name: problem for name, problem in told.items() if problem is not None}


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
    store: Store, superuser: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    superuser.execute("CREATE TABLE samples (id text, weight double precision, body bytea)")
    superuser.execute("INSERT INTO samples VALUES ('s', 0.1, '\\x0061'), ('t', 3, '\\x0061')")
    found = store._db.fetch_all(_LIGHTER, weight=0.5, body=b"\0a")
    assert found == [Sample("s", 0.1, b"\0a")]


def test_every_statement_can_be_prepared(store: Store, address: str) -> None:
    statements = {
        f"{one.subject}{label}": statement
        for package in (cwstore.entities, cwstore._transfer, cwstore._overview)
        for one in find_statements(sources_of(package))
        for label, statement in one.variants().items()
    }
    assert len(statements) > 700
    assert faults(address, statements) == {}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ifnull(branch, 'x') FROM initiatives WHERE id = :id",
        "SELECT name FROM initiatives WHERE id = :id AND merge_requires_approval",
        "INSERT OR IGNORE INTO initiatives (id) VALUES (:id)",
    ],
)
def test_what_only_sqlite_takes_is_found(store: Store, address: str, text: Any) -> None:
    assert list(faults(address, {"planted": values_of(str, Initiative)(text)})) == ["planted"]


@pytest.mark.parametrize(
    "choice", [_READY, _READY_AMONG, _READY_OF_INITIATIVE, _READY_OF_INITIATIVE_AMONG]
)
def test_the_line_that_is_claimed_from_is_filtered_and_not_joined(
    store: Store, choice: Any
) -> None:
    """A join need not keep its order."""
    text, binds = text_of(choice.claim_anywhere), bind_names(choice.claim_anywhere.text)
    with store.transaction():
        connection: Any = writer_of(store).connection
        connection.execute(b"SET LOCAL plan_cache_mode = force_generic_plan")
        connection.execute(b"PREPARE claim AS " + text, prepare=False)
        nulls = ", ".join("NULL" for _ in binds).encode()
        plan = connection.execute(b"EXPLAIN EXECUTE claim (" + nulls + b")", prepare=False)
        lines = [line.strip(" ->").partition("  ")[0] for (line,) in plan.fetchall()]
        connection.execute(b"DEALLOCATE claim", prepare=False)
    chosen = lines[: lines.index("Subquery Scan on line")]
    assert not [line for line in chosen if "Join" in line or "Nested Loop" in line]


SERVICE = """
from cwstore.core import Repository, command, values_of
from cwstore.entities.initiatives import Initiative

LONGEST = values_of(int, Initiative)("SELECT max(length(name), 5) FROM initiatives")
NAMES = values_of(str, Initiative)("SELECT name FROM initiatives WHERE id = :id")
"""


def test_the_checker_of_a_service_asks_both_engines(
    store: Store, address: str, tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    spec = spec_from_file_location("service", tmp_path / "service.py")
    assert spec is not None
    assert spec.loader is not None
    service = module_from_spec(spec)
    spec.loader.exec_module(service)

    def found(**options: Any) -> list[tuple[str, str]]:
        report = check_statements(service, Path(default_directory()), whole=False, **options)
        return [(one.check, one.subject) for one in report.faults if one.check == "postgresql"]

    assert found() == []
    assert found(address=address) == [("postgresql", "service.LONGEST")]
    with pytest.raises(InvalidValueError, match="address: expected postgresql://"):
        found(address="store.db")
