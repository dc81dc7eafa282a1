"""AsyncStore: the same repositories awaited, whole transactions, cancellation and closing."""

import asyncio
import contextvars
import gc
import logging
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import anyio
import pytest

from cwstore.aio import AsyncDatabase, AsyncStore
from cwstore.core.database import Database
from cwstore.entities.agents import Agent
from cwstore.entities.task import TaskCategory
from cwstore.errors import (
    BusyError,
    ConflictError,
    InvalidValueError,
    NotFoundError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import open_async, open_at
from tests.kits.disk import (
    failing_sync,
    faulty_disk,
)
from tests.kits.engine import (
    Other,
)
from tests.kits.postgres import address_of

T = TypeVar("T")


def run(file: Path, scene: Callable[[AsyncStore], Awaitable[T]], **options: Any) -> T:
    """Play a scene under asyncio on a store of its own."""

    async def play() -> T:
        async with await open_async(file, **options) as store:
            return await scene(store)

    return asyncio.run(play())


@pytest.mark.only_sqlite("tells a path")
def test_an_awaited_store_tells_its_file(file: Path) -> None:
    async def scene(store: AsyncStore) -> tuple[str, str]:
        return store.path, repr(store)

    assert run(file, scene) == (os.path.realpath(file), f"<AsyncStore {os.path.realpath(file)!r}>")


@pytest.mark.parametrize(("plain", "awaited"), [(Store, AsyncStore), (Database, AsyncDatabase)])
def test_an_awaited_store_is_opened_with_the_options_of_the_plain_one(
    plain: type[Database], awaited: type[AsyncDatabase]
) -> None:
    assert signature(awaited.open).parameters == signature(plain.open).parameters


def assert_alone(file: Path) -> None:
    """The last connection that closes removes the write-ahead log."""
    if not address_of(file):
        assert [path.name for path in file.parent.iterdir()] == [file.name]


class GatedClock:
    """A clock that stops whoever reads it, while the gate is closed: inside of a transaction."""

    def __init__(self) -> None:
        self.read = threading.Event()
        self.gate = threading.Event()

    def __call__(self) -> datetime:
        self.read.set()
        assert self.gate.wait(30)
        return datetime(2026, 1, 1, tzinfo=UTC)


async def set_in_thread(event: threading.Event) -> None:
    """Wait for a threading event without holding up the loop."""
    assert await asyncio.to_thread(event.wait, 30)


def test_awaited_methods_do_and_return_what_the_plain_ones_do(file: Path) -> None:
    async def scene(store: AsyncStore) -> list[object]:
        initiative = await store.initiatives.create(name="i", id="i")
        task = await store.tasks.create(name="t", id="t", initiative_id=initiative.id)
        claimed = await store.tasks.claim_next_ready(initiative_id="i")
        assert claimed is not None
        return [initiative, await store.tasks.find_by_id(task.id), claimed]

    initiative, found, claimed = run(file, scene)
    with open_at(file) as store:
        assert [initiative] == store.initiatives.find_all()
        assert [found] == [claimed] == store.tasks.find_all()


def test_errors_arrive_where_the_call_is_awaited(file: Path) -> None:
    async def scene(store: AsyncStore) -> None:
        with pytest.raises(NotFoundError):
            await store.tasks.update("none", name="x")
        with pytest.raises(InvalidValueError) as refused:
            await store.tasks.create(name="")
        assert refused.value.field == "name"

    run(file, scene)


def test_a_transaction_is_kept_as_a_whole_and_returns_the_result(file: Path) -> None:
    def plan(tx: Store) -> list[str]:
        phase = tx.phases.create(initiative_id=tx.initiatives.create(name="i").id, name="p")
        return [tx.tasks.create(name=name, phase_id=phase.id).id for name in "ab"]

    async def scene(store: AsyncStore) -> list[str]:
        return await store.transaction(plan)

    ids = run(file, scene)
    with open_at(file) as store:
        assert [task.id for task in store.tasks.find_all()] == ids


def test_a_transaction_that_raises_leaves_nothing(file: Path) -> None:
    def fail(tx: Store) -> None:
        tx.initiatives.create(name="i")
        raise ConflictError("no")

    async def scene(store: AsyncStore) -> None:
        with pytest.raises(ConflictError, match=r"^no$"):
            await store.transaction(fail)
        assert await store.initiatives.find_all() == []

    run(file, scene)


def test_concurrent_transactions_lose_no_update(file: Path) -> None:
    def add_one(tx: Store) -> None:
        task = tx.tasks.find_by_id("t")
        assert task is not None
        tx.tasks.update("t", sort_order=task.sort_order + 1)

    async def scene(store: AsyncStore) -> int:
        await store.tasks.create(name="t", id="t")
        await asyncio.gather(*(store.transaction(add_one) for _ in range(40)))
        task = await store.tasks.find_by_id("t")
        assert task is not None
        return task.sort_order

    assert run(file, scene) == 40


def test_a_coroutine_is_refused_as_a_transaction(file: Path) -> None:
    async def wrong(tx: Store) -> None:
        tx.initiatives.create(name="never")

    async def scene(store: AsyncStore) -> None:
        with pytest.raises(InvalidValueError) as refused:
            await store.transaction(wrong)
        assert str(refused.value) == "work: must be a plain function, not a coroutine"
        assert await store.initiatives.find_all() == []

    run(file, scene)


def test_what_is_no_function_is_refused_as_a_transaction(file: Path) -> None:
    async def scene(store: AsyncStore) -> None:
        with pytest.raises(InvalidValueError) as refused:
            await store.transaction(5)  # type: ignore[arg-type]
        assert refused.value.field == "work"
        assert str(refused.value) == "work: expected a function, got int"

    run(file, scene)


def test_a_transaction_sees_the_context_variables_of_its_caller(file: Path) -> None:
    user = contextvars.ContextVar("user", default="nobody")

    async def scene(store: AsyncStore) -> str:
        user.set("me")
        return await store.transaction(lambda _: user.get())

    assert run(file, scene) == "me"


def test_what_a_call_logs_tells_of_the_context_variables_of_its_caller(file: Path) -> None:
    request = contextvars.ContextVar("request", default="none")
    told: list[tuple[str, str]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append((request.get(), record.getMessage().split(":")[0]))

    async def scene(store: AsyncStore) -> None:
        request.set("seven")
        await store.tasks.create(id="T", name="T")
        await store.agents.create(id="A", name="fox", worktree_id="/", status="running")
        await store.tasks.claim("T", agent_id="A", lease=timedelta(microseconds=1))
        logger.addHandler(handler)
        await store.tasks.expire_leases()

    logger, handler = logging.getLogger("cwstore"), Handler()
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        run(file, scene)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert told == [("seven", "task T is taken back")]


def test_reads_and_empty_claims_do_not_wait_for_a_transaction_of_another_task(file: Path) -> None:
    began, go = threading.Event(), threading.Event()

    async def scene(store: AsyncStore) -> None:
        made = await store.initiatives.create(name="x")
        long = asyncio.create_task(store.transaction(lambda _: (began.set(), go.wait(30))))
        await set_in_thread(began)
        assert await store.initiatives.find_by_id(made.id) == made
        assert await store.initiatives.find_all() == [made]
        assert await store.tasks.claim_next_ready() is None
        assert await store.tasks.claim_next_ready(categories=iter([TaskCategory.PLAN])) is None
        assert await store.log_chunks.get_session_count("nobody") == 0
        assert [chunk async for chunk in store.log_chunks.iter_by_agent_id("nobody")] == []
        await store.stats()
        go.set()
        await long

    run(file, scene)


def test_writes_and_transactions_wait_for_one_of_another_task_for_the_busy_timeout_each(
    file: Path,
) -> None:
    began, go = threading.Event(), threading.Event()

    async def scene() -> None:
        async with await open_async(file, busy_timeout=0.05) as store:
            long = asyncio.create_task(store.transaction(lambda _: (began.set(), go.wait(30))))
            await set_in_thread(began)
            waiting = [
                store.initiatives.create(name="late"),
                store.transaction(lambda tx: tx.initiatives.create(name="late")),
                store.transaction(lambda tx: tx.initiatives.create(name="later")),
            ]
            told = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in told] == [BusyError] * 3
            go.set()
            await long
            assert await store.initiatives.find_all() == []

    asyncio.run(scene())


def test_a_long_list_does_not_hold_up_point_reads_and_small_writes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()

    async def scene(store: AsyncStore) -> None:
        made = await store.initiatives.create(name="x")
        fetch_all = store._store._db.fetch_all

        def slow(*args: Any, **binds: Any) -> Any:
            began.set()
            assert go.wait(30)
            return fetch_all(*args, **binds)

        monkeypatch.setattr(store._store._db, "fetch_all", slow)
        long = asyncio.create_task(store.initiatives.find_all())
        await set_in_thread(began)
        assert await store.initiatives.find_by_id(made.id) == made
        second = await store.initiatives.create(name="y")
        go.set()
        assert await long == [made, second]

    run(file, scene)


def test_work_on_many_rows_does_not_hold_up_small_writes(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()

    async def scene(store: AsyncStore) -> None:
        await store.agents.create(name="a", worktree_id="w", status="running")

        def is_alive(_: Agent) -> bool:
            began.set()
            return go.wait(30)

        long = asyncio.create_task(store.agents.reconcile(is_alive))
        await set_in_thread(began)
        await store.initiatives.create(name="x")
        go.set()
        assert await long == []

    run(file, scene)


def test_a_coroutine_function_is_asked_who_is_alive_in_the_loop(file: Path) -> None:
    async def scene(store: AsyncStore) -> None:
        living = await store.agents.create(name="a", worktree_id="w", status="running")
        dead = await store.agents.create(name="b", worktree_id="w", status="running")
        changed = await store.agents.create(name="c", worktree_id="w", status="running", pid=1)
        loop = asyncio.get_running_loop()

        async def is_alive(agent: Agent) -> bool:
            assert asyncio.get_running_loop() is loop
            await store.agents.update(changed.id, pid=2)
            return agent.id == living.id

        assert [one.id for one in await store.agents.reconcile(is_alive)] == [dead.id]

        async def forgets(agent: Agent) -> bool | None:
            return None

        with pytest.raises(InvalidValueError, match="it returned NoneType"):
            await store.agents.reconcile(forgets)  # type: ignore[arg-type]
        found = [one.status for one in await store.agents.find_all()]
        assert found == ["running", "crashed", "running"]

        class Asker:
            async def __call__(self, agent: Agent) -> bool:
                return asyncio.get_running_loop() is loop

        assert await store.agents.reconcile(Asker()) == []

    run(file, scene)


def test_an_error_goes_once_nobody_has_it_with_what_the_call_was_given(file: Path) -> None:
    async def scene(store: AsyncStore) -> None:
        await store.tasks.find_all()
        gc.disable()
        try:
            with pytest.raises(NotFoundError) as caught:
                await store.tasks.get("nowhere")
            raised = weakref.ref(caught.value)
            del caught
            await store.tasks.find_by_id("nowhere")  # what ran before is done with then
            assert raised() is None
        finally:
            gc.enable()

    run(file, scene)


def test_a_result_goes_once_nobody_has_it_though_no_other_call_follows(file: Path) -> None:
    class Result:
        pass

    async def scene(store: AsyncStore) -> None:
        gone = threading.Event()
        result = await store.transaction(lambda _: Result())
        weakref.finalize(result, gone.set)
        del result
        assert await asyncio.to_thread(gone.wait, 60)

    run(file, scene)


def test_a_store_that_is_dropped_warns_and_leaves_no_thread_and_no_descriptor(file: Path) -> None:
    open_at(file).close()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    threads = set(threading.enumerate())

    async def leave_open() -> list[threading.Thread]:
        store = await open_async(file)
        await store.tasks.find_all()
        await store.transaction(lambda tx: tx.initiatives.create(name="kept"))
        return [one for one in threading.enumerate() if one not in threads]

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        started = asyncio.run(leave_open())
        gc.collect()
    assert [one.category for one in told] == [ResourceWarning]
    assert "was not closed; use `async with`" in str(told[0].message)
    assert len(started) == 4
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    with open_at(file) as again:
        assert [one.name for one in again.initiatives.find_all()] == ["kept"]


def test_lists_that_follow_each_other_share_a_thread(file: Path) -> None:
    async def scene(store: AsyncStore) -> None:
        for _ in range(3):
            await store.initiatives.find_all()
        names = [thread.name for thread in threading.enumerate()]
        assert names.count("cwstore lists") == 1

    run(file, scene)


def test_the_result_of_a_transaction_does_not_wait_for_the_next_one_of_its_thread(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore.aio.lanes._TRANSACTIONS", 1)
    monkeypatch.setattr("cwstore.aio.workers._HOLD_BACK", 60.0)
    known = threading.Event()

    async def scene(store: AsyncStore) -> None:
        def short(_: Store) -> None: ...

        def long(_: Store) -> None:
            assert known.wait(30)

        first = asyncio.create_task(store.transaction(short))
        second = asyncio.create_task(store.transaction(long))
        await first
        known.set()
        await second

    run(file, scene)


def test_a_call_that_is_cancelled_before_it_began_changes_nothing_and_says_so(file: Path) -> None:
    go = threading.Event()

    async def scene(store: AsyncStore) -> None:
        began = threading.Event()
        first = asyncio.create_task(store.transaction(lambda _: (began.set(), go.wait(30))))
        await set_in_thread(began)
        second = asyncio.create_task(caught(store.initiatives.create(name="never")))
        await asyncio.sleep(0)
        second.cancel()
        assert "before the call began; nothing was changed" in await second
        go.set()
        await first
        assert await store.initiatives.find_all() == []

    run(file, scene)


def test_a_call_that_is_cancelled_while_it_runs_is_completed_and_says_so(file: Path) -> None:
    clock = GatedClock()

    async def scene(store: AsyncStore) -> None:
        task = asyncio.create_task(caught(store.initiatives.create(name="kept", id="i")))
        await set_in_thread(clock.read)
        for _ in range(3):  # each time it goes on waiting
            task.cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not task.done()
        clock.gate.set()
        assert "was completed" in await task
        assert [found.id for found in await store.initiatives.find_all()] == ["i"]

    run(file, scene, clock=clock)


def test_a_transaction_that_is_cancelled_while_it_runs_is_rolled_back_and_says_so(
    file: Path,
) -> None:
    began, go = threading.Event(), threading.Event()

    def work(tx: Store) -> None:
        tx.initiatives.create(name="never")
        began.set()
        assert go.wait(30)

    async def scene(store: AsyncStore) -> None:
        task = asyncio.create_task(caught(store.transaction(work)))
        await set_in_thread(began)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        assert "before the commit; the transaction was rolled back" in await task
        assert await store.initiatives.find_all() == []

    run(file, scene)


def test_a_call_that_fails_after_it_was_cancelled_says_so(file: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def work(_: Store) -> None:
        began.set()
        assert go.wait(30)
        raise ConflictError("no")

    async def scene(store: AsyncStore) -> None:
        task = asyncio.create_task(caught(store.transaction(work)))
        await set_in_thread(began)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        assert "failed; what it had not committed was rolled back" in await task

    run(file, scene)


@pytest.mark.only_sqlite("the disk of a server is its own")
def test_a_call_whose_commit_fails_after_it_was_cancelled_says_that_it_may_be_kept(
    file: Path,
) -> None:
    clock = GatedClock()

    with faulty_disk() as disk:

        async def scene(store: AsyncStore) -> None:
            task = asyncio.create_task(caught(store.initiatives.create(name="perhaps")))
            await set_in_thread(clock.read)
            task.cancel()
            await asyncio.sleep(0)
            disk.fail = failing_sync
            clock.gate.set()
            assert "read whether it was kept" in await task
            disk.fail = lambda operation, path: 0

        run(file, scene, clock=clock, durable=True)


class CountingLoop(asyncio.SelectorEventLoop):
    """It counts what is called soon."""

    called = 0

    def call_soon(self, *args: Any, **kwargs: Any) -> asyncio.Handle:
        self.called += 1
        return super().call_soon(*args, **kwargs)


def test_who_is_cancelled_by_a_scope_of_anyio_waits_without_spinning(file: Path) -> None:
    began, go = threading.Event(), threading.Event()

    async def play() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, CountingLoop)
        async with await open_async(file) as store:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(store.transaction, lambda _: (began.set(), go.wait(30)))
                    await set_in_thread(began)
                    loop.called = 0
                    loop.call_later(0.2, go.set)
                    scope.cancel()
            assert scope.cancelled_caught
            assert loop.called < 100

    anyio.run(play, backend_options={"loop_factory": CountingLoop})


_CANCELLED_WITHOUT_ANYIO = """
import asyncio, sys, threading
from cwstore.aio import AsyncStore

async def main():
    began, go = threading.Event(), threading.Event()
    async with await AsyncStore.open(sys.argv[1]) as store:
        task = asyncio.create_task(store.transaction(lambda tx: (began.set(), go.wait())))
        await asyncio.to_thread(began.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        try:
            await task
        except asyncio.CancelledError as cancelled:
            print(*cancelled.__notes__)
    assert "anyio" not in sys.modules

asyncio.run(main())
"""


def test_who_does_not_use_anyio_is_not_made_to(file: Path) -> None:
    with Other(_CANCELLED_WITHOUT_ANYIO, file) as other:
        assert other.end() == [
            "cwstore: cancelled before the commit; the transaction was rolled back"
        ]


_TRIO_ALONE = """
import sys

import trio

sys.modules["anyio"] = None  # as where it is not installed
from cwstore import AsyncStore

try:
    trio.run(AsyncStore.open, sys.argv[1])
except ImportError as error:
    print(error)
"""


def test_trio_without_anyio_is_told_what_to_install(file: Path) -> None:
    with Other(_TRIO_ALONE, file) as other:
        assert other.end() == ["cwstore runs under trio through anyio: pip install 'cwstore[trio]'"]


async def caught(call: Awaitable[object]) -> str:
    """The notes of the cancellation that ends the call."""
    try:
        await call
    except asyncio.CancelledError as cancelled:
        return " ".join(cancelled.__notes__)
    return "not cancelled"


def test_reads_go_on_beside_a_long_transaction_and_do_not_see_it(file: Path) -> None:
    began, go = threading.Event(), threading.Event()

    def work(tx: Store) -> None:
        tx.initiatives.create(name="later")
        began.set()
        assert go.wait(30)

    async def scene(store: AsyncStore) -> None:
        task = asyncio.create_task(store.transaction(work))
        await set_in_thread(began)
        assert await store.initiatives.find_all() == []
        go.set()
        await task
        assert len(await store.initiatives.find_all()) == 1

    run(file, scene)


def test_closing_waits_for_every_call_that_was_made(file: Path) -> None:
    async def play() -> list[object]:
        store = await open_async(file)
        calls = [asyncio.create_task(store.tasks.create(name=f"t{n}")) for n in range(30)]
        await asyncio.sleep(0)
        await store.close()
        return await asyncio.gather(*calls)

    made = asyncio.run(play())
    with open_at(file) as store:
        assert store.tasks.find_all() == made


def test_a_closed_store_refuses_calls_and_closes_again(file: Path) -> None:
    async def play() -> None:
        store = await open_async(file)
        await store.close()
        await store.close()
        with pytest.raises(StoreClosedError):
            await store.tasks.find_all()
        with pytest.raises(StoreClosedError):
            await store.tasks.create(name="t")
        with pytest.raises(StoreClosedError):
            await store.transaction(lambda tx: None)

    asyncio.run(play())


def test_closing_waits_for_what_runs_aside_and_so_does_closing_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go = threading.Event(), threading.Event()
    check = Store.check

    def slow_check(store: Store) -> object:
        began.set()
        assert go.wait(30)
        return check(store)

    monkeypatch.setattr(Store, "check", slow_check)

    async def play() -> None:
        store = await open_async(file)
        checking = asyncio.create_task(store.check())
        await set_in_thread(began)
        closing = [asyncio.create_task(store.close()) for _ in range(2)]
        done, _ = await asyncio.wait(closing, timeout=0.1)
        assert not done
        with pytest.raises(StoreClosedError):
            await store.stats()
        go.set()
        await asyncio.gather(*closing)
        assert (await checking).ok

    asyncio.run(play())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_store_that_is_left_by_cancellation_is_closed(file: Path, backend: str) -> None:
    async def play() -> None:
        store = await open_async(file)
        await store.initiatives.create(name="i")
        with anyio.CancelScope() as scope:
            async with store:
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert_alone(file)

    anyio.run(play, backend=backend)


async def use_elsewhere(store: AsyncStore) -> None:
    """Each call is refused in another loop."""
    for call in (
        store.initiatives.find_all,
        lambda: store.initiatives.create(name="never"),
        store.check,
        store.changes,
    ):
        with pytest.raises(ConflictError, match="event loop"):
            await call()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("home", ["asyncio", "trio"])
def test_another_loop_is_refused_and_may_close_the_store_once_its_own_is_over(
    file: Path, home: str, backend: str
) -> None:
    async def use(store: AsyncStore) -> None:
        await use_elsewhere(store)
        await store.close()
        await store.close()
        assert_alone(file)

    store = anyio.run(open_async, file, backend=home)
    anyio.run(use, store, backend=backend)
    with open_at(file) as again:
        assert again.initiatives.find_all() == []


@pytest.mark.parametrize("home", ["asyncio", "trio"])
def test_another_loop_may_not_close_a_store_while_its_own_runs(file: Path, home: str) -> None:
    async def close(store: AsyncStore) -> None:
        with pytest.raises(ConflictError, match="event loop"):
            await store.close()

    async def play() -> None:
        async with await open_async(file) as store:
            await anyio.to_thread.run_sync(anyio.run, close, store)
            await store.initiatives.create(name="i")

    anyio.run(play, backend=home)


_FORK = """
import ctypes, os, sys, time
import anyio
from cwstore import AsyncStore
from cwstore.errors import StoreClosedError

def unannounced():
    # A thread that asks for Python's lock just then would never have it in the child, which waits
    # for that: each has it before, and asks no more.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1_000)
    until = time.perf_counter() + 4 * interval
    while time.perf_counter() < until:
        pass
    child = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(interval)
    return child

fork = {"os.fork": os.fork, "unannounced": unannounced}[sys.argv[3]]

async def main():
    store = await AsyncStore.open(sys.argv[1])
    changes = await store.changes()
    await store.initiatives.create(name="i")
    child = fork()
    if child == 0:
        refused = 0
        for use in (store.initiatives.find_all, store.check, lambda: anext(changes)):
            try:
                await use()
            except StoreClosedError as error:
                refused += str(error) in sys.argv[4:]
        await store.close()
        os._exit(refused)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print((await anext(changes)).table)
    await store.close()

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("how", ["os.fork", "unannounced"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_forked_child_is_refused_and_closes_at_once(file: Path, backend: str, how: str) -> None:
    told = (
        "the store was opened before this process was forked; open a store of its own in the child",
        (
            "the change feed was opened before this process was forked; open a store of its own in"
            " the child, and a feed of that"
        ),
    )
    with Other(_FORK, file, backend, how, *told) as other:
        assert other.end() == ["3", "initiatives"]


@pytest.mark.only_sqlite("opens a directory")
def test_an_open_that_is_refused_raises_and_leaves_no_thread(file: Path) -> None:
    file.mkdir()
    before = threading.active_count()

    async def play() -> None:
        with pytest.raises(Exception, match="is a directory"):
            await open_async(file)

    asyncio.run(play())
    for thread in threading.enumerate():
        if thread.name == "cwstore writer":
            thread.join(30)
    assert threading.active_count() <= before


@pytest.mark.only_sqlite("makes a file")
def test_an_open_that_is_cancelled_leaves_no_store_open(file: Path) -> None:
    reached, go = threading.Event(), threading.Event()

    def stop_at_migration(_: object) -> None:
        reached.set()
        assert go.wait(30)

    async def play() -> None:
        task = asyncio.create_task(open_async(file, on_progress=stop_at_migration))
        await set_in_thread(reached)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(play())
    for thread in threading.enumerate():
        if thread.name == "cwstore writer":
            thread.join(30)
    # The last connection that closes removes the write-ahead log.
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_log_chunks_are_iterated_in_order_while_others_write(file: Path) -> None:
    async def scene(store: AsyncStore) -> list[str]:
        await store.log_chunks.insert_chunks([("a", "n", 1, f"{n}") for n in range(1_203)])
        contents: list[str] = []
        async for chunk in store.log_chunks.iter_by_agent_id("a", page=100):
            contents.append(chunk.content)
            if chunk.content == "600":
                await store.log_chunks.insert_chunk(
                    "a", agent_name="n", session_number=1, content="last"
                )
        return contents

    assert run(file, scene) == [*(f"{n}" for n in range(1_203)), "last"]


def test_an_iteration_can_be_left_early(file: Path) -> None:
    async def scene(store: AsyncStore) -> str:
        await store.log_chunks.insert_chunks([("a", "n", 1, f"{n}") for n in range(10)])
        async for chunk in store.log_chunks.iter_by_agent_id("a"):
            return chunk.content
        return "none"

    assert run(file, scene) == "0"


@pytest.mark.only_sqlite("PostgreSQL is backed up by its own tools")
def test_the_whole_file_is_looked_after_like_with_a_plain_store(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"

    async def scene(store: AsyncStore) -> None:
        before = await store.data_version()
        with open_at(file) as other:
            other.initiatives.create(name="i")
            assert await store.check() == other.check()
            assert (await store.stats()).tables == other.stats().tables
        assert await store.data_version() != before
        await store.backup(copy)

    run(file, scene)
    with open_at(copy) as store, open_at(file) as original:
        assert store.initiatives.find_all() == original.initiatives.find_all() != []


def test_in_memory_tasks_share_one_database() -> None:
    async def play() -> int:
        async with await AsyncStore.open(":memory:") as store:
            await asyncio.gather(*(store.initiatives.create(name="i") for _ in range(10)))
            return len(await store.initiatives.find_all())

    assert asyncio.run(play()) == 10


def test_trio_tasks_use_the_same_store(file: Path) -> None:
    async def play() -> None:
        async with await open_async(file) as store:
            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon(lambda n=n: store.initiatives.create(name="i", id=f"{n:02}"))
            found = await store.initiatives.find_all()
            assert sorted(one.id for one in found) == [f"{n:02}" for n in range(20)]
            assert await store.transaction(lambda tx: len(tx.initiatives.find_all())) == 20

    anyio.run(play, backend="trio")


def test_under_trio_a_call_that_runs_is_completed_and_the_cancellation_says_so(file: Path) -> None:
    clock = GatedClock()
    notes: list[str] = []

    async def play() -> None:
        async with await open_async(file, clock=clock) as store:

            async def create() -> None:
                try:
                    await store.initiatives.create(name="kept", id="i")
                except anyio.get_cancelled_exc_class() as cancelled:
                    notes.extend(cancelled.__notes__)
                    raise

            async with anyio.create_task_group() as group:
                group.start_soon(create)
                await anyio.to_thread.run_sync(clock.read.wait, 30)
                group.cancel_scope.cancel()
                clock.gate.set()
            assert [found.id for found in await store.initiatives.find_all()] == ["i"]

    anyio.run(play, backend="trio")
    assert notes == ["cwstore: the call had begun and was completed; only its result is lost"]


def test_under_trio_a_transaction_that_is_cancelled_while_it_runs_is_rolled_back(
    file: Path,
) -> None:
    began, go = threading.Event(), threading.Event()
    notes: list[str] = []

    def work(tx: Store) -> None:
        tx.initiatives.create(name="never")
        began.set()
        assert go.wait(30)

    async def play() -> None:
        async with await open_async(file) as store:

            async def transact() -> None:
                try:
                    await store.transaction(work)
                except anyio.get_cancelled_exc_class() as cancelled:
                    notes.extend(cancelled.__notes__)
                    raise

            async with anyio.create_task_group() as group:
                group.start_soon(transact)
                await anyio.to_thread.run_sync(began.wait, 30)
                group.cancel_scope.cancel()
                with anyio.CancelScope(shield=True):
                    for _ in range(2):  # what runs in one turn of the loop has no order
                        await anyio.lowlevel.checkpoint()
                go.set()
            assert await store.initiatives.find_all() == []

    anyio.run(play, backend="trio")
    assert notes == ["cwstore: cancelled before the commit; the transaction was rolled back"]


def test_under_trio_a_call_that_has_not_begun_is_withdrawn(file: Path) -> None:
    clock = GatedClock()
    notes: list[str] = []

    async def play() -> None:
        async with await open_async(file, clock=clock) as store:

            async def create(name: str) -> None:
                try:
                    await store.initiatives.create(name=name)
                except anyio.get_cancelled_exc_class() as cancelled:
                    notes.extend(cancelled.__notes__)
                    raise

            async with anyio.create_task_group() as outer:
                outer.start_soon(create, "kept")
                await anyio.to_thread.run_sync(clock.read.wait, 30)
                async with anyio.create_task_group() as inner:
                    inner.start_soon(create, "never")
                    await anyio.lowlevel.checkpoint()
                    inner.cancel_scope.cancel()
                clock.gate.set()
            assert [one.name for one in await store.initiatives.find_all()] == ["kept"]

    anyio.run(play, backend="trio")
    assert notes == ["cwstore: cancelled before the call began; nothing was changed"]


def test_a_result_that_comes_when_the_loop_is_closed_is_dropped_and_the_work_is_kept(
    file: Path,
) -> None:
    began, go = threading.Event(), threading.Event()

    def work(tx: Store) -> None:
        began.set()
        assert go.wait(30)
        tx.initiatives.create(name="kept")

    async def leave_early() -> tuple[AsyncStore, Any]:
        store = await open_async(file)
        task = asyncio.ensure_future(store.transaction(work))
        await set_in_thread(began)
        return store, task

    loop = asyncio.new_event_loop()
    store, task = loop.run_until_complete(leave_early())
    task._log_destroy_pending = False  # asyncio would complain of what this test is about
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    go.set()
    for worker in store._lanes.workers():
        worker.stop()
        worker._thread.join(30)
        assert not worker._thread.is_alive()
    store._store.close()
    with open_at(file) as again:
        assert [one.name for one in again.initiatives.find_all()] == ["kept"]


UNCLOSED = """
import asyncio, sys
from cwstore.aio import AsyncStore

async def main():
    store = await AsyncStore.open(sys.argv[1])
    await store.initiatives.create(name="kept")

asyncio.run(main())
"""


def test_a_store_that_nobody_closed_does_not_hang_the_exit(file: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", UNCLOSED, str(address_of(file) or file)], check=True, timeout=60
    )
    with open_at(file) as store:
        assert [one.name for one in store.initiatives.find_all()] == ["kept"]
