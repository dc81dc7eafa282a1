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
from cwstore.core.threads import name_of_thread
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
