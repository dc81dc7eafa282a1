"""Claims a second of eight processes: cwstore's, and those of two libraries of queues.

Each process claims a job, then says that it is done, as fast as it can. A library's worker would
also call a function; here its own way to the database is timed, and nothing else.
"""

from argparse import Namespace
from collections.abc import Callable
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from tools._python.postgres import Server

CLIENTS = 8
JOBS = 4_000
# To fill a database nobody waits for the disk.
_QUICK = "&options=-c%20synchronous_commit%3Doff"
#: The module of each, which has `prepare(address, jobs)` and `client(address, number)`.
CONTENDERS = {
    "cwstore": "claims_cwstore",
    "procrastinate": "claims_procrastinate",
    "dbos": "claims_dbos",
}


class Client(NamedTuple):
    """`claim_and_complete` does both once, and returns the id of the job; None: there is none."""

    claim_and_complete: Callable[[], str | None]
    close: Callable[[], None]


def _module(name: str) -> Any:
    return import_module(f"tools._python.bench_postgres.{CONTENDERS[name]}")


def work(
    name: str, address: str, number: int, seconds: float, pipe: "Connection[Any, Any]"
) -> None:
    """Claim until the time is up; send the ids."""
    client: Client = _module(name).client(address, number)
    done: list[str] = []
    client.claim_and_complete()  # imports and prepares what it needs
    pipe.send("ready")
    pipe.recv()
    end = perf_counter() + seconds
    while perf_counter() < end:
        job = client.claim_and_complete()
        if job is None:
            break
        done.append(job)
    pipe.send(done)
    pipe.recv()  # until the others have finished as well: ending costs them time
    client.close()


def one_round(name: str, address: str, seconds: float) -> float:
    """Claims a second of all. Raises ValueError if a job was claimed twice, or all are done."""
    context = get_context("spawn")
    pipes: list[Connection[Any, Any]] = []
    processes: list[Any] = []
    for number in range(CLIENTS):
        mine, theirs = context.Pipe()
        process = context.Process(target=work, args=(name, address, number, seconds, theirs))
        process.start()
        pipes.append(mine)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send("go")
    done: list[str] = []
    for pipe in pipes:
        done += pipe.recv()
    for pipe in pipes:
        pipe.send("end")
    for process in processes:
        process.join()
    if len(done) != len({*done}):
        raise ValueError(f"{name}: a job was claimed twice")
    if len(done) > JOBS - 2 * CLIENTS:
        raise ValueError(f"{name}: {JOBS:,} jobs are too few")
    return len(done) / seconds


def measure(server: Server, options: Namespace) -> dict[str, list[float]]:
    """Claims a second, by contender and round; the contenders take turns."""
    rounds, seconds = (2, 2.0) if options.quick else (5, 3.0)
    templates: dict[str, str] = {}
    for name in CONTENDERS:
        templates[name] = server.new_database()
        _module(name).prepare(server.address(templates[name]) + _QUICK, JOBS)
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(rounds):
        for name in CONTENDERS:
            database = server.new_database(templates[name])
            rates[name].append(one_round(name, server.address(database), seconds))
            server.drop(database)
    return rates


def line(name: str, rates: list[float]) -> str:
    """One contender."""
    return (
        f"{f'claim and complete, {CLIENTS} processes':30} {name:>14}"
        f" {median(rates):8,.0f} a second, {min(rates):,.0f} to {max(rates):,.0f}"
    )
