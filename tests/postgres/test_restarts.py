"""A server that crashes under load and recovers, and processes that hold the lane and stand still.

The server is killed where it cannot say anything: every connection ends, and it recovers by itself.
"""

import os
import signal
from collections.abc import Iterator
from threading import Event, Thread

import psycopg
import pytest

from cwstore.errors import BusyError, OutcomeUnknownError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Other, names
from tests.kits.postgres_server import Server, running_server

CRASHES = 5


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A server that no other test uses."""
    with running_server() as server:
        yield server


class Writer:
    """Writes on a thread, alone and in transactions, until it is told to stop."""

    def __init__(self, address: str, name: str) -> None:
        self.acknowledged: list[str] = []
        self.unknown: list[str] = []
        self.refused = 0
        self._address = address
        self._name = name
        self._stop = Event()
        self._thread = Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with Store.open(self._address) as store:
            number = 0
            while not self._stop.is_set():
                number += 1
                self._write(store, f"{self._name} {number}", alone=number % 2 == 0)

    def _write(self, store: Store, name: str, *, alone: bool) -> None:
        try:
            if alone:
                store.initiatives.create(name=name)
            else:
                with store.transaction():
                    store.initiatives.create(name=name)
        except OutcomeUnknownError:
            self.unknown.append(name)
        except StorageError:
            self.refused += 1
        else:
            self.acknowledged.append(name)

    def gets_on(self) -> None:
        """Wait until it has done some more."""
        enough = len(self.acknowledged) + 10
        while len(self.acknowledged) < enough:
            assert self._thread.is_alive()
            Event().wait(0.002)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.mark.slow
def test_what_was_acknowledged_is_there_when_the_server_has_crashed_and_stores_go_on(
    own_server: Server,
) -> None:
    address = own_server.address(own_server.new_database())
    Store.open(address).close()
    writers = [Writer(address, name) for name in "abc"]
    try:
        for _ in range(CRASHES):
            for writer in writers:
                writer.gets_on()
            with psycopg.connect(address) as victim:
                os.kill(victim.info.backend_pid, signal.SIGKILL)
                with pytest.raises(psycopg.OperationalError):
                    victim.execute("SELECT 1")
        for writer in writers:
            writer.gets_on()
    finally:
        for writer in writers:
            writer.stop()
    with Store.open(address) as store:
        found = names(store)
        assert store.check().ok
    acknowledged = {name for writer in writers for name in writer.acknowledged}
    unknown = {name for writer in writers for name in writer.unknown}
    assert len(found) == len(set(found))
    assert acknowledged <= set(found) <= acknowledged | unknown
    assert sum(writer.refused for writer in writers) + len(unknown) >= CRASHES


def test_a_holder_that_has_no_name_is_told_by_its_number(
    open_store: OpenStore, address: str
) -> None:
    lane = b"SELECT pg_advisory_xact_lock(hashtextextended('cwstore public', 0))"
    with psycopg.connect(address) as nameless, open_store(busy_timeout=0.02) as store:
        nameless.execute(lane)
        with pytest.raises(BusyError) as caught:
            store.initiatives.create(name="refused")
        assert caught.value.holder == f"server process {nameless.info.backend_pid}"


HOLD = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1]) as store, store.transaction():
    store.initiatives.create(name="by the holder")
    print("inside", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["goes on", pytest.param("is killed", marks=pytest.mark.slow)])
def test_a_holder_that_stands_still_is_named_and_nobody_waits_for_ever(
    open_store: OpenStore, address: str, end: str
) -> None:
    with Other(HOLD, address) as holder, open_store(busy_timeout=0.05) as store:
        assert holder.hear() == "inside"
        os.kill(holder.process.pid, signal.SIGSTOP)
        with pytest.raises(BusyError) as caught:
            store.initiatives.create(name="refused")
        assert f"process {holder.process.pid} on " in str(caught.value.holder)
        assert names(store) == []
        if end == "is killed":
            os.kill(holder.process.pid, signal.SIGKILL)
            holder.process.wait()
        else:
            os.kill(holder.process.pid, signal.SIGCONT)
            holder.tell()
            holder.end()
    with open_store() as store:
        store.initiatives.create(name="after")
        assert names(store) == (["by the holder"] if end == "goes on" else []) + ["after"]
