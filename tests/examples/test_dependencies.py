"""A dependency that yields inside of a transaction: the mistake that people make, told at once."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI

from cwstore import ConflictError, ConflictReason, Store, Task

REMEDY = "dependency does that yields inside of `with store.transaction"


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

    async def call() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            await client.post("/tasks")

    with pytest.raises(ConflictError, match=REMEDY) as refusal:
        asyncio.run(call())
    assert refusal.value.reason is ConflictReason.TRANSACTION
    assert patient.tasks.find_all() == []
    assert patient.tasks.create(name="u").name == "u"  # the dependency has let go of it


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
