"""`stats()` names who holds a snapshot of the file, so that the log cannot be moved past it."""

import os
from _thread import start_new_thread
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any

import apsw
import pytest

from cwstore import ReaderStats
from cwstore._sqlite.connection import connect_reader
from cwstore.cli import main
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.disk import (
    connections_to,
)
from tests.kits.engine import (
    PATIENCE,
    DeliberateError,
    Other,
    reached,
    undone,
)

PROCESS = Path("/proc/self/comm").read_text().rstrip()

_READ = """
import sys, apsw
db = apsw.Connection(sys.argv[1])
db.execute("BEGIN")
db.execute("SELECT count(*) FROM tasks").fetchall()
print(open("/proc/self/comm").read(), end="", flush=True)
sys.stdin.readline()
"""


def readers(store: Store) -> list[ReaderStats]:
    """Without the seconds, which must be sensible."""
    found = store.stats().readers
    assert all(one.seconds is None or 0 <= one.seconds < PATIENCE for one in found)
    return [replace(one, seconds=one.seconds and 1.0) for one in found]


def here(thread: str, what: str, seconds: float | None = 1.0) -> ReaderStats:
    return ReaderStats(os.getpid(), PROCESS, thread, what, seconds)


@contextmanager
def in_a_thread(name: str, work: Callable[[], object]) -> Generator[None]:
    """The work is begun before the block, and is over afterwards."""
    thread = Thread(target=work, name=name)
    thread.start()
    yield
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextmanager
def reading(file: Path) -> Generator[apsw.Connection]:
    """A connection with a snapshot."""
    connection: Any = connect_reader(str(file), busy_timeout=0)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM tasks").fetchall()
    yield connection
    connection.close()


class Stop:
    """A place where a thread stops until it is told to go on."""

    def __init__(self) -> None:
        self._there, self._go_on = Event(), Event()

    def __call__(self, *_: object, **__: object) -> None:
        self._there.set()
        reached(self._go_on)

    @contextmanager
    def meanwhile(self) -> Generator[None]:
        reached(self._there)
        try:
            yield
        finally:
            self._go_on.set()


def test_nobody_is_named_while_nobody_reads(store: Store, file: Path) -> None:
    store.tasks.find_all()
    with Store.open(file) as other:
        other.tasks.find_all()
        assert store.stats().readers == ()


def test_a_thread_that_reads_is_named_with_the_table_and_the_seconds(file: Path) -> None:
    stop = Stop()

    def clock() -> datetime:
        stop()  # with a reader in hand
        return datetime(2026, 1, 1, tzinfo=UTC)

    with Store.open(file, clock=clock) as store:
        with in_a_thread("poller", store.accounts.find_next_available), stop.meanwhile():
            assert readers(store) == [here("poller", "accounts")]
            first, second = store.stats().readers[0], store.stats().readers[0]
            assert first.seconds is not None
            assert second.seconds is not None
            assert first.seconds < second.seconds
        assert readers(store) == []


@pytest.mark.parametrize("kind", [DeliberateError, KeyboardInterrupt])
def test_a_read_that_failed_holds_nothing_however_long_its_error_is_kept(
    file: Path, kind: type[BaseException]
) -> None:
    def clock() -> datetime:
        raise kind

    with Store.open(file, clock=clock) as store:
        with pytest.raises(kind) as kept:
            store.accounts.find_next_available()
        assert readers(store) == []
        assert len(connections_to(file)) == 1
        assert kept.tb is not None


@pytest.mark.parametrize(
    ("what", "part"),
    [
        ("backup", "cwstore._sqlite.backup._publish"),
        ("check", "cwstore._sqlite.inspection.check"),
        ("stats", "cwstore._sqlite.inspection.stats"),
    ],
)
def test_whole_file_work_is_named_but_not_the_call_that_asks(
    what: str, part: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [tmp_path / "copy.db"] if what == "backup" else []
    stop = Stop()
    monkeypatch.setattr(part, stop)
    nightly = in_a_thread("nightly", lambda: getattr(store, what)(*arguments))
    with nightly, stop.meanwhile():
        monkeypatch.undo()
        assert readers(store) == [here("nightly", what)]
    assert readers(store) == []


def test_who_has_read_for_longest_comes_first_and_a_transaction_last(file: Path) -> None:
    stops = [Stop(), Stop()]
    coming = iter(stops)

    def clock() -> datetime:
        stop = next(coming, None)
        if stop is not None:
            stop()
        return datetime(2026, 1, 1, tzinfo=UTC)

    def write() -> None:
        with store.transaction():
            written()

    written = Stop()
    with Store.open(file, clock=clock) as store:
        read = store.accounts.find_next_available
        with (
            in_a_thread("writer", write),
            written.meanwhile(),
            in_a_thread("first", read),
            stops[0].meanwhile(),
            in_a_thread("second", read),
            stops[1].meanwhile(),
        ):
            assert readers(store) == [
                here("first", "accounts"),
                here("second", "accounts"),
                here("writer", "transaction", None),
            ]
        assert readers(store) == []


def test_a_thread_that_python_does_not_know_is_named_by_its_number(store: Store) -> None:
    stop, ended = Stop(), Event()

    def write() -> None:
        with store.transaction():
            stop()
        ended.set()

    start_new_thread(write, ())
    with stop.meanwhile():
        ((thread, what),) = [(one.thread, one.what) for one in readers(store)]
    reached(ended)
    assert thread is not None
    assert thread.startswith("thread ")
    assert what == "transaction"
    assert readers(store) == []


def test_a_transaction_whose_connection_is_gone_holds_nothing(store: Store) -> None:
    gone = Stop()

    def lose() -> None:
        with undone(store):
            engine_of(store)._writer.drop()
            gone()

    with in_a_thread("loser", lose), gone.meanwhile():
        assert readers(store) == []


def test_another_process_is_named_by_number_and_name(store: Store, file: Path) -> None:
    with Other(_READ, file) as other:
        name = other.hear()
        number = other.process.pid
        assert readers(store) == [ReaderStats(number, name, None, None, None)]
        other.tell()
        other.end()
    assert readers(store) == []


def test_another_store_of_this_process_is_named_like_another_process(
    store: Store, file: Path
) -> None:
    with reading(file):
        assert readers(store) == [ReaderStats(os.getpid(), PROCESS, None, None, None)]


def test_the_locks_are_read_as_linux_writes_them(
    store: Store, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader holds one of the bytes 123 to 127, perhaps together with its neighbours."""
    place = f"00:2a:{Path(f'{file}-shm').stat().st_ino}"
    gone = 2**22 + 1  # more than any process has
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: POSIX  ADVISORY  READ {os.getpid()} {place} 128 128\n"
        f"2: POSIX  ADVISORY  READ 1 {place} 126 128\n"
        f"3: POSIX  ADVISORY  READ {gone} {place} 123 123\n"
        f"4: POSIX  ADVISORY  WRITE 2 {place} 120 127\n"
        f"5: POSIX  ADVISORY  READ 3 {place} 128 128\n"
        f"6: POSIX  ADVISORY  READ 4 {place} 120 122\n"
        f"7: POSIX  ADVISORY  READ 5 00:2b:{place[6:]} 124 124\n"
        f"8: POSIX  ADVISORY  READ 6 {place[:6]}9{place[6:]} 124 124\n"
        f"9: FLOCK  ADVISORY  READ 7 {place[:6]}1 0 EOF\n"
        f"9: -> POSIX  ADVISORY  READ 8 {place} 124 124\n"
    )
    monkeypatch.setattr("cwstore._sqlite.lock_holders._LOCKS", str(locks))
    first = Path("/proc/1/comm").read_text().rstrip()
    assert readers(store) == [
        ReaderStats(1, first, None, None, None),
        ReaderStats(gone, None, None, None, None),
    ]


def test_where_the_system_tells_nothing_only_threads_of_this_store_are_named(
    store: Store, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._sqlite.lock_holders._LOCKS", str(tmp_path / "none"))
    stop = Stop()

    def write() -> None:
        with store.transaction():
            stop()

    with reading(file):
        assert readers(store) == []
        with in_a_thread("writer", write), stop.meanwhile():
            assert readers(store) == [here("writer", "transaction", None)]


def test_in_memory_nobody_is_named_and_there_is_no_log() -> None:
    with Store.open(":memory:") as store, store.transaction():
        store.initiatives.create(name="one")
        stats = store.stats()
        assert (stats.readers, stats.wal_bytes, stats.wal_pending_bytes) == ((), 0, 0)


def test_what_a_reader_keeps_from_being_moved_is_counted(store: Store, file: Path) -> None:
    def fill() -> None:
        for number in range(50):
            store.initiatives.create(name=f"{number}", branch="x" * 100_000)

    fill()
    with reading(file):
        before = store.stats()
        fill()
        beside = store.stats()
    assert beside.wal_pending_bytes > before.wal_pending_bytes + 4_000_000
    assert beside.wal_bytes >= beside.wal_pending_bytes
    store.initiatives.create(name="last")
    assert store.stats().wal_pending_bytes == 0
    assert store.stats().wal_bytes >= beside.wal_bytes


def test_the_command_names_readers_too(
    store: Store, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Other(_READ, file) as other:
        name = other.hear()
        assert main(["stats", str(file)]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == f"Process {other.process.pid} ({name}) holds a snapshot of the file."
        assert main(["stats", str(file), "--json"]) == 0
        other.tell()
        other.end()
    assert f'"pid": {other.process.pid}' in capsys.readouterr().out
    assert main(["stats", str(file)]) == 0
    assert "snapshot" not in capsys.readouterr().out
