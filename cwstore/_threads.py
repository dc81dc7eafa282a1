"""The turn that the threads of a process take on one connection: who came first goes first.

Python's locks go to whoever asks at the right moment, and that is nearly always the thread that
has just let go: with 8 busy threads some waited 6,000 times the median (`tools/fairness`).
"""

import time
from collections import deque
from threading import Lock, RLock

# As between processes, see `_line`.
_CROWD = 4  # threads in line that nobody may overtake
_TIRED = 0.001  # seconds at the front after which nobody may overtake either


class Turn:
    """Held by one thread at a time. Only the front of those who wait asks for it."""

    __slots__ = ("_book", "_line", "_since", "_turn")

    def __init__(self) -> None:
        self._turn = RLock()  # it knows its thread; nobody takes it twice
        self._line: deque[Lock] = deque()  # of who waits; released when it comes to the front
        self._since = 0.0  # when the front came to the front
        self._book = Lock()  # held while the line changes

    def take_at_once(self) -> bool:
        """Take it if it is free and nobody waits who may not be overtaken."""
        return not (self._line and self._is_long()) and self._turn.acquire(blocking=False)

    def take(self, seconds: float) -> bool:
        """Wait for it; False if that takes longer."""
        deadline = time.monotonic() + seconds
        place = Lock()
        place.acquire()
        with self._book:
            self._line.append(place)
            if self._line[0] is place:
                self._come_to_front()
        try:
            return place.acquire(timeout=seconds) and self._turn.acquire(
                timeout=max(0.0, deadline - time.monotonic())
            )
        finally:
            with self._book:
                was_front = self._line[0] is place
                self._line.remove(place)
                if was_front and self._line:
                    self._come_to_front()

    def give_up(self) -> None:
        """Let go of it. Raises RuntimeError if another thread, or nobody, holds it."""
        self._turn.release()

    def _is_long(self) -> bool:
        return len(self._line) >= _CROWD or time.monotonic() - self._since > _TIRED

    def _come_to_front(self) -> None:
        self._since = time.monotonic()
        self._line[0].release()
