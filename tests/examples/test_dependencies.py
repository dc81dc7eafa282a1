"""A dependency that yields inside of a transaction: the mistake that people make, told at once."""

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import anyio
import httpx
import pytest
from fastapi import Depends, FastAPI

from cwstore import ConflictError, ConflictReason, Store, Task
from cwstore.core import idle_threads
from cwstore.core.idle_threads import rests_in_pool

REMEDY = (
    "^a thread of a pool has left a transaction open on this store, as a dependency does that"
    " yields"
    r" inside of `with store\.transaction\(\)`: open the transaction where the work is done; under"
    r" asyncio, `await AsyncStore\.transaction\(work\)`$"
)
REMEDY_OF_TASKS = (
    "^the task that waits for this thread has a transaction open on this store, as an async"
    " dependency"
    r" does that yields inside of `with store\.transaction\(\)`: open the transaction where the"
    r" work is"
    " done, and do not await in it$"
)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Store]:
    """A store that would wait for longer than any test may take."""
    store = Store.open(tmp_path / "store.db", busy_timeout=3600)
    yield store
    store.close()


def test_a_dependency_that_yields_in_a_transaction_is_told_at_once(patient: Store) -> None:
    app = FastAPI()

    def transaction() -> Iterator[Store]:
        with patient.transaction():
            yield patient

    @app.post("/tasks")
    async def create(store: Annotated[Store, Depends(transaction)]) -> Task:
        return store.tasks.create(name="t")

    with pytest.raises(ConflictError, match=REMEDY) as refusal:
        call_through(app)
    assert refusal.value.reason is ConflictReason.TRANSACTION
    assert patient.tasks.find_all() == []
    assert patient.tasks.create(name="u").name == "u"  # the dependency has let go of it


def call_through(app: FastAPI) -> None:
    async def call() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post("/tasks")

    asyncio.run(call())


def test_an_async_dependency_that_yields_in_a_transaction_of_a_plain_endpoint_is_told_at_once(
    patient: Store,
) -> None:
    app = FastAPI()

    async def transaction() -> AsyncIterator[Store]:
        with patient.transaction():
            yield patient

    @app.post("/tasks")
    def create(store: Annotated[Store, Depends(transaction)]) -> Task:
        return store.tasks.create(name="t")

    with pytest.raises(ConflictError, match=REMEDY_OF_TASKS) as refusal:
        call_through(app)
    assert refusal.value.reason is ConflictReason.TRANSACTION
    assert patient.tasks.find_all() == []
    assert patient.tasks.create(name="u").name == "u"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_thread_that_a_task_waits_for_in_its_transaction_is_told_at_once(
    patient: Store, backend: str
) -> None:
    async def run() -> None:
        with patient.transaction():
            await anyio.to_thread.run_sync(lambda: patient.tasks.create(name="t"))

    with pytest.raises(ConflictError, match="do not await in it"):
        anyio.run(run, backend=backend)
    assert patient.tasks.find_all() == []


def test_a_thread_that_a_task_has_started_before_its_transaction_is_waited_for(
    patient: Store,
) -> None:
    go, came = threading.Event(), threading.Event()

    def create() -> str:
        go.wait(60)
        came.set()
        return patient.tasks.create(name="t").name

    async def run() -> str:
        working = asyncio.create_task(asyncio.to_thread(create))
        await asyncio.sleep(0)
        with patient.transaction():
            go.set()
            came.wait(60)
            await asyncio.sleep(0.01)  # nobody should; but it comes to its end
            patient.tasks.create(name="u")
        return await working

    assert asyncio.run(run()) == "t"
    assert [one.name for one in patient.tasks.find_all()] == ["u", "t"]


def test_a_thread_that_a_task_does_not_wait_for_is_let_in_when_the_transaction_ends(
    patient: Store,
) -> None:
    came = threading.Event()

    def create() -> str:
        came.set()
        return patient.tasks.create(name="t").name

    async def run() -> str:
        with patient.transaction():
            started = contextvars.copy_context()
            waiting = asyncio.get_running_loop().run_in_executor(None, started.run, create)
            came.wait(60)
            patient.tasks.create(name="u")
        return await waiting

    assert asyncio.run(run()) == "t"


def test_a_thread_of_a_pool_that_is_at_work_is_waited_for(patient: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        block = patient.transaction()
        pool.submit(block.__enter__).result()
        with pytest.raises(ConflictError, match=REMEDY):
            patient.tasks.create(name="t")
        pool.submit(block.__exit__, None, None, None).result()

    def work(name: str) -> str:
        with patient.transaction():
            return patient.tasks.create(name=name).name

    with ThreadPoolExecutor(4) as pool:
        names = list(pool.map(work, "abcdefgh"))
    assert sorted(names) == list("abcdefgh")


@pytest.mark.parametrize("collects", [True, False])
def test_the_garbage_collector_rests_while_the_frames_of_all_threads_are_read(
    monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    """Of Python 3.11: it lets other threads run, and one that starts then waits for ever."""
    collecting: list[bool] = []
    monkeypatch.setattr(sys, "_current_frames", lambda: collecting.append(gc.isenabled()) or {})
    if not collects:
        gc.disable()
    try:
        assert not rests_in_pool(threading.get_ident())
        assert (collecting, gc.isenabled()) == ([False], collects)
    finally:
        gc.enable()


def test_nobody_waits_for_a_look_that_a_thread_of_the_parent_had_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = threading.Lock()
    held.acquire()
    monkeypatch.setattr(idle_threads, "_looking", held)
    assert not rests_in_pool(threading.get_ident())
