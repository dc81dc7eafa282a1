"""How threads hold the one connection that writes: a lock, levels of a transaction, their end.

The lock is fair: who came first gets it first. Python's own locks go to whoever asks at the right
moment, nearly always the thread that has just released it: with 8 busy threads some waited 6,000
times the median (`tools/fairness`).
"""

import sys
from collections import deque
from contextlib import suppress
from threading import Lock, RLock, get_ident, local
from typing import TYPE_CHECKING
from weakref import WeakMethod

from cwstore.core.clock import real_time as time

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Protocol

    class Stack(Protocol):
        """The levels that are open on the writer of an engine."""

        def enter(self, transaction: "Transaction") -> None:
            """Open one."""
            ...

        def leave(self, acquisition: int, level: int, succeeded: bool) -> None:
            """Keep one or undo it."""
            ...


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


class Transaction:
    """What `store.transaction()` returns: a `with` block that is one level of a transaction."""

    __slots__ = ("__weakref__", "_stack", "acquisition", "level")

    def __init__(self, stack: "Stack") -> None:
        self._stack = stack
        self.acquisition = 0  # of the writer's lock, to which the level belongs; 0: not entered
        self.level = 0  # 1: the outermost

    def __enter__(self) -> None:
        try:
            self._stack.enter(self)
        except BaseException:
            self._abandon()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: "TracebackType | None",
    ) -> None:
        try:
            self._stack.leave(self.acquisition, self.level, kind is None)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        self._stack.leave(self.acquisition, self.level, succeeded=False)


class _LastWord:
    """Calls a method, if its object still exists, when its own thread ends."""

    __slots__ = ("_method", "_thread")

    def __init__(self, method: "WeakMethod[Callable[[], None]]") -> None:
        self._thread = get_ident()
        self._method = method  # last: without it, `__del__` asks for nothing

    def __del__(self) -> None:
        reference = getattr(self, "_method", None)  # None: Ctrl-C came before it was set
        method = reference and reference()
        # A forked child frees what belonged to the threads that it does not have.
        if method is not None and self._thread == get_ident():
            method()


class ThreadEnds:
    """Calls a method in each watched thread, as the last thing that the thread does."""

    __slots__ = ("_locals", "_method")

    def __init__(self, method: "Callable[[], None]") -> None:
        self._method = WeakMethod(method)
        self._locals = local()

    def watch_this_thread(self) -> None:
        """For the calling thread. A second call does nothing."""
        if not hasattr(self._locals, "last_word"):
            self._locals.last_word = _LastWord(self._method)
