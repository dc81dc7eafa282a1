"""What is tried before a server is used: whether the guarantees of a store hold on it."""

import os
from contextlib import contextmanager
from time import CLOCK_REALTIME, clock_gettime
from typing import TYPE_CHECKING

import psycopg

from cwstore._postgres.connection import connect, run_batch
from cwstore._postgres.error_map import map_error
from cwstore.core.clock import real_time as time
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from cwstore._postgres.address import Address
    from cwstore._postgres.connection import Connection, Cursor

#: Whether a lease has passed is told by the clock of the machine that asks. A second less is of no
#: account to leases of minutes; five minutes more, and holders that live lose their tasks.
_SKEW_TO_TELL = 1.0  # seconds
_MOST_SKEW = 300.0  # seconds

_ABOUT = """
    SELECT
        pg_backend_pid(),
        pg_is_in_recovery(),
        current_setting('server_encoding'),
        extract(epoch FROM clock_timestamp())::float8
"""
_HOLD = b"SELECT pg_backend_pid(), pg_advisory_xact_lock($1::bigint)::text"
_TRY = b"SELECT pg_backend_pid(), pg_try_advisory_xact_lock($1::bigint)"


def connect_both(
    address: "Address", *, busy_timeout: float, own_clock: bool = False, read_only: bool = False
) -> "tuple[Connection, Connection]":
    """A connection that writes, unless `read_only`, and one that reads, to a fit server.

    Raises StorageError with the reason why it may not. With `own_clock` this machine's is not
    compared with the server's: the caller gives times of its own.
    """
    writer = connect(address, busy_timeout=busy_timeout, read_only=read_only)
    reader: Connection | None = None
    try:
        reader = connect(address, busy_timeout=busy_timeout, read_only=True)
        _refuse_unfit(writer, reader, address.name, own_clock, read_only)
        return writer, reader
    except psycopg.Error as error:
        fault = map_error(error, f"opening {address.name}", busy_timeout)
        _close(writer, reader)
    except BaseException:
        _close(writer, reader)
        raise
    raise fault


@contextmanager
def closed_on_error(*connections: "Connection") -> "Generator[None]":
    """Close these if the body fails."""
    try:
        yield
    except BaseException:
        _close(*connections)
        raise


def _close(*connections: "Connection | None") -> None:
    for connection in connections:
        if connection is not None:
            connection.close()


def _refuse_unfit(
    writer: "Connection", reader: "Connection", name: str, own_clock: bool, read_only: bool
) -> None:
    # Not a clock that somebody has frozen for a test.
    asked, began = clock_gettime(CLOCK_REALTIME), time.monotonic()
    ((pid, standby, encoding, server_time),) = writer.execute(_ABOUT).fetchall()
    took = time.monotonic() - began
    if standby and not read_only:
        raise StorageError(
            f"{name}: the server is a standby, which cannot be written: name all servers in the"
            " address, and target_session_attrs=read-write; or open the store with read_only"
        )
    if encoding != "UTF8":
        raise StorageError(f"{name}: the database is encoded as {encoding}; make one in UTF8")
    if not own_clock:
        _compare_clocks(name, server_time - asked, took)
    _try_lane(writer, reader, name, pid)


def _compare_clocks(name: str, ahead: float, took: float) -> None:
    """The server's clock was read at some moment of the `took` seconds that the call took."""
    skew = max(-ahead, ahead - took)
    if skew > _MOST_SKEW:
        raise StorageError(
            f"{name}: the clock of this machine and that of the server differ by {skew:.0f} s:"
            " leases would pass too early or too late; set them by NTP"
        )
    if skew > _SKEW_TO_TELL:
        from cwstore.core.log import WARNING, log

        text = "%s: the clock of this machine and that of the server differ by %.1f s"
        log(WARNING, text, name, skew)


def _try_lane(writer: "Connection", reader: "Connection", name: str, pid: int) -> None:
    """Two connections are two sessions, and one excludes the other from a lock that it holds."""
    key = int.from_bytes(os.urandom(8), signed=True)  # nobody waits for the others' lane
    made: list[Cursor] = []
    run_batch(reader, [(b"BEGIN", ()), (_HOLD, (key,))], made)
    ((other, _),) = made[1].fetchall()
    # A pooler that has one session only would let the next call wait for ever.
    again, both = (pid, 1) if other == pid else writer.execute(_TRY, [key]).fetchall()[0]
    reader.execute("ROLLBACK")
    if other == pid or again != pid:
        raise StorageError(
            f"{name}: a pooler between here and the server gives each transaction another session,"
            " so that locks and settings are lost: connect to the server itself, or let the pooler"
            " work by session"
        )
    if both:
        raise StorageError(
            f"{name}: two connections got the same advisory lock, so two stores would write at"
            " once: this is no PostgreSQL, or one that lacks what a store needs of it"
        )
