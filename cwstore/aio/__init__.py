"""AsyncStore and AsyncDatabase, awaited; under asyncio, and under trio through anyio."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore.aio.database import AsyncDatabase
    from cwstore.aio.store import AsyncStore

__all__ = ["AsyncDatabase", "AsyncStore"]


def __getattr__(name: str) -> object:
    """Import a name on first use.

    A package that imports its own modules when it is imported fails where two threads import it and
    one of them at once: each waits for the other, and Python hands out half a module.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = name.removeprefix("Async").lower()
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
