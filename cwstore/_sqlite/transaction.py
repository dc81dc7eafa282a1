"""What `transaction()` returns."""

from types import TracebackType
from typing import Protocol


class Levels(Protocol):
    """Something with transactions in transactions."""

    def enter(self, block: "Block") -> None:
        """Open one more level; note in the block which one."""
        ...

    def leave(self, use: int, level: int, succeeded: bool) -> None:
        """Close that level: keep it or undo exactly it. Once it is closed, do nothing."""
        ...


class Block:
    """A `with` block is one level of a transaction.

    Ctrl-C may come at any step, also before the first one of `__exit__`: for that the levels watch
    for the block to go.
    """

    __slots__ = ("__weakref__", "_levels", "level", "use")

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self.use = 0  # number of the use of the connection that the level belongs to; 0: none
        self.level = 0  # 1: the outermost

    def __enter__(self) -> None:
        try:
            self._levels.enter(self)
        except BaseException:
            self._abandon()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._levels.leave(self.use, self.level, kind is None)
        except BaseException:
            self._abandon()
            raise

    def _abandon(self) -> None:
        self._levels.leave(self.use, self.level, succeeded=False)
