"""No further thread can be started: told as such, nothing is left open, and close works."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from cwstore.aio import AsyncStore
from cwstore.errors import StorageError
from tests.kits.disk import connections_to

MESSAGE = (
    r"the thread 'cwstore \w+' cannot be started: this process, its user or its"
    r" container has as many as it may have; end some, or allow more \(ulimit -u\)$"
)
backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@contextmanager
def at_most(threads: int) -> Generator[None]:
    """Only so many threads more can be started in the body."""
    left = threads
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        yield


def wait_for_their_end() -> None:
    """Of all threads of cwstore: they have been told to end."""
    for one in threading.enumerate():
        if one.name.startswith("cwstore"):
            one.join(60)
            assert not one.is_alive()


@backends
@pytest.mark.parametrize("threads", [0, 1])
def test_a_store_that_cannot_be_opened_leaves_nothing_open(
    backend: str, threads: int, file: Path
) -> None:
    async def scene() -> None:
        with at_most(threads), pytest.raises(StorageError, match=MESSAGE):
            await AsyncStore.open(file)

    anyio.run(scene, backend=backend)
    wait_for_their_end()
    assert connections_to(file) == []


@backends
def test_closing_needs_no_further_thread(backend: str, file: Path) -> None:
    async def scene() -> None:
        store = await AsyncStore.open(file)
        await store.tasks.create(name="kept")
        await store.tasks.find_all()
        with at_most(0):
            await store.close()
            await store.close()
        assert connections_to(file) == []

    anyio.run(scene, backend=backend)
    wait_for_their_end()


def test_what_needs_a_thread_says_so_and_the_rest_goes_on(file: Path) -> None:
    async def scene() -> None:
        async with await AsyncStore.open(file) as store:
            await store.tasks.create(name="kept")
            with at_most(0):
                for call in (store.tasks.find_all, store.check, store.changes):
                    with pytest.raises(StorageError, match=MESSAGE):
                        await call()
                assert await store.tasks.find_by_id("nobody") is None
            await store.tasks.find_all()
            with at_most(0):
                lists = await asyncio.gather(*(store.tasks.find_all() for _ in range(4)))
            assert [len(one) for one in lists] == [1, 1, 1, 1]
            feed = await store.changes()
            await store.tasks.create(id="heard", name="heard")
            assert [change.id for change in await feed.get()] == ["heard"]

    asyncio.run(scene())
    wait_for_their_end()
