"""The feed of changes, awaited: any number of tasks listen, and no thread is theirs.

What a commit publishes wakes the loop once for all feeds. One thread looks for all of them whether
another process has committed; it ends with the last feed.
"""

import math
import threading
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

from cwstore import core
from cwstore.aio.workers import begin_thread, refuse_elsewhere
from cwstore.core import public
from cwstore.core.changes import LOOK_INTERVAL, seconds_of
from cwstore.core.clock import real_time as time
from cwstore.core.faults import refuse_to_leave
from cwstore.errors import StoreClosedError

if TYPE_CHECKING:
    from cwstore.aio.workers import Loop
    from cwstore.core.changes import Change, ChangeFeed


@public
class AsyncChangeFeed:
    """As `ChangeFeed`, awaited: `async for change in feed`, or `await feed.get()`.

    Close it when done: by `async with`, or by `aclose`; one that nobody refers to any more is
    closed. A task that is cancelled while it waits for a change loses none. Tasks may share a feed;
    each change goes to one of them.
    """

    __reduce__ = refuse_to_leave

    def __init__(self, feed: "ChangeFeed", listeners: "Listeners") -> None:
        self._feed = feed
        self._listeners = listeners
        self._taken: list[Change] = []  # what iteration has still to give
        self._waiting: set[Any] = set()  # the event of each task that waits
        listeners.add(self, feed)

    async def get(self, timeout: float | None = None) -> "list[core.Change]":
        """Every change that has come; waits up to `timeout` seconds (None: for good) for one.

        Empty if none came in time. Raises StoreClosedError once the feed or its store is closed and
        everything that came was taken; InvalidValueError.
        """
        loop = self._listeners.loop
        deadline = time.monotonic() + seconds_of(timeout)
        self._feed.refuse_inherited()
        refuse_elsewhere(loop)
        changes, self._taken = self._taken, []
        while not (changes := changes + self._feed.take()):
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            event = loop.event()
            self._waiting.add(event)
            try:
                await loop.wait_for(event, None if left == math.inf else left)
            finally:
                self._waiting.discard(event)
        return changes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "core.Change":
        while not self._taken:
            try:
                self._taken = await self.get()
            except StoreClosedError:
                self._feed.refuse_inherited()
                raise StopAsyncIteration from None
        return self._taken.pop(0)

    async def aclose(self) -> None:
        """Stop listening; a second call does nothing. Waits for nobody."""
        self._taken = []
        self._feed.close()
        self._feed.drain()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        feed = getattr(self, "_feed", None)
        if feed is not None:
            feed.close()

    def wake(self) -> None:
        """In the loop: let every task that waits look again."""
        for event in self._waiting:
            event.set()


class Listeners:
    """The feeds of a store in one loop."""

    def __init__(self, loop: "Loop") -> None:
        self.loop = loop
        self._feeds: WeakSet[AsyncChangeFeed] = WeakSet()
        self._sources: list[ChangeFeed] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = False

    def add(self, feed: AsyncChangeFeed, source: "ChangeFeed") -> None:
        """Wake the feed whenever its source has something new."""
        self._feeds.add(feed)
        source.on_arrival = self._notify
        with self._lock:
            self._sources.append(source)
            if self._thread is None:
                self._thread = begin_thread(self._look, "cwstore changes")

    def _notify(self) -> None:
        """From any thread: something came. The loop is woken once, however much comes meanwhile."""
        if self._woken:
            return
        self._woken = True
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_from_thread(self._deliver)

    def _deliver(self) -> None:
        self._woken = False
        for feed in list(self._feeds):
            feed.wake()

    def _look(self) -> None:
        """Look for others' commits, for all feeds, until the last one is closed."""
        pause = threading.Event()
        while self._open_sources():
            for source in self._open_sources()[:1]:
                source.look()  # for all feeds of the store
            pause.wait(LOOK_INTERVAL)

    def _open_sources(self) -> "list[ChangeFeed]":
        with self._lock:
            self._sources = [one for one in self._sources if not one.is_closed]
            if not self._sources:
                self._thread = None
            return list(self._sources)
