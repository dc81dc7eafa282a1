"""What log_chunks.prune deletes, and what it never does."""

from pathlib import Path
from typing import Any

import pytest

from cwstore.entities import log_retention as _log_prune
from cwstore.entities.log_chunks import LogChunk, PruneReport
from cwstore.errors import CwstoreError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of, rows_of_each_commit, run_raw
from tests.kits.entities import MICROSECOND, SetClock, assert_refused_calls, moment, undone

NOTHING = PruneReport(sessions=0, chunks=0, bytes=0)


def log(store: Store, *written: tuple[str, int, int]) -> None:
    """One chunk of so many bytes for each (agent, session, bytes)."""
    store.log_chunks.insert_chunks(
        (agent_id, "n", session_number, "x" * size) for agent_id, session_number, size in written
    )


def agent(store: Store, key: str) -> None:
    store.agents.create(name=key, worktree_id="w", id=key)


def sessions(store: Store, *agents: str) -> list[tuple[str, int, int]]:
    """Agent, session and bytes of each chunk of these agents that is there."""
    return [
        (chunk.agent_id, chunk.session_number, len(chunk.content))
        for key in agents
        for chunk in store.log_chunks.find_by_agent_id(key)
    ]


def test_a_prune_without_a_limit_or_with_a_bad_one_is_refused(store: Store, file: Path) -> None:
    log(store, ("gone", 1, 1))
    prune: Any = store.log_chunks.prune
    assert_refused_calls(
        file,
        ("before", prune, ()),
        ("before", lambda: prune(before=moment(0).replace(tzinfo=None)), ()),
        ("before", lambda: prune(before=5), ()),
        ("keep_sessions", lambda: prune(keep_sessions=-1), ()),
        ("keep_sessions", lambda: prune(keep_sessions=True), ()),
        ("max_bytes", lambda: prune(max_bytes=-1), ()),
        ("max_bytes", lambda: prune(max_bytes=1.5), ()),
    )


def test_an_empty_log_has_nothing_to_prune(store: Store) -> None:
    assert store.log_chunks.prune(before=moment(0), keep_sessions=0, max_bytes=0) == NOTHING


def test_a_session_goes_if_its_newest_chunk_is_older(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        agent(store, "a")
        for second, key, number in ((1, "a", 1), (2, "a", 2), (3, "a", 1), (4, "gone", 1)):
            clock.now = moment(second)
            log(store, (key, number, 10))
        clock.now = moment(5)
        log(store, ("a", 3, 10))
        assert store.log_chunks.prune(before=moment(2)) == NOTHING
        assert store.log_chunks.prune(before=moment(2) + MICROSECOND) == PruneReport(1, 1, 10)
        assert sessions(store, "a", "gone") == [("a", 1, 10)] * 2 + [("a", 3, 10), ("gone", 1, 10)]
        assert store.log_chunks.prune(before=moment(3) + MICROSECOND) == PruneReport(1, 2, 20)
        assert store.log_chunks.prune(before=moment(100)) == PruneReport(1, 1, 10)
        assert sessions(store, "a", "gone") == [("a", 3, 10)]


def test_each_agent_keeps_its_newest_sessions(store: Store) -> None:
    agent(store, "a")
    log(store, *[(key, number, 1) for number in (3, 1, 2, 9) for key in ("a", "b")])
    log(store, ("c", 5, 1))
    assert store.log_chunks.prune(keep_sessions=4) == NOTHING
    assert store.log_chunks.prune(keep_sessions=2) == PruneReport(4, 4, 4)
    assert sessions(store, "a", "b", "c") == [
        ("a", 3, 1), ("a", 9, 1), ("b", 3, 1), ("b", 9, 1), ("c", 5, 1),
    ]  # fmt: skip
    assert store.log_chunks.prune(keep_sessions=0) == PruneReport(4, 4, 4)
    assert sessions(store, "a", "b", "c") == [("a", 9, 1)]


@pytest.mark.parametrize(
    ("max_bytes", "left"),
    [
        (100, ["a1", "gone1", "a2", "gone2", "a3"]),
        (99, ["gone1", "a2", "gone2", "a3"]),
        (90, ["gone1", "a2", "gone2", "a3"]),
        (89, ["a2", "gone2", "a3"]),
        (70, ["a2", "gone2", "a3"]),
        (69, ["gone2", "a3"]),
        (45, ["gone2", "a3"]),
        (44, ["a3"]),
        (15, ["a3"]),
        (14, ["a3"]),
        (0, ["a3"]),
    ],
)
def test_the_sessions_written_to_least_recently_go_until_the_rest_fits(
    store: Store, max_bytes: int, left: list[str]
) -> None:
    agent(store, "a")
    # By the newest chunk: a1 (10), gone1 (20), a2 (25), gone2 (30), a3 (15).
    log(store, ("a", 2, 5), ("a", 1, 10), ("gone", 1, 20), ("a", 2, 20), ("gone", 2, 30))
    log(store, ("a", 3, 15))
    sizes = {"a1": 10, "gone1": 20, "a2": 25, "gone2": 30, "a3": 15}
    gone = [name for name in sizes if name not in left]
    report = store.log_chunks.prune(max_bytes=max_bytes)
    assert report == PruneReport(
        sessions=len(gone),
        chunks=len(gone) + ("a2" in gone),
        bytes=sum(sizes[name] for name in gone),
    )
    there = {f"{key}{number}" for key, number, _ in sessions(store, "a", "gone")}
    assert there == set(left)


def test_what_must_stay_counts_though_it_was_written_to_least_recently(store: Store) -> None:
    agent(store, "a")
    log(store, ("a", 1, 50), ("gone", 1, 20), ("gone", 2, 20))
    assert store.log_chunks.prune(max_bytes=70) == PruneReport(1, 1, 20)
    assert sessions(store, "a", "gone") == [("a", 1, 50), ("gone", 2, 20)]


def test_bytes_are_those_of_utf_8(store: Store) -> None:
    store.log_chunks.insert_chunks([("gone", "n", 1, "\N{SNOWMAN}"), ("gone", "n", 2, "é")])
    assert store.log_chunks.prune(max_bytes=5) == NOTHING
    assert store.log_chunks.prune(max_bytes=4) == PruneReport(1, 1, 3)


def test_a_session_goes_if_one_of_several_limits_says_so(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        log(store, ("old", 1, 1))
        clock.now = moment(10)
        log(store, ("many", 1, 1), ("big", 1, 7), ("many", 2, 1))
        report = store.log_chunks.prune(before=moment(5), keep_sessions=1, max_bytes=7)
        assert report == PruneReport(3, 3, 9)
        assert sessions(store, "old", "many", "big") == [("many", 2, 1)]


def test_the_size_is_that_of_what_the_other_limits_leave(store: Store) -> None:
    log(store, ("a", 1, 5), ("b", 1, 5), ("b", 2, 5))
    assert store.log_chunks.prune(keep_sessions=1, max_bytes=10) == PruneReport(1, 1, 5)
    assert sessions(store, "a", "b") == [("a", 1, 5), ("b", 2, 5)]


@pytest.mark.only_sqlite("looks inside of it")
def test_a_long_session_goes_from_its_oldest_chunk_on_a_bounded_number_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_log_prune, "monotonic", lambda: 0.0)
    log(store, *[("gone", 1, 2)] * 2_501, ("other", 1, 1))
    rows = rows_of_each_commit(store)
    report = store.log_chunks.prune(max_bytes=1)
    assert report == PruneReport(sessions=1, chunks=2_501, bytes=5_002)
    assert [count for count in rows if count] == [1_000, 1_000, 501]
    assert sessions(store, "gone", "other") == [("other", 1, 1)]


@pytest.mark.only_sqlite("looks inside of it")
def test_a_prune_that_is_broken_off_goes_on_when_it_is_begun_again(
    monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        log(store, *[("gone", 1, 1)] * 300)
        monkeypatch.setattr(_log_prune, "SECONDS_AT_A_TIME", 0)  # 100 chunks in a transaction
        rows = rows_of_each_commit(store)
        connection: Any = engine_of(store)._writer.connection
        connection.set_commit_hook(lambda: len(rows) == 1 or bool(rows.append(1)))
        with pytest.raises(CwstoreError):
            store.log_chunks.prune(before=moment(9))
        connection.set_commit_hook(None)
        assert [chunk.seq for chunk in store.log_chunks.find_by_agent_id("gone")] == list(
            range(101, 301)
        )
        assert store.log_chunks.prune(before=moment(9)) == PruneReport(1, 200, 200)


def test_a_prune_that_is_broken_off_has_begun_with_what_was_least_recently_written_to(
    monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    delete = _log_prune._delete_some
    begun: list[str] = []

    def break_off(db: Any, session: Any) -> Any:
        begun.append(session.agent_id)
        if len(set(begun)) == 3:
            raise KeyboardInterrupt
        return delete(db, session)

    with open_store() as store:
        log(store, *[(agent, 1, 1) for agent in ("a", "z", "m", "b")])
        monkeypatch.setattr(_log_prune, "_delete_some", break_off)
        with pytest.raises(KeyboardInterrupt):
            store.log_chunks.prune(keep_sessions=0)
        assert sessions(store, "a", "z", "m", "b") == [("m", 1, 1), ("b", 1, 1)]


@pytest.mark.only_sqlite("looks inside of it")
def test_all_chunks_of_an_agent_go_a_bounded_number_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_log_prune, "monotonic", lambda: 0.0)
    log(store, *[("gone", number, 2) for number in (1, 2) for _ in range(1_150)], ("other", 1, 1))
    rows = rows_of_each_commit(store)
    assert store.log_chunks.delete_by_agent_id("gone") == 2_300
    assert [count for count in rows if count] == [1_000, 1_000, 300]
    monkeypatch.undo()
    log(store, *[("gone", 1, 1)] * 250)
    monkeypatch.setattr(_log_prune, "SECONDS_AT_A_TIME", 0)
    rows.clear()
    assert store.log_chunks.delete_by_agent_id("gone") == 250
    assert [count for count in rows if count] == [100, 100, 50]
    assert sessions(store, "gone", "other") == [("other", 1, 1)]


@pytest.mark.parametrize(
    ("status", "left"),
    [("idle", 1), ("running", 1), ("waiting_for_input", 1), ("stopped", 0), ("crashed", 0)],
)
def test_the_newest_session_stays_only_while_its_agent_may_still_write(
    store: Store, status: Any, left: int
) -> None:
    agent(store, "a")
    store.agents.update("a", status=status)
    log(store, ("a", 1, 1), ("a", 2, 1))
    assert store.log_chunks.prune(keep_sessions=0) == PruneReport(2 - left, 2 - left, 2 - left)
    assert sessions(store, "a") == [("a", 2, 1)] * left


def test_a_session_number_counts_though_its_chunks_are_gone_while_the_agent_exists(
    store: Store, file: Path
) -> None:
    agent(store, "a")
    store.agents.update("a", status="stopped")
    log(store, ("a", 1, 1), ("a", 3, 1), ("a", 2, 1), ("gone", 5, 1))
    count = store.log_chunks.get_session_count
    assert (count("a"), count("gone"), count("nobody")) == (3, 5, 0)
    store.log_chunks.prune(keep_sessions=0)
    assert (count("a"), count("gone")) == (3, 0)
    log(store, ("a", 4, 1))
    assert count("a") == 4
    run_raw(file, "DELETE FROM agent_log_chunks")  # whoever deletes
    assert count("a") == 4
    log(store, ("a", 2, 1))
    assert (store.log_chunks.delete_by_agent_id("a"), count("a")) == (1, 4)
    store.agents.delete("a")
    agent(store, "a")
    assert count("a") == 0


@pytest.mark.only_sqlite("looks inside of it")
def test_an_append_writes_nothing_but_the_chunk(store: Store) -> None:
    agent(store, "a")
    log(store, ("a", 1, 1))
    store.log_chunks.delete_by_agent_id("a")
    rows = rows_of_each_commit(store)
    for number in (1, 2, 2):
        log(store, ("a", number, 1))
    assert rows == [1, 1, 1]


def test_a_session_that_is_written_to_meanwhile_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(store, ("a", 1, 1), ("b", 1, 1), ("c", 1, 1), ("c", 2, 1))
    judge = _log_prune._judge

    def then_others_write(*arguments: Any) -> object:
        judged = judge(*arguments)
        log(store, ("a", 1, 1))
        agent(store, "b")
        store.log_chunks.delete_by_agent_id("c")
        return judged

    monkeypatch.setattr(_log_prune, "_judge", then_others_write)
    assert store.log_chunks.prune(keep_sessions=0) == NOTHING
    assert sessions(store, "a", "b", "c") == [("a", 1, 1), ("a", 1, 1), ("b", 1, 1)]


def test_in_a_transaction_of_the_caller_a_prune_can_be_undone(store: Store) -> None:
    log(store, ("gone", 1, 1))
    chunks: list[LogChunk] = store.log_chunks.find_by_agent_id("gone")
    with undone(store):
        assert store.log_chunks.prune(keep_sessions=0) == PruneReport(1, 1, 1)
        assert store.log_chunks.find_by_agent_id("gone") == []
    assert store.log_chunks.find_by_agent_id("gone") == chunks
