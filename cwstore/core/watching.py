"""Long work tells how far it is to whoever watches: the commands do, for their progress bars."""

from collections.abc import Callable, Generator
from contextvars import ContextVar

from cwstore.core.blocks import block

#: Is told how much is done, of how much (0: unknown), and a note.
Watcher = Callable[[float, float, str], None]

_watcher: ContextVar[Watcher | None] = ContextVar("cwstore watcher", default=None)


@block
def watched_by(watcher: Watcher) -> Generator[None]:
    """What this thread does inside tells `watcher`. What that raises ends the work."""
    before = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(before)


def tell(done: float, of: float, note: str) -> None:
    """Say how far the work is. Nothing happens if nobody watches."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(done, of, note)
