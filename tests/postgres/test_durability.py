"""When a write is acknowledged: after the disk and the standbys have it, as the server asks."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from cwstore._postgres import writer as writers
from cwstore.errors import OutcomeUnknownError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Task, names
from tests.kits.postgres_server import Server, running_server

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

Connection = psycopg.Connection[tuple[Any, ...]]
Way = Callable[[Store], Callable[[], object]]


def level(store: Store) -> tuple[str, str | None]:
    """What a COMMIT waits for, and what is waited for after it."""
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    ((found,),) = writer.connection.execute("SHOW synchronous_commit").fetchall()
    return found, writer._wait and writer._wait[1][0]


def create(store: Store) -> Callable[[], object]:
    return lambda: store.initiatives.create(name="x")


def create_in_a_transaction(store: Store) -> Callable[[], object]:
    def act() -> None:
        with store.transaction():
            store.initiatives.create(name="x")

    return act


BOTH_WAYS = pytest.mark.parametrize(
    "way", [create, create_in_a_transaction], ids=["alone", "in a transaction"]
)


@pytest.mark.parametrize(
    ("setting", "durable", "expected"),
    [
        ("on", False, ("off", "on")),
        ("off", False, ("off", None)),
        ("off", True, ("off", "on")),
        ("local", True, ("off", "on")),
        ("local", False, ("off", "local")),
        ("remote_write", True, ("off", "on")),
        ("remote_apply", True, ("off", "remote_apply")),
    ],
)
def test_a_write_waits_for_what_the_server_asks_and_a_durable_one_for_the_disk_at_least(
    open_store: OpenStore, superuser: Connection, setting: str, durable: bool, expected: object
) -> None:
    superuser.execute(f"ALTER ROLE cwstore SET synchronous_commit = {setting}".encode())
    try:
        with open_store(durable=durable) as store:
            assert level(store) == expected
            store.initiatives.create(name="x")
            with store.transaction():
                store.initiatives.create(name="y")
            assert names(store) == ["x", "y"]
    finally:
        superuser.execute("ALTER ROLE cwstore RESET synchronous_commit")


def test_where_nothing_can_wait_afterwards_the_commit_waits_itself(
    open_store: OpenStore, superuser: Connection, address: str
) -> None:
    """As on engines that lack the function, or keep it to themselves."""
    name = "pg_logical_emit_message(boolean, text, text, boolean)"
    superuser.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM PUBLIC".encode())
    superuser.execute("CREATE ROLE writes LOGIN")
    superuser.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO writes")
    superuser.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO writes")
    try:
        with Store.open(address.replace("user=cwstore", "user=writes"), durable=True) as store:
            assert level(store) == ("on", None)
            store.initiatives.create(name="x")
            assert names(store) == ["x"]
    finally:
        superuser.execute("DROP OWNED BY writes")
        superuser.execute("DROP ROLE writes")


@BOTH_WAYS
def test_a_wait_that_fails_after_the_commit_leaves_the_outcome_unknown(
    store: Store, way: Way
) -> None:
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    writer._wait = (b"SELECT 1 / 0", ())
    with pytest.raises(OutcomeUnknownError, match="may or may not be there"):
        way(store)()
    store.initiatives.create(name="goes on")
    assert names(store) == ["x", "goes on"]


def test_a_transaction_that_only_reads_waits_for_nothing(store: Store) -> None:
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    writer._wait = (b"SELECT 1 / 0", ())
    with store.transaction():
        assert names(store) == []


@BOTH_WAYS
def test_a_server_that_stops_waiting_for_a_standby_has_not_acknowledged(
    store: Store, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL calls it success, with a warning."""
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    run_batch = writers.run_batch

    def with_notice(connection: Any, messages: Any, made: Any) -> None:
        run_batch(connection, messages, made)
        if messages[-1] == writer._wait:
            writer._hear(SimpleNamespace(source_function="SyncRepWaitForLSN"))
        else:
            writer._hear(SimpleNamespace(source_function="exec_stmt_raise"))

    monkeypatch.setattr(writers, "run_batch", with_notice)
    with pytest.raises(OutcomeUnknownError) as caught:
        way(store)()
    assert str(caught.value) == (
        f"COMMIT ({store.path}): the wait for a standby was cancelled; the transaction is there,"
        " and is lost if a standby takes over that does not have it: read before you repeat it"
    )
    monkeypatch.undo()
    store.initiatives.create(name="goes on")
    assert names(store) == ["x", "goes on"]


def test_a_connection_on_which_nothing_can_be_asked_is_not_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    writer.drop()

    def fail(*_: object) -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr(writers, "wait_after_commit", fail)
    with pytest.raises(StorageError, match="opening postgresql://"):
        store.initiatives.create(name="x")
    monkeypatch.undo()
    store.initiatives.create(name="y")
    assert names(store) == ["y"]


@pytest.mark.slow
def test_who_waits_for_a_standby_keeps_nobody_else_from_the_lane() -> None:
    with running_server(
        max_wal_senders="2",
        wal_level="replica",
        synchronous_standby_names="nobody",
        synchronous_commit="local",
    ) as server:
        address = server.address(server.new_database())
        with Store.open(address) as store:
            store.initiatives.create(name="asked for no standby")
        stores = [Store.open(address, durable=True) for _ in range(2)]
        writing = [Task(create(one)) for one in stores]
        cancel_waiting(server, 2)  # both wait at once: the first has let go of the lane
        for task in writing:
            with pytest.raises(OutcomeUnknownError, match="wait for a standby was cancelled"):
                task.finish()
        assert names(stores[0]) == ["asked for no standby", "x", "x"]
        for one in stores:
            one.close()


def cancel_waiting(server: Server, count: int) -> None:
    """Cancel the statements that wait for a standby, once there are so many."""
    waiting = b"SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with psycopg.connect(server.address("postgres"), autocommit=True) as connection:
        while len(found := connection.execute(waiting).fetchall()) < count:
            pass
        for (pid,) in found:
            connection.execute("SELECT pg_cancel_backend(%s)", [pid])
