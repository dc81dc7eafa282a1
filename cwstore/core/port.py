"""What an engine must offer. Only type checkers import this module."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from cwstore.core.changes import ChangeFeed
from cwstore.core.extension import Extension
from cwstore.core.health_report import HealthReport
from cwstore.core.reports import CheckReport, Progress, StoreStats
from cwstore.core.statement import Statement

T = TypeVar("T")


class Database(Protocol):
    """Runs statements. Outside `transaction()` each call is a transaction of its own."""

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """The first row of a SELECT, or None."""
        ...

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        """As `fetch_one`, for a look that is followed by a write: it may read where that writes.

        And a token of the state that it saw; None: unknown.
        """
        ...

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """Every row of a SELECT."""
        ...

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        """Run an INSERT ... RETURNING of one row and return the row."""
        ...

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """Run a writing statement with RETURNING; its first row, or None if it matched no row."""
        ...

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """Run a writing statement with RETURNING; all its rows."""
        ...

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        """Run an INSERT without RETURNING once for each row's binds, as one transaction."""
        ...

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        """Run a writing statement; the number of rows it changed."""
        ...

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        """As `write_one`, with the binds as a mapping."""
        ...

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        """As `write_one`, and if there is a row, the `others` with it: all of them, or nothing.

        `link` is a bind of each of the others: the id of that row. An engine may run them also if
        there is none; it is NULL then, and they must change nothing.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is kept or undone as one; nested ones are undone alone."""
        ...

    def in_transaction(self) -> bool:
        """Whether the calling thread has a transaction open."""
        ...

    def state_token(self) -> object:
        """Of the state in which the transaction that this thread has open began; None: unknown.

        Equal to the token of a `look` only if nothing was committed between.
        """
        ...

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system. Not inside a transaction."""
        ...


class Snapshot(Protocol):
    """Reads what was committed at one moment, while others write."""

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """The first row of a SELECT, or None."""
        ...

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """Every row of a SELECT."""
        ...

    def iterate(self, statement: Statement[T], /, **binds: object) -> Iterator[T]:
        """The rows of a SELECT one after another, for those that are too many for a list."""
        ...


class OpenDatabase(Database, Protocol):
    """What a store needs besides. Each method does what the method of `Store` of that name says."""

    @property
    def file(self) -> str:
        """Where the database lies, as `Store.path` tells it; no password."""
        ...

    @property
    def version(self) -> int:
        """Number of the newest migration that the database has."""
        ...

    def snapshot(self, what: str) -> AbstractContextManager[Snapshot]:
        """Lend a connection that sees one moment; it blocks nobody, but the log cannot shrink.

        `what` is told by `Store.stats` as long as it is open. Not inside of a transaction.
        """
        ...

    def query(self, sql: str, binds: Mapping[str, object]) -> list[dict[str, Any]]:
        """See `Database.query`."""
        ...

    def changes(self, capacity: int) -> ChangeFeed:
        """See `Store.changes`."""
        ...

    def data_version(self) -> int:
        """See `Store.data_version`."""
        ...

    def backup(self, path: str | os.PathLike[str]) -> None:
        """See `Store.backup`."""
        ...

    def compact(self) -> int:
        """See `Store.compact`."""
        ...

    def check(self) -> CheckReport:
        """See `Store.check`."""
        ...

    def health(self) -> HealthReport:
        """See `Store.health`."""
        ...

    def stats(self) -> StoreStats:
        """See `Store.stats`."""
        ...

    def close(self) -> None:
        """See `Store.close`."""
        ...


class Engine(Protocol):
    """What the module `engine` of each engine has."""

    def open_database(
        self,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], datetime] | None,
        busy_timeout: float,
        durable: bool,
        backup: bool,
        on_progress: Callable[[Progress], None] | None,
        migrations: str | os.PathLike[str] | None = None,
        application_id: int | None = None,
        extensions: Sequence[Extension] = (),
        checkpoints: Literal["own", "external"] = "own",
        read_only: bool = False,
    ) -> OpenDatabase:
        """Open what `path` names, migrated if need be. See `Store.open` and `Database.open`.

        Without `migrations` and `application_id` it is a file of cwstore.
        """
        ...
