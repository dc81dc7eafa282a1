"""What `transaction()` returns."""

from types import TracebackType
from typing import Protocol


class Levels(Protocol):
    """Something with transactions in transactions."""

    def enter(self) -> int:
        """Open one more level; the number of the transaction that it is in."""
        ...

    def leave(self, transaction: int, succeeded: bool) -> None:
        """Close the innermost level of that transaction: keep it or undo exactly it."""
        ...


class Block:
    """A `with` block is one level of the transaction that it was entered in."""

    __slots__ = ("_levels", "_transaction")

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._transaction = 0

    def __enter__(self) -> None:
        self._transaction = self._levels.enter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._levels.leave(self._transaction, kind is None)
