"""A BusyError says who held the lock, and since when: a thread by its name, a process by number."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from cwstore import BusyError, Store
from cwstore._sqlite import lock_holders
from cwstore.core.writer_lock import name_of_thread
from tests.kits.database import HOLD_LOCK


def clock() -> datetime:
    """What this process can compare exactly."""
    return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=time.monotonic())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    with Store.open(file, busy_timeout=0, clock=clock) as store:
        store.tasks.create(name="t")
        yield store


def refused(store: Store) -> BusyError:
    with pytest.raises(BusyError) as busy:
        store.tasks.create(name="t")
    return busy.value


def test_a_thread_is_named_and_when_its_transaction_began(store: Store) -> None:
    inside, go = threading.Event(), threading.Event()
    moments = [clock()]

    def hold() -> None:
        with store.transaction():
            moments.append(clock())
            inside.set()
            go.wait(60)

    holder = threading.Thread(target=hold, name="nightly import")
    holder.start()
    inside.wait(60)
    busy = refused(store)
    go.set()
    holder.join()
    assert busy.holder == "thread nightly import of this process"
    assert busy.since is not None
    assert moments[0] - timedelta(seconds=60) < busy.since <= moments[1]
    assert str(busy).endswith(f" ({busy.holder} had it, since {busy.since})")
    assert name_of_thread(holder.ident or 0) is None


def test_of_another_store_it_is_told_since_when_its_transaction_is_open(
    store: Store, file: Path
) -> None:
    with Store.open(file) as other:
        before = clock()
        with other.transaction():
            inside = clock()
            busy = refused(store)
            assert busy.holder is not None
            assert busy.holder.startswith(f"process {os.getpid()} (")
            assert busy.since is not None
            assert before - timedelta(seconds=60) < busy.since <= inside
            assert str(busy).endswith(f" ({busy.holder} had it, since {busy.since})")
        # A write without a block, by whatever store of the process, is not taken for that one.
        program = apsw.Connection(str(file))
        for write in (lambda: None, lambda: other.tasks.create(name="t")):
            with other.transaction():
                write()
            program.execute("BEGIN IMMEDIATE")
            busy = refused(store)
            assert (busy.holder is not None, busy.since) == (True, None)
            program.execute("ROLLBACK")
        program.close()


def test_another_process_is_named(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout
    assert other.stdout.readline() == "holding\n"
    busy = refused(store)
    assert busy.holder
    assert busy.holder.startswith(f"process {other.pid} (")
    assert busy.since is None
    assert str(busy).endswith(f" ({busy.holder} had it)")
    monkeypatch.setattr(lock_holders, "_LOCKS", "/nowhere")  # as where the system has none
    busy = refused(store)
    assert (busy.holder, busy.since) == (None, None)
    other.communicate("go\n")


def test_only_locks_on_the_file_count_whatever_else_the_system_lists(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(file) as store:
        store.tasks.create(name="t")
        inode = Path(f"{file}-shm").stat().st_ino
        me, place = os.getpid(), f"08:01:{inode}"
        table = tmp_path / "locks"
        table.write_text(
            f"1: POSIX  ADVISORY  WRITE 1 08:01:{inode + 1} 123 123\n"  # of another file
            f"2: POSIX  ADVISORY  READ 2 09:09:{inode} 123 123\n"  # on another disk
            f"3: -> POSIX  ADVISORY  READ 3 {place} 123 123\n"  # waits for one
            f"4: POSIX  ADVISORY  READ {me} {place} 128 128\n"
            f"5: POSIX  ADVISORY  WRITE {2**22 + 1} {place} 120 123\n"  # no process has that number
            f"6: POSIX  ADVISORY  READ 6 {place} 0 EOF\n"
            f"7: POSIX  ADVISORY  READ 7 {place} 128 130\n"
            f"8: POSIX  ADVISORY  READ 8 {place} 0 122\n"
            f"9: POSIX  ADVISORY  READ 9 {place} 127 127\n"
        )
        monkeypatch.setattr(lock_holders, "_LOCKS", str(table))
        assert [(one.pid, one.thread) for one in store.stats().readers] == [(6, None), (9, None)]
        assert lock_holders.who_writes(str(file)) == (f"process {2**22 + 1} (None)", 2**22 + 1)


def test_those_who_read_are_told_the_longest_first_and_other_processes_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_holders, "_pids", lambda *_: {7})
    monkeypatch.setattr(lock_holders, "_name", str)
    now, thread = time.monotonic(), threading.get_ident()
    name = threading.current_thread().name
    own = [
        ("SELECT 1 FROM tasks", thread, now - 10),
        ("transaction", thread, None),
        ("backup", 1, now - 20),
    ]
    found = lock_holders.log_readers("file", list(own))
    assert [(one.pid, one.process, one.thread, one.what) for one in found] == [
        (os.getpid(), str(os.getpid()), "thread 1", "backup"),
        (os.getpid(), str(os.getpid()), name, "tasks"),
        (os.getpid(), str(os.getpid()), name, "transaction"),
        (7, "7", None, None),
    ]
