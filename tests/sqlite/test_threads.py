"""The turn that threads take on one connection."""

from threading import Event, Lock

import pytest

from cwstore._sqlite import threads as _threads
from cwstore._sqlite.threads import Turn
from tests.kits.engine import PATIENCE, Task


class Waiter:
    """A thread that takes the turn, notes it, and lets go of it when told."""

    def __init__(self, turn: Turn, name: str, order: list[str]) -> None:
        self.go = Event()

        def wait() -> None:
            assert turn.take(PATIENCE)
            order.append(name)
            assert self.go.wait(PATIENCE)
            turn.give_up()

        before = len(turn._line)
        self.task = Task(wait)
        while len(turn._line) == before:
            pass


def finish(*waiters: Waiter) -> None:
    for waiter in waiters:
        waiter.go.set()
    for waiter in waiters:
        waiter.task.finish()


def test_who_comes_first_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_ENOUGH", PATIENCE)
    turn, order = Turn(), list[str]()
    assert turn.try_acquire()
    waiters = [Waiter(turn, name, order) for name in "abcdef"]
    turn.give_up()
    finish(*waiters)
    assert order == list("abcdef")


def test_nobody_overtakes_four() -> None:
    turn, order = Turn(), list[str]()
    assert turn.try_acquire()
    waiters = [Waiter(turn, name, order) for name in "abcd"]
    turn.give_up()
    assert not turn.try_acquire()
    finish(*waiters)
    assert turn.try_acquire()


def test_nobody_overtakes_a_front_that_is_tired() -> None:
    turn, order = Turn(), list[str]()
    assert turn.try_acquire()
    waiter = Waiter(turn, "a", order)
    turn._since -= 1.0
    assert turn._is_long()
    turn.give_up()
    finish(waiter)
    assert turn.try_acquire()


def test_who_is_late_makes_room_for_the_next() -> None:
    turn, order = Turn(), list[str]()
    assert turn.try_acquire()
    hasty = [Task(lambda: turn.take(0.01)) for _ in range(3)]
    waiter = Waiter(turn, "a", order)
    assert [one.finish() for one in hasty] == [False] * 3
    turn.give_up()
    finish(waiter)
    assert order == ["a"]


def test_only_who_holds_it_can_give_it_up() -> None:
    turn = Turn()
    assert turn.try_acquire()
    with pytest.raises(RuntimeError):
        Task(turn.give_up).finish()
    turn.give_up()
    with pytest.raises(RuntimeError):
        turn.give_up()


@pytest.mark.parametrize("places", [1, 5])
def test_places_that_were_left_behind_hold_nobody_up_for_long(places: int) -> None:
    turn = Turn()
    for _ in range(places):
        place = Lock()
        place.acquire()
        turn._line.append(place)
    assert turn.take(PATIENCE)
    turn.give_up()
    assert turn.try_acquire()


def test_who_asks_out_of_turn_lets_the_others_wait_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_threads, "_ENOUGH", 0.0)
    turn, order = Turn(), list[str]()
    assert turn.try_acquire()
    waiters = [Waiter(turn, name, order) for name in "abcdef"]
    turn.give_up()
    finish(*waiters)
    assert sorted(order) == list("abcdef")
    assert turn.try_acquire()
