"""Stamps rise in the order of commits, over all stores of a schema, whatever their clocks do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cwstore.core.checks import EPOCH
from cwstore.core.ids import DIGITS, make_rising_id
from tests.kits.database import OpenStore, store_of_its_own_time
from tests.kits.entities import MICROSECOND, SetClock, moment


def test_stores_whose_clocks_differ_hand_the_last_stamp_on(open_store: OpenStore) -> None:
    ahead, behind = SetClock(moment(1_000)), SetClock(moment(0))
    with open_store(clock=ahead) as one, open_store(clock=behind) as two:
        made = [
            store.initiatives.create(name="x").created_at for store in (one, two, two, one, two)
        ]
        with two.transaction():
            made += [two.initiatives.create(name="y").created_at for _ in range(2)]
        made.append(one.initiatives.create(name="z").created_at)
    with open_store(clock=behind) as again:
        made.append(again.initiatives.create(name="later").created_at)
    assert made == [moment(1_000) + number * MICROSECOND for number in range(len(made))]


def test_a_transaction_that_gave_out_no_stamp_hands_on_none(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(5))) as store:
        with store.transaction():
            assert store.initiatives.find_all() == []
        assert store.initiatives.create(name="first").created_at == moment(5)
        with store.transaction():
            assert len(store.initiatives.find_all()) == 1
        second = store.initiatives.create(name="second")
    assert second.created_at - moment(5) == timedelta(microseconds=1)


@pytest.mark.parametrize("year", [1, 1969, 2026, 4252, 4254, 9999])
def test_an_id_begins_with_the_stamp_that_the_server_gives(file: Path, year: int) -> None:
    clock = SetClock(datetime(year, 5, 6, 7, 8, 9, 123456, tzinfo=UTC))
    with store_of_its_own_time(file, clock) as store:
        made = [
            store.log_chunks.insert_chunk("a", agent_name="a", session_number=1, content="x")
            for _ in range(5)
        ]
    for chunk in made:
        expected = make_rising_id((chunk.created_at - EPOCH) // MICROSECOND)
        assert len(chunk.id) == len(expected)
        assert chunk.id[:9] == expected[:9]
        # Of the tenth digit two bits are of the stamp.
        assert DIGITS.index(chunk.id[9]) // 16 == DIGITS.index(expected[9]) // 16
    assert len({chunk.id[10:] for chunk in made}) == 5
