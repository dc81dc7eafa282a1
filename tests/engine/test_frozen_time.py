"""Who freezes the time for a test (freezegun) gets waits that end all the same."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from freezegun import freeze_time

from cwstore import BusyError
from cwstore.store import Store
from tests.kits.database import OpenStore


@contextmanager
def transaction_of_another_thread(store: Store) -> Generator[None]:
    begun, go = threading.Event(), threading.Event()

    def hold() -> None:
        with store.transaction():
            begun.set()
            go.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(30)
    try:
        yield
    finally:
        go.set()
        thread.join()


@pytest.mark.parametrize("whose", ["its own", "another"])
def test_a_wait_for_a_lock_ends(store: Store, open_store: OpenStore, whose: str) -> None:
    with open_store(busy_timeout=0.05) as waiting:
        waiting.tasks.create(name="a")
        holder = waiting if whose == "its own" else store
        with (
            transaction_of_another_thread(holder),
            freeze_time("2026-01-01"),
            pytest.raises(BusyError),
        ):
            waiting.tasks.create(name="b")


def test_a_wait_for_a_change_ends(store: Store) -> None:
    with freeze_time("2026-01-01"), store.changes() as feed:
        assert feed.get(timeout=0.05) == []


def test_rows_are_written_and_read(store: Store) -> None:
    with freeze_time("2026-01-01"):
        task = store.tasks.create(name="a")
        assert store.tasks.find_all() == [task]
        assert store.tasks.update(task.id, name="b").updated_at > task.updated_at
