"""What `transaction()` returns."""

from types import TracebackType
from typing import Protocol


class Levels(Protocol):
    """Something with transactions in transactions."""

    def enter(self) -> None:
        """Open one more level."""
        ...

    def leave(self, succeeded: bool) -> None:
        """Close the innermost level: keep it or undo exactly it."""
        ...


class Block:
    """A `with` block is one level. It has no state of its own, so one object serves every use."""

    __slots__ = ("_levels",)

    def __init__(self, levels: Levels) -> None:
        self._levels = levels

    def __enter__(self) -> None:
        self._levels.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._levels.leave(kind is None)
