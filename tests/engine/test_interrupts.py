"""Ctrl-C at every step of a write: what follows is a write like any other, and nothing hangs."""

import gc
from collections.abc import Callable, Iterator

import pytest

from cwstore.errors import NotFoundError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import DeliberateError
from tests.kits.interrupts import CtrlC


@pytest.fixture(autouse=True)
def free_what_was_left() -> Iterator[None]:
    """Here, where its warning is expected: collected later, it would fail another test."""
    yield
    gc.collect()


def single(store: Store, name: str) -> None:
    store.initiatives.create(name=name)


def refused(store: Store, name: str) -> None:
    with pytest.raises(NotFoundError):
        store.initiatives.update("nobody", name=name)
    single(store, name)


def counted(store: Store, name: str) -> None:
    with store.transaction():
        single(store, name)
    store.log_chunks.delete_by_agent_id("nobody")


def nested(store: Store, name: str) -> None:
    with store.transaction():
        with store.transaction():
            single(store, name)
        try:
            with store.transaction():
                single(store, "undone")
                raise DeliberateError
        except DeliberateError:
            pass


def taken(store: Store, name: str) -> None:
    within = store.transaction()
    with within:
        single(store, name)


def looked(store: Store, name: str) -> None:
    store.data_version()
    store.initiatives.find_by_id("nobody")
    single(store, name)


# On PostgreSQL, who is interrupted where a connection is lent leaves it to be freed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", [single, refused, counted, nested, taken, looked])
def test_wherever_ctrl_c_comes_a_write_is_whole_or_not_there_and_the_next_is_kept(
    store: Store, work: Callable[[Store, str], None], open_store: OpenStore
) -> None:
    at, maybe = 0, set[str]()
    with open_store(busy_timeout=0) as other:
        work(store, "warm")
        kept = {"warm"}
        while True:
            name = f"step {at}"
            maybe.add(name)
            interrupt = CtrlC(at)  # held until the next one, as by `except` and by a notebook
            if not interrupt.within(lambda name=name: work(store, name)):
                break
            kept.add(f"after {at}")
            single(store, f"after {at}")
            single(other, f"other {at}")  # the lock is free
            kept.add(f"other {at}")
            at += 1
        kept.add(name)
        found = [one.name for one in other.initiatives.find_all()]
        assert len(found) == len(set(found))
        assert kept <= set(found) <= kept | maybe
    assert at > 20
    store.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wherever_ctrl_c_comes_what_its_handler_writes_in_an_outer_block_is_kept(
    store: Store,
) -> None:
    at, kept, refused = 0, list[str](), list[str]()

    def inner() -> None:
        with store.transaction():
            single(store, "inner")
            raise DeliberateError

    interrupted = True
    while interrupted:
        interrupt = CtrlC(at)
        try:
            with store.transaction():
                try:
                    interrupted = interrupt.within(inner)
                except DeliberateError:
                    interrupted = False
                single(store, f"handler {at}")
            kept.append(f"handler {at}")
        except StorageError as error:  # PostgreSQL was in the midst of a statement
            refused.append(str(error))
        at += 1
    assert [one.name for one in store.initiatives.find_all()] == kept
    assert at > 20
    assert all("a statement was interrupted" in one for one in refused)
    assert not refused or "postgresql" in store.path
