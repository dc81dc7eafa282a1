"""The recorder of changes: a lost connection, a connection in use, a commit that is interrupted."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore import Change, ChangeOperation, Store
from cwstore._sqlite import change_recorder
from cwstore.errors import (
    CwstoreError,
    OutcomeUnknownError,
    StoreClosedError,
)
from tests.kits.database import OpenStore, engine_of
from tests.kits.disk import (
    failing_sync,
    faulty_disk,
)
from tests.kits.engine import (
    PATIENCE,
    DeliberateError,
    Task,
    reached,
)
from tests.kits.interrupts import CtrlC
from tests.kits.migrations import run

INSERT = ChangeOperation.INSERT
ELSEWHERE = Change(ChangeOperation.ELSEWHERE)
OVERFLOW = Change(ChangeOperation.OVERFLOW)


def test_a_table_that_came_later_is_not_told(store: Store) -> None:
    with store.changes() as feed:
        connection = engine_of(store)._writer.connection
        with store.transaction():
            connection.execute("CREATE TABLE later (id TEXT)")
            connection.execute("INSERT INTO later VALUES ('x')")
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]


def test_listening_goes_on_after_a_connection_was_lost(open_store: OpenStore) -> None:
    with (
        faulty_disk() as disk,
        open_store(durable=True) as store,
        store.changes() as feed,
    ):
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError):
            store.tasks.create(name="perhaps")
        disk.fail = lambda operation, path: 0
        assert feed.get(timeout=0) == [ELSEWHERE]  # it may be there
        store.tasks.create(name="t", id="t")
        assert [one for one in feed.get() if one != ELSEWHERE] == [Change(INSERT, "tasks", "t")]
        assert feed.get(timeout=0) == []


def test_a_commit_elsewhere_is_told_though_the_connection_was_lost(open_store: OpenStore) -> None:
    with (
        faulty_disk() as disk,
        open_store(durable=True) as store,
        store.changes() as feed,
        open_store() as other,
    ):
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError):
            store.tasks.create(name="perhaps")
        disk.fail = lambda operation, path: 0
        assert feed.get(timeout=0) == [ELSEWHERE]  # it may be there
        other.tasks.create(name="t", id="t")
        assert Change(INSERT, "tasks", "t") in feed.get(timeout=30)


def test_a_look_elsewhere_does_not_wait_for_a_thread_that_uses_the_connection(
    store: Store, open_store: OpenStore, file: Path
) -> None:
    taken, looked = threading.Event(), threading.Event()

    def use() -> None:
        assert engine_of(store)._writer.lock.try_acquire()
        taken.set()
        reached(looked)
        engine_of(store)._writer.lock.release()

    with open_store() as other, store.changes() as feed:
        using = Task(use)
        reached(taken)
        other.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]  # the ring tells
        run(file, "DELETE FROM tasks")
        assert feed.get(timeout=0) == []
        looked.set()
        using.finish()
        assert feed.get(timeout=30) == [ELSEWHERE]


def test_a_commit_that_is_interrupted_after_it_was_kept_is_told_as_elsewhere(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = engine_of(store)._writer

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(cursor, name)

        def execute(self, text: str, *binds: Any) -> Any:
            done = cursor.execute(text, *binds)
            if text == "COMMIT":
                raise KeyboardInterrupt
            return done

    with store.changes() as feed:
        cursor = writer.cursor
        monkeypatch.setattr(writer, "cursor", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            store.tasks.create(name="t", id="t")
        monkeypatch.undo()
        assert store.tasks.find_by_id("t") is not None
        assert feed.get(timeout=0) == [ELSEWHERE]


def test_a_look_elsewhere_that_fails_after_a_commit_leaves_the_commit_alone(store: Store) -> None:
    def no_look(action: int, what: str | None, *_: object) -> int:
        refused = action == apsw.SQLITE_PRAGMA and what == "data_version"
        return apsw.SQLITE_DENY if refused else apsw.SQLITE_OK

    with store.changes() as feed:
        engine_of(store)._writer.connection.set_authorizer(no_look)
        store.tasks.create(name="t", id="t")
        assert feed.get(timeout=0) == [Change(INSERT, "tasks", "t")]


def test_one_transaction_takes_no_more_memory_than_the_listeners_can_hold(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_recorder, "MOST_SHARED", 0)
    store.log_chunks.insert_chunks([("a", "n", 1, "x")] * 5_000)
    with store.changes(capacity=2) as small, store.changes(capacity=10) as feed:
        recorder = engine_of(store)._writer.recorder
        assert recorder is not None
        with store.transaction():
            store.log_chunks.delete_by_agent_id("a")
            assert len(recorder.changes) == 11
            store.tasks.create(name="t", id="t")
        assert small.get() == feed.get() == [OVERFLOW]


def test_a_look_elsewhere_that_is_interrupted_tells_nothing(store: Store) -> None:
    connection = engine_of(store)._writer.connection
    with store.changes() as feed:
        connection.set_progress_handler(lambda: True, 1)
        assert feed.get(timeout=0) == []
        connection.set_progress_handler(None)


def test_in_memory_changes_are_told_too() -> None:
    with Store.open(":memory:") as store, store.changes() as feed:
        with suppress(DeliberateError), store.transaction():
            store.tasks.create(name="never")
            raise DeliberateError
        store.tasks.create(name="t", id="t")
        assert feed.get() == [Change(INSERT, "tasks", "t")]
        assert feed.get(timeout=0) == []


def test_what_comes_to_a_feed_that_is_just_closed_is_forgotten(store: Store) -> None:
    feed = store.changes()
    feed.close()
    feed.publish([(INSERT, "tasks", "t")])
    with pytest.raises(StoreClosedError):
        feed.get(timeout=0)


@pytest.mark.parametrize("fails", [False, True])
def test_wherever_ctrl_c_comes_in_a_savepoint_what_is_told_is_what_was_kept(
    store: Store, fails: bool
) -> None:
    def within() -> None:
        with suppress(DeliberateError), store.transaction():
            store.initiatives.create(name="inside")
            if fails:
                raise DeliberateError

    at, known, interrupted = 0, 0, True
    with store.changes() as feed:
        while interrupted:
            with suppress(CwstoreError), store.transaction():
                store.initiatives.create(name="before")
                interrupted = CtrlC(at).within(within)
                store.initiatives.create(name="after")
            kept = [one.id for one in store.initiatives.find_all()[known:]]
            told = [one.id for one in feed.get(timeout=0) if one != ELSEWHERE]
            assert told == kept, at
            known += len(kept)
            at += 1
    assert at > 20


def test_what_another_program_commits_is_told_as_elsewhere(store: Store, file: Path) -> None:
    with store.changes() as feed:
        run(file, "INSERT INTO projects VALUES ('p', 'n', 'u', 'main', NULL, 1, 1)")
        assert feed.get(timeout=30) == [ELSEWHERE]
        assert feed.get(timeout=0) == []


def test_a_commit_elsewhere_is_told_though_listening_began_in_a_transaction(
    store: Store, open_store: OpenStore, file: Path
) -> None:
    with open_store() as other:
        with store.transaction():
            feed = store.changes()
        other.tasks.create(name="t", id="t")
        assert feed.get(timeout=30)[-1] == Change(INSERT, "tasks", "t")
        run(file, "DELETE FROM tasks")
        assert feed.get(timeout=30) == [ELSEWHERE]
        feed.close()


def test_a_commit_elsewhere_is_told_to_who_always_has_something_to_hear(
    store: Store, file: Path
) -> None:
    with store.changes() as feed:
        store.tasks.create(name="t")
        run(file, "DELETE FROM tasks")
        heard: list[Change] = []
        end = time.monotonic() + PATIENCE
        while ELSEWHERE not in heard and time.monotonic() < end:
            store.tasks.create(name="t")
            heard = feed.get()
        assert ELSEWHERE in heard


def test_a_greater_feed_that_joins_a_transaction_is_told_that_changes_are_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_recorder, "MOST_SHARED", 0)
    with store.changes(capacity=1):
        with store.transaction():
            store.tasks.create(name="a", id="a")
            greater = store.changes(capacity=9)
            store.tasks.create(name="b", id="b")
        assert OVERFLOW in greater.get()
        greater.close()
