"""The write-ahead log is kept short, and whoever holds it up is not waited for again and again."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import apsw
import pytest

from cwstore._sqlite.checkpoint import LONG
from cwstore._sqlite.connection import connect_reader
from cwstore._sqlite.write_queue import open_write_queue
from cwstore.errors import BusyError
from cwstore.store import Store
from tests.kits.disk import (
    faulty_disk,
)
from tests.kits.engine import (
    Other,
    Task,
    locked,
    reached,
)

MEGABYTE = 1_000_000
NEARLY = 15  # megabytes written, and the next one makes the log long
KEPT = 32 * 1024 * 1024  # bytes of the log that are left for the next pages


def write(store: Store, megabytes: int, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Four commits a megabyte, so that each time one of them looks at the log."""
    for _ in range(4 * megabytes):
        store.log_chunks.insert_chunk(
            agent_id="a", agent_name="a", session_number=1, content="x" * (MEGABYTE // 4)
        )
        meanwhile()


def pages(file: Path) -> int:
    """Of the log, in use."""
    look = apsw.Connection(str(file))
    look.execute("SELECT 1 FROM sqlite_schema").fetchall()
    found = look.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)[0]
    look.close()
    return found


def log_bytes(file: Path) -> int:
    return Path(f"{file}-wal").stat().st_size


class Relay:
    """There is always one who reads; each begins before the one before ends."""

    def __init__(self, file: Path) -> None:
        self._two = [connect_reader(str(file), busy_timeout=0) for _ in range(2)]
        self._begin()

    def _begin(self) -> None:
        self._two[0].execute("BEGIN")
        self._two[0].execute("SELECT count(*) FROM initiatives").fetchall()

    def hand_over(self, *_: object) -> bool:
        self._two.reverse()
        self._begin()
        self._two[1].execute("ROLLBACK")
        return True

    def end(self) -> None:
        for one in self._two:
            one.close()


@pytest.fixture
def relay(store: Store, file: Path) -> Iterator[Relay]:
    readers = Relay(file)
    yield readers
    readers.end()


class Waits:
    """Stands for the waiting of a writer that shortens the log, and says what happens meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *happens: Callable[[], bool]) -> None:
        self.times = 0
        self._happens = list(happens)
        monkeypatch.setattr("cwstore._sqlite.checkpoint.busy_handler", self._patience)

    def _patience(self, seconds: float) -> Callable[[int], bool]:
        assert 0 < seconds <= 0.1
        return self._wait

    def _wait(self, _: int) -> bool:
        self.times += 1
        return self._happens[0]() if len(self._happens) == 1 else self._happens.pop(0)()


def too_long() -> bool:
    """Nothing happens until the waiting is over."""
    return False


def test_the_log_begins_anew_although_somebody_always_reads(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, relay.hand_over)
    longest = 0

    def look() -> None:
        nonlocal longest
        relay.hand_over()
        longest = max(longest, pages(file))

    write(store, 60, look)
    assert LONG < longest < LONG + 1000
    assert log_bytes(file) < 20 * MEGABYTE
    # Three times: for the rest to be moved, and for those who still read from the log.
    assert waits.times == 6
    assert len(store.log_chunks.find_by_agent_id("a")) == 240
    assert store.check().ok


def test_who_makes_the_log_begin_anew_waits_in_line_for_the_lock(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among those who wait in line it would never get the lock."""
    queue = open_write_queue(str(file))
    in_line: list[int] = []

    def read_on() -> bool:
        in_line.append(queue._numbers[0] - queue._numbers[1])  # the next ticket, the head's
        return relay.hand_over()

    Waits(monkeypatch, read_on)
    write(store, NEARLY + 1, relay.hand_over)
    assert in_line[-1] == 1
    assert queue._numbers[0] == queue._numbers[1]
    queue.detach()


def test_without_anybody_else_the_log_stays_as_short_as_sqlite_has_it(
    store: Store, file: Path
) -> None:
    write(store, 30)
    assert log_bytes(file) < 6 * MEGABYTE


def test_a_long_read_is_not_waited_for_and_when_it_has_ended_the_file_shrinks(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, too_long)
    reader = connect_reader(str(file), busy_timeout=0)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM initiatives").fetchall()
    write(store, 50)
    assert waits.times == 0
    assert log_bytes(file) > 50 * MEGABYTE
    reader.close()
    write(store, 2)
    assert waits.times == 0
    assert pages(file) < 1000
    assert log_bytes(file) <= KEPT


def test_who_has_waited_in_vain_does_not_wait_again_until_the_log_has_grown(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, too_long)
    write(store, NEARLY, relay.hand_over)
    assert (pages(file) < LONG, waits.times) == (True, 0)
    write(store, 1, relay.hand_over)
    assert (pages(file) > LONG, waits.times) == (True, 1)
    write(store, 3, relay.hand_over)
    assert waits.times == 1
    write(store, 2, relay.hand_over)
    assert waits.times == 2
    Waits(monkeypatch, relay.hand_over)
    write(store, 6, relay.hand_over)
    assert pages(file) < LONG
    assert len(store.log_chunks.find_by_agent_id("a")) == 4 * (NEARLY + 12)


class Checkpoint:
    """A checkpoint of somebody else that has come halfway."""

    def __init__(self, file: Path) -> None:
        self._connection = apsw.Connection(str(file))
        self._connection.set_busy_handler(self._halfway)
        self._there, self._go_on = Event(), Event()
        self._task = Task(self._run)

    def _run(self) -> None:
        self._connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
        self._connection.close()

    def _halfway(self, _: int) -> bool:
        self._there.set()
        reached(self._go_on)
        return False

    def come_halfway(self) -> None:
        reached(self._there)

    def end(self) -> bool:
        self._go_on.set()
        self._task.finish()
        return True


def test_what_was_in_vain_once_is_forgotten_when_the_log_has_begun_anew(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits(monkeypatch, too_long)
    write(store, NEARLY + 1, relay.hand_over)
    assert waits.times == 1
    relay.end()
    write(store, 1)
    assert (pages(file) < 1000, waits.times) == (True, 1)
    again = Relay(file)
    write(store, NEARLY + 1, again.hand_over)
    again.end()
    assert waits.times == 2


@pytest.mark.parametrize("patient", [True, False])
def test_a_checkpoint_of_somebody_else_is_waited_for(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    write(store, NEARLY, relay.hand_over)
    with store.transaction():
        write(store, 1)
        theirs = Checkpoint(file)  # waits for this transaction
        theirs.come_halfway()
        ends = [theirs.end, relay.hand_over] if patient else [too_long]
        waits = Waits(monkeypatch, *ends)
    assert waits.times == (3 if patient else 1)
    theirs.end()
    store.log_chunks.insert_chunk(agent_id="a", agent_name="a", session_number=1, content="last")
    assert (pages(file) < 1000) is patient
    assert len(store.log_chunks.find_by_agent_id("a")) == 4 * (NEARLY + 1) + 1


def test_a_checkpoint_of_somebody_else_may_come_between(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, NEARLY, relay.hand_over)
    began: list[Checkpoint] = []
    asked = 0

    def patience(_: float) -> Callable[[int], bool]:
        nonlocal asked
        asked += 1
        if asked == 2:  # when it has moved what it could, and is about to wait for the readers
            began.append(Checkpoint(file))
            began[0].come_halfway()
        return wait

    def wait(_: int) -> bool:
        return began[0].end() and relay.hand_over()

    monkeypatch.setattr("cwstore._sqlite.checkpoint.busy_handler", patience)
    write(store, 2, relay.hand_over)
    assert len(began) == 1
    assert pages(file) < 1000
    assert len(store.log_chunks.find_by_agent_id("a")) == 4 * (NEARLY + 2)


def test_a_log_that_somebody_else_has_shortened_just_then_is_left(
    store: Store, file: Path, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, NEARLY, relay.hand_over)
    asked = 0

    def patience(_: float) -> Callable[[int], bool]:  # the log was seen to be long
        nonlocal asked
        asked += 1
        relay.end()
        other = apsw.Connection(str(file))
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        other.close()
        return lambda _: False

    monkeypatch.setattr("cwstore._sqlite.checkpoint.busy_handler", patience)
    write(store, 1)
    assert asked == 1  # nobody was waited for
    assert pages(file) < 1000
    assert len(store.log_chunks.find_by_agent_id("a")) == 4 * (NEARLY + 1)


def test_a_disk_that_fails_at_that_work_fails_no_commit(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with faulty_disk() as disk, Store.open(file) as store:
        store.compact()  # the log of the migrations is not what is counted
        relay = Relay(file)
        failed: list[str] = []

        def fail(operation: str, path: str) -> int:
            if operation != "sync":
                return 0
            failed.append(path)
            return apsw.SQLITE_IOERR_FSYNC

        def wait(_: int) -> bool:
            disk.fail = fail  # what that reader held up is moved now
            return relay.hand_over()

        def commit_is_over() -> None:
            disk.fail = lambda operation, path: 0
            relay.hand_over()

        write(store, NEARLY, relay.hand_over)
        monkeypatch.setattr("cwstore._sqlite.checkpoint.busy_handler", lambda seconds: wait)
        write(store, 1, commit_is_over)
        assert len(failed) == 1
        assert pages(file) > LONG
        monkeypatch.undo()
        relay.end()
        write(store, 1)
        assert pages(file) < 1000
        assert len(store.log_chunks.find_by_agent_id("a")) == 4 * (NEARLY + 2)
        assert store.check().ok


def test_ctrl_c_in_that_wait_undoes_nothing_and_the_store_goes_on(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press() -> bool:
        raise KeyboardInterrupt

    with Store.open(file, busy_timeout=0.01) as store:
        store.compact()  # the log of the migrations is not what is counted
        relay = Relay(file)
        write(store, NEARLY, relay.hand_over)
        waits = Waits(monkeypatch, press, relay.hand_over)
        with pytest.raises(KeyboardInterrupt):
            write(store, 2, relay.hand_over)
        assert waits.times == 1
        written = len(store.log_chunks.find_by_agent_id("a"))
        assert 4 * NEARLY < written <= 4 * (NEARLY + 2)
        with locked(file), pytest.raises(BusyError, match=r"0\.01 s"):
            write(store, 1)  # waits as it did before
        assert waits.times == 1
        write(store, 1)
        assert len(store.log_chunks.find_by_agent_id("a")) == written + 4
        relay.end()


_WRITE = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=60) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(400):
        store.log_chunks.insert_chunk(
            agent_id="a", agent_name="a", session_number=1, content="x" * 100_000
        )
        store.log_chunks.find_by_agent_id("a", limit=5)
"""


def test_processes_that_shorten_the_log_at_once_lose_nothing(store: Store, file: Path) -> None:
    with Other(_WRITE, file) as one, Other(_WRITE, file) as two, Other(_WRITE, file) as three:
        for other in (one, two, three):
            assert other.hear() == "ready"
        for other in (one, two, three):
            other.tell()
        write(store, 40)
        for other in (one, two, three):
            other.end()
    write(store, 1)
    assert log_bytes(file) < 3 * KEPT  # of 160 MB that were written
    assert len(store.log_chunks.find_by_agent_id("a")) == 3 * 400 + 164
    assert store.check().ok


@pytest.mark.parametrize("where", ["durable", "in memory"])
def test_other_stores_commit_like_this_one(file: Path, where: str) -> None:
    path = str(file) if where == "durable" else ":memory:"
    with Store.open(path, durable=where == "durable") as store:
        write(store, 20)
        assert len(store.log_chunks.find_by_agent_id("a")) == 80
        assert store.check().ok
    left = [one.name for one in file.parent.iterdir()]
    assert left == ([file.name] if where == "durable" else [])
