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


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ("55P03", BusyError, "held the lock for all of the 5 s"),
        ("40001", BusyError, "try again"),
        ("40P01", BusyError, "try again"),
        ("54001", ConflictError, "nested too deep"),
        ("08006", StorageError, "connection was lost"),
        ("25006", StorageError, "standby"),
        ("25P03", StorageError, "idle_in_transaction_session_timeout"),
        ("25P04", StorageError, "transaction_timeout"),
        ("28P01", StorageError, "does not let this user in"),
        ("3D000", StorageError, "no such database"),
        ("42501", StorageError, "GRANT"),
        ("53100", StorageError, "out of disk"),
        ("57P01", StorageError, "ended the connection"),
        ("58030", StorageError, "disk failed"),
        ("42P01", CorruptDatabaseError, "cwstore check"),
        ("XX001", CorruptDatabaseError, "damage"),
        ("22012", CwstoreError, "22012"),
        ("23502", InvalidValueError, "must not be None"),
        ("23503", MissingReferenceError, "does not exist"),
        ("CW001", CycleError, "cycle"),
    ],
)
def test_the_state_decides(state: str, error: type[CwstoreError], said: str) -> None:
    found = map_statement_error(of_state(state), STATEMENT, {"id": "secret"}, 5.0)
    assert type(found) is error
    assert said in str(found)
    assert "secret" not in str(found)
    if error is BusyError and state == "55P03":
        assert isinstance(found, BusyError)
        assert found.waited == 5.0


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


def test_a_connection_that_fails_without_words_is_named_by_its_kind() -> None:
    assert str(map_connect_error(psycopg.OperationalError(), "here")) == "here: OperationalError"
