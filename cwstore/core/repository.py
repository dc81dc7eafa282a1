"""What repositories are made of, and how their methods look when called and when awaited."""

from typing import TYPE_CHECKING, Generic, TypeVar, cast

from cwstore.core import public
from cwstore.core.checks import check_id, check_limit
from cwstore.core.faults import no_place, no_row, refuse_to_leave, table_of, updated_since
from cwstore.core.statement import Paging
from cwstore.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any, Concatenate, Literal, ParamSpec, overload

    from typing_extensions import TypeVar as DefaultTypeVar

    from cwstore.core.port import Database
    from cwstore.core.statement import Listing, Patch, Statement

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

    Raises NotFoundError, InvalidValueError for a key that is no column of the patch, ConflictError
    if `if_updated_at` is given and is not the row's `updated_at`, and SecretError if a secret that
    it would write over cannot be read.
    """
    statement = patch.statement(values, if_updated_at is not None)
    binds = {**values, "id": id}
    if if_updated_at is not None:
        binds["if_updated_at"] = if_updated_at
    if statement.seals:
        with database.transaction():
            database.fetch_one(patch.find, id=id)  # SecretError: who cannot read it keeps it
            row = database.update_one(statement, binds)
    else:
        row = database.update_one(statement, binds)
    if row is not None:
        return row
    table = table_of(statement.text)
    if if_updated_at is None or database.fetch_one(patch.find, id=id) is None:
        raise no_row(table, id)
    raise updated_since(table, id, if_updated_at)


def write_in_steps(
    database: "Database",
    statement: "Statement[T]",
    binds: "Mapping[str, object]",
    link: str,
    others: "Sequence[tuple[Statement[Any], Mapping[str, object]]]",
) -> T | None:
    """`Database.write_with`, where one statement after another is run."""
    with database.transaction():
        row = database.write_one(statement, **binds)
        if row is not None:
            its_id = {link: cast("Any", row).id}
            for other, its_binds in others:
                database.execute(other, **its_binds, **its_id)
        return row


def fetch_page(
    database: "Database", listing: "Listing[T]", paging: "Mapping[str, Any]", /, **binds: object
) -> list[T]:
    """The part of a list that `paging` asks for: see `Paging`.

    Raises NotFoundError if the row that it begins after or ends before does not exist any more, and
    InvalidValueError for an unknown key, or if `limit` or `after` is mixed with `last` or `before`.
    """
    if not paging:
        return database.fetch_all(listing, **binds)
    for key in paging:
        if key not in Paging.__annotations__:
            raise InvalidValueError(key, f"pages take: {', '.join(Paging.__annotations__)}")
    limit, after, last, before = map(paging.get, ("limit", "after", "last", "before"))
    if last is None and before is None:
        binds["limit"] = check_limit(limit)
        if after is None:
            return database.fetch_all(listing.page("first"), **binds)
        place = _place(database, listing, "after", after)
        return _beyond(database, listing, "after", place | binds)
    if limit is not None or after is not None:
        field = "before" if last is None else "last"
        raise InvalidValueError(field, "goes with neither limit nor after: leave those out")
    binds["limit"] = check_limit(last, "last")
    if before is None:
        rows = database.fetch_all(listing.page("last"), **binds)
    else:
        place = _place(database, listing, "before", before)
        rows = _beyond(database, listing, "before", place | binds)
    rows.reverse()
    return rows


def _beyond(
    database: "Database",
    listing: "Listing[T]",
    kind: "Literal['after', 'before']",
    binds: dict[str, object],
) -> list[T]:
    """The page that begins after a place, or ends before it.

    As a rule rows of its rank fill the page: then none has to be kept aside and sorted.
    """
    if listing.ranked:
        in_rank = listing.page("after in rank" if kind == "after" else "before in rank")
        rows = database.fetch_all(in_rank, **binds)
        if len(rows) == binds["limit"]:
            return rows
    return database.fetch_all(listing.page(kind), **binds)


def _place(
    database: "Database", listing: "Listing[Any]", field: str, value: object
) -> dict[str, object]:
    """The binds of the place in a list where a page begins or ends."""
    if listing.find is None:
        return {field: value}
    check_id(field, value)
    row = database.fetch_one(listing.find, id=value)
    if row is None:
        raise no_place(table_of(listing.find.text), field, str(value))
    return {f"from_{name}": getattr(row, name) for name in listing.fields}


@public
class Sync:
    """Marks repositories whose methods return their result."""


@public
class Async:
    """Marks repositories whose methods return an awaitable of it."""


if TYPE_CHECKING:
    Mode = DefaultTypeVar("Mode", Sync, Async, default=Sync)
else:
    Mode = TypeVar("Mode", Sync, Async)


class Handle(Generic[Mode]):
    """What a repository is made with. It tells type checkers which face the methods show."""


class Repository(Generic[Mode]):
    """One theme's methods over a database, which they reach through `self._db`.

    A service hangs up its own by `store.repository(WishRepository)`; the class has no `__init__` of
    its own. Its public methods are marked: `command`, `query`, `lengthy` or `stream`.
    """

    __slots__ = ("_db",)

    __reduce__ = refuse_to_leave

    def __init__(self, db: "Handle[Mode] | Database") -> None:
        self._db = cast("Database", db)


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
