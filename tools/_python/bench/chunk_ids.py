"""What the unique text id of a log chunk costs: random, rising with time, or none at all."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from cwstore import Store
from cwstore.core.ids import make_rising_id
from tools._python.bench.common import APPEND, BEGIN, make_id, now
from tools._python.bench.limit import connect
from tools._python.bench.world import AGENTS, CHUNK, identity

ROUNDS, SINGLE, BATCHES = 15, 200, 5


class Log:
    """A file of cwstore's schema with many chunks, whose ids come from `make`."""

    def __init__(self, folder: Path, name: str, make: Callable[[], str]) -> None:
        self.name, self.make, self.file = name, make, folder / f"{name}.db"
        Store.open(self.file).close()
        self.connection = connect(str(self.file))
        if name == "none":  # the index of a UNIQUE column cannot be dropped alone
            self._drop_unique()
        self.run = self.connection.cursor().execute
        self.agents = [(identity("agent", number), f"agent-{number}") for number in range(AGENTS)]

    def _drop_unique(self) -> None:
        texts = self.connection.execute(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = 'agent_log_chunks' AND sql IS NOT NULL"
        ).fetchall()
        self.connection.execute("DROP TABLE agent_log_chunks").fetchall()
        for (text,) in texts:
            self.connection.execute(text.replace("UNIQUE", "", 1) if "TABLE" in text else text)

    def rows(self, count: int) -> list[tuple[object, ...]]:
        """Binds of new chunks, of all agents in turn."""
        agents, make = self.agents, self.make
        return [(make(), *agents[n % AGENTS], 1, CHUNK, now()) for n in range(count)]

    def fill(self, count: int) -> float:
        """Append many; the seconds it took."""
        started = time.perf_counter()
        self.connection.execute("PRAGMA cache_size = -1000000")
        for first in range(0, count, 10_000):
            self.run(BEGIN)
            rows = self.rows(min(10_000, count - first))
            self.connection.cursor().executemany(APPEND, rows)
            self.run("COMMIT")
        self.connection.execute("PRAGMA cache_size = -2000")
        self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return time.perf_counter() - started

    def one_by_one(self) -> tuple[float, float]:
        """Nanoseconds of wall clock and of processor time of an append in its own transaction."""
        rows, run = self.rows(SINGLE), self.run
        started, processor = time.perf_counter_ns(), time.process_time_ns()
        for row in rows:
            run(BEGIN)
            run(APPEND, row)
            run("COMMIT")
        spent = time.perf_counter_ns() - started
        return spent / SINGLE, (time.process_time_ns() - processor) / SINGLE

    def batched(self) -> tuple[float, float]:
        """The same, 100 in a transaction."""
        batches = [self.rows(100) for _ in range(BATCHES)]
        cursor = self.connection.cursor()
        started, processor = time.perf_counter_ns(), time.process_time_ns()
        for rows in batches:
            self.run(BEGIN)
            cursor.executemany(APPEND, rows)
            self.run("COMMIT")
        spent, count = time.perf_counter_ns() - started, 100 * BATCHES
        return spent / count, (time.process_time_ns() - processor) / count


def _rising_id() -> str:
    return make_rising_id(time.time_ns() // 1000)


def compare(folder: Path, count: int) -> dict[str, Any]:
    """Append to logs of `count` chunks that differ in their ids, in turn."""
    makers = {"random": make_id, "rising": _rising_id, "none": make_id}
    logs = [Log(folder, name, make) for name, make in makers.items()]
    figures: dict[str, Any] = {"chunks": count}
    for log in logs:
        seconds = log.fill(count)
        size = log.file.stat().st_size
        figures[log.name] = {"fill_seconds": seconds, "bytes": size}
        print(f"{log.name:8} {seconds:8.0f} s to fill, {size / 1e6:10,.0f} MB", flush=True)
    for what, measure in (("one by one", Log.one_by_one), ("100 at once", Log.batched)):
        spent: dict[str, list[tuple[float, float]]] = {log.name: [] for log in logs}
        for _ in range(ROUNDS):
            for log in logs:
                spent[log.name].append(measure(log))
        none = [median(column) for column in zip(*spent["none"], strict=True)]
        for name, pairs in spent.items():
            wall, processor = (median(column) for column in zip(*pairs, strict=True))
            figures[name][what] = {"wall_ns": wall, "processor_ns": processor}
            print(
                f"{what:12} {name:8} {wall / 1e3:8.1f} µs ({wall / none[0]:.2f} of no unique id),"
                f" processor {processor / 1e3:8.1f} µs ({processor / none[1]:.2f})",
                flush=True,
            )
    for log in logs:
        log.connection.close()
    return figures
