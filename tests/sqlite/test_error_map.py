"""Which error stands for what SQLite reports: by its code, with the names that it tells."""

from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from cwstore._sqlite.error_map import map_error
from cwstore.core.faults import refused_bind
from cwstore.core.statement import values_of
from cwstore.entities import log_chunks
from cwstore.entities.task import Task
from cwstore.errors import (
    BusyError,
    ConflictError,
    CorruptDatabaseError,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
    StorageError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import engine_of
from tests.kits.disk import faulty_disk, memory_left
from tests.kits.engine import (
    assert_ours_alone,
)


@pytest.fixture
def raw() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE notes (id INTEGER NOT NULL, body TEXT NOT NULL) STRICT")
    db.execute("INSERT INTO notes (rowid, id, body) VALUES (1, 1, 'first')")
    return db


def fault(db: apsw.Connection, sql: str) -> CwstoreError:
    with pytest.raises(apsw.Error) as caught:
        db.execute(sql)
    return map_error(caught.value, "notes", 5.0, "w.db", sql)


@pytest.mark.parametrize(
    ("sql", "field", "message"),
    [
        ("INSERT INTO notes (id) VALUES (1)", "body", "body: must not be None (table notes)"),
        ("UPDATE notes SET id = 'one'", "id", "id: wrong type for table notes"),
    ],
)
def test_a_value_that_only_the_table_refuses_is_named(
    raw: apsw.Connection, sql: str, field: str, message: str
) -> None:
    error = fault(raw, sql)
    assert isinstance(error, InvalidValueError)
    assert (error.field, str(error)) == (field, message)


def test_a_missing_row_is_named_by_no_column_where_no_bind_is_called_so(store: Store) -> None:
    link = values_of(str, Task)(
        "INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (:one, :other)",
        one=str,
        other=str,
    )
    with pytest.raises(MissingReferenceError) as caught:
        store.tasks._db.execute(link, one="a", other="b")
    assert (caught.value.field, str(caught.value)) == (
        None,
        "task_dependencies: a row it refers to does not exist; create it first",
    )


def test_a_constraint_of_a_kind_that_is_not_ours_is_a_conflict(raw: apsw.Connection) -> None:
    error = fault(raw, "INSERT INTO notes (rowid, id, body) VALUES (1, 2, 'second')")
    assert type(error) is ConflictError
    assert str(error) == "notes: UNIQUE constraint failed: notes.rowid"


def test_a_binding_that_is_at_fault_is_the_one_that_is_no_text() -> None:
    assert refused_bind({"id": "é", "sort_order": 1, "name": "\ud800"}).field == "name"
    with pytest.raises(AssertionError):
        refused_bind({"id": "é"})


def limited(store: Store, limit: int, value: int) -> None:
    engine_of(store)._writer.connection.limit(limit, value)


def test_a_value_that_is_too_large_is_refused(store: Store) -> None:
    limited(store, apsw.SQLITE_LIMIT_LENGTH, 10_000)
    with pytest.raises(InvalidValueError) as caught:
        store.initiatives.create(name="x" * 20_000)
    assert str(caught.value) == "value: too large for one SQLite row (1,000,000,000 bytes)"
    assert_ours_alone(caught.value)
    assert store.initiatives.find_all() == []


def test_memory_that_is_used_up_is_told_with_what_to_do(store: Store) -> None:
    with (
        memory_left(100_000),
        pytest.raises(StorageError, match="initiatives: there is no memory left") as caught,
    ):
        store.initiatives.create(name="x" * 1_000_000)
    assert_ours_alone(caught.value)
    assert store.initiatives.find_all() == []


def test_rows_that_are_nested_too_deep_to_be_deleted_at_once_are_a_conflict(
    raw: apsw.Connection,
) -> None:
    """As a service may have them in tables of its own; our repositories delete the inner first."""
    raw.pragma("foreign_keys", True)
    raw.execute(
        "CREATE TABLE nested (id INTEGER PRIMARY KEY,"
        " above INTEGER REFERENCES nested (id) ON DELETE CASCADE)"
    )
    raw.executemany("INSERT INTO nested VALUES (?, ?)", [(n, n - 1 or None) for n in range(1, 13)])
    raw.limit(apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 10)
    error = fault(raw, "DELETE FROM nested WHERE id = 1")
    assert type(error) is ConflictError
    assert error.reason == "transaction"
    assert str(error) == (
        "notes: more than 1,000 rows are nested in each other; delete the inner first"
    )


def test_a_connection_that_is_closed_meanwhile_is_a_closed_store(raw: apsw.Connection) -> None:
    raw.close()
    error = fault(raw, "SELECT 1")
    assert type(error) is StoreClosedError
    assert str(error) == "notes: the store is closed; open a new one"


def test_a_look_at_the_version_that_is_interrupted_is_an_error_of_ours(store: Store) -> None:
    connection = engine_of(store)._writer.connection
    connection.set_progress_handler(lambda: True, 1)
    with pytest.raises(CwstoreError, match=r"PRAGMA data_version .*Interrupt") as caught:
        store.data_version()
    connection.set_progress_handler(None)
    assert_ours_alone(caught.value)
    assert store.data_version() > 0


@pytest.mark.parametrize("look", [Store.check, Store.stats], ids=["check", "stats"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            apsw.SQLITE_IOERR_READ,
            (
                StorageError,
                (
                    r": the disk failed \(SQLITE_IOERR_READ\); check the disk, its room and quotas,"
                    " then reopen$"
                ),
            ),
        ),
        (apsw.SQLITE_IOERR_SHMSIZE, (StorageError, "no room for the index of the write-ahead log")),
        (apsw.SQLITE_BUSY, (BusyError, "another connection held the lock")),
    ],
    ids=["failing", "full", "in use"],
)
@pytest.mark.parametrize("at_once", [True, False], ids=["while it is opened", "after that"])
def test_a_look_at_the_whole_file_that_fails_is_told_and_nothing_is_called_damaged(
    look: Callable[[Store], object],
    code: int,
    expected: tuple[type[CwstoreError], str],
    at_once: bool,
    file: Path,
) -> None:
    error, message = expected
    reads = good = 0

    def fail(operation: str, path: str) -> int:
        nonlocal reads
        reads += operation == "read"
        return code if operation == "read" and reads > good else 0

    with faulty_disk() as disk, Store.open(file) as store, Store.open(file) as other:
        before = other.initiatives.create(name="before")
        good = 10**9
        disk.fail = fail
        with engine_of(store).lease_reader():  # opens the file, and no more
            good = 0 if at_once else reads
        reads = 0
        with pytest.raises(error, match=message) as caught:
            look(store)
        assert_ours_alone(caught.value)
        disk.fail = lambda operation, path: 0
        look(store)
        assert store.initiatives.find_all() == [before]


def test_a_ledger_of_another_shape_is_refused_and_left_alone(file: Path) -> None:
    Store.open(file).close()
    db = apsw.Connection(str(file))
    db.execute("ALTER TABLE schema_migrations RENAME COLUMN text_sum TO length")
    db.close()
    before = file.read_bytes()
    with pytest.raises(CorruptDatabaseError, match="text_sum"):
        Store.open(file)
    assert file.read_bytes() == before


def test_rows_that_come_one_by_one_are_refused_too_once_the_transaction_is_lost(
    store: Store,
) -> None:
    def go_on_regardless() -> None:
        with store.transaction():
            engine_of(store)._writer.abort_error = StorageError("the disk failed")
            engine_of(store)._writer.run_many(log_chunks._INSERT_ONE_OF_MANY, [])

    with pytest.raises(StorageError, match="the whole transaction was rolled back"):
        go_on_regardless()
    assert store.log_chunks.insert_chunks([("agent", "name", 1, "{}")]) == 1


@pytest.mark.parametrize(
    ("added", "lacking"),
    [
        ("CREATE INDEX mine ON tasks (name COLLATE ours)", "no such collation sequence: ours"),
        ("CREATE INDEX mine ON tasks (ours(name))", "unknown function: ours()"),
        (
            "CREATE TRIGGER mine AFTER INSERT ON tasks BEGIN SELECT ours(new.name); END",
            "no such function: ours",
        ),
    ],
)
def test_what_somebody_added_and_this_process_cannot_run_is_no_damage(
    store: Store, file: Path, added: str, lacking: str
) -> None:
    other = apsw.Connection(str(file))
    other.create_collation("ours", lambda one, another: (one > another) - (one < another))
    other.create_scalar_function("ours", lambda *texts: texts[0], 1, deterministic=True)
    other.execute(added)
    other.close()
    with pytest.raises(StorageError) as caught:
        store.tasks.create(name="t")
    assert str(caught.value) == (
        f"tasks: {lacking}; an index or a trigger that somebody added needs what this process does"
        f" not have: `cwstore status {file}` lists what was added; drop it"
    )
    assert store.tasks.find_all() == []
