"""Open a file, migrate it, and hang the repositories on it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cwstore._sqlite import connection as _connect
from cwstore._sqlite.engine import SqliteDatabase
from cwstore._sqlite.version import version_if_current
from cwstore.core.clock import Clock
from cwstore.migrations.scripts import load

if TYPE_CHECKING:
    from cwstore._sqlite.inspection import CheckReport, StoreStats
    from cwstore.core.changes import ChangeFeed
    from cwstore.core.reports import Progress
    from cwstore.entities.accounts import AccountRepository
    from cwstore.entities.agents import AgentRepository
    from cwstore.entities.change_sets import ChangeSetRepository
    from cwstore.entities.chat_sessions import ChatSessionRepository
    from cwstore.entities.conversations import ConversationRepository
    from cwstore.entities.initiatives import InitiativeRepository
    from cwstore.entities.log_chunks import LogChunkRepository
    from cwstore.entities.messages import MessageRepository
    from cwstore.entities.pages import PageRepository
    from cwstore.entities.phases import PhaseRepository
    from cwstore.entities.projects import ProjectRepository
    from cwstore.entities.proposals import ProposalRepository
    from cwstore.entities.review_comments import ReviewCommentRepository
    from cwstore.entities.tasks import TaskRepository


#: The repositories of a store. Each is imported and made when it is first asked for: a process
#: that opens a store to do one thing (a hook, a command) pays for one.
REPOSITORIES = {
    "initiatives": "InitiativeRepository",
    "phases": "PhaseRepository",
    "tasks": "TaskRepository",
    "agents": "AgentRepository",
    "messages": "MessageRepository",
    "pages": "PageRepository",
    "projects": "ProjectRepository",
    "accounts": "AccountRepository",
    "proposals": "ProposalRepository",
    "log_chunks": "LogChunkRepository",
    "conversations": "ConversationRepository",
    "chat_sessions": "ChatSessionRepository",
    "review_comments": "ReviewCommentRepository",
    "change_sets": "ChangeSetRepository",
}


class Store:
    """All repositories over one file. Threads share a store; each process opens its own."""

    initiatives: "InitiativeRepository"
    phases: "PhaseRepository"
    tasks: "TaskRepository"
    agents: "AgentRepository"
    messages: "MessageRepository"
    pages: "PageRepository"
    projects: "ProjectRepository"
    accounts: "AccountRepository"
    proposals: "ProposalRepository"
    log_chunks: "LogChunkRepository"
    conversations: "ConversationRepository"
    chat_sessions: "ChatSessionRepository"
    review_comments: "ReviewCommentRepository"
    change_sets: "ChangeSetRepository"

    def __init__(self, db: SqliteDatabase, version: int) -> None:
        self._db = db
        #: Number of the newest migration that the file has.
        self.version = version

    def __getattr__(self, name: str) -> object:
        if name not in REPOSITORIES:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        repository: object = getattr(import_module(f"cwstore.entities.{name}"), REPOSITORIES[name])(
            self._db
        )
        setattr(self, name, repository)
        return repository

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *REPOSITORIES]

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], datetime] | None = None,
        busy_timeout: float = 5.0,
        durable: bool = False,
        backup: bool = True,
        on_progress: "Callable[[Progress], None] | None" = None,
    ) -> Self:
        """Connect, check that the file is ours, migrate it if need be.

        A file that does not exist is made, readable by its owner alone; ":memory:" is a database
        of this store's own. `clock` returns aware datetimes. `busy_timeout` (seconds) bounds each
        wait for a lock. With `durable` an acknowledged transaction survives a power cut; without
        it, a crash of the process only. With `backup` a file is copied before it is migrated.
        Raises StorageError, ForeignDatabaseError, SchemaTooNewError, MigrationError, BusyError,
        CorruptDatabaseError; the file is then as it was.
        """
        file = _connect.resolve(path)
        seconds = _connect.check_busy_timeout(busy_timeout)
        stamps = Clock(clock)
        _connect.check_flags(durable=durable, backup=backup)
        _connect.check_progress(on_progress)
        if not os.path.lexists(file):
            for script in load():  # now: a bad script shall leave no new file behind
                script.parse()
        connection = _connect.connect(file, busy_timeout=seconds, durable=durable)
        try:
            version = version_if_current(connection)
            if version is None:
                from cwstore._sqlite.schema.target import SqliteTarget
                from cwstore.migrations.runner import upgrade

                version = upgrade(
                    SqliteTarget(connection, file, seconds),
                    load(),
                    backup=backup,
                    on_progress=on_progress,
                ).version
            db = SqliteDatabase(
                connection, file, clock=stamps, busy_timeout=seconds, durable=durable
            )
        except BaseException:
            connection.close()
            raise
        return cls(db, version)

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside, by this thread, is kept or undone as one.

        It begins at once as a writer (BEGIN IMMEDIATE). A nested one is a savepoint: an exception
        undoes exactly the level that it leaves. Raises BusyError when the lock cannot be had.
        """
        return self._db.transaction()

    def changes(self, *, capacity: int = 10_000) -> "ChangeFeed":
        """Listen to what is committed from now on: iterate, or `get`; close it when done.

        Told are table, id and operation of each row that this store changes, also by cascade, in
        order and never before the commit; and that another store or process has committed
        something. A listener who lets more than `capacity` changes wait loses them and is told so.
        """
        return self._db.changes(capacity)

    def data_version(self) -> int:
        """A number that changes when another connection than this store's writer commits."""
        return self._db.data_version()

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the store, as it is at one moment, to a new file; others go on writing meanwhile.

        The copy is verified, readable by its owner alone, and never there in half. Raises
        StorageError (`path` exists or cannot be written), CorruptDatabaseError, BusyError.
        """
        from cwstore._sqlite.backup import write_backup

        with self._db.lease_reader("backup") as connection:
            write_backup(connection, path, busy_timeout=self._db.busy_timeout)

    def check(self) -> "CheckReport":
        """Read the whole file for damage, foreign keys that lead nowhere and schema drift.

        Repairs nothing. Raises BusyError, so that a file in use is not taken for a damaged one.
        """
        from cwstore._sqlite import inspection as _upkeep

        with self._db.lease_reader("check") as connection:
            return _upkeep.check(connection, self.version, self._db.busy_timeout)

    def stats(self) -> "StoreStats":
        """Rows and bytes of each table, the sizes of the files, and who holds up the log.

        Reads every page of the file.
        """
        from cwstore._sqlite import inspection as _upkeep
        from cwstore._sqlite.lock_holders import log_readers

        readers = log_readers(self._db.file, self._db.open_snapshots())
        with self._db.lease_reader("stats") as connection:
            return _upkeep.stats(
                connection, self._db.file, self.version, self._db.busy_timeout, readers
            )

    def close(self) -> None:
        """Close every connection; a second call does nothing.

        Waits for a transaction of another thread. Raises ConflictError inside of one's own.
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
