"""The lock that threads take for one connection."""

from threading import Event, Lock

import pytest

from cwstore.core import writer_lock
from cwstore.core.writer_lock import FairLock
from tests.kits.engine import PATIENCE, Task


class Waiter:
    """A thread that takes the lock, notes that, and releases it when told."""

    def __init__(self, lock: FairLock, name: str, order: list[str]) -> None:
        self.go = Event()

        def wait() -> None:
            assert lock.acquire(PATIENCE)
            order.append(name)
            assert self.go.wait(PATIENCE)
            lock.release()

        before = len(lock._waiting)
        self.task = Task(wait)
        while len(lock._waiting) == before:
            pass


def finish(*waiters: Waiter) -> None:
    for waiter in waiters:
        waiter.go.set()
    for waiter in waiters:
        waiter.task.finish()


def test_who_comes_first_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "MAX_SLEEP", PATIENCE)
    lock, order = FairLock(), list[str]()
    assert lock.try_acquire()
    waiters = [Waiter(lock, name, order) for name in "abcdef"]
    lock.release()
    finish(*waiters)
    assert order == list("abcdef")


def test_nobody_overtakes_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_lock, "HEAD_STARVING", PATIENCE)
    lock, order = FairLock(), list[str]()
    assert lock.try_acquire()
    waiters = [Waiter(lock, name, order) for name in "abc"]
    assert lock._may_barge()
    waiters.append(Waiter(lock, "d", order))
    assert not lock._may_barge()
    lock.release()
    assert not lock.try_acquire()
    finish(*waiters)
    assert lock.try_acquire()


def test_nobody_overtakes_a_starving_head() -> None:
    lock, order = FairLock(), list[str]()
    assert lock.try_acquire()
    waiter = Waiter(lock, "a", order)
    lock._head_since -= 1.0
    assert not lock._may_barge()
    lock.release()
    finish(waiter)
    assert lock.try_acquire()


def test_who_is_late_makes_room_for_the_next() -> None:
    lock, order = FairLock(), list[str]()
    assert lock.try_acquire()
    hasty = [Task(lambda: lock.acquire(0.01)) for _ in range(3)]
    waiter = Waiter(lock, "a", order)
    assert [one.finish() for one in hasty] == [False] * 3
    lock.release()
    finish(waiter)
    assert order == ["a"]


def test_only_who_holds_the_lock_can_release_it() -> None:
    lock = FairLock()
    assert lock.try_acquire()
    with pytest.raises(RuntimeError):
        Task(lock.release).finish()
    lock.release()
    with pytest.raises(RuntimeError):
        lock.release()


@pytest.mark.parametrize("places", [1, 5])
def test_places_that_were_left_behind_hold_nobody_up_for_long(places: int) -> None:
    lock = FairLock()
    for _ in range(places):
        place = Lock()
        place.acquire()
        lock._waiting.append(place)
    assert lock.acquire(PATIENCE)
    lock.release()
    assert lock.try_acquire()


def test_who_asks_before_it_is_the_head_lets_the_others_wait_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_lock, "MAX_SLEEP", 0.0)
    lock, order = FairLock(), list[str]()
    assert lock.try_acquire()
    waiters = [Waiter(lock, name, order) for name in "abcdef"]
    lock.release()
    finish(*waiters)
    assert sorted(order) == list("abcdef")
    assert lock.try_acquire()
