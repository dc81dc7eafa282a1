"""What listening in other processes costs a writer, and how late they hear:
`tools/overhead --listeners 1`.

Rounds of each kind of write with and without them take turns.
"""

import json
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from threading import Event

from cwstore import ChangeFeed, ChangeOperation, Store
from tools._python.pollers import Pollers

_WRITES = 200  # in a round, one after another
_HEARD = 50  # in a round, at rest in between
_APART = 0.003  # seconds between two of these

_NEVER = Event()


def listen(file: str) -> None:
    """The process: rests until it reads "p", then listens, and tells at "r" when it heard what."""
    with Store.open(file) as store:
        feed: ChangeFeed | None = None
        heard: list[float] = []
        print("ready", flush=True)
        while True:
            if feed is not None:
                changes = feed.get(timeout=0.2)
                now = time.monotonic()
                heard += [now for one in changes if one.operation is ChangeOperation.INSERT]
            if select.select([sys.stdin], [], [], 0 if feed else None)[0]:
                word = sys.stdin.readline().strip()
                if not word:
                    return
                if feed is not None:
                    feed.close()
                feed = store.changes() if word == "p" else None
                print(json.dumps(heard), flush=True)
                heard.clear()


def _median(write: Callable[[int], object]) -> float:
    """Seconds of one of some writes, each told its number."""
    spent: list[float] = []
    for number in range(_WRITES):
        started = time.perf_counter()
        write(number)
        spent.append(time.perf_counter() - started)
    return median(spent)


def _update(store: Store, tasks: list[str]) -> float:
    return _median(
        lambda number: store.tasks.update(
            tasks[number % len(tasks)], status="blocked" if number % 2 else "pending"
        )
    )


def _append(store: Store) -> float:
    """Of 1 kB."""
    return _median(
        lambda _: store.log_chunks.insert_chunk(
            "agent", agent_name="agent", session_number=1, content="x" * 1000
        )
    )


def _claim(store: Store) -> float:
    """Of a task that is there for it; what was claimed is done afterwards."""
    for _ in range(_WRITES):
        store.tasks.create(name="claimed", priority="high")
    claimed: list[str] = []

    def claim(_: int) -> None:
        task = store.tasks.claim_next_ready()
        claimed.extend([task.id] if task else [])

    spent = _median(claim)
    for task_id in claimed:
        store.tasks.complete(task_id)
    return spent


def _heard_creates(store: Store) -> list[float]:
    """When each of some tasks was there."""
    there: list[float] = []
    for _ in range(_HEARD):
        _NEVER.wait(_APART)
        store.tasks.create(name="heard")
        there.append(time.monotonic())
    return there


def measure(folder: Path, number: int, rounds: int) -> None:
    """Print what each write costs alone and heard, and the delays."""
    file = folder / "listeners.db"
    delays: list[float] = []
    with Store.open(file) as store:
        tasks = [store.tasks.create(name="t").id for _ in range(20)]
        ways: dict[str, Callable[[], float]] = {
            "update": lambda: _update(store, tasks),
            "create": lambda: _median(lambda _: store.tasks.create(name="made")),
            "append": lambda: _append(store),
            "claim": lambda: _claim(store),
        }
        alone: dict[str, list[float]] = {what: [] for what in ways}
        heard: dict[str, list[float]] = {what: [] for what in ways}
        listeners = Pollers(file, number, "tools._python.listeners")
        for _ in range(rounds):
            for what, way in ways.items():
                way()
                alone[what].append(way())
            listeners.tell("p")
            listeners.answers()
            there = _heard_creates(store)
            for what, way in ways.items():
                way()
                heard[what].append(way())
            _NEVER.wait(0.3)
            listeners.tell("r")
            for answer in listeners.answers():
                delays += [at - then for then, at in zip(there, json.loads(answer), strict=False)]
        listeners.end()
    for what in ways:
        ratio = median(two / one for one, two in zip(alone[what], heard[what], strict=True))
        print(
            f"{what}, alone {median(alone[what]) * 1e6:.1f} µs, heard by {number} elsewhere"
            f" {median(heard[what]) * 1e6:.1f} µs; median of the rounds' ratios {ratio:.2f}"
        )
    delays.sort()
    print(
        f"heard after {median(delays) * 1e3:.1f} ms, 99 of 100 within"
        f" {delays[len(delays) * 99 // 100] * 1e3:.1f} ms, the last after {delays[-1] * 1e3:.1f} ms"
    )


if __name__ == "__main__":
    listen(sys.argv[1])
