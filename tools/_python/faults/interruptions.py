"""Interruption: an exception, a signal or want of memory at any moment of what a user can do.

Ctrl-C and SystemExit are raised at every moment at which CPython looks for signals: when one of our
functions begins, and when it has called one that is written in C. Afterwards the file shows a
moment of its history, nobody holds a lock, and the store goes on, or says that it is closed.
"""

import gc
import inspect
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import apsw

from cwstore.errors import ConflictError
from tools._python.faults import error_sweep
from tools._python.faults.error_sweep import Outcome, Subject, Sweep
from tools._python.faults.system_calls import Guard, watched

_CODE = str(Path(sys.modules["cwstore"].__file__ or "").parent)


class Moments:
    """Counts the moments at which CPython looks for signals, and does something at one of them."""

    def __init__(self, at: int, then: Callable[[], object]) -> None:
        self.reached = 0
        self._at = at
        self._then = then

    def _look(self, frame: FrameType, event: str, argument: object) -> None:
        del argument
        if event not in {"call", "c_return"} or not frame.f_code.co_filename.startswith(_CODE):
            return
        self.reached += 1
        if self.reached == self._at:
            sys.setprofile(None)
            self._then()

    @contextmanager
    def watched(self) -> Generator[None, None, None]:
        """While the body runs. Garbage waits: a `__del__` would swallow what is raised in it."""
        gc.disable()
        sys.setprofile(self._look)
        try:
            yield
        finally:
            sys.setprofile(None)
            gc.enable()


def _raising(kind: type[BaseException]) -> Callable[[], object]:
    def act() -> object:
        raise kind

    return act


def moments_of(sweep: Sweep) -> int:
    """How many such moments the subject has."""
    moments = Moments(-1, lambda: None)
    sweep.once(moments.watched)
    return moments.reached


def _learnt(subject: Subject, place: Path) -> Sweep:
    """Learns with SQLite's calls replaced; what follows goes on without."""
    with watched(str(place), Guard()) as calls:
        return Sweep(subject, place, calls)


def interrupt_everywhere(subject: Subject, place: Path, every: int = 1) -> Outcome:
    """Ctrl-C at one moment, SystemExit at the next; then the other way round."""
    sweep = _learnt(subject, place)
    kinds = (KeyboardInterrupt, SystemExit)
    for turn in (0, 1):
        for at in range(1, moments_of(sweep) + 1, every):
            kind = kinds[(at // every + turn) % 2]
            moments = Moments(at, _raising(kind))
            sweep.disturb(f"{kind.__name__} at moment {at}", moments.watched, (kind,))
    return sweep.outcome


def read_everywhere(subject: Subject, place: Path, every: int = 1) -> Outcome:
    """A signal handler that itself uses the store runs at each moment.

    It reads, and it writes where it may: amid another call it is refused.
    """
    sweep = _learnt(subject, place)
    for at in range(1, moments_of(sweep) + 1, every):
        sweep.disturb(f"read at moment {at}", partial(_handling, sweep, at), ())
    return sweep.outcome


@contextmanager
def _handling(sweep: Sweep, at: int) -> Generator[None, None, None]:
    def handle() -> None:
        if sweep.store is not None:
            sweep.store.initiatives.find_all()
            with suppress(ConflictError):
                sweep.store.initiatives.delete("nowhere")

    with Moments(at, handle).watched():
        yield


def exhaust_everywhere(subject: Subject, place: Path, every: int = 1) -> Outcome:
    """Python's stack ends a little further each time, and SQLite's heap."""
    sweep = _learnt(subject, place)
    for depth in range(1, 60, every):
        sweep.disturb(f"{depth} calls deep", partial(_shallow, depth), (RecursionError,))
    for room in range(0, 160_000, 800 * every):
        sweep.disturb(f"{room} bytes of heap", partial(_narrow, room), (MemoryError,))
    return sweep.outcome


@contextmanager
def _shallow(calls: int) -> Generator[None, None, None]:
    before, depth = sys.getrecursionlimit(), len(inspect.stack(0))
    try:
        sys.setrecursionlimit(depth + calls)
        yield
    finally:
        sys.setrecursionlimit(before)


@contextmanager
def _narrow(room: int) -> Generator[None, None, None]:
    soft, hard = apsw.soft_heap_limit(-1), apsw.hard_heap_limit(-1)
    apsw.hard_heap_limit(apsw.memory_used() + room + 1)
    try:
        yield
    finally:
        apsw.hard_heap_limit(hard)
        apsw.soft_heap_limit(soft)  # the hard one had lowered it


def jump_everywhere(subject: Subject, place: Path, every: int = 1) -> Outcome:
    """The machine sleeps for a day between any two looks at a clock, or a clock goes back."""
    sweep = _learnt(subject, place)
    for at in range(1, 25, every):
        for seconds in (86_400.0, -86_400.0):
            where = f"{seconds:+g} s at look {at}"
            sweep.disturb(where, partial(_jumping, at, seconds), ())
    return sweep.outcome


@contextmanager
def _jumping(at: int, seconds: float) -> Generator[None, None, None]:
    looks = 0

    def jumped(real: Callable[[], Any], unit: int) -> Callable[[], Any]:
        def look() -> Any:
            nonlocal looks
            looks += 1
            return real() + (type(real())(seconds * unit) if looks >= at else 0)

        return look

    undo = [
        *_replaced(time.monotonic, jumped(time.monotonic, 1)),
        *_replaced(time.time_ns, jumped(time.time_ns, 10**9)),
    ]
    try:
        yield
    finally:
        for put_back in undo:
            put_back()


def _replaced(real: object, other: object) -> Iterator[Callable[[], object]]:
    """In `time`, and wherever cwstore has taken it from there."""
    places: list[Any] = [time]
    places += [one for key, one in sys.modules.items() if key.startswith("cwstore")]
    for place in places:
        for key in [key for key in dir(place) if getattr(place, key, None) is real]:
            setattr(place, key, other)
            yield partial(setattr, place, key, real)


SUBJECTS = (
    *error_sweep.ON_STORES,
    *(
        one
        for one in error_sweep.ON_FILES
        if one.name in {"open", "close", "migrate 15", "status", "restore"}
    ),
)
WAYS: dict[str, Callable[[Subject, Path, int], Outcome]] = {
    "ctrl-c": interrupt_everywhere,
    "handlers": read_everywhere,
    "limits": exhaust_everywhere,
    "clocks": jump_everywhere,
}
