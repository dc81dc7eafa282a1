"""Transactions on the one connection: Ctrl-C at its lock, in memory, left by other threads."""

import gc
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from cwstore.errors import ConflictError, CwstoreError, StoreClosedError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of, waiting_threads
from tests.kits.disk import (
    connections_to,
)
from tests.kits.engine import (
    PATIENCE,
    Task,
    names,
    reached,
)


def test_leaving_a_transaction_in_memory_in_another_thread_loses_the_database() -> None:
    def within() -> Generator[None, None, None]:
        with store.transaction():
            yield

    with Store.open(":memory:") as store:
        suspended = within()
        with ThreadPoolExecutor(1) as pool:
            pool.submit(next, suspended).result(PATIENCE)
            with pytest.raises(StoreClosedError, match="in-memory database was lost"):
                next(suspended)


def test_threads_may_close_a_store_at_the_same_moment(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    with store.transaction():
        store.initiatives.create(name="kept")
        closers = [Task(store.close) for _ in range(3)]
        while waiting_threads(store) < 3:
            pass
    for closer in closers:
        closer.finish()
    assert connections_to(file) == []
    with open_store() as again:
        assert names(again) == ["kept"]


def test_a_transaction_that_is_left_elsewhere_while_its_thread_works_on_it_is_undone(
    store: Store,
) -> None:
    inside, go_on = Event(), Event()

    def stop() -> bool:
        inside.set()
        reached(go_on)
        return False

    within = store.transaction()

    def work() -> None:
        with within:
            engine_of(store)._writer.connection.set_progress_handler(stop, 1)
            store.initiatives.create(name="undone")

    working = Task(work)
    reached(inside)  # in the middle of a statement
    with pytest.raises(ConflictError, match="another thread"):
        within.__exit__(None, None, None)
    go_on.set()
    with pytest.raises(CwstoreError):
        working.finish()
    store.initiatives.create(name="goes on")
    assert names(store) == ["goes on"]


def test_a_store_that_nobody_closed_goes_when_it_is_let_go(
    file: Path, open_store: OpenStore
) -> None:
    gc.disable()
    try:
        store = open_store()
        store.initiatives.create(name="kept")
        with store.transaction():
            store.initiatives.create(name="kept, too")
        with pytest.warns(ResourceWarning, match="was not closed; use `with` or call close"):
            del store
        assert connections_to(file) == []
    finally:
        gc.enable()


class InterruptedLock:
    """A lock after which Ctrl-C comes, before the caller can note that it has it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.release = lock.release

    def try_acquire(self) -> bool:
        self._lock.try_acquire()
        raise KeyboardInterrupt


def test_ctrl_c_at_the_moment_when_the_lock_is_had_does_not_strand_it(store: Store) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.initiatives.create(name="never"),
        lambda: store.transaction().__enter__(),
        store.data_version,
    ]
    for call in calls:
        writer: Any = engine_of(store)._writer
        lock = writer.lock
        writer.lock = InterruptedLock(lock)
        with pytest.raises(KeyboardInterrupt):
            call()
        writer.lock = lock
        Task(lambda: store.initiatives.create(name="next")).finish()
    assert names(store) == ["next"] * 3
