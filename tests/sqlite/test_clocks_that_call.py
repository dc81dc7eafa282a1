"""The clock of a store is the caller's code, and is called in the midst of a read."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cwstore.errors import ConflictError
from cwstore.store import Store
from tests.kits.engine import DeliberateError


class Clock:
    """Does something each time it is asked, while it has something to do."""

    def __init__(self) -> None:
        self.act: Callable[[], object] | None = None

    def __call__(self) -> datetime:
        if self.act is not None:
            act, self.act = self.act, None
            act()
        return datetime(2026, 1, 1, tzinfo=UTC)


def test_a_clock_that_writes_while_a_read_asks_it_is_refused(file: Path) -> None:
    clock = Clock()
    with Store.open(file, clock=clock) as store:
        clock.act = lambda: store.initiatives.create(name="x")
        with pytest.raises(ConflictError, match="in the midst of another call"):
            store.accounts.find_next_available()
        assert store.initiatives.find_all() == []
        store.initiatives.create(name="y")


def test_a_clock_that_asks_a_feed_while_a_read_asks_it_waits_for_nothing(file: Path) -> None:
    clock = Clock()
    heard: list[object] = []
    with Store.open(file, clock=clock) as store, store.changes() as feed:
        made = store.initiatives.create(name="x")
        assert [change.id for change in feed.get(1)] == [made.id]
        clock.act = lambda: heard.append(feed.get(0))
        assert store.accounts.find_next_available() is None
        assert heard == [[]]


def test_a_clock_that_fails_leaves_the_store_usable(file: Path) -> None:
    clock = Clock()

    def fail() -> None:
        raise DeliberateError

    with Store.open(file, clock=clock) as store:
        store.initiatives.find_all()  # by a connection of its own, which reads from then on
        clock.act = fail
        with pytest.raises(DeliberateError):
            store.accounts.find_next_available()
        store.initiatives.create(name="y")
        assert [one.name for one in store.initiatives.find_all()] == ["y"]
