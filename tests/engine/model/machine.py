"""Two stores on one file beside the model: whose turn it is, time, transactions, reopening."""

import tempfile
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from cwstore.errors import BusyError, ConflictError, CwstoreError, InvalidValueError, NotFoundError
from cwstore.store import Store
from cwstore.testing.strategies import times
from tests.engine.model.data import (
    DEFAULTS,
    FIRST,
    FROM,
    MICROSECOND,
    TABLES,
    Errors,
    Key,
    Model,
    raw,
)
from tests.engine.model.plan import planned
from tests.kits.database import copy_database, open_at, open_raw, remove_database
from tests.kits.engine import DeliberateError

#: A row, by position; now and then none that exists, or NULL where that is allowed.
REF = st.integers(0, 31)
OPTIONAL_REF = st.integers(0, 34)
UNKNOWN = 31
#: What `if_updated_at` is: left out, the row's own, or beside it by some microseconds.
LOCK = st.sampled_from([None, 0, 0, 0, -1, 1])
#: Clocks stay before the last days of the year 9999, where a stamp could not rise.
LATEST = datetime(9999, 12, 29, tzinfo=UTC)
REFUSED: Any = object()
Steps = list[tuple[str, dict[str, Any]]]
#: Every step with its arguments.
STEPS: list[st.SearchStrategy[tuple[str, dict[str, Any]]]] = []
SOME_STEPS = st.deferred(lambda: st.lists(st.one_of(STEPS), min_size=1, max_size=6))
#: By name, for `some_of`.
_BY_NAME: dict[str, st.SearchStrategy[tuple[str, dict[str, Any]]]] = {}


def some_of(*names: str) -> st.SearchStrategy[Steps]:
    """Several of these steps, so that what needs a number of them comes up often."""

    def steps() -> st.SearchStrategy[Steps]:
        chosen = [_BY_NAME[name] for name in names]
        return st.lists(st.one_of(chosen), min_size=3, max_size=10)

    return st.deferred(steps)


class Ceiling:
    """The greatest stamp of a file that any of its stores may have given out."""

    def __init__(self, stamp: datetime) -> None:
        self.stamp = stamp


class Dial:
    """A clock that is set by hand, and what the stamps of its store can be."""

    def __init__(self, ceiling: Ceiling) -> None:
        self.now = datetime(2026, 1, 2, tzinfo=UTC)
        self._ceiling = ceiling
        self.forget()

    def forget(self) -> None:
        """A new store knows of no stamp until it writes."""
        self.floor = FIRST  # the greatest stamp that this store is known to have seen

    @property
    def ceiling(self) -> datetime:
        """The greatest stamp that any store of the file may have given out."""
        return self._ceiling.stamp

    def __call__(self) -> datetime:
        self._ceiling.stamp = max(self.now, self.ceiling + MICROSECOND)
        return self.now


def step(**values: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule that one of the two stores carries out."""
    arguments: Any = {"by": st.integers(0, 1), **values}

    def decorate(function: Callable[..., None]) -> Any:
        def run(self: "Machine", by: int, **given: Any) -> None:
            self.by = by
            function(self, **given)

        run.__name__ = function.__name__
        made = st.tuples(st.just(run.__name__), st.fixed_dictionaries(arguments))
        _BY_NAME[run.__name__] = made
        STEPS.append(made)
        return rule(**arguments)(run)

    return decorate


class Machine(RuleBasedStateMachine):
    """What the rules are made of."""

    migrated: Path  #: a database of the engine, to copy

    @initialize()
    def start(self) -> None:
        template, model = planned(self.migrated)
        self.place = tempfile.TemporaryDirectory()
        self.file = Path(self.place.name) / "store.db"
        copy_database(template, self.file)
        self.model = model.copy()
        ceiling = Ceiling(self.model.floor)
        self.dials = [Dial(ceiling), Dial(ceiling)]
        self.stores = [self.open(0), self.open(1)]
        self.by = 0
        #: Open transactions of the store `holder`, each with the model as it was before.
        self.held: list[tuple[AbstractContextManager[None], Model]] = []
        self.holder = 0
        self.low = self.high = self.dials[0].floor
        self.looked_at: tuple[object, int] | None = None
        self.attempts_seen: object = None
        self.refusal: CwstoreError | None = None  # of the last call that was refused
        self.database = open_raw(self.file)

    def open(self, number: int) -> Store:
        self.dials[number].forget()
        return open_at(self.file, clock=self.dials[number], busy_timeout=0)

    def teardown(self) -> None:
        if not hasattr(self, "database"):
            return
        with ExitStack() as left:
            left.callback(self.place.cleanup)
            left.callback(remove_database, self.file)
            for store in self.stores:
                left.callback(store.close)
            left.callback(self.database.close)
            while self.held:
                self.roll_back()
            self.the_tables_are_those_of_the_model()
            assert self.database.problems() == []

    # Picking rows

    def pick(self, table: str, number: int) -> Any:
        """The key of one of the rows, or of none."""
        return pick(self.view()[1].tables[table], number)

    def fill(self, table: str, given: dict[str, Any]) -> dict[str, Any]:
        """Ids in place of numbers."""
        filled = dict(given)
        for reference in FROM[table]:
            number = given.get(reference.column)
            if isinstance(number, int):
                nullable = "None" in str(TABLES[table].__annotations__[reference.column])
                none = number > UNKNOWN and nullable
                filled[reference.column] = None if none else self.pick(reference.target, number)
        return filled

    # Calling

    def view(self) -> tuple[Store, Model]:
        """The store whose turn it is, and what it sees: the other's transaction it does not."""
        if self.held and self.by != self.holder:
            return self.stores[self.by], self.held[0][1]
        return self.stores[self.by], self.model

    def call(self, act: Callable[[Store], Any], errors: Iterable[type[CwstoreError]] = ()) -> Any:
        """What a writing call returns; REFUSED if it must raise one of these errors, and does.

        While the other store has a transaction open it must raise BusyError.
        """
        allowed = tuple(errors)
        store, dial = self.stores[self.by], self.dials[self.by]
        if self.held and self.by != self.holder:
            allowed = (BusyError, *(error for error in allowed if error is InvalidValueError))
        # A stamp exceeds all that are kept, whichever store has given them out.
        self.low = max(dial.now, self.model.floor)
        if allowed:
            with pytest.raises(allowed) as caught:
                act(store)
            assert type(caught.value) in allowed
            self.refusal = caught.value
            return REFUSED
        answer = act(store)
        self.high = dial.ceiling
        return answer

    def check_stamp(self, stamp: datetime) -> None:
        """It was given out by this call."""
        assert self.model.floor < stamp
        assert self.low <= stamp <= self.high
        self.saw(stamp)

    def saw(self, stamp: datetime) -> None:
        """The next stamp of the file exceeds this one."""
        dial = self.dials[self.by]
        dial.floor = max(dial.floor, stamp)
        self.model.floor = max(self.model.floor, stamp)

    def check_made(self, table: str, made: Any, given: dict[str, Any]) -> None:
        """The row is what was given, else the default; keep it."""
        entity = TABLES[table]
        values = {field.name: None for field in fields(entity)} | DEFAULTS.get(table, {}) | given
        stamps = {name: made.created_at for name in ("created_at", "updated_at") if name in values}
        if values["id"] is None:
            assert len(made.id) == 21
            values["id"] = made.id
        assert type(made) is entity
        assert made == entity(**values | stamps)
        assert made.id not in self.model.tables[table]
        self.check_stamp(made.created_at)
        self.model.put(table, made)

    def check_updated(
        self, table: str, row: Any, /, stamp: datetime | None = None, **changes: Any
    ) -> None:
        """The row is as it was but for these changes and a token that rose; keep it.

        The token may also be `stamp`, that of another row.
        """
        before = self.model.tables[table][row.id]
        assert row == replace(before, **changes, updated_at=row.updated_at)
        assert before.updated_at < row.updated_at
        if row.updated_at not in (before.updated_at + MICROSECOND, stamp):
            assert self.low <= row.updated_at <= self.high
            self.saw(row.updated_at)
        self.model.put(table, row)

    def create(self, table: str, act: Callable[[Store], Any], given: dict[str, Any]) -> Any:
        """Make a row, unless the model knows why not."""
        entity = TABLES[table]
        values = {field.name: None for field in fields(entity)} | DEFAULTS.get(table, {}) | given
        refusals = self.view()[1].refusals(table, entity(**values), new=True)
        made = self.call(act, refusals)
        if made is not REFUSED:
            self.check_made(table, made, given)
        return made

    def update(
        self,
        table: str,
        act: Callable[..., Any],
        key: str,
        patch: dict[str, Any],
        lock: int | None,
    ) -> Any:
        """Patch a row, unless the model knows why not."""
        before = self.view()[1].tables[table].get(key)
        errors: Errors = set()
        checked: dict[str, Any] = {}
        if before is None:
            errors.add(NotFoundError)
            checked = {} if lock is None else {"if_updated_at": self.dials[0].now}
        else:
            errors |= self.view()[1].refusals(table, replace(before, **patch), new=False)
            if lock is not None:
                checked["if_updated_at"] = before.updated_at + lock * MICROSECOND
                errors |= {ConflictError} if lock else set()
        row = self.call(lambda store: act(store)(key, **checked, **patch), errors)
        if row is not REFUSED:
            self.check_updated(table, row, **patch)
        return row

    def delete(self, table: str, act: Callable[[Store], Any], key: Key) -> None:
        """Delete a row, or none."""
        answer = self.call(act)
        if answer is not REFUSED:
            assert answer is (key in self.model.tables[table])
            if answer:
                self.model.delete(table, key)

    # Time, transactions, reopening

    @step(
        jump=times()
        | st.sampled_from([0, 1, -1, 5_000_000, -5_000_000, -(10**15), 10**15]).map(
            lambda micros: timedelta(microseconds=micros)
        )
    )
    def let_time_pass(self, jump: datetime | timedelta) -> None:
        dial = self.dials[self.by]
        if isinstance(jump, timedelta):
            try:
                jump += dial.now
            except OverflowError:
                return
        dial.now = min(jump.astimezone(UTC), LATEST)

    @step()
    def begin(self) -> None:
        if len(self.held) > 3:
            return
        if self.held and self.by != self.holder:
            with pytest.raises(BusyError), self.stores[self.by].transaction():
                pass
            return
        self.holder = self.by
        block = self.stores[self.by].transaction()
        block.__enter__()
        self.held.append((block, self.model.copy()))

    @precondition(lambda self: self.held)
    @rule()
    def commit(self) -> None:
        block, _ = self.held.pop()
        block.__exit__(None, None, None)

    @precondition(lambda self: self.held)
    @rule()
    def roll_back(self) -> None:
        block, self.model = self.held.pop()
        block.__exit__(DeliberateError, DeliberateError(), None)

    @step()
    def open_again(self) -> None:
        """Also while the other one has a transaction open."""
        if self.held and self.by == self.holder:
            with pytest.raises(ConflictError):
                self.stores[self.by].close()
            return
        self.stores[self.by].close()
        self.stores[self.by] = self.open(self.by)

    @rule(steps=SOME_STEPS)
    def go_on(self, steps: Steps) -> None:
        """Of all steps; of the other rules Hypothesis leaves out most in each example."""
        for name, given in steps:
            getattr(self, name)(**given)
            self.the_tables_are_those_of_the_model()

    @rule(by=st.integers(0, 1), levels=st.lists(st.tuples(SOME_STEPS, st.booleans()), max_size=3))
    def go_on_in_levels(self, by: int, levels: list[tuple[Steps, bool]]) -> None:
        """Transactions in each other, each kept or undone; the outermost as it comes."""
        if self.held:
            return
        for steps, _ in levels:
            self.by = by
            self.begin(by=by)
            self.go_on(steps)
        for _, kept in reversed(levels):
            if self.held:
                self.commit() if kept else self.roll_back()
                self.the_tables_are_those_of_the_model()

    # What must hold after every step

    @invariant()
    def the_tables_are_those_of_the_model(self) -> None:
        """Every column of every row of every table, by another connection."""
        model = self.held[0][1] if self.held else self.model
        looked_at = self.database.commits(), model.state
        if looked_at == self.looked_at:
            return
        self.looked_at = looked_at
        for table in TABLES:
            stored = self.database.rows(table)
            expected = [raw(row) for row in model.tables[table].values()]
            if stored != expected:
                assert sorted(stored, key=repr) == sorted(expected, key=repr), table


def pick(rows: dict[Key, Any], number: int) -> Any:
    """The key of one of the rows, or of none."""
    keys = list(rows)
    return "unknown" if number >= UNKNOWN or not keys else keys[number % len(keys)]
