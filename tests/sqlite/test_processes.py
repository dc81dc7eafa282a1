"""Processes on one file, as connections see them: busy handler, queue, what a fork inherits."""

from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from cwstore._sqlite.connection import connect
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of
from tests.kits.engine import (
    Other,
    Task,
    in_child,
    locked,
    names,
    reached,
)


def test_a_writer_waits_for_another_process(file: Path, open_store: OpenStore) -> None:
    with open_store(busy_timeout=60) as store:
        store.initiatives.create(name="quick")
        waiting = Event()
        patience = engine_of(store)._writer.busy_handler

        def noticed(earlier_calls: int) -> bool:
            waiting.set()
            return patience(earlier_calls)

        engine_of(store)._writer.connection.set_busy_handler(noticed)
        with locked(file) as other:
            writing = Task(lambda: store.initiatives.create(name="patient"))
            reached(waiting)
            other.tell()
            writing.finish()
        assert names(store) == ["quick", "patient"]


def test_what_was_spent_on_waiting_for_a_thread_is_counted(
    monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    spent: list[float] = []

    def clock() -> datetime:
        queue = engine_of(store)._writer.queue
        assert queue is not None
        spent.append(queue.seconds_spent)
        return datetime(2026, 1, 1, tzinfo=UTC)

    now = 100.0
    waiting = Event()

    def monotonic() -> float:
        waiting.set()
        return now

    with open_store(clock=clock, busy_timeout=60) as store:
        monkeypatch.setattr("cwstore.core.writer_lock.time", SimpleNamespace(monotonic=monotonic))
        with store.transaction():
            store.initiatives.create(name="had not to wait")
            writing = Task(lambda: store.initiatives.create(name="waited"))
            reached(waiting)
            now = 142.0
        writing.finish()
        store.initiatives.create(name="had not to wait")
    assert spent == [0.0, 42.0, 0.0]


def test_a_child_may_not_open_a_file_whose_connection_a_thread_uses_without_a_transaction(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    """As a listener does who looks whether another process has committed."""
    taken, forked = Event(), Event()

    def look() -> None:
        assert engine_of(store)._writer.lock.try_acquire()
        taken.set()
        reached(forked)
        engine_of(store)._writer.lock.release()

    looking = Task(look)
    reached(taken)
    outcome = in_child(lambda: str(open_store()))
    forked.set()
    looking.finish()
    assert outcome().startswith(f"StoreClosedError: {file} was in use by a thread")


def test_a_child_may_not_open_a_file_that_a_thread_was_just_opening(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    half_open = connect(str(file), busy_timeout=0)  # no store has it yet
    outcome = in_child(lambda: str(open_store()))
    half_open.close()
    assert outcome().startswith(f"StoreClosedError: {file} was in use by a thread")


_FORK_AND_EXIT = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from cwstore.store import Store
store = Store.open(sys.argv[1])
def write():
    with store.transaction():
        store.initiatives.create(name="one")
pool = ThreadPoolExecutor(1)  # the child frees what is left of its thread
pool.submit(write).result()
if sys.argv[2] == "in a transaction":
    store._db._writer.connection.pragma("cache_size", 10)  # pages go to the log early
    within = store.transaction()
    within.__enter__()
    store.initiatives.create(name="two", branch="x" * 1_000_000)
    for number in range(300):
        store.tasks.create(name="x" * 1_000, id=str(number))
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    if sys.argv[2] == "in a transaction":
        within.__exit__(None, None, None)
    else:
        store.initiatives.create(name="two")
    assert store.check().ok
    print(*(one.name for one in store.initiatives.find_all()))
    store.close()
"""


@pytest.mark.parametrize("when", ["at rest", "in a transaction"])
def test_a_child_that_ends_by_itself_takes_nothing_of_the_parents_along(
    file: Path, when: str
) -> None:
    """Its interpreter frees what it can on the way out."""
    with Other(_FORK_AND_EXIT, file, when) as other:
        assert other.end() == ["one two"]
