"""Run calls of one event loop on a thread of their own, and wake the loop once for many results."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from contextvars import copy_context
from os import getpid
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cwstore.errors import (
    ConflictError,
    ConflictReason,
    OutcomeUnknownError,
    StorageError,
    StoreClosedError,
)

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    from typing import Protocol

    class Loop(Protocol):
        """An event loop, as far as a worker needs it."""

        #: Whether every call runs in the context of its caller: for listeners.
        carries_context: bool

        def runs_here(self) -> bool:
            """Whether it runs the calling task; never in a forked child."""
            ...

        def is_over(self) -> bool:
            """Whether it will never run a task again."""
            ...

        async def wait(self, call: "Call", submit: "Callable[[Call], None]") -> None:
            """Submit and wait for the outcome; a cancellation gets a note of what became of it."""
            ...

        def soon(self, function: Callable[[], None]) -> None:
            """Call it at once, or after the tasks that are ready now have run."""
            ...

        def wake(self, calls: "list[Call]") -> None:
            """From the worker's thread: settle these in the loop."""
            ...

        def call_from_thread(self, function: Callable[[], None]) -> None:
            """Call it in the loop soon; returns at once, whatever thread this is."""
            ...

        def event(self) -> Any:
            """An event of the loop: tasks wait until somebody in the loop calls its `set`."""
            ...

        async def wait_for(self, event: Any, seconds: float | None) -> None:
            """Wait until it is set, or the time is over."""
            ...


_HOLD_BACK = 0.001  # seconds that a result may wait for the next one, to wake the loop once

_NOT_BEGUN = "cwstore: cancelled before the call began; nothing was changed"
_UNDONE = "cwstore: cancelled before the commit; the transaction was rolled back"
_COMPLETED = "cwstore: the call had begun and was completed; only its result is lost"
_FAILED = "cwstore: the call had begun and failed; what it had not committed was rolled back"
_UNKNOWN = "cwstore: the disk failed in the commit of the call; read whether it was kept"


class CancelledInTimeError(BaseException):
    """Raised inside a transaction to roll it back because nobody waits for it any more."""


class Call:
    """One call on its way to the worker and back."""

    __slots__ = (
        "_unbegun",
        "abandoned",
        "args",
        "certain",
        "endless",
        "error",
        "function",
        "kwargs",
        "result",
        "settle",
        "settled",
    )

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.abandoned = False  # its caller was cancelled while it ran
        self.certain = False  # it runs even if its caller is cancelled before it has begun
        self.endless = False  # it may take for ever, so no earlier result waits for it
        self.result: Any = None
        self.error: BaseException | None = None
        self.settle: Callable[[], None] = _nothing  # called in the loop once there is an outcome
        self.settled = False
        self._unbegun = [True]

    def claim(self) -> bool:
        """Take it, to run it or to withdraw it. True for the first caller only. Atomic."""
        try:
            self._unbegun.pop()
        except IndexError:
            return False
        return True

    def withdraw(self) -> bool:
        """Cancel it if it has not begun. True if it will never run."""
        return not self.certain and self.claim()

    def run(self) -> None:
        """Run it and keep the outcome."""
        try:
            self.result = self.function(*self.args, **self.kwargs)
        except BaseException as error:  # the caller gets it, whatever it is
            self.error = error
        self.args, self.kwargs = (), {}  # they may refer to this call, and keep it alive

    def note_for_cancelled(self) -> str:
        """What became of a call that was not withdrawn when its caller was cancelled."""
        if isinstance(self.error, CancelledInTimeError):
            return _UNDONE
        if isinstance(self.error, OutcomeUnknownError):
            return _UNKNOWN
        return _COMPLETED if self.error is None else _FAILED


def _nothing() -> None:
    pass


def _settle_all(calls: list[Call]) -> None:
    for call in calls:
        call.settled = True
        call.settle()


class AsyncioLoop:
    """The asyncio loop that runs now."""

    __slots__ = ("_loop", "carries_context")

    def __init__(self) -> None:
        self.carries_context = False
        self._loop = asyncio.get_running_loop()

    def runs_here(self) -> bool:
        """See `Loop`."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:  # trio runs here, or nothing: a fork ends the loop
            return False

    def is_over(self) -> bool:
        """See `Loop`."""
        return self._loop.is_closed()

    async def wait(self, call: Call, submit: Callable[[Call], None]) -> None:
        """See `Loop`."""
        future = self._loop.create_future()
        call.settle = lambda: None if future.done() else future.set_result(None)
        submit(call)
        try:
            await future
        except asyncio.CancelledError as cancelled:
            if call.withdraw():
                cancelled.add_note(_NOT_BEGUN)
                raise
            call.abandoned = True
            await self._outlast(call)
            cancelled.add_note(call.note_for_cancelled())
            raise

    async def _outlast(self, call: Call) -> None:
        """Wait for the end of a call that runs, whatever happens: it is bounded by its timeouts."""
        done = asyncio.Event()
        call.settle = done.set
        while not call.settled:
            try:
                with _shield():
                    await done.wait()
            except asyncio.CancelledError:
                continue

    def soon(self, function: Callable[[], None]) -> None:
        """See `Loop`."""
        self._loop.call_soon(function)

    def wake(self, calls: list[Call]) -> None:
        """See `Loop`."""
        self._loop.call_soon_threadsafe(_settle_all, calls)

    def call_from_thread(self, function: Callable[[], None]) -> None:
        """See `Loop`."""
        self._loop.call_soon_threadsafe(function)

    def event(self) -> Any:
        """See `Loop`."""
        return asyncio.Event()

    async def wait_for(self, event: Any, seconds: float | None) -> None:
        """See `Loop`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()


def _shield() -> AbstractContextManager[object]:
    """Under asyncio, a cancelled scope of anyio cancels again at each turn of the loop."""
    if "anyio" not in sys.modules:
        return nullcontext()
    import anyio

    return anyio.CancelScope(shield=True)


class AnyioLoop:
    """The loop that runs now, through anyio: trio."""

    __slots__ = (
        "_anyio",
        "_from_thread",
        "_process",
        "_token",
        "_trio",
        "_trio_token",
        "carries_context",
    )

    def __init__(self) -> None:
        self.carries_context = False
        import trio

        try:
            import anyio
            import anyio.from_thread
            import anyio.lowlevel
        except ImportError:
            raise ImportError(
                "cwstore runs under trio through anyio: pip install 'cwstore[trio]'"
            ) from None

        self._anyio = anyio
        self._from_thread = anyio.from_thread
        self._token = anyio.lowlevel.current_token()
        self._process = getpid()
        self._trio = trio
        self._trio_token = trio.lowlevel.current_trio_token()

    def runs_here(self) -> bool:
        """See `Loop`."""
        try:
            here = self._trio.lowlevel.current_trio_token() is self._trio_token
        except RuntimeError:  # asyncio runs here
            return False
        return here and getpid() == self._process

    def is_over(self) -> bool:
        """See `Loop`."""
        try:
            self._trio_token.run_sync_soon(_nothing)
        except self._trio.RunFinishedError:
            return True
        return False

    async def wait(self, call: Call, submit: Callable[[Call], None]) -> None:
        """See `Loop`."""
        done = self._anyio.Event()
        call.settle = done.set
        submit(call)
        try:
            await done.wait()
        except self._anyio.get_cancelled_exc_class() as cancelled:
            if call.withdraw():
                cancelled.add_note(_NOT_BEGUN)
                raise
            call.abandoned = True
            with self._anyio.CancelScope(shield=True):
                await done.wait()
            cancelled.add_note(call.note_for_cancelled())
            raise

    def soon(self, function: Callable[[], None]) -> None:
        """See `Loop`."""
        function()

    def wake(self, calls: list[Call]) -> None:
        """See `Loop`."""
        self._from_thread.run_sync(_settle_all, calls, token=self._token)

    def call_from_thread(self, function: Callable[[], None]) -> None:
        """See `Loop`."""
        self._trio_token.run_sync_soon(function)

    def event(self) -> Any:
        """See `Loop`."""
        return self._anyio.Event()

    async def wait_for(self, event: Any, seconds: float | None) -> None:
        """See `Loop`."""
        with self._anyio.move_on_after(seconds):
            await event.wait()


def running_loop() -> "Loop":
    """The loop that runs the calling task."""
    if "trio" in sys.modules:
        import sniffio

        if sniffio.current_async_library() == "trio":
            return AnyioLoop()
    return AsyncioLoop()


def refuse_elsewhere(loop: "Loop") -> None:
    """Raise ConflictError in another event loop than this."""
    if not loop.runs_here():
        raise ConflictError(
            "the store belongs to the event loop that opened it; open a store in this one too",
            reason=ConflictReason.TRANSACTION,
        )


def begin_thread(work: Callable[[], None], name: str) -> Thread:
    """A thread that runs it. Raises StorageError where the system allows no further one."""
    # A daemon: a store that nobody closed must not hang the exit of the interpreter.
    thread = Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise StorageError(
            f"the thread {name!r} cannot be started: this process, its user or its container has as"
            " many as it may have; end some, or allow more (ulimit -u)"
        ) from None
    return thread


class Worker:
    """A thread that runs calls one after the other.

    The calls that tasks make in one turn of the loop go over together, and so do results that
    come quickly: changing threads costs more than a point read.
    """

    def __init__(self, loop: "Loop", name: str, *, carries_context: bool = True) -> None:
        self._loop = loop
        # What a call logs tells of its caller's context variables, such as the id of a request.
        self._carries_context = carries_context
        self._process = getpid()  # threads do not survive a fork
        self._closed = False
        self.load = 0  # calls that have no outcome yet
        self._pending: list[Call] = []  # made in this turn of the loop
        self._batches: SimpleQueue[list[Call] | None] = SimpleQueue()
        self._thread = begin_thread(self._work, name)

    def run(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """The result of the function, or the exception that it raised."""
        return self.run_call(Call(function, args, kwargs))

    async def run_call(self, call: Call) -> Any:
        """As `run`."""
        if self._closed or not self._loop.runs_here():
            self.refuse()
        if self._carries_context or self._loop.carries_context:
            call.args = (call.function, *call.args)
            call.function = copy_context().run
        self.load += 1
        try:
            await self._loop.wait(call, self._submit)
        finally:
            self.load -= 1
        if call.error is not None:
            # Else error, traceback, the frame of `Call.run` and the call would keep each other
            # alive, and with them all that the call was given.
            error, call.error = call.error, None
            try:
                raise error
            finally:
                del error
        return call.result

    def refuse(self) -> None:
        """Raise if it takes no more calls, or none from here."""
        if self._closed:
            raise StoreClosedError("the store is closed; open a new one")
        self.refuse_elsewhere()

    def is_closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._closed

    def is_inherited(self) -> bool:
        """Whether this is a forked child: the thread is not in it."""
        return getpid() != self._process

    def refuse_elsewhere(self, *, over: bool = False) -> None:
        """Raise in another loop or process: no result would arrive there.

        With `over`, allow it once the loop of the store has ended.
        """
        if self.is_inherited():
            raise StoreClosedError(
                "the store was opened before this process was forked;"
                " open a store of its own in the child"
            )
        if not (over and self._loop.is_over()):
            refuse_elsewhere(self._loop)

    def stop(self, last: Callable[[], None] = _nothing) -> None:
        """Take no more calls. Run those that wait, then `last`."""
        if not self._closed:
            self._closed = True
            self._flush()
            self._batches.put([Call(last, (), {})])
            self._batches.put(None)

    def join(self) -> None:
        """After `stop`, wait for the end of the thread. Never call it from the loop."""
        self._thread.join()

    def has_ended(self) -> bool:
        """After `stop`: whether the thread has."""
        return not self._thread.is_alive()

    def _submit(self, call: Call) -> None:
        self._pending.append(call)
        if len(self._pending) == 1:
            self._loop.soon(self._flush)

    def _flush(self) -> None:
        if self._pending:
            self._batches.put(self._pending)
            self._pending = []

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            self._run(batch)
            del batch  # or it would live, with arguments and results, until the next one comes

    def _run(self, batch: list[Call]) -> None:
        settled: list[Call] = []
        since = monotonic()
        for call in batch:
            if call.endless:
                self._wake(settled)
                settled = []
            if call.claim():
                call.run()
                settled.append(call)
            if monotonic() - since > _HOLD_BACK:
                self._wake(settled)
                settled, since = [], monotonic()
        self._wake(settled)

    def _wake(self, calls: list[Call]) -> None:
        if calls:
            try:
                self._loop.wake(calls)
            except RuntimeError:  # the loop is closed: nobody waits
                pass
