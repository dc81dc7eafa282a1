"""A database that tells a listener of each statement: what repositories get of a store with one."""

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from inspect import currentframe
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cwstore.core import publish
from cwstore.core.repository import Repository
from cwstore.core.statement import Statement
from cwstore.errors import InvalidValueError

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
    rows: int  #: that it returned, or else changed


Listener = Callable[[StatementRun], object]


def check_listener(listener: object) -> None:
    """Raise InvalidValueError unless it can be called."""
    if not callable(listener):
        raise InvalidValueError("on_statement", "expected a callable that takes a StatementRun")


class ObservedDatabase:
    """Runs everything on another database, and tells how long it took."""

    def __init__(self, db: "Database", listener: Listener) -> None:
        self._db = self.observed = db
        self._tell = listener

    def fetch_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        return self._read(lambda: self._db.fetch_one(statement, **binds))

    def look(self, statement: Statement[T], /, **binds: object) -> tuple[T | None, object]:
        """See `core.port`."""
        started = perf_counter()
        found, state = self._db.look(statement, **binds)
        self._tell(StatementRun(_name(), perf_counter() - started, 0.0, _rows(found)))
        return found, state

    def fetch_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        return self._read(lambda: self._db.fetch_all(statement, **binds))

    def insert(self, statement: Statement[T], /, **binds: object) -> T:
        """See `core.port`."""
        return self._write(lambda: self._db.insert(statement, **binds))

    def write_one(self, statement: Statement[T], /, **binds: object) -> T | None:
        """See `core.port`."""
        return self._write(lambda: self._db.write_one(statement, **binds))

    def write_all(self, statement: Statement[T], /, **binds: object) -> list[T]:
        """See `core.port`."""
        return self._write(lambda: self._db.write_all(statement, **binds))

    def insert_many(self, statement: Statement[Any], rows: list[dict[str, Any]]) -> None:
        """See `core.port`."""

        def insert() -> int:
            self._db.insert_many(statement, rows)
            return len(rows)

        self._write(insert)

    def execute(self, statement: Statement[Any], /, **binds: object) -> int:
        """See `core.port`."""
        return self._write(lambda: self._db.execute(statement, **binds))

    def update_one(self, statement: Statement[T], binds: Mapping[str, object]) -> T | None:
        """See `core.port`."""
        return self._write(lambda: self._db.update_one(statement, binds))

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

    @contextmanager
    def _begin(self) -> Generator[None, None, None]:
        started = perf_counter()
        with self._db.transaction():
            wait = perf_counter() - started
            self._tell(StatementRun("transaction", wait, wait, 0))
            yield

    def _read(self, run: Callable[[], T]) -> T:
        started = perf_counter()
        result = run()
        self._tell(StatementRun(_name(), perf_counter() - started, 0.0, _rows(result)))
        return result

    def _write(self, run: Callable[[], T]) -> T:
        started = perf_counter()
        wait = 0.0
        if self._db.in_transaction():
            result = run()
        else:
            with self._db.transaction():
                wait = perf_counter() - started
                result = run()
        self._tell(StatementRun(_name(), perf_counter() - started, wait, _rows(result)))
        return result


def _rows(result: object) -> int:
    if isinstance(result, list):
        return len(cast("list[object]", result))
    if isinstance(result, int) and not isinstance(result, bool):
        return result
    return int(result is not None)


def _name() -> str:
    return method_that_runs() or "statement"


def method_that_runs() -> str:
    """The outermost method of a repository that is being called; "": none is."""
    name = ""
    frame = currentframe()
    while frame is not None:
        method = frame.f_code.co_name
        if not method.startswith("_") and isinstance(frame.f_locals.get("self"), Repository):
            name = f"{frame.f_globals['__name__'].rpartition('.')[2]}.{method}"
        frame = frame.f_back
    return name


publish(globals())
