"""The feed on PostgreSQL: what triggers tell, of every program, and what is missed is said."""

from typing import Any

import psycopg
import pytest

from cwstore import Change, ChangeOperation
from cwstore.errors import BusyError, CwstoreError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Other
from tests.postgres.test_connections import cut

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]
INSERT, UPDATE, DELETE = ChangeOperation.INSERT, ChangeOperation.UPDATE, ChangeOperation.DELETE
ELSEWHERE = Change(ChangeOperation.ELSEWHERE)
OVERFLOW = Change(ChangeOperation.OVERFLOW)

_OTHER = """
import sys
from cwstore import Store
with Store.open(sys.argv[1]) as store:
    with store.transaction():
        for name in "ab":
            store.tasks.create(name=name, id=name)
"""


def test_another_process_and_another_program_are_told_in_the_order_of_their_commits(
    store: Store, superuser: Connection
) -> None:
    with store.changes() as feed:
        with Other(_OTHER, store.path) as other:
            other.end()
        superuser.execute("UPDATE tasks SET name = 'c' WHERE id IN ('a', 'b')")
        superuser.execute("DELETE FROM tasks WHERE id = 'a'")
        store.tasks.delete("b")
        assert feed.get(timeout=0) == [
            Change(INSERT, "tasks", "a"),
            Change(INSERT, "tasks", "b"),
            Change(UPDATE, "tasks", "a"),
            Change(UPDATE, "tasks", "b"),
            Change(DELETE, "tasks", "a"),
            Change(DELETE, "tasks", "b"),
        ]


def test_equal_changes_of_one_transaction_are_all_told(store: Store) -> None:
    """PostgreSQL keeps one of messages that are equal."""
    store.tasks.create(name="t", id="t")
    with store.changes() as feed:
        with store.transaction():
            for name in "uvw":
                store.tasks.update("t", name=name)
        assert feed.get(timeout=0) == [Change(UPDATE, "tasks", "t")] * 3


def test_many_rows_are_told_in_order_and_more_than_anybody_can_hold_as_missing(
    store: Store, superuser: Connection
) -> None:
    superuser.execute("CREATE TABLE numbers (id bigint PRIMARY KEY)")
    with store.changes() as feed:
        superuser.execute("INSERT INTO numbers SELECT generate_series(1, 250)")
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [
            *[Change(INSERT, "numbers", number) for number in range(1, 251)],  # type: ignore[arg-type]
            Change(INSERT, "tasks", "t"),
        ]
        superuser.execute("INSERT INTO numbers SELECT generate_series(251, 10251)")
        store.tasks.create(name="u", id="u")
        assert feed.get(timeout=0) == [OVERFLOW, Change(INSERT, "tasks", "u")]


def test_what_cannot_be_told_row_by_row_is_elsewhere_and_fails_nobody(
    store: Store, superuser: Connection
) -> None:
    superuser.execute("CREATE TABLE without_key (x bigint)")
    with store.changes() as feed:
        for act in (
            lambda: superuser.execute("INSERT INTO without_key VALUES (1)"),
            lambda: superuser.execute("TRUNCATE without_key"),
            lambda: store.tasks.create(name="t", id="x" * 9_000),
        ):
            act()
            assert feed.get(timeout=60) == [ELSEWHERE]


def test_a_statement_that_changes_no_row_is_not_told(store: Store, superuser: Connection) -> None:
    with store.changes() as feed:
        superuser.execute("DELETE FROM tasks")
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_after_its_session_was_cut_a_feed_says_that_something_may_be_missing(
    store: Store, superuser: Connection
) -> None:
    with store.changes() as feed:
        cut(superuser)
        store.tasks.create(name="t", id="missed")
        assert feed.get(timeout=60) == [OVERFLOW]
        store.tasks.create(name="u", id="u")
        assert feed.get(timeout=60) == [Change(INSERT, "tasks", "u")]


def test_a_server_that_is_away_is_asked_again_once_a_second_and_nobody_is_failed(
    store: Store, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener: Any = store._db._listener  # type: ignore[attr-defined]
    asked: list[str] = []

    def refuse(_: float) -> None:
        asked.append("in vain")
        raise StorageError("the server is away")

    with store.changes() as feed:
        monkeypatch.setattr(listener, "_connect", refuse)
        cut(superuser)
        assert feed.get(timeout=0) == []
        assert feed.get(timeout=0) == []
        assert feed.get(timeout=0) == []
        assert asked == ["in vain"]
        monkeypatch.undo()
        listener._retry_at = 0.0
        assert feed.get(timeout=60) == [OVERFLOW]


def test_who_listens_again_waits_for_those_who_saw_nobody_listen(
    store: Store, open_store: OpenStore, superuser: Connection
) -> None:
    listener: Any = store._db._listener  # type: ignore[attr-defined]
    with open_store() as other, store.changes() as feed:
        listener._connection.close()
        with other.transaction():
            other.tasks.create(name="t")
            assert feed.get(timeout=0) == []  # notices the loss
            assert feed.get(timeout=0) == []  # connects, but somebody has the lane
            assert listener._connection is None
        listener._retry_at = 0.0
        assert feed.get(timeout=60) == [OVERFLOW]


def test_listening_waits_for_who_writes_and_is_busy_in_the_end(
    store: Store, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=0) as other, store.transaction():
        store.tasks.create(name="t")
        with pytest.raises(BusyError):
            other.changes()


def test_tables_that_do_not_tell_yet_learn_it_when_somebody_listens(
    store: Store, superuser: Connection
) -> None:
    superuser.execute("DROP FUNCTION cwstore_tell CASCADE")
    assert store.check().ok
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]
    assert store.check().ok


def test_who_may_not_teach_them_is_told_so(
    store: Store, address: str, superuser: Connection
) -> None:
    superuser.execute("DROP FUNCTION cwstore_tell CASCADE")
    superuser.execute("CREATE ROLE listens LOGIN")
    superuser.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO listens")
    superuser.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO listens")
    try:
        with (
            Store.open(address.replace("user=cwstore", "user=listens")) as other,
            pytest.raises(StorageError, match="let the owner GRANT it"),
        ):
            other.changes()
    finally:
        superuser.execute("DROP OWNED BY listens")
        superuser.execute("DROP ROLE listens")


def test_a_listener_that_cannot_begin_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._postgres.listener._PLACE", "SELECT 1 / 0, $1::text")
    for _ in range(2):
        with pytest.raises(CwstoreError, match="listening to postgresql://"):
            store.changes()
    monkeypatch.undo()
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_a_look_beside_another_one_leaves_it_to_that(store: Store) -> None:
    listener: Any = store._db._listener  # type: ignore[attr-defined]
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        with listener._lock:
            feed.look()
            assert feed.take() == []
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_the_triggers_are_the_engines_own(store: Store, superuser: Connection) -> None:
    assert store.check().added == ()
    found = superuser.execute(
        "SELECT count(*), count(DISTINCT tgrelid) FROM pg_trigger WHERE tgname ^@ 'cwstore_tell_'"
    ).fetchall()
    ((triggers, tables),) = found
    assert triggers == 4 * tables
    assert tables > 20


def test_listening_that_is_interrupted_while_it_begins_leaves_nothing_behind(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(psycopg.Connection, "add_notify_handler", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.changes()
    monkeypatch.undo()
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_a_feed_may_be_closed_while_the_server_is_away(
    store: Store, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener: Any = store._db._listener  # type: ignore[attr-defined]
    with store.changes() as feed:
        cut(superuser)
        assert feed.get(timeout=0) == []
        assert listener._connection is None
    feed.look()
    assert (listener._connection, listener._feeds) == (None, [])
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]
