"""The threads of an AsyncStore. No call waits for another unless both need the same lock.

Point reads have one thread and small writes have one: to change threads takes longer than to read
from a file. Reads from a server have many, for each waits for a round trip. Lists, whole
transactions, and work on many rows or on the whole file may take longer: they have threads of their
own.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cwstore.aio.workers import Call, Worker
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore.aio.workers import Loop

P = ParamSpec("P")
T = TypeVar("T")

_LISTS = 4  # threads; more at once take Python's lock from each other
_READS_OF_SERVER = 16  # threads; with 1 ms a round trip 11 times the reads of one
_TRANSACTIONS = 8  # threads that wait for the write lock, each for its own busy timeout
_ITEMS_A_HOP = 500  # that a stream brings over at once


class Pool:
    """Some workers. A call makes another one when all are busy, up to `most`."""

    def __init__(self, loop: "Loop", name: str, most: int) -> None:
        self._loop = loop
        self._name = name
        self._most = most
        self.workers: list[Worker] = []

    def pick(self) -> Worker:
        """A worker that rests, a new one, or the one with the fewest calls to run.

        Raises StorageError if there is none and none can be made.
        """
        least = min(self.workers, key=lambda worker: worker.load, default=None)
        if least is None or (least.load and len(self.workers) < self._most):
            try:
                least = Worker(self._loop, self._name)
                self.workers.append(least)
            except StorageError:
                if least is None:
                    raise
        return least

    def run(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """As `Worker.run`."""
        return self.run_call(Call(function, args, kwargs))

    async def run_call(self, call: Call) -> Any:
        """As `Worker.run_call`."""
        self.refuse()
        return await self.pick().run_call(call)

    def refuse(self) -> None:
        """As `Worker.refuse`: they are all stopped together."""
        if self.workers:
            self.workers[0].refuse()


class Lanes:
    """Which thread runs what."""

    def __init__(self, loop: "Loop", writes: Worker, *, of_server: bool) -> None:
        self.loop = loop
        self.writes = writes
        self.lists = Pool(loop, "cwstore lists", _READS_OF_SERVER if of_server else _LISTS)
        if of_server:
            self.points: Pool | Worker = Pool(loop, "cwstore reader", _READS_OF_SERVER)
            self.points.pick()
        else:
            # They log nothing, unless one takes more than a second; context makes them 4 % slower.
            self.points = Worker(loop, "cwstore reader", carries_context=False)
        self.transactions = Pool(loop, "cwstore transactions", _TRANSACTIONS)
        self._aside: set[Worker] = set()

    def workers(self) -> list[Worker]:
        """All of them, those that write last."""
        return [
            *([self.points] if isinstance(self.points, Worker) else self.points.workers),
            *self.lists.workers,
            *self._aside,
            *self.transactions.workers,
            self.writes,
        ]

    async def aside(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a long call on a thread of its own."""
        self.writes.refuse()
        worker = Worker(self.loop, "cwstore aside")
        self._aside.add(worker)
        try:
            return await worker.run(function, *args, **kwargs)
        finally:
            self._aside.discard(worker)
            worker.stop()

    async def read_many(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a read that may return many rows."""
        self.points.refuse()
        return await self.lists.run(function, *args, **kwargs)

    async def stream(
        self, method: Callable[..., Iterator[T]], /, *args: Any, **kwargs: Any
    ) -> AsyncIterator[T]:
        """Yield the items of the iterator, which runs on a worker and hands over many at a time."""
        iterator: Iterator[T] = await self.read_many(method, *args, **kwargs)
        take: Callable[[], list[T]] = partial(_take, iterator)
        while items := await self.read_many(take):
            for item in items:
                yield item


def _take(iterator: Iterator[T]) -> list[T]:
    return list(islice(iterator, _ITEMS_A_HOP))
