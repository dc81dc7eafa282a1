"""Runs the benchmarks on PostgreSQL and prints the tables; see tools/bench --help."""

import gc
import json
import sys
from importlib import import_module
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

from tools._python import arguments as accepted
from tools._python.bench import world
from tools._python.bench.workloads import WORKLOADS, calls_of
from tools._python.bench_postgres import claims
from tools._python.postgres import Server, running_server

#: How much cwstore may cost: as often as plain psycopg, which commits each write by itself.
READS, WRITES = 1.3, 1.5
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
#: A server as it is installed: each COMMIT waits for the disk.
DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}


class Bench:
    """Each adapter has a database and a connection of its own."""

    def __init__(self, server: Server) -> None:
        template = server.new_database()
        world.build(server.address(template), INITIATIVES, CHUNKS)
        self._adapters: dict[str, Any] = {}
        for name, module in ADAPTERS.items():
            database = server.new_database(template)
            server.run(f"ALTER DATABASE {database} SET client_min_messages = warning")
            adapter = import_module(f"tools._python.{module}").Adapter()
            adapter.open(server.address(database))
            if hasattr(adapter, "bind"):
                adapter.bind()
            self._adapters[name] = adapter

    def measure(self, workload: str, rounds: int, scale: float) -> dict[str, list[float]]:
        """Nanoseconds of an operation, by adapter and round; the first round is not told."""
        of = WORKLOADS[workload]
        count = max(1, round(of.calls * scale))
        found: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            calls = calls_of(workload, number, count, INITIATIVES)
            for name, adapter in self._adapters.items():
                method = getattr(adapter, calls[0][0])
                if method is not None:
                    took = _time(method, [arguments for _, arguments in calls])
                    found.setdefault(name, []).append(took / count / of.operations)
        return {name: took[1:] for name, took in found.items()}

    def close(self) -> None:
        """Close the connections."""
        for adapter in self._adapters.values():
            adapter.close()


def _time(method: Any, calls: list[tuple[object, ...]]) -> int:
    gc.collect()
    started = perf_counter_ns()
    for arguments in calls:
        method(*arguments)
    return perf_counter_ns() - started


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
    rounds = options.rounds or (5 if options.quick else 11)
    wanted = options.only.split(",") if options.only else [*TARGETS, "claims"]
    figures: dict[str, Any] = {}
    with running_server(**DURABLE) as server:
        bench = Bench(server)
        names = "".join(f" {name:>10}" for name in ADAPTERS if name != "psycopg")
        print(f"{'':30} {'psycopg':>11}{names}", flush=True)
        for workload in [one for one in TARGETS if one in wanted]:
            found = bench.measure(workload, rounds, 0.1 if options.quick else 0.25)
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
