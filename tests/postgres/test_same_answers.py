"""Every method of every repository, called alike on both engines: it answers the same.

Rows, errors with their messages and attributes, and what is in the tables afterwards.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cwstore.store import Store
from tests.kits import postgres
from tests.kits.contract import UNKNOWN, Method, World, bad_values, every_method
from tests.kits.database import copy_database, open_at, remove_database
from tests.kits.entities import SetClock, undone
from tests.kits.postgres import address_of
from tests.kits.twins import Answers, copy_rows, differing_tables

METHODS = every_method()
LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Origin(NamedTuple):
    """The same rows in a file and in a database of a server, both to be copied."""

    world: World
    file: Path
    database: Path


class Twins(NamedTuple):
    """A store on each, and clocks that stand still."""

    sqlite: Store
    postgres: Store
    origin: Origin
    file: Path
    database: Path

    def both(self) -> Iterator[tuple[Store, Answers]]:
        rows = self.origin.world.rows.values()
        known = {str(getattr(row, "id", "")) for kind in rows for row in kind}
        for store in (self.sqlite, self.postgres):
            yield store, Answers(known, LATER, {store.path: "PATH"})

    def differences(self, method: Method, arguments: dict[str, object], *, alone: bool) -> Any:
        """What the two say, if it is not the same; `alone`: in no transaction."""
        said: list[object] = []
        for store, answers in self.both():
            with nullcontext() if alone else undone(store):
                said.append(answers.of(lambda store=store: method(store, arguments)))
        return None if said[0] == said[1] else (arguments, *said)

    def differing_tables(self) -> dict[str, Any]:
        one, two = (answers for _, answers in self.both())
        return differing_tables(self.file, self.database, one, two)

    def good(self, method: Method) -> dict[str, object]:
        return self.origin.world.arguments(self.sqlite, method)

    def refused(self, method: Method) -> Iterator[dict[str, object]]:
        """Arguments of which one is bad, or names no row."""
        world = self.origin.world
        for argument in method.arguments:
            good = world.arguments(self.sqlite, method, argument)
            for _, value in bad_values(method, argument, world):
                yield good | {argument.name: value}
            if argument.is_key:
                yield good | {argument.name: [UNKNOWN] if argument.several else UNKNOWN}


@pytest.fixture(scope="module")
def origin(
    migrated: Path, migrated_here: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Origin]:
    place = tmp_path_factory.mktemp("origin")
    file, database = place / "file.db", place / "database"
    copy_database(migrated, file)
    with open_at(file) as store:
        world = World(store)
    copy_database(migrated_here, database)
    copy_rows(file, str(address_of(database)))
    yield Origin(world, file, database)
    remove_database(database)


@contextmanager
def copied(origin: Origin, place: Path) -> Generator[Twins, None, None]:
    file, database = place / "file.db", place / "database"
    copy_database(origin.file, file)
    copy_database(origin.database, database)
    clock = SetClock(LATER)
    with open_at(file, clock=clock) as one, open_at(database, clock=clock) as two:
        yield Twins(one, two, origin, file, database)
    remove_database(database)


@pytest.fixture(scope="module")
def twins(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """For all tests here: no call on them is kept."""
    with copied(origin, tmp_path_factory.mktemp("twins")) as twins:
        yield twins


@pytest.fixture(scope="module")
def worn(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Others: what a call on the one keeps, it keeps on the other."""
    with copied(origin, tmp_path_factory.mktemp("worn")) as twins:
        yield twins
        assert twins.differing_tables() == {}


def test_each_method_does_the_same_with_good_arguments(twins: Twins) -> None:
    different = {
        str(method): found
        for method in METHODS
        if not method.refuses_transactions
        and (found := twins.differences(method, twins.good(method), alone=False))
    }
    assert different == {}


def without_id(arguments: dict[str, object]) -> dict[str, object]:
    """A row that is there already is a second fault, and of two each engine names its own."""
    taken = ("id", "some id")
    return {name: value for name, value in arguments.items() if (name, value) != taken}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_method_refuses_the_same_in_the_same_words(
    twins: Twins, worn: Twins, method: Method
) -> None:
    different = [
        found
        for arguments in (
            *twins.origin.world.sets_of_arguments(method),
            *twins.refused(method),
        )
        if (found := twins.differences(method, arguments, alone=False))
    ]
    different += [
        found
        for arguments in twins.refused(method)
        if (found := worn.differences(method, without_id(arguments), alone=True))
    ]
    assert different == []


@pytest.mark.slow
@pytest.mark.parametrize("method", [one for one in METHODS if one.writes], ids=str)
def test_a_write_that_is_a_transaction_of_its_own_leaves_the_same_rows(
    origin: Origin, method: Method, tmp_path: Path
) -> None:
    with copied(origin, tmp_path) as twins:
        good = twins.good(method)
        assert twins.differences(method, good, alone=True) is None
        assert twins.differing_tables() == {}


def test_a_difference_is_noticed(twins: Twins) -> None:
    """In what is answered, and in what is stored."""
    update = next(one for one in METHODS if str(one) == "initiatives.update")
    arguments: dict[str, object] = {
        "id": twins.origin.world.rows["initiatives"][0].id,
        "name": "other",
    }
    postgres.change(
        str(address_of(twins.database)), "UPDATE initiatives SET branch = ?", ("elsewhere",)
    )
    assert twins.differences(update, arguments, alone=False)
    assert list(twins.differing_tables()) == ["initiatives"]
    postgres.change(str(address_of(twins.database)), "UPDATE initiatives SET branch = NULL", ())
