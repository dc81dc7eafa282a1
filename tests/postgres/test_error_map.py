"""What becomes of each SQLSTATE."""

import psycopg
import pytest

from cwstore._postgres.error_map import (
    is_lost,
    map_connect_error,
    map_error,
    map_statement_error,
)
from cwstore.core.checks import Json
from cwstore.core.statement import rows_of
from cwstore.entities.initiatives import Initiative
from cwstore.errors import (
    BusyError,
    ConflictError,
    CorruptDatabaseError,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    StorageError,
)

STATEMENT = rows_of(Initiative)("SELECT id FROM initiatives WHERE id = :id")
WITH_JSON = rows_of(Initiative)("SELECT id FROM initiatives WHERE name = :given", given=Json)


def of_state(state: str) -> psycopg.Error:
    if state == "CW001":
        error = psycopg.Error("said by the server")
        error.sqlstate = state
        return error
    return psycopg.errors.lookup(state)("said by the server")


TOLD = [
    (
        "55P03",
        BusyError,
        (
            "another connection held the lock for all of the 5 s that this store may wait; look for"
            " a long write transaction, or raise busy_timeout"
        ),
    ),
    (
        "40001",
        BusyError,
        (
            "another program writes the same rows, and PostgreSQL undid this transaction (40001);"
            " nothing was changed: try again"
        ),
    ),
    (
        "40P01",
        BusyError,
        (
            "another program writes the same rows, and PostgreSQL undid this transaction (40P01);"
            " nothing was changed: try again"
        ),
    ),
    (
        "54001",
        ConflictError,
        "rows are nested too deep in each other; delete the inner first",
    ),
    (
        "08006",
        StorageError,
        (
            "the connection was lost; see whether the server is up and reachable, then try again"
            " (08006)"
        ),
    ),
    (
        "25006",
        StorageError,
        (
            "the server refuses to write, as a standby does: name all servers in the address, and"
            " target_session_attrs=read-write (25006)"
        ),
    ),
    (
        "25P03",
        StorageError,
        (
            "the session was idle in the transaction for longer than"
            " idle_in_transaction_session_timeout, and the server ended it; nothing was changed:"
            " keep transactions short, or raise that setting (25P03)"
        ),
    ),
    (
        "25P04",
        StorageError,
        (
            "the transaction took longer than transaction_timeout, and the server ended it; nothing"
            " was changed: keep transactions short, or raise that setting (25P04)"
        ),
    ),
    (
        "28P01",
        StorageError,
        "the server does not let this user in; check user, password and pg_hba.conf (28P01)",
    ),
    ("3D000", StorageError, "the server has no such database; create it first (3D000)"),
    ("42501", StorageError, "this user may not do that; let the owner GRANT it (42501)"),
    (
        "53100",
        StorageError,
        "the server is out of disk, memory or connections; see its log, and give it more (53100)",
    ),
    (
        "57P01",
        StorageError,
        "the server ended the connection; see whether it is up, then try again (57P01)",
    ),
    (
        "57014",
        StorageError,
        (
            "the statement was cancelled, by somebody or by statement_timeout; try again, or raise"
            " that setting (57014)"
        ),
    ),
    ("58030", StorageError, "the server's disk failed; see its log (58030)"),
    (
        "42P01",
        CorruptDatabaseError,
        (
            "None; the structure of the database is not what its version says: run `cwstore check`"
            " on its address"
        ),
    ),
    (
        "XX001",
        CorruptDatabaseError,
        (
            "the server found damage (XX001); nothing was repaired: see its log, and restore a"
            " backup, or let a standby take over"
        ),
    ),
    ("22012", CwstoreError, "PostgreSQL refused it (22012); see the server's log"),
]


@pytest.mark.parametrize(("state", "error", "said"), TOLD, ids=[state for state, *_ in TOLD])
def test_the_state_decides(state: str, error: type[CwstoreError], said: str) -> None:
    found = map_statement_error(of_state(state), STATEMENT, {"id": "secret"}, 5.0)
    assert (type(found), str(found)) == (error, f"initiatives: {said}")
    assert getattr(found, "waited", None) == (5.0 if state == "55P03" else None)


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ("23502", InvalidValueError, "must not be None"),
        ("23503", MissingReferenceError, "does not exist"),
        ("CW001", CycleError, "cycle"),
    ],
)
def test_the_state_decides_what_is_said_of_a_value(
    state: str, error: type[CwstoreError], said: str
) -> None:
    found = map_statement_error(of_state(state), STATEMENT, {"id": "secret"}, 5.0)
    assert type(found) is error
    assert said in str(found)
    assert "secret" not in str(found)


def test_an_error_without_a_state_is_a_lost_connection() -> None:
    assert isinstance(map_error(psycopg.OperationalError("cut"), "x", 5.0), StorageError)


@pytest.mark.parametrize(
    ("state", "lost"),
    [("08006", True), ("57P01", True), ("57014", False), ("23505", False), ("55P03", False)],
)
def test_only_a_lost_connection_leaves_an_outcome_open(state: str, lost: bool) -> None:
    assert is_lost(of_state(state)) is lost
    assert is_lost(psycopg.OperationalError("cut"))


def test_json_that_is_nested_too_deep_is_named() -> None:
    found = map_statement_error(of_state("54001"), WITH_JSON, {"given": "[" * 9_999}, 5.0)
    assert isinstance(found, InvalidValueError)
    assert found.field == "given"


def test_a_connection_that_the_server_refuses_with_a_state_is_told_by_that() -> None:
    assert str(map_connect_error(of_state("28P01"), "here")) == (
        "here: the server does not let this user in; check user, password and pg_hba.conf"
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "OperationalError"),
        ("timeout expired\n\tmore", "timeout expired"),
        (
            (
                "connection failed: b is down\nMultiple connection attempts failed. All failures"
                " were:"
                "\n- host: 'a', port: 1: connection failed: a is down"
                "\n- host: 'b', port: 1: connection failed: b is down"
            ),
            "a is down; b is down",
        ),
        ("connection is bad: no address", "no address"),
    ],
    ids=["no words", "one line", "several servers", "no name"],
)
def test_why_no_connection_could_be_made_is_told_of_every_server(said: str, told: str) -> None:
    assert str(map_connect_error(psycopg.OperationalError(said), "here")) == (
        f"here: cannot connect: {told}; check the address, and whether the server is up"
    )
