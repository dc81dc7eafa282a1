"""The line of the writers of a file, whether they are processes or stores of one."""

import errno
import os
import time
from collections.abc import Generator
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import SimpleNamespace

import pytest

from cwstore._sqlite import write_queue as _line
from cwstore._sqlite.write_queue import Line, in_line, open_line
from cwstore.errors import BusyError
from cwstore.store import Store
from tests.kits.engine import PATIENCE, Other, locked

NEXT, FRONT = 0, 1  # in _numbers
SEEN, SINCE = 0, 1  # in _times


@pytest.fixture
def lines(file: Path) -> Generator[list[Line], None, None]:
    """Places of six writers in one line."""
    lines = [open_line(str(file)) for _ in range(6)]
    yield lines
    for line in lines:
        line.close(str(file))


def late() -> float:
    """A deadline: one look, no waiting."""
    return time.monotonic()


def at_last() -> float:
    """A deadline that a green test does not reach."""
    return time.monotonic() + PATIENCE


def turn(file: Path) -> Path:
    return file.with_name(file.name + "-turn")


def write(store: Store, name: str) -> None:
    store.initiatives.create(name=name)


def written(store: Store) -> list[str]:
    return [one.name for one in store.initiatives.find_all()]


def test_who_comes_first_goes_first(lines: list[Line]) -> None:
    first, second, third, *_ = lines
    assert first.wait(late())
    assert not second.wait(late())
    assert not third.wait(late())
    first.leave()
    assert not third.wait(late())
    assert second.wait(late())
    second.leave()
    assert third.wait(late())


def test_who_has_left_comes_last_the_next_time(lines: list[Line]) -> None:
    first, second, *_ = lines
    assert first.wait(late())
    assert not second.wait(late())
    first.leave()
    assert not first.wait(late())
    assert second.wait(late())


def test_a_line_is_long_from_four_on(lines: list[Line]) -> None:
    newcomer = lines.pop()
    for line in lines[:4]:
        assert newcomer._numbers[NEXT] - newcomer._numbers[FRONT] < 4
        line.wait(late())
    assert newcomer.is_long()
    for line in lines[:4]:
        line.leave()
    assert not newcomer.is_long()
    newcomer.close("")


def test_a_line_is_long_when_its_front_is_tired(lines: list[Line]) -> None:
    front, newcomer, *_ = lines
    assert front.wait(late())
    front._times[SINCE] -= 1.0
    assert newcomer.is_long()
    front.leave()
    assert not newcomer.is_long()


class Clock:
    """In place of `time`: nobody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_who_finds_the_lock_taken_asks_for_some_ms_before_it_goes_to_the_line(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(_line, "time", clock)
    keep_waiting, calls = in_line(lines[0], 60.0), 0
    while lines[0].number is None:
        assert keep_waiting(calls)
        calls += 1
    assert 20 < calls < 40
    assert 1000.003 <= clock.now < 1000.004
    assert lines[0]._numbers[NEXT] - lines[0]._numbers[FRONT] == 1


def test_who_finds_the_lock_taken_goes_to_the_line_at_once_if_its_front_is_tired(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(_line, "time", clock)
    front, newcomer, *_ = lines
    keep_waiting = in_line(newcomer, 0.005)
    assert front.wait(clock.now)
    assert keep_waiting(0)
    assert newcomer.number is None
    clock.now += 0.002
    assert not keep_waiting(1)
    assert newcomer.number is not None


def test_who_may_not_wait_at_all_does_not(lines: list[Line]) -> None:
    assert not in_line(lines[0], 0.0)(0)


@pytest.mark.parametrize("seen", [-1.0, 3600.0, float("nan")], ids=["gone", "reboot", "nonsense"])
def test_a_front_that_does_not_look_is_passed_over(lines: list[Line], seen: float) -> None:
    gone, second, *_ = lines
    assert gone.wait(late())
    gone._times[SEEN] += seen
    assert second.wait(at_last())


def test_all_who_are_gone_are_passed_over(lines: list[Line]) -> None:
    *gone, last = lines
    for line in gone:
        line.wait(late())
    assert last.wait(at_last())
    last.leave()
    assert not last.is_long()


@pytest.mark.parametrize("front", [0, 7, (1 << 62) + 1, (1 << 64) - 1])
@pytest.mark.parametrize("number", [0, 1 << 40, (1 << 62) + 1, (1 << 64) - 1])
def test_numbers_that_make_no_sense_hold_nobody_up(
    lines: list[Line], number: int, front: int
) -> None:
    first, second, *_ = lines
    first._numbers[NEXT], first._numbers[FRONT] = number, front
    assert first.wait(at_last())
    first.leave()
    assert second.wait(at_last())
    second.leave()


def test_who_gives_up_holds_nobody_up(file: Path) -> None:
    with Store.open(file, busy_timeout=0.01) as hasty, Store.open(file, busy_timeout=60) as store:
        write(hasty, "first")
        write(store, "second")
        with locked(file), pytest.raises(BusyError):
            write(hasty, "in vain")
        write(store, "third")
        assert written(store) == ["first", "second", "third"]


def test_behind_a_long_line_a_writer_waits_though_the_lock_is_free(file: Path) -> None:
    with Store.open(file, busy_timeout=60) as store:
        write(store, "first")
        others = [open_line(str(file)) for _ in range(4)]
        for other in others:
            other.wait(late())
        others[0]._times[SEEN] += 0.02 - 0.001
        write(store, "after four who are gone")
        line = store._db._writer._line
        assert line is not None
        assert line.spent > 0.0
        for other in others:
            other.close(str(file))


def test_where_no_line_can_be_made_writers_wait_all_the_same(file: Path) -> None:
    turn(file).mkdir()
    with Store.open(file, busy_timeout=0.05) as store:
        write(store, "first")
        with locked(file), pytest.raises(BusyError):
            write(store, "in vain")
        write(store, "second")
        assert written(store) == ["first", "second"]


def test_who_only_reads_makes_no_line(store: Store, file: Path) -> None:
    assert written(store) == []
    assert not turn(file).exists()


def test_the_last_who_closes_removes_the_line(file: Path) -> None:
    first, second = Store.open(file), Store.open(file)
    write(first, "a")
    write(second, "b")
    first.close()
    assert turn(file).exists()
    second.close()
    assert not turn(file).exists()


_KILLED = """
import os, signal, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="killed")
print("written", flush=True)
sys.stdin.readline()
"""


def test_the_line_of_a_process_that_was_killed_is_removed_by_who_only_reads(file: Path) -> None:
    with Other(_KILLED, file) as other:
        assert other.hear() == "written"
        other.process.kill()
        other.process.wait()
    assert turn(file).exists()
    with Store.open(file) as store:
        assert written(store) == ["killed"]
    assert not turn(file).exists()


def test_a_line_removed_while_it_is_opened_is_made_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        turn(file).unlink()

    monkeypatch.setattr(_line, "flock", flock)
    first, second = open_line(str(file)), open_line(str(file))
    assert first.wait(late())
    assert not second.wait(late())
    second.close(str(file))
    first.close(str(file))
    assert not turn(file).exists()


def test_waiting_in_line_counts_towards_the_timeout(file: Path) -> None:
    with Store.open(file, busy_timeout=0.01) as store:
        write(store, "first")
        front = open_line(str(file))
        with locked(file):
            assert front.wait(late())
            with pytest.raises(BusyError, match=r"0\.01 s"):
                write(store, "in vain")
        front.close(str(file))


def test_the_front_asks_until_it_is_late(file: Path) -> None:
    with Store.open(file, busy_timeout=60) as store:
        write(store, "first")
        keep_waiting, line = store._db._writer._patience, store._db._writer._line
        assert line is not None
        assert line.wait(at_last())
        assert [keep_waiting(calls) for calls in (0, 20, 200, 2000)] == [True] * 4
        line.spent = 60.0
        assert not keep_waiting(0)
        line.leave()


@pytest.mark.parametrize(
    ("function", "code"),
    [("cwstore._sqlite.write_queue.flock", errno.ENOLCK), ("os.pwrite", errno.ENOSPC)],
)
def test_a_line_that_cannot_be_held_or_has_no_room_on_the_disk_is_done_without(
    file: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    def fail(descriptor: int, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(function, fail)
    with Store.open(file) as store:
        write(store, "first")
        assert written(store) == ["first"]


def test_who_removes_the_line_is_waited_for_a_moment_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("cwstore._sqlite.write_queue.time", SimpleNamespace(sleep=pauses.append))
    turn(file).touch()
    with turn(file).open() as remover:
        flock(remover, LOCK_EX)
        alone = open_line(str(file))
    assert sum(pauses) == pytest.approx(0.1)
    assert alone._descriptor == -1
    alone.forget()
