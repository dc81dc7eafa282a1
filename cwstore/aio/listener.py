"""What is committed through a store, told to a task change by change."""

from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cwstore.aio.workers import Worker, running_loop
from cwstore.errors import StoreClosedError

if TYPE_CHECKING:
    from cwstore.core.changes import Change, ChangeFeed

_POLL = 0.1  # seconds that a wait may last; a cancelled listener notices within them


class Listener(AsyncIterator["Change"]):
    """The changes of a feed, awaited. It owns the feed."""

    def __init__(self, feed: "ChangeFeed") -> None:
        self._feed = feed
        self._waiting: deque[Change] = deque()
        self._worker = Worker(running_loop(), "cwstore changes")

    async def __anext__(self) -> "Change":
        self._worker.refuse_elsewhere()
        while not self._waiting:
            try:
                await self._worker.run(self._fetch)
            except StoreClosedError:
                self.stop()
                raise StopAsyncIteration from None
        return self._waiting.popleft()

    def _fetch(self) -> None:
        # Kept here and not returned: the result of a call that is cancelled is lost.
        self._waiting.extend(self._feed.get(_POLL))

    async def aclose(self) -> None:
        """Stop listening; a second call does nothing."""
        self._waiting.clear()
        self.stop()

    def stop(self) -> None:
        """As `aclose`, from any thread."""
        self._worker.stop(self._feed.close)

    __del__ = stop
