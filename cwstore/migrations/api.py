"""What a user can do with migrations: apply them, see what is pending, rehearse them."""

import os
from functools import partial
from typing import TYPE_CHECKING, cast

from cwstore.core.checks import check_flags, check_progress
from cwstore.core.drivers import engine_for
from cwstore.core.reports import MigrationReport, MigrationStatus, Progress, RehearsalReport, Step
from cwstore.errors import MigrationError, StorageError
from cwstore.migrations.ledger import compatible_from
from cwstore.migrations.runner import (
    OnProgress,
    goal_of,
    read_checked_state,
    refuse_to_go_down,
    upgrade,
)
from cwstore.migrations.scripts import load

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cwstore.migrations.runner import Target

    class _OpenTarget(Target, Protocol):
        """A database that was opened to be migrated or looked at."""

        def backup_path(self, version: int) -> str | None: ...
        def size(self) -> int: ...
        def exposed(self) -> tuple[str, ...]: ...
        def close(self) -> None: ...

    class _Engine(Protocol):
        """The module `schema.target` of an engine."""

        def resolve(self, path: object, /) -> str: ...
        def exists(self, file: str, /) -> bool: ...
        def refuse_bad_place(self, file: str, /) -> None: ...
        def open_target(self, file: str, /) -> _OpenTarget: ...
        def rehearse_on(
            self, file: str, migrate: Callable[[Target], MigrationReport], /
        ) -> RehearsalReport: ...


__all__ = [
    "MigrationReport",
    "MigrationStatus",
    "Progress",
    "RehearsalReport",
    "Step",
    "migrate",
    "rehearse",
    "status",
]


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
    engine = _engine_for(path)
    file = engine.resolve(path)
    check_flags(backup=backup)
    check_progress(on_progress)
    files = load(directory)
    goal = goal_of(target, files)
    if not engine.exists(file):
        for script in files[:goal]:  # now: a bad script shall leave no new file behind
            script.parse()
    database = engine.open_target(file)
    try:
        return upgrade(database, files, target=target, backup=backup, on_progress=on_progress)
    finally:
        database.close()


def status(
    path: str | os.PathLike[str], *, directory: str | os.PathLike[str] | None = None
) -> MigrationStatus:
    """What `migrate` would find and do. Writes nothing and makes no file.

    Raises what `migrate` would raise for the file as it is.
    """
    engine = _engine_for(path)
    file = engine.resolve(path)
    files = load(directory)
    if not engine.exists(file):
        engine.refuse_bad_place(file)
        return MigrationStatus(file, 0, len(files), tuple(f.name for f in files), 0, 0, None)
    database = engine.open_target(file)
    try:
        database.leave_alone()
        state = read_checked_state(database, files)
        pending = tuple(f.name for f in files[state.version :])
        return MigrationStatus(
            path=file,
            version=state.version,
            newest=len(files),
            pending=pending,
            compatible_from=compatible_from(state.rows or []),
            size=database.size(),
            backup=database.backup_path(state.version) if pending else None,
            exposed=database.exposed(),
        )
    finally:
        database.close()


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
    engine = _engine_for(path)
    file = engine.resolve(path)
    check_progress(on_progress)
    files = load(directory)
    goal = goal_of(target, files)
    if not engine.exists(file):
        raise StorageError(f"{file} is not there: nothing to rehearse on; give the path of a file")
    # Refusals name the file, not the copy.
    before = status(file, directory=directory).version
    if target is not None:
        refuse_to_go_down(file, before, goal)
    run = partial(upgrade, files=files, target=target, backup=False, on_progress=on_progress)
    try:
        return engine.rehearse_on(file, run)
    except MigrationError as error:
        raise MigrationError(
            f"rehearsed on a copy of {file}, which was not touched: {error}"
        ) from None


def _engine_for(path: object) -> "_Engine":
    return cast("_Engine", engine_for(path, "schema.target"))
