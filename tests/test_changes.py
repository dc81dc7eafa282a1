"""The change feed: what was committed, in order, cascades too, and nothing that was rolled back."""

import asyncio
import threading
from pathlib import Path

import pytest

from cwstore import AsyncStore, Change, ChangeOperation, Store
from cwstore.errors import CycleError, InvalidValueError, OutcomeUnknownError, StoreClosedError
from tests.engine_kit import failing_sync, faulty_disk
from tests.entity_kit import undone

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


def test_a_statement_that_fails_half_way_is_not_told(store: Store) -> None:
    store.tasks.create(name="a", id="a")
    store.tasks.create(name="b", id="b")
    store.tasks.create_dependency("a", "b")
    with store.changes() as feed:
        with store.transaction():
            with pytest.raises(CycleError):
                store.tasks.create_dependency("b", "a")  # the row is written, then guarded
            store.tasks.create(name="c", id="c")
        assert feed.get() == [Change(INSERT, "tasks", "c")]


def test_another_store_that_commits_is_told_as_elsewhere(store: Store, file: Path) -> None:
    with Store.open(file) as other, store.changes() as feed:
        other.tasks.create(name="t")
        assert feed.get(timeout=30) == [ELSEWHERE]
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
        close(feed)
        listener.join(30)
        assert heard == [Change(INSERT, "tasks", f"{close}")]


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
    with store.transaction():
        feed.close()
        feed.close()
    assert store._db._writer._recorder is None


def test_a_transaction_that_changes_nothing_is_not_told(store: Store) -> None:
    with store.changes() as feed:
        with store.transaction():
            assert store.tasks.find_all() == []
        assert feed.get(timeout=0) == []


def test_a_table_that_came_later_is_not_told(store: Store) -> None:
    with store.changes() as feed:
        connection = store._db._writer.connection
        connection.execute("CREATE TABLE later (id TEXT)")
        connection.execute("INSERT INTO later VALUES ('x')")
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]


def test_listening_goes_on_after_a_connection_was_lost(file: Path) -> None:
    with (
        faulty_disk() as disk,
        Store.open(file, durable=True) as store,
        store.changes() as feed,
    ):
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError):
            store.tasks.create(name="perhaps")
        disk.fail = lambda operation, path: 0
        assert feed.get(timeout=0) == []
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]


def test_a_look_elsewhere_that_is_interrupted_tells_nothing(store: Store) -> None:
    connection = store._db._writer.connection
    with store.changes() as feed:
        connection.set_progress_handler(lambda: True, 1)
        assert feed.get(timeout=0) == []
        connection.set_progress_handler(None)


def test_a_feed_that_is_closed_twice_takes_nobody_along(store: Store) -> None:
    with store.changes() as other:
        feed = store.changes()
        feed.close()
        feed.close()
        store.tasks.create(name="t", id="t")
        assert other.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_in_memory_changes_are_told_too() -> None:
    with Store.open(":memory:") as store, store.changes() as feed:
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]
        assert feed.get(timeout=0) == []


def test_tasks_listen_by_iterating(file: Path) -> None:
    async def play() -> list[Change]:
        async with await AsyncStore.open(file) as store:
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
        store = await AsyncStore.open(file)
        cancelled = asyncio.create_task(listen(store, heard))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        left = asyncio.create_task(listen(store, heard))
        while store._store._db._writer._recorder is None:
            await asyncio.sleep(0)
        await store.tasks.create(name="t", id="t")
        await store.close()
        await left  # closing ends the iteration, after what was still to be told
        assert heard == [Change(INSERT, "tasks", "t")]

    asyncio.run(play())
