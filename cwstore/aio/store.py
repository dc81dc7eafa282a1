"""AsyncStore: the same repositories, awaited."""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from cwstore import core
from cwstore.aio.awaited import awaited, awaited_class
from cwstore.aio.database import AsyncDatabase
from cwstore.core import public
from cwstore.core.repository import Async
from cwstore.entities.registry import Repositories, repository_class
from cwstore.store import Store

T = TypeVar("T")


@public
class AsyncStore(Repositories[Async], AsyncDatabase):
    """A store whose calls run on threads of its own.

    A cancelled call either had not begun, and then nothing happened, or it is waited for; a
    transaction that was cancelled before its commit is rolled back. The exception carries a note
    that says which. A store belongs to the event loop that opened it: elsewhere its calls raise
    ConflictError; once that loop is closed, another may close the store.
    """

    @staticmethod
    def _repository_class(attribute: str) -> Any:
        return awaited_class(repository_class(attribute))

    def _make_repository(self, attribute: str) -> Any:
        return awaited(getattr(self._store, attribute), self._lanes)

    # Its migrations and its mark are known: unlike `AsyncDatabase.open` it does not take them.
    @classmethod
    async def open(  # type: ignore[override]
        cls,
        path: str | os.PathLike[str],
        *,
        clock: Callable[[], datetime] | None = None,
        busy_timeout: float = 5.0,
        durable: bool = False,
        backup: bool = True,
        on_progress: "Callable[[core.Progress], None] | None" = None,
        read_only: bool = False,
        extensions: "Sequence[core.Extension]" = (),
        checkpoints: Literal["own", "external"] = "own",
        secrets: "core.SecretCodec | None" = None,
    ) -> Self:
        """As `Store.open`; what it is given is called on threads of the store."""
        options = {
            "clock": clock,
            "busy_timeout": busy_timeout,
            "durable": durable,
            "backup": backup,
            "on_progress": on_progress,
            "read_only": read_only,
            "extensions": extensions,
            "checkpoints": checkpoints,
            "secrets": secrets,
        }
        return await cls._open(Store.open, path, options)

    def export_initiative(self, initiative_id: str, *, logs: bool = False) -> AsyncIterator[str]:
        """As `Store.export_initiative`; the lines are read on a thread of the store."""
        store = cast(Store, self._store)
        return self._lanes.stream(store.export_initiative, initiative_id, logs=logs)

    async def import_initiative(
        self, lines: Iterable[str], *, on_conflict: Literal["error", "skip"] = "error"
    ) -> "core.ImportReport":
        """As `Store.import_initiative`; `lines` is read on a thread of the store."""
        store = cast(Store, self._store)
        return await self._lanes.aside(store.import_initiative, lines, on_conflict=on_conflict)

    if TYPE_CHECKING:

        async def transaction(self, work: Callable[[Store], T]) -> T:
            """As `AsyncDatabase.transaction`; `work` gets the synchronous store."""
            ...
