"""How a connection waits for a lock that another one holds."""

from collections.abc import Callable

from cwstore.core.clock import real_time as time

BUSY_TIMEOUT = 5.0  # seconds, where no store says otherwise
LONG = 1.0  # seconds of waiting for the write lock, or of a statement: then it is logged


def busy_handler(busy_timeout: float) -> Callable[[int], bool]:
    """A busy handler for one connection. It gives up after `busy_timeout` seconds.

    SQLite's own back-off notices some 10 ms late that a lock is free. This handler looks every
    0.1 ms for the first 20 looks, then every 0.5 ms, and after a second every 2 ms.
    """
    began = deadline = 0.0

    def wait(earlier_calls: int) -> bool:
        nonlocal began, deadline
        now = time.monotonic()
        if earlier_calls == 0:
            began, deadline = now, now + busy_timeout
        if now >= deadline:
            return False
        pause = 0.0005
        if earlier_calls < 20:
            pause = 0.0001
        elif now - began > 1.0:
            pause = 0.002
        time.sleep(min(pause, deadline - now))
        return True

    return wait
