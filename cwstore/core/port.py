"""What is asked of an engine. For type checkers only: at run time nobody imports this."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from cwstore.core.statement import Statement

T = TypeVar("T")


class Database(Protocol):
    """Runs statements. Outside `transaction()` each call is a transaction of its own."""

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """The first row of a SELECT, or None."""
        ...

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """Every row of a SELECT."""
        ...

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        """Run an INSERT ... RETURNING that makes one row; that row."""
        ...

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """Run a writing statement with RETURNING; its first row, or None if it met no row."""
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

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is kept or undone as one; nested ones are undone alone."""
        ...

    def in_transaction(self) -> bool:
        """Whether the calling thread has a transaction open."""
        ...

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system. Not inside a transaction."""
        ...
