"""Open a connection, as every store needs it, and run several statements in one round trip."""

import os
import select
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import psycopg
from psycopg.adapt import Dumper, Loader
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from cwstore._postgres.address import Address
from cwstore._postgres.error_map import map_connect_error
from cwstore.core.clock import real_time as time
from cwstore.core.secret import Secret
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from psycopg.abc import Buffer, PQGen

T = TypeVar("T")
Cursor: TypeAlias = psycopg.Cursor[tuple[Any, ...]]
#: A text and its values.
Message: TypeAlias = "tuple[bytes, Sequence[Any]]"

OLDEST_SERVER = 160_000  # 16: IS JSON
LONG = 1.0  # seconds of waiting for the lane, or of a statement: then it is logged
_FEW = 6  # statements of a batch; more are one statement for many rows
_PREPARE_AFTER = 2  # executions; to prepare costs a round trip
_MOST_PREPARED = 2_000  # cwstore has some 700 statements
# A dead server is noticed within half a minute, not after the hours of the system's default. The
# server is told to notice a dead client as soon: it would keep the lane for those hours.
_KEEPALIVES = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
# Tables that were never analysed: PostgreSQL would hash or sort a whole table for a walk along an
# index. A bitmap has no order: a claim looked at all that was ready and sorted it, 5.9 ms for 4,000
# tasks instead of 0.15. Compiling a plan costs more than running it, for all that is asked here.
_SETTINGS = """
    SELECT
        set_config('search_path', coalesce($1::text, current_setting('search_path')), false),
        set_config('lock_timeout', $2::text, false),
        set_config('tcp_keepalives_idle', '10', false),
        set_config('tcp_keepalives_interval', '5', false),
        set_config('tcp_keepalives_count', '3', false),
        set_config('default_transaction_isolation', 'read committed', false),
        set_config('default_transaction_read_only', $3::text, false),
        set_config('enable_seqscan', 'off', false),
        set_config('enable_hashjoin', 'off', false),
        set_config('enable_mergejoin', 'off', false),
        set_config('enable_bitmapscan', 'off', false),
        set_config('jit', 'off', false)
"""


class _Pipeline(psycopg.Pipeline):
    """One that sends nothing after its last message.

    psycopg's sends a Flush there. From then on the server does not count how long the transaction
    is idle, and idle_in_transaction_session_timeout never ends one whose host is frozen.
    """

    def _exit_gen(self) -> "PQGen[None]":
        try:
            self._enqueue_sync()
            yield from self._communicate_gen()
        finally:
            yield from self._fetch_gen(flush=False)


_wait = psycopg.Connection.wait  # called ten times a write: super() would take a percent of it


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """One that lets somebody look what keeps the server from answering to a batch."""

    #: Called once, when an awaited answer has not come for so long. What it raises ends the wait.
    when_long: "Callable[[], None] | None" = None
    patience: float | None = None  # seconds until then; None: `LONG`
    answer_awaited = False  # all was sent

    @contextmanager
    def pipeline(self) -> "Generator[psycopg.Pipeline]":
        """Send statements in one round trip."""
        self._check_connection_ok()
        self._pipeline = _Pipeline(self)
        try:
            with self._pipeline:
                yield self._pipeline
        finally:
            self._pipeline = None

    def wait(self, gen: "PQGen[T]", *args: Any, **options: Any) -> T:
        """As psycopg's, which comes by every 0.1 s, so that Ctrl-C is heard."""
        if self.answer_awaited and self.when_long is not None:
            gen = _watched(gen, self.when_long, self.patience or LONG)
        return _wait(self, gen, *args, **options)


def _watched(gen: "PQGen[T]", when_long: "Callable[[], None]", patience: float) -> "PQGen[T]":
    """The same, which calls `when_long` if it takes longer than that."""
    began = time.monotonic()
    told = False
    wanted = next(gen)
    while True:
        ready = yield wanted
        if not ready and not told and time.monotonic() - began > patience:
            told = True
            when_long()
        try:
            wanted = gen.send(ready)
        except StopIteration as end:
            return cast("T", end.value)


class _BoolDumper(Dumper):
    """Booleans are 0 and 1."""

    oid = 20

    def dump(self, obj: bool) -> bytes:
        return b"1" if obj else b"0"


class _SecretDumper(Dumper):
    """The text of a secret, which goes to the server alone."""

    oid = 25

    def dump(self, obj: Secret) -> bytes:
        return obj.reveal().encode()


class _BoolLoader(Loader):
    def load(self, data: "Buffer") -> int:
        return int(bytes(data) == b"t")


class _SumLoader(Loader):
    """Sums of bigint come as numeric."""

    def load(self, data: "Buffer") -> int | float:
        text = bytes(data).decode()
        return float(text) if "." in text or text == "NaN" else int(text)


def connect(address: Address, *, busy_timeout: float, read_only: bool = False) -> Connection:
    """A connection in autocommit mode. Raises StorageError."""
    keepalives: Any = {k: v for k, v in _KEEPALIVES.items() if k not in address.conninfo}
    try:
        connection = Connection.connect(
            address.conninfo,
            autocommit=True,
            prepare_threshold=_PREPARE_AFTER,
            cursor_factory=psycopg.RawCursor,
            application_name=_application(),
            client_encoding="UTF8",
            **keepalives,
        )
    except psycopg.Error as error:
        fault = map_connect_error(error, address.name)
    else:
        try:
            _set_up(connection, address, busy_timeout, read_only)
            return connection
        except psycopg.Error as error:
            connection.close()
            fault = map_connect_error(error, address.name)
        except BaseException:
            connection.close()
            raise
    raise fault


def _set_up(connection: Connection, address: Address, busy_timeout: float, read_only: bool) -> None:
    if connection.info.server_version < OLDEST_SERVER:
        raise StorageError(
            f"{address.name}: PostgreSQL {connection.info.server_version // 10_000} is too old;"
            f" it takes {OLDEST_SERVER // 10_000} or newer"
        )
    adapters = connection.adapters
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bool, _BoolDumper)
    adapters.register_dumper(str, StrDumper)
    adapters.register_dumper(Secret, _SecretDumper)
    adapters.register_loader("bool", _BoolLoader)
    adapters.register_loader("numeric", _SumLoader)
    connection.prepared_max = _MOST_PREPARED
    path = None if address.schema is None else quoted(address.schema)
    connection.execute(_SETTINGS, [path, lock_timeout(busy_timeout), "on" if read_only else "off"])


def lock_timeout(seconds: float) -> str:
    """As the setting takes it: 0 would mean for ever."""
    return f"{min(max(1, round(seconds * 1000)), 2**31 - 1)}ms"


def quoted(name: str) -> str:
    """The name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _application() -> str:
    """What `pg_stat_activity` says of this process: it names who holds the lane."""
    return f"process {os.getpid()} on {socket.gethostname()}"[:63]


def is_stale(connection: Connection) -> bool:
    """Whether the server has ended a connection that rests: there is something to read, the end."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def run_batch(connection: Connection, messages: "Sequence[Message]", made: list[Cursor]) -> None:
    """Run the statements in one round trip. `made` gets a cursor for each one that was begun.

    If one fails, none of those after it was run; see `failed_at`. But psycopg may think that they
    were prepared, until `Connection.rollback`. Where there is none, the statement that may fail is
    the only one that is prepared: those without values are not, and of many equal ones the first.
    """
    first: psycopg.Error | UnicodeError | None = None
    again = True if len(messages) > _FEW else None
    try:
        with connection.pipeline():
            try:
                for text, values in messages:
                    cursor = connection.cursor()
                    made.append(cursor)
                    cursor.execute(text, values, prepare=again if values else False)
                connection.answer_awaited = True
            except (
                psycopg.Error,
                UnicodeError,
            ) as error:  # psycopg would log what ends the pipeline after it
                first = error
    except psycopg.Error as error:
        interrupt = error.__context__
        if interrupt is not None and not isinstance(interrupt, Exception):
            raise interrupt from None  # Ctrl-C at the end of the pipeline, which then cannot end
        first = first or error
    finally:
        connection.answer_awaited = False
    if first is not None:
        raise first


def failed_at(made: "Sequence[Cursor]") -> int:
    """The number of the first statement of a batch that has no result."""
    return next((at for at, cursor in enumerate(made) if cursor.pgresult is None), len(made))
