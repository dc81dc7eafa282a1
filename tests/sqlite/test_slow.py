"""What is told of slow statements and long waits where no store tells it by itself."""

import logging
import os
import sys
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cwstore._sqlite.apsw_types import open_connection
from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.slow import tell_read, with_plans
from cwstore._sqlite.write_queue import open_write_queue
from cwstore.core import slow
from cwstore.errors import StoreClosedError
from cwstore.store import Store


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cwstore"]


@pytest.fixture(autouse=True)
def listened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="cwstore")


def test_a_long_wait_behind_others_in_the_queue_is_logged_with_who_writes(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The one ahead never asks SQLite, so this one sees by itself who has the lock."""
    for name, value in (("LONG", 0.0), ("HEAD_LEASE", 1_000.0)):  # the head does not count as gone
        monkeypatch.setattr(f"cwstore._sqlite.write_queue.{name}", value)
    with store.transaction():
        ahead, behind = open_write_queue(str(file)), open_write_queue(str(file))
        ahead.wait_for_head(0.0)
        while behind.holder is None:
            behind.wait_at_most(0.01)
        assert behind.holder.startswith(f"process {os.getpid()} (")
        ahead.close(str(file))
        behind.close(str(file))


def test_a_slow_statement_is_told_where_its_plan_cannot_be_had(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def closed(what: str) -> Generator[Any]:
        raise StoreClosedError("closed meanwhile")
        yield

    tell_read("F", "SELECT 1 FROM tasks", 2.0, closed)
    with closing(open_connection(MEMORY)) as connection:
        found = [slow.SlowStatement("tasks.find", 2.0, "SELECT a FROM nowhere")]
        slow.tell_statements("F", with_plans(connection, found))
        found = [slow.SlowStatement("tasks.find", 2.0, "SELECT 1")]
        slow.tell_statements("F", with_plans(connection, found))
        monkeypatch.delitem(sys.modules, "logging")
        assert with_plans(connection, found) == found
    assert lines(caplog) == [
        "F: tasks took 2.0 s; its plan: unknown",
        "F: tasks.find took 2.0 s; its plan: unknown",
        "F: tasks.find took 2.0 s; its plan: SCAN CONSTANT ROW",
    ]


def test_a_wait_for_who_is_not_known_is_told(caplog: pytest.LogCaptureFixture) -> None:
    slow.tell_wait("F", 2.0, None, None)
    assert lines(caplog) == [
        "F: a transaction waited 2.0 s for the write lock, which nobody known had"
    ]
