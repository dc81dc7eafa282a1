"""Another program may have the checkpoints to itself: Litestream, which copies the log away."""

import asyncio
import os
from pathlib import Path
from typing import Any, cast

import pytest

from cwstore.aio.store import AsyncStore
from cwstore.errors import InvalidValueError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of
from tests.kits.engine import Other
from tests.kits.litestream import needs_litestream, replicating

WRITER = """
import sys
from cwstore import Store

file, agent = sys.argv[1:]
with Store.open(file, checkpoints="external") as store:
    for _ in sys.stdin:
        chunk = store.log_chunks.insert_chunk(
            agent, agent_name=agent, session_number=1, content="x" * 1000
        )
        print(chunk.id, flush=True)
"""  # a chunk for each line that it is told


def bytes_of(file: Path) -> tuple[int, int]:
    """Of the file, and of its log."""
    return file.stat().st_size, Path(f"{file}-wal").stat().st_size


def test_a_store_leaves_the_log_alone_if_checkpoints_are_another_program_s(
    store: Store, file: Path, open_store: OpenStore
) -> None:
    store.close()
    begin = file.stat().st_size
    with open_store(checkpoints="external") as external:
        for _ in range(5):  # of 4 MB: a store of its own would have moved some, and begun anew
            external.log_chunks.insert_chunk(
                "A", agent_name="fox", session_number=1, content="x" * 4_000_000
            )
        external.log_chunks.find_by_agent_id("A")
        assert external.log_chunks.delete_by_agent_id("A") == 5
        assert external.compact() == 0
        external.tasks.create(id="T", name="kept")
        inside = bytes_of(file)
        assert inside[0] == begin
        assert inside[1] > 20_000_000
    assert bytes_of(file) == inside
    with open_store(checkpoints="external") as again:
        assert again.tasks.get("T").name == "kept"
    assert bytes_of(file) == inside
    with open_store() as own:
        assert own.tasks.get("T").name == "kept"
    assert not Path(f"{file}-wal").exists()


def test_a_connection_that_is_opened_anew_leaves_the_log_alone_too(
    open_store: OpenStore, file: Path
) -> None:
    with open_store(checkpoints="external") as external:
        external.tasks.create(id="T", name="kept")
        writer = engine_of(external)._writer
        writer.drop()
        external.tasks.create(id="U", name="kept")
        assert writer.connection.pragma("wal_autocheckpoint") == 0
    assert bytes_of(file)[1] > 0


def test_a_migration_at_opening_leaves_the_log_alone_too(file: Path) -> None:
    Store.open(file, checkpoints="external").close()
    assert bytes_of(file)[1] > 100_000


def test_an_awaited_store_leaves_the_log_alone_too(file: Path) -> None:
    async def play() -> None:
        async with await AsyncStore.open(file, checkpoints="external") as store:
            await store.tasks.create(name="T")

    asyncio.run(play())
    assert bytes_of(file)[1] > 0


def test_only_own_and_external_are_taken(file: Path) -> None:
    with pytest.raises(InvalidValueError) as refused:
        Store.open(file, checkpoints=cast(Any, "litestream"))
    assert str(refused.value) == "checkpoints: 'litestream' is not one of: own, external"
    assert not file.exists()


def test_health_tells_of_a_program_that_does_not_do_its_checkpoints(
    open_store: OpenStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cwstore._sqlite.health._LONGEST_LOG", -1)
    with open_store(checkpoints="external") as external:
        lines = external.export_initiative(external.initiatives.create(id="I", name="I").id)
        next(lines)  # it reads from the log
        size = bytes_of(file)[1]
        (told,) = external.health().problems
        name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
        assert told == (
            f"{file}: its write-ahead log has {size:,} bytes and this store leaves checkpoints to"
            f" another program: see whether that runs; who reads: process {os.getpid()} ({name})"
        )
        cast(Any, lines).close()


def fill(writers: list[Other], times: int) -> set[str]:
    """Let all of them write at once; the ids of what they say is kept."""
    kept: set[str] = set()
    for _ in range(times):
        for writer in writers:
            writer.tell()
        kept |= {writer.hear() for writer in writers}
    return kept


@needs_litestream
@pytest.mark.parametrize(
    ("processes", "times"), [(1, 40), pytest.param(4, 1_500, marks=pytest.mark.slow)]
)
def test_litestream_brings_back_all_that_was_kept_until_its_last_sync(
    store: Store, file: Path, tmp_path: Path, processes: int, times: int
) -> None:
    store.close()
    back = tmp_path / "back.db"
    with replicating(file, tmp_path) as litestream:
        writers = [Other(WRITER, file, f"agent {number}") for number in range(processes)]
        copied = fill(writers, times)
        litestream.sync()
        later = fill(writers, 5)
    for writer in writers:
        writer.end()
    litestream.restore(back)
    with Store.open(back) as restored:
        assert restored.check().integrity == ()
        assert restored.check().drift == ()
        found = {
            chunk.id
            for number in range(processes)
            for chunk in restored.log_chunks.find_by_agent_id(f"agent {number}")
        }
        assert copied <= found <= copied | later
        restored.tasks.create(name="it can be written to")
