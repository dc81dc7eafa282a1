"""Stamps: microseconds since 1970-01-01T00:00:00Z, strictly rising.

A clock makes them rise within one store. The engine hands the last stamp of a file on from writer
to writer (`last`, `raise_to`), so they rise over all processes and restarts, whatever the clocks
do.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import CLOCK_MONOTONIC, clock_gettime, sleep, time_ns

from cwstore.core.checks import EPOCH, to_micros
from cwstore.errors import InvalidValueError

_LAST_MICROSECOND = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


class real_time:
    """As the module `time`, for all that waits.

    Who freezes the time of a process for a test (freezegun) puts another `monotonic` into every
    module that has it. Then no wait would ever end.
    """

    sleep = staticmethod(sleep)

    @staticmethod
    def monotonic() -> float:
        """Seconds that rise, whatever clocks are set or frozen."""
        return clock_gettime(CLOCK_MONOTONIC)


class Clock:
    """Reads `source` (or the system's clock); one that did not rise becomes the last plus one.

    Stamps that can repeat break round robin and "oldest first". Call it only while holding the
    store's write lock: then creation order, commit order and the order of stamps agree.

    Stamps can lie far ahead of the clock: for five hours, once somebody's clock was five hours
    ahead. So whether a lease or a rest has passed is told by what the clock shows.
    """

    __slots__ = ("_source", "last", "shown")

    def __init__(self, source: Callable[[], datetime] | None) -> None:
        if source is not None and not callable(source):
            raise InvalidValueError("clock", "expected a callable that returns an aware datetime")
        self._source = source
        self.last = -(2**63)  # the newest stamp that is known
        self.shown = 0  # what the clock showed when it gave the last stamp

    def raise_to(self, stamp: int) -> None:
        """Let the next stamp exceed this one, which another writer has given out."""
        if stamp > self.last:
            self.last = min(stamp, _LAST_MICROSECOND)

    def read(self) -> int:
        """What the clock shows, whatever stamps were given out."""
        source = self._source
        return time_ns() // 1000 if source is None else to_micros("clock", source())

    def at(self, moment: float) -> datetime:
        """What the clock showed then, by CLOCK_MONOTONIC; had nobody set it since."""
        shown = EPOCH + timedelta(microseconds=self.read())
        return shown - timedelta(seconds=real_time.monotonic() - moment)

    def __call__(self) -> int:
        """The next stamp."""
        source = self._source
        now = time_ns() // 1000 if source is None else to_micros("clock", source())
        self.shown = now
        if now <= self.last:
            now = self.last + 1
            if now > _LAST_MICROSECOND:
                raise InvalidValueError("clock", "it has reached the end of the year 9999")
        self.last = now
        return now
