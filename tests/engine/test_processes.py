"""Many processes on one file: waiting, claiming, dying, forking."""

import multiprocessing
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from cwstore.errors import BusyError, StoreClosedError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, open_at, open_private
from tests.kits.disk import (
    connections_to,
)
from tests.kits.engine import (
    Other,
    Task,
    assert_ours_alone,
    in_child,
    locked,
    names,
    reached,
)
from tests.kits.postgres import address_of

# Waiting


@pytest.mark.parametrize("busy_timeout", [0, 0.03])
def test_who_waits_too_long_for_another_process_is_told_so(
    file: Path, busy_timeout: float, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=busy_timeout) as store:
        task = store.tasks.create(name="task")
        before = contents(file)
        with locked(file) as other:
            calls: list[Callable[[], object]] = [
                lambda: store.tasks.update(task.id, name="changed"),
                lambda: store.tasks.claim(task.id),
                lambda: store.tasks.create_dependency(task.id, task.id),
                lambda: store.transaction().__enter__(),
                lambda: store.log_chunks.prune(keep_sessions=1),
            ]
            if address_of(file):
                calls.pop()  # nothing is there to prune, and a server takes space back by itself
            for call in calls:
                with pytest.raises(BusyError) as caught:
                    call()
                message = str(caught.value)
                assert store.path in message
                since = caught.value.since
                assert message.endswith(
                    f": another connection held the lock for all of the {busy_timeout:g} s that"
                    " this store may wait; look for a long write transaction, or raise busy_timeout"
                    f" ({caught.value.holder} had it{f', since {since}' if since else ''})"
                )
                assert_ours_alone(caught.value)
            assert store.tasks.find_all() == [task]
            assert contents(file) == before
            other.tell()
            other.end()
        assert store.tasks.update(task.id, name="changed").name == "changed"


def test_a_store_can_be_opened_and_read_while_another_process_holds_the_lock(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    store.initiatives.create(name="there")
    with locked(file), open_store(busy_timeout=0) as second:
        assert names(second) == ["there"]


_LEFT_OPEN = [
    "store.initiatives.create(name='kept')",
    "store.initiatives.create(name='kept'); feed = store.changes(); store.tasks.create(name='y')",
    (
        "store.initiatives.create(name='kept'); open = store.transaction(); open.__enter__();"
        " store.initiatives.create(name='undone')"
    ),
]


@pytest.mark.parametrize("act", _LEFT_OPEN, ids=["a store", "a feed", "a transaction"])
def test_a_program_that_ends_without_closing_ends_in_silence(
    file: Path, open_store: OpenStore, act: str
) -> None:
    program = f"import sys; from cwstore import Store; store = Store.open(sys.argv[1]); {act}"
    with Other(program, file, stderr=subprocess.STDOUT) as other:
        assert other.end() == []
    with open_store() as store:
        assert names(store) == ["kept"]


# Working together

_CLAIM = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=60) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while (task := store.tasks.claim_next_ready()) is not None:
        print(task.id)
"""

_COUNT = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=60) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(40):
        with store.transaction():
            task = store.tasks.find_by_id("counter")
            store.tasks.update("counter", sort_order=task.sort_order + 1)
"""


def test_no_task_is_claimed_twice_by_processes(store: Store, file: Path) -> None:
    with store.transaction():
        made = {store.tasks.create(name="work").id for _ in range(90)}
    with Other(_CLAIM, file) as one, Other(_CLAIM, file) as two:
        assert [one.hear(), two.hear()] == ["ready", "ready"]
        one.tell()
        two.tell()
        own: list[str] = []
        while (task := store.tasks.claim_next_ready()) is not None:
            own.append(task.id)
        claimed = own + one.end() + two.end()
    assert len(claimed) == 90
    assert set(claimed) == made


def test_processes_that_count_in_transactions_lose_nothing(store: Store, file: Path) -> None:
    store.tasks.create(name="counter", id="counter")
    with Other(_COUNT, file) as one, Other(_COUNT, file) as two:
        assert [one.hear(), two.hear()] == ["ready", "ready"]
        one.tell()
        two.tell()
        one.end()
        two.end()
    counted = store.tasks.find_by_id("counter")
    assert counted is not None
    assert counted.sort_order == 80


_DIE = """
import os, signal, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="acknowledged")
with store.transaction():
    store.initiatives.create(name="undone")
    print("inside", flush=True)
    sys.stdin.readline()
"""


def test_a_process_killed_in_a_transaction_leaves_what_it_had_committed_and_no_lock(
    file: Path, open_store: OpenStore
) -> None:
    # A server takes a moment to notice that a client is gone.
    with open_store(busy_timeout=60 if address_of(file) else 0) as store:
        with Other(_DIE, file) as other:
            assert other.hear() == "inside"
        store.initiatives.create(name="goes on")
        assert names(store) == ["acknowledged", "goes on"]
        assert store.check().ok


# Forking


def test_a_store_is_refused_in_a_forked_child_and_the_parent_goes_on(
    store: Store, file: Path
) -> None:
    made = store.initiatives.create(name="before")
    assert names(store) == ["before"]
    calls: list[Callable[[], object]] = [
        lambda: names(store),
        lambda: store.initiatives.create(name="by the child"),
        lambda: store.initiatives.update(made.id, name="by the child"),
        lambda: store.tasks.create_dependency("a", "b"),
        lambda: store.transaction().__enter__(),
        store.data_version,
        store.check,
    ]

    def try_all() -> str:
        refusals = 0
        for call in calls:
            with pytest.raises(StoreClosedError, match="forked; open a store of its own") as caught:
                call()
            assert_ours_alone(caught.value)
            refusals += 1
        store.close()
        assert connections_to(file) == []
        opened = {os.path.realpath(one) for one in Path("/proc/self/fd").iterdir()}
        assert [path for path in opened if path.startswith(str(file))] == []
        return f"{refusals} refused"

    assert in_child(try_all)() == "7 refused"
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]
    with locked(file):
        pass


def test_what_a_child_writes_outlives_the_parents_store(open_store: OpenStore) -> None:
    """SQLite in the child must not believe that it holds the locks of the parent."""
    store = open_store()
    store.initiatives.create(name="by the parent")
    assert names(store) == ["by the parent"]
    child_is_open, child_may_write = os.pipe(), os.pipe()

    def work() -> str:
        with open_store() as own:
            os.write(child_is_open[1], b"x")
            os.read(child_may_write[0], 1)
            own.initiatives.create(name="by the child")
            return ", ".join(names(own))

    outcome = in_child(work)
    os.read(child_is_open[0], 1)
    store.close()
    os.write(child_may_write[1], b"x")
    assert outcome() == "by the parent, by the child"
    with open_store() as again:
        assert names(again) == ["by the parent", "by the child"]
        assert again.check().ok
    for descriptor in (*child_is_open, *child_may_write):
        os.close(descriptor)


@pytest.mark.only_sqlite("the lock of a file is the process's")
def test_a_child_forked_in_a_transaction_neither_keeps_nor_undoes_it(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    with store.transaction():
        store.initiatives.create(name="parent")

        def leave() -> str:
            with pytest.raises(StoreClosedError, match="forked"):
                store.transaction().__exit__(None, None, None)
            store.transaction().__exit__(ValueError, None, None)
            with pytest.raises(StoreClosedError, match="forked"):
                names(store)
            open_store()
            return "opened"

        assert in_child(leave)().startswith(f"StoreClosedError: {file} was in use by a thread")
        with open_store() as other:
            assert names(other) == []
        store.initiatives.create(name="parent goes on")
    assert names(store) == ["parent", "parent goes on"]


@pytest.mark.only_sqlite("the lock of a file is the process's")
def test_a_child_forked_while_a_thread_writes_may_not_open_the_file(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    inside, forked = Event(), Event()

    def write() -> None:
        with store.transaction():
            store.initiatives.create(name="by the thread")
            inside.set()
            reached(forked)

    writing = Task(write)
    reached(inside)

    def open_own() -> str:
        with open_private() as memory:
            memory.initiatives.create(name="other stores can be opened")
        open_store()
        return "opened"

    outcome = in_child(open_own)
    forked.set()
    writing.finish()
    assert outcome() == (
        f"StoreClosedError: {file} was in use by a thread of the parent when this process was"
        " forked, and cannot be opened here; fork while the store rests, or start processes by"
        " 'spawn'"
    )
    assert names(store) == ["by the thread"]


def _work(store: Store, file: Path, answers: "multiprocessing.SimpleQueue[str]") -> None:
    try:
        store.initiatives.create(name="never")
    except StoreClosedError:
        with open_at(file) as own:
            own.initiatives.create(name="by a worker")
        answers.put("refused, opened its own")


def test_workers_of_multiprocessing_open_their_own(store: Store, file: Path) -> None:
    names(store)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(store, file, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert [answers.get(), answers.get()] == ["refused, opened its own"] * 2
    store.initiatives.create(name="by the parent")
    assert sorted(names(store)) == ["by a worker", "by a worker", "by the parent"]
