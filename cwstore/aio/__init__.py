"""AsyncStore: the same repositories, awaited; under asyncio, and under trio through anyio."""

from cwstore.aio.store import AsyncStore

__all__ = ["AsyncStore"]
