"""Counts the instructions of an operation of W1 to W9 and W15 to W18, beside those of a baseline.

The limit is bare apsw on a plain schema, as in `tools/bench`.

Counts do not depend on the machine or its load, only on the builds of Python and apsw: a baseline
is kept for each pair of these.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import apsw

from tools._python import arguments as accepted
from tools._python.bench import plain
from tools._python.bench.counted import COUNTED, NONE, NONE_IDLE, is_idle
from tools._python.bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[3]
BASELINE = ROOT / "tools" / "_data" / "callgrind.json"
MODULES = {"limit": "limit", "cwstore": "with_cwstore"}
#: Ids are random, so where they fall into an index differs a little.
TOLERANCE = 0.03

Counts = dict[str, dict[str, int]]


def count(folder: Path, adapter: str, workload: str) -> int:
    """Instructions of a whole process."""
    file = folder / f"{adapter}-{workload}.db"
    seed = "idle" if is_idle(workload) else "seed"
    shutil.copyfile(folder / f"{seed}{'-plain' if adapter == 'limit' else ''}.db", file)
    command = [
        *("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"),
        *(
            sys.executable,
            "-m",
            "tools._python.bench.counted",
            MODULES[adapter],
            str(file),
            workload,
        ),
    ]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or collected is None:
        raise SystemExit(f"tools/callgrind: {' '.join(command)} failed:\n{done.stderr}")
    return int(collected[1])


def count_all(workloads: Iterable[str]) -> Counts:
    """Instructions of one operation, by adapter and workload."""
    chosen = [NONE, NONE_IDLE, *workloads]
    with tempfile.TemporaryDirectory(prefix="callgrind-") as path:
        folder = Path(path)
        world = [sys.executable, "-m", "tools._python.bench.world"]
        for name, options in (("seed", ()), ("idle", ("--idle",))):
            subprocess.run([*world, *options, str(folder / f"{name}.db")], cwd=ROOT, check=True)
            plain.build(folder / f"{name}.db", folder / f"{name}-plain.db")
        counts: Counts = {}
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            for adapter in MODULES:
                totals = list(pool.map(partial(count, folder, adapter), chosen))
                counts[adapter] = {
                    workload: (total - totals[is_idle(workload)])
                    // (COUNTED[workload] * WORKLOADS[workload].operations)
                    for workload, total in zip(chosen[2:], totals[2:], strict=True)
                }
    return counts


def build() -> str:
    """What the counts depend on."""
    version = ".".join(map(str, sys.version_info[:3]))
    return f"Python {version}, apsw {apsw.apsw_version()}"


def show(counts: Counts, before: Counts) -> list[str]:
    """Print the table; the workloads that cost more than the baseline says."""
    worse: list[str] = []
    print(f"{'':4} {'limit':>12} {'cwstore':>12} {'ratio':>6} {'baseline':>12} {'change':>8}")
    for workload, mine in counts["cwstore"].items():
        limit = counts["limit"][workload]
        known = before.get("cwstore", {}).get(workload)
        compared = "" if known is None else f" {known:12,} {mine / known - 1:+8.1%}"
        print(f"{workload:4} {limit:12,} {mine:12,} {mine / limit:6.2f}{compared}")
        if known is not None and mine > known * (1 + TOLERANCE):
            worse.append(workload)
    return worse


def main() -> int:
    """0; 1 if an operation costs more than its baseline and the tolerance."""
    options = accepted.callgrind().parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("tools/callgrind: needs valgrind; on Debian: apt-get install valgrind")
    workloads = options.only.split(",") if options.only else list(COUNTED)
    if unknown := set(workloads) - COUNTED.keys():
        raise SystemExit(f"tools/callgrind: unknown: {', '.join(unknown)}")
    text = BASELINE.read_text(encoding="utf-8") if BASELINE.exists() else "{}"
    baseline: dict[str, Counts] = json.loads(text)
    before = baseline.get(build(), {})
    print(f"{build()}: instructions of one operation")
    counts = count_all(workloads)
    worse = show(counts, before)
    if options.update:
        for adapter, found in counts.items():
            baseline.setdefault(build(), {}).setdefault(adapter, {}).update(found)
        BASELINE.write_text(json.dumps(baseline, indent=1) + "\n", encoding="utf-8")
    elif not before:
        print(f"tools/callgrind: no baseline for {build()}; --update makes one", file=sys.stderr)
    elif worse:
        print(f"tools/callgrind: more than the baseline: {', '.join(worse)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
