"""The queue of the writers of a file, whether they are processes or stores of one."""

import errno
import os
import time
from collections.abc import Generator
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import SimpleNamespace

import pytest

from cwstore._sqlite import write_queue
from cwstore._sqlite.identity import TURN_BYTES
from cwstore._sqlite.write_queue import WriteQueue, open_write_queue, queueing_busy_handler
from cwstore.errors import BusyError
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.engine import PATIENCE, Other, locked

NEXT, HEAD = 0, 1  # in _numbers
SEEN, SINCE = 0, 1  # in _times


@pytest.fixture
def queues(file: Path) -> Generator[list[WriteQueue], None, None]:
    """Places of six writers in one queue."""
    queues = [open_write_queue(str(file)) for _ in range(6)]
    yield queues
    for queue in queues:
        queue.close(str(file))


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


def test_who_comes_first_goes_first(queues: list[WriteQueue]) -> None:
    first, second, third, *_ = queues
    assert first.wait_for_head(late())
    assert not second.wait_for_head(late())
    assert not third.wait_for_head(late())
    first.leave()
    assert not third.wait_for_head(late())
    assert second.wait_for_head(late())
    second.leave()
    assert third.wait_for_head(late())


def test_who_has_left_comes_last_the_next_time(queues: list[WriteQueue]) -> None:
    first, second, *_ = queues
    assert first.wait_for_head(late())
    assert not second.wait_for_head(late())
    first.leave()
    assert not first.wait_for_head(late())
    assert second.wait_for_head(late())


def test_nobody_overtakes_four(queues: list[WriteQueue]) -> None:
    newcomer = queues.pop()
    for queue in queues[:4]:
        assert newcomer._numbers[NEXT] - newcomer._numbers[HEAD] < 4
        queue.wait_for_head(late())
    assert not newcomer.may_barge()
    for queue in queues[:4]:
        queue.leave()
    assert newcomer.may_barge()
    newcomer.close("")


def test_nobody_overtakes_a_starving_head(queues: list[WriteQueue]) -> None:
    head, newcomer, *_ = queues
    assert head.wait_for_head(late())
    head._times[SINCE] -= 1.0
    assert not newcomer.may_barge()
    head.leave()
    assert newcomer.may_barge()


class Clock:
    """In place of `time`: nobody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_who_finds_the_lock_taken_barges_for_some_ms_before_it_queues(
    queues: list[WriteQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(write_queue, "time", clock)
    keep_waiting, calls = queueing_busy_handler(queues[0], 60.0), 0
    while queues[0].ticket is None:
        assert keep_waiting(calls)
        calls += 1
    assert 20 < calls < 40
    assert 1000.003 <= clock.now < 1000.004
    assert queues[0]._numbers[NEXT] - queues[0]._numbers[HEAD] == 1


def test_who_finds_the_lock_taken_queues_at_once_if_the_head_starves(
    queues: list[WriteQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(write_queue, "time", clock)
    head, newcomer, *_ = queues
    keep_waiting = queueing_busy_handler(newcomer, 0.005)
    assert head.wait_for_head(clock.now)
    assert keep_waiting(0)
    assert newcomer.ticket is None
    clock.now += 0.002
    assert not keep_waiting(1)
    assert newcomer.ticket is not None


def test_who_may_not_wait_at_all_does_not(queues: list[WriteQueue]) -> None:
    assert not queueing_busy_handler(queues[0], 0.0)(0)


@pytest.mark.parametrize("seen", [-1.0, 3600.0, float("nan")], ids=["gone", "reboot", "nonsense"])
def test_a_head_that_does_not_look_is_skipped(queues: list[WriteQueue], seen: float) -> None:
    gone, second, *_ = queues
    assert gone.wait_for_head(late())
    gone._times[SEEN] += seen
    assert second.wait_for_head(at_last())


def test_all_who_are_gone_are_skipped(queues: list[WriteQueue]) -> None:
    *gone, last = queues
    for queue in gone:
        queue.wait_for_head(late())
    assert last.wait_for_head(at_last())
    last.leave()
    assert last.may_barge()


@pytest.mark.parametrize("head", [0, 7, (1 << 62) + 1, (1 << 64) - 1])
@pytest.mark.parametrize("ticket", [0, 1 << 40, (1 << 62) + 1, (1 << 64) - 1])
def test_tickets_that_make_no_sense_hold_nobody_up(
    queues: list[WriteQueue], ticket: int, head: int
) -> None:
    first, second, *_ = queues
    first._numbers[NEXT], first._numbers[HEAD] = ticket, head
    assert first.wait_for_head(at_last())
    first.leave()
    assert second.wait_for_head(at_last())
    second.leave()


def test_who_gives_up_holds_nobody_up(file: Path) -> None:
    with Store.open(file, busy_timeout=0.01) as hasty, Store.open(file, busy_timeout=60) as store:
        write(hasty, "first")
        write(store, "second")
        with locked(file), pytest.raises(BusyError):
            write(hasty, "in vain")
        write(store, "third")
        assert written(store) == ["first", "second", "third"]


def test_behind_four_a_writer_waits_though_the_lock_is_free(file: Path) -> None:
    with Store.open(file, busy_timeout=60) as store:
        write(store, "first")
        others = [open_write_queue(str(file)) for _ in range(4)]
        for other in others:
            other.wait_for_head(late())
        others[0]._times[SEEN] += 0.02 - 0.001
        write(store, "after four who are gone")
        queue = engine_of(store)._writer.queue
        assert queue is not None
        assert queue.seconds_spent > 0.0
        for other in others:
            other.close(str(file))


def test_where_no_queue_can_be_made_writers_wait_all_the_same(file: Path) -> None:
    turn(file).mkdir()
    with Store.open(file, busy_timeout=0.05) as store:
        write(store, "first")
        with locked(file), pytest.raises(BusyError):
            write(store, "in vain")
        write(store, "second")
        assert written(store) == ["first", "second"]


def test_who_only_reads_makes_no_queue(store: Store, file: Path) -> None:
    assert written(store) == []
    assert not turn(file).exists()


def test_the_last_who_closes_removes_the_queue(file: Path) -> None:
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


def test_the_queue_of_a_process_that_was_killed_is_removed_by_who_only_reads(file: Path) -> None:
    with Other(_KILLED, file) as other:
        assert other.hear() == "written"
        other.process.kill()
        other.process.wait()
    assert turn(file).exists()
    with Store.open(file) as store:
        assert written(store) == ["killed"]
    assert not turn(file).exists()


def test_a_queue_removed_while_it_is_opened_is_made_anew(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        monkeypatch.undo()
        turn(file).unlink()

    monkeypatch.setattr(write_queue, "flock", flock)
    first, second = open_write_queue(str(file)), open_write_queue(str(file))
    assert first.wait_for_head(late())
    assert not second.wait_for_head(late())
    second.close(str(file))
    first.close(str(file))
    assert not turn(file).exists()


def test_waiting_in_the_queue_counts_towards_the_timeout(file: Path) -> None:
    with Store.open(file, busy_timeout=0.01) as store:
        write(store, "first")
        head = open_write_queue(str(file))
        with locked(file):
            assert head.wait_for_head(late())
            with pytest.raises(BusyError, match=r"0\.01 s"):
                write(store, "in vain")
        head.close(str(file))


def test_the_head_asks_until_it_is_late(file: Path) -> None:
    with Store.open(file, busy_timeout=60) as store:
        write(store, "first")
        keep_waiting, queue = engine_of(store)._writer.busy_handler, engine_of(store)._writer.queue
        assert queue is not None
        assert queue.wait_for_head(at_last())
        assert [keep_waiting(calls) for calls in (0, 20, 200, 2000)] == [True] * 4
        queue.seconds_spent = 60.0
        assert not keep_waiting(0)
        queue.leave()


@pytest.mark.parametrize(
    ("function", "code"),
    [("cwstore._sqlite.write_queue.flock", errno.ENOLCK), ("os.pwrite", errno.ENOSPC)],
)
def test_a_queue_that_cannot_be_held_or_has_no_room_on_the_disk_is_done_without(
    file: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    def fail(descriptor: int, *_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(function, fail)
    with Store.open(file) as store:
        write(store, "first")
        assert written(store) == ["first"]


def test_a_store_writes_on_though_its_queue_was_cut_and_the_disk_has_no_room_for_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, *_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with Store.open(file) as store:
        write(store, "first")
        os.truncate(turn(file), 0)
        with monkeypatch.context() as disk:
            disk.setattr("os.pwrite", fail)
            write(store, "second")
        assert written(store) == ["first", "second"]


def test_who_removes_the_queue_is_waited_for_a_moment_only(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("cwstore._sqlite.write_queue.time", SimpleNamespace(sleep=pauses.append))
    turn(file).touch()
    with turn(file).open() as remover:
        flock(remover, LOCK_EX)
        alone = open_write_queue(str(file))
    assert sum(pauses) == pytest.approx(0.1)
    assert alone._descriptor == -1
    alone.detach()


@pytest.mark.parametrize("size", [0, 1, 31, 47])
def test_a_queue_that_lacks_bytes_gets_them_at_once_and_keeps_those_it_has(
    size: int, file: Path
) -> None:
    """So a full disk says so when the queue is opened, and not in the midst of a write."""
    turn = Path(f"{file}-turn")
    turn.write_bytes(b"\x07" * size)
    queue = open_write_queue(str(file))
    assert turn.read_bytes() == (b"\x07" * size).ljust(TURN_BYTES, b"\0")
    queue.close(str(file))
