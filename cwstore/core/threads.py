"""The lock that threads take for the one connection that writes, and the task that a thread runs.

The lock is fair: who came first gets it first. Python's own locks go to whoever asks at the right
moment, nearly always the thread that has just released it: with 8 busy threads some waited 6,000
times the median (`tools/fairness`).
"""

import sys
from collections import deque
from contextlib import suppress
from threading import Lock, RLock

from cwstore.core.clock import real_time as time

# As in the write queue of SQLite; but threads of one process notice sooner that they may go on.
MAX_BARGED = 3  # waiting threads that a newcomer may overtake; never more
HEAD_STARVING = 0.001  # seconds at the head of the queue after which no newcomer may overtake
MAX_SLEEP = 0.1  # seconds until a waiter asks unasked: Ctrl-C can leave a dead place before it


class FairLock:
    """Held by one thread at a time. Of the threads that wait, only the head asks for it."""

    __slots__ = ("_guard", "_head", "_head_since", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = RLock()  # for its knowledge of the owner; no thread takes it twice
        self._waiting: deque[Lock] = deque()  # one a thread; released when it becomes the head
        self._head: Lock | None = None  # the last one that was released
        self._head_since = 0.0  # when that was, by `time.monotonic`
        self._guard = Lock()  # held while the queue changes

    def try_acquire(self) -> bool:
        """Take the lock if it is free and nobody waits who may not be overtaken."""
        return (not self._waiting or self._may_barge()) and self._lock.acquire(False)

    def acquire(self, seconds: float) -> bool:
        """Wait for the lock. False if it cannot be had for that long."""
        deadline = time.monotonic() + seconds
        place = Lock()
        place.acquire()
        acquired = False
        try:
            with self._guard:
                self._waiting.append(place)
                self._wake_head()
            place.acquire(timeout=min(seconds, MAX_SLEEP))
            left = max(0.0, deadline - time.monotonic())
            while not (acquired := self._lock.acquire(timeout=min(left, MAX_SLEEP))) and left > 0:
                left = max(0.0, deadline - time.monotonic())
            return acquired
        finally:
            with self._guard:
                self._leave(place, acquired)

    def release(self) -> None:
        """Let go of the lock. Raises RuntimeError if another thread, or nobody, holds it."""
        self._lock.release()

    def break_lock(self) -> None:
        """Free the lock, whoever holds it. Those who wait notice within 0.1 s."""
        self._lock = RLock()

    def _may_barge(self) -> bool:
        waits = time.monotonic() - self._head_since
        return len(self._waiting) <= MAX_BARGED and waits <= HEAD_STARVING

    def _leave(self, place: Lock, acquired: bool) -> None:
        while acquired and place in self._waiting and self._waiting[0] is not place:
            self._waiting.popleft()  # a dead place, or its thread asks unasked
        with suppress(ValueError):  # another thread has removed it
            self._waiting.remove(place)
        self._wake_head()

    def _wake_head(self) -> None:
        if self._waiting and self._waiting[0] is not self._head:
            self._head = self._waiting[0]
            self._head_since = time.monotonic()
            self._head.release()


def running_task() -> object:
    """What this thread runs at this moment, among others that take turns on it.

    A task of asyncio or trio, or a greenlet; None if none of these is in use. Who has not been
    imported runs nothing.
    """
    for name in ("asyncio", "trio.lowlevel"):
        library = sys.modules.get(name)
        try:
            task = library and library.current_task()
        except RuntimeError:  # no event loop runs here
            continue
        if task is not None:
            return task
    greenlets = sys.modules.get("greenlet")
    return greenlets and greenlets.getcurrent()
