"""Make errors of PostgreSQL ours: by SQLSTATE and the names of constraints, never by their text.

`diag.message_detail` holds values of rows: it is not passed on, nor is the error chained.
"""

import re
from collections.abc import Mapping
from typing import Any

import psycopg

from cwstore.core import faults
from cwstore.core.statement import Statement
from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    CorruptDatabaseError,
    CwstoreError,
    InvalidValueError,
    OutcomeUnknownError,
    StorageError,
)

#: Raised by the guards against cycles; their message is one of ours, and holds no value.
CYCLE = "CW001"

_CHECK, _FOREIGN_KEY, _NOT_NULL, _UNIQUE = "23514", "23503", "23502", "23505"
_LOCK_TIMEOUT = "55P03"
_TOO_DEEP = "54001"
_READ_ONLY = "25006"
# By class: what goes wrong outside of the statement.
_STORAGE = {
    "08": "the connection was lost; see whether the server is up and reachable, then try again",
    "25": "the server refuses to write, as a standby does: name all servers in the address, and"
    " target_session_attrs=read-write",
    "25P03": "the session was idle in the transaction for longer than"
    " idle_in_transaction_session_timeout, and the server ended it; nothing was changed: keep"
    " transactions short, or raise that setting",
    "25P04": "the transaction took longer than transaction_timeout, and the server ended it;"
    " nothing was changed: keep transactions short, or raise that setting",
    "28": "the server does not let this user in; check user, password and pg_hba.conf",
    "3D": "the server has no such database; create it first",
    "42501": "this user may not do that; let the owner GRANT it",
    "53": "the server is out of disk, memory or connections; see its log, and give it more",
    "57": "the server ended the connection; see whether it is up, then try again",
    "57014": "the statement was cancelled, by somebody or by statement_timeout; try again, or raise"
    " that setting",
    "58": "the server's disk failed; see its log",
}
# What psycopg puts before each reason why it cannot connect.
_REASON = re.compile(r"^(?:- .*?: )?connection (?:failed|is bad): (.+)$", re.MULTILINE)

#: The columns of an index, and so of a unique constraint.
COLUMNS_OF_INDEX = """
    SELECT attribute.attname
    FROM pg_class AS class
    JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid
    WHERE class.relname = $1::text
      AND class.relnamespace = $2::text::regnamespace
      AND attribute.attnum > 0
    ORDER BY attribute.attnum
"""
#: The column of a foreign key, and the table that it refers to.
FOREIGN_KEY = """
    SELECT attribute.attname, parent.relname
    FROM pg_constraint AS key
    JOIN pg_class AS child ON child.oid = key.conrelid
    JOIN pg_class AS parent ON parent.oid = key.confrelid
    JOIN pg_attribute AS attribute
      ON attribute.attrelid = child.oid AND attribute.attnum = key.conkey[1]
    WHERE key.conname = $1::text
      AND child.relnamespace = $2::text::regnamespace
"""


def map_connect_error(error: psycopg.Error, name: str) -> StorageError:
    """The error to raise for one of connecting."""
    if isinstance(error, psycopg.ProgrammingError):  # its text repeats the address
        return StorageError(
            f"{name}: libpq does not understand the address; see `Connection URIs` in PostgreSQL's"
            " manual"
        )
    if what := _outside(error.sqlstate or ""):
        return StorageError(f"{name}: {what}")
    # Of several servers all are told; those texts begin with the last one.
    said = sorted(set(_REASON.findall(str(error)))) or str(error).strip().splitlines()[:1]
    return StorageError(
        f"{name}: cannot connect: {'; '.join(said) or type(error).__name__}; check the address, and"
        " whether the server is up"
    )


def _outside(state: str) -> str:
    """What goes wrong outside of the statement, and what to do; "": it is something else."""
    return _STORAGE.get(state) or _STORAGE.get(state[:2], "")


def is_of_standby(error: psycopg.Error) -> bool:
    """Whether the server is no longer the one that writes: another one has taken over."""
    return error.sqlstate == _READ_ONLY


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection went: what was sent may or may not have been done."""
    state = error.sqlstate or ""
    return not state or (state[:2] in ("08", "57") and state != "57014")


def outcome_unknown(name: str) -> OutcomeUnknownError:
    """The connection was lost inside COMMIT."""
    return OutcomeUnknownError(
        f"COMMIT ({name}): the connection was lost; the transaction may or may not be there:"
        " read before you repeat it"
    )


def not_replicated(name: str) -> OutcomeUnknownError:
    """The server has stopped waiting for a standby, and called that success."""
    return OutcomeUnknownError(
        f"COMMIT ({name}): the wait for a standby was cancelled; the transaction is there, and is"
        " lost if a standby takes over that does not have it: read before you repeat it"
    )


def map_error(error: psycopg.Error, what: str, busy_timeout: float) -> CwstoreError:
    """The error to raise for one that is not about a value; it happened in `what`."""
    state = error.sqlstate or "08000"
    if state == _LOCK_TIMEOUT:
        return BusyError(
            f"{what}: another connection held the lock for all of the {busy_timeout:g} s that"
            " this store may wait; look for a long write transaction, or raise busy_timeout",
            waited=busy_timeout,
        )
    if state[:2] == "40":
        return BusyError(
            f"{what}: another program writes the same rows, and PostgreSQL undid this"
            f" transaction ({state}); nothing was changed: try again",
        )
    if state == _TOO_DEEP:
        return ConflictError(
            f"{what}: rows are nested too deep in each other; delete the inner first",
            reason=ConflictReason.TRANSACTION,
        )
    if problem := _outside(state):
        return StorageError(f"{what}: {problem} ({state})")
    if state[:2] == "42":
        return CorruptDatabaseError(
            f"{what}: {error.diag.message_primary}; the structure of the database is not what its"
            " version says: run `cwstore check` on its address"
        )
    if state[:3] == "XX0":
        return CorruptDatabaseError(
            f"{what}: the server found damage ({state}); nothing was repaired: see its log, and"
            " restore a backup, or let a standby take over"
        )
    return CwstoreError(f"{what}: PostgreSQL refused it ({state}); see the server's log")


def map_statement_error(
    error: psycopg.Error | UnicodeError,
    statement: Statement[Any],
    binds: Mapping[str, Any],
    busy_timeout: float,
) -> CwstoreError:
    """The error to raise for one of a statement.

    Of a unique constraint and a foreign key it lacks the columns, which the catalogue knows.
    """
    if isinstance(error, UnicodeError):
        return faults.refused_bind(binds)
    table = faults.table_of(statement.text)
    diag = error.diag
    name = diag.constraint_name or ""
    match error.sqlstate:
        case "23505":
            return faults.taken(name)
        case "23502":
            return faults.missing_value(table, diag.column_name or "value")
        case "23503":
            return faults.missing_reference(table, {}, [])
        case "23514":
            return _broken_rule(diag.table_name or table, name, statement, binds)
        case "54001" if any(map(statement.is_json, binds)):
            return _not_json(next(filter(statement.is_json, binds)), binds)
        case state if state == CYCLE:
            return faults.cycle((diag.message_primary or "").rpartition(": ")[2])
        case "P0001":  # RAISE EXCEPTION, of a trigger that somebody added
            return faults.refused_by_trigger(table, diag.message_primary or "")
        case _:
            return map_error(error, table, busy_timeout)


def _broken_rule(
    table: str, rule: str, statement: Statement[Any], binds: Mapping[str, Any]
) -> CwstoreError:
    fault = faults.broken_rule(table, rule)
    if not isinstance(fault, InvalidValueError) or not statement.is_json(fault.field):
        return fault
    return _not_json(fault.field, binds)


def _not_json(field: str, binds: Mapping[str, Any]) -> InvalidValueError:
    text = binds[field]
    return faults.not_json(field, text if isinstance(text, str) else text.reveal())
