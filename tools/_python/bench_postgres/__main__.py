"""Runs the benchmarks on PostgreSQL and prints the tables; see tools/bench --help."""

import gc
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from tools._python import arguments as accepted
from tools._python.bench import world
from tools._python.bench.child import plain
from tools._python.bench.workloads import WORKLOADS, calls_of
from tools._python.bench_postgres import claims
from tools._python.postgres import Server, running_server

#: How much cwstore may cost: as often as plain psycopg, which commits each write by itself.
READS, WRITES = 1.3, 1.5
#: How much it may cost, by workload.
TARGETS = {
    **dict.fromkeys(("W2", "W3", "W6", "W14"), READS),
    **dict.fromkeys(("W1", "W4", "W5a", "W5b", "W7"), WRITES),
}
ADAPTERS = {
    "psycopg": "bench_postgres.with_psycopg",
    "sqlalchemy": "bench_postgres.with_alchemy",
    "cwstore": "bench.with_cwstore",
}
INITIATIVES, CHUNKS = 4, 500
#: Calls of a round, where they are not 50.
CALLS = {"W2": 100, "W6": 100, "W5b": 3, "W14": 10}
#: A server as it is installed: each COMMIT waits for the disk.
DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}


class Bench:
    """Each adapter has a database and a connection of its own."""

    def __init__(self, server: Server, names: Sequence[str], initiatives: int) -> None:
        self._initiatives = initiatives
        template = server.new_database()
        world.build(server.address(template), initiatives, CHUNKS)
        self._adapters: dict[str, Any] = {}
        for name in names:
            module = ADAPTERS[name]
            database = server.new_database(template)
            adapter = import_module(f"tools._python.{module}").Adapter()
            adapter.open(server.address(database))
            if hasattr(adapter, "bind"):
                adapter.bind()
            self._adapters[name] = adapter

    def measure(self, workload: str, calls: int) -> dict[str, list[float]]:
        """Nanoseconds of an operation, by adapter and call. The first tenth is not told.

        The adapters take turns at each call: what disturbs the machine disturbs all alike.
        """
        able = [
            (name, method)
            for name, adapter in self._adapters.items()
            if (method := getattr(adapter, calls_of(workload, 0, 1)[0][0])) is not None
        ]
        found: dict[str, list[float]] = {name: [] for name, _ in able}
        operations = WORKLOADS[workload].operations
        early = max(5, calls // 10)
        gc.collect()
        made = calls_of(workload, 0, calls + early, self._initiatives)
        for number, (_, arguments) in enumerate(made):
            for name, method in _turned(able, number):
                started = perf_counter_ns()
                method(*arguments)
                found[name].append((perf_counter_ns() - started) / operations)
        return {name: took[early:] for name, took in found.items()}

    def samples(self, workload: str) -> dict[str, object]:
        """What the first call of a workload returns, in plain values, by adapter."""
        method, arguments = calls_of(workload, 0, 1, self._initiatives)[0]
        return {
            name: plain(getattr(adapter, method)(*arguments))
            for name, adapter in self._adapters.items()
        }

    def close(self) -> None:
        """Close the connections."""
        for adapter in self._adapters.values():
            adapter.close()


def _turned(able: list[Any], number: int) -> list[Any]:
    start = number % len(able)
    return able[start:] + able[:start]


def line(workload: str, found: dict[str, list[float]]) -> str:
    """One workload: the median of psycopg, and everyone's ratio to it."""
    limit = found["psycopg"]
    cells = "".join(
        f" {_ratio(found[name], limit):10.2f}" if name in found else f" {'n/a':>10}"
        for name in ADAPTERS
        if name != "psycopg"
    )
    missed = "  MISSED" if _ratio(found["cwstore"], limit) > TARGETS[workload] else ""
    title = WORKLOADS[workload].title
    return f"{title:30} {median(limit) / 1e3:8.0f} µs{cells}   <= {TARGETS[workload]}{missed}"


def _ratio(mine: list[float], limit: list[float]) -> float:
    return median(a / b for a, b in zip(mine, limit, strict=True))


def main() -> int:
    """Print both tables."""
    options = accepted.bench().parse_args()
    rounds = options.rounds or (9 if options.quick else 21)
    wanted = options.only.split(",") if options.only else [*TARGETS, "claims"]
    figures: dict[str, Any] = {}
    with running_server(**DURABLE) as server:
        bench = Bench(server, [*ADAPTERS], INITIATIVES)
        names = "".join(f" {name:>10}" for name in ADAPTERS if name != "psycopg")
        print(f"{'':30} {'psycopg':>11}{names}", flush=True)
        for workload in [one for one in TARGETS if one in wanted]:
            found = bench.measure(workload, rounds * CALLS.get(workload, 50))
            figures[workload] = {name: median(took) for name, took in found.items()}
            print(line(workload, found), flush=True)
        bench.close()
        if "claims" in wanted:
            for name, rates in claims.measure(server, options).items():
                figures[f"claims {name}"] = rates
                print(claims.line(name, rates), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
