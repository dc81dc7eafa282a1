"""Runs the benchmarks and prints the table; see tools/bench --help."""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools._python import arguments as accepted
from tools._python.bench import node, report
from tools._python.bench.adapters import ADAPTERS
from tools._python.bench.runner import Bench
from tools._python.bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[3]
#: Calls that return the same from every adapter; the positions of ids and stamps are left out.
AGREED = {
    "W1": (0, 13, 14),
    "W2": (),
    "W3": (),
    "W4": (14,),
    "W6": (),
    "W7": (7, 10),
    "W8": (),
    "W14": (),
    "W15": (),
    "W16": (14,),
    "W17": (14,),
    "W18": (),
}


def disagreements(bench: Bench) -> list[str]:
    """Adapters that do not return the limit's rows."""
    found: list[str] = []
    for workload, left_out in AGREED.items():
        samples = bench.samples(workload)
        first = next(iter(samples))
        for name, rows in samples.items():  # of those that can
            if _without(rows, left_out) != _without(samples[first], left_out):
                found.append(f"{workload}: {name} returns other rows than {first}")
    return found


def _without(rows: Any, left_out: tuple[int, ...]) -> Any:
    return [value for index, value in enumerate(rows or ()) if index not in left_out]


def _chosen(text: str | None, known: list[str]) -> list[str]:
    chosen = text.split(",") if text else known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"tools/bench: unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [name for name in known if name in chosen]


def main() -> int:
    """0, or 1 if an adapter returns other rows or writes other pages than the limit."""
    options = accepted.bench().parse_args()
    plain = options.schema == "plain"
    names = _chosen(
        options.adapters, [name for name in ADAPTERS if not plain or name != "same-sql"]
    )
    missing = node.install(ROOT) if node.SCRIPT.keys() & {*names} else ""
    if missing:
        print(f"tools/bench: without better-sqlite3 and Drizzle: {missing}", file=sys.stderr)
        names = [name for name in names if name not in node.SCRIPT]
    workloads = _chosen(options.only, list(WORKLOADS))
    rounds = options.rounds or (9 if options.quick else 21)
    key = "processor_ratio" if options.processor else "ratio"
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=cache, prefix="bench-") as folder:
        scale = 0.4 if options.quick else 1.0
        bench = Bench(ROOT, Path(folder), names, rounds, scale, plain=plain)
        faults = disagreements(bench)
        others = [name for name in names if name != "limit"]
        print(report.header(others), flush=True)
        for workload in workloads:
            row = report.row_of(workload, bench.measure(workload), plain=plain)
            rows.append(row)
            faults += report.cheats(row, plain=plain)
            print(report.line(row, others, key), flush=True)
        bench.end()
    where = report.machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    if options.json:
        figures = {"machine": where, "schema": options.schema, "rounds": rounds, "workloads": rows}
        text = json.dumps(figures, indent=1)
        Path(options.json).write_text(text + os.linesep, encoding="utf-8")
    for fault in faults:
        print(f"tools/bench: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
