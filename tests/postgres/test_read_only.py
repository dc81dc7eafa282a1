"""A store that only reads: on a standby, too; it never waits for who writes."""

from typing import Any

import psycopg
import pytest

from cwstore import Change, ChangeOperation, Store
from cwstore.errors import (
    BusyError,
    InvalidValueError,
    MigrationError,
    StorageError,
    StoreClosedError,
)
from tests.kits.database import OpenStore
from tests.kits.engine import names
from tests.kits.postgres_server import Server

Connection = psycopg.Connection[tuple[Any, ...]]
REFUSED = "was opened with read_only=True, so nothing is written; open it without"


def test_it_reads_beside_a_writer_and_refuses_to_write(store: Store, open_store: OpenStore) -> None:
    store.initiatives.create(name="there", id="i")
    with open_store(read_only=True, busy_timeout=0) as reading, store.transaction():
        store.initiatives.create(name="not yet")
        assert names(reading) == ["there"]
        assert reading.query("SELECT name FROM initiatives") == [{"name": "there"}]
        assert reading.version == store.version
        assert reading.health().ok
        for act in (
            lambda: reading.initiatives.create(name="x"),
            lambda: reading.initiatives.update("i", name="x"),
            lambda: reading.initiatives.delete("i"),
            lambda: reading.tasks.create_many([{"name": "x"}]),
            lambda: reading.log_chunks.insert_chunk(
                "a", agent_name="n", session_number=1, content="x"
            ),
            reading._db.vacuum,
        ):
            with pytest.raises(StorageError, match=REFUSED):
                act()
        with pytest.raises(InvalidValueError):  # what is wrong with a value is said first
            reading.initiatives.create(name="")


def test_a_transaction_is_one_moment_of_the_database(store: Store, open_store: OpenStore) -> None:
    with open_store(read_only=True) as reading:
        with reading.transaction():
            assert names(reading) == []
            store.initiatives.create(name="later")
            assert names(reading) == []
            with reading.transaction():
                assert names(reading) == []
            with pytest.raises(StorageError, match=REFUSED):
                reading.initiatives.create(name="x")
            assert names(reading) == []
        assert names(reading) == ["later"]


def test_it_hears_what_others_change(store: Store, open_store: OpenStore) -> None:
    with open_store(read_only=True, busy_timeout=0) as reading:
        with store.transaction(), pytest.raises(BusyError):
            reading.changes()
        with reading.changes() as feed:
            store.tasks.create(name="t", id="t")
            assert feed.get(timeout=60) == [Change(ChangeOperation.INSERT, "tasks", "t")]
    with pytest.raises(StoreClosedError):
        reading.changes()


def test_it_is_opened_on_a_standby(address: str, store: Store, superuser: Connection) -> None:
    store.initiatives.create(name="there")
    ((database,),) = superuser.execute("SELECT quote_ident(current_database())").fetchall()
    superuser.execute("CREATE SCHEMA pretended")
    superuser.execute(
        "CREATE FUNCTION pretended.pg_is_in_recovery() RETURNS boolean LANGUAGE sql"
        " AS $$ SELECT true $$"
    )
    path = "pretended, public, pg_catalog"
    superuser.execute(f"ALTER DATABASE {database} SET search_path = {path}".encode())
    with pytest.raises(StorageError, match="the server is a standby"):
        Store.open(address)
    with Store.open(f"{address}&schema=public", read_only=True) as reading:
        assert names(reading) == ["there"]


def test_it_does_not_migrate(postgres_server: Server) -> None:
    name = postgres_server.new_database()
    try:
        with pytest.raises(MigrationError, match="a store that only reads does not migrate"):
            Store.open(postgres_server.address(name), read_only=True)
        with psycopg.connect(postgres_server.address(name)) as look:
            assert look.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").rowcount == 0
    finally:
        postgres_server.drop(name)


def test_a_structure_that_was_changed_is_told_as_by_others(
    store: Store, open_store: OpenStore, superuser: Connection
) -> None:
    superuser.execute("CREATE TABLE of_somebody_else (x bigint)")
    with open_store(read_only=True) as reading:
        assert names(reading) == []
