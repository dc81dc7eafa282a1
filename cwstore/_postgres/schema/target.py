"""A PostgreSQL schema as the migration runner sees it (`cwstore.migrations.runner.Target`)."""

import os
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, TypeVar

import psycopg

from cwstore._postgres.address import Address, parse
from cwstore._postgres.connection import Connection, connect, lock_timeout, quoted
from cwstore._postgres.error_map import is_lost, map_error, outcome_unknown
from cwstore._postgres.lane import STAMPS, Lane
from cwstore._postgres.server_check import connect_both
from cwstore._postgres.telling import let_tables_tell
from cwstore._postgres.version import extensions_in, read_state
from cwstore.core.blocks import block
from cwstore.core.extension import check_extensions
from cwstore.core.reports import MigrationReport, RehearsalReport
from cwstore.errors import MigrationError, StorageError
from cwstore.migrations.ledger import Drift, Row, State
from cwstore.migrations.scripts import MigrationFile, Program, program_of

if TYPE_CHECKING:
    from cwstore.core.extension import Extension
    from cwstore.migrations.headers import Script

T = TypeVar("T")

_BUSY_TIMEOUT = 5.0  # seconds
_CREATE_LEDGER = """
    CREATE TABLE {ledger} (
        version          bigint  NOT NULL  PRIMARY KEY,
        name             text    NOT NULL,  -- of the file, without .sql
        checksum         text    NOT NULL,  -- of its SQL tokens
        text_sum         bigint  NOT NULL,  -- of its text: a quick look that may say "the same"
        compatible_with  bigint,            -- oldest code that may use it; NULL: only newer
        structure        bigint  NOT NULL,  -- fingerprint of the catalogue right after it
        applied_at       bigint  NOT NULL,  -- microseconds since 1970
        application_id   bigint  NOT NULL   -- whose tables these are
    )
"""
_SIZE = """
    SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint
    FROM pg_class
    WHERE relkind = 'r'
      AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
"""
_RECORD = """
    INSERT INTO {ledger} (
        version, name, checksum, text_sum, compatible_with, structure, applied_at, application_id
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""


def program_for(
    directory: str | os.PathLike[str] | None,
    application_id: int | None,
    extensions: "Sequence[Extension]",
) -> Program:
    """A program as a caller describes it. Raises InvalidValueError."""
    return program_of(directory, application_id, check_extensions(extensions), "postgresql")


def resolve(path: object) -> str:
    """The address. Raises InvalidValueError."""
    parse(path)
    return str(path)


def exists(file: str) -> bool:
    """A database is never made here: it has to be there."""
    return bool(file)


def refuse_bad_place(file: str) -> None:
    """Nothing to refuse: see `exists`."""


def open_target(file: str, program: Program) -> "PostgresTarget":
    """The schema at an address."""
    address = parse(file)
    connection, reader = connect_both(address, busy_timeout=_BUSY_TIMEOUT)
    reader.close()
    return PostgresTarget(connection, address, _BUSY_TIMEOUT, program)


def open_to_look(file: str, program: Program) -> "PostgresTarget":
    """As `open_target`, to write nothing; the server may be a standby."""
    address = parse(file)
    connection = connect(address, busy_timeout=_BUSY_TIMEOUT, read_only=True)
    return PostgresTarget(connection, address, _BUSY_TIMEOUT, program)


class PostgresTarget:
    """A connection for one run; it may go on as a store's writer."""

    def __init__(
        self,
        connection: Connection,
        address: Address,
        busy_timeout: float,
        program: Program,
        *,
        rehearses: bool = False,
    ) -> None:
        self.name = address.name
        # One transaction is open for the whole run, and is undone after it.
        self._rehearses = rehearses
        self._address = address
        self._program = program
        self._connection = connection
        self._busy_timeout = busy_timeout

    def read_state(self) -> State:
        return self._ours(
            "reading the version of",
            lambda: read_state(self._connection, self._program, self.name),
        )

    def drift(self, files: list[MigrationFile]) -> Drift:
        from cwstore._postgres.schema.drift import drift

        return self._ours(
            "reading the version of",
            lambda: drift(self._connection, files, self._program, self.name),
        )

    def leave_alone(self) -> None:
        """Closing a connection changes nothing."""

    def prepare(self) -> None:
        """There is one mode to work in."""

    @block
    def lock(self) -> Generator[None]:
        """Held by the session: it ends with it, however that ends.

        Meanwhile no statement takes too long, whatever the user's `statement_timeout` is: a script
        has as long as it needs, and so has the process that this one waits for.
        """
        connection = self._connection
        if self._rehearses:
            self._ours("rehearsing on", self._make_schema)
            self._ours("rehearsing on", lambda: connection.execute(*self._lane().take))
            yield
            return
        self._ours("migrating", self._make_schema)
        key = self._lane().key + 1
        set_timeout = "SELECT set_config('lock_timeout', $1::text, false)"
        set_limit = "SELECT set_config('statement_timeout', $1::text, false)"
        ((limit,),) = connection.execute("SELECT current_setting('statement_timeout')").fetchall()

        def take() -> None:
            connection.execute(set_limit, ["0"])
            connection.execute(set_timeout, ["0"])  # as long as another process migrates
            connection.execute("SELECT pg_advisory_lock($1::bigint)", [key])
            connection.execute(set_timeout, [lock_timeout(self._busy_timeout)])

        self._ours("migrating", take)
        try:
            yield
        finally:
            if not connection.closed:
                connection.execute("SELECT pg_advisory_unlock($1::bigint)", [key])
                connection.execute(set_limit, [limit])

    def _make_schema(self) -> None:
        """The one that the address names, if it is not there."""
        schema = self._address.schema
        if schema is None or self._schema() is not None:
            return
        try:
            self._connection.execute(f"CREATE SCHEMA {quoted(schema)}".encode())
        except (psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation):
            pass  # another process has just made it

    def _schema(self) -> str | None:
        ((schema,),) = self._connection.execute("SELECT current_schema()").fetchall()
        return None if schema is None else str(schema)

    def _lane(self) -> Lane:
        schema = self._schema()
        if schema is None:
            raise StorageError(
                f"{self.name}: no schema of the search_path is there; name one by ?schema="
            )
        return Lane(self._connection, schema)

    def begin(self) -> None:
        if self._rehearses:
            return

        def take() -> None:
            self._connection.execute("BEGIN")
            self._connection.execute(*self._lane().take)

        self._ours("migrating", take)

    def commit(self, file_name: str) -> None:
        end = "SET CONSTRAINTS ALL IMMEDIATE" if self._rehearses else "COMMIT"
        try:
            self._connection.execute(end.encode())
            return
        except psycopg.Error as error:
            fault = (
                outcome_unknown(f"{self.name}, {file_name}")
                if is_lost(error)
                else map_error(error, f"{self.name}, {file_name}", self._busy_timeout)
            )
        raise fault

    def rollback(self) -> None:
        if self._rehearses:
            return
        if not self._connection.closed and self._connection.info.transaction_status != 0:
            self._connection.execute("ROLLBACK")

    def backup_path(self, version: int) -> str | None:
        """There is nowhere to copy it to: see `PostgresDatabase.backup`."""
        del version
        return None

    def back_up(self, version: int) -> str | None:
        """See `backup_path`: a migration is undone as a whole if it fails."""
        return self.backup_path(version)

    def apply(
        self, script: "Script", earlier: list[MigrationFile], notify: Callable[[int], None]
    ) -> int:
        from cwstore._postgres.schema.apply import apply_script

        del earlier
        return self._ours(
            "migrating", lambda: apply_script(self._connection, script, notify, self._program)
        )

    def record(self, row: Row, applied_at: int) -> None:
        def write() -> None:
            ledger = self._program.ledger
            if not self.read_state().rows:
                self._connection.execute(_CREATE_LEDGER.format(ledger=ledger).encode())
                if not self._program.extension:
                    self._connection.execute(f"CREATE SEQUENCE {STAMPS}")
            values = [*row, applied_at, self._program.application_id]
            self._connection.execute(_RECORD.format(ledger=ledger).encode(), values)
            let_tables_tell(self._connection)

        self._ours("migrating", write)

    def extensions(self) -> dict[str, int]:
        """The extensions that the schema has, and the version of each."""
        return self._ours("reading the version of", lambda: extensions_in(self._connection))

    def with_program(self, program: Program) -> "PostgresTarget":
        """The same schema as that program sees it."""
        return PostgresTarget(
            self._connection,
            self._address,
            self._busy_timeout,
            program,
            rehearses=self._rehearses,
        )

    def size(self) -> int:
        """Bytes of the tables of the schema, with their indexes."""
        return self._ours(
            "measuring", lambda: int(self._connection.execute(_SIZE).fetchall()[0][0])
        )

    def exposed(self) -> tuple[str, ...]:
        """Who may read it is the server's to say."""
        return ()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ours(self, what: str, action: Callable[[], T]) -> T:
        """What the action returns; an error of PostgreSQL becomes one of ours."""
        try:
            return action()
        except psycopg.Error as error:
            fault = map_error(error, f"{what} {self.name}", self._busy_timeout)
        raise fault


def rehearse_on(
    file: str, program: Program, migrate: Callable[[PostgresTarget], MigrationReport]
) -> RehearsalReport:
    """Let `migrate` work in a transaction that is undone afterwards; writers wait for its end."""
    address = parse(file)
    connection = connect(address, busy_timeout=_BUSY_TIMEOUT)
    target = PostgresTarget(connection, address, _BUSY_TIMEOUT, program, rehearses=True)
    try:
        connection.execute("BEGIN")
        size = target.size()
        report = migrate(target)
        return RehearsalReport(
            path=address.name,
            steps=report.steps,
            version_before=report.version_before,
            version=report.version,
            size_before=size,
            size=target.size(),
            violations=(),  # PostgreSQL checks each foreign key at the latest at the end
            seconds=report.seconds,
        )
    except MigrationError as error:
        refusal = MigrationError(f"rehearsed on {address.name}, and undone: {error}")
    finally:
        connection.close()  # which undoes it
    raise refusal
