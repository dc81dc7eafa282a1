"""A database that tells a listener of each statement: what repositories get of a store with one."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import currentframe
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from cwstore.core import publish
from cwstore.core.blocks import block
from cwstore.core.repository import Repository, write_in_steps
from cwstore.core.statement import Statement
from cwstore.errors import CwstoreError, InvalidValueError

if TYPE_CHECKING:
    from cwstore.core.port import Database

__all__ = ["StatementRun"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StatementRun:
    """One statement that has run, or the beginning of a transaction."""

    #: The method that ran it, such as "tasks.claim_next_ready"; or "transaction".
    name: str
    seconds: float  #: with the wait, and the commit if it was a transaction of its own
    wait: float  #: seconds until it had the write lock; 0 for a read, and in a transaction
    rows: int  #: that it returned, or else changed; 0 if it failed
    sql: str = ""  #: its text, which holds no bind; "" for the beginning of a transaction
    error: str | None = None  #: the class of the error that it raised; None: none


Listener = Callable[[StatementRun], object]


def check_listener(listener: object) -> None:
    """Raise InvalidValueError unless it can be called."""
    if not callable(listener):
        raise InvalidValueError("on_statement", "expected a callable that takes a StatementRun")


class _Run:
    """A statement that runs. At its end, unless Ctrl-C came, the listener is told."""

    __slots__ = ("_listener", "_sql", "rows", "started", "wait")

    def __init__(self, listener: Listener, sql: str) -> None:
        self._listener = listener
        self._sql = sql
        self.rows = 0
        self.wait = 0.0
        self.started = perf_counter()

    def tell(self, error: type[BaseException] | None = None) -> None:
        """Tell the listener."""
        seconds = perf_counter() - self.started
        if self._sql:
            name = method_that_runs() or "statement"
        else:
            name, seconds = "transaction", self.wait or seconds
        what = None if error is None else error.__name__
        self._listener(StatementRun(name, seconds, self.wait, self.rows, self._sql, what))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, CwstoreError):
            self.tell(kind)


class ObservedDatabase:
    """Runs everything on another database, and tells how long it took."""

    def __init__(self, db: "Database", listener: Listener) -> None:
        self._db = self.observed = db
        self._listener = listener

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        return self._read(statement, lambda: self._db.fetch_one(statement, **binds))

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        """See `core.port`."""
        with _Run(self._listener, statement.text) as run:
            found, state = self._db.look(statement, **binds)
            run.rows = _rows(found)
        return found, state

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        return self._read(statement, lambda: self._db.fetch_all(statement, **binds))

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        """See `core.port`."""
        return self._write(statement, lambda: self._db.insert(statement, **binds))

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        return self._write(statement, lambda: self._db.write_one(statement, **binds))

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        return self._write(statement, lambda: self._db.write_all(statement, **binds))

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        """See `core.port`."""

        def insert() -> int:
            self._db.insert_many(statement, rows)
            return len(rows)

        self._write(statement, insert)

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        """See `core.port`."""
        return self._write(statement, lambda: self._db.execute(statement, **binds))

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        """See `core.port`."""
        return self._write(statement, lambda: self._db.update_one(statement, binds))

    def write_with(
        self,
        statement: Statement[T],
        binds: Mapping[str, object],
        link: str,
        others: Sequence[tuple[Statement[Any], Mapping[str, object]]],
    ) -> T | None:
        """See `core.port`. In steps: the listener is told of each."""
        return write_in_steps(self, statement, binds, link, others)

    def transaction(self) -> AbstractContextManager[None]:
        """See `core.port`."""
        return self._db.transaction() if self._db.in_transaction() else self._begin()

    def in_transaction(self) -> bool:
        """See `core.port`."""
        return self._db.in_transaction()

    def state_token(self) -> object:
        """See `core.port`."""
        return self._db.state_token()

    def vacuum(self) -> None:
        """See `core.port`."""
        self._db.vacuum()

    @block
    def _begin(self) -> Generator[None, None, None]:
        run = _Run(self._listener, "")
        begun = False
        try:
            with self._db.transaction():
                begun = True
                run.wait = perf_counter() - run.started
                run.tell()
                yield
        except CwstoreError as error:
            if not begun:
                run.tell(type(error))
            raise

    def _read(self, statement: Statement[Any], act: Callable[[], T]) -> T:
        with _Run(self._listener, statement.text) as run:
            result = act()
            run.rows = _rows(result)
        return result

    def _write(self, statement: Statement[Any], act: Callable[[], T]) -> T:
        with _Run(self._listener, statement.text) as run:
            if self._db.in_transaction():
                result = act()
            else:
                with self._db.transaction():
                    run.wait = perf_counter() - run.started
                    result = act()
            run.rows = _rows(result)
        return result


def _rows(result: object) -> int:
    if isinstance(result, list):
        return len(cast("list[object]", result))
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    return int(result is not None)


def method_that_runs() -> str:
    """The outermost method of a repository that is being called; "": none is.

    A private one, without its underscore, counts only if no public one has called it: then it is an
    iterator that a public one of this name has given out.
    """
    public = private = ""
    frame = currentframe()
    while frame is not None:
        method = frame.f_code.co_name
        if isinstance(frame.f_locals.get("self"), Repository):
            name = f"{frame.f_globals['__name__'].rpartition('.')[2]}.{method.lstrip('_')}"
            if method.startswith("_"):
                private = name
            else:
                public = name
        frame = frame.f_back
    return public or private


publish(globals())
