"""An SQLite file as the migration runner sees it (`cwstore.migrations.runner.Target`)."""

import os
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import apsw

from cwstore._sqlite.apsw_types import Connection, go_on
from cwstore._sqlite.busy_handler import BUSY_TIMEOUT
from cwstore._sqlite.connection import connect, ensure_wal, skip_checkpoint_on_close
from cwstore._sqlite.database_file import MEMORY, is_there, refuse_bad_place, resolve, size_of
from cwstore._sqlite.error_map import commit_fault, map_error
from cwstore._sqlite.version import extensions_in, read_state
from cwstore.core.blocks import block
from cwstore.core.reports import MigrationReport, RehearsalReport
from cwstore.errors import CwstoreError, MigrationError, StorageError
from cwstore.migrations.ledger import Drift, Row, State
from cwstore.migrations.scripts import OURS, MigrationFile, Program
from cwstore.migrations.scripts import program_of as program_for

if TYPE_CHECKING:
    from cwstore._sqlite.write_queue import WriteQueue
    from cwstore.migrations.headers import Script  # brings the tokeniser, which is slow to import

__all__ = [
    "SqliteTarget",
    "exists",
    "open_target",
    "program_for",
    "refuse_bad_place",
    "rehearse_on",
    "resolve",
]

T = TypeVar("T")

_OPERATIONS = 20_000  # of SQLite's machine between two chances for Ctrl-C: under a millisecond
_CREATE_LEDGER = """
    CREATE TABLE {ledger} (
        version          INTEGER  NOT NULL  PRIMARY KEY,
        name             TEXT     NOT NULL,  -- of the file, without .sql
        checksum         TEXT     NOT NULL,  -- of its SQL tokens
        text_sum         INTEGER  NOT NULL,  -- of its text: a quick look that may say "the same"
        compatible_with  INTEGER,            -- oldest code that may use the file; NULL: only newer
        structure        INTEGER  NOT NULL,  -- fingerprint of sqlite_schema right after it
        applied_at       INTEGER  NOT NULL   -- microseconds since 1970
    ) STRICT
"""
_RECORD = """
    INSERT INTO {ledger} (
        version, name, checksum, text_sum, compatible_with, structure, applied_at
    ) VALUES (
        :version, :name, :checksum, :text_sum, :compatible_with, :structure, :applied_at
    )
"""


def exists(file: str) -> bool:
    """Whether there is a database already."""
    return file != MEMORY and is_there(file)


def open_target(file: str, program: Program) -> "SqliteTarget":
    """The database at a resolved path, which is made if it is not there."""
    connection = connect(file, busy_timeout=BUSY_TIMEOUT, application_id=program.application_id)
    return SqliteTarget(connection, file, BUSY_TIMEOUT, program)


def open_to_look(file: str, program: Program) -> "SqliteTarget":
    """The database at a resolved path that is there; the user may be one who can only read."""
    from cwstore._sqlite.look import connect_to_look

    connection = connect_to_look(
        file, busy_timeout=BUSY_TIMEOUT, application_id=program.application_id
    )
    return SqliteTarget(connection, file, BUSY_TIMEOUT, program)


class SqliteTarget:
    """A connection that `connect` gave, for one run; it may go on as a store's writer."""

    def __init__(
        self, connection: Connection, file: str, busy_timeout: float, program: Program = OURS
    ) -> None:
        self.name = file
        self._program = program
        self._connection = connection
        self._busy_timeout = busy_timeout
        self._queue: WriteQueue | None = None  # once it was locked: closing opens no file

    def read_state(self) -> State:
        return self._ours(
            "reading the version of", lambda: read_state(self._connection, self._program)
        )

    def drift(self, files: list[MigrationFile]) -> Drift:
        from cwstore._sqlite.schema.drift import drift

        return self._ours(
            "reading the version of", lambda: drift(self._connection, files, self._program)
        )

    def leave_alone(self) -> None:
        skip_checkpoint_on_close(self._connection, self.name)

    def prepare(self) -> None:
        if self.name != MEMORY:
            ensure_wal(self._connection, busy_timeout=self._busy_timeout)

    @block
    def lock(self) -> Generator[None]:
        from cwstore._sqlite.schema.lock import migration_lock

        with migration_lock(self.name), self._unguarded():
            self._note_number()
            yield

    def _note_number(self) -> None:
        from cwstore._sqlite.write_queue import open_write_queue

        ((number,),) = self._ours(
            "migrating",
            lambda: self._connection.execute("PRAGMA schema_version").fetchall(),
        )
        self._queue = open_write_queue(self.name)
        self._queue.note(number & 0xFFFFFFFF)

    @block
    def _unguarded(self) -> Generator[None]:
        """Foreign keys off, so that a parent table can be rebuilt, and Ctrl-C let through."""
        connection = self._connection
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.set_progress_handler(go_on, _OPERATIONS)
        try:
            yield
        finally:
            connection.set_progress_handler(None)
            connection.execute("PRAGMA foreign_keys = ON")
            if connection.pragma("foreign_keys") != 1:
                raise StorageError(
                    "SQLite did not switch foreign keys on again; open the file anew"
                )

    def begin(self) -> None:
        self._ours("migrating", lambda: self._connection.execute("BEGIN IMMEDIATE"))

    def commit(self, file_name: str) -> None:
        try:
            self._connection.execute("COMMIT")
            return
        except apsw.Error as error:
            fault = commit_fault(error, self._busy_timeout, self.name, file_name)
        raise fault

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def backup_path(self, version: int) -> str | None:
        """Where `back_up` would copy it to."""
        from cwstore._sqlite.backup import migration_backup

        extension, its_version = self._program.extension, version
        if extension:  # what is copied is the file, whatever its part is
            version = self._connection.pragma("user_version")
        if not version or self.name == MEMORY:
            return None
        return migration_backup(self.name, version, extension, its_version)

    def back_up(self, version: int) -> str | None:
        path = self.backup_path(version)
        if path is not None:
            from cwstore._sqlite.backup import keep_newest, write_backup

            # Through a second connection, which does not see what this transaction did.
            write_backup(
                self.name,
                path,
                busy_timeout=self._busy_timeout,
                replace=True,
                application_id=self._program.application_id,
            )
            keep_newest(self.name, path)
        return path

    def apply(
        self, script: "Script", earlier: list[MigrationFile], notify: Callable[[int], None]
    ) -> int:
        from cwstore._sqlite.schema.apply import apply_script
        from cwstore._sqlite.schema.drift import find_added

        program = self._program
        added = partial(find_added, files=earlier, program=program)
        return self._ours(
            "migrating",
            lambda: apply_script(self._connection, script, notify, added, program.prefix),
        )

    def record(self, row: Row, applied_at: int) -> None:
        self._ours("migrating", lambda: self._record(row, applied_at))

    def _record(self, row: Row, applied_at: int) -> None:
        connection, program = self._connection, self._program
        if row.version == 1:
            connection.execute(_CREATE_LEDGER.format(ledger=program.ledger))
        binds = {**row._asdict(), "applied_at": applied_at}
        connection.execute(_RECORD.format(ledger=program.ledger), binds)
        if not program.extension:
            connection.execute(f"PRAGMA user_version = {row.version}")

    def extensions(self) -> dict[str, int]:
        """The extensions that the file has, and the version of each."""
        return self._ours("reading the version of", lambda: extensions_in(self._connection))

    def with_program(self, program: Program) -> "SqliteTarget":
        """The same database as that program, or that extension, sees it."""
        return SqliteTarget(self._connection, self.name, self._busy_timeout, program)

    def size(self) -> int:
        """Bytes, without the write-ahead log."""
        return size_of(self.name)

    def exposed(self) -> tuple[str, ...]:
        """Files of it that every user of the system may read; see `MigrationStatus`."""
        from cwstore._sqlite.permissions import exposed_files

        return exposed_files(self.name)

    def detach(self) -> None:
        """Leave the connection to whoever goes on with it."""
        if self._queue is not None:
            self._queue.detach()
            self._queue = None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._queue is not None:
            self._queue.close(self.name)
        elif self.name != MEMORY and os.path.exists(f"{self.name}-turn"):
            with suppress(OSError):  # it stays, as if the process had been killed
                from cwstore._sqlite.write_queue import open_write_queue

                open_write_queue(self.name).close(self.name)

    def _ours(self, what: str, action: Callable[[], T]) -> T:
        """What the action returns; an error of SQLite becomes one of ours."""
        try:
            return action()
        except (apsw.Error, UnicodeDecodeError) as error:
            fault = map_error(error, f"{what} {self.name}", self._busy_timeout, self.name)
        raise fault


def rehearse_on(
    file: str, program: Program, migrate: Callable[[SqliteTarget], MigrationReport]
) -> RehearsalReport:
    """Let `migrate` work on a copy, in a directory beside the file that is removed afterwards."""
    from cwstore._sqlite.drafts import draft_beside

    fault: CwstoreError
    try:
        with draft_beside(file) as draft:
            return _rehearse(file, draft, program, migrate)
    except MigrationError as error:
        fault = MigrationError(f"rehearsed on a copy of {file}, which was not touched: {error}")
    except apsw.Error as error:
        fault = map_error(error, f"rehearsing on a copy of {file}", BUSY_TIMEOUT, file)
    except OSError as error:
        fault = StorageError(
            f"cannot rehearse beside {file}: {error.strerror}; it takes a directory that this user"
            " may write to, and room for a copy"
        )
    raise fault


def _rehearse(
    file: str, copy: str, program: Program, migrate: Callable[[SqliteTarget], MigrationReport]
) -> RehearsalReport:
    from cwstore._sqlite.backup import copy_to
    from cwstore._sqlite.schema.foreign_keys import find_violations

    application_id = program.application_id
    copy_to(copy, file, "a copy to rehearse on", BUSY_TIMEOUT, application_id)
    size = os.stat(copy).st_size
    connection = connect(copy, busy_timeout=BUSY_TIMEOUT, application_id=application_id)
    try:
        report = migrate(SqliteTarget(connection, copy, BUSY_TIMEOUT, program))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        violations = find_violations(connection)
    finally:
        connection.close()
    return RehearsalReport(
        path=file,
        steps=report.steps,
        version_before=report.version_before,
        version=report.version,
        size_before=size,
        size=os.stat(copy).st_size,
        violations=tuple(f"{text} ({rows} rows)" for text, rows in violations.items()),
        seconds=report.seconds,
    )
