"""Threads and tasks on one connection: whose turn it is, and what is done for those that end.

Who came first goes first: Python's locks go to whoever asks at the right moment, and that is nearly
always the thread that has just let go: with 8 busy threads some waited 6,000 times the median
(`tools/fairness`).
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, RLock, get_ident, local
from weakref import WeakMethod

# As between processes, see `_line`; but threads of one process are quicker to notice.
_CROWD = 4  # threads in line that nobody may overtake
_TIRED = 0.001  # seconds at the front after which nobody may overtake either
_ENOUGH = 0.1  # seconds in line after which one asks all the same: Ctrl-C may leave a place behind


class Turn:
    """Held by one thread at a time. Only the front of those who wait asks for it."""

    __slots__ = ("_book", "_front", "_line", "_since", "_turn")

    def __init__(self) -> None:
        self._turn = RLock()  # it knows its thread; nobody takes it twice
        self._line: deque[Lock] = deque()  # of who waits; released when it comes to the front
        self._front: Lock | None = None  # who was let go ahead last
        self._since = 0.0  # when that was
        self._book = Lock()  # held while the line changes

    def try_acquire(self) -> bool:
        """Take it if it is free and nobody waits who may not be overtaken."""
        return not (self._line and self._is_long()) and self._turn.acquire(False)

    def take(self, seconds: float) -> bool:
        """Wait for it; False if that takes longer."""
        deadline = time.monotonic() + seconds
        place = Lock()
        place.acquire()
        taken = False
        try:
            with self._book:
                self._line.append(place)
                self._let_front_ask()
            place.acquire(timeout=min(seconds, _ENOUGH))
            left = max(0.0, deadline - time.monotonic())
            while not (taken := self._turn.acquire(timeout=min(left, _ENOUGH))) and left > 0:
                left = max(0.0, deadline - time.monotonic())
            return taken
        finally:
            with self._book:
                self._leave(place, taken)

    def give_up(self) -> None:
        """Let go of it. Raises RuntimeError if another thread, or nobody, holds it."""
        self._turn.release()

    def break_lock(self) -> None:
        """Take it from a thread that will not let go of it; who waits notices within 0.1 s."""
        self._turn = RLock()

    def _is_long(self) -> bool:
        return len(self._line) >= _CROWD or time.monotonic() - self._since > _TIRED

    def _leave(self, place: "Lock", taken: bool) -> None:
        while taken and place in self._line and self._line[0] is not place:
            self._line.popleft()  # gone, or it will ask all the same
        with suppress(ValueError):  # somebody else has
            self._line.remove(place)
        self._let_front_ask()

    def _let_front_ask(self) -> None:
        if self._line and self._line[0] is not self._front:
            self._front = self._line[0]
            self._since = time.monotonic()
            self._front.release()


def running_task() -> object:
    """The asyncio task that this thread runs at this moment; None: it runs none."""
    asyncio = sys.modules.get("asyncio")
    try:
        return asyncio and asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None


class _LastWord:
    """Calls a method, if its object still exists, when its own thread ends."""

    __slots__ = ("_method", "_thread")

    def __init__(self, method: WeakMethod[Callable[[], None]]) -> None:
        self._method = method
        self._thread = get_ident()

    def __del__(self) -> None:
        method = self._method()
        # A forked child frees what belonged to the threads that it does not have.
        if method is not None and self._thread == get_ident():
            method()


class ThreadEnds:
    """Calls a method in each thread that asked for it, as the last thing that the thread does."""

    __slots__ = ("_method", "_own")

    def __init__(self, method: Callable[[], None]) -> None:
        self._method = WeakMethod(method)
        self._own = local()

    def expect(self) -> None:
        """For the calling thread; once is enough."""
        if not hasattr(self._own, "last_word"):
            self._own.last_word = _LastWord(self._method)
