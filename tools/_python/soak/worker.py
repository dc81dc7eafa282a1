"""A worker: a process of threads and tasks that act on one file until their time is up."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import Any

from cwstore import migrate
from cwstore.aio import AsyncStore
from cwstore.errors import BusyError, ConflictError, CwstoreError, CycleError, NotFoundError
from cwstore.store import Store
from tools._python.soak.actions import act, enlist, leave
from tools._python.soak.actor import Actor, Call, Step
from tools._python.soak.history import Journal

_ACTIONS_A_MARK = 20
_REFUSALS: dict[type[CwstoreError], str] = {
    ConflictError: "conflict",
    NotFoundError: "missing",
    CycleError: "cycle",
    BusyError: "busy",
}


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is started with."""

    file: str
    fresh: str  #: a second file, that nobody has migrated when the round begins
    journal: str
    graveyard: str
    round: str
    token: str
    threads: int
    tasks: int
    steps: int  #: that each actor does at most
    until: int  #: ns; when it ends, steps or no steps
    busy_timeout: float
    season_ns: int


def _told(error: CwstoreError) -> str:
    """The outcome of a call that was refused; a reason to fail if it should not be possible."""
    outcome = _REFUSALS.get(type(error))
    if outcome is None:
        raise error
    return outcome


def drive(actor: Actor, store: Store, step: Step) -> None:
    """Run the calls of a step one after the other."""
    result: Any = None
    with suppress(StopIteration):
        while True:
            call: Call = step.send(result)
            number = actor.journal.begin(call.kind, call.key, call.args)
            try:
                result = _run(store, call)
            except CwstoreError as error:
                result = None
                actor.journal.end(number, _told(error), str(error))
            else:
                actor.journal.end(number, call.outcome(result), call.extra(result))


def _run(store: Store, call: Call) -> Any:
    if call.whole:
        with store.transaction():
            return call.run(store)
    result: Iterator[Any] | None = call.run(store)  # or whatever else
    return list(result) if isinstance(result, Iterator) else result


async def drive_async(actor: Actor, store: AsyncStore, step: Step) -> None:
    """As `drive`, awaited."""
    result: Any = None
    with suppress(StopIteration):
        while True:
            call: Call = step.send(result)
            number = actor.journal.begin(call.kind, call.key, call.args)
            try:
                result = await _run_async(store, call)
            except CwstoreError as error:
                result = None
                actor.journal.end(number, _told(error), str(error))
            else:
                actor.journal.end(number, call.outcome(result), call.extra(result))


async def _run_async(store: AsyncStore, call: Call) -> Any:
    if call.whole:
        return await store.transaction(call.run)
    result: Awaitable[Any] | AsyncIterator[Any] = call.run(store)
    if isinstance(result, AsyncIterator):
        return [one async for one in result]
    return await result


class Worker:
    """The process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._journal = Journal(Path(job.journal))

    def run(self) -> None:
        """Wait for the word, then migrate, open and act."""
        os.write(1, b"r")
        sys.stdin.readline()
        self._migrate(self._job.file)
        self._migrate(self._job.fresh)
        job = self._job
        with (
            Store.open(job.file, busy_timeout=job.busy_timeout) as store,
            ThreadPoolExecutor(job.threads + 1) as pool,
        ):
            running = [
                pool.submit(self._thread, store, f"{job.token}.t{number}")
                for number in range(job.threads)
            ]
            running.append(pool.submit(asyncio.run, self._tasks()))
            for one in running:
                one.result()
        self._journal.close()

    def _migrate(self, file: str) -> None:
        number = self._journal.begin("migrate", f"migrate/{Path(file).name}", ())
        self._journal.end(number, migrate(file).applied)

    def _actor(self, name: str) -> Actor:
        job = self._job
        return Actor(
            id=name,
            token=job.token,
            round=job.round,
            rng=Random(name),
            journal=self._journal,
            graveyard=Path(job.graveyard),
            season_ns=job.season_ns,
        )

    def _steps(self, actor: Actor) -> Iterator[Step]:
        yield enlist(actor)
        for number in range(self._job.steps):
            if monotonic_ns() > self._job.until:
                break
            if number % _ACTIONS_A_MARK == 0:
                os.write(1, b".")
            yield act(actor)
        yield leave(actor)

    def _thread(self, store: Store, name: str) -> None:
        actor = self._actor(name)
        for step in self._steps(actor):
            drive(actor, store, step)

    async def _tasks(self) -> None:
        job = self._job
        async with (
            await AsyncStore.open(job.file, busy_timeout=job.busy_timeout) as store,
            asyncio.TaskGroup() as group,
        ):
            for number in range(job.tasks):
                group.create_task(self._task(store, f"{job.token}.a{number}"))

    async def _task(self, store: AsyncStore, name: str) -> None:
        actor = self._actor(name)
        for step in self._steps(actor):
            await drive_async(actor, store, step)


if __name__ == "__main__":
    Worker(Job(**json.loads(sys.argv[1]))).run()
