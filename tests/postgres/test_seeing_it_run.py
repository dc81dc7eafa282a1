"""What a store on a server tells while it runs: slow reads, statements, transactions cut short."""

import re
import sys
from typing import Any

import psycopg
import pytest

from cwstore import StatementRun
from cwstore._postgres.connection import Connection
from cwstore.core.drivers import shown
from cwstore.errors import StorageError
from cwstore.store import Store
from tests.kits.postgres import writer_of

pytestmark = pytest.mark.slow  # the listener is the same on both engines


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records if record.name == "cwstore"]
    return [re.sub(r"\b\d+\.\d s\b", "N s", line) for line in told]


def test_a_slow_read_is_logged_with_its_method_and_plan_and_without_binds(
    store: Store,
    address: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = store.tasks.create(id="hush", name="hush")
    monkeypatch.setattr("cwstore._postgres.engine.LONG", -1.0)
    assert store.tasks.find_by_id(task.id) == task
    assert store.tasks.find_all() == [task]
    by_id, all_of_them = lines(caplog)
    assert by_id == (
        f"{shown(address)}: tasks.find_by_id took N s; its plan: Index Scan using tasks_pkey on"
        " tasks, Index Cond: (id = $1)"
    )
    assert all_of_them == (
        f"{shown(address)}: tasks.find_all took N s; its plan: Index Scan using tasks_created_ix on"
        " tasks"
    )


def test_a_read_whose_plan_cannot_be_asked_for_is_given_and_logged_all_the_same(
    store: Store,
    address: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = store.tasks.create(name="One")
    monkeypatch.setattr("cwstore._postgres.engine.LONG", -1.0)

    def refuse() -> Connection:
        raise StorageError("no connection is left")

    monkeypatch.setattr(store._db, "lease_reader", refuse)
    assert store.tasks.find_by_id(task.id) == task
    assert lines(caplog) == [f"{shown(address)}: tasks.find_by_id took N s; its plan: unknown"]


def test_a_slow_read_of_who_has_no_logging_asks_for_no_plan(
    store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._postgres.engine.LONG", -1.0)
    monkeypatch.setattr(store._db, "lease_reader", None)
    with monkeypatch.context() as without:
        without.delitem(sys.modules, "logging")
        assert store.tasks.find_all() == []
    assert lines(caplog) == []


def test_a_listener_is_told_of_each_statement_by_method(store: Store) -> None:
    heard: list[StatementRun] = []
    store.on_statement(heard.append)
    task = store.tasks.create(name="One")
    store.tasks.find_all()
    with store.transaction():
        store.tasks.delete(task.id)
    by_name = {run.name: run for run in heard}
    assert list(by_name) == ["tasks.create", "tasks.find_all", "transaction", "tasks.delete"]
    assert (by_name["tasks.find_all"].rows, by_name["tasks.find_all"].wait) == (1, 0)
    assert by_name["tasks.delete"].wait == 0  # inside of the transaction
    assert by_name["transaction"].wait == by_name["transaction"].seconds


def test_a_transaction_that_the_server_ended_because_it_was_idle_says_so(
    store: Store, superuser: "psycopg.Connection[tuple[Any, ...]]"
) -> None:
    with pytest.raises(StorageError) as refused, store.transaction():
        store.initiatives.create(name="x")
        writer = writer_of(store).connection
        pid = writer.info.backend_pid
        # It runs from the end of this statement on.
        writer.execute("SELECT set_config('idle_in_transaction_session_timeout', '1ms', false)")
        there = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
        while superuser.execute(there, [pid]).fetchall():
            pass
        with store.transaction():
            store.initiatives.create(name="y")
    assert str(refused.value) == (
        f"SAVEPOINT level2 ({store.path}): the session was idle in the transaction for longer than"
        " idle_in_transaction_session_timeout, and the server ended it; nothing was changed: keep"
        " transactions short, or raise that setting (25P03) (the whole transaction was rolled back:"
        " leave it)"
    )
    assert store.initiatives.find_all() == []
