"""AsyncDatabase: a database, awaited; under asyncio, and under trio through anyio."""

import os
import warnings
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from datetime import datetime
from functools import partial
from inspect import iscoroutine
from threading import Lock
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, cast

from cwstore import core
from cwstore.aio.awaited import awaited
from cwstore.aio.lanes import Lanes
from cwstore.aio.listener import AsyncChangeFeed, Listeners
from cwstore.aio.workers import Call, CancelledInTimeError, Worker, running_loop
from cwstore.core import public
from cwstore.core.database import Database
from cwstore.core.drivers import is_address
from cwstore.core.faults import refuse_to_leave
from cwstore.core.repository import Async, Handle
from cwstore.errors import InvalidValueError, StorageError

R = TypeVar("R")
T = TypeVar("T")


@public
class AsyncDatabase:
    """A database whose calls run on threads of its own: see `lanes`.

    A cancelled call either had not begun, and then nothing happened, or it is waited for; a
    transaction that was cancelled before its commit is rolled back. The exception carries a note
    that says which. A store belongs to the event loop that opened it: elsewhere its calls raise
    ConflictError; once that loop is closed, another may close the store.
    """

    def __init__(self, store: Database, lanes: Lanes) -> None:
        self._store = store
        self._lanes = lanes
        self._closing = Lock()
        self._listeners = Listeners(lanes.loop)
        #: The file, by its absolute name without symbolic links; ":memory:"; or the address of a
        #: database on a server, without its password.
        self.path = store.path
        #: Number of the newest migration that the file has.
        self.version = store.version

    __reduce__ = refuse_to_leave

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r}>"

    @classmethod
    async def open(
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
        """As `Database.open`; `clock` and `on_progress` are called on a thread of the database."""
        options = {
            "migrations": migrations,
            "application_id": application_id,
            "clock": clock,
            "busy_timeout": busy_timeout,
            "durable": durable,
            "backup": backup,
            "on_progress": on_progress,
            "read_only": read_only,
            "extensions": extensions,
            "checkpoints": checkpoints,
        }
        return await cls._open(Database.open, path, options)

    @classmethod
    async def _open(
        cls, function: Callable[..., Database], path: object, options: dict[str, Any]
    ) -> Self:
        loop = running_loop()
        writer = Worker(loop, "cwstore writer")
        call = Call(function, (path,), options)
        try:
            store: Database = await writer.run_call(call)
        except BaseException:
            # A call that was cancelled while it ran has opened a store all the same.
            if call.result is not None:
                writer.stop(call.result.close)
            writer.stop()
            raise
        try:
            return cls(store, Lanes(loop, writer, of_server=is_address(path)))
        except StorageError:  # no further thread can be started
            await writer.run(store.close)
            writer.stop()
            raise

    def repository(self, kind: Callable[[Handle[Async]], R]) -> R:
        """As `Database.repository`; the methods are awaited."""
        plain: Any = self._store.repository(cast(Any, kind))
        return cast(R, awaited(plain, self._lanes))

    async def query(self, sql: str, /, **binds: object) -> list[dict[str, Any]]:
        """As `Database.query`."""
        return await self._lanes.read_many(self._store.query, sql, **binds)

    async def transaction(self, work: Callable[[Any], T]) -> T:
        """Run `work(tx)` as one transaction and return what it returns.

        `work` is plain code: it is called on a thread of the store with the synchronous store,
        whose methods join in the transaction, and sees the caller's context variables. Everything
        is kept, or undone if it raises. Tasks that call this at once take turns; who waits for
        longer than the busy timeout gets BusyError.
        """
        if not callable(work):
            raise InvalidValueError("work", f"expected a function, got {type(work).__name__}")
        call = Call(self._transact, (), {})
        call.args = (work, copy_context(), call)
        call.endless = True
        self._lanes.writes.refuse()
        return cast(T, await self._lanes.transactions.pick().run_call(call))

    def _transact(self, work: Callable[[Database], T], context: Context, call: Call) -> T:
        with self._store.transaction():
            result = context.run(work, self._store)
            if iscoroutine(result):
                result.close()
                raise InvalidValueError("work", "must be a plain function, not a coroutine")
            if call.abandoned:
                raise CancelledInTimeError
            return result

    async def changes(self, *, capacity: int = 10_000) -> AsyncChangeFeed:
        """As `Store.changes`: `async for change in await store.changes()`.

        It listens from when this returns until the iterator is closed (`aclose`) or dropped, or
        the store is closed. A task that is cancelled while it waits for a change loses none.
        """
        call = Call(self._store.changes, (), {"capacity": capacity})
        try:
            return AsyncChangeFeed(await self._lanes.writes.run_call(call), self._listeners)
        except BaseException:
            # A call that was cancelled while it ran has begun to listen all the same.
            if call.result is not None:
                call.result.close()
            raise

    async def data_version(self) -> int:
        """A number that changes when another connection than this store's writer commits."""
        return await self._lanes.writes.run(self._store.data_version)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """As `Store.backup`; other calls go on meanwhile."""
        await self._lanes.aside(self._store.backup, path)

    async def compact(self) -> int:
        """As `Store.compact`; other calls go on meanwhile."""
        return await self._lanes.aside(self._store.compact)

    async def check(self) -> "core.CheckReport":
        """As `Store.check`; other calls go on meanwhile."""
        return await self._lanes.aside(self._store.check)

    def on_statement(self, listener: "Callable[[core.StatementRun], object] | None") -> None:
        """As `Store.on_statement`; the listener is called on threads of the store.

        It sees the context variables of the task that has made the call.
        """
        self._lanes.loop.carries_context = listener is not None
        self._store.on_statement(listener)
        self._forget_repositories()

    def _forget_repositories(self) -> None:
        """See `Repositories`: here none is kept."""

    async def health(self) -> "core.HealthReport":
        """As `Store.health`."""
        return await self._lanes.read_many(self._store.health)

    async def stats(self) -> "core.StoreStats":
        """As `Store.stats`; other calls go on meanwhile."""
        return await self._lanes.aside(self._store.stats)

    async def close(self) -> None:
        """Wait for every call that was made, then close; a second call waits for the first.

        Once begun it is carried through: a task that is cancelled meanwhile waits for it, too.
        Does nothing in a forked child.
        """
        writes = self._lanes.writes
        if writes.is_inherited():
            return
        writes.refuse_elsewhere(over=True)
        workers = self._lanes.workers()
        try:
            closing = Worker(running_loop(), "cwstore closing")
        except StorageError:  # closing must not need what the system may refuse
            await self._close_on_writer(workers)
            return
        for worker in workers:
            worker.stop()
        call = Call(self._close, (workers,), {})
        call.certain = True
        try:
            await closing.run_call(call)
        finally:
            closing.stop()

    async def _close_on_writer(self, workers: list[Worker]) -> None:
        """Close on the thread that writes, as its last work; looks again and again for its end."""
        *others, writes = workers
        for worker in others:
            worker.stop()
        writes.stop(partial(_close_after, others, self._store))
        loop = running_loop()
        while not writes.has_ended():
            await loop.wait_for(loop.event(), 0.005)

    def _close(self, workers: list[Worker]) -> None:
        with self._closing:
            for worker in workers:
                worker.join()
            self._store.close()

    def __del__(self) -> None:
        lanes = getattr(self, "_lanes", None)  # None: it was never opened
        if lanes is None or lanes.writes.is_closed() or lanes.writes.is_inherited():
            return
        *others, writes = lanes.workers()
        for worker in others:
            worker.stop()
        writes.stop(partial(_close_after, others, self._store))
        warnings.warn(
            f"{self!r} was not closed; use `async with` or await its close()",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _close_after(workers: list[Worker], store: Database) -> None:
    for worker in workers:
        worker.join()
    store.close()
