"""The store: the database with the repositories of Codewalkers."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from cwstore import core
from cwstore.core import public
from cwstore.core.checks import check_flags, check_id
from cwstore.core.database import Database
from cwstore.core.drivers import engine_for
from cwstore.core.faults import loading
from cwstore.core.repository import Sync
from cwstore.entities.registry import Repositories, repository_class
from cwstore.migrations.scripts import APPLICATION_ID

if TYPE_CHECKING:
    from typing import Protocol

    from cwstore.core.port import Engine, OpenDatabase

    class _Restores(Protocol):
        """The module `restore` of an engine."""

        def restore(
            self,
            backup: str | os.PathLike[str],
            path: str | os.PathLike[str],
            directory: str | os.PathLike[str] | None,
            application_id: int,
            /,
        ) -> core.RestoreReport: ...


@public
class Store(Repositories[Sync], Database):
    """All repositories over one file. Threads share a store; each process opens its own."""

    def __init__(self, db: "OpenDatabase", secrets: "core.SecretCodec | None" = None) -> None:
        super().__init__(db)
        if secrets is not None:
            from cwstore.core.sealed_database import SealedDatabase

            self._rows = SealedDatabase(db, secrets)

    _repository_class = staticmethod(repository_class)

    def _make_repository(self, attribute: str) -> Any:
        """The repository for an attribute that is asked for the first time."""
        return repository_class(attribute)(self._rows)

    # Its migrations and its mark are known: unlike `Database.open` it does not take them.
    @classmethod
    def open(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], datetime] | None = None,
        busy_timeout: float = 5.0,
        durable: bool = False,
        backup: bool = True,
        on_progress: "Callable[[core.Progress], None] | None" = None,
        read_only: bool = False,
        extensions: "Sequence[core.Extension]" = (),
        checkpoints: Literal["own", "external"] = "own",
        secrets: "core.SecretCodec | None" = None,
    ) -> Self:
        """Connect, check that the file is ours, migrate it if need be.

        A file that does not exist is made, readable by its owner alone; ":memory:" is a database
        of this store's own. `clock` returns aware datetimes. `busy_timeout` (seconds) bounds each
        wait for a lock. With `durable` an acknowledged transaction survives a power cut; without
        it, a crash of the process only. With `backup` a file is copied before it is migrated.
        With `read_only` it takes no permission to write, makes no file and does not migrate: what
        would write raises StorageError, and a transaction is one moment of the file.
        `secrets` keeps `credentials` and `config_json` of accounts encoded in the file.
        `extensions` bring a service's own tables into the file.
        With `checkpoints="external"` another program moves the write-ahead log into the file, such
        as Litestream; this store never does, and the log grows while that program does not run.
        Raises StorageError, ForeignDatabaseError, SchemaTooNewError, MigrationError, BusyError,
        CorruptDatabaseError; the file is then as it was.
        """
        with loading("open"):
            if secrets is not None:
                from cwstore.core.sealing import check_codec

                check_codec(secrets)
            engine = cast("Engine", engine_for(path))
            db = engine.open_database(
                path,
                clock=clock,
                busy_timeout=busy_timeout,
                durable=durable,
                backup=backup,
                on_progress=on_progress,
                extensions=extensions,
                checkpoints=checkpoints,
                read_only=read_only,
            )
            return cls(db, secrets)

    def export_initiative(self, initiative_id: str, *, logs: bool = False) -> Iterator[str]:
        """Lines of JSON: the initiative, all that hangs on it, and with `logs` its agents' logs.

        Ids and times stay. Accounts are left out, and credentials with them. All is of one moment,
        however long it takes; until the iterator is used up or closed the write-ahead log cannot
        shrink. Raises NotFoundError, and ConflictError inside of a transaction, at the first line.
        """
        with loading("export_initiative"):
            from cwstore._transfer.exporting import export_lines

        check_id("initiative_id", initiative_id)
        check_flags(logs=logs)
        open_snapshot = partial(self._db.snapshot, "export")
        return export_lines(open_snapshot, initiative_id, self.version, logs=logs)

    def import_initiative(
        self, lines: Iterable[str], *, on_conflict: Literal["error", "skip"] = "error"
    ) -> "core.ImportReport":
        """Store what `export_initiative` gave, with its ids and times, as one transaction.

        `lines` is read one by one, so it may be an open file. References to what is neither in the
        file nor here become NULL, an account say; edges between tasks are left out. Of what is here
        already "error" raises ConflictError; "skip" keeps it and adds the rest, uses a project of
        the same url, and gives another name to an agent whose name is taken. An error names its
        line, and nothing is stored: InvalidValueError, MissingReferenceError, CycleError.
        """
        with loading("import_initiative"):
            from cwstore._transfer.importing import import_lines

        return import_lines(self._db, lines, on_conflict, self.version)


@public
def restore(
    backup: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    application_id: int = APPLICATION_ID,
) -> "core.RestoreReport":
    """Put a verified copy of a backup in the place of a store's file.

    `directory` and `application_id` are those of a `Database`, as for `core.migrate`.
    The file that was there is kept beside it under another name, with its write-ahead log, of which
    nothing is ever applied to the copy. The copy gets its mode and, if this user may, its owner.
    Whenever this is interrupted, the one or the other file is there, whole; then run it again.
    Raises BusyError while anybody has the file open, CorruptDatabaseError (the backup is damaged),
    ForeignDatabaseError, SchemaTooNewError, MigrationError, StorageError; nothing is changed then.
    """
    with loading("restore"):
        engine_for(backup, "restore")  # an address is no backup
        engine = cast("_Restores", engine_for(path, "restore"))
        return engine.restore(backup, path, directory, application_id)
