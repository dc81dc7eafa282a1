"""What a store tells while it runs: log lines, a listener for statements, a report of health."""

import asyncio
import logging
import os
import re
import socket
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from cwstore import StatementRun
from cwstore.errors import InvalidValueError, NotFoundError
from cwstore.migrations import api as migrations
from cwstore.store import Store
from tests.kits.database import (
    OpenStore,
    has_named_whom_it_waits_for,
    has_seen_who_writes,
    open_async,
    open_private,
)

#: Of a row by its id, of an update of it, and of a list of all.
PLANS = {
    "sqlite": (
        "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (id=?)",
        "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (id=?)",
        "SCAN tasks USING INDEX tasks_created_ix",
    ),
    "postgresql": (
        "Index Scan using tasks_pkey on tasks, Index Cond: (id = $1)",
        "Update on tasks, Index Scan using tasks_pkey on tasks, Index Cond: (id = $3)",
        "Index Scan using tasks_created_ix on tasks",
    ),
}


def without_numbers(line: str) -> str:
    return re.sub(r"\b\d+\.\d s\b", "N s", line)


def take_all_for_long(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """Waits and statements are told of, however short."""
    modules = {
        "sqlite": ("engine", "writer", "transaction", "write_queue"),
        "postgresql": ("engine", "writer", "connection"),
    }
    for module in modules[engine]:
        monkeypatch.setattr(f"cwstore._{engine.removesuffix('ql')}.{module}.LONG", -1.0)


def this_process(engine: str) -> str:
    """As the lines name it."""
    if engine == "postgresql":
        return f"process {os.getpid()} on {socket.gethostname()}"
    name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    return f"process {os.getpid()} ({name})"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cwstore"]


@pytest.fixture(autouse=True)
def listened(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="cwstore")


# Log lines


@pytest.mark.only_sqlite
def test_migrations_and_the_backup_before_them_are_logged(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    migrations.migrate(file, target=2)
    first = lines(caplog)
    assert len(first) == 2
    assert first[0].startswith(f"{file}: migration 0001_initiatives_and_projects applied: ")
    caplog.clear()
    migrations.migrate(file, target=3)
    told = lines(caplog)
    assert told[0] == f"{file}: copied to {file}.v2.bak before it is migrated"
    assert told[1].startswith(f"{file}: migration 0003_accounts_and_agents applied: ")


@pytest.mark.only_sqlite
def test_a_backup_is_logged(store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy = tmp_path / "copy.db"
    store.backup(copy)
    (told,) = lines(caplog)
    assert told.endswith(f"copied to {copy}, {copy.stat().st_size} bytes")


def test_a_long_wait_for_another_thread_is_logged(
    store: Store, engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all_for_long(monkeypatch, engine)
    began = threading.Event()
    waiting = threading.Event()

    def write() -> None:
        began.set()
        store.initiatives.create(name="late")
        waiting.set()

    with store.transaction():
        thread = threading.Thread(target=write)
        thread.start()
        assert began.wait(30)
        assert not waiting.wait(0.05)
    thread.join()
    assert (
        f"{store.path}: a transaction waited N s for the write lock, which"
        " thread MainThread of this process had"
    ) in map(without_numbers, lines(caplog))


def test_a_thread_that_was_waited_for_is_named_though_it_has_ended(
    store: Store, engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all_for_long(monkeypatch, engine)
    began = threading.Event()

    def hold() -> None:
        with store.transaction():
            began.set()
            while not has_named_whom_it_waits_for(store):
                began.wait(0.01)

    thread = threading.Thread(target=hold, name="the brief one")
    thread.start()
    assert began.wait(30)
    store.initiatives.create(name="late")
    assert (
        f"{store.path}: a transaction waited N s for the write lock, which"
        " thread the brief one of this process had"
    ) in map(without_numbers, lines(caplog))
    thread.join()


def test_a_long_wait_for_another_store_is_logged(
    store: Store,
    open_store: OpenStore,
    engine: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take_all_for_long(monkeypatch, engine)
    with open_store() as other:
        began = threading.Event()
        done = threading.Event()

        def write() -> None:
            began.set()
            other.initiatives.create(name="late")
            done.set()

        with store.transaction():
            thread = threading.Thread(target=write)
            thread.start()
            assert began.wait(30)
            while not has_seen_who_writes(other):
                assert not done.wait(0.01)
        thread.join()
    assert (
        f"{store.path}: a transaction waited N s for the write lock, which {this_process(engine)},"
        " in a transaction begun N s ago, had"
    ) in map(without_numbers, lines(caplog))


def test_a_slow_statement_is_logged_with_its_method_and_plan(
    store: Store, engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = store.tasks.create(name="hush")
    store.tasks.find_all()  # from now on point reads have a connection of their own
    take_all_for_long(monkeypatch, engine)

    def told() -> list[str]:
        return [without_numbers(line) for line in lines(caplog) if " waited " not in line]

    store.tasks.find_by_id(task.id)
    store.tasks.update(task.id, name="hush too")
    with store.transaction():
        store.tasks.find_all()
        assert len(told()) == 2  # not in the transaction, but at its end
    found, updated, all_of_them = PLANS[engine]
    assert told() == [
        f"{store.path}: tasks.find_by_id took N s; its plan: {found}",
        f"{store.path}: tasks.update took N s; its plan: {updated}",
        f"{store.path}: tasks.find_all took N s; its plan: {all_of_them}",
    ]


def test_a_slow_look_before_a_claim_is_logged(
    store: Store, engine: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all_for_long(monkeypatch, engine)
    assert store.tasks.claim_next_ready() is None
    assert f"{store.path}: tasks.claim_next_ready took " in lines(caplog)[0]


def test_a_log_that_cannot_be_written_is_no_reason_to_fail(
    store: Store, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    take_all_for_long(monkeypatch, engine)
    for function in ("log.log", "slow.slow_statement", "slow.tell_wait"):
        monkeypatch.setattr(f"cwstore.core.{function}", fail)
    with store.transaction():
        store.tasks.create(id="T", name="T")
    store.agents.create(id="A", name="fox", worktree_id="/", status="running")
    store.tasks.claim("T", agent_id="A")
    store.agents.reconcile(lambda agent: False)
    assert [task.status for task in store.tasks.find_all()] == ["pending"]


@pytest.mark.only_sqlite
def test_a_log_that_cannot_begin_anew_is_logged_with_who_reads(
    store: Store, file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("LONG", "_PINNED"):
        monkeypatch.setattr(f"cwstore._sqlite.checkpoint.{bound}", 10)
    lines_of_export = store.export_initiative(store.initiatives.create(name="I").id)
    next(lines_of_export)  # it holds a snapshot
    for _ in range(40):
        store.initiatives.create(name="x" * 5_000)
    told = [line for line in lines(caplog) if "write-ahead log" in line]
    assert told
    assert len(told) < 5  # not at every commit
    assert told[0].startswith(f"{file}: the write-ahead log has ")
    assert "cannot begin anew; who reads: process " in told[0]
    cast(Any, lines_of_export).close()


def test_attempts_that_are_taken_back_are_logged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.tasks.create(id="T", name="T")
    store.agents.create(id="A", name="fox", worktree_id="/", status="running")
    store.tasks.claim("T", agent_id="A", lease=timedelta(microseconds=1))
    store.tasks.expire_leases()
    store.tasks.claim("T", agent_id="A")
    store.agents.reconcile(lambda agent: False)
    assert lines(caplog) == [
        "task T is taken back: the lease passed",
        "task T is taken back: the agent crashed",
    ]


@pytest.mark.only_sqlite
def test_nothing_of_a_line_is_a_secret_or_a_bind(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.accounts.create(email="hush@example.org", credentials='{"key": "hush"}')
    store.backup(tmp_path / "copy")
    assert not any("hush" in line for line in lines(caplog))


@pytest.mark.only_sqlite
def test_without_a_handler_of_the_user_nothing_is_printed(
    store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("cwstore")
    propagates, logger.propagate = logger.propagate, False
    try:
        store.backup(tmp_path / "copy")
    finally:
        logger.propagate = propagates
    assert capfd.readouterr() == ("", "")


# on_statement


def test_a_listener_is_told_of_each_statement_by_method(store: Store) -> None:
    store.tasks.find_by_id("none")  # before anybody listens
    heard: list[StatementRun] = []
    store.on_statement(heard.append)
    task = store.tasks.create(name="One")
    store.tasks.find_all()
    store.tasks.update(task.id, name="Two")
    with store.transaction():
        store.tasks.delete(task.id)
        with store.transaction():
            store.log_chunks.insert_chunks([("A", "fox", 1, "{}")] * 3)
    names = [run.name for run in heard]
    assert list(dict.fromkeys(names)) == [
        "tasks.create",
        "tasks.find_all",
        "tasks.update",
        "transaction",
        "tasks.delete",
        "log_chunks.insert_chunks",
    ]
    by_name = {run.name: run for run in heard}
    assert by_name["tasks.find_all"].rows == 1
    assert by_name["tasks.find_all"].wait == 0
    assert by_name["log_chunks.insert_chunks"].rows == 3
    assert by_name["tasks.delete"].wait == 0  # inside of the transaction
    assert 0 < by_name["tasks.create"].wait < by_name["tasks.create"].seconds
    assert by_name["transaction"].wait == by_name["transaction"].seconds
    store.on_statement(None)
    store.tasks.find_all()
    assert len(heard) == len(names)


def test_everything_works_as_before_while_somebody_listens(store: Store) -> None:
    heard: list[StatementRun] = []
    store.on_statement(heard.append)
    initiative = store.initiatives.create(name="I")
    store.tasks.create(id="T", name="T", initiative_id=initiative.id)
    assert store.tasks.claim_next_ready(initiative_id=initiative.id)
    for _ in range(3):
        assert store.tasks.claim_next_ready(initiative_id=initiative.id) is None
    store.tasks.complete("T")
    store.tasks.create(id="L", name="L")
    store.tasks.claim("L", lease=timedelta(microseconds=1))
    assert [task.id for task in store.tasks.expire_leases()] == ["L"]
    assert store.initiatives.purge(initiative.id) > 0
    assert store.accounts.create(email="a").id
    assert store.accounts.claim_next_available()
    assert store.log_chunks.prune(keep_sessions=1).sessions == 0
    assert list(store.log_chunks.iter_by_agent_id("A")) == []
    assert {"tasks.claim_next_ready", "accounts.claim_next_available"} <= {
        run.name for run in heard
    }


def test_awaited_calls_are_told_too(store: Store, file: Path) -> None:
    heard: list[StatementRun] = []

    async def play() -> None:
        async with await open_async(file) as awaited:
            await awaited.tasks.find_all()
            awaited.on_statement(heard.append)
            await awaited.tasks.find_all()
            await awaited.transaction(lambda tx: tx.tasks.create(name="T"))

    asyncio.run(play())
    assert [run.name for run in heard] == ["tasks.find_all", "transaction", "tasks.create"]


def test_what_fails_inside_of_a_transaction_is_told_once_and_an_interruption_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[StatementRun] = []
    store.on_statement(heard.append)
    with pytest.raises(NotFoundError), store.transaction():
        store.tasks.get("none")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(store._db), "fetch_all", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.tasks.find_all()
    assert [(run.name, run.error) for run in heard] == [("transaction", None), ("tasks.get", None)]


def test_a_listener_must_be_callable(store: Store) -> None:
    with pytest.raises(InvalidValueError) as refused:
        store.on_statement(cast(Any, 7))
    assert str(refused.value) == "on_statement: expected a callable that takes a StatementRun"


# Health


def test_a_store_that_can_work_is_healthy(store: Store, engine: str) -> None:
    report = store.health()
    assert (report.ok, report.problems) == (True, ())
    assert report.seconds > 0
    # On a server these are its own.
    assert bool(report.disk_free_bytes) is (engine == "sqlite")
    assert (report.wal_bytes is None) is (engine == "postgresql")
    with open_private() as private:
        inside = private.health()
        assert (inside.ok, inside.disk_free_bytes, inside.wal_bytes) == (True, None, None)

    async def play() -> bool:
        async with await open_async(":memory:") as awaited:
            return (await awaited.health()).ok

    assert asyncio.run(play())


def test_a_probe_waits_for_no_writer(store: Store, open_store: OpenStore) -> None:
    with open_store(busy_timeout=0) as probed, store.transaction():
        store.initiatives.create(name="not yet")
        assert probed.health().problems == ()


@pytest.mark.only_sqlite
def test_what_is_wrong_is_told_with_what_to_do(
    store: Store, file: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = store.initiatives.create(name="I").id
    monkeypatch.setattr("cwstore._sqlite.health._LEAST_ROOM", 1 << 62)
    monkeypatch.setattr("cwstore._sqlite.health._LONGEST_LOG", -1)
    room, log = store.health().problems
    assert room.startswith(f"{file}: its disk has ")
    assert room.endswith(" bytes left; make room")
    size = Path(f"{file}-wal").stat().st_size
    text = f"{file}: its write-ahead log has {size:,} bytes and"
    assert log == f"{text} cannot begin anew; who reads: process unknown"
    with open_store(read_only=True) as reader:
        assert reader.health().problems[1] == log
        lines = reader.export_initiative(mine)
        next(lines)  # it reads from the log
        me = f"{os.getpid()} ({Path('/proc/self/comm').read_text(encoding='utf-8').strip()})"
        assert reader.health().problems[1].endswith(f"anew; who reads: process {me}")
        monkeypatch.setattr("cwstore._sqlite.lock_holders._name", lambda _: None)
        said = reader.health().problems[1]
        assert said.endswith(f"anew; who reads: process {os.getpid()} (unknown)")
        cast(Any, lines).close()
    with open_store(checkpoints="external") as external:
        assert external.health().problems[1] == (
            f"{text} this store leaves checkpoints to another program: see whether that runs;"
            " who reads: process unknown"
        )


def test_a_probe_of_a_closed_store_raises_nothing(store: Store, engine: str) -> None:
    closed = store
    closed.close()
    assert closed.health().wal_bytes == (0 if engine == "sqlite" else None)
    assert closed.health().problems[0].endswith("is closed; open a new one")
    assert not closed.health().ok


@pytest.mark.only_sqlite
def test_a_probe_makes_no_new_file_where_the_old_one_is_gone(store: Store, file: Path) -> None:
    file.unlink()
    problems = store.health().problems
    assert problems[0].startswith(f"{file} was removed or renamed")
    assert not file.exists()
