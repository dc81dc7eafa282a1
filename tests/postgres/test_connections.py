"""Connections that are cut: what was acknowledged is there, what is unknown is called so."""

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from cwstore._postgres import connection as connections
from cwstore._postgres.engine import PostgresDatabase
from cwstore._postgres.schema.target import refuse_bad_place
from cwstore.errors import (
    BusyError,
    ConflictError,
    CorruptDatabaseError,
    CwstoreError,
    OutcomeUnknownError,
    StorageError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Task, in_child, names, reached

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]

CUT = """
    SELECT pg_terminate_backend(pid, 60000)
    FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
SUICIDE = """
    CREATE FUNCTION suicide() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
"""


def cut(superuser: Connection) -> None:
    """Every connection of stores; they are gone when it returns."""
    superuser.execute(CUT)


def test_a_store_goes_on_when_its_connections_were_cut_while_it_rested(
    store: Store, superuser: Connection
) -> None:
    store.initiatives.create(name="before")
    names(store)
    cut(superuser)
    assert names(store) == ["before"]
    cut(superuser)
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]


def test_a_transaction_that_was_cut_is_lost_as_a_whole(store: Store, superuser: Connection) -> None:
    with pytest.raises(StorageError, match="rolled back"), store.transaction():
        store.initiatives.create(name="lost")
        cut(superuser)
        with pytest.raises(StorageError):
            store.initiatives.create(name="refused")
        store.initiatives.create(name="refused, too")
    store.initiatives.create(name="kept")
    assert names(store) == ["kept"]


def test_a_savepoint_of_a_transaction_that_was_cut_is_lost_with_it(
    store: Store, superuser: Connection
) -> None:
    with pytest.raises(StorageError), store.transaction():
        cut(superuser)
        with store.transaction():
            pass
    with pytest.raises(StorageError), store.transaction(), store.transaction():
        cut(superuser)
    with pytest.raises(KeyError), store.transaction():
        cut(superuser)
        raise KeyError
    assert names(store) == []


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a transaction"])
def test_a_commit_that_was_cut_has_an_unknown_outcome(
    store: Store, superuser: Connection, alone: bool
) -> None:
    superuser.execute(SUICIDE)
    superuser.execute(
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON initiatives DEFERRABLE"
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION suicide()"
    )
    with pytest.raises(OutcomeUnknownError) as caught:
        if alone:
            store.initiatives.create(name="x")
        else:
            with store.transaction():
                store.initiatives.create(name="x")
    assert str(caught.value) == (
        f"COMMIT ({store.path}): the connection was lost; the transaction may or may not be there:"
        " read before you repeat it"
    )
    superuser.execute("DROP TRIGGER at_commit ON initiatives")
    assert names(store) == []
    store.initiatives.create(name="goes on")
    assert names(store) == ["goes on"]


def test_a_commit_that_the_server_refuses_undoes_the_transaction(
    store: Store, superuser: Connection
) -> None:
    superuser.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$"
    )
    superuser.execute(
        "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON initiatives DEFERRABLE"
        " INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    with pytest.raises(StorageError, match="53100"):
        store.initiatives.create(name="alone")
    with pytest.raises(StorageError, match="53100"), store.transaction():
        store.initiatives.create(name="x")
    assert names(store) == []


def test_who_waits_too_long_for_the_lane_is_told_who_holds_it(
    store: Store, open_store: OpenStore
) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)  # another clock, on other machines
    with open_store(busy_timeout=0.05) as other, store.transaction():
        for call in (
            lambda: other.initiatives.create(name="x"),
            lambda: other.tasks.complete("x"),
        ):
            with pytest.raises(BusyError, match=r"0\.05 s") as caught:
                call()
            assert caught.value.waited == 0.05
            assert f"process {os.getpid()} on " in str(caught.value.holder)
            assert caught.value.since is not None
            assert before < caught.value.since < datetime.now(UTC) + timedelta(seconds=1)
    assert names(store) == []


def test_a_thread_that_waited_for_another_waits_for_the_lane_for_the_rest_of_its_time(
    store: Store, open_store: OpenStore
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            begun.set()
            reached(go_on)

    holder = Task(hold)
    reached(begun)
    waiting = Task(lambda: store.initiatives.create(name="after it"))
    while not store._db._writer.lock._waiting:  # type: ignore[attr-defined]
        pass
    go_on.set()
    holder.finish()
    waiting.finish()
    assert names(store) == ["after it"]


def test_rows_that_another_program_holds_are_waited_for_in_vain(
    open_store: OpenStore, address: str
) -> None:
    with open_store(busy_timeout=0.05) as store:
        one = store.initiatives.create(name="held")
        with psycopg.connect(address) as other:
            other.execute("UPDATE initiatives SET name = 'theirs'")
            with pytest.raises(BusyError):
                store.initiatives.update(one.id, name="ours")
            with pytest.raises(BusyError):
                store.initiatives.delete(one.id)
            with store.transaction(), pytest.raises(BusyError):
                store.initiatives.update(one.id, name="ours")
        assert store.initiatives.update(one.id, name="ours").name == "ours"


def test_a_table_that_somebody_removed_is_reported_as_damage(
    store: Store, superuser: Connection
) -> None:
    superuser.execute("DROP TABLE review_comments")
    for call in (
        lambda: store.review_comments.find_by_phase_id("p"),
        lambda: store.review_comments.delete("x"),
        lambda: store.review_comments.resolve("x"),
    ):
        with pytest.raises(CorruptDatabaseError, match="cwstore check"):
            call()
        with pytest.raises(CorruptDatabaseError), store.transaction():
            call()
    assert names(store) == []


def test_a_read_that_fails_in_a_transaction_undoes_it(store: Store, superuser: Connection) -> None:
    superuser.execute("DROP TABLE review_comments")
    with pytest.raises(CorruptDatabaseError, match="rolled back"), store.transaction():
        store.initiatives.create(name="lost")
        with pytest.raises(CorruptDatabaseError):
            store.review_comments.find_by_phase_id("p")
    assert names(store) == []


def test_a_forked_child_is_refused_and_leaves_the_sessions_of_its_parent_alone(
    store: Store,
) -> None:
    store.initiatives.create(name="before")
    names(store)

    def try_all() -> str:
        said: list[str] = []
        for call in (
            lambda: names(store),
            lambda: store.initiatives.create(name="child"),
            store.transaction().__enter__,
            store.check,
            store.data_version,
        ):
            with pytest.raises(StoreClosedError, match="forked"):
                call()
            said.append("refused")
        store.close()
        return " ".join(said)

    assert in_child(try_all)() == " ".join(["refused"] * 5)
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]


def test_a_child_forked_inside_of_a_transaction_cannot_go_on_with_it(store: Store) -> None:
    with store.transaction():
        store.initiatives.create(name="parent's")

        def go_on() -> str:
            with pytest.raises(StoreClosedError, match="forked"):
                store.initiatives.create(name="child's")
            return "refused"

        def go_on_in_a_task() -> str:
            writer: Any = store._db._writer  # type: ignore[attr-defined]
            writer.task = object()
            return go_on()

        assert in_child(go_on)() == "refused"
        assert in_child(go_on_in_a_task)() == "refused"
    assert names(store) == ["parent's"]


def test_an_old_server_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "OLDEST_SERVER", 990_000)
    with pytest.raises(StorageError, match=r": PostgreSQL \d+ is too old; it takes 99 or newer$"):
        Store.open(address)


def test_a_store_that_is_not_closed_warns_and_is_closed(open_store: OpenStore) -> None:
    opened = open_store()
    with pytest.warns(ResourceWarning, match="was not closed"):
        del opened


def test_readers_that_are_too_many_are_closed(store: Store) -> None:
    readers: Any = store._db._readers  # type: ignore[attr-defined]
    readers._kept = 1
    lent = [readers.borrow() for _ in range(3)]
    for one in lent:
        readers.give_back(one)
    assert [one.closed for one in lent].count(False) == 1


def test_a_read_whose_connection_is_cut_meanwhile_is_asked_once_more(
    store: Store, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initiatives.create(name="there")
    names(store)
    monkeypatch.setattr("cwstore._postgres.reader_pool.is_stale", lambda _: False)
    cut(superuser)
    assert names(store) == ["there"]


def test_a_connection_that_cannot_be_set_up_is_closed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = "SELECT $1::text, $2::text, $3::text, 1 / 0"
    monkeypatch.setattr(connections, "_SETTINGS", wrong)
    with pytest.raises(StorageError, match="division by zero"):
        Store.open(address)


def test_a_store_that_was_never_made_is_freed_without_a_word() -> None:
    PostgresDatabase.__new__(PostgresDatabase).__del__()


def test_checkpoints_are_the_servers(address: str) -> None:
    with pytest.raises(CwstoreError, match="checkpoints"):
        Store.open(address, checkpoints="external")
    assert refuse_bad_place(address) is None


def test_a_transaction_may_not_be_closed_from_within(store: Store) -> None:
    with store.transaction(), pytest.raises(ConflictError, match="leave it first"):
        store.close()
    store.close()
    store.close()
    with pytest.raises(StoreClosedError, match="is closed"):
        names(store)
    with pytest.raises(StoreClosedError, match="is closed"):
        store.initiatives.create(name="x")
    with pytest.raises(StoreClosedError, match="is closed"):
        store.transaction().__enter__()


def test_a_call_in_the_midst_of_another_is_refused(store: Store) -> None:
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    with store.transaction():
        writer.running = True
        with pytest.raises(ConflictError, match="in the midst of another call"):
            store.initiatives.create(name="x")
        writer.running = False
    writer.lock.acquire(1.0)
    writer.running = True
    with pytest.raises(ConflictError, match="in the midst of another call"):
        store.initiatives.create(name="x")
    writer.running = False
    assert names(store) == []


def test_sums_and_what_has_passed_come_as_python_has_them(store: Store) -> None:
    raw: Any = store._db._writer.connection  # type: ignore[attr-defined]
    found = raw.execute("SELECT 2::numeric, 2.5::numeric, 'NaN'::numeric, true, false").fetchall()
    assert repr(found) == "[(2, 2.5, nan, 1, 0)]"
    assert store.tasks.expire_leases() == []
    with store.transaction():
        assert store.tasks.expire_leases() == []
    assert store.accounts.clear_expired_exhaustion() == 0


def test_a_refusal_whose_names_cannot_be_looked_up_is_one_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store.initiatives.create(name="x")
    monkeypatch.setattr("cwstore._postgres.writer.COLUMNS_OF_INDEX", "SELECT 1 / 0")
    with pytest.raises(ConflictError, match="initiatives_pkey"):
        store.initiatives.create(name="y", id=one.id)


def test_a_transaction_whose_savepoint_is_lost_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = store.initiatives.create(name="x")
    monkeypatch.setattr("cwstore._postgres.writer._ROLLBACK_TO", (b"ROLLBACK TO nothing", ()))
    with pytest.raises(CwstoreError, match="rolled back"), store.transaction():
        with pytest.raises(CwstoreError):
            store.initiatives.create(name="y", id=one.id)
        store.initiatives.create(name="z")
    assert names(store) == ["x"]


@pytest.mark.parametrize("way", ["alone", "transaction", "commit"])
def test_a_server_that_has_become_a_standby_is_left_for_the_one_that_writes_now(
    store: Store, way: str
) -> None:
    """Its connections go on, and it answers reads: of the past."""
    names(store)
    db: Any = store._db
    (reader,) = db._readers.idle
    demoted = db._writer.connection
    demoted.execute("SET default_transaction_read_only = on")

    def write() -> None:
        if way == "alone":
            store.initiatives.create(name="x")
            return
        with store.transaction():
            if way == "transaction":
                store.initiatives.create(name="x")
            else:
                db._clock()

    with pytest.raises(StorageError, match="the server refuses to write, as a standby does"):
        write()
    assert (demoted.closed, reader.closed) == (True, True)
    store.initiatives.create(name="y")
    assert names(store) == ["y"]


@pytest.mark.parametrize("setting", ["transaction_timeout", "idle_in_transaction_session_timeout"])
def test_a_session_that_was_ended_before_its_commit_has_committed_nothing_and_says_so(
    address: str, superuser: Connection, setting: str
) -> None:
    ended = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    with Store.open(f"{address}&options=-c%20{setting}%3D200") as store:
        database: Any = store._db
        with pytest.raises(StorageError) as caught, store.transaction():
            store.initiatives.create(name="lost")
            session = database._writer.connection.info.backend_pid
            while superuser.execute(ended, [session]).fetchone() != (0,):
                pass
        assert type(caught.value) is StorageError
        assert str(caught.value).startswith(f"COMMIT ({store.path}): the ")
        assert names(store) == []
        store.initiatives.create(name="goes on")
        assert names(store) == ["goes on"]
