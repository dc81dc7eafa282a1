"""Stamps rise strictly, whatever the clock does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.core.clock import Clock
from cwstore.errors import InvalidValueError
from cwstore.store import Store
from tests.kits.database import contents
from tests.kits.engine import Task
from tests.kits.entities import MICROSECOND, SetClock, moment

LAST = datetime.max.replace(tzinfo=UTC)


@pytest.fixture(scope="module")
def turning() -> Iterator[tuple[Store, SetClock]]:
    """A store whose clock is set by hand, for many examples."""
    clock = SetClock(moment(0))
    with Store.open(":memory:", clock=clock) as store:
        yield store, clock


@given(steps=st.lists(st.timedeltas(timedelta(days=-900), timedelta(days=900)), max_size=15))
def test_stamps_rise_strictly_while_the_clock_does_what_it_likes(
    turning: tuple[Store, SetClock], steps: list[timedelta]
) -> None:
    store, clock = turning
    clock.now = moment(0)
    made = [store.initiatives.create(name="first")]
    changed = [made[0]]
    for step in steps:
        clock.now += step
        made.append(store.initiatives.create(name="next"))
        changed.append(store.initiatives.update(made[0].id))
    for before, after in pairwise(made):
        assert after.created_at > before.created_at
        assert after.updated_at == after.created_at
    for before, after in pairwise(changed):
        assert after.updated_at > before.updated_at
    assert [one.id for one in store.initiatives.find_all()][-len(made) :] == [
        one.id for one in made
    ]


def test_a_clock_that_stands_still_gives_stamps_a_microsecond_apart(file: Path) -> None:
    with Store.open(file, clock=SetClock(moment(7))) as store:
        made = [store.initiatives.create(name="x") for _ in range(4)]
        assert [one.created_at for one in made] == [moment(7) + n * MICROSECOND for n in range(4)]
        assert made[0].created_at.tzinfo is UTC
        assert store.initiatives.update(made[0].id).updated_at == moment(7) + 4 * MICROSECOND


def test_a_row_written_by_a_store_whose_clock_is_ahead_still_rises(file: Path) -> None:
    with Store.open(file, clock=SetClock(moment(1_000_000))) as ahead:
        made = ahead.initiatives.create(name="x")
    with Store.open(file, clock=SetClock(moment(0))) as behind:
        first = behind.initiatives.update(made.id, name="y")
        second = behind.initiatives.update(made.id, name="z")
    assert first.updated_at == made.updated_at + MICROSECOND
    assert second.updated_at == made.updated_at + 2 * MICROSECOND


def test_a_statement_that_is_refused_may_use_a_stamp_up_but_none_comes_twice(file: Path) -> None:
    with Store.open(file, clock=SetClock(moment(0))) as store:
        first = store.initiatives.create(name="x")
        with pytest.raises(InvalidValueError):
            store.phases.create(initiative_id=first.id, name="x", content="no JSON")
        assert store.initiatives.create(name="y").created_at > first.created_at


def test_threads_get_stamps_in_the_order_of_their_commits(store: Store) -> None:
    def create() -> None:
        for _ in range(25):
            store.initiatives.create(name="x")

    for task in [Task(create) for _ in range(3)]:
        task.finish()
    stamps = [one.created_at for one in store.initiatives.find_all()]
    assert len(set(stamps)) == 75


def test_reading_the_time_uses_no_stamp_up() -> None:
    clock = Clock(SetClock(moment(0)))
    first = clock()
    assert [clock.read(), clock.read()] == [first, first]
    assert clock() == first + 1


def test_the_time_read_is_what_the_clock_shows_whatever_stamps_were_given_out() -> None:
    source = SetClock(moment(10))
    clock = Clock(source)
    stamp = clock()
    source.now = moment(0)
    assert clock.read() == stamp - 10_000_000
    assert (clock(), clock.shown) == (stamp + 1, stamp - 10_000_000)
    source.now = moment(20)
    assert clock.read() == stamp + 10_000_000


def test_the_systems_clock_is_what_the_time_is() -> None:
    before = datetime.now(UTC)
    stamp = datetime(1970, 1, 1, tzinfo=UTC) + Clock(None)() * MICROSECOND
    assert before - MICROSECOND <= stamp <= datetime.now(UTC)


def test_the_first_and_the_last_moment_can_be_stamped(file: Path) -> None:
    first = datetime.min.replace(tzinfo=UTC)
    clock = SetClock(first)
    with Store.open(file, clock=clock) as store:
        assert store.initiatives.create(name="x").created_at == first
        clock.now = LAST
        assert store.initiatives.create(name="y").created_at == LAST
        assert [one.created_at for one in store.initiatives.find_all()] == [first, LAST]


def test_after_the_end_of_time_nothing_is_written(file: Path) -> None:
    with Store.open(file, clock=SetClock(LAST)) as store:
        last = store.initiatives.create(name="last")
        assert last.created_at == LAST
        before = contents(file)
        for call in (
            lambda: store.initiatives.create(name="too late"),
            lambda: store.initiatives.update(last.id, name="too late"),
        ):
            with pytest.raises(
                InvalidValueError, match=r"^clock: it has reached the end of the year 9999$"
            ) as caught:
                call()
            assert caught.value.field == "clock"
        assert contents(file) == before


@pytest.mark.parametrize(
    "answer", [moment(0).replace(tzinfo=None), 5, None, "now", moment(0).date()]
)
def test_a_clock_that_tells_no_time_is_refused_and_nothing_is_written(
    file: Path, answer: object
) -> None:
    with Store.open(file, clock=lambda: answer) as store:  # type: ignore[arg-type, return-value]
        for call in (
            lambda: store.initiatives.create(name="x"),
            store.accounts.find_next_available,
        ):
            with pytest.raises(InvalidValueError) as caught:
                call()
            assert caught.value.field == "clock"
        assert store.initiatives.find_all() == []


def test_a_clock_that_raises_undoes_the_call_and_frees_the_lock(file: Path) -> None:
    def broken() -> datetime:
        raise LookupError

    with Store.open(file, clock=broken) as store:
        with pytest.raises(LookupError):
            store.initiatives.create(name="x")
        with pytest.raises(LookupError):
            store.accounts.find_next_available()
        with Store.open(file, busy_timeout=0) as other:
            other.initiatives.create(name="lock is free")
        assert len(store.initiatives.find_all()) == 1
