"""Let processes write single rows as fast as they can, and show how long each write took."""

import argparse
import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

from cwstore import Store
from cwstore._courtesy import Note


def _pass(*_: object) -> float:
    """Let everybody through."""
    return 0.0


def write(path: str, seconds: float, line: bool, pipe: "Connection[list[float], str]") -> None:
    """Write until the time is over; send the seconds of each write."""
    if not line:
        patch.multiple(Note, give_way=_pass).start()
    took: list[float] = []
    with Store.open(path, busy_timeout=60) as store:
        pipe.send([])
        pipe.recv()
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            store.initiatives.create(name="x")
            took.append(time.perf_counter() - began)
    pipe.send(took)


def measure(processes: int, seconds: float, line: bool) -> None:
    """One round, one line of output."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "store.db")
        Store.open(path).close()
        pipes: list[Connection[str, list[float]]] = []
        workers: list[BaseProcess] = []
        for _ in range(processes):
            mine, theirs = context.Pipe()
            workers.append(context.Process(target=write, args=(path, seconds, line, theirs)))
            workers[-1].start()
            pipes.append(mine)
        for pipe in pipes:
            pipe.recv()
        for pipe in pipes:
            pipe.send("go")
        per_process = [pipe.recv() for pipe in pipes]
        for worker in workers:
            worker.join()
    took = sorted(second for one in per_process for second in one)
    median, slowest = statistics.median(took), took[-1]
    print(
        f"{processes} writers, {'giving way' if line else 'as SQLite has it'}:"
        f" {len(took) / seconds:,.0f} writes/s, median {median * 1e6:,.0f} µs,"
        f" 99.9 % {took[int(len(took) * 0.999)] * 1e6:,.0f} µs,"
        f" slowest {slowest * 1e6:,.0f} µs = {slowest / median:,.0f} x median;"
        f" fewest and most of a process {min(map(len, per_process)):,} and"
        f" {max(map(len, per_process)):,}",
        flush=True,
    )


def main() -> int:
    """Interleave both ways of waiting."""
    parser = argparse.ArgumentParser(prog="tools/fairness", description=__doc__)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for line in (False, True):
            measure(options.processes, options.seconds, line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
