"""Transactions in transactions: what is kept, what is undone, and that no lock is left behind."""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.entities.tasks import TaskStatus
from cwstore.errors import (
    ConflictError,
    CwstoreError,
    InvalidValueError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore, open_private
from tests.kits.engine import DeliberateError, names, undone


def test_a_transaction_is_kept_as_one(store: Store) -> None:
    with store.transaction():
        store.initiatives.create(name="one")
        store.initiatives.create(name="two")
    assert names(store) == ["one", "two"]


def test_an_exception_undoes_the_whole_transaction_and_frees_the_lock(
    store: Store, open_store: OpenStore
) -> None:
    with undone(store):
        store.initiatives.create(name="undone")
    with open_store(busy_timeout=0) as other:
        other.initiatives.create(name="lock is free")
    assert names(store) == ["lock is free"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_undoes_the_transaction_and_frees_the_lock(
    store: Store, interruption: type[BaseException], open_store: OpenStore
) -> None:
    with undone(store, interruption):
        store.initiatives.create(name="undone")
    with open_store(busy_timeout=0) as other:
        other.initiatives.create(name="lock is free")
    store.initiatives.create(name="goes on")
    assert names(store) == ["lock is free", "goes on"]


def test_a_transaction_in_an_exit_stack_ends_as_one_in_a_with_block(store: Store) -> None:
    with ExitStack() as stack:
        stack.enter_context(store.transaction())
        store.initiatives.create(name="kept")
    with suppress(DeliberateError), ExitStack() as stack:
        stack.enter_context(store.transaction())
        store.initiatives.create(name="undone")
        raise DeliberateError
    assert names(store) == ["kept"]


def test_one_transaction_object_makes_a_level_each_time_it_is_entered(store: Store) -> None:
    within = store.transaction()
    with within:
        store.initiatives.create(name="outer")
        with suppress(DeliberateError), within:
            store.initiatives.create(name="undone")
            raise DeliberateError
        with within:
            store.initiatives.create(name="inner")
    with within:
        store.initiatives.create(name="again")
    assert names(store) == ["outer", "inner", "again"]


def test_only_the_level_that_fails_is_undone(store: Store) -> None:
    with store.transaction():
        store.initiatives.create(name="outer")
        with undone(store):
            store.initiatives.create(name="undone")
            with store.transaction():
                store.initiatives.create(name="undone with it")
        with store.transaction():
            store.initiatives.create(name="inner")
        assert names(store) == ["outer", "inner"]
    assert names(store) == ["outer", "inner"]


def test_an_exception_outside_undoes_the_inner_levels_that_were_kept(store: Store) -> None:
    with undone(store), store.transaction():
        store.initiatives.create(name="inner")
    assert names(store) == []


def test_a_refused_statement_leaves_the_rest_of_the_transaction_usable(store: Store) -> None:
    with store.transaction():
        first = store.initiatives.create(name="first")
        for error, refused in (
            (ConflictError, lambda: store.initiatives.create(name="again", id=first.id)),
            (InvalidValueError, lambda: store.initiatives.create(name="")),
            (InvalidValueError, lambda: store.initiatives.create(name="\ud800")),
            (NotFoundError, lambda: store.initiatives.update("nobody", name="x")),
            (CwstoreError, lambda: store.tasks.create(name="x", phase_id="nothing")),
        ):
            with pytest.raises(error):
                refused()
        store.initiatives.create(name="second")
    assert names(store) == ["first", "second"]


def test_a_method_of_several_statements_that_fails_leaves_nothing_in_the_transaction_around_it(
    store: Store,
) -> None:
    with store.transaction():
        task = store.tasks.create(name="stays pending")
        with pytest.raises(NotFoundError, match="agents"):
            store.tasks.claim(task.id, agent_id="nobody")
        assert store.tasks.find_by_id(task.id) == task
        with pytest.raises(NotFoundError, match="agents"):
            store.tasks.claim_next_ready(agent_id="nobody")
    assert store.tasks.find_by_id(task.id) == task
    assert store.tasks.claim(task.id).status is TaskStatus.IN_PROGRESS


@dataclass(frozen=True)
class Level:
    """A transaction: what happens in it, and whether it is left by an exception."""

    steps: "tuple[Level | None, ...]"  # None: create an initiative
    fails: bool


LEVELS = st.recursive(
    st.builds(Level, st.tuples(st.none()), st.booleans()),
    lambda inner: st.builds(
        Level, st.lists(st.none() | inner, max_size=4).map(tuple), st.booleans()
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Store]:
    """One store for all examples; each leaves it empty."""
    with open_private() as opened:
        yield opened


@given(level=LEVELS)
def test_transactions_of_any_shape_keep_what_no_failing_level_contains(
    memory: Store, level: Level
) -> None:
    count = 0  # of initiatives that there should be

    def run(one: Level) -> None:
        nonlocal count
        before = count
        with suppress(DeliberateError), memory.transaction():
            for step in one.steps:
                if step is None:
                    memory.initiatives.create(name="x")
                    count += 1
                else:
                    run(step)
                assert len(names(memory)) == count
            if one.fails:
                count = before
                raise DeliberateError
        assert len(names(memory)) == count

    run(level)
    assert count == kept(level)
    for one in memory.initiatives.find_all():
        memory.initiatives.delete(one.id)


def kept(one: Level) -> int:
    return 0 if one.fails else sum(1 if step is None else kept(step) for step in one.steps)
