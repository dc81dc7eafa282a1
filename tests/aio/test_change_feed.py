"""The awaited feed of changes: many listeners, one thread, nothing lost."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from cwstore import AsyncChangeFeed, AsyncStore, Change, ChangeOperation, Store
from cwstore.errors import ConflictError, InvalidValueError, StoreClosedError

INSERT, ELSEWHERE = ChangeOperation.INSERT, ChangeOperation.ELSEWHERE
backends = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def with_store(file: Path, backend: str, use: Callable[[AsyncStore], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await AsyncStore.open(file) as store:
            await use(store)

    anyio.run(run, backend=backend)


@backends
def test_it_gives_what_has_come_and_waits_no_longer_than_it_is_told(
    file: Path, backend: str
) -> None:
    async def use(store: AsyncStore) -> None:
        async with await store.changes() as feed:
            assert isinstance(feed, AsyncChangeFeed)
            assert await feed.get(0) == await feed.get(0.001) == []
            for one in "ab":
                await store.tasks.create(name="t", id=one)
            assert await feed.get() == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]
            await store.tasks.create(name="t", id="c")
            assert await anext(feed) == Change(INSERT, "tasks", "c")
            for one in "de":
                await store.tasks.create(name="t", id=one)
            assert await anext(feed) == Change(INSERT, "tasks", "d")  # and "e" was taken with it
            with pytest.raises(InvalidValueError, match="timeout"):
                await feed.get(float("nan"))
        assert [change async for change in feed] == []
        with pytest.raises(StoreClosedError):
            await feed.get(0)
        await feed.aclose()
        assert [change async for change in feed] == []

    with_store(file, backend, use)


def test_others_are_looked_for_a_hundred_times_a_second(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So long it takes until a commit of another process is heard."""
    pauses: list[float | None] = []
    reached = threading.Event()

    class Pause(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout)
            reached.set()
            return super().wait(timeout)

    own = SimpleNamespace(**{**vars(threading), "Event": Pause})
    monkeypatch.setattr("cwstore.aio.listener.threading", own)

    async def use(store: AsyncStore) -> None:
        async with await store.changes():
            assert reached.wait(60)

    with_store(file, "asyncio", use)
    assert {*pauses} == {0.01}


@backends
def test_fifty_listeners_hear_everything_and_have_one_thread(file: Path, backend: str) -> None:
    async def use(store: AsyncStore) -> None:
        heard: list[list[Change]] = []

        async def listen(feed: AsyncChangeFeed) -> None:
            told: list[Change] = []
            while len(told) < 3:
                # A feed that began while the writer was looked at does not know what it missed.
                change = await anext(feed)
                told += [change] * (change != Change(ELSEWHERE))
            heard.append(told)
            await feed.aclose()

        feeds = [await store.changes() for _ in range(50)]
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("cwstore changes") == 1
        async with anyio.create_task_group() as group:
            for feed in feeds:
                group.start_soon(listen, feed)
            for one in "abc":
                await store.tasks.create(name="t", id=one)
        assert heard == [[Change(INSERT, "tasks", one) for one in "abc"]] * 50

    with_store(file, backend, use)


@backends
def test_it_tells_that_another_store_has_committed(file: Path, backend: str) -> None:
    async def use(store: AsyncStore) -> None:
        async with await store.changes() as feed:
            with Store.open(file) as other:
                other.tasks.create(name="t", id="t")
            assert await feed.get() == [Change(INSERT, "tasks", "t")]

    with_store(file, backend, use)


@backends
def test_a_feed_whose_store_closes_gives_what_it_has_and_ends(file: Path, backend: str) -> None:
    async def run() -> None:
        store = await AsyncStore.open(file)
        feed = await store.changes()
        await store.tasks.create(name="t", id="t")
        await store.close()
        assert [change async for change in feed] == [Change(INSERT, "tasks", "t")]

        store = await AsyncStore.open(file)
        feed = await store.changes()
        async with anyio.create_task_group() as group:
            group.start_soon(anext, feed, None)
            await anyio.sleep(0)
            await store.close()  # wakes who waits

    anyio.run(run, backend=backend)


def test_who_waits_for_a_feed_that_another_task_closes_is_woken(file: Path) -> None:
    async def use(store: AsyncStore) -> None:
        feed = await store.changes()
        waiting = asyncio.ensure_future(feed.get())
        await asyncio.sleep(0)
        await feed.aclose()
        with pytest.raises(StoreClosedError):
            await waiting

    with_store(file, "asyncio", use)


def test_a_listener_who_is_too_slow_is_told(file: Path) -> None:
    async def use(store: AsyncStore) -> None:
        async with await store.changes(capacity=1) as feed:
            for one in "ab":
                await store.tasks.create(name="t", id=one)
            assert await feed.get() == [Change(ChangeOperation.OVERFLOW)]

    with_store(file, "asyncio", use)


def test_it_belongs_to_the_loop_of_its_store(file: Path) -> None:
    async def use(store: AsyncStore) -> None:
        feed = await store.changes()

        def elsewhere() -> str:
            with pytest.raises(ConflictError) as refusal:
                asyncio.run(feed.get())
            return f"{refusal.value.reason}: {refusal.value}"

        assert await asyncio.to_thread(elsewhere) == (
            "transaction: "
            "the store belongs to the event loop that opened it; open a store in this one too"
        )

    with_store(file, "asyncio", use)


def test_a_commit_after_the_end_of_the_loop_wakes_nobody(file: Path) -> None:
    kept: list[object] = []

    async def leave() -> None:
        store = await AsyncStore.open(file)
        kept.extend([store, store._store, await store.changes()])

    asyncio.run(leave())
    store = kept[1]
    assert isinstance(store, Store)
    store.tasks.create(name="t")

    async def close() -> None:
        assert isinstance(kept[0], AsyncStore)
        await kept[0].close()

    asyncio.run(close())
    kept.clear()
    gc.collect()


def test_a_feed_that_ctrl_c_left_half_made_is_dropped_in_silence() -> None:
    half = AsyncChangeFeed.__new__(AsyncChangeFeed)
    del half


@backends
def test_a_wait_that_is_cut_short_loses_no_change(file: Path, backend: str) -> None:
    names = [f"{number:02}" for number in range(15)]

    async def use(store: AsyncStore) -> None:
        heard: list[Change] = []

        written = anyio.Event()

        async def write() -> None:
            for name in names:
                await store.tasks.create(name="t", id=name)
            written.set()

        async with await store.changes() as feed, anyio.create_task_group() as group:
            group.start_soon(write)
            waits = 0
            while not written.is_set():
                waits += 1
                with anyio.move_on_after(0.0003 * (waits % 5)):
                    heard += await feed.get()
            heard += await feed.get(0)
        assert [change.id for change in heard if change.operation is INSERT] == names

    with_store(file, backend, use)
