"""The port: what a repository may ask of a database, and how its methods look sync and awaited."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from cwstore.core.statement import Patch, Statement
from cwstore.errors import NotFoundError

if TYPE_CHECKING:
    from typing_extensions import TypeVar as DefaultTypeVar

T = TypeVar("T")
P = ParamSpec("P")


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

    def patch(
        self, patch: Patch[T], id: str, if_updated_at: datetime | None, values: Mapping[str, object]
    ) -> T:
        """Update the row of that id. Raises NotFoundError, ConflictError, InvalidValueError."""
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """Everything inside is kept or undone as one; nested ones are undone alone."""
        ...

    def in_transaction(self) -> bool:
        """Whether the calling thread has a transaction open."""
        ...

    def state_token(self) -> object:
        """Equal to an earlier one only if nothing was committed since; None where nobody knows."""
        ...

    def vacuum(self) -> None:
        """Give the space of deleted rows back to the file system. Not inside a transaction."""
        ...


def row_or_raise(row: T | None, table: str, id: str) -> T:
    """The row; raises NotFoundError if there is none."""
    if row is None:
        raise NotFoundError(f"{table}: no row has the id {id!r}", table=table, id=id)
    return row


class Sync:
    """Marks repositories whose methods return their result."""


class Async:
    """Marks repositories whose methods return an awaitable of it."""


if TYPE_CHECKING:
    Mode = DefaultTypeVar("Mode", Sync, Async, default=Sync)
else:
    Mode = TypeVar("Mode", Sync, Async)


class Repository(Generic[Mode]):
    """One theme's methods over a database."""

    __slots__ = ("_db",)

    def __init__(self, db: Database) -> None:
        self._db = db


if TYPE_CHECKING:
    # To a type checker a public method is a descriptor that knows both faces. At run time it is
    # the plain function: calls cost nothing more, and `cwstore.aio.store` wraps them.
    R_co = TypeVar("R_co", covariant=True)

    class command(Generic[P, R_co]):
        def __init__(self, function: Callable[Concatenate[Any, P], R_co]) -> None: ...

        @overload
        def __get__(self, instance: Repository[Sync], owner: object) -> Callable[P, R_co]: ...
        @overload
        def __get__(
            self, instance: Repository[Async], owner: object
        ) -> Callable[P, Coroutine[Any, Any, R_co]]: ...
        def __get__(self, instance: Any, owner: object) -> Any: ...

    class query(command[P, R_co]): ...

    class stream(Generic[P, R_co]):
        def __init__(self, function: Callable[Concatenate[Any, P], Iterator[R_co]]) -> None: ...

        @overload
        def __get__(
            self, instance: Repository[Sync], owner: object
        ) -> Callable[P, Iterator[R_co]]: ...
        @overload
        def __get__(
            self, instance: Repository[Async], owner: object
        ) -> Callable[P, AsyncIterator[R_co]]: ...
        def __get__(self, instance: Any, owner: object) -> Any: ...

else:

    def command(function):
        """Mark a public method that may write."""
        return function

    def query(function):
        """Mark a public method that only reads."""
        function.reads = True
        return function

    def stream(function):
        """Mark a public method that reads page by page and returns an iterator."""
        function.streams = True
        return function
