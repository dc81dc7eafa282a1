"""Inspect a schema: compare its structure, count rows and bytes. Nothing is repaired or written."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from time import perf_counter
from typing import TYPE_CHECKING

import psycopg

from cwstore._postgres.connection import connect, quoted
from cwstore._postgres.error_map import map_error
from cwstore._postgres.schema.drift import drift
from cwstore._postgres.version import read_state
from cwstore.core.health_report import HealthReport
from cwstore.core.reports import CheckReport, StoreStats, TableStats
from cwstore.errors import CwstoreError, StorageError
from cwstore.migrations.ledger import Drift
from cwstore.migrations.scripts import MigrationFile, Program, newest, scripts_of

if TYPE_CHECKING:
    from cwstore._postgres.address import Address
    from cwstore._postgres.connection import Connection

_PROBE = "SELECT 1"
_PATIENCE = 5.0  # seconds until a probe takes the server for one that hangs
_TABLES = """
    SELECT relname, pg_table_size(oid), pg_indexes_size(oid)
    FROM pg_class
    WHERE relkind = 'r'
      AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    ORDER BY relname COLLATE "C"
"""
# How many transactions have ended. The number of the newest one alone would not tell the end of one
# that began before it. A standby does not list those that are open: there it also counts the bytes
# of the log that it has applied.
_ENDED = """
    SELECT
        pg_snapshot_xmax(now.seen)::text::bigint
        - (SELECT count(*) FROM pg_snapshot_xip(now.seen))
        + coalesce(pg_last_wal_replay_lsn() - '0/0', 0)::bigint
    FROM (SELECT pg_current_snapshot() AS seen) AS now
"""


def data_version(connection: "Connection") -> int:
    """A number that rises when anybody commits, in whatever database of the server."""
    ((number,),) = connection.execute(_ENDED).fetchall()
    return int(number)


def check(address: "Address", busy_timeout: float, program: Program) -> CheckReport:
    """See `Store.check`. Damage of its disk is the server's to find, by checksums and amcheck."""
    connection = connect(address, busy_timeout=busy_timeout, read_only=True)
    try:
        files = scripts_of(program)
        version = read_state(connection, program, address.name).version
        if version > newest(files):
            return CheckReport((), (), ())
        found = drift(connection, _up_to(version, files), program, address.name)
        for one in program.extensions:
            there = _up_to(read_state(connection, one, address.name).version, scripts_of(one))
            of_it = drift(connection, there, one, address.name)
            found = Drift(found.changed + of_it.changed, found.added + of_it.added)
        return CheckReport((), (), tuple(found.changed), added=tuple(map(str, found.added)))
    except psycopg.Error as error:
        fault = map_error(error, f"checking {address.name}", busy_timeout)
    finally:
        connection.close()
    raise fault


def _up_to(version: int, files: list[MigrationFile]) -> list[MigrationFile]:
    return [file for file in files if file.version <= version]


def health(
    lease_reader: "Callable[[], AbstractContextManager[Connection]]", name: str
) -> HealthReport:
    """See `Store.health`. Disk and log are the server's."""

    def give_up() -> None:
        raise StorageError(
            f"{name}: the server has not answered for {_PATIENCE:g} s; see whether it hangs, and"
            " whether it can be reached"
        )

    problems: list[str] = []
    started = perf_counter()
    try:
        with lease_reader() as connection:
            connection.when_long, connection.patience = give_up, _PATIENCE
            connection.answer_awaited = True
            connection.execute(_PROBE)
            connection.when_long, connection.answer_awaited = None, False
    except psycopg.Error as error:
        problems.append(str(map_error(error, name, 0.0)))
    except CwstoreError as error:
        problems.append(str(error))
    return HealthReport(tuple(problems), perf_counter() - started, None, None)


def stats(connection: "Connection", version: int) -> StoreStats:
    """Count rows and bytes."""
    tables: list[TableStats] = []
    for name, size, indexes in connection.execute(_TABLES).fetchall():
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {quoted(name)}".encode()).fetchall()
        tables.append(TableStats(str(name), rows, size, indexes))
    total = sum(one.bytes + one.index_bytes for one in tables)
    return StoreStats(version, total, 0, 0, 0, tuple(tables), ())
