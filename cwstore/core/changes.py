"""The feed of changes: what was committed, in order, for one listener."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from os import getpid
from types import TracebackType
from typing import Self, TypeAlias
from weakref import ref

from cwstore.core import publish
from cwstore.core.checks import is_integer, is_number
from cwstore.core.clock import real_time as time
from cwstore.core.faults import refuse_to_leave
from cwstore.errors import InvalidValueError, StoreClosedError

__all__ = ["Change", "ChangeFeed", "ChangeOperation"]

LOOK_INTERVAL = 0.01  # seconds until a feed looks again whether another process has committed


class ChangeOperation(StrEnum):
    """What happened."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    #: Something was committed, nobody knows what: by another program, by a process that was killed
    #: just then, or so much that it could not be told. Read again.
    ELSEWHERE = "elsewhere"
    #: The listener was too slow, so changes before this one are missing. Read again.
    OVERFLOW = "overflow"


@dataclass(frozen=True, slots=True)
class Change:
    """One row that was changed; in the order of the changes."""

    operation: ChangeOperation
    #: None for what has no table: elsewhere and overflow.
    table: str | None = None
    #: Of an edge, both ids; None where `table` is.
    id: str | tuple[str, ...] | None = None


#: The fields of a Change. A writer notes these only: the listener pays for making the Change.
ChangeNote: TypeAlias = tuple[ChangeOperation, str | None, str | tuple[str, ...] | None]

NOTE_OF_ELSEWHERE: ChangeNote = (ChangeOperation.ELSEWHERE, None, None)
NOTE_OF_OVERFLOW: ChangeNote = (ChangeOperation.OVERFLOW, None, None)


class ChangeFeed:
    """The changes since it was opened, of all processes that use the file, in the order of commits.

    Iterate to wait for each next one; or `get` those that are there. Close it when done: as a
    context manager, or by `close`; one that nobody refers to any more is closed. What was rolled
    back never shows. Threads may share a feed; each change goes to one of them. A forked child
    opens a feed of its own.
    """

    __reduce__ = refuse_to_leave

    def __init__(
        self, capacity: object, look: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        if not is_integer(capacity) or capacity < 1:
            raise InvalidValueError("capacity", "must be a number of changes, at least 1")
        self.capacity = capacity
        self.look = look  #: Publishes to all feeds of the store what others have committed
        self._leave = leave
        self._process = getpid()
        self._notes: deque[ChangeNote] = deque()
        self._arrived = threading.Condition()
        self._closed = False
        #: Called when something came, by whoever brought it, and when the feed is closed.
        self.on_arrival: Callable[[], None] | None = None

    def publish(self, notes: list[ChangeNote]) -> None:
        """Append what was committed. A full feed drops what waits, and says so."""
        with self._arrived:
            if self._closed:
                return
            self._notes.extend(notes)
            if len(self._notes) > self.capacity:
                self._notes.clear()
                self._notes.append(NOTE_OF_OVERFLOW)
            self._arrived.notify_all()
            news = bool(self._notes)
        if news and self.on_arrival is not None:
            self.on_arrival()

    def get(self, timeout: float | None = None) -> list[Change]:
        """Every change that has come; waits up to `timeout` seconds (None: for good) for one.

        Empty if none came in time. Raises StoreClosedError once the feed or its store is closed
        and everything that came was taken, and in a forked child; InvalidValueError.
        """
        self.refuse_inherited()
        deadline = time.monotonic() + seconds_of(timeout)
        while not (changes := self.take()):
            self.look()
            with self._arrived:
                left = deadline - time.monotonic()
                if self._notes or self._closed:
                    continue
                if left <= 0:
                    return []
                self._arrived.wait(min(left, LOOK_INTERVAL))
        return changes

    def take(self) -> list[Change]:
        """As `get(0)`, but it does not look whether others have committed: see `look`.

        Raises StoreClosedError.
        """
        self.refuse_inherited()
        with self._arrived:
            if self._closed and not self._notes:
                raise StoreClosedError("the change feed is closed; open another")
            return self._take()

    def drain(self) -> None:
        """Forget what has come."""
        with self._arrived:
            self._notes.clear()

    def _take(self) -> list[Change]:
        changes = [Change(*note) for note in self._notes]
        self._notes.clear()
        return changes

    def refuse_inherited(self) -> None:
        """Raise StoreClosedError in a forked child."""
        # Before anything is locked: a thread of the parent may have held the lock at the fork.
        if getpid() != self._process:
            raise StoreClosedError(
                "the change feed was opened before this process was forked; open a store of its"
                " own in the child, and a feed of that"
            )

    def close(self) -> None:
        """Stop listening and wake who waits; a second call does nothing. Waits for nobody."""
        if getpid() != self._process:
            return
        with self._arrived:
            self._closed = True
            self._arrived.notify_all()
        if self.on_arrival is not None:
            self.on_arrival()
        self._leave()

    @property
    def is_closed(self) -> bool:
        """Whether it, or its store, was closed: no change comes to it any more."""
        return self._closed

    def __iter__(self) -> Iterator[Change]:
        """Yield change after change until the feed or the store is closed."""
        while True:
            try:
                changes = self.get()
            except StoreClosedError:
                self.refuse_inherited()
                return
            yield from changes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def seconds_of(timeout: object) -> float:
    """A timeout as a float; infinity for None. Raises InvalidValueError."""
    if timeout is None:
        return math.inf
    if not is_number(timeout):
        raise InvalidValueError(
            "timeout", f"expected seconds as a number, or None, got {type(timeout).__name__}"
        )
    if not timeout <= math.inf:  # NaN
        raise InvalidValueError("timeout", "must be a number of seconds")
    return float(max(0, min(timeout, threading.TIMEOUT_MAX)))  # an int may be too large for one


def open_feeds(known: list[ref[ChangeFeed]]) -> list[ChangeFeed]:
    """Those that are neither closed nor dropped."""
    feeds = [one() for one in known]
    return [feed for feed in feeds if feed is not None and not feed.is_closed]


publish(globals())
