"""What an application sets for its own connections of apsw does not reach a store."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import apsw.bestpractice
import pytest

from cwstore import migrate
from cwstore.store import Store
from tests.kits.engine import Other


@pytest.fixture
def hooks() -> Iterator[list[Any]]:
    before = apsw.connection_hooks
    apsw.connection_hooks = []
    try:
        yield apsw.connection_hooks
    finally:
        apsw.connection_hooks = before


def test_best_practice_of_the_application_is_not_ours(hooks: list[Any], file: Path) -> None:
    apsw.bestpractice.apply(apsw.bestpractice.recommended)
    migrate(file, target=9)
    with Store.open(file) as store:
        task = store.tasks.create(name="a")
        assert store.tasks.find_all() == [task]
        assert store.check().ok
        store.backup(file.with_name("copy"))


LOGS_WHAT_SQLITE_SAYS = """
import logging, sys
import apsw.bestpractice
from cwstore.store import Store

logging.basicConfig(stream=sys.stdout, format="%(message)s")
apsw.bestpractice.apply(apsw.bestpractice.recommended)
with Store.open(sys.argv[1]) as store:
    store.initiatives.create(name="one")
    store.compact()
"""


def test_sqlite_has_nothing_to_log_where_nothing_is_wrong(file: Path) -> None:
    Store.open(file).close()
    with Other(LOGS_WHAT_SQLITE_SAYS, file) as other:
        assert other.end() == []


def test_traces_of_the_application_do_not_change_our_rows(hooks: list[Any], file: Path) -> None:
    def trace(connection: Any) -> None:
        connection.row_trace = lambda cursor, row: dict(enumerate(row))
        connection.exec_trace = lambda cursor, sql, binds: False

    hooks.append(trace)
    with Store.open(file) as store:
        task = store.tasks.create(name="a")
        assert store.tasks.find_all() == [task]
        assert store.tasks.get(task.id) == task


def test_the_application_keeps_its_hooks_while_stores_are_opened(
    hooks: list[Any], file: Path
) -> None:
    called: list[object] = []
    hooks.append(called.append)
    Store.open(file).close()
    assert called == []
    apsw.connection_hooks.append(called.append)  # those that are added later, too
    met, goes = threading.Event(), threading.Event()

    def opening(_: object) -> None:
        met.set()
        assert goes.wait(30)

    def open_theirs() -> None:
        apsw.connection_hooks[:] = [opening]
        apsw.Connection(":memory:").close()

    thread = threading.Thread(target=open_theirs)
    thread.start()
    assert met.wait(30)
    with Store.open(file) as store:  # while a hook of theirs runs
        assert store.tasks.find_all() == []
    goes.set()
    thread.join()
    apsw.connection_hooks[:] = [called.append] * 2
    apsw.Connection(":memory:").close()
    assert len(called) == 2
