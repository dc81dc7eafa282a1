"""Bring a file up to the newest schema: one process, one lock and one transaction a script."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import apsw

from cwstore._sqlite import connection as _connect
from cwstore._sqlite.apsw_types import Connection, go_on
from cwstore._sqlite.error_map import commit_fault, map_error
from cwstore.core.checks import is_integer
from cwstore.core.reports import MigrationReport, MigrationStatus, Progress, RehearsalReport, Step
from cwstore.errors import (
    CwstoreError,
    InvalidValueError,
    MigrationError,
    StorageError,
)
from cwstore.migrations.ledger import check_history, compatible_from, record
from cwstore.migrations.scripts import MigrationFile, load, parse

_OPERATIONS = 20_000  # of SQLite's machine between two chances for Ctrl-C: under a millisecond

__all__ = [
    "MigrationReport",
    "MigrationStatus",
    "Progress",
    "RehearsalReport",
    "Step",
    "migrate",
    "rehearse",
    "status",
    "upgrade",
]

OnProgress = Callable[[Progress], None]


def migrate(
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    target: int | None = None,
    backup: bool = True,
    on_progress: OnProgress | None = None,
) -> MigrationReport:
    """Apply the pending migrations to a file, which is made first if it is not there.

    `directory` holds the scripts (None: those of cwstore), `target` is the version to stop at
    (None: the newest). Each script is applied whole or not at all; those before it stay. While
    another process migrates, this one waits for it. With `backup`, a file that is not empty is
    copied to `<path>.v<version>.bak` first. An exception from `on_progress` ends the run and
    rolls the current script back. Raises MigrationError, SchemaTooNewError, ForeignDatabaseError,
    BusyError, StorageError, CorruptDatabaseError, InvalidValueError.
    """
    file = _connect.resolve(path)
    _connect.check_flags(backup=backup)
    _connect.check_progress(on_progress)
    check_scripts(file, directory, target)
    connection = _connect.connect(file, busy_timeout=_connect.BUSY_TIMEOUT)
    try:
        return upgrade(
            connection,
            file,
            directory=directory,
            target=target,
            backup=backup,
            on_progress=on_progress,
        )
    finally:
        connection.close()


def status(
    path: str | os.PathLike[str], *, directory: str | os.PathLike[str] | None = None
) -> MigrationStatus:
    """What `migrate` would find and do. Writes nothing and makes no file.

    Raises what `migrate` would raise for the file as it is.
    """
    file = _connect.resolve(path)
    files = load(directory)
    if file == _connect.MEMORY or not os.path.lexists(file):
        _connect.refuse_bad_place(file)
        return MigrationStatus(file, 0, len(files), tuple(f.name for f in files), 0, 0, None)
    connection = _connect.connect(file, busy_timeout=_connect.BUSY_TIMEOUT)
    try:
        _connect.skip_checkpoint_on_close(connection, file)
        state = check_history(connection, file, files, _connect.BUSY_TIMEOUT)
        pending = tuple(f.name for f in files[state.version :])
        return MigrationStatus(
            path=file,
            version=state.version,
            newest=len(files),
            pending=pending,
            compatible_from=compatible_from(state.rows or []),
            size=os.stat(file).st_size,
            backup=_backup_name(file, state.version) if pending else None,
        )
    finally:
        connection.close()


def rehearse(
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    target: int | None = None,
    on_progress: OnProgress | None = None,
) -> RehearsalReport:
    """Apply the pending migrations to a copy in a directory beside the file, and remove it.

    Needs as much room as the file takes. The file is only read. Raises what `migrate` would.
    """
    from tempfile import TemporaryDirectory

    file = _connect.resolve(path)
    _connect.check_progress(on_progress)
    goal = _goal(target, load(directory))
    if file == _connect.MEMORY or not os.path.lexists(file):
        raise StorageError(f"{file} is not there: nothing to rehearse on; give the path of a file")
    # Refusals name the file, not the copy.
    before = status(file, directory=directory).version
    if target is not None:
        _refuse_to_go_down(file, before, goal)
    place, name = os.path.split(file)
    try:
        with TemporaryDirectory(prefix=f".{name}.rehearsal.", dir=place) as beside:
            copy = os.path.join(beside, name)
            return _rehearse_on(copy, file, directory, target, on_progress)
    except MigrationError as error:
        raise MigrationError(
            f"rehearsed on a copy of {file}, which was not touched: {error}"
        ) from None
    except apsw.Error as error:
        fault = map_error(error, f"rehearsing on a copy of {file}", _connect.BUSY_TIMEOUT)
    except OSError as error:
        fault = StorageError(
            f"cannot rehearse beside {file}: {error.strerror}; it takes a directory that this user"
            " may write to, and room for a copy"
        )
    raise fault


def _rehearse_on(
    copy: str,
    file: str,
    directory: str | os.PathLike[str] | None,
    target: int | None,
    on_progress: OnProgress | None,
) -> RehearsalReport:
    from cwstore._sqlite.backup import write_backup
    from cwstore._sqlite.schema.guard import find_violations

    size = write_backup(file, copy, busy_timeout=_connect.BUSY_TIMEOUT).size
    connection = _connect.connect(copy, busy_timeout=_connect.BUSY_TIMEOUT)
    try:
        report = upgrade(
            connection,
            copy,
            directory=directory,
            target=target,
            backup=False,
            on_progress=on_progress,
        )
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


def upgrade(
    connection: Connection,
    file: str,
    *,
    directory: str | os.PathLike[str] | None = None,
    target: int | None = None,
    backup: bool = True,
    on_progress: OnProgress | None = None,
    busy_timeout: float = _connect.BUSY_TIMEOUT,
) -> MigrationReport:
    """`migrate` on a connection that `_connect.connect` gave and that goes on as the writer.

    Afterwards, whatever happened, no transaction is open and foreign keys are on.
    """
    began = time.monotonic()
    files = load(directory)
    goal = _goal(target, files)
    try:
        before = check_history(connection, file, files, busy_timeout).version
        if target is not None:
            _refuse_to_go_down(file, before, goal)
    except CwstoreError:
        _connect.skip_checkpoint_on_close(connection, file)
        raise
    run = _Run(connection, file, files, goal, busy_timeout, on_progress, before)
    if file != _connect.MEMORY:  # first: without it others could not even read the version
        _connect.ensure_wal(connection, busy_timeout=busy_timeout)
    if before < goal:
        from cwstore._sqlite.schema.lock import migration_lock

        with migration_lock(file), _unguarded(connection):
            run.apply_all(backup)
    return MigrationReport(
        applied=tuple(step.name for step in run.steps),
        version_before=before,
        version=run.version,
        backup=run.backup,
        seconds=time.monotonic() - began,
        steps=tuple(run.steps),
    )


def check_scripts(
    file: str, directory: str | os.PathLike[str] | None = None, target: int | None = None
) -> None:
    """Read the scripts first, so that bad ones leave no new file behind. Raises MigrationError."""
    files = load(directory)
    goal = _goal(target, files)
    if file == _connect.MEMORY or os.path.lexists(file):
        return
    for script in files[:goal]:
        parse(script)


def _goal(target: object, files: list[MigrationFile]) -> int:
    if target is None:
        return len(files)
    if not is_integer(target):
        raise InvalidValueError("target", f"expected int or None, got {type(target).__name__}")
    if not 0 <= target <= len(files):
        raise InvalidValueError("target", f"must be a version from 0 to {len(files)}")
    return target


def _refuse_to_go_down(file: str, version: int, target: int) -> None:
    if version > target:
        raise MigrationError(
            f"{file} has version {version}; there is no way down to {target}: restore a backup"
        )


def _backup_name(file: str, version: int) -> str | None:
    from cwstore._sqlite.backup import migration_backup

    return migration_backup(file, version) if version and file != _connect.MEMORY else None


@contextmanager
def _unguarded(connection: Connection) -> Generator[None]:
    """Foreign keys off, so that a parent table can be rebuilt, and Ctrl-C let through."""
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.set_progress_handler(go_on, _OPERATIONS)
    try:
        yield
    finally:
        connection.set_progress_handler(None)
        connection.execute("PRAGMA foreign_keys = ON")
        if connection.pragma("foreign_keys") != 1:
            raise StorageError("SQLite did not switch foreign keys on again; open the file anew")


@dataclass(slots=True)
class _Run:
    """One run over the pending scripts."""

    connection: Connection
    file: str
    files: list[MigrationFile]
    goal: int
    busy_timeout: float
    on_progress: OnProgress | None
    version: int  #: that the file had when it was looked at last
    backup: str | None = None
    steps: list[Step] = field(default_factory=list[Step])

    def apply_all(self, backup: bool) -> None:
        """Apply script after script until the goal is reached."""
        while self._apply_next(backup and not self.steps):
            pass

    def _apply_next(self, backup: bool) -> bool:
        """Under one writer lock: read the version, apply the next script. False: none is left."""
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            self.version = check_history(
                connection, self.file, self.files, self.busy_timeout
            ).version
            if self.version >= self.goal:
                return False
            if backup:
                self._back_up()
            following = self.files[self.version]
            self.steps.append(self._apply(following))
            self._commit(following)
            return True
        except apsw.Error as error:
            fault = map_error(error, f"migrating {self.file}", self.busy_timeout)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise fault

    def _back_up(self) -> None:
        """Copy the file, through a second connection, as it is before this transaction."""
        path = _backup_name(self.file, self.version)
        if path is None:
            return
        from cwstore._sqlite.backup import keep_newest, write_backup

        try:
            write_backup(self.file, path, busy_timeout=self.busy_timeout, replace=True)
            keep_newest(self.file, path)
        except StorageError as error:
            raise StorageError(
                f"{error}; nothing was migrated: mend that, or do without a backup (backup=False,"
                " on the command line --no-backup)"
            ) from None
        self.backup = path

    def _commit(self, file: MigrationFile) -> None:
        try:
            self.connection.execute("COMMIT")
            return
        except apsw.Error as error:
            where = f"{self.file}, {file.file_name}"
            fault = commit_fault(error, where, self.busy_timeout)
        raise fault

    def _apply(self, file: MigrationFile) -> Step:
        from cwstore._sqlite.schema.apply import apply_script

        began = time.monotonic()
        of_statements = len(parse(file).statements)

        def notify(statement: int) -> None:
            if self.on_progress:
                self.on_progress(
                    Progress(
                        migration=len(self.steps) + 1,
                        of_migrations=len(self.steps) + self.goal - self.version,
                        name=file.name,
                        statement=statement,
                        of_statements=of_statements,
                        seconds=time.monotonic() - began,
                    )
                )

        rows_changed = apply_script(self.connection, file, notify)
        record(self.connection, file, applied_at=time.time_ns() // 1000)
        return Step(file.name, of_statements, rows_changed, time.monotonic() - began)
