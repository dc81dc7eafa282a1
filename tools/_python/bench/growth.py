"""What each workload costs as the file grows, and what the id of a log chunk costs.

Bare apsw on a plain schema, the limit of `tools/bench`, shows how much of the growth is SQLite's:
deeper trees, and pages that fit into no cache.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cwstore import Store, status
from tools._python import arguments as accepted
from tools._python.bench import chunk_ids, limit, plain
from tools._python.bench.with_cwstore import Adapter
from tools._python.bench.workloads import WORKLOADS, calls_of
from tools._python.bench.world import AGENTS, identity

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 15
#: Calls in a round. W8 reads every task, so it is told by task. Those that create tasks come last:
#: some thousand more make the lists of a small file longer, but not those of a large one.
CALLS = {
    "W2": 2000,
    "W3": 50,
    "W6": 2000,
    "W8": 1,
    "W14": 10,
    "W18": 50,
    "count": 20,
    "tail": 100,
    "W4": 100,
    "W5a": 100,
    "W5b": 4,
    "W7": 100,
    "W9": 200,
    "move": 20,
    "purge": 1,
    "prune": 1,
    "W1": 100,
}
TASKS_AN_INITIATIVE = 500
PURGED = 200  # tasks of an initiative that is purged, two edges each
PRUNED = 1_000  # chunks of a session that is pruned


class Size:
    """A store of some size, held open."""

    def __init__(self, folder: Path, tasks: int, chunks: int) -> None:
        self.tasks, self.chunks = tasks, chunks
        self.initiatives = max(1, tasks // TASKS_AN_INITIATIVE)
        self.file = folder / f"{tasks}.db"
        started = time.perf_counter()
        command = [sys.executable, "-m", "tools._python.bench.world", str(self.file)]
        command += ["--initiatives", str(self.initiatives), "--chunks", str(chunks)]
        subprocess.run(command, cwd=ROOT, check=True)
        seconds = time.perf_counter() - started
        print(
            f"made {tasks:,} tasks and {chunks:,} chunks: {seconds:.0f} s,"
            f" {self.file.stat().st_size / 1e6:,.0f} MB",
            flush=True,
        )
        plain_file = folder / f"{tasks}-plain.db"
        plain.build(self.file, plain_file)
        self.adapter = Adapter()
        self.bare = limit.Adapter()
        for adapter, file in ((self.adapter, self.file), (self.bare, plain_file)):
            _warm(file)
            adapter.open(str(file))
        self.adapter.bind()
        #: What is not among the workloads of `tools/bench`: each does its calls of a round and
        #: returns the nanoseconds of one.
        self.own: dict[str, Callable[[int], float]] = {
            "tail": self._tail,
            "count": self._count,
            "move": self._move,
            "purge": self._purge,
            "prune": self._prune,
        }

    def round(self, name: str, number: int) -> float:
        """Nanoseconds of one operation, of processor time."""
        own = self.own.get(name)
        return own(number) if own else self._round(self.adapter, name, number)

    def bare_round(self, name: str, number: int) -> float:
        """As `round`, of bare apsw."""
        return self._round(self.bare, name, number)

    def _round(self, adapter: Adapter | limit.Adapter, name: str, number: int) -> float:
        calls = calls_of(name, number, CALLS[name], self.initiatives)
        bound = [(getattr(adapter, method), arguments) for method, arguments in calls]
        started = time.process_time_ns()
        for method, arguments in bound:
            method(*arguments)
        spent = time.process_time_ns() - started
        rows = self.initiatives * TASKS_AN_INITIATIVE if name == "W8" else 1
        return spent / len(bound) / WORKLOADS[name].operations / rows

    def _tail(self, number: int) -> float:
        """Follow a log: the last few chunks of an agent."""
        log = self.adapter.store.log_chunks
        last = self.chunks - 10 * AGENTS
        agents = [identity("agent", (number + index) % AGENTS) for index in range(CALLS["tail"])]
        started = time.process_time_ns()
        for agent in agents:
            log.find_by_agent_id(agent, after=last, limit=10)
        return (time.process_time_ns() - started) / len(agents)

    def _count(self, number: int) -> float:
        """Count the tasks of an initiative by their status."""
        tasks = self.adapter.store.tasks
        keys = [
            identity("initiative", (number + index) % self.initiatives)
            for index in range(CALLS["count"])
        ]
        started = time.process_time_ns()
        for key in keys:
            tasks.count_by_status(initiative_id=key)
        return (time.process_time_ns() - started) / len(keys)

    def _move(self, number: int) -> float:
        """Move tasks without subtasks to another phase, and back in the next round."""
        tasks = self.adapter.store.tasks
        phase = identity("phase", 0, 9 if number % 2 else 8)
        keys = [identity("task", 0, 9, index) for index in range(CALLS["move"])]
        started = time.process_time_ns()
        for key in keys:
            tasks.move(key, phase_id=phase)
        return (time.process_time_ns() - started) / len(keys)

    def _purge(self, _: int) -> float:
        """Purge an initiative that was made for it: the cost of each of its tasks."""
        store = self.adapter.store
        key = store.initiatives.create(name="to be purged").id
        tasks = store.tasks.create_many(
            {"name": "to be purged", "initiative_id": key} for _ in range(PURGED)
        )
        ids = [task.id for task in tasks]
        store.tasks.create_dependencies(
            (ids[place], ids[place - back]) for place in range(2, PURGED) for back in (1, 2)
        )
        started = time.process_time_ns()
        store.initiatives.purge(key)
        return (time.process_time_ns() - started) / PURGED

    def _prune(self, _: int) -> float:
        """Prune a session that is too much, among all others, and give its space back."""
        log = self.adapter.store.log_chunks
        for session in (1, 2):
            log.insert_chunks([("gone", "gone", session, "x" * 200)] * PRUNED)
        started = time.process_time_ns()
        report = log.prune(keep_sessions=1)
        spent = time.process_time_ns() - started
        assert report.chunks == PRUNED
        log.delete_by_agent_id("gone")
        return spent / PRUNED

    def whole_file(self, folder: Path) -> dict[str, float]:
        """Seconds of wall clock of opening, of `status` and of a backup."""
        copy = folder / "copy.db"
        found = {
            "open": median(_seconds(self._open) for _ in range(5)),
            "status": median(_seconds(lambda: status(self.file)) for _ in range(5)),
            "backup": _seconds(lambda: self.adapter.store.backup(copy)),
        }
        copy.unlink()
        return found

    def _open(self) -> None:
        Store.open(self.file).close()


def _warm(path: Path) -> None:
    """Bring the whole file into memory, as a small one is: disks are not what is compared.

    (To ask a disk for a page costs the kernel several times what reading one from memory does.)
    """
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def grow(folder: Path, sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Measure every workload at every size, the sizes in turn."""
    stores = [Size(folder, tasks, chunks) for tasks, chunks in sizes]
    rows: list[dict[str, Any]] = []
    heads = "".join(f"{store.tasks:>12,}" for store in stores)
    print(f"{'':8}{heads}   last / 10,000   bare apsw")
    for name in CALLS:
        costs = _costs(name, [store.round for store in stores])
        bare = None
        if name not in stores[0].own:
            bare = _growth(_costs(name, [store.bare_round for store in stores]), stores)
        rows.append(_row(name, costs, "µs", stores, bare))
    whole = [store.whole_file(folder) for store in stores]
    for name in whole[0]:
        milliseconds = [found[name] * 1e3 for found in whole]
        rows.append(_row(name, milliseconds, "ms", stores))
    for store in stores:
        store.adapter.close()
        store.bare.close()
    memory = [_memory(store) for store in stores]
    rows.append(_row("memory", memory, "MB", stores))
    return rows


def _costs(name: str, measures: list[Callable[[str, int], float]]) -> list[float]:
    """Microseconds of an operation at each size."""
    rounds: list[list[float]] = [[] for _ in measures]
    for number in range(-1, ROUNDS):
        for measure, spent in zip(measures, rounds, strict=True):
            cost = measure(name, number)
            if number >= 0:
                spent.append(cost)
    return [median(spent) / 1e3 for spent in rounds]


def _growth(values: list[float], stores: list[Size]) -> float:
    """The last value as a multiple of that at 10,000 tasks."""
    reference = next(
        (value for value, store in zip(values, stores, strict=True) if store.tasks == 10_000),
        values[0],
    )
    return values[-1] / reference if reference else 1.0


def _row(
    name: str, values: list[float], unit: str, stores: list[Size], bare: float | None = None
) -> dict[str, Any]:
    growth = _growth(values, stores)
    cells = "".join(f"{value:10.1f}{unit}" for value in values)
    beside = "" if bare is None else f"{bare:12.2f}"
    print(f"{name:8}{cells}{growth:16.2f}{beside}", flush=True)
    return {"what": name, "unit": unit, "values": values, "growth": growth, "bare": bare}


def _memory(store: Size) -> float:
    """Megabytes by which a process grows that reads every chunk, one after the other."""
    command = [sys.executable, "-m", "tools._python.bench.reader", str(store.file)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    chunks, kilobytes = map(int, done.stdout.split())
    assert chunks >= store.chunks
    return kilobytes / 1e3


def main() -> int:
    """Always 0: the figures are to be read."""
    options = accepted.growth().parse_args()
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="growth-") as name:
        folder = Path(name)
        if options.ids:
            figures: Any = chunk_ids.compare(folder, options.ids)
        else:
            tasks = [int(size) for size in options.sizes.split(",")]
            sizes = [(number, number) for number in tasks]
            if options.full:
                sizes[-1] = (tasks[-1], 10_000_000)
            figures = grow(folder, sizes)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
