"""Space is given back: a little at a time, the log too, and where it cannot be, that is said."""

import asyncio
import subprocess
import sys
from pathlib import Path
from shlex import split

import apsw
import pytest

from cwstore import AsyncStore
from cwstore.errors import ConflictError, ConflictReason, CwstoreError, StorageError
from cwstore.store import Store
from tests.kits.database import contents, open_raw, rows_of_each_commit


def size(file: Path) -> int:
    log = Path(f"{file}-wal")
    return file.stat().st_size + (log.stat().st_size if log.exists() else 0)


def write_and_delete(store: Store, chunks: int = 400) -> None:
    store.log_chunks.insert_chunks(("a", "n", 1, "x" * 9_000) for _ in range(chunks))
    store.log_chunks.delete_by_agent_id("a")


def test_the_file_and_its_log_become_as_small_as_what_they_hold(store: Store, file: Path) -> None:
    store.compact()
    least = size(file)
    write_and_delete(store)
    before, rows = size(file), contents(file)
    assert before > 3_600_000
    commits = rows_of_each_commit(store)
    given = store.compact()
    assert given == before - size(file)
    assert size(file) <= least + 3 * 4096
    assert Path(f"{file}-wal").stat().st_size == 0
    assert len(commits) > 4  # of 256 pages each
    assert contents(file) == rows
    assert store.compact() == 0
    assert store.check().ok


def test_a_log_that_somebody_reads_from_stays_and_nobody_waits_for_long(
    store: Store, file: Path
) -> None:
    write_and_delete(store)
    reader = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tasks").fetchall()
    assert store.compact() >= 0
    assert Path(f"{file}-wal").stat().st_size > 0
    store.tasks.create(name="still written")
    reader.close()
    assert store.compact() > 0


def test_compact_is_refused_in_a_transaction(store: Store) -> None:
    with store.transaction(), pytest.raises(ConflictError) as caught:
        store.compact()
    assert caught.value.reason is ConflictReason.TRANSACTION


def test_a_file_that_cannot_shrink_gives_the_command_that_mends_it(
    store: Store, file: Path
) -> None:
    store.close()
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA auto_vacuum = NONE; VACUUM").fetchall()
    assert connection.pragma("auto_vacuum") == 0
    connection.close()
    with Store.open(file) as unable:
        assert unable.compact() >= 0  # the log alone: nothing is free
        write_and_delete(unable)
        before = contents(file)
        with pytest.raises(
            StorageError,
            match=rf"^{file} was made without auto_vacuum: \d{{7}} bytes of it are free, new rows"
            " use them, but only a rewrite gives them back; while nobody has the file open, run"
            rf" python -m apsw {file} 'PRAGMA auto_vacuum = INCREMENTAL; VACUUM'$",
        ) as caught:
            unable.compact()
        assert contents(file) == before
    program, *arguments = split(str(caught.value).partition(" run ")[2])
    assert (program, arguments[:3]) == ("python", ["-m", "apsw", str(file)])
    subprocess.run([sys.executable, *arguments], check=True)
    with Store.open(file) as able:
        write_and_delete(able)
        assert able.compact() > 3_600_000
        assert able.check().ok


def test_a_disk_that_fails_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from cwstore._sqlite import compaction

    def fail(*arguments: object) -> None:
        raise apsw.IOError("disk I/O error")

    write_and_delete(store, 5)
    monkeypatch.setattr(compaction, "truncate", fail)
    with pytest.raises(CwstoreError, match="wal_checkpoint"):
        store.compact()


def test_a_database_in_memory_has_no_file_to_shrink() -> None:
    with Store.open(":memory:") as store:
        write_and_delete(store)
        assert store.compact() == 0


def test_it_can_be_awaited_while_others_write(file: Path) -> None:
    async def run() -> int:
        async with await AsyncStore.open(file) as store:
            await store.log_chunks.insert_chunks(("a", "n", 1, "x" * 9_000) for _ in range(400))
            await store.log_chunks.delete_by_agent_id("a")
            given, _ = await asyncio.gather(store.compact(), store.tasks.create(name="meanwhile"))
            return given

    assert asyncio.run(run()) > 1_000_000


def test_what_another_process_has_in_its_log_is_no_loss(store: Store, file: Path) -> None:
    look = open_raw(file)
    write_and_delete(store, 50)
    store.compact()
    assert look.problems() == []
    look.close()
