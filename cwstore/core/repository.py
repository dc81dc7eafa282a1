"""What repositories are made of, and how their methods look when called and when awaited."""

from typing import TYPE_CHECKING, Generic, TypeVar

from cwstore.core.faults import no_row, table_of, updated_since

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from datetime import datetime
    from typing import Any, Concatenate, ParamSpec, overload

    from typing_extensions import TypeVar as DefaultTypeVar

    from cwstore.core.port import Database
    from cwstore.core.statement import Patch

T = TypeVar("T")


def row_or_raise(row: T | None, table: str, id: str) -> T:
    """The row; raises NotFoundError if there is none."""
    if row is None:
        raise no_row(table, id)
    return row


def patch_row(
    database: "Database",
    patch: "Patch[T]",
    id: str,
    if_updated_at: "datetime | None",
    values: "Mapping[str, object]",
) -> T:
    """Update the row of that id with the `values`; the row as it is then.

    Raises NotFoundError, InvalidValueError for a key that is no column of the patch, and
    ConflictError if `if_updated_at` is given and is not the row's `updated_at`.
    """
    statement = patch.statement(values, if_updated_at is not None)
    binds = {**values, "id": id}
    if if_updated_at is not None:
        binds["if_updated_at"] = if_updated_at
    row = database.update_one(statement, binds)
    if row is not None:
        return row
    table = table_of(statement.text)
    if if_updated_at is None or database.fetch_one(patch.find, id=id) is None:
        raise no_row(table, id)
    raise updated_since(table, id, if_updated_at)


class Sync:
    """Marks repositories whose methods return their result."""

    __module__ = "cwstore"


class Async:
    """Marks repositories whose methods return an awaitable of it."""

    __module__ = "cwstore"


if TYPE_CHECKING:
    Mode = DefaultTypeVar("Mode", Sync, Async, default=Sync)
else:
    Mode = TypeVar("Mode", Sync, Async)


class Repository(Generic[Mode]):
    """One theme's methods over a database."""

    __slots__ = ("_db",)

    def __init__(self, db: "Database") -> None:
        self._db = db


if TYPE_CHECKING:
    # To a type checker a public method is a descriptor that knows both faces. At run time it is
    # the plain function: calls cost nothing more, and `cwstore.aio.store` wraps them.
    P = ParamSpec("P")
    R_co = TypeVar("R_co", covariant=True)

    class command(Generic[P, R_co]):
        """Marks a public method that may write."""

        def __init__(self, function: Callable[Concatenate[Any, P], R_co]) -> None: ...

        @overload
        def __get__(self, instance: Repository[Sync], owner: object) -> Callable[P, R_co]: ...
        @overload
        def __get__(
            self, instance: Repository[Async], owner: object
        ) -> Callable[P, Coroutine[Any, Any, R_co]]: ...
        def __get__(self, instance: Any, owner: object) -> Any: ...

    class query(command[P, R_co]):
        """Marks a public method that only reads."""

    class lengthy(command[P, R_co]):
        """Marks a public method that may write for long, in many transactions."""

    class stream(Generic[P, R_co]):
        """Marks a public method that reads page by page and returns an iterator."""

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

    def lengthy(function):
        """Mark a public method that may write for long, in many transactions."""
        function.lengthy = True
        return function

    def stream(function):
        """Mark a public method that reads page by page and returns an iterator."""
        function.streams = True
        return function
