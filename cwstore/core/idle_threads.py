"""Find out that a transaction cannot end, because its end waits for the thread that asks.

That is what becomes of a dependency of a web framework that yields inside of `store.transaction()`.
A plain one is entered on one thread of a pool, which then rests, and left on another one. An async
one waits in the loop for the endpoint; a plain endpoint runs on a thread, and waits for it.
"""

import gc
import sys
from contextvars import ContextVar
from threading import Lock
from types import FrameType
from typing import Any

_looking = Lock()  # who looks has switched the garbage collector off

#: The store and the acquisition of its lock for which a task has begun a transaction. A thread that
#: runs a call for the task has it too: frameworks hand the context on.
begun_here: ContextVar[tuple[int, int]] = ContextVar("cwstore transaction")

#: The function in which a thread of a pool waits for work, by module.
_POOLS = {
    "anyio._backends._asyncio": "run",
    "concurrent.futures.thread": "_worker",
    "trio._core._thread_cache": "_work",
}
_WAITING = ("queue", "threading")  # modules of the functions that wait


def rests_in_pool(thread: int) -> bool:
    """Whether the thread runs nothing but the loop of a pool, which waits for the next call."""
    frame = _frames().get(thread)
    while frame is not None and frame.f_globals.get("__name__") in _WAITING:
        frame = frame.f_back
    if frame is None:
        return False
    module = str(frame.f_globals.get("__name__"))
    return _POOLS.get(module) == frame.f_code.co_name


def _frames() -> dict[int, FrameType]:
    """What each thread runs, by its ident; empty if nobody can look just now.

    On Python 3.11 the garbage collector may begin in the midst of it, let other threads run while
    their list is locked, and with one that starts or ends that is a deadlock (CPython 106883).
    """
    if not _looking.acquire(timeout=1):  # a child, forked while another thread was looking
        return {}
    collects = gc.isenabled()
    gc.disable()
    try:
        frames: dict[int, FrameType] = vars(sys)["_current_frames"]()
        return frames
    finally:
        if collects:
            gc.enable()
        _looking.release()


def is_suspended(task: Any) -> bool:
    """Whether a task of asyncio or trio waits for something; False for what is no such task."""
    get = getattr(task, "get_coro", None)
    coroutine = getattr(task, "coro", None) if get is None else get()
    return not getattr(coroutine, "cr_running", True)
