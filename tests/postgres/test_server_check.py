"""A server on which the guarantees of a store cannot hold is refused with the reason."""

import logging
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import cwstore
from cwstore import StorageError, Store
from tests.kits.postgres_server import Server

Connection = psycopg.Connection[tuple[Any, ...]]

POOLER = (
    "a pooler between here and the server gives each transaction another session, so that locks and"
    " settings are lost: connect to the server itself, or let the pooler work by session"
)
SKEW = (
    "the clock of this machine and that of the server differ by 1200 s: leases would pass too early"
    " or too late; set them by NTP"
)


@pytest.fixture
def pretend(superuser: Connection) -> Callable[[str, str], None]:
    """Puts a function of its own in the place of one of the server's."""
    ((database,),) = superuser.execute("SELECT quote_ident(current_database())").fetchall()
    superuser.execute("CREATE SCHEMA pretended")
    superuser.execute(
        f"ALTER DATABASE {database} SET search_path = pretended, public, pg_catalog".encode()
    )

    def pretend(function: str, body: str) -> None:
        superuser.execute(
            f"CREATE FUNCTION pretended.{function} LANGUAGE sql AS $$ SELECT {body} $$".encode()
        )

    return pretend


@pytest.mark.parametrize(
    ("function", "body", "reason"),
    [
        (
            "pg_try_advisory_xact_lock(bigint) RETURNS boolean",
            "true",
            (
                "two connections got the same advisory lock, so two stores would write at once:"
                " this is no PostgreSQL, or one that lacks what a store needs of it"
            ),
        ),
        (
            "pg_backend_pid() RETURNS integer",
            "7",
            POOLER,
        ),
        (
            "pg_backend_pid() RETURNS integer",
            "(random() * 1000000000)::integer",
            POOLER,
        ),
        (
            "pg_is_in_recovery() RETURNS boolean",
            "true",
            (
                "the server is a standby, which cannot be written: name all servers in the address,"
                " and target_session_attrs=read-write; or open the store with read_only"
            ),
        ),
        (
            "clock_timestamp() RETURNS timestamptz",
            "pg_catalog.clock_timestamp() + '20 minutes'::interval",
            SKEW,
        ),
        (
            "clock_timestamp() RETURNS timestamptz",
            "pg_catalog.clock_timestamp() - '20 minutes'::interval",
            SKEW,
        ),
        (
            "pg_backend_pid() RETURNS integer",
            "1 / 0",
            "PostgreSQL refused it (22012); see the server's log",
        ),
    ],
    ids=["lane", "pooler", "pooler of many", "standby", "ahead", "behind", "error"],
)
def test_what_a_store_cannot_work_on_is_refused_with_the_reason(
    address: str, pretend: Callable[[str, str], None], function: str, body: str, reason: str
) -> None:
    pretend(function, body)
    for open_it in (Store.open, cwstore.migrate):
        with pytest.raises(cwstore.CwstoreError) as refusal:
            open_it(address)
        assert str(refusal.value).endswith(f"{address}: {reason}")


def test_a_small_difference_of_clocks_is_logged_and_a_clock_of_ones_own_is_not_compared(
    address: str,
    pretend: Callable[[str, str], None],
    caplog: pytest.LogCaptureFixture,
    store: Store,
) -> None:
    now = store.initiatives.create(name="x").created_at
    pretend(
        "clock_timestamp() RETURNS timestamptz",
        "pg_catalog.clock_timestamp() + '90 seconds'::interval",
    )
    with caplog.at_level(logging.WARNING, "cwstore"):
        Store.open(address, clock=lambda: now).close()
        assert caplog.messages == []
        Store.open(address).close()
    (message,) = caplog.messages
    assert "differ by 90." in message or "differ by 89." in message


def test_a_database_that_is_not_utf8_is_refused(postgres_server: Server) -> None:
    name = "in_ascii"
    postgres_server.run(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII'")
    try:
        with pytest.raises(
            StorageError, match=r"the database is encoded as SQL_ASCII; make one in UTF8$"
        ):
            Store.open(postgres_server.address(name))
    finally:
        postgres_server.drop(name)


def test_a_server_without_room_for_a_second_connection_is_told_and_the_first_one_closed(
    address: str, superuser: Connection
) -> None:
    superuser.execute("CREATE ROLE only_one LOGIN CONNECTION LIMIT 1")
    try:
        with pytest.raises(StorageError, match="too many connections"):
            Store.open(address.replace("user=cwstore", "user=only_one"))
    finally:
        superuser.execute("DROP ROLE only_one")
