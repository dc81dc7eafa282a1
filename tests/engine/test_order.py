"""Times of one file rise in the order of its commits, over stores, processes and restarts."""

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from cwstore.store import Store
from tests.kits.database import OpenStore, open_at
from tests.kits.entities import SetClock, moment

DAY = 86_400  # seconds
BEHIND, AHEAD = moment(0), moment(DAY)


def stamps(store: Store) -> list[datetime]:
    """When each message was written, in the order in which they are listed."""
    return [one.created_at for one in store.messages.find_all()]


def say(store: Store, text: str) -> datetime:
    return store.messages.create(sender_type="user", recipient_type="user", content=text).created_at


def assert_rising(found: list[datetime]) -> None:
    assert all(before < after for before, after in pairwise(found)), found


def test_a_question_and_its_answer_keep_their_order_though_the_clocks_are_30_seconds_apart(
    open_store: OpenStore,
) -> None:
    with (
        open_store(clock=SetClock(moment(30))) as ahead,
        open_store(clock=SetClock(moment(0))) as behind,
    ):
        given = [say(one, text) for text in "abc" for one in (ahead, behind)]
        assert_rising(given)
        assert stamps(behind) == given


def test_times_rise_whatever_a_store_has_done_since_another_one_wrote(
    open_store: OpenStore,
) -> None:
    with (
        open_store(clock=SetClock(moment(30))) as ahead,
        open_store(clock=SetClock(moment(0))) as behind,
    ):
        mine, yours = (ahead.projects.create(name=name, url=name).id for name in "xy")

        def undo() -> None:
            with pytest.raises(KeyError), behind.transaction():
                raise KeyError

        def write_unstamped() -> None:
            assert not behind.projects.delete("nobody")

        given = [behind.projects.update(mine).updated_at]
        for act in (lambda: behind.projects.find_by_id(yours), undo, write_unstamped):
            given.append(ahead.projects.update(yours).updated_at)
            act()
            given.append(behind.projects.update(mine).updated_at)
        assert_rising(given)


def test_times_rise_after_a_restart_with_the_clock_set_back(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(AHEAD)) as store:
        first = say(store, "before")
    with open_store(clock=SetClock(BEHIND)) as store:
        assert say(store, "after") > first


LAST_ACTS: list[Callable[[Store], datetime]] = [
    lambda store: store.initiatives.update(store.initiatives.find_all()[0].id).updated_at,
    lambda store: store.tasks.complete(store.tasks.find_all()[0].id).updated_at,
]


@pytest.mark.parametrize("act", LAST_ACTS, ids=["an update", "a report"])
def test_a_time_that_no_new_row_shows_is_exceeded_after_a_restart(
    act: Callable[[Store], datetime], open_store: OpenStore
) -> None:
    with open_store(clock=SetClock(AHEAD)) as store:
        store.initiatives.create(name="x")
        store.tasks.claim(store.tasks.create(name="y").id)
        last = act(store)
    with open_store(clock=SetClock(BEHIND)) as store:
        assert say(store, "after") > last


def test_a_row_that_was_deleted_since_is_exceeded_as_well(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(AHEAD)) as store:
        gone = store.initiatives.create(name="x")
        store.initiatives.delete(gone.id)
    with open_store(clock=SetClock(BEHIND)) as store:
        assert say(store, "after") > gone.created_at


KILLED = """
import os, signal, sys
from cwstore import Store
from tests.kits.entities import SetClock, moment

store = Store.open(sys.argv[1], clock=SetClock(moment(float(sys.argv[2]))))
made = store.initiatives.create(name="x")
print(store.initiatives.update(made.id).updated_at.isoformat(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_times_rise_after_a_process_with_a_clock_ahead_was_killed(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, store.path, str(10_000 * DAY)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    last = datetime.fromisoformat(done.stdout.strip())
    assert last > store.initiatives.find_all()[0].created_at
    assert say(store, "after") > last


@pytest.mark.only_sqlite("copies a file")
def test_times_rise_in_a_copy_that_knows_no_more_than_its_rows(
    tmp_path: Path, open_store: OpenStore
) -> None:
    copy = tmp_path / "copy.db"
    with open_store(clock=SetClock(AHEAD)) as store:
        first = say(store, "before")
        store.backup(copy)
    with open_at(copy, clock=SetClock(BEHIND)) as store:
        assert say(store, "after") > first


def test_a_clock_that_was_ahead_and_is_corrected_goes_on_microsecond_by_microsecond(
    open_store: OpenStore,
) -> None:
    clock = SetClock(AHEAD)
    with open_store(clock=clock) as store:
        first = say(store, "ahead")
        clock.now = BEHIND
        second = say(store, "corrected")
        assert second - first == timedelta(microseconds=1)
        clock.now = AHEAD + timedelta(hours=1)
        assert say(store, "caught up") == clock.now


def test_ids_of_log_chunks_rise_over_stores_whose_clocks_differ(open_store: OpenStore) -> None:
    with (
        open_store(clock=SetClock(moment(30))) as ahead,
        open_store(clock=SetClock(moment(0))) as behind,
    ):
        ids = [
            one.log_chunks.insert_chunk("agent", agent_name="a", session_number=1, content=text).id
            for text in "abc"
            for one in (ahead, behind)
        ]
    assert ids == sorted(ids)


def test_a_rolled_back_transaction_leaves_no_time_twice(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(0))) as store:
        undone: list[datetime] = []

        def say_and_fail() -> None:
            with store.transaction():
                undone.append(say(store, "undone"))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            say_and_fail()
        assert say(store, "kept") > undone[0]
