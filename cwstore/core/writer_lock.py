"""How threads take turns on the one connection that writes: by a lock, in levels of a transaction.

The lock is fair: who came first gets it first. Python's own locks go to whoever asks at the right
moment, nearly always the thread that has just released it: with 8 busy threads some waited 6,000
times the median (`tools/fairness`).
"""

import sys
from collections import deque
from contextlib import suppress
from functools import partial
from threading import Lock, RLock, get_ident, local
from threading import enumerate as running_threads
from time import CLOCK_MONOTONIC, clock_gettime
from typing import TYPE_CHECKING
from weakref import WeakMethod, ref

from cwstore.core.blocks import Exit
from cwstore.core.clock import real_time as time
from cwstore.core.faults import busy_thread, loading, name_holder
from cwstore.errors import ConflictError, ConflictReason, StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType
    from typing import Any, Protocol

    class Writer(Protocol):
        """The connection of an engine that writes."""

        lock: "FairLock"
        owner: int  # ident of the thread that holds the lock; 0: none
        running: bool  # the owner is in the midst of a call, which is not its `with` block
        acquisition: int  # counts how often the lock was taken
        closed_reason: str  # why nothing can be run any more
        task: "ref[Any] | None"  # to the task or greenlet that opened the transaction
        busy_timeout: float  # seconds
        waited_for: int  # ident of the thread that had the lock when one last waited
        waited_for_name: str | None  # its name, once that wait was no short one
        began: float  # when the owner took the lock, by CLOCK_MONOTONIC

        def time_of(self, moment: float) -> "datetime":
            """What the clock of the store showed then."""
            ...

    class Stack(Protocol):
        """The levels that are open on the writer of an engine."""

        def enter(self, level: "Level", holder: object) -> None:
            """Open one. It is undone should `holder` be freed before it is left."""
            ...

        def leave(self, level: "Level", succeeded: bool) -> None:
            """Keep one or undo it."""
            ...


# As in the write queue of SQLite; but threads of one process notice sooner that they may go on.
MAX_BARGED = 3  # waiting threads that a newcomer may overtake; never more
HEAD_STARVING = 0.001  # seconds at the head of the queue after which no newcomer may overtake
MAX_SLEEP = 0.1  # seconds until a waiter asks unasked: Ctrl-C can leave a dead place before it

_FIRST_LOOK = 0.05  # seconds until one looks for whom the open transaction waits
_BACK_IN_POOL = 1.0  # seconds until a thread whose work is done rests in its pool


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


def acquire(writer: "Writer", text: str, where: str) -> float:
    """Wait until no other thread holds the writer. Returns the seconds that took.

    A BusyError names the table of `text`, and `where` it lies. Raises ConflictError,
    StoreClosedError.
    """
    waited = 0.0
    if not writer.lock.try_acquire():
        writer.waited_for, writer.waited_for_name = writer.owner, None
        started = time.monotonic()
        if not _wait_for_lock(writer):
            holder = name_of_thread(writer.owner)
            fault = busy_thread(text, where, writer.busy_timeout)
            name_holder(fault, holder, writer.time_of(writer.began))
            raise fault
        waited = time.monotonic() - started
    if writer.running:  # the lock lets its own thread in again
        writer.lock.release()
        refuse_others(writer)
    if writer.closed_reason:
        raise StoreClosedError(writer.closed_reason)
    writer.began = clock_gettime(CLOCK_MONOTONIC)
    writer.owner = get_ident()
    writer.running = True  # no call lies between, in which a signal handler could come
    writer.acquisition += 1
    return waited


def _wait_for_lock(writer: "Writer") -> bool:
    """Whether the lock could be had within the busy timeout. Raises ConflictError."""
    left = writer.busy_timeout
    # At the first look the thread may still be on its way back to its pool.
    for moment in (_FIRST_LOOK, _BACK_IN_POOL):
        if writer.lock.acquire(min(left, moment)):
            return True
        _refuse_if_left_open(writer)
        writer.waited_for_name = name_of_thread(writer.owner)  # it may end before this is told
        left -= min(left, moment)
    return writer.lock.acquire(left)


def _refuse_if_left_open(writer: "Writer") -> None:
    """Raise ConflictError if the open transaction waits for this thread, or for nobody."""
    with loading("transaction"):
        from cwstore.core.idle_threads import begun_here, is_suspended, rests_in_pool

    owner, acquisition = writer.owner, writer.acquisition
    task = writer.task and writer.task()
    if begun_here.get(None) == (id(writer), acquisition) and is_suspended(task):
        raise ConflictError(
            "the task that waits for this thread has a transaction open on this store, as an"
            " async dependency does that yields inside of `with store.transaction()`: open the"
            " transaction where the work is done, and do not await in it",
            reason=ConflictReason.TRANSACTION,
        )
    # It must be the same transaction after the look, or it has just ended.
    if rests_in_pool(owner) and (owner, acquisition) == (writer.owner, writer.acquisition):
        raise ConflictError(
            "a thread of a pool has left a transaction open on this store, as a dependency does"
            " that yields inside of `with store.transaction()`: open the transaction where the"
            " work is done; under asyncio, `await AsyncStore.transaction(work)`",
            reason=ConflictReason.TRANSACTION,
        )


def name_of_thread(ident: int) -> str | None:
    """A thread of this process, as text; None if it has ended."""
    names = {thread.ident: thread.name for thread in running_threads()}
    return f"thread {names[ident]} of this process" if ident in names else None


def thread_waited_for(writer: "Writer") -> str | None:
    """The thread that had the lock when one last waited, as text; None: it is not known."""
    return writer.waited_for_name or name_of_thread(writer.waited_for)


def refuse_others(writer: "Writer") -> None:
    """Raise ConflictError if the transaction is not the caller's to go on with."""
    if writer.running:
        raise ConflictError(
            "this thread is in the midst of another call of this store, which a signal handler,"
            " a finalizer or a greenlet has interrupted; nothing was done: do it after that"
            " call, or on a thread of its own",
            reason=ConflictReason.TRANSACTION,
        )
    if writer.task is not None and running_task() is not writer.task():
        raise ConflictError(
            "another task of this thread has a transaction open on this store; use AsyncStore,"
            " or do not await (in a greenlet: switch) inside of `with store.transaction()`",
            reason=ConflictReason.TRANSACTION,
        )


def note_task(writer: "Writer") -> None:
    """Note which task has just begun the transaction, for others that run on its thread.

    It is not kept alive: a greenlet that nobody refers to ends, and with it its transaction.
    """
    task = running_task()
    if task is not None:
        writer.task = ref(task)
        with loading("transaction"):
            from cwstore.core.idle_threads import begun_here

        begun_here.set((id(writer), writer.acquisition))


def running_task() -> object:
    """What this thread runs at this moment, among others that take turns on it.

    A task of asyncio or trio, or a greenlet; None if none of these is in use. What has not been
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


class Level:
    """A level of a transaction, from when its block is entered."""

    acquisition = 0  # of the writer's lock, to which the level belongs
    number = 0  # 1: the outermost; 0: not entered


class Transaction:
    """What `store.transaction()` returns: a `with` block that is one level of a transaction.

    It may be entered again, also inside of itself.
    """

    __slots__ = ("__weakref__", "_asked", "_level", "_stack")

    def __init__(self, stack: "Stack") -> None:
        self._stack = stack
        self._level = Level()  # the last one that was entered
        self._asked: ref[partial[None]] | None = None  # the `__exit__` of the block that begins

    def __enter__(self) -> None:
        exit_of_block = self._asked and self._asked()
        level = self._level = exit_of_block.args[1] if exit_of_block else Level()
        self._asked = None
        try:
            self._stack.enter(level, exit_of_block or self)
        except BaseException:
            self._stack.leave(level, succeeded=False)
            raise

    if TYPE_CHECKING:

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None: ...

    else:
        __exit__ = Exit()

    def begin_exit(self) -> "partial[None]":
        """What leaves the level that is entered next, else the one that was entered last."""
        made = partial(Transaction._leave, self, Level())
        self._asked = ref(made)
        return made

    def leave(self, kind: type[BaseException] | None, *_: object) -> None:
        """Leave the level that was entered last."""
        self._leave(self._level, kind)

    def _leave(self, level: Level, kind: type[BaseException] | None, *_: object) -> None:
        level = level if level.number else self._level
        try:
            self._stack.leave(level, kind is None)
        except BaseException:
            self._stack.leave(level, succeeded=False)
            raise


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
