"""One store in many threads: who sees what, who waits for whom, and what the dead leave behind."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from cwstore.errors import BusyError, ConflictError
from cwstore.store import Store
from tests.kits.database import OpenStore, waiting_threads
from tests.kits.engine import (
    PATIENCE,
    DeliberateError,
    Other,
    Task,
    assert_ours_alone,
    names,
    reached,
    undone,
)
from tests.kits.postgres import address_of


def test_a_thread_sees_its_own_open_transaction_and_nobody_else_does(store: Store) -> None:
    store.initiatives.create(name="before")
    with store.transaction():
        store.initiatives.create(name="mine")
        assert names(store) == ["before", "mine"]
        assert Task(lambda: names(store)).finish() == ["before"]
        assert names(store) == ["before", "mine"]
    assert Task(lambda: names(store)).finish() == ["before", "mine"]


def test_readers_are_not_held_up_by_a_long_write_transaction(store: Store) -> None:
    made = store.tasks.create(name="there")
    written, read = Event(), Event()

    def write() -> None:
        with store.transaction():
            store.tasks.update(made.id, name="changed")
            written.set()
            reached(read)

    writing = Task(write)
    reached(written)
    # All of these come back while the transaction is open, or this test never ends.
    readers = [Task(lambda: store.tasks.find_by_id(made.id)) for _ in range(4)]
    assert [task.finish() for task in readers] == [made] * 4
    assert store.tasks.find_ready() == [made]
    assert store.tasks.topological_order(initiative_id="none") == []
    read.set()
    writing.finish()
    assert [task.name for task in store.tasks.find_ready()] == ["changed"]


def test_a_reader_sees_one_state_however_long_it_reads(store: Store) -> None:
    """A list is one snapshot: never half of somebody's transaction."""
    done = Event()

    def write() -> None:
        for _ in range(60):
            with store.transaction():
                store.initiatives.create(name="left")
                store.initiatives.create(name="right")
        done.set()

    writing = Task(write)
    seen: set[int] = set()
    while not done.is_set():
        found = names(store)
        assert found.count("left") == found.count("right")
        seen.add(len(found))
    writing.finish()
    assert len(names(store)) == 120


@pytest.mark.parametrize("death", [DeliberateError, SystemExit, KeyboardInterrupt])
def test_a_thread_that_dies_in_a_transaction_undoes_it_and_frees_the_lock(
    store: Store, death: type[BaseException], open_store: OpenStore
) -> None:
    def die() -> None:
        with store.transaction():
            store.initiatives.create(name="undone")
            raise death

    with pytest.raises(death):
        Task(die).finish()
    store.initiatives.create(name="same store")
    with open_store(busy_timeout=0) as other:
        other.initiatives.create(name="other store")
    assert names(store) == ["same store", "other store"]


def test_a_thread_that_ends_without_leaving_its_transaction_undoes_it_and_frees_the_lock(
    store: Store, open_store: OpenStore
) -> None:
    within = store.transaction()

    def end() -> None:
        within.__enter__()
        store.initiatives.create(name="undone")
        with store.transaction():
            store.initiatives.create(name="undone too")
            nested = store.transaction()
            nested.__enter__()

    for _ in range(3):  # the next thread may get the number of the one that ended
        thread = Thread(target=end)
        thread.start()
        thread.join(PATIENCE)
    with open_store(busy_timeout=0) as other:
        other.initiatives.create(name="other store")
    store.initiatives.create(name="same store")
    assert names(store) == ["other store", "same store"]


def test_a_transaction_of_an_ended_thread_that_is_left_later_disturbs_no_other(
    store: Store,
) -> None:
    """As a generator does that nobody closed while its thread lived."""
    within = store.transaction()
    thread = Thread(target=within.__enter__)
    thread.start()
    thread.join(PATIENCE)
    with store.transaction():
        store.initiatives.create(name="kept")
        with pytest.raises(ConflictError, match="another thread"):
            within.__exit__(None, None, None)
        store.initiatives.create(name="kept too")
    assert names(store) == ["kept", "kept too"]


_END_BESIDE_A_TRANSACTION = """
import sys
from threading import Event, Thread
from cwstore.store import Store
store, written = Store.open(sys.argv[1]), Event()
def write():
    with store.transaction():
        store.initiatives.create(name="undone")
        written.set()
        Event().wait()
store.initiatives.create(name="kept")
Thread(target=write, daemon=True).start()
written.wait()
"""


def test_a_daemon_thread_that_the_end_of_its_process_cuts_off_leaves_nothing(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    with Other(_END_BESIDE_A_TRANSACTION, store.path) as other:
        other.end()
    # A server takes a moment to notice that a client is gone.
    with open_store(busy_timeout=60 if address_of(file) else 0) as again:
        again.initiatives.create(name="after")
    assert names(store) == ["kept", "after"]
    assert store.check().ok


@pytest.mark.only_sqlite("waits where PostgreSQL does not")
@pytest.mark.parametrize("busy_timeout", [0.0, 0.02])
def test_who_waits_too_long_for_another_thread_is_told_so(
    file: Path, busy_timeout: float, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=busy_timeout) as store:
        inside, refused = Event(), Event()

        def hold() -> None:
            with store.transaction():
                store.initiatives.create(name="theirs")
                inside.set()
                reached(refused)

        holding = Task(hold)
        reached(inside)
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: store.initiatives.create(name="mine"), "initiatives"),
            (lambda: store.tasks.create_dependency("a", "b"), "database"),
            (lambda: store.transaction().__enter__(), "database"),
            (store._db.vacuum, "database"),
            (store._db.data_version, "database"),
            (store.changes, "database"),
        ]
        for call, what in calls:
            with pytest.raises(BusyError) as caught:
                call()
            message = str(caught.value)
            assert message == (
                f"{what}: another thread of this process had a transaction open on {store.path} for"
                f" all of the {busy_timeout:g} s that this store may wait"
                f" ({caught.value.holder} had it, since {caught.value.since})"
            )
            assert_ours_alone(caught.value)
        refused.set()
        holding.finish()
        store.initiatives.create(name="mine")
        assert names(store) == ["theirs", "mine"]


def test_a_writer_waits_for_the_transaction_of_another_thread(store: Store) -> None:
    inside, go_on = Event(), Event()

    def hold() -> None:
        with store.transaction():
            store.initiatives.create(name="first")
            inside.set()
            reached(go_on)
            store.initiatives.create(name="second")

    holding = Task(hold)
    reached(inside)
    waiting = Task(lambda: store.initiatives.create(name="third"))
    go_on.set()
    holding.finish()
    waiting.finish()
    assert names(store) == ["first", "second", "third"]


def test_no_task_is_claimed_twice_by_threads(store: Store) -> None:
    with store.transaction():
        made = {store.tasks.create(name="work").id for _ in range(80)}
    start = Barrier(4)

    def work() -> list[str]:
        start.wait(30)
        claimed: list[str] = []
        while (task := store.tasks.claim_next_ready()) is not None:
            claimed.append(task.id)
        return claimed

    claimed: list[str] = []
    for task in [Task(work) for _ in range(4)]:
        result = task.finish()
        assert isinstance(result, list)
        claimed += result
    assert len(claimed) == 80
    assert set(claimed) == made


def test_counting_in_transactions_loses_nothing(store: Store) -> None:
    task = store.tasks.create(name="counter")

    def count() -> None:
        for _ in range(25):
            with store.transaction():
                now = store.tasks.find_by_id(task.id)
                assert now is not None
                store.tasks.update(task.id, sort_order=now.sort_order + 1)

    for thread in [Task(count) for _ in range(4)]:
        thread.finish()
    counted = store.tasks.find_by_id(task.id)
    assert counted is not None
    assert counted.sort_order == 100


def test_the_optimistic_lock_lets_one_of_many_threads_through(store: Store) -> None:
    task = store.tasks.create(name="wanted")
    start = Barrier(4)

    def change() -> bool:
        start.wait(30)
        try:
            store.tasks.update(task.id, if_updated_at=task.updated_at, name="changed")
        except ConflictError:
            return False
        return True

    assert sorted(str(one.finish()) for one in [Task(change) for _ in range(4)]) == [
        "False",
        "False",
        "False",
        "True",
    ]


def test_a_transaction_left_by_another_thread_is_undone_and_the_store_goes_on(
    store: Store, open_store: OpenStore
) -> None:
    """Some frameworks enter a generator in one thread of a pool and leave it in another one."""

    def within() -> Generator[None, None, None]:
        with store.transaction():
            store.initiatives.create(name="undone")
            yield

    suspended = within()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, suspended).result(PATIENCE)
        with pytest.raises(ConflictError) as caught:
            next(suspended)
    assert caught.value.reason == "transaction"
    assert str(caught.value) == (
        "transaction left by another thread than had entered it: rolled back"
    )
    store.initiatives.create(name="same store")
    with open_store(busy_timeout=0) as other:
        other.initiatives.create(name="other store")
    assert names(store) == ["same store", "other store"]


def test_a_failing_transaction_left_by_another_thread_keeps_its_own_error(store: Store) -> None:
    def within() -> Generator[None, None, None]:
        with store.transaction():
            store.initiatives.create(name="undone")
            yield

    suspended = within()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(next, suspended).result(PATIENCE)
        suspended.close()
    store.initiatives.create(name="goes on")
    assert names(store) == ["goes on"]


def test_two_stores_on_one_file_see_what_the_other_committed(
    store: Store, open_store: OpenStore
) -> None:
    with open_store() as other:
        store.initiatives.create(name="one")
        assert names(other) == ["one"]
        with undone(other):
            other.initiatives.create(name="undone")
            assert names(store) == ["one"]
        other.initiatives.create(name="two")
        assert names(store) == ["one", "two"]


def waiting(store: Store, threads: int) -> None:
    """Return once that many threads wait for the store."""
    while waiting_threads(store) < threads:
        pass


def test_who_waits_for_a_transaction_that_is_left_elsewhere_waits_no_longer(
    open_store: OpenStore,
) -> None:
    with open_store(busy_timeout=PATIENCE) as store:

        def within() -> Generator[None, None, None]:
            with store.transaction():
                yield

        suspended = within()
        inside, closed = Event(), Event()

        def begin() -> None:
            next(suspended)
            inside.set()
            reached(closed)  # a thread that waits in its pool would not be waited for

        opener = Thread(target=begin)
        opener.start()
        reached(inside)
        writers = [Task(lambda: store.initiatives.create(name="waited")) for _ in range(2)]
        waiting(store, 2)
        suspended.close()
        closed.set()
        opener.join(PATIENCE)
        for writer in writers:
            writer.finish()
        assert names(store) == ["waited", "waited"]


def test_a_stale_transaction_that_is_left_within_a_later_write_disturbs_it_not(
    open_store: OpenStore,
) -> None:
    stale: list[AbstractContextManager[None]] = []

    def clock() -> datetime:
        while stale:
            stale.pop().__exit__(DeliberateError, None, None)
        return datetime(2026, 1, 1, tzinfo=UTC)

    with open_store(clock=clock) as store:
        within = store.transaction()
        thread = Thread(target=within.__enter__)
        thread.start()
        thread.join(PATIENCE)
        stale.append(within)
        store.initiatives.create(name="whole")
        assert stale == []
        assert names(store) == ["whole"]


def test_a_task_may_not_write_into_the_transaction_of_another_task(store: Store) -> None:
    """Plain `with` around an `await`; AsyncStore does without."""

    async def hold(inside: asyncio.Event, go_on: asyncio.Event) -> None:
        with store.transaction():
            store.initiatives.create(name="of the first")
            inside.set()
            await go_on.wait()
            store.initiatives.create(name="of the first, too")

    async def main() -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()
        first = asyncio.create_task(hold(inside, go_on))
        await inside.wait()
        for call in (
            lambda: store.initiatives.create(name="of the second"),
            lambda: store.log_chunks.insert_chunks([("a", "a", 1, "{}")]),
            lambda: store.transaction().__enter__(),
            store.initiatives.find_all,
        ):
            with pytest.raises(ConflictError) as refusal:
                call()
            assert refusal.value.reason == "transaction"
            assert str(refusal.value) == (
                "another task of this thread has a transaction open on this store; use AsyncStore,"
                " or do not await (in a greenlet: switch) inside of `with store.transaction()`"
            )
        go_on.set()
        await first
        store.initiatives.create(name="of the second")

    asyncio.run(main())
    assert names(store) == ["of the first", "of the first, too", "of the second"]
