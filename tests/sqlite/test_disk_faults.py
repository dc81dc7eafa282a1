"""What goes wrong underneath: full disks, failing disks, transactions that SQLite undid."""

import errno
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from cwstore.errors import (
    BusyError,
    CwstoreError,
    OutcomeUnknownError,
    StorageError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, engine_of
from tests.kits.disk import (
    FaultyDisk,
    connections_to,
    failing_sync,
    faulty_disk,
    memory_left,
)
from tests.kits.engine import (
    DeliberateError,
    Task,
    assert_ours_alone,
    locked,
    names,
)
from tools._python.faults.error_sweep import FailingDisk
from tools._python.faults.system_calls import Guard, Operation, watched

# Transactions that SQLite undid as a whole


def interrupted(store: Store) -> None:
    """Write, and let SQLite be interrupted: it then rolls back whatever transaction is open."""
    writer = engine_of(store)._writer.connection
    writer.set_progress_handler(lambda: True, 1)
    try:
        with pytest.raises(CwstoreError, match="Interrupt"):
            store.initiatives.create(name="interrupted")
    finally:
        writer.set_progress_handler(None)


LOST = "the whole transaction was rolled back"
DISK_FAILED = (
    "the disk failed (SQLITE_IOERR_FSTAT); check the disk, its room and quotas, then reopen"
)


def test_a_transaction_that_sqlite_undid_is_not_continued_statement_by_statement(
    store: Store, file: Path
) -> None:
    store.initiatives.create(name="before")
    before = contents(file)
    calls: list[Callable[[], object]] = [
        lambda: store.initiatives.create(name="not on its own"),
        lambda: store.tasks.create_dependency("a", "b"),
        store.initiatives.find_all,
        lambda: store.transaction().__enter__(),
    ]

    def go_on_regardless() -> None:
        with store.transaction():
            store.initiatives.create(name="undone")
            interrupted(store)
            for call in calls:
                with pytest.raises(CwstoreError, match=LOST):
                    call()
                assert contents(file) == before

    with pytest.raises(CwstoreError, match=LOST) as caught:
        go_on_regardless()
    assert_ours_alone(caught.value)
    assert contents(file) == before
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]


def test_the_levels_around_a_lost_transaction_are_lost_too(store: Store) -> None:
    def go_on_outside() -> None:
        with store.transaction():
            store.initiatives.create(name="undone")
            with suppress(DeliberateError), store.transaction():
                interrupted(store)
                raise DeliberateError
            with pytest.raises(CwstoreError, match=LOST):
                store.initiatives.create(name="not on its own")

    with pytest.raises(CwstoreError, match=LOST):
        go_on_outside()
    assert names(store) == []
    store.initiatives.create(name="after")
    assert names(store) == ["after"]


def test_no_level_of_a_lost_transaction_can_be_left_as_if_it_were_kept(store: Store) -> None:
    def leave_inner_level() -> None:
        with store.transaction():
            interrupted(store)

    with store.transaction():
        pass
    with suppress(DeliberateError), store.transaction():
        with pytest.raises(CwstoreError, match=LOST):
            leave_inner_level()
        raise DeliberateError
    assert names(store) == []


def test_an_exception_out_of_a_lost_transaction_stays_what_it_is(store: Store) -> None:
    def leave_by_error() -> None:
        with store.transaction(), store.transaction():
            interrupted(store)
            raise DeliberateError

    with pytest.raises(DeliberateError):
        leave_by_error()
    assert names(store) == []


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.initiatives.create(name="undone"),
        lambda store: store.log_chunks.insert_chunks([("a", "a", 1, "{}")] * 2),
    ],
)
def test_whoever_goes_on_in_a_lost_transaction_is_told_why_it_was_lost(
    store: Store, write: Callable[[Store], object]
) -> None:
    db = engine_of(store)._writer.connection
    for table in ("initiatives", "agent_log_chunks"):
        db.execute(
            f"CREATE TEMP TRIGGER undo_{table} BEFORE INSERT ON main.{table}"
            " BEGIN SELECT RAISE(ROLLBACK, 'by a trigger'); END"
        )

    def go_on_regardless() -> None:
        with store.transaction():
            with pytest.raises(CwstoreError, match="by a trigger") as first:
                write(store)
            with pytest.raises(CwstoreError) as second:
                store.initiatives.find_all()
            assert type(second.value) is type(first.value)
            why = str(first.value).removeprefix("item 0: ")  # of a batch
            assert str(second.value) == f"{why} ({LOST}: leave it)"

    with pytest.raises(CwstoreError, match=rf"by a trigger.*{LOST}"):
        go_on_regardless()
    assert names(store) == []


def test_a_pragma_that_fails_is_told_by_name(store: Store, file: Path) -> None:
    def refuse(operation: int, first: str | None, *others: str | None) -> int:
        denied = operation == apsw.SQLITE_PRAGMA and first in {"freelist_count", "data_version"}
        return apsw.SQLITE_DENY if denied else apsw.SQLITE_OK

    engine_of(store)._writer.connection.set_authorizer(refuse)
    calls = {
        "freelist_count": engine_of(store).vacuum,
        "data_version": engine_of(store).data_version,
    }
    for pragma, call in calls.items():
        with pytest.raises(StorageError) as caught:
            call()
        assert f"PRAGMA {pragma} ({file})" in str(caught.value)
        assert_ours_alone(caught.value)


@pytest.mark.parametrize("word", ["SAVEPOINT", "RELEASE", "ROLLBACK TO"])
def test_a_savepoint_that_fails_loses_the_transaction(store: Store, word: str) -> None:
    def refuse(operation: int, first: str | None, *others: str | None) -> int:
        wanted = {"SAVEPOINT": "BEGIN", "RELEASE": "RELEASE", "ROLLBACK TO": "ROLLBACK"}[word]
        denied = operation == apsw.SQLITE_SAVEPOINT and first == wanted
        return apsw.SQLITE_DENY if denied else apsw.SQLITE_OK

    def nested() -> None:
        with store.transaction():
            store.initiatives.create(name="outer")
            try:
                with store.transaction():
                    store.initiatives.create(name="inner")
                    if word == "ROLLBACK TO":
                        raise DeliberateError
            except (StorageError, DeliberateError) as error:
                assert_ours_alone(error)

    engine_of(store)._writer.connection.set_authorizer(refuse)
    with pytest.raises(StorageError, match=f"{word} level.*whole transaction was rolled") as caught:
        nested()
    assert_ours_alone(caught.value)
    engine_of(store)._writer.connection.set_authorizer(None)
    assert names(store) == []
    store.initiatives.create(name="after")
    assert names(store) == ["after"]


# Full disk


def test_a_full_database_changes_nothing_and_the_store_goes_on(store: Store, file: Path) -> None:
    made = store.initiatives.create(name="before")
    before = contents(file)
    writer = engine_of(store)._writer.connection
    limit = writer.pragma("max_page_count")
    writer.pragma("max_page_count", writer.pragma("page_count"))
    with pytest.raises(StorageError, match="initiatives: the disk is full; make room") as caught:
        store.initiatives.update(made.id, name="x" * 100_000)
    assert_ours_alone(caught.value)

    def in_a_transaction() -> None:
        with store.transaction():
            store.initiatives.update(made.id, name="y" * 100_000)

    with pytest.raises(StorageError, match="the disk is full"):
        in_a_transaction()
    assert contents(file) == before
    writer.pragma("max_page_count", limit)
    assert store.initiatives.update(made.id, name="x" * 100_000).name == "x" * 100_000


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with faulty_disk() as faulty:
        yield faulty


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (apsw.SQLITE_FULL, "the disk is full"),
        (
            apsw.SQLITE_IOERR_WRITE,
            (
                r"the disk failed \(SQLITE_IOERR_WRITE\); check the disk, its room, its quotas and"
                r" how long a file may be \(ulimit -f\), then reopen$"
            ),
        ),
    ],
)
def test_a_commit_that_cannot_be_written_changes_nothing(
    disk: FaultyDisk, file: Path, code: int, message: str
) -> None:
    with Store.open(file) as store:
        store.initiatives.create(name="before")
        before = contents(file)
        disk.fail = lambda operation, path: (
            code if operation == "write" and path.endswith("-wal") else 0
        )
        with pytest.raises(StorageError, match=message) as caught:
            store.initiatives.create(name="undone")
        assert_ours_alone(caught.value)

        def in_a_transaction() -> None:
            with store.transaction():
                store.initiatives.create(name="undone")
                store.initiatives.create(name="undone too")

        with pytest.raises(StorageError, match=message):
            in_a_transaction()
        disk.fail = lambda operation, path: 0
        assert contents(file) == before
        store.initiatives.create(name="after")
        assert names(store) == ["before", "after"]
        assert store.check().ok


# A disk that fails while it syncs


def test_when_the_sync_of_a_commit_fails_the_outcome_is_unknown_and_the_store_goes_on(
    disk: FaultyDisk, file: Path
) -> None:
    with Store.open(file, durable=True) as store:
        store.initiatives.create(name="before")
        doubted = engine_of(store)._writer.connection
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError) as caught:
            store.initiatives.create(name="perhaps")
        assert str(caught.value) == (
            f"COMMIT ({file}): the disk failed; the transaction may or may not be there: read"
            f" before"
            " you repeat it"
        )
        assert_ours_alone(caught.value)
        disk.fail = lambda operation, path: 0
        seen = names(store)
        assert seen in (["before"], ["before", "perhaps"])
        store.initiatives.create(name="after")
        assert names(store) == [*seen, "after"]
        assert engine_of(store)._writer.connection is not doubted
        assert engine_of(store)._writer.connection.pragma("synchronous") == 2
        assert engine_of(store)._writer.connection.pragma("foreign_keys") == 1
        with pytest.raises(apsw.ConnectionClosedError):
            doubted.pragma("user_version")
        assert store.check().ok
    with Store.open(file) as again:
        assert names(again) == [*seen, "after"]


def test_the_outcome_of_a_whole_transaction_may_be_unknown_too(
    disk: FaultyDisk, file: Path
) -> None:
    with Store.open(file, durable=True) as store:

        def doubtful() -> None:
            with store.transaction():
                store.initiatives.create(name="perhaps")
                with store.transaction():
                    store.initiatives.create(name="perhaps too")
                disk.fail = failing_sync

        with pytest.raises(OutcomeUnknownError):
            doubtful()
        disk.fail = lambda operation, path: 0
        assert len(names(store)) in {0, 2}
        with store.transaction():
            store.initiatives.create(name="after")
        assert names(store)[-1] == "after"
        Task(lambda: store.initiatives.create(name="by a thread")).finish()


def test_a_store_outlives_a_time_in_which_no_new_connection_can_be_had(
    disk: FaultyDisk, file: Path
) -> None:
    with Store.open(file, durable=True) as store, store.changes() as feed:
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError):
            store.initiatives.create(name="perhaps")
        disk.fail = lambda operation, path: apsw.SQLITE_CANTOPEN if operation == "open" else 0
        feed.drain()
        assert feed.get(0) == []  # it hears nothing of others, and fails nobody
        for call in (
            lambda: store.initiatives.create(name="no connection"),
            lambda: store.transaction().__enter__(),
            store.data_version,
        ):
            with pytest.raises(StorageError, match="cannot be opened") as caught:
                call()
            assert_ours_alone(caught.value)
        disk.fail = lambda operation, path: 0
        store.initiatives.create(name="after")
        assert names(store)[-1] == "after"


def test_a_lost_connection_is_not_replaced_by_a_new_empty_file(
    disk: FaultyDisk, file: Path
) -> None:
    with Store.open(file, durable=True) as store:
        disk.fail = failing_sync
        with pytest.raises(OutcomeUnknownError):
            store.initiatives.create(name="perhaps")
        disk.fail = lambda operation, path: 0
        file.rename(file.with_name("moved.db"))
        with pytest.raises(StorageError, match="cannot look at"):
            store.initiatives.create(name="nowhere")
        assert not file.exists()


def test_a_store_whose_connection_was_dropped_can_be_closed(disk: FaultyDisk, file: Path) -> None:
    store = Store.open(file, durable=True)
    disk.fail = failing_sync
    with pytest.raises(OutcomeUnknownError):
        store.initiatives.create(name="perhaps")
    disk.fail = lambda operation, path: 0
    store.close()
    assert connections_to(file) == []


def test_a_rollback_that_fails_drops_the_connection_and_undoes_the_transaction(
    store: Store,
) -> None:
    """Closing a connection rolls back what ROLLBACK itself could not."""

    def refuse(operation: int, first: str | None, *others: str | None) -> int:
        denied = operation == apsw.SQLITE_TRANSACTION and first == "ROLLBACK"
        return apsw.SQLITE_DENY if denied else apsw.SQLITE_OK

    def fail() -> None:
        with store.transaction():
            store.initiatives.create(name="undone")
            engine_of(store)._writer.connection.set_authorizer(refuse)
            raise DeliberateError

    with pytest.raises(DeliberateError) as caught:
        fail()
    assert_ours_alone(caught.value)
    store.initiatives.create(name="after")
    assert names(store) == ["after"]


def test_an_in_memory_store_says_that_it_is_lost_with_its_connection() -> None:
    def refuse(operation: int, first: str | None, *others: str | None) -> int:
        denied = operation == apsw.SQLITE_TRANSACTION and first == "ROLLBACK"
        return apsw.SQLITE_DENY if denied else apsw.SQLITE_OK

    def fail() -> None:
        with store.transaction():
            engine_of(store)._writer.connection.set_authorizer(refuse)
            raise DeliberateError

    store = Store.open(":memory:")
    with pytest.raises(DeliberateError):
        fail()
    for call in (store.initiatives.find_all, lambda: store.initiatives.create(name="x")):
        with pytest.raises(StoreClosedError) as caught:
            call()
        assert str(caught.value) == (
            "the in-memory database was lost with its connection; open a new store"
        )
    store.close()


def test_a_read_that_fails_does_not_spoil_the_next_one(disk: FaultyDisk, file: Path) -> None:
    with Store.open(file) as store:
        made = store.initiatives.create(name="there")
        disk.fail = lambda operation, path: apsw.SQLITE_CANTOPEN if operation == "open" else 0
        with pytest.raises(StorageError, match="cannot be opened") as caught:
            store.initiatives.find_all()  # has no reader yet
        assert_ours_alone(caught.value)
        disk.fail = lambda operation, path: 0
        assert store.initiatives.find_all() == [made]


def test_want_of_memory_is_no_damage(store: Store, tmp_path: Path) -> None:
    """Whoever is told of damage puts an old backup in the place of a good file."""
    for number in range(200):
        store.tasks.create(name=f"{number}", description="x" * 3000)
    told: list[str] = []
    for room in (2_800_000, 3_100_000):
        try:
            with memory_left(room):
                store.backup(tmp_path / f"{room}.bak")
        except StorageError as error:
            told.append(str(error))
    assert [one for one in told if "there is no memory left" not in one] == []


def test_switching_to_wal_passes_on_what_goes_wrong(disk: FaultyDisk, tmp_path: Path) -> None:
    """A file of ours that somebody switched to another journal."""
    file = tmp_path / "store.db"
    Store.open(file).close()
    db = apsw.Connection(str(file))
    db.pragma("journal_mode", "delete")
    db.close()
    with locked(file), pytest.raises(CwstoreError) as caught:
        Store.open(file, busy_timeout=0)
    assert_ours_alone(caught.value)
    attempts: list[str] = []

    def fail(operation: str, path: str) -> int:
        if operation == "write":
            attempts.append(path)
            return apsw.SQLITE_IOERR_WRITE
        return 0

    disk.fail = fail
    with pytest.raises(StorageError, match="the disk failed") as caught_too:
        Store.open(file)
    assert_ours_alone(caught_too.value)
    assert len(attempts) < 5, "only a lock is waited for"
    disk.fail = lambda operation, path: 0
    with Store.open(file) as store:
        assert engine_of(store)._writer.connection.pragma("journal_mode") == "wal"


# What lies beside the file


class Unreadable(Guard):
    """What has that name, and from the n-th look on."""

    def __init__(self, name: str, kind: str, at: int = 1) -> None:
        self._name = name
        self._kind = kind
        self._at = at

    def before(self, operation: Operation) -> int:
        if operation.kind == self._kind and Path(operation.path).name == self._name:
            self._at -= 1
            return errno.EIO if self._at < 1 else 0
        return 0


def test_a_queue_that_cannot_be_read_is_told_and_the_store_goes_on_when_it_can(
    file: Path, open_store: OpenStore
) -> None:
    """Nobody could know the last stamp of the others. Who waits, waits without a queue."""
    with watched(str(file.parent), Guard()) as calls, open_store() as store:
        store.initiatives.create(name="mine")
        with open_store() as other:
            other.initiatives.create(name="other")
        calls.guard = Unreadable("store.db-turn", "read")
        with pytest.raises(StorageError) as caught:
            store.initiatives.create(name="no stamp")
        assert str(caught.value) == (
            f"{file}-turn, which has the last stamp, cannot be read: Input/output error; nothing"
            " was changed: check the disk"
        )
        with locked(file), open_store(busy_timeout=0.01) as waiting, pytest.raises(BusyError):
            waiting.initiatives.create(name="late")
        calls.guard = Guard()
        store.initiatives.create(name="after")
        assert names(store) == ["mine", "other", "after"]


def test_a_feed_that_the_disk_does_not_give_is_refused_and_had_when_it_does(
    file: Path, open_store: OpenStore
) -> None:
    refused: list[str] = []
    with watched(str(file.parent), Guard()) as calls, open_store() as store:
        for at in range(1, 9):
            calls.guard = FailingDisk("stat", at, errno.EIO, lasting=False)
            try:
                store.changes().close()
            except StorageError as error:
                refused.append(str(error))
                assert_ours_alone(error)
        calls.guard = Guard()
        with store.changes() as feed:
            made = store.initiatives.create(name="after")
            assert [one.id for one in feed.get(0)] == [made.id]
    assert {*refused} == {f"changes ({file}): {DISK_FAILED}"}


def test_a_new_connection_that_fails_at_once_is_replaced_by_another(
    file: Path, open_store: OpenStore
) -> None:
    """The last one was dropped, and somebody listens."""
    with watched(str(file.parent), Guard()) as calls, open_store(busy_timeout=0.01) as store:
        told: list[str] = []
        with store.changes() as feed:
            for at in range(1, 40, 2):
                if not engine_of(store)._writer.dropped:
                    engine_of(store)._writer.drop()
                calls.guard = FailingDisk("lock", at, errno.EIO, lasting=True)
                try:
                    told.append(store.initiatives.create(name=f"at {at}").name)
                except (BusyError, StorageError) as error:
                    assert_ours_alone(error)
            calls.guard = Guard()
            told.append(store.initiatives.create(name="after").name)
            assert names(store) == told
            assert feed.get(0)


def test_a_log_that_cannot_be_looked_at_as_the_store_closes_is_moved_all_the_same(
    file: Path,
) -> None:
    failed: list[str] = []

    def fail_once(operation: str, path: str) -> int:
        if operation != "read" or not path.endswith("-wal") or failed:
            return 0
        failed.append(path)
        return apsw.SQLITE_IOERR_READ

    with faulty_disk() as disk:
        store = Store.open(file)
        store.initiatives.create(name="acknowledged")
        disk.fail = fail_once
        store.close()
    assert failed == [f"{file}-wal"]
    assert not Path(f"{file}-wal").exists()
    with Store.open(file) as again:
        assert names(again) == ["acknowledged"]
        assert again.check().ok
