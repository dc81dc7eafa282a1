"""The line in which the writers of all processes on a file wait: who came first goes first.

SQLite's lock goes to whoever asks at the right moment, and that is nearly always the process that
has just let it go: with 8 busy writers some waited 2,000 times the median. Here those who find the
lock taken ask again for a moment, and then draw a number in `<file>-turn`, a few bytes that all
processes share. Of those in line only the front asks SQLite, so it notices within some 0.1 ms; and
whoever is about to begin, or to ask again, while the line is long, or its front is tired of
waiting, goes to the end of it. `tools/fairness` measures what that gives.

The line is a courtesy, not a lock: SQLite's lock alone decides who writes. Numbers drawn twice in a
race, a front that was killed, bytes that make no sense, cost a moment and nothing else.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from mmap import mmap

from cwstore._sqlite.database_file import MEMORY

# As measured: four busy processes that read and write do 1.2 times as much if they ask for some ms
# before they go to the line; with a crowd of fewer than four a third; of more, and eight are no
# longer served in turn.
_HOPE = 0.003  # seconds for which a writer asks SQLite on its own, before it goes to the line
_CROWD = 4  # writers in line that nobody may overtake
_TIRED = 0.001  # seconds at the front after which nobody may overtake either
_ABSENT = 0.02  # seconds without a look after which the front counts as gone
_NEXT_ABSENT = 0.002  # seconds until those behind it count as gone as well
_LONGEST = 10_000  # writers; a number further off makes no sense
_LARGEST = 1 << 62  # nor does one above this
_LOOKS = 20  # looks without a pause: some 50 µs

_MOMENTS = 50  # of 2 ms, that one waits for whoever removes the file

_NEXT, _FRONT = 0, 1  # the number to draw, the number at the front
_SEEN, _SINCE = 0, 1  # when the front last looked, and how long it has been the front
_BYTES = 32


class Line:
    """The place of one writer; its process serves one thread at a time here."""

    __slots__ = ("_descriptor", "_map", "_numbers", "_times", "number", "spent")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap(descriptor, _BYTES)
        # Each is read and written whole: 8 bytes, aligned.
        self._numbers = memoryview(self._map)[:16].cast("Q")
        # By the clock that all processes of a machine share.
        self._times = memoryview(self._map)[16:].cast("d")
        self.number: int | None = None  # drawn by this writer
        self.spent = 0.0  # seconds of the busy timeout, before SQLite was asked

    def is_long(self) -> bool:
        """Whether nobody may overtake those who wait."""
        waiting = self._numbers[_NEXT] - self._numbers[_FRONT]
        return waiting > 0 and (
            waiting >= _CROWD or time.monotonic() - self._times[_SINCE] > _TIRED
        )

    def wait(self, deadline: float) -> bool:
        """Draw a number if this writer has none, and wait for its turn; False once it is late."""
        if self.number is None:
            self._draw()
        looks = 0
        while (ahead := self._ahead()) > 0:
            now = time.monotonic()
            if now >= deadline:
                return False
            if not 0.0 <= now - self._times[_SEEN] < _ABSENT:
                self._pass_over(now)
            elif ahead == 1 and looks < _LOOKS:
                os.sched_yield()
            else:
                time.sleep(min(ahead * 0.00005, 0.001))
            looks += 1
        self._times[_SEEN] = time.monotonic()
        return True

    def wait_for(self, seconds: float) -> float:
        """As `wait`, at most that long; the seconds it took."""
        started = time.monotonic()
        self.wait(started + seconds)
        return time.monotonic() - started

    def leave(self) -> None:
        """Make room for the next, if this writer has drawn a number."""
        number = self.number
        if number is None:
            return
        self.number = None
        if self._numbers[_FRONT] <= number:
            self._numbers[_FRONT] = number + 1
            self._times[_SEEN] = self._times[_SINCE] = time.monotonic()

    def _draw(self) -> None:
        front = self._numbers[_FRONT]
        number = max(self._numbers[_NEXT], front)
        if number > _LARGEST:
            number = front = self._numbers[_FRONT] = 0
        self.number = number
        self._numbers[_NEXT] = number + 1
        if number == front:
            self._times[_SEEN] = self._times[_SINCE] = time.monotonic()

    def _ahead(self) -> int:
        number = self.number
        assert number is not None
        ahead = number - self._numbers[_FRONT]
        if ahead > _LONGEST:
            self._numbers[_FRONT] = number
            return 0
        return ahead

    def _pass_over(self, now: float) -> None:
        """Whoever was to be at the front is gone: killed, stopped, or it gave up."""
        self._numbers[_FRONT] = min(self._numbers[_FRONT], _LARGEST) + 1
        self._times[_SEEN] = now - _ABSENT + _NEXT_ABSENT
        self._times[_SINCE] = now

    def forget(self) -> None:
        """In a forked child: let go of it."""
        self._numbers.release()
        self._times.release()
        self._map.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def close(self, file: str) -> None:
        """Let go of it; whoever is the last one removes `<file>-turn`."""
        self.leave()
        if self._descriptor >= 0:
            with suppress(OSError):  # not the last; or removed by hand
                flock(self._descriptor, LOCK_EX | LOCK_NB)
                os.unlink(f"{file}-turn")
        self.forget()


def open_line(file: str) -> Line:
    """The line of a database, or one for this store alone where the file cannot be made."""
    if file == MEMORY:
        return Line(-1)
    try:
        return Line(_open(f"{file}-turn"))
    except OSError:
        return Line(-1)


def _open(name: str) -> int:
    """Open it, and hold it in a way that tells others that it is in use."""
    while True:
        descriptor = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _share(descriptor)
            status = os.fstat(descriptor)
            if status.st_nlink:
                if status.st_size < _BYTES:
                    # Written, so that a full disk says so now: a hole would kill who maps it.
                    os.pwrite(descriptor, bytes(_BYTES), 0)
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed meanwhile


def _share(descriptor: int) -> None:
    """Lock it; raises OSError if somebody who is about to remove it does not come to that."""
    for _ in range(_MOMENTS):
        with suppress(BlockingIOError):
            flock(descriptor, LOCK_SH | LOCK_NB)
            return
        time.sleep(0.002)
    flock(descriptor, LOCK_SH | LOCK_NB)


def in_line(line: Line, busy_timeout: float) -> Callable[[int], bool]:
    """A busy handler that asks for a moment, then waits in the line.

    It gives up after `busy_timeout` seconds less those that are spent.

    The connection holds it, so it does not hold the writer: a store that nobody closed shall go
    when it is let go.
    """
    hoping = deadline = 0.0

    def wait(earlier_calls: int) -> bool:
        nonlocal hoping, deadline
        now = time.monotonic()
        if earlier_calls == 0:
            hoping, deadline = now + _HOPE, now + busy_timeout - line.spent
        if line.number is None and now < min(hoping, deadline) and not line.is_long():
            time.sleep(0.0001)
            return True
        if not line.wait(deadline) or time.monotonic() >= deadline:
            return False
        if earlier_calls < _LOOKS:
            os.sched_yield()
        elif earlier_calls < 200:
            time.sleep(0.00005)
        elif earlier_calls < 2000:
            time.sleep(0.0005)
        else:
            time.sleep(0.002)
        return True

    return wait
