"""Stores: opening, closing, transactions in transactions, in-memory stores, data_version."""

import asyncio
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import apsw
import pytest

from cwstore.aio import AsyncStore
from cwstore.core.statement import rows_of
from cwstore.entities.initiatives import Initiative
from cwstore.entities.registry import ENTITIES
from cwstore.errors import (
    ConflictError,
    CwstoreError,
    InvalidValueError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.disk import (
    connections_to,
)
from tests.kits.engine import (
    DeliberateError,
    Task,
    locked,
    names,
    reached,
    undone,
)
from tests.kits.schema import HEAD

# Opening


def test_a_new_file_is_ours_alone_to_read_and_has_the_newest_version(file: Path) -> None:
    with Store.open(file) as store:
        assert store.version == HEAD
        assert {stat.S_IMODE(one.stat().st_mode) for one in file.parent.iterdir()} == {0o600}
    assert sorted(one.name for one in file.parent.iterdir()) == ["store.db"]
    db = apsw.Connection(str(file))
    assert db.pragma("application_id") == 0x43575354
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("auto_vacuum") == 2
    db.close()


def test_a_store_tells_its_file_however_it_was_named(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.path.realpath(file)
    link = file.with_name("link.db")
    monkeypatch.chdir(file.parent)
    with Store.open(file.name) as store:  # relative
        assert (store.path, repr(store)) == (whole, f"<Store {whole!r}>")
    link.symlink_to(file)
    with Store.open(link, read_only=True) as store:
        assert (store.path, repr(store)) == (whole, f"<Store {whole!r}>")
    assert repr(store) == f"<Store {whole!r}>"  # closed
    with Store.open(":memory:") as store:
        assert (store.path, repr(store)) == (":memory:", "<Store ':memory:'>")


def test_what_was_stored_is_there_when_the_file_is_opened_again(file: Path) -> None:
    with Store.open(file) as store:
        made = store.initiatives.create(name="kept")
    with Store.open(str(file)) as store:
        assert store.initiatives.find_all() == [made]


def test_every_connection_is_set_up_as_promised(file: Path) -> None:
    with Store.open(file) as store, engine_of(store).lease_reader() as reader:
        for db in (engine_of(store)._writer.connection, reader):
            assert [
                db.pragma(name)
                for name in (
                    "foreign_keys",
                    "recursive_triggers",
                    "cell_size_check",
                    "secure_delete",
                    "trusted_schema",
                    "synchronous",
                    "journal_mode",
                )
            ] == [1, 1, 1, 2, 0, 1, "wal"]
            assert db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, -1) == 1
            assert db.config(apsw.SQLITE_DBCONFIG_DQS_DML, -1) == 0
            assert db.limit(apsw.SQLITE_LIMIT_ATTACHED) == 0
        assert reader.pragma("query_only") == 1
        assert reader.pragma("cache_size") == -16000
        with pytest.raises(apsw.ReadOnlyError):
            reader.execute("DELETE FROM initiatives")


@pytest.mark.parametrize(("durable", "synchronous"), [(False, 1), (True, 2)])
def test_durable_means_that_every_commit_is_synced(
    file: Path, durable: bool, synchronous: int
) -> None:
    with Store.open(file, durable=durable) as store:
        assert engine_of(store)._writer.connection.pragma("synchronous") == synchronous


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("clock", {"clock": 5}),
        ("busy_timeout", {"busy_timeout": -1}),
        ("busy_timeout", {"busy_timeout": "5"}),
        ("busy_timeout", {"busy_timeout": True}),
        ("busy_timeout", {"busy_timeout": float("nan")}),
        ("busy_timeout", {"busy_timeout": float("inf")}),
        ("durable", {"durable": 1}),
        ("backup", {"backup": None}),
        ("on_progress", {"on_progress": "yes"}),
    ],
)
def test_a_bad_option_is_refused_before_a_file_is_made(
    file: Path, field: str, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidValueError, match=f"^{field}: ") as caught:
        Store.open(file, **options)
    assert caught.value.field == field
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("path", [5, None, b"bytes", "", "a\0b", Path, "\ud800", "a\udcff/b.db"])
def test_a_path_that_is_none_is_refused_by_name(path: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Store.open(path)
    assert caught.value.field == "path"


# Closing


def test_after_close_every_call_says_so_and_opens_nothing(file: Path) -> None:
    store = Store.open(file)
    made = store.initiatives.create(name="before")
    store.close()
    calls: list[Callable[[], object]] = [
        store.initiatives.find_all,
        lambda: store.initiatives.create(name="after"),
        lambda: store.initiatives.update(made.id, name="after"),
        lambda: store.tasks.create_dependency("a", "b"),
        lambda: store.transaction().__enter__(),
        store.data_version,
        store.check,
        store.stats,
        lambda: store.backup(file.with_name("copy.db")),
    ]
    for call in calls:
        with pytest.raises(
            StoreClosedError, match=r"store\.db is closed; open a new one"
        ) as caught:
            call()
        assert caught.value.__context__ is None
        assert connections_to(file) == []
    with Store.open(file) as again:
        assert again.initiatives.find_all() == [made]


def test_closing_twice_is_closing_once(store: Store, file: Path) -> None:
    store.initiatives.find_all()
    store.close()
    assert connections_to(file) == []
    store.close()


def test_an_exception_in_the_block_of_a_store_closes_it(file: Path) -> None:
    with pytest.raises(DeliberateError), Store.open(file):
        raise DeliberateError
    assert connections_to(file) == []


def test_close_inside_of_the_own_transaction_is_refused_and_the_transaction_goes_on(
    store: Store,
) -> None:
    with store.transaction():
        store.initiatives.create(name="kept")
        with pytest.raises(ConflictError, match="leave it first"):
            store.close()
    assert names(store) == ["kept"]


class AnnouncedLock:
    """Says when somebody begins to wait for the lock."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.asked = Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)

    def acquire(self, seconds: float) -> Any:
        self.asked.set()
        return self._lock.acquire(seconds)


def test_close_waits_for_the_transaction_of_another_thread(file: Path) -> None:
    store = Store.open(file)
    writer: Any = engine_of(store)._writer
    lock = writer.lock = AnnouncedLock(writer.lock)
    with store.transaction():
        store.initiatives.create(name="first")
        closing = Task(store.close)
        reached(lock.asked)
        store.initiatives.create(name="second")
    closing.finish()
    with pytest.raises(StoreClosedError):
        store.initiatives.find_all()
    with Store.open(file) as again:
        assert names(again) == ["first", "second"]


def test_two_threads_may_close_at_once(file: Path) -> None:
    store = Store.open(file)
    for task in [Task(store.close) for _ in range(4)]:
        task.finish()
    assert connections_to(file) == []


def test_a_reader_that_is_lent_while_the_store_closes_is_closed_when_it_comes_back(
    file: Path,
) -> None:
    reading, closed = Event(), Event()

    def clock() -> datetime:
        if not closed.is_set():
            reading.set()
            reached(closed)
        return datetime(2026, 1, 1, tzinfo=UTC)

    store = Store.open(file, clock=clock)
    store.accounts.find_all()  # opens a reader
    task = Task(store.accounts.find_next_available)  # asks what time it is, with a reader in hand
    reached(reading)
    store.close()
    assert len(connections_to(file)) == 1
    closed.set()
    assert task.finish() is None
    assert connections_to(file) == []


def test_point_reads_share_one_connection_until_a_list_or_another_thread_asks(file: Path) -> None:
    with Store.open(file) as store:
        made = store.initiatives.create(name="n")
        assert store.initiatives.find_by_id(made.id) == made
        assert store.initiatives.find_by_id("none") is None
        assert len(connections_to(file)) == 1
        with store.transaction():
            Task(lambda: store.initiatives.find_by_id(made.id)).finish()
        assert len(connections_to(file)) == 2
    with Store.open(file) as store:
        assert store.initiatives.find_all() == [made]
        assert len(connections_to(file)) == 2


def test_a_write_that_is_called_a_read_is_refused_even_before_there_is_a_reader(file: Path) -> None:
    delete = rows_of(Initiative)("DELETE FROM initiatives RETURNING *")
    with Store.open(file) as store:
        made = store.initiatives.create(name="n")
        with pytest.raises(CwstoreError):
            engine_of(store).fetch_one(delete)
        assert store.initiatives.find_all() == [made]


def test_close_waits_for_a_point_read_of_another_thread(file: Path) -> None:
    reading, go_on = Event(), Event()

    def clock() -> datetime:
        reading.set()
        reached(go_on)
        return datetime(2026, 1, 1, tzinfo=UTC)

    store = Store.open(file, clock=clock)
    writer: Any = engine_of(store)._writer
    lock = writer.lock = AnnouncedLock(writer.lock)
    read = Task(store.accounts.find_next_available)
    reached(reading)
    closing = Task(store.close)
    reached(lock.asked)
    go_on.set()
    assert read.finish() is None
    closing.finish()
    assert connections_to(file) == []


def test_idle_readers_are_kept_but_not_more_than_eight(file: Path) -> None:
    together = Barrier(12)

    def clock() -> datetime:
        together.wait(30)
        return datetime(2026, 1, 1, tzinfo=UTC)

    with Store.open(file, clock=clock) as store:
        for task in [Task(store.accounts.find_next_available) for _ in range(12)]:
            task.finish()
        assert len(connections_to(file)) == 1 + 8
        store.initiatives.find_all()
        assert len(connections_to(file)) == 1 + 8
    assert connections_to(file) == []


# In memory


def test_an_in_memory_store_is_shared_by_its_threads_and_by_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Store.open(":memory:") as store, Store.open(":memory:") as other:
        Task(lambda: store.initiatives.create(name="from a thread")).finish()
        assert names(store) == ["from a thread"]
        assert Task(lambda: names(store)).finish() == ["from a thread"]
        assert names(other) == []
        with undone(store):
            store.initiatives.create(name="undone")
        assert names(store) == ["from a thread"]
        assert store.version == HEAD
    assert list(tmp_path.iterdir()) == []


def test_an_in_memory_store_that_is_closed_says_so(tmp_path: Path) -> None:
    store = Store.open(":memory:")
    store.close()
    for call in (store.initiatives.find_all, store.data_version, store.check):
        with pytest.raises(StoreClosedError, match="open a new one"):
            call()


# data_version


def test_data_version_changes_when_another_store_commits_and_only_then(
    store: Store, file: Path
) -> None:
    first = store.data_version()
    store.initiatives.create(name="own")
    assert store.data_version() == first
    with Store.open(file) as other:
        assert store.data_version() == first
        with undone(other):
            other.initiatives.create(name="undone")
        assert store.data_version() == first
        other.initiatives.create(name="seen")
        second = store.data_version()
        assert second != first
        assert store.data_version() == second
        with store.transaction():
            assert store.data_version() == second


def test_data_version_needs_no_lock_of_the_file(file: Path) -> None:
    with Store.open(file, busy_timeout=0) as store, locked(file):
        assert store.data_version() == store.data_version()


def test_in_memory_stores_are_looked_at_like_files() -> None:
    with Store.open(":memory:") as store:
        store.initiatives.create(name="i")
        assert store.check().ok
        stats = store.stats()
        assert (stats.version, stats.wal_bytes) == (HEAD, 0)
        assert stats.file_bytes > 0


def test_an_async_store_has_the_repositories_of_a_store_and_no_others() -> None:
    async def play() -> None:
        async with await AsyncStore.open(":memory:") as store:
            assert set(ENTITIES) < set(dir(store))
            with pytest.raises(AttributeError, match="'AsyncStore' object has no attribute"):
                _ = getattr(store, "tsa" + "ks")

    asyncio.run(play())


def test_an_error_while_an_async_store_closes_is_raised(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        store = await AsyncStore.open(file)
        close = store._store.close

        def fail() -> None:
            close()
            raise ConflictError("in use")

        monkeypatch.setattr(store._store, "close", fail)
        with pytest.raises(ConflictError, match="in use"):
            await store.close()

    asyncio.run(play())
