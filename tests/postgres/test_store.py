"""What a store offers beside repositories, on PostgreSQL, and how its transactions end."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cwstore._postgres import connection
from cwstore.core.statement import values_of
from cwstore.entities.accounts import Account
from cwstore.entities.claims import A_LEASE_HAS_PASSED
from cwstore.entities.initiatives import Initiative
from cwstore.entities.phases import Phase
from cwstore.errors import (
    BusyError,
    ConflictError,
    CorruptDatabaseError,
    InvalidValueError,
    StorageError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, open_at
from tests.kits.engine import DeliberateError, Task, in_child, names, reached, undone
from tests.kits.lists import fill_lists

Connection = psycopg.Connection[tuple[Any, ...]]
_BROKEN = values_of(str, Initiative)("INSERT INTO no_such_table (id) VALUES (:id)")
_NAMELESS = values_of(str, Initiative)("UPDATE initiatives SET name = '' WHERE id = :id")
_RENAME = values_of(str, Initiative)("UPDATE initiatives SET name = 'y' WHERE id = :id")
_REST_IS_OVER = values_of(str, Account)("""
    UPDATE accounts SET exhausted_until = NULL WHERE exhausted_until < :clock
""")
_PHASE = values_of(str, Phase)("""
    INSERT INTO phases (id, initiative_id, name, content, created_at, updated_at)
    VALUES (:id, 'i', 'x', :content, :now, :now)
""")


def test_an_initiative_moves_between_the_engines(
    store: Store, file: Path, address: str, tmp_path: Path
) -> None:
    fill_lists(file)
    lines = list(store.export_initiative("i0", logs=True))
    with open_at(tmp_path / "there.db") as there, open_at(f"{address}&schema=third") as third:
        there.import_initiative(lines)
        back = list(there.export_initiative("i0", logs=True))
        third.import_initiative(back)
        again = list(third.export_initiative("i0", logs=True))
    assert len(lines) > 200
    assert sorted(lines) == sorted(back) == sorted(again)


def test_a_snapshot_sees_one_moment_and_blocks_nobody(store: Store) -> None:
    store.initiatives.create(name="there", id="i")
    lines = store.export_initiative("i")
    first = next(lines)
    store.initiatives.update("i", name="later")
    assert '"there"' in "".join([first, *lines])
    with store.transaction(), pytest.raises(ConflictError, match="leave it first"):
        list(store.export_initiative("i"))


def test_a_table_that_is_gone_is_told_by_a_snapshot(store: Store, superuser: Connection) -> None:
    store.initiatives.create(name="there", id="i")
    superuser.execute("DROP TABLE review_comments")
    with pytest.raises(CorruptDatabaseError, match="cwstore check"):
        list(store.export_initiative("i"))
    superuser.execute("DROP TABLE pages CASCADE")
    with pytest.raises(CorruptDatabaseError), store._db.snapshot("test") as snapshot:
        from cwstore._transfer.selects import SELECTS

        snapshot.fetch_all(SELECTS["pages"], initiative_id="i")


def test_a_snapshot_whose_connection_is_cut_says_so(store: Store, superuser: Connection) -> None:
    store.initiatives.create(name="there", id="i")
    lines = store.export_initiative("i")
    next(lines)
    superuser.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(StorageError):
        list(lines)
    assert names(store) == ["there"]


def test_a_store_tells_its_health_and_its_size(store: Store, superuser: Connection) -> None:
    store.initiatives.create(name="one")
    report = store.health()
    assert (report.ok, report.disk_free_bytes, report.wal_bytes) == (True, None, None)
    found = {table.name: table for table in store.stats().tables}
    assert found["initiatives"].rows == 1
    assert store.stats().file_bytes == sum(t.bytes + t.index_bytes for t in found.values())
    with pytest.raises(StorageError, match="VACUUM FULL"):
        store.compact()
    store._db.vacuum()
    store.close()
    assert "closed" in store.health().problems[0]


def test_a_probe_tells_of_a_server_that_ends_the_connection(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader: Any = store._db
    with reader.lease_reader() as connection:
        monkeypatch.setattr(type(connection), "execute", _raise(psycopg.OperationalError("cut")))
    assert store.health().problems == (
        (
            f"{store.path}: the connection was lost; see whether the server is up and reachable,"
            " then try again (08000)"
        ),
    )


def test_a_probe_does_not_wait_for_ever_for_a_server_that_hangs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.health().ok
    with monkeypatch.context() as hanging:
        hanging.setattr("cwstore._postgres.reports._PROBE", "SELECT pg_sleep(600)")
        hanging.setattr("cwstore._postgres.reports._PATIENCE", 0.1)
        assert store.health().problems == (
            (
                f"{store.path}: the server has not answered for 0.1 s; see whether it hangs, and"
                " whether it can be reached"
            ),
        )
    assert store.health().ok


def _raise(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_check_that_the_server_breaks_off_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._postgres.reports.drift", _raise(psycopg.errors.lookup("53100")()))
    with pytest.raises(StorageError, match="out of disk"):
        store.check()


def test_the_number_of_the_data_changes_with_each_commit(
    store: Store, open_store: OpenStore
) -> None:
    before = store.data_version()
    assert store.data_version() == before
    with open_store() as other:
        other.initiatives.create(name="x")
    assert store.data_version() != before


def test_many_rows_are_stored_as_one_or_not_at_all(store: Store, file: Path) -> None:
    assert store.log_chunks.insert_chunks(("a", "n", 1, "x") for _ in range(450)) == 450
    before = contents(file)
    with pytest.raises(CorruptDatabaseError), store.transaction():
        store._db.insert_many(_BROKEN, [{"id": str(number)} for number in range(3)])
    assert contents(file) == before


def test_a_row_of_many_that_is_refused_is_told_by_its_place(store: Store, file: Path) -> None:
    rows = [{"id": f"p{number}", "content": "1" if number != 230 else "["} for number in range(260)]
    store.initiatives.create(name="i", id="i")
    with pytest.raises(InvalidValueError) as caught:
        store._db.insert_many(_PHASE, rows)
    assert (caught.value.field, caught.value.index) == ("content", 230)
    assert store.phases.find_all() == []
    store._db.insert_many(_PHASE, rows[:200])
    assert len(store.phases.find_all()) == 200


def test_who_waits_too_long_for_another_thread_is_told_so(open_store: OpenStore) -> None:
    with open_store(busy_timeout=0.02) as store:
        inside, refused = threading.Event(), threading.Event()

        def hold() -> None:
            with store.transaction():
                inside.set()
                reached(refused)

        holding = Task(hold)
        reached(inside)
        with pytest.raises(BusyError, match="another thread of this process") as caught:
            store.initiatives.create(name="mine")
        assert "of this process" in str(caught.value.holder)
        refused.set()
        holding.finish()
        store.initiatives.create(name="after")


def test_ctrl_c_in_a_statement_undoes_the_transaction_and_the_store_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("alone", "within", "begin", "savepoint", "rollback"):
        with monkeypatch.context() as patch:
            interrupt = _raise(KeyboardInterrupt())
            with pytest.raises((KeyboardInterrupt, StorageError)):
                if place == "alone":
                    patch.setattr("cwstore._postgres.writer.run_batch", interrupt)
                    store.initiatives.create(name="lost")
                elif place == "begin":
                    patch.setattr("cwstore._postgres.writer.run_batch", interrupt)
                    store.transaction().__enter__()
                else:
                    with store.transaction():
                        store.initiatives.create(name="lost")
                        connection: Any = type(store._db._writer.connection)  # type: ignore[attr-defined]
                        if place == "savepoint":
                            patch.setattr(connection, "execute", interrupt)
                            store.transaction().__enter__()
                        elif place == "rollback":
                            patch.setattr(connection, "rollback", interrupt)
                            raise DeliberateError
                        patch.setattr("cwstore._postgres.writer.run_batch", interrupt)
                        with pytest.raises(KeyboardInterrupt):
                            store.initiatives.create(name="lost")
        store.initiatives.create(name=place)
    assert names(store) == ["alone", "within", "begin", "savepoint", "rollback"]


def test_a_rollback_that_fails_gives_the_connection_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection: Any = type(store._db._writer.connection)  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(connection, "rollback", _raise(psycopg.OperationalError("cut")))
        with undone(store):
            store.initiatives.create(name="lost")
    assert names(store) == []


def test_a_surrogate_is_named_and_nothing_is_stored(store: Store) -> None:
    for run in (store.transaction, _nothing):
        with run(), pytest.raises(InvalidValueError, match="surrogate") as caught:
            store.initiatives.create(name="x\ud800")
        assert caught.value.field == "name"
    with pytest.raises(InvalidValueError, match="surrogate"):
        store.initiatives.update("\ud800", name="x")
    with pytest.raises(InvalidValueError, match="surrogate"):
        store.initiatives.find_by_id("\ud800")
    assert names(store) == []


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def test_every_kind_of_statement_runs_as_a_transaction_of_its_own(store: Store) -> None:
    account = store.accounts.create(email="x", credentials='{"a": 1}')
    assert account.credentials is not None
    assert account.credentials.reveal() == '{"a": 1}'
    assert store.messages.delete("nobody's") is False
    assert store.proposals.update_many_by_agent_id("nobody", status="accepted") == []
    assert store._db.execute(_REST_IS_OVER) == 0
    store.initiatives.create(name="x", id="i")
    with pytest.raises(InvalidValueError, match="initiatives_name_ck") as caught:
        store._db.execute(_NAMELESS, id="i")
    assert caught.value.field == "name"
    assert store._db.execute(_RENAME, id="i") == 1
    assert store._db.execute(_RENAME, id="nobody") == 0
    with store._db.snapshot("test") as snapshot:
        assert not snapshot.fetch_one(A_LEASE_HAS_PASSED)
    store.agents.create(name="fox", worktree_id="w")
    with pytest.raises(ConflictError, match=r"agents\.name") as conflict:
        store.agents.create(name="fox", worktree_id="w")
    assert conflict.value.id is None


def test_ctrl_c_at_the_end_of_a_write_frees_the_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack: Any = store._db._transactions  # type: ignore[attr-defined]
    end, calls = type(stack).end, [0]

    def interrupted(self: Any) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise KeyboardInterrupt
        end(self)

    monkeypatch.setattr(type(stack), "end", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.initiatives.create(name="kept")
    assert names(store) == ["kept"]
    store.initiatives.create(name="after")


def test_a_begin_whose_connection_is_cut_changes_nothing(
    store: Store, superuser: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("cwstore._postgres.writer.is_stale", lambda _: False)
        superuser.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(StorageError):
            store.transaction().__enter__()
    store.initiatives.create(name="after")
    assert names(store) == ["after"]


def test_a_transaction_that_a_forked_child_leaves_is_its_parents(store: Store) -> None:
    transaction = store.transaction()
    transaction.__enter__()
    store.initiatives.create(name="kept")

    def leave() -> str:
        with pytest.raises(StoreClosedError, match="forked"):
            transaction.__exit__(None, None, None)
        return "refused"

    assert in_child(leave)() == "refused"
    transaction.__exit__(None, None, None)
    assert names(store) == ["kept"]


def test_a_transaction_that_a_thread_of_a_pool_has_left_open_is_told_and_not_waited_for(
    open_store: OpenStore,
) -> None:
    with open_store(busy_timeout=3600) as store, ThreadPoolExecutor(1) as pool:
        block = store.transaction()
        pool.submit(block.__enter__).result()
        with pytest.raises(ConflictError, match="a thread of a pool has left a transaction open"):
            store.initiatives.create(name="x")
        pool.submit(block.__exit__, None, None, None).result()


def test_a_thread_for_which_a_task_waits_in_its_transaction_is_told_at_once(
    open_store: OpenStore,
) -> None:
    with open_store(busy_timeout=3600) as store:

        async def run() -> None:
            with store.transaction():
                await asyncio.to_thread(lambda: store.initiatives.create(name="x"))

        with pytest.raises(ConflictError, match="do not await in it"):
            asyncio.run(run())
        assert names(store) == []


def test_a_connection_that_psycopg_has_given_up_is_replaced(store: Store) -> None:
    writer: Any = store._db._writer  # type: ignore[attr-defined]
    writer.connection.close()
    store.initiatives.create(name="x")
    assert names(store) == ["x"]


def test_ctrl_c_as_a_batch_ends_is_told_as_that_and_the_store_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """psycopg raises an error of its own then, since the pipeline cannot end."""

    def interrupted(_: object) -> Iterator[None]:
        raise KeyboardInterrupt
        yield

    with monkeypatch.context() as patched:
        patched.setattr(connection._Pipeline, "_exit_gen", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.initiatives.create(name="perhaps")
    store.initiatives.create(name="kept")
    assert "kept" in [one.name for one in store.initiatives.find_all()]
