"""`store.query` on PostgreSQL: it reads, hides credentials, and leaves nothing behind."""

from typing import Any

import psycopg
import pytest

from cwstore.errors import InvalidValueError, StorageError
from cwstore.store import Store
from tests.kits.engine import assert_no_query, names
from tests.postgres.test_connections import cut

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.mark.parametrize(
    ("sql", "binds", "message"),
    [
        ("DELETE FROM tasks", {}, "sql: expected a query: SELECT, WITH, VALUES, EXPLAIN"),
        ("WITH x AS (DELETE FROM tasks RETURNING id) SELECT * FROM x", {}, "sql: it may only read"),
        ("SELECT setval('schema_stamps', 1)", {}, "sql: it may only read; write by a repository"),
        ("SELECT 1; SELECT 2", {}, "sql: expected one statement, got 2"),
        ("SELECT nope FROM tasks", {}, 'sql: column "nope" does not exist'),
        ("SELECT id, id FROM tasks", {}, "sql: two columns are called id: rename one by AS"),
        ("SELECT :a", {}, "a: this bind has no value"),
        ("SELECT $1", {}, "sql: binds are written as :name"),
        ("SELECT name::integer FROM tasks", {}, "sql: PostgreSQL cannot make that of a value"),
    ],
)
def test_what_is_no_query_is_refused_and_does_nothing(
    store: Store, sql: str, binds: dict[str, Any], message: str
) -> None:
    assert_no_query(store, sql, binds, message)


def test_casts_and_plans_and_a_comment_at_the_end_are_taken(store: Store) -> None:
    store.tasks.create(name="t", id="t", sort_order=3)
    assert store.query("SELECT sort_order::text AS n FROM tasks WHERE id = :id -- one", id="t") == [
        {"n": "3"}
    ]
    assert "tasks" in str(store.query("EXPLAIN SELECT * FROM tasks, accounts"))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT credentials FROM public.accounts",
        'SELECT credentials FROM public . "accounts"',
        'SELECT credentials FROM U&"accoun\\0074s"',
        "SELECT query_to_xml('SELECT * FROM ' || 'accounts', true, true, '')",
        "SELECT most_common_vals FROM pg_stats",
    ],
)
def test_what_could_show_credentials_all_the_same_is_refused(store: Store, sql: str) -> None:
    store.accounts.create(email="a@b", credentials='"hush"')
    with pytest.raises(InvalidValueError, match="the column credentials of accounts is hidden"):
        store.query(sql)


def test_credentials_are_hidden_wherever_the_table_is_named(store: Store) -> None:
    store.accounts.create(email="a@b", credentials='"hush"')
    for sql in (
        "WITH x AS (SELECT * FROM accounts) SELECT credentials FROM x ORDER BY 1",
        'SELECT a.credentials FROM "accounts" AS a; ',
        "SELECT (SELECT max(credentials) FROM accounts) AS credentials",
    ):
        assert store.query(sql) == [{"credentials": None}]


@pytest.mark.parametrize("within", [True, False])
def test_what_a_query_sets_or_locks_is_gone_with_it(
    store: Store, superuser: Connection, within: bool
) -> None:
    acts = (
        "SELECT set_config('default_transaction_read_only', 'off', false) AS x",
        "SELECT set_config('cwstore.stamp', '7', false) AS x",
    )
    if within:
        with store.transaction():
            for sql in acts:
                store.query(sql)
            store.initiatives.create(name="x")
        assert names(store) == ["x"]
        return
    for sql in (*acts, "SELECT pg_advisory_lock(7)::text AS x"):
        store.query(sql)
    (state,) = store.query("SELECT current_setting('default_transaction_read_only') AS x")
    assert state == {"x": "on"}
    assert superuser.execute("SELECT pg_try_advisory_lock(7)").fetchall() == [(True,)]


def test_a_query_whose_connection_is_cut_says_so_and_the_next_one_runs(
    store: Store, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.query("SELECT 1")
    monkeypatch.setattr("cwstore._postgres.reader_pool.is_stale", lambda _: False)
    cut(superuser)
    with pytest.raises(StorageError, match="query: the connection was lost"):
        store.query("SELECT 1")
    monkeypatch.undo()
    assert store.query("SELECT 1 AS n") == [{"n": 1}]

    def act() -> None:
        with store.transaction():
            cut(superuser)
            with pytest.raises(StorageError):
                store.query("SELECT 1")
            store.initiatives.create(name="x")

    with pytest.raises(StorageError):
        act()
    assert names(store) == []


def test_a_query_that_is_interrupted_in_a_transaction_undoes_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def act() -> None:
        with store.transaction():
            store.initiatives.create(name="x")
            monkeypatch.setattr("cwstore._postgres.own_sql.run_batch", interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.query("SELECT 1")
            store.initiatives.create(name="y")

    with pytest.raises(StorageError, match="interrupted"):
        act()
    assert names(store) == []


def test_the_commit_of_a_transaction_that_began_earlier_raises_the_data_version(
    store: Store, address: str
) -> None:
    with psycopg.connect(address) as earlier:
        earlier.execute("CREATE TABLE theirs (x bigint)")
        store.initiatives.create(name="later, and done first")
        before = store.data_version()
        assert store.data_version() == before
        earlier.commit()
        assert store.data_version() > before
