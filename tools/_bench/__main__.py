"""Runs the benchmarks and prints the table; see tools/bench --help."""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools._bench import report
from tools._bench.runner import ADAPTERS, Bench
from tools._bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
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
}


def disagreements(bench: Bench) -> list[str]:
    """Adapters that do not return the limit's rows."""
    found: list[str] = []
    for workload, left_out in AGREED.items():
        samples = bench.samples(workload)
        first = next(iter(samples))
        for name, rows in samples.items():
            if _without(rows, left_out) != _without(samples[first], left_out):
                found.append(f"{workload}: {name} returns other rows than {first}")
    return found


def _without(rows: Any, left_out: tuple[int, ...]) -> Any:
    return [value for index, value in enumerate(rows) if index not in left_out]


def _chosen(text: str | None, known: list[str]) -> list[str]:
    chosen = text.split(",") if text else known
    unknown = [name for name in chosen if name not in known]
    if unknown:
        raise SystemExit(f"tools/bench: unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [name for name in known if name in chosen]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tools/bench",
        description="Time cwstore beside what a user would pick instead, on cwstore's own schema.",
        epilog="Ratios are to `limit`: bare apsw, prepared statements, rows as tuples. `same-sql`"
        " is the limit with cwstore's own statements: what lies between the two is SQL.",
    )
    parser.add_argument("--only", metavar="W1,W7", help="these workloads")
    parser.add_argument("--adapters", metavar="A,B", help=f"of {', '.join(ADAPTERS)}")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, fewer calls")
    parser.add_argument("--rounds", type=int, help="default 21; with --quick 9")
    parser.add_argument(
        "--processor", action="store_true", help="ratios of processor time, for a busy machine"
    )
    parser.add_argument("--json", metavar="FILE", help="all figures, for programs")
    return parser.parse_args()


def main() -> int:
    """0, or 1 if an adapter returns other rows or writes other pages than the limit."""
    options = _options()
    names = _chosen(options.adapters, list(ADAPTERS))
    workloads = _chosen(options.only, list(WORKLOADS))
    rounds = options.rounds or (9 if options.quick else 21)
    key = "processor_ratio" if options.processor else "ratio"
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=cache, prefix="bench-") as folder:
        bench = Bench(ROOT, Path(folder), names, rounds, 0.4 if options.quick else 1.0)
        faults = disagreements(bench)
        others = [name for name in names if name != "limit"]
        print(report.header(others), flush=True)
        for workload in workloads:
            row = report.row_of(workload, bench.measure(workload))
            rows.append(row)
            faults += report.cheats(row)
            print(report.line(row, others, key), flush=True)
        bench.end()
    where = report.machine()
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    if options.json:
        text = json.dumps({"machine": where, "rounds": rounds, "workloads": rows}, indent=1)
        Path(options.json).write_text(text + os.linesep, encoding="utf-8")
    for fault in faults:
        print(f"tools/bench: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
