"""Run calls of one event loop on a thread of their own, and wake the loop once for many results."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from os import getpid
from queue import SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any, ParamSpec, Protocol, TypeVar

from cwstore.errors import StoreClosedError

P = ParamSpec("P")
T = TypeVar("T")

_HOLD_BACK = (
    0.001  # seconds that a result may wait for the next one, so that they wake the loop once
)

_NOT_BEGUN = "cwstore: cancelled before the call began; nothing was changed"
_UNDONE = "cwstore: cancelled before the commit; the transaction was rolled back"
_COMPLETED = "cwstore: the call had begun and was completed; only its result is lost"
_FAILED = "cwstore: the call had begun and failed; nothing was changed"


class CancelledInTimeError(BaseException):
    """Raised inside a transaction to roll it back because nobody waits for it any more."""


class Call:
    """One call on its way to the worker and back."""

    __slots__ = (
        "_unbegun",
        "abandoned",
        "args",
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
        self.result: Any = None
        self.error: BaseException | None = None
        self.settle: Callable[[], None] = _nothing  # called in the loop once there is an outcome
        self.settled = False
        self._unbegun = [True]

    def claim(self) -> bool:
        """Take it, to run it or to withdraw it; True for the first who asks. Atomic."""
        try:
            self._unbegun.pop()
        except IndexError:
            return False
        return True

    def run(self) -> None:
        """Run it and keep the outcome."""
        try:
            self.result = self.function(*self.args, **self.kwargs)
        except BaseException as error:  # the caller gets it, whatever it is
            self.error = error

    def note_for_cancelled(self) -> str:
        """What became of a call that had begun when its caller was cancelled."""
        if isinstance(self.error, CancelledInTimeError):
            return _UNDONE
        return _COMPLETED if self.error is None else _FAILED


def _nothing() -> None:
    pass


def _settle_all(calls: list[Call]) -> None:
    for call in calls:
        call.settled = True
        call.settle()


class Loop(Protocol):
    """An event loop, as far as a worker needs it."""

    async def wait(self, call: Call, submit: Callable[[Call], None]) -> None:
        """Submit and wait for the outcome; a cancellation gets a note of what became of it."""
        ...

    def soon(self, function: Callable[[], None]) -> None:
        """Call it when the tasks that are ready now have had their turn, or at once."""
        ...

    def wake(self, calls: list[Call]) -> None:
        """From the worker's thread: settle these in the loop."""
        ...


class AsyncioLoop:
    """The asyncio loop that runs now."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def wait(self, call: Call, submit: Callable[[Call], None]) -> None:
        future = self._loop.create_future()
        call.settle = lambda: None if future.done() else future.set_result(None)
        submit(call)
        try:
            await future
        except asyncio.CancelledError as cancelled:
            if call.claim():
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
                await done.wait()
            except asyncio.CancelledError:
                continue

    def soon(self, function: Callable[[], None]) -> None:
        self._loop.call_soon(function)

    def wake(self, calls: list[Call]) -> None:
        self._loop.call_soon_threadsafe(_settle_all, calls)


class AnyioLoop:
    """The loop that runs now, through anyio: trio."""

    __slots__ = ("_anyio", "_from_thread", "_token")

    def __init__(self) -> None:
        import anyio
        import anyio.from_thread
        import anyio.lowlevel

        self._anyio = anyio
        self._from_thread = anyio.from_thread
        self._token = anyio.lowlevel.current_token()

    async def wait(self, call: Call, submit: Callable[[Call], None]) -> None:
        done = self._anyio.Event()
        call.settle = done.set
        submit(call)
        try:
            await done.wait()
        except self._anyio.get_cancelled_exc_class() as cancelled:
            if call.claim():
                cancelled.add_note(_NOT_BEGUN)
                raise
            call.abandoned = True
            with self._anyio.CancelScope(shield=True):
                await done.wait()
            cancelled.add_note(call.note_for_cancelled())
            raise

    def soon(self, function: Callable[[], None]) -> None:
        function()

    def wake(self, calls: list[Call]) -> None:
        self._from_thread.run_sync(_settle_all, calls, token=self._token)


def running_loop() -> Loop:
    """The loop that runs the calling task."""
    if "trio" in sys.modules:
        import sniffio

        if sniffio.current_async_library() == "trio":
            return AnyioLoop()
    return AsyncioLoop()


class Worker:
    """A thread that runs calls one after the other.

    The calls that tasks make in one turn of the loop go over together, and so do results that
    come quickly: changing threads costs more than a point read.
    """

    def __init__(self, loop: Loop, name: str) -> None:
        self._loop = loop
        self._process = getpid()  # threads do not survive a fork
        self._closed = False
        self._pending: list[Call] = []  # made in this turn of the loop
        self._batches: SimpleQueue[list[Call] | None] = SimpleQueue()
        # A daemon: a store that nobody closed must not hang the exit of the interpreter.
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(
        self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, T]:
        """The result of the function, or the exception that it raised."""
        return self.run_call(Call(function, args, kwargs))

    async def run_call(self, call: Call) -> Any:
        """As `run`."""
        if self._closed:
            raise StoreClosedError("the store is closed; open a new one")
        if getpid() != self._process:
            raise StoreClosedError(
                "the store was opened before this process was forked;"
                " open a store of its own in the child"
            )
        await self._loop.wait(call, self._submit)
        if call.error is not None:
            try:
                raise call.error
            finally:
                del call  # or error, traceback and frame would keep each other alive
        return call.result

    def stop(self, last: Callable[[], None] = _nothing) -> None:
        """Take no more calls; those that wait are still run, then `last`."""
        if not self._closed:
            self._closed = True
            self._flush()
            self._batches.put([Call(last, (), {})])
            self._batches.put(None)

    async def finish(self, last: Callable[[], None] = _nothing) -> None:
        """As `stop`, and wait for the end. `last` is run even if this is cancelled."""
        if self._closed:
            return
        self._closed = True
        final = Call(last, (), {})
        self._submit(final)
        try:
            await self._loop.wait(Call(_nothing, (), {}), self._submit)
        finally:
            self._flush()
            self._batches.put(None)
        if final.error is not None:
            raise final.error

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
            settled: list[Call] = []
            since = monotonic()
            for call in batch:
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
