"""Let processes write and read all the time, and show how long the write-ahead log becomes."""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

from cwstore import Store
from cwstore._sqlite.checkpoint import WalCheckpointer
from cwstore._sqlite.connection import connect_reader
from tools._python import arguments as accepted

_LOOK = 0.01  # seconds between two looks at the size of the log


def _never(*_: object) -> int:
    """Leave the log to SQLite."""
    return sys.maxsize


def work(
    path: str, kind: str, options: argparse.Namespace, policy: bool, pipe: "Connection[object]"
) -> None:
    """Write or read until the time is over; send the seconds of each call."""
    if not policy:
        patch.multiple(WalCheckpointer, after_commit=_never).start()
    took: list[float] = []
    with Store.open(path, busy_timeout=60) as store:
        chunks = [("agent", "agent", 1, "x" * 300)] * 4

        def call() -> None:
            if kind == "writes":
                store.log_chunks.insert_chunks(chunks)
            else:
                store.log_chunks.find_by_agent_id("agent", limit=200)

        def call_until_the_end() -> None:
            while (began := time.perf_counter()) < end:
                call()
                took.append(time.perf_counter() - began)

        call()
        pipe.send("ready")
        pipe.recv()
        end = time.perf_counter() + options.seconds
        workers = [threading.Thread(target=call_until_the_end) for _ in range(options.threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    pipe.send(took)


def watch(path: str, seconds: float, long_read: float) -> dict[str, int]:
    """The largest size of the log; with a long read, also while it lasts and when it is over."""
    began = time.perf_counter()
    largest: dict[str, int] = defaultdict(int)
    reader, pause = None, threading.Event()
    while (now := time.perf_counter() - began) < seconds:
        if long_read and now > 1 and reader is None:
            reader = connect_reader(path, busy_timeout=1)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM tasks").fetchall()
        if reader is not None and reader.in_transaction and now > 1 + long_read:
            reader.execute("ROLLBACK")
        phase = "all the time"
        if reader is not None:
            # It takes a moment until somebody notices.
            phase = "beside the long read" if now < 1.5 + long_read else "after it"
        size = Path(f"{path}-wal").stat().st_size
        largest[phase] = max(largest[phase], size)
        pause.wait(_LOOK)
    if reader is not None:
        largest["before the long read"] = largest.pop("all the time")
        reader.close()
    return largest


def measure(options: argparse.Namespace, policy: bool) -> None:
    """One round."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "store.db")
        Store.open(path).close()
        pipes: list[tuple[str, Connection[object]]] = []
        workers: list[BaseProcess] = []
        for kind in ["writes"] * options.writers + ["reads"] * options.readers:
            mine, theirs = context.Pipe()
            workers.append(context.Process(target=work, args=(path, kind, options, policy, theirs)))
            workers[-1].start()
            pipes.append((kind, mine))
        for _, pipe in pipes:
            pipe.recv()
        for _, pipe in pipes:
            pipe.send("go")
        largest = watch(path, options.seconds, options.long_read)
        took: dict[str, list[float]] = defaultdict(list)
        for kind, pipe in pipes:
            took[kind] += pipe.recv()
        for worker in workers:
            worker.join()
    print("kept short:" if policy else "as SQLite has it:")
    for phase, size in largest.items():
        print(f"  largest log {phase}: {size / 1e6:,.1f} MB")
    for kind, seconds in took.items():
        seconds.sort()
        print(
            f"  {len(seconds) / options.seconds:,.0f} {kind}/s,"
            f" median {statistics.median(seconds) * 1e3:,.2f} ms,"
            f" 99.9 % {seconds[int(len(seconds) * 0.999)] * 1e3:,.0f} ms,"
            f" slowest {seconds[-1] * 1e3:,.0f} ms",
            flush=True,
        )


def main() -> int:
    """Interleave both."""
    options = accepted.wal().parse_args()
    print(f"{options.writers} writers, {options.readers} readers, {options.threads} threads each")
    for _ in range(options.rounds):
        for policy in (False, True):
            measure(options, policy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
