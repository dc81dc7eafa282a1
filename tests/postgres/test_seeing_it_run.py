"""What is told of slow work on a server where its shared tests cannot bring it about."""

import logging
import re
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from cwstore._postgres.connection import Connection
from cwstore.errors import BusyError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def take_all_for_long(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, logger="cwstore")
    for module in ("engine", "writer", "connection"):
        monkeypatch.setattr(f"cwstore._postgres.{module}.LONG", -1.0)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records if record.name == "cwstore"]
    return [re.sub(r"\b\d+\.\d s\b", "N s", line) for line in told]


@contextmanager
def lane_held(other: psycopg.Connection[Any], key: int) -> Generator[None]:
    """Another session has the lane."""
    with other.transaction():
        other.execute("SELECT pg_advisory_xact_lock(%s)", [key])
        yield


def test_a_lone_statement_is_told_as_a_wait_or_as_slow_by_what_the_server_says(
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("writer", "connection"):
        monkeypatch.setattr(f"cwstore._postgres.{module}.LONG", 0.1)
    lane: Any = store._db._writer.lane  # type: ignore[attr-defined]
    for waited in (0.0, 100.0):
        lane.take = (b"SELECT pg_sleep(0.2), $1::float8", (waited,))
        store.initiatives.create(name="hush")
    slow, wait = lines(caplog)
    assert (
        slow
        == f"{store.path}: initiatives.create took N s; its plan: Insert on initiatives, Result"
    )
    assert wait == (
        f"{store.path}: a transaction waited N s for the write lock, which nobody known had"
    )


@pytest.mark.parametrize("lone", [True, False])
def test_a_wait_is_told_also_where_nobody_can_be_asked_who_has_the_lane(
    store: Store,
    superuser: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    lone: bool,
) -> None:
    asked = threading.Event()

    def refuse() -> Connection:
        asked.set()
        raise StorageError("no connection is left")

    def write() -> None:
        if lone:
            store.initiatives.create(name="late")
        else:
            with store.transaction():
                store.initiatives.create(name="late")

    database: Any = store._db
    monkeypatch.setattr(database._readers, "lend", refuse)
    with lane_held(superuser, database._writer.lane.key):
        thread = threading.Thread(target=write)
        thread.start()
        assert asked.wait(30)
    thread.join()
    assert lines(caplog) == [
        f"{store.path}: a transaction waited N s for the write lock, which nobody known had",
        f"{store.path}: initiatives.create took N s; its plan: unknown",
    ]


def test_a_read_whose_plan_cannot_be_asked_for_is_given_and_logged_all_the_same(
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> Connection:
        raise StorageError("no connection is left")

    monkeypatch.setattr(store._db, "lease_reader", refuse)
    assert store.tasks.find_by_id("none") is None
    assert lines(caplog) == [f"{store.path}: tasks.find_by_id took N s; its plan: unknown"]


def test_a_log_that_cannot_be_written_is_no_reason_to_fail(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("cwstore._postgres.slow.tell", fail)
    store.initiatives.create(name="kept")
    assert len(store.initiatives.find_all()) == 1


def test_who_has_no_logging_pays_for_no_question(
    open_store: OpenStore,
    superuser: psycopg.Connection[Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open_store(busy_timeout=0.2) as store:
        database: Any = store._db
        monkeypatch.setattr(database, "lease_reader", None)
        monkeypatch.setattr(database._readers, "lend", None)
        with monkeypatch.context() as without:
            without.delitem(sys.modules, "logging")
            assert store.tasks.find_all() == []
            store.initiatives.create(name="I")
            with lane_held(superuser, database._writer.lane.key), pytest.raises(BusyError):
                store.initiatives.create(name="late")
    assert lines(caplog) == []
