"""What logs leave of the file: readers of pages hold nothing, and a prune gives the space back."""

from itertools import islice
from pathlib import Path

import apsw

from cwstore.entities.log_retention import PruneReport
from cwstore.store import Store

LONG_CHUNK = ("gone", "n", 1, "x" * 10_000)


def page_counts(file: Path) -> tuple[int, int]:
    """Pages of the file, and how many of them are free."""
    db = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    counts = db.pragma("page_count"), db.pragma("freelist_count")
    db.close()
    return counts


def test_between_pages_nothing_is_held_and_new_chunks_come_too(store: Store, file: Path) -> None:
    store.log_chunks.insert_chunks([("a", "n", 1, text) for text in "12345"])
    following = store.log_chunks.iter_by_agent_id("a", page=2)
    seen = [chunk.content for chunk in islice(following, 3)]
    store.log_chunks.insert_chunks([("a", "n", 1, "6")])
    db = apsw.Connection(str(file))
    busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()
    assert busy[0] == 0
    assert [*seen, *(chunk.content for chunk in following)] == list("123456")


def test_the_space_is_given_back(store: Store, file: Path) -> None:
    pages, _ = page_counts(file)
    store.log_chunks.insert_chunks([LONG_CHUNK] * 1_000)
    assert page_counts(file)[0] > pages + 2_000
    store.log_chunks.prune(keep_sessions=0)
    # Those that the empty table's indexes keep, and maps of where pages have gone.
    assert page_counts(file)[0] < pages + 10
    assert page_counts(file)[1] == 0


def test_the_file_is_smaller_at_once_while_the_store_is_open(store: Store, file: Path) -> None:
    before = file.stat().st_size
    store.log_chunks.insert_chunks([LONG_CHUNK] * 1_000)
    assert store.log_chunks.prune(keep_sessions=0) == PruneReport(1, 1_000, 10_000_000)
    assert file.stat().st_size < before + 100_000


def test_in_memory_a_prune_ends() -> None:
    with Store.open(":memory:") as store:
        store.log_chunks.insert_chunks([LONG_CHUNK] * 500)
        assert store.log_chunks.prune(keep_sessions=0) == PruneReport(1, 500, 5_000_000)


def test_on_a_file_that_cannot_shrink_a_prune_ends(store: Store, file: Path) -> None:
    store.close()
    db = apsw.Connection(str(file))
    for text in ("journal_mode = DELETE", "auto_vacuum = 0"):
        db.execute(f"PRAGMA {text}").fetchall()
    db.execute("VACUUM")
    assert db.pragma("auto_vacuum") == 0
    db.close()
    with Store.open(file) as again:
        again.log_chunks.insert_chunks([LONG_CHUNK] * 500)
        assert again.log_chunks.prune(keep_sessions=0) == PruneReport(1, 500, 5_000_000)
        assert page_counts(file)[1] > 1_000
