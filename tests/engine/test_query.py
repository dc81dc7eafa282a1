"""SQL that is made up on the spot: `store.query` reads, and does nothing else."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cwstore import StoreClosedError, TaskStatus
from cwstore.store import Store
from tests.kits.database import open_async
from tests.kits.engine import assert_no_query


def test_rows_come_as_dicts_of_what_is_stored(store: Store) -> None:
    task = store.tasks.create(name="t", id="t", sort_order=3)
    assert store.query(
        "SELECT id, sort_order AS place, description FROM tasks"
        " WHERE status = :status AND created_at <= :now AND name IN (:name, 't')",
        status=TaskStatus.PENDING,
        now=task.created_at,
        name="t",
    ) == [{"id": "t", "place": 3, "description": None}]
    assert store.query("SELECT id FROM tasks WHERE id = 'none'") == []


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (True, 1),
        (2.5, 2.5),
        (b"\0", b"\0"),
        (None, None),
        (datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), 1_000_000),
        (-(2**63), -(2**63)),
    ],
)
def test_a_bind_may_be_what_sqlite_stores(store: Store, value: object, stored: object) -> None:
    assert store.query("VALUES (:value)", value=value) == [{"column1": stored}]


def test_it_sees_what_the_open_transaction_did_and_others_do_not(store: Store) -> None:
    with store.transaction():
        store.tasks.create(name="t")
        assert store.query("SELECT count(*) AS n FROM tasks") == [{"n": 1}]
        store.tasks.create(name="u")
    assert store.query("WITH n AS (SELECT name FROM tasks) SELECT * FROM n ORDER BY 1") == [
        {"name": "t"},
        {"name": "u"},
    ]


@pytest.mark.only_sqlite("its words")
def test_it_tells_how_a_query_is_planned(store: Store) -> None:
    plan = store.query("EXPLAIN QUERY PLAN SELECT name FROM tasks WHERE id = 'x'")
    assert "USING INDEX" in plan[0]["detail"]
    assert {"name": "id"} in store.query("SELECT name FROM pragma_table_info(:t)", t="tasks")


@pytest.mark.only_sqlite("its words; PostgreSQL's are in tests/postgres")
@pytest.mark.parametrize(
    ("sql", "binds", "message"),
    [
        ("DELETE FROM tasks", {}, "sql: expected a query: SELECT, WITH, VALUES, EXPLAIN"),
        ("PRAGMA user_version = 3", {}, "sql: expected a query"),
        ("COMMIT", {}, "sql: expected a query"),
        (
            "WITH x AS (SELECT 1) DELETE FROM tasks",
            {},
            "sql: it may only read; write by a repository",
        ),
        ("SELECT 1; SELECT 2", {}, "sql: expected one statement, got 2"),
        ("", {}, "sql: expected one statement, got 0"),
        ("SELECT 'x", {}, "sql: line 1: the ' is never closed"),
        (b"SELECT 1", {}, "sql: expected str, got bytes"),
        ("SELECT nope FROM tasks", {}, "sql: no such column: nope"),
        ("SELECT id, id FROM tasks", {}, "sql: two columns are called id: rename one by AS"),
        ("SELECT :a", {}, "a: this bind has no value"),
        ("SELECT 1", {"a": 1}, "a: no bind of this name is in the SQL"),
        ("SELECT ?", {}, "sql: binds are written as :name"),
        ("SELECT :a", {"a": 2**63}, "a: does not fit into 64 bits"),
        ("SELECT :a", {"a": float("nan")}, "a: must be a finite number"),
        ("SELECT :a", {"a": float("-inf")}, "a: must be a finite number"),
        ("SELECT :a", {"a": "\ud800"}, "a: contains a lone surrogate, which is not text"),
        ("SELECT :a", {"a": [1]}, "a: a database has no value for list"),
        ("SELECT :a", {"a": datetime(2026, 1, 1)}, "a: is a naive datetime; give it a time zone"),  # noqa: DTZ001
    ],
)
def test_what_is_no_query_is_refused_and_does_nothing(
    store: Store, sql: Any, binds: dict[str, Any], message: str
) -> None:
    assert_no_query(store, sql, binds, message)


def test_credentials_stay_where_they_are(store: Store) -> None:
    store.accounts.create(email="a@b", credentials='"hush"')
    sql = "SELECT email, credentials, credentials || '!' AS louder FROM accounts"
    assert store.query(sql) == [{"email": "a@b", "credentials": None, "louder": None}]
    with store.transaction():
        assert store.query(sql)[0]["louder"] is None
        assert store.accounts.find_all()[0].credentials is not None


def test_a_closed_store_answers_no_query(store: Store) -> None:
    store.close()
    with pytest.raises(StoreClosedError):
        store.query("SELECT 1")


def test_it_can_be_awaited() -> None:
    async def ask() -> list[dict[str, Any]]:
        async with await open_async(":memory:") as store:
            await store.tasks.create(name="t")
            return await store.query("SELECT name FROM tasks WHERE name = :name", name="t")

    assert asyncio.run(ask()) == [{"name": "t"}]
