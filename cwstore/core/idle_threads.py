"""Whether a thread that has a transaction open rests in a pool: then its code has let go of it.

That is what becomes of a dependency of a web framework that yields inside of `store.transaction()`:
it is entered on one thread of a pool and left on another one, and everybody waits for it.
"""

import sys
from types import FrameType

#: The function in which a thread of a pool waits for work, by module.
_POOLS = {
    "anyio._backends._asyncio": "run",
    "concurrent.futures.thread": "_worker",
    "trio._core._thread_cache": "_work",
}
_WAITING = ("queue", "threading")  # modules of the functions that wait


def rests_in_pool(thread: int) -> bool:
    """Whether the thread runs nothing but the loop of a pool, which waits for the next call."""
    frames: dict[int, FrameType] = vars(sys)["_current_frames"]()
    frame = frames.get(thread)
    while frame is not None and frame.f_globals.get("__name__") in _WAITING:
        frame = frame.f_back
    if frame is None:
        return False
    module = str(frame.f_globals.get("__name__"))
    return _POOLS.get(module) == frame.f_code.co_name
