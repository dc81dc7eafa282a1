"""What awaiting a call costs over calling it, and what listening or polling costs a write.

All ways take turns, round by round, in one process; shown are medians of wall clock.
"""

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from cwstore import AsyncStore, Store
from tools._python import arguments as accepted
from tools._python.listeners import measure as measure_listeners
from tools._python.pollers import measure as measure_pollers

AT_ONCE = 50  # calls gathered
READS, WRITES = 2_000, 1_000  # calls in a round


def read_sync(store: Store, id: str) -> float:
    """Seconds of a point read, called."""
    find = store.tasks.find_by_id
    started = time.perf_counter()
    for _ in range(READS):
        find(id)
    return (time.perf_counter() - started) / READS


async def read_awaited(store: AsyncStore, id: str) -> float:
    """Seconds of one that is awaited, with others."""
    find = store.tasks.find_by_id
    started = time.perf_counter()
    for _ in range(READS // AT_ONCE):
        await asyncio.gather(*[find(id) for _ in range(AT_ONCE)])
    return (time.perf_counter() - started) / READS


async def read_in_threads(store: Store, id: str) -> float:
    """Seconds of one by `asyncio.to_thread`, with others."""
    find = store.tasks.find_by_id
    started = time.perf_counter()
    for _ in range(READS // AT_ONCE):
        await asyncio.gather(*[asyncio.to_thread(find, id) for _ in range(AT_ONCE)])
    return (time.perf_counter() - started) / READS


def write(store: Store) -> float:
    """Seconds of a write of a row."""
    insert = store.log_chunks.insert_chunk
    started = time.perf_counter()
    for _ in range(WRITES):
        insert("agent", agent_name="agent", session_number=1, content="x" * 1000)
    return (time.perf_counter() - started) / WRITES


def write_heard(store: Store) -> float:
    """Seconds of one that somebody listens to, who reads what he is told once in a round."""
    with store.changes() as feed:
        spent = write(store)
        assert len(feed.get(timeout=0)) == WRITES
    return spent


def show(name: str, unit: list[float], *others: tuple[str, list[float]]) -> None:
    """One line: the first in µs, the others as ratios to it."""
    base = median(unit)
    cells = [f"{what} {median(spent) / base:.2f}" for what, spent in others]
    print(f"{name} {base * 1e6:.1f} µs = 1; {'; '.join(cells)}", flush=True)


async def measure(store: Store, path: Path, rounds: int) -> None:
    """All ways in turn."""
    task = store.tasks.create(name="read again and again").id
    sync: list[float] = []
    awaited: list[float] = []
    threads: list[float] = []
    unheard: list[float] = []
    listened: list[float] = []
    ways: list[tuple[list[float], Callable[[], float]]] = [
        (sync, lambda: read_sync(store, task)),
        (unheard, lambda: write(store)),
        (listened, lambda: write_heard(store)),
    ]
    async with await AsyncStore.open(path) as other:
        for number in range(-1, rounds):
            gc.collect()
            found = [(spent, way()) for spent, way in ways]
            found.append((awaited, await read_awaited(other, task)))
            found.append((threads, await read_in_threads(store, task)))
            for spent, seconds in found if number >= 0 else []:
                spent.append(seconds)
    show("point read", sync, ("awaited", awaited), ("asyncio.to_thread", threads))
    show("log chunk", unheard, ("with a listener", listened))


def main() -> int:
    """Always 0: the figures are to be read."""
    options = accepted.overhead().parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.pollers:
            measure_pollers(Path(folder), options.pollers, options.rounds)
            return 0
        if options.listeners:
            measure_listeners(Path(folder), options.listeners, options.rounds)
            return 0
        path = Path(folder) / "store.db"
        with Store.open(path) as store:
            asyncio.run(measure(store, path, options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
