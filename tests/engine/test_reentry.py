"""Calls in the midst of another call of the same thread: signal handlers, finalizers, greenlets."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType

import pytest

from cwstore.errors import ConflictError
from cwstore.store import Store
from tests.kits.database import engine_of, open_private
from tests.kits.engine import Other, names
from tests.kits.interrupts import is_ours


class Handler:
    """Acts once, at a chosen step of our code: where CPython would call the handler of a signal."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.left = at
        self._act = act

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in {"call", "c_return"} or not is_ours(frame):
            return
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            self._act()

    def during(self, work: Callable[[], object]) -> bool:
        """Whether it acted; False: the work has fewer steps than that."""
        sys.setprofile(self)
        try:
            work()
        finally:
            sys.setprofile(None)
        return self.left < 0


def at_each_step(act: Callable[[], object], work: Callable[[], object]) -> int:
    """Do the work again and again, with the act in it one step later each time; how often."""
    at = 0
    while Handler(at, act).during(work):
        at += 1
    return at


def test_a_read_ends_no_write_that_it_interrupts(store: Store) -> None:
    store.initiatives.create(name="0")
    made = ["0"]
    seen: list[list[str]] = []

    def write() -> None:
        one = store.initiatives.create(name=str(len(made)))
        assert one.name == str(len(made))
        made.append(one.name)
        assert store.initiatives.update(one.id, branch="x").branch == "x"

    assert at_each_step(lambda: seen.append(names(store)), write) > 20
    assert names(store) == made
    assert all(made[: len(one)] == one for one in seen)


def test_a_read_ends_no_transaction_that_it_interrupts(store: Store) -> None:
    made: list[str] = []

    def write() -> None:
        with store.transaction():
            made.append(store.initiatives.create(name=str(len(made))).name)
            with store.transaction():
                made.append(store.initiatives.create(name=str(len(made))).name)

    assert at_each_step(lambda: names(store), write) > 40
    assert names(store) == made


@pytest.mark.parametrize("work", ["write", "block", "batch", "claim", "read"])
def test_a_write_in_the_midst_of_a_call_is_kept_or_refused_and_never_lost(
    store: Store, work: str
) -> None:
    kept: list[str] = []

    def interrupt() -> None:
        name = f"by the handler {len(kept)}"
        with suppress(ConflictError):
            store.initiatives.create(name=name)
            kept.append(name)

    def write() -> None:
        kept.append(store.initiatives.create(name=f"write {len(kept)}").name)

    def block() -> None:
        with store.transaction():
            write()
            write()

    works: dict[str, Callable[[], object]] = {
        "write": write,
        "block": block,
        "batch": lambda: store.log_chunks.insert_chunks([("a", "a", 1, "x")] * 2),
        "claim": store.tasks.claim_next_ready,
        "read": lambda: names(store),
    }
    acted = at_each_step(interrupt, works[work])
    assert acted > 5
    assert sorted(names(store)) == sorted(kept)
    chunks = store.log_chunks.find_by_agent_id("a")
    assert len(chunks) == (2 * (acted + 1) if work == "batch" else 0)
    assert store.check().ok


def test_a_call_that_is_refused_in_the_midst_of_another_says_why(store: Store) -> None:
    refused: list[str] = []

    def interrupt() -> None:
        try:
            store.initiatives.create(name="x")
        except ConflictError as error:
            refused.append(f"{error.reason}: {error}")

    at_each_step(interrupt, lambda: store.initiatives.create(name="y"))
    said = (
        "transaction: this thread is in the midst of another call of this store, which a signal"
        " handler, a finalizer or a greenlet has interrupted; nothing was done: do it after that"
        " call, or on a thread of its own"
    )
    assert set(refused) == {said}


def test_in_memory_a_read_in_the_midst_of_a_write_is_refused() -> None:
    refused: list[ConflictError] = []

    with open_private() as store:

        def interrupt() -> None:
            try:
                names(store)
            except ConflictError as error:
                refused.append(error)

        made = at_each_step(interrupt, lambda: store.initiatives.create(name="x"))
        assert len(names(store)) == made + 1
    assert refused


_SIGNALS = """
import signal, sys
from cwstore.errors import ConflictError
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.find_all()         # no handler can use a module that is just being imported
store.initiatives.create(name="work")
seen = refused = 0
def handle(*_):
    global seen, refused
    store.initiatives.find_all(last=1)
    seen += 1
    try:
        store.initiatives.create(name="handler")
    except ConflictError:
        refused += 1
signal.signal(signal.SIGALRM, handle)
made = 1
while seen < 300:
    signal.setitimer(signal.ITIMER_REAL, 0.00001 * (1 + made % 20))  # once
    store.initiatives.create(name="work")
    made += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
names = [one.name for one in store.initiatives.find_all()]
assert names.count("work") == made
assert names.count("handler") == seen - refused, (names.count("handler"), seen, refused)
assert store.check().ok
print("all there")
store.close()
"""


def test_a_signal_handler_that_uses_the_store_loses_nothing(file: Path) -> None:
    with Other(_SIGNALS, file) as other:
        assert other.end() == ["all there"]


@pytest.mark.only_sqlite("PostgreSQL shrinks its files itself")
def test_a_read_takes_no_answer_from_the_shrinking_of_the_file(store: Store) -> None:
    store.initiatives.create(name="0")
    assert at_each_step(lambda: names(store), engine_of(store).vacuum) > 10


def test_a_handler_that_interrupts_the_loading_of_a_repository_is_told_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        name = "cwstore.entities.pages"
        patch.setitem(sys.modules, name, ModuleType(name))  # begun, and nothing is in it yet
        with pytest.raises(
            ConflictError,
            match=(
                r"^this thread is in the midst of loading `pages`, which a signal handler or a"
                " finalizer has interrupted; nothing was done: do it after that call$"
            ),
        ) as caught:
            store.pages.find_all()
    assert caught.value.reason == "transaction"
    assert store.pages.find_all() == []


# Greenlets: `patch` says what of the standard library gevent has replaced, and when

_GREENLETS = """
import sys
file, patch = sys.argv[1:]
if patch == "without threads":
    from gevent import monkey
    monkey.patch_all(thread=False)
from cwstore.errors import ConflictError
from cwstore.store import Store
store = Store.open(file)
store.initiatives.create(name="before")
import gevent
from gevent.event import Event
if patch == "late":
    from gevent import monkey
    monkey.patch_all()
inside, over = Event(), Event()

def first():
    try:
        with store.transaction():
            store.initiatives.create(name="undone")
            inside.set()
            over.wait()
            raise ValueError
    except ValueError:
        pass

def second():
    inside.wait()
    for call in (lambda: store.initiatives.create(name="lost"), store.initiatives.find_all):
        try:
            call()
            print("acknowledged")
        except ConflictError as error:
            print(error.reason)
    over.set()

gevent.joinall([gevent.spawn(first), gevent.spawn(second)], timeout=30, raise_error=True)
store.initiatives.create(name="after")
print(*(one.name for one in store.initiatives.find_all()))
store.close()
"""


@pytest.mark.parametrize("patch", ["nothing", "without threads", "late"])
def test_a_greenlet_does_not_enter_the_transaction_of_another(file: Path, patch: str) -> None:
    with Other(_GREENLETS, file, patch) as other:
        assert other.end() == ["transaction", "transaction", "before after"]


_DROPPED_GREENLET = """
import gc, sys
from greenlet import getcurrent, greenlet
from cwstore.store import Store

def begin():
    with store.transaction():
        store.initiatives.create(name="undone")
        main.switch()

main = getcurrent()
with Store.open(sys.argv[1], busy_timeout=0.1) as store:
    dropped = greenlet(begin)
    dropped.switch()
    del dropped
    gc.collect()
    store.initiatives.create(name="after")
    print(*(one.name for one in store.initiatives.find_all()))
"""


def test_a_greenlet_that_nobody_refers_to_any_more_takes_its_transaction_along(file: Path) -> None:
    with Other(_DROPPED_GREENLET, file) as other:
        assert other.end() == ["after"]


_TRIO = """
import sys, trio
from cwstore.errors import ConflictError
from cwstore.store import Store

async def main(store):
    inside, over = trio.Event(), trio.Event()
    async def first():
        with store.transaction():
            store.initiatives.create(name="first")
            inside.set()
            await over.wait()
    async def second():
        await inside.wait()
        try:
            store.initiatives.create(name="lost")
        except ConflictError as error:
            print(error.reason)
        over.set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        nursery.start_soon(second)

with Store.open(sys.argv[1]) as store:
    trio.run(main, store)
    print(*(one.name for one in store.initiatives.find_all()))
"""


def test_a_task_of_trio_does_not_enter_the_transaction_of_another(file: Path) -> None:
    with Other(_TRIO, file) as other:
        assert other.end() == ["transaction", "first"]
