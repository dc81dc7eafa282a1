"""The change feed: what was committed, in order, cascades too, and nothing that was rolled back."""

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest

from cwstore import AsyncStore, Change, ChangeFeed, ChangeOperation, Store
from cwstore.errors import (
    BusyError,
    ConflictError,
    CycleError,
    InvalidValueError,
    StoreClosedError,
)
from tests.kits.database import OpenStore, feeds_heard, open_async, records_changes
from tests.kits.engine import (
    PATIENCE,
    Other,
    reached,
)
from tests.kits.entities import undone

INSERT, UPDATE, DELETE = ChangeOperation.INSERT, ChangeOperation.UPDATE, ChangeOperation.DELETE
ELSEWHERE = Change(ChangeOperation.ELSEWHERE)
OVERFLOW = Change(ChangeOperation.OVERFLOW)


def test_each_committed_change_is_told_with_table_id_and_operation(store: Store) -> None:
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        store.tasks.update("t", name="u")
        store.log_chunks.insert_chunk("a", agent_name="n", session_number=1, content="x", id="c")
        store.tasks.delete("t")
        assert feed.get() == [
            Change(INSERT, "tasks", "t"),
            Change(UPDATE, "tasks", "t"),
            Change(INSERT, "agent_log_chunks", "c"),
            Change(DELETE, "tasks", "t"),
        ]


def test_what_was_there_before_is_not_told(store: Store) -> None:
    store.tasks.create(name="t", id="t")
    with store.changes() as feed:
        assert feed.get(timeout=0) == []


def test_what_goes_by_cascade_or_trigger_is_told(store: Store) -> None:
    store.initiatives.create(name="i", id="i")
    store.tasks.create(name="a", id="a", initiative_id="i")
    store.tasks.create(name="b", id="b", parent_task_id="a")
    store.tasks.create_dependency("a", "b")
    session = store.chat_sessions.create_session("task", "b", initiative_id="i")
    with store.changes() as feed:
        store.tasks.delete("a")
        changes = feed.get()
    assert sorted((str(c.table), str(c.id)) for c in changes) == [
        ("chat_sessions", session.id),
        ("task_dependencies", "('a', 'b')"),
        ("tasks", "a"),
        ("tasks", "b"),
    ]
    assert {change.operation for change in changes} == {DELETE}


def test_a_transaction_is_told_as_a_whole_after_its_commit(store: Store) -> None:
    with store.changes() as feed:
        with store.transaction():
            store.tasks.create(name="a", id="a")
            store.tasks.create(name="b", id="b")
            assert feed.get(timeout=0) == []
        assert feed.get() == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]


def test_nothing_of_what_was_undone_is_told(store: Store) -> None:
    with store.changes() as feed:
        with undone(store):
            store.tasks.create(name="never")
        with store.transaction():
            store.tasks.create(name="a", id="a")
            with undone(store):
                store.tasks.create(name="never")
                with store.transaction():
                    store.tasks.create(name="never")
            store.tasks.create(name="b", id="b")
        assert feed.get() == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]


def test_a_statement_that_fails_half_way_is_not_told_and_takes_nothing_along(
    store: Store,
) -> None:
    store.tasks.create(name="a", id="a")
    store.tasks.create(name="b", id="b")
    store.tasks.create_dependency("a", "b")
    with store.changes() as feed:
        with store.transaction():
            store.tasks.update("a", name="before")
            with pytest.raises(CycleError):
                store.tasks.create_dependency("b", "a")  # the row is written, then guarded
            store.tasks.create(name="c", id="c")
        assert feed.get() == [Change(UPDATE, "tasks", "a"), Change(INSERT, "tasks", "c")]


def test_what_another_store_commits_is_told_with_table_and_id(
    store: Store, open_store: OpenStore
) -> None:
    with open_store() as other, store.changes() as feed:
        other.tasks.create(name="t", id="t")
        assert feed.get(timeout=30) == [Change(INSERT, "tasks", "t")]
        assert feed.get(timeout=0) == []


def test_ones_own_commits_are_not_elsewhere(store: Store) -> None:
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]
        assert feed.get(timeout=0.2) == []


def test_a_listener_who_is_too_slow_is_told_and_hears_what_comes_after(store: Store) -> None:
    with store.changes(capacity=3) as feed:
        for n in range(5):
            store.tasks.create(name="t", id=f"{n}")
        assert feed.get() == [OVERFLOW, Change(INSERT, "tasks", "4")]


@pytest.mark.parametrize("capacity", [0, -1, True, "9", None])
def test_a_capacity_that_holds_nothing_is_refused(store: Store, capacity: int) -> None:
    with pytest.raises(InvalidValueError) as refused:
        store.changes(capacity=capacity)
    assert refused.value.field == "capacity"


def test_every_listener_hears_everything(store: Store) -> None:
    with store.changes() as first, store.changes() as second:
        store.tasks.create(name="t", id="t")
        assert first.get() == second.get() == [Change(INSERT, "tasks", "t")]


def test_who_waits_is_woken_by_a_change_of_another_thread(store: Store) -> None:
    heard: list[Change] = []
    with store.changes() as feed:
        listener = threading.Thread(target=lambda: heard.extend(feed.get(30)))
        listener.start()
        store.tasks.create(name="t", id="t")
        listener.join()
    assert heard == [Change(INSERT, "tasks", "t")]


def test_iterating_ends_when_the_feed_or_the_store_is_closed(store: Store) -> None:
    for close in (lambda feed: feed.close(), lambda feed: store.close()):
        feed = store.changes()
        store.tasks.create(name="t", id=f"{close}")
        heard: list[Change] = []
        listener = threading.Thread(target=lambda feed=feed, heard=heard: heard.extend(feed))
        listener.start()
        while not heard:
            pass
        close(feed)
        listener.join(30)
        assert heard == [Change(INSERT, "tasks", f"{close}")]


def test_what_was_committed_before_the_store_is_closed_is_still_told(store: Store) -> None:
    feed = store.changes()
    store.tasks.create(name="t", id="t")
    store.close()
    assert list(feed) == [Change(INSERT, "tasks", "t")]


def test_when_nobody_listens_nothing_is_recorded(store: Store) -> None:
    store.changes().close()
    with store.changes() as feed:
        feed.close()
        store.tasks.create(name="t", id="t")
        with pytest.raises(StoreClosedError):
            feed.get()
    with store.changes() as feed:
        assert feed.get(timeout=0) == []


def test_listening_may_begin_and_end_inside_of_a_transaction(store: Store) -> None:
    with store.transaction():
        with store.transaction():
            feed = store.changes()
            store.tasks.create(name="a", id="a")
        with store.changes() as second:
            store.tasks.create(name="b", id="b")
            assert second.get(timeout=0) == []
    assert feed.get() == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]
    assert feed.get(timeout=0) == []
    with store.transaction():
        feed.close()
        feed.close()
    assert not records_changes(store)


def test_a_transaction_that_changes_nothing_is_not_told(store: Store) -> None:
    with store.changes() as feed:
        with store.transaction():
            assert store.tasks.find_all() == []
        assert feed.get(timeout=0) == []


def test_what_a_transaction_that_was_left_in_another_thread_had_changed_is_not_told(
    store: Store,
) -> None:
    left, begun, go = store.transaction(), threading.Event(), threading.Event()

    def begin() -> None:
        left.__enter__()
        store.tasks.create(name="never", id="never")
        begun.set()
        reached(go)

    with store.changes() as feed:
        thread = threading.Thread(target=begin)
        thread.start()
        reached(begun)
        with pytest.raises(ConflictError):
            left.__exit__(None, None, None)
        go.set()
        thread.join()
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_what_is_undone_with_the_savepoint_in_which_listening_began_is_not_told(
    store: Store,
) -> None:
    with store.transaction():
        with undone(store):
            feed = store.changes()
            store.tasks.create(name="never")
            with store.transaction():
                store.tasks.create(name="never")
        store.tasks.create(name="t", id="t")
    assert Change(INSERT, "tasks", "t") == feed.get()[0]
    feed.close()


def test_what_did_not_fit_is_forgotten_with_the_savepoint_that_is_undone(store: Store) -> None:
    with store.changes(capacity=3) as feed:
        with store.transaction():
            store.tasks.create(name="a", id="a")
            with undone(store):
                for _ in range(9):
                    store.tasks.create(name="never")
            store.tasks.create(name="b", id="b")
        assert feed.get() == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]


def test_a_feed_is_closed_at_once_beside_a_long_transaction(open_store: OpenStore) -> None:
    begun, go = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def hold() -> None:
        with store.transaction():
            begun.set()
            reached(go)
            store.tasks.create(name="t")

    def listen() -> None:
        try:
            feed.get()
        except StoreClosedError as closed:
            ended.append(closed)

    with open_store(busy_timeout=0.1) as store:
        feed = store.changes()
        holder, listener = threading.Thread(target=hold), threading.Thread(target=listen)
        holder.start()
        reached(begun)
        listener.start()
        feed.close()  # waits for nobody
        listener.join(PATIENCE)
        assert len(ended) == 1
        go.set()
        holder.join()
        # Nothing came to it after it was closed.
        with pytest.raises(StoreClosedError, match="the change feed is closed; open another"):
            feed.get(timeout=0)
        assert not records_changes(store)  # who wrote has ended it
        feed.close()


def test_feeds_that_nobody_refers_to_any_more_are_gone_with_the_next_commit(store: Store) -> None:
    kept = store.changes()
    for _ in range(300):
        store.changes()
    gc.collect()
    store.tasks.create(name="t", id="t")
    assert kept.get(timeout=0)[0] == Change(INSERT, "tasks", "t")
    assert feeds_heard(store) == 1
    del kept
    gc.collect()
    store.tasks.create(name="u")
    assert not records_changes(store)


@pytest.mark.parametrize(
    ("timeout", "problem"),
    [
        (float("nan"), "must be a number of seconds"),
        ("9", "expected seconds as a number, or None, got str"),
        (True, "expected seconds as a number, or None, got bool"),
        ([1], "expected seconds as a number, or None, got list"),
    ],
)
def test_a_timeout_that_is_no_number_is_refused(store: Store, timeout: Any, problem: str) -> None:
    with store.changes() as feed, pytest.raises(InvalidValueError) as refused:
        feed.get(timeout)
    assert refused.value.field == "timeout"
    assert str(refused.value) == f"timeout: {problem}"


@pytest.mark.parametrize("timeout", [float("inf"), 10**400, 1])
def test_any_number_of_seconds_will_do(store: Store, timeout: float) -> None:
    with store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout) == [Change(INSERT, "tasks", "t")]
        assert feed.get(-timeout) == []


_FORK = """
import os, sys, threading
from cwstore import Store
from cwstore.errors import StoreClosedError

store = Store.open(sys.argv[1])
feed = store.changes()
store.tasks.create(name="t", id="t")
held, go = threading.Event(), threading.Event()

def hold():
    with feed._arrived:  # as a listener does for a moment, again and again
        held.set()
        go.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    refused = 0
    for use in (feed.get, lambda: feed.get(0), lambda: list(feed)):
        try:
            use()
        except StoreClosedError as error:
            refused += str(error) == sys.argv[2]
    feed.close()
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
go.set()
print(feed.get()[0].id)
store.close()
"""


def test_a_feed_is_refused_in_a_forked_child_and_closed_there_at_once(file: Path) -> None:
    told = (
        "the change feed was opened before this process was forked; open a store of its own in the"
        " child, and a feed of that"
    )
    with Other(_FORK, file, told) as other:
        assert other.end() == ["3", "t"]


def test_a_feed_that_is_closed_twice_takes_nobody_along(store: Store) -> None:
    with store.changes() as other:
        feed = store.changes()
        feed.close()
        feed.close()
        store.tasks.create(name="t", id="t")
        assert other.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_tasks_listen_by_iterating(file: Path) -> None:
    async def play() -> list[Change]:
        async with await open_async(file) as store:
            changes = await store.changes()
            await store.tasks.create(name="a", id="a")
            await store.transaction(lambda tx: tx.tasks.update("a", name="b"))
            return [await anext(changes), await anext(changes)]

    assert asyncio.run(play()) == [Change(INSERT, "tasks", "a"), Change(UPDATE, "tasks", "a")]


def test_a_listening_task_ends_when_it_is_cancelled_or_the_store_is_closed(file: Path) -> None:
    async def listen(store: AsyncStore, heard: list[Change]) -> None:
        heard.extend([change async for change in await store.changes()])

    async def play() -> None:
        heard: list[Change] = []
        store = await open_async(file)
        cancelled = asyncio.create_task(listen(store, heard))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        left = asyncio.create_task(listen(store, heard))
        while not records_changes(store._store):
            await asyncio.sleep(0)
        await store.tasks.create(name="t", id="t")
        await store.close()
        await left  # closing ends the iteration, after what was still to be told
        assert heard == [Change(INSERT, "tasks", "t")]

    asyncio.run(play())


async def end_of_listeners() -> None:
    """Wait until those that were left have ended."""
    for thread in threading.enumerate():
        if thread.name == "cwstore changes":
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive()


def test_who_is_cancelled_while_he_waits_for_the_next_change_loses_none(file: Path) -> None:
    async def play() -> list[Change]:
        async with await open_async(file) as store:
            changes = await store.changes()
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(changes), 0.01)
            waiting = asyncio.ensure_future(anext(changes))
            await store.tasks.create(name="a", id="a")
            waiting.cancel()
            heard = await asyncio.gather(waiting, return_exceptions=True)
            await store.tasks.create(name="b", id="b")
            told = [one for one in heard if isinstance(one, Change)]
            while Change(INSERT, "tasks", "b") not in told:
                told.append(await anext(changes))
            return told

    assert asyncio.run(play()) == [Change(INSERT, "tasks", "a"), Change(INSERT, "tasks", "b")]


def test_an_iterator_that_is_closed_or_dropped_before_its_first_change_listens_no_more(
    file: Path,
) -> None:
    async def play() -> None:
        async with await open_async(file) as store:
            changes: Any = await store.changes()
            await changes.aclose()
            await changes.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(changes)
            await end_of_listeners()
            assert not records_changes(store._store)
            changes = await store.changes()
            await store.tasks.create(name="t", id="t")
            assert await anext(changes) == Change(INSERT, "tasks", "t")
            del changes
            gc.collect()
            await end_of_listeners()
            assert not records_changes(store._store)

    asyncio.run(play())


def test_listening_that_is_cancelled_while_it_begins_has_not_begun(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    begin = Store.changes

    def listen(store: Store, *, capacity: int) -> ChangeFeed:
        feed = begin(store, capacity=capacity)
        begun.set()
        reached(go)
        return feed

    monkeypatch.setattr(Store, "changes", listen)

    async def play() -> None:
        async with await open_async(file) as store:
            task = asyncio.create_task(store.changes())
            await asyncio.to_thread(reached, begun)
            task.cancel()
            await asyncio.sleep(0)
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            await end_of_listeners()
            assert not records_changes(store._store)

    asyncio.run(play())


def test_listening_that_is_refused_raises(file: Path) -> None:
    async def play() -> None:
        async with await open_async(file) as store:
            with pytest.raises(InvalidValueError):
                await store.changes(capacity=0)

    asyncio.run(play())


def test_an_iterator_that_is_closed_beside_a_long_transaction_listens_no_more_after_it(
    file: Path,
) -> None:
    begun, go = threading.Event(), threading.Event()

    async def hold(store: AsyncStore) -> None:
        while True:
            try:
                await store.transaction(lambda _: (begun.set(), reached(go)))
                return
            except BusyError:  # by the start of the listener, which writes for a moment
                if begun.is_set():
                    raise

    async def play() -> None:
        async with await open_async(file, busy_timeout=0) as store:
            changes: Any = await store.changes()
            task = asyncio.create_task(hold(store))
            await asyncio.to_thread(reached, begun)
            await changes.aclose()
            await end_of_listeners()  # beside the transaction: it does not wait for it
            go.set()
            await task
            assert not records_changes(store._store)

    asyncio.run(play())
