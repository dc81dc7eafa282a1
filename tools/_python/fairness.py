"""Let processes, then threads, write rows as fast as they can; show how long each write took."""

import statistics
import sys
import tempfile
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Barrier, Thread
from unittest.mock import patch

from cwstore import Store
from tools._python import arguments as accepted

# Milliseconds between two looks of SQLite's own busy handler; from then on 100.
_DELAYS = (1, 2, 5, 10, 15, 20, 25, 25, 25, 50, 50)


def _as_sqlite_waits() -> None:
    """Let every process ask when it likes."""

    def wait(earlier_calls: int) -> bool:
        time.sleep((_DELAYS[earlier_calls] if earlier_calls < len(_DELAYS) else 100) / 1000)
        return True

    patch("cwstore._sqlite.write_queue.WriteQueue.may_barge", return_value=True).start()
    patch("cwstore._sqlite.write_queue.queueing_busy_handler", return_value=wait).start()


def _write(store: Store, seconds: float) -> list[float]:
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        store.initiatives.create(name="x")
        took.append(time.perf_counter() - began)
    return took


def write(path: str, seconds: float, queueing: bool, pipe: "Connection[list[float], str]") -> None:
    """Write until the time is over; send the seconds of each write."""
    if not queueing:
        _as_sqlite_waits()
    with Store.open(path, busy_timeout=60) as store:
        store.initiatives.create(name="the first, which imports and prepares what it needs")
        pipe.send([])
        pipe.recv()
        took = _write(store, seconds)
        pipe.send([])
        pipe.recv()  # until the others have finished as well: ending costs them time
    pipe.send(took)


def report(what: str, per_writer: list[list[float]], seconds: float) -> None:
    """One line of output."""
    took = sorted(second for one in per_writer for second in one)
    median, slowest = statistics.median(took), took[-1]
    print(
        f"{what}: {len(took) / seconds:,.0f} writes/s, median {median * 1e6:,.0f} µs,"
        f" 99.9 % {took[int(len(took) * 0.999)] * 1e6:,.0f} µs,"
        f" slowest {slowest * 1e6:,.0f} µs = {slowest / median:,.0f} x median;"
        f" fewest and most of a writer {min(map(len, per_writer)):,} and"
        f" {max(map(len, per_writer)):,}",
        flush=True,
    )


def measure_threads(threads: int, seconds: float) -> None:
    """One round of threads that share a store."""
    per_writer: list[list[float]] = []
    start = Barrier(threads)

    def work() -> None:
        start.wait()
        per_writer.append(_write(store, seconds))

    with (
        tempfile.TemporaryDirectory() as directory,
        Store.open(Path(directory) / "store.db", busy_timeout=60) as store,
    ):
        workers = [Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    report(f"{threads} threads, in the queue", per_writer, seconds)


def measure_processes(processes: int, seconds: float, queueing: bool) -> None:
    """One round of processes."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "store.db")
        Store.open(path).close()
        pipes: list[Connection[str, list[float]]] = []
        workers: list[BaseProcess] = []
        for _ in range(processes):
            mine, theirs = context.Pipe()
            workers.append(context.Process(target=write, args=(path, seconds, queueing, theirs)))
            workers[-1].start()
            pipes.append(mine)
        for _ in ("ready", "finished"):
            for pipe in pipes:
                pipe.recv()
            for pipe in pipes:
                pipe.send("go on")
        per_process = [pipe.recv() for pipe in pipes]
        for worker in workers:
            worker.join()
    report(
        f"{processes} processes, {'in the queue' if queueing else 'as SQLite waits'}",
        per_process,
        seconds,
    )


def main() -> int:
    """Interleave the ways of waiting."""
    options = accepted.fairness().parse_args()
    for _ in range(options.rounds):
        for queueing in (False, True):
            measure_processes(options.writers, options.seconds, queueing)
        measure_threads(options.writers, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
