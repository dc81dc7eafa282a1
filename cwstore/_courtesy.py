"""Fairness between processes: who comes back for the write lock gives way to those who starve.

SQLite's lock goes to whoever asks first after it is free, and that is the process that has just
let it go. So a writer that has waited for 5 ms notes the time in `<file>-turn`, again and again,
and whoever is about to begin and finds a fresh note waits until it is stale. `tools/fairness`
measures what that gives.

A line in which nobody ever overtakes was tried as well: fairer still, but each hand-over costs a
wake-up, and sixteen busy processes wrote a tenth of what they write so. Nobody holds anything
here: a process that is stopped or killed while it starves delays nobody for more than a moment.
"""

import os
import time
from contextlib import suppress
from mmap import mmap
from typing import Protocol

from cwstore._connect import MEMORY, STARVING

_FRESH = 0.002  # seconds that a note is good for: four looks of who starves
_PAUSE = 0.0003  # seconds between two looks of who gives way


class Courtesy(Protocol):
    """How a process is told that another one starves."""

    def give_way(self) -> float:
        """Wait while somebody starves, but not until one starves oneself; the seconds it took."""
        ...

    def starve(self) -> None:
        """Ask the others to give way for a moment."""
        ...

    def forget(self) -> None:
        """In a forked child: let go of it."""
        ...

    def close(self, file: str, /) -> None:
        """Let go of it; whoever is the last on the file removes `<file>-turn`."""
        ...


class Note:
    """A note that all processes on a file share."""

    __slots__ = ("_map", "_note")

    def __init__(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 8)
            self._map = mmap(descriptor, 8)
        finally:
            os.close(descriptor)
        # When somebody last starved, by the clock that all processes share since the start.
        self._note = memoryview(self._map).cast("d")

    def give_way(self) -> float:
        began = now = time.monotonic()
        while 0.0 <= now - self._note[0] < _FRESH and now - began < STARVING:
            time.sleep(_PAUSE)
            now = time.monotonic()
        return now - began

    def starve(self) -> None:
        self._note[0] = time.monotonic()

    def forget(self) -> None:
        self._note.release()
        self._map.close()

    def close(self, file: str) -> None:
        # The last is whose connections SQLite has closed by removing its own files. A process that
        # opens the file at this very moment may look at a note of its own until it opens it anew.
        self.forget()
        if not os.path.exists(f"{file}-shm"):
            with suppress(OSError):
                os.unlink(f"{file}-turn")


class NoNote:
    """For a database of one process, and where the file cannot be made."""

    def give_way(self) -> float:
        return 0.0

    def starve(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def close(self, _: str) -> None:
        pass


def open_courtesy(file: str) -> Courtesy:
    """The note of a database."""
    if file == MEMORY:
        return NoNote()
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return Note(os.open(f"{file}-turn", flags, 0o600))
    except OSError:
        return NoNote()
