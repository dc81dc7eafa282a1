"""Ids: which characters, and in which order."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.core.ids import make_id, make_rising_id
from cwstore.store import Store

MICROSECONDS = st.integers(0, 2**56 - 1)


@pytest.mark.parametrize("make", [make_id, lambda: make_rising_id(1_790_000_000_000_000)])
def test_an_id_is_21_url_safe_characters_and_never_the_same(make: Callable[[], str]) -> None:
    ids = [make() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{21}", one) for one in ids)
    assert {letter for one in ids for letter in one[10:]} >= set("-_09AZaz")


def test_ids_that_are_made_later_sort_after_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    stamps = [1_790_000_000_000_000, 1_790_000_000_000_001, 1_800_000_000_000_000]
    nanoseconds = iter([1_000 * stamp for stamp in stamps])
    monkeypatch.setattr("cwstore.core.ids.time_ns", lambda: next(nanoseconds))
    made = [make_id().encode() for _ in stamps]
    assert made == sorted(made)


@given(st.lists(MICROSECONDS, min_size=2, max_size=2, unique=True))
def test_a_rising_id_sorts_by_its_stamp(stamps: list[int]) -> None:
    first, second = (make_rising_id(stamp) for stamp in sorted(stamps))
    assert first.encode() < second.encode()


def test_rising_ids_of_one_stamp_differ() -> None:
    assert len({make_rising_id(1_790_000_000_000_000) for _ in range(20_000)}) == 20_000


def test_the_ids_of_log_chunks_rise_with_their_arrival(store: Store) -> None:
    store.log_chunks.insert_chunk("a", agent_name="a", session_number=1, content="first")
    store.log_chunks.insert_chunks([("a", "a", 1, "many")] * 100)
    store.log_chunks.insert_chunk("b", agent_name="b", session_number=1, content="last")
    chunks = store.log_chunks.find_by_agent_id("a") + store.log_chunks.find_by_agent_id("b")
    ids = [chunk.id for chunk in chunks]
    assert len(ids) == 102
    assert ids == sorted(ids)


def test_a_task_is_claimed_and_a_log_written_whatever_the_clock_says(tmp_path: Path) -> None:
    def far() -> datetime:
        return datetime(9000, 1, 1, tzinfo=UTC)

    with Store.open(tmp_path / "store.db", clock=far) as store:
        task = store.tasks.create(name="in the far future")
        chunk = store.log_chunks.insert_chunk("a", agent_name="a", session_number=1, content="x")
        store.tasks.claim(task.id)
        assert store.tasks.complete(task.id).status == "completed"
        assert store.log_chunks.find_by_agent_id("a") == [chunk]
