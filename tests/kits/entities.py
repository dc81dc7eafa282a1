"""For tests of repositories: moments, a clock that is set by hand, refusals that leave no trace."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cwstore.errors import CwstoreError, InvalidValueError
from cwstore.store import Store
from tests.kits.database import contents, store_of_its_own_time

T = TypeVar("T")

NANOID = re.compile(r"[A-Za-z0-9_-]{21}")
MICROSECOND = timedelta(microseconds=1)


def moment(second: float) -> datetime:
    """That many seconds after the start of 2026."""
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


class SetClock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def at(file: Path, when: datetime, act: Callable[[Store], T]) -> T:
    """Let a store of its own, whose clock shows exactly `when`, do one thing."""
    with store_of_its_own_time(file, SetClock(when)) as store:
        return act(store)


@contextmanager
def refused(
    file: Path, error: type[CwstoreError], field: str | None = None, match: str | None = None
) -> Generator[None, None, None]:
    """Expect exactly this error, about that field, and a file in which nothing changed."""
    before = contents(file)
    with pytest.raises(error, match=match) as caught:
        yield
    assert type(caught.value) is error
    if isinstance(caught.value, InvalidValueError):
        assert caught.value.field == field
    assert contents(file) == before


class UndoError(Exception):
    """Leaves `undone`."""


@contextmanager
def undone(store: Store) -> Generator[None, None, None]:
    """A transaction that is rolled back at its end."""
    try:
        with store.transaction():
            yield
            raise UndoError
    except UndoError:
        pass


def assert_updated(before: Any, after: Any, **changes: object) -> None:
    """`after` is `before` with these changes and an `updated_at` that rose."""
    assert after == replace(before, updated_at=after.updated_at, **changes)
    assert after.updated_at > before.updated_at


def assert_refused_calls(
    file: Path, *calls: tuple[str, Callable[..., object], tuple[Any, ...]]
) -> None:
    """Each call with its arguments is refused, naming that field."""
    for field, call, arguments in calls:
        with refused(file, InvalidValueError, field):
            call(*arguments)
