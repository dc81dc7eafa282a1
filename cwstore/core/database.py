"""A database of a service's own: opened, migrated and looked after, by an engine."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from cwstore import core
from cwstore.core import public
from cwstore.core.checks import check_application_id, check_directory
from cwstore.core.drivers import engine_for
from cwstore.core.faults import loading, refuse_to_leave
from cwstore.core.repository import Handle, Sync

if TYPE_CHECKING:
    from cwstore.core.port import Database as Rows
    from cwstore.core.port import Engine, OpenDatabase

R = TypeVar("R")


@public
class Database:
    """One file. Threads share a database; each process opens its own."""

    def __init__(self, db: "OpenDatabase") -> None:
        self._db = db
        self._rows: Rows = db  # as repositories see it
        #: The file, by its absolute name without symbolic links; ":memory:"; or the address of a
        #: database on a server, without its password.
        self.path = db.file
        #: Number of the newest migration that the file has.
        self.version = db.version

    __reduce__ = refuse_to_leave

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        migrations: str | os.PathLike[str],
        application_id: int,
        clock: Callable[[], datetime] | None = None,
        busy_timeout: float = 5.0,
        durable: bool = False,
        backup: bool = True,
        on_progress: "Callable[[core.Progress], None] | None" = None,
        read_only: bool = False,
        extensions: "Sequence[core.Extension]" = (),
        checkpoints: Literal["own", "external"] = "own",
    ) -> Self:
        """Connect, check that the file is this program's, migrate it if need be.

        `migrations` is the directory with the program's scripts, 0001_name.sql and on.
        `application_id`, from 1 to 0x7fffffff, marks its files, so that no other program takes them
        for its own: four ASCII letters make a good one. Whatever else is given, and the errors, are
        those of `core.Store.open`.
        """
        check_application_id(application_id)
        check_directory("migrations", migrations)
        with loading("open"):
            engine = cast("Engine", engine_for(path))
            db = engine.open_database(
                path,
                migrations=migrations,
                application_id=application_id,
                clock=clock,
                busy_timeout=busy_timeout,
                durable=durable,
                backup=backup,
                on_progress=on_progress,
                extensions=extensions,
                checkpoints=checkpoints,
                read_only=read_only,
            )
        return cls(db)

    def repository(self, kind: Callable[[Handle[Sync]], R]) -> R:
        """A repository of the service's own on this database: `db.repository(WishRepository)`.

        It takes no lock and costs next to nothing. Its methods join in `transaction()`.
        """
        return kind(cast(Any, self._rows))

    def query(self, sql: str, /, **binds: object) -> list[dict[str, Any]]:
        """The rows of a SELECT that is made up on the spot, for notebooks and debuggers.

        Reads what is committed, or in the transaction that this thread has open what that sees.
        Values come as they are stored: times as microseconds since 1970, booleans as 0 and 1; the
        credentials of accounts are None. Binds are what SQLite can store, aware datetimes and
        members of enums. Raises InvalidValueError:
        it is not one statement that reads, SQLite refuses it, a bind is missing, superfluous or of
        another type, or two columns have one name.
        """
        return self._db.query(sql, binds)

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside, by this thread, is kept or undone as one.

        Takes the write lock when it begins (BEGIN IMMEDIATE). A transaction inside it is a
        savepoint: an exception undoes exactly the level that it leaves. Raises BusyError if the
        lock is not free within `busy_timeout`.
        """
        return self._rows.transaction()

    def changes(self, *, capacity: int = 10_000) -> "core.ChangeFeed":
        """Listen to what is committed from now on: iterate, or `get`; close it when done.

        The feed tells table, id and operation of each row that any process of this machine changes,
        also by cascade, in the order of the commits and never before them. Of a commit that cannot
        be told row by row, such as another program's, it says that there was one. If more than
        `capacity` changes wait, they are dropped, and the feed says so.
        """
        return self._db.changes(capacity)

    def data_version(self) -> int:
        """A number that changes when another connection than this store's writer commits."""
        return self._db.data_version()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, as it is at one moment, to a new file. Others may write meanwhile.

        The copy is verified and readable by its owner alone. It appears only when it is complete.
        Raises StorageError (`path` exists or cannot be written), CorruptDatabaseError, BusyError.
        """
        self._db.backup(path)

    def compact(self) -> int:
        """Give the space of deleted rows back to the file system; how many bytes that was.

        A little at a time, so that others can write between, and the write-ahead log at its end,
        unless somebody reads from it just then. 0 for a database in memory. Raises ConflictError
        inside of a transaction, and StorageError if there is free space in a file that cannot
        shrink: it was made without auto_vacuum. PostgreSQL does this by itself, so there it always
        raises StorageError.
        """
        return self._db.compact()

    def check(self) -> "core.CheckReport":
        """Read the whole file; report damage, broken foreign keys, schema drift and additions.

        Repairs nothing. Raises BusyError, so that a file in use is not taken for a damaged one.
        """
        return self._db.check()

    def on_statement(self, listener: "Callable[[core.StatementRun], object] | None") -> None:
        """Call `listener` after each statement that a repository runs; None: no more.

        It tells repositories that are asked of the store from now on. It is called in the thread of
        the call, and in its transaction if there is one: it must be quick, use no store, and not
        raise. Without a listener nothing is paid for it.
        """
        with loading("on_statement"):
            from cwstore.core.observed import ObservedDatabase, check_listener

        plain = getattr(self._rows, "observed", self._rows)
        if listener is None:
            self._rows = plain
        else:
            check_listener(listener)
            self._rows = ObservedDatabase(plain, listener)
        self._forget_repositories()

    def _forget_repositories(self) -> None:
        """See `Repositories`: here none is kept."""

    def health(self) -> "core.HealthReport":
        """Whether the store can do its work: reads, looks at disk and log. It never waits.

        For a readiness probe; it takes some 0.2 ms. It raises nothing: what it finds is a problem.
        """
        return self._db.health()

    def stats(self) -> "core.StoreStats":
        """Rows and bytes of each table, the sizes of the files, and who reads from the log.

        Reads every page of the file.
        """
        return self._db.stats()

    def close(self) -> None:
        """Close every connection; a second call does nothing.

        Waits for the transaction of another thread. Raises ConflictError inside a transaction of
        this thread.
        """
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
