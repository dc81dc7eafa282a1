"""AsyncStore and AsyncDatabase, awaited; under asyncio, and under trio through anyio."""

from cwstore.aio.database import AsyncDatabase
from cwstore.aio.store import AsyncStore

__all__ = ["AsyncDatabase", "AsyncStore"]
