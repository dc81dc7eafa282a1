"""A BusyError says who held the lock: a thread by its name, a process by its number."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cwstore import BusyError, Store
from cwstore._sqlite import lock_holders
from cwstore.core.threads import name_of_thread
from tests.kits.database import HOLD_LOCK


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def test_a_thread_is_named(file: Path) -> None:
    inside, go = threading.Event(), threading.Event()

    def hold(store: Store) -> None:
        with store.transaction():
            inside.set()
            go.wait(60)

    with Store.open(file, busy_timeout=0) as store:
        holder = threading.Thread(target=hold, args=(store,), name="nightly import")
        holder.start()
        inside.wait(60)
        with pytest.raises(BusyError) as busy:
            store.tasks.create(name="t")
        go.set()
        holder.join()
    assert busy.value.holder == "thread nightly import of this process"
    assert name_of_thread(holder.ident or 0) is None


def test_another_process_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(file, busy_timeout=0) as store:
        store.tasks.create(name="t")
        other = subprocess.Popen(
            [sys.executable, "-c", HOLD_LOCK, file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(BusyError) as busy:
            store.tasks.create(name="t")
        assert busy.value.holder
        assert busy.value.holder.startswith(f"process {other.pid} (")
        monkeypatch.setattr(lock_holders, "_LOCKS", "/nowhere")  # as where the system has none
        with pytest.raises(BusyError) as busy:
            store.tasks.create(name="t")
        assert busy.value.holder is None
        other.communicate("go\n")
