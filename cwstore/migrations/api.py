"""What a user can do with migrations: apply them, see what is pending, rehearse them."""

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from cwstore.core import public
from cwstore.core.checks import check_flags, check_progress
from cwstore.core.drivers import engine_for
from cwstore.core.extension import Extension, check_extensions
from cwstore.core.faults import loading
from cwstore.core.reports import (
    ExtensionStatus,
    MigrationReport,
    MigrationStatus,
    Progress,
    RehearsalReport,
    Step,
)
from cwstore.errors import StorageError
from cwstore.migrations.ledger import State, compatible_from
from cwstore.migrations.runner import (
    OnProgress,
    goal_of,
    parse_all,
    read_checked_state,
    refuse_to_go_down,
    up_to,
    upgrade_all,
)
from cwstore.migrations.scripts import (
    APPLICATION_ID,
    MigrationFile,
    Program,
    newest,
    scripts_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from cwstore.migrations.runner import Target

    class _OpenTarget(Target, Protocol):
        """A database that was opened to be migrated or looked at."""

        def backup_path(self, version: int) -> str | None: ...
        def extensions(self) -> dict[str, int]: ...
        def size(self) -> int: ...
        def exposed(self) -> tuple[str, ...]: ...
        def close(self) -> None: ...

    class _Engine(Protocol):
        """The module `schema.target` of an engine."""

        def resolve(self, path: object, /) -> str: ...
        def program_for(
            self,
            directory: str | os.PathLike[str] | None,
            application_id: int | None,
            extensions: Sequence[Extension],
            /,
        ) -> Program: ...
        def exists(self, file: str, /) -> bool: ...
        def refuse_bad_place(self, file: str, /) -> None: ...
        def open_target(self, file: str, program: Program, /) -> _OpenTarget: ...
        def open_to_look(self, file: str, program: Program, /) -> _OpenTarget: ...
        def rehearse_on(
            self, file: str, program: Program, migrate: Callable[[Target], MigrationReport], /
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


@public
def migrate(
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    application_id: int = APPLICATION_ID,
    extensions: Sequence[Extension] = (),
    target: int | None = None,
    backup: bool = True,
    on_progress: OnProgress | None = None,
) -> MigrationReport:
    """Apply the pending migrations to a file, which is made first if it is not there.

    `directory` holds the scripts (None: those of cwstore), `application_id` is the number that
    marks the files of that program, `target` is the version to stop at (None: the newest).
    `extensions` follow once the program's own tables are the newest. Each script is applied whole
    or not at all; those before it stay. While another process migrates, this one waits for it.
    With `backup`, a file that is not empty is copied to `<path>.v<version>.bak` first. An exception
    from `on_progress` ends the run and rolls the current script back. Raises MigrationError,
    SchemaTooNewError, ForeignDatabaseError, BusyError, StorageError, CorruptDatabaseError,
    InvalidValueError.
    """
    with loading("migrate"):
        engine = _engine_for(path)
        file = engine.resolve(path)
        program = engine.program_for(directory, application_id, check_extensions(extensions))
        check_flags(backup=backup)
        check_progress(on_progress)
        files = scripts_of(program)
        goal = goal_of(target, files)
        if not engine.exists(file):
            parse_all(program, goal)  # now: a bad script shall leave no new file behind
        database = engine.open_target(file, program)
        try:
            return upgrade_all(
                database, program, target=target, backup=backup, on_progress=on_progress
            )
        finally:
            database.close()


@public
def status(
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    application_id: int = APPLICATION_ID,
    extensions: Sequence[Extension] = (),
) -> MigrationStatus:
    """What `migrate` would find and do. Writes nothing and makes no file.

    Raises what `migrate` would raise for the file as it is.
    """
    with loading("status"):
        engine = _engine_for(path)
        file = engine.resolve(path)
        program = engine.program_for(directory, application_id, check_extensions(extensions))
        files = scripts_of(program)
        if not engine.exists(file):
            engine.refuse_bad_place(file)
            names = tuple(f.name for f in files)
            return MigrationStatus(
                file, 0, newest(files), names, 0, 0, None, extensions=_extensions({}, program)
            )
        database = engine.open_to_look(file, program)
        try:
            database.leave_alone()
            state = read_checked_state(database, files)
            pending = tuple(f.name for f in files if f.version > state.version)
            return MigrationStatus(
                path=database.name,
                version=state.version,
                newest=newest(files),
                pending=pending,
                compatible_from=compatible_from(state.rows or []),
                size=database.size(),
                backup=database.backup_path(state.version) if pending else None,
                exposed=database.exposed(),
                added=_added(database, state, files),
                extensions=_extensions(database.extensions(), program, database),
            )
        finally:
            database.close()


def _extensions(
    there: dict[str, int], program: Program, database: "Target | None" = None
) -> tuple[ExtensionStatus, ...]:
    """Those that the file has and those that are given. Raises as `migrate` would."""
    found = {name: ExtensionStatus(name, version, None, ()) for name, version in there.items()}
    for one in program.extensions:
        files = scripts_of(one)
        version = 0
        if database is not None:
            version = read_checked_state(database.with_program(one), files).version
        pending = tuple(file.name for file in files if file.version > version)
        found[one.extension] = ExtensionStatus(one.extension, version, newest(files), pending)
    return tuple(found[name] for name in sorted(found))


def _added(database: "Target", state: State, files: list[MigrationFile]) -> tuple[str, ...]:
    """What somebody added to the file; nothing where this code does not know what belongs there."""
    noted = state.rows[-1].structure if state.rows else state.structure
    if state.version > newest(files) or noted == state.structure:
        return ()
    return tuple(map(str, database.drift(up_to(state.version, files)).added))


@public
def rehearse(
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    application_id: int = APPLICATION_ID,
    extensions: Sequence[Extension] = (),
    target: int | None = None,
    on_progress: OnProgress | None = None,
) -> RehearsalReport:
    """Apply the pending migrations to a copy in a directory beside the file, and remove it.

    Needs as much room as the file takes. The file is only read. On PostgreSQL it is done in one
    transaction, which is undone; who uses the tables waits meanwhile. Raises what `migrate` would.
    """
    with loading("rehearse"):
        engine = _engine_for(path)
        file = engine.resolve(path)
        check_progress(on_progress)
        program = engine.program_for(directory, application_id, check_extensions(extensions))
        files = scripts_of(program)
        goal = goal_of(target, files)
        if not engine.exists(file):
            raise StorageError(
                f"{file} is not there: nothing to rehearse on; give the path of a file"
            )
        # Refusals name the file, not the copy.
        before = status(
            file, directory=directory, application_id=application_id, extensions=extensions
        ).version
        if target is not None:
            refuse_to_go_down(program, file, before, goal)
        run = partial(
            upgrade_all, program=program, target=target, backup=False, on_progress=on_progress
        )
        return engine.rehearse_on(file, program, run)


def _engine_for(path: object) -> "_Engine":
    return cast("_Engine", engine_for(path, "schema.target"))
