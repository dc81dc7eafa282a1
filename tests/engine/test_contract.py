"""What holds for every public method of every repository, whatever it does.

The methods, their arguments, bad values and what an unknown id does come from signatures, row
types and docstrings: see tests/kits/contract.py. There is no list to forget a new method in.
"""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cwstore.core.repository import Repository
from cwstore.entities.initiatives import Initiative
from cwstore.entities.registry import ENTITIES
from cwstore.errors import (
    BusyError,
    ConflictError,
    CwstoreError,
    InvalidValueError,
    NotFoundError,
    OutcomeUnknownError,
    StoreClosedError,
)
from cwstore.store import Store
from tests.kits.checker import repositories
from tests.kits.contract import (
    UNKNOWN,
    Argument,
    Method,
    World,
    bad_values,
    every_method,
    method_of,
    outcome_of_unknown,
)
from tests.kits.database import contents, copy_database, in_use, open_at, raw
from tests.kits.disk import (
    FaultyDisk,
    faulty_disk,
)
from tests.kits.engine import (
    locked,
)
from tests.kits.entities import undone

METHODS = every_method()
WRITES = [method for method in METHODS if method.writes]
READS = [method for method in METHODS if not method.writes]


def each(methods: list[Method]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", methods, ids=str)


class Stage(NamedTuple):
    """A store on a file of its own, and what is in it."""

    store: Store
    file: Path
    world: World


@pytest.fixture(scope="module")
def populated(migrated_here: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A populated file that nobody has open: to copy."""
    file = tmp_path_factory.mktemp("populated") / "store.db"
    copy_database(migrated_here, file)
    with open_at(file) as store:
        return file, World(store)


@pytest.fixture(scope="module")
def stage(
    populated: tuple[Path, World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One for all tests here: no call in them is kept."""
    file = tmp_path_factory.mktemp("stage") / "store.db"
    copy_database(populated[0], file)
    with open_at(file) as store:
        yield Stage(store, file, populated[1])


@pytest.fixture(scope="module")
def locked_store(
    populated: tuple[Path, World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, Path]]:
    """A copy of the stage, whose write lock another process holds."""
    file = tmp_path_factory.mktemp("locked") / "store.db"
    copy_database(populated[0], file)
    with open_at(file, busy_timeout=0.01) as store, locked(file):
        yield store, file


@pytest.fixture(scope="module")
def closed_store(migrated_here: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    file = tmp_path_factory.mktemp("closed") / "store.db"
    copy_database(migrated_here, file)
    store = open_at(file)
    for attribute in ENTITIES:
        getattr(store, attribute)
    store.close()
    return store


class Faulty(NamedTuple):
    """A stage on a disk that can be made to fail; what is acknowledged is synced."""

    disk: FaultyDisk
    stage: Stage


@pytest.fixture
def faulty(populated: tuple[Path, World], tmp_path: Path) -> Iterator[Faulty]:
    file = tmp_path / "store.db"
    copy_database(populated[0], file)
    with (
        faulty_disk() as disk,
        in_use(file),  # the last to close a file writes to it
        open_at(file, durable=True, busy_timeout=1) as store,
    ):
        yield Faulty(disk, Stage(store, file, populated[1]))
        disk.recover()


# A locked database


@each(WRITES)
def test_a_write_is_refused_while_another_process_holds_the_lock(
    method: Method, stage: Stage, locked_store: tuple[Store, Path]
) -> None:
    arguments = stage.world.arguments(stage.store, method)
    store, file = locked_store
    before = contents(file)
    with pytest.raises(BusyError):
        method(store, arguments)
    assert contents(file) == before


@each(READS)
def test_a_read_goes_on_while_another_process_holds_the_lock(
    method: Method, stage: Stage, locked_store: tuple[Store, Path]
) -> None:
    arguments = stage.world.arguments(stage.store, method)
    assert method(locked_store[0], arguments) == method(stage.store, arguments)


# Arguments


def outcome(store: Store, world: World, method: Method, argument: Argument) -> object:
    """What comes of an unknown id: the type of the error, or what is returned for nothing.

    A NotFoundError with the table and the id that it names.
    """
    for arguments in world.sets_of_arguments(method, argument):
        arguments[argument.name] = [UNKNOWN] if argument.several else UNKNOWN
        try:
            with method.trial(store) as tried:
                returned = method(tried, arguments)
        except InvalidValueError:
            continue  # it wants more arguments, or fewer
        except CwstoreError as error:
            if isinstance(error, NotFoundError):
                return NotFoundError, error.table, error.id
            return type(error)
        if isinstance(returned, dict):  # of numbers
            return {key: number for key, number in returned.items() if number}
        return NotImplemented if returned else returned
    raise AssertionError(f"{method}: no arguments were found that it accepts")


@each([method for method in METHODS if any(one.is_key for one in method.arguments)])
def test_an_unknown_id_does_what_the_docstring_or_the_return_type_says(
    method: Method, stage: Stage
) -> None:
    store, file, world = stage
    before = contents(file)
    for argument in method.arguments:
        table = world.table(method, argument)
        if argument.is_key and not (argument.name == "id" and not table):
            expected = outcome_of_unknown(method, argument, table)
            if expected is NotFoundError:
                expected = NotFoundError, table, UNKNOWN
            assert outcome(store, world, method, argument) == expected, argument.name
    assert contents(file) == before


def refused_field(store: Store, method: Method, arguments: dict[str, object]) -> str | None:
    """What the InvalidValueError names, or None if there is none."""
    try:
        method(store, arguments)
    except InvalidValueError as error:
        return error.field
    return None


@each([method for method in METHODS if method.arguments])
def test_a_bad_value_is_refused_and_the_error_names_its_argument(
    method: Method, stage: Stage
) -> None:
    store, file, world = stage
    with raw(file) as outside:
        for argument in method.arguments:
            arguments = world.arguments(store, method, argument)
            before = outside.commits()
            for field, value in bad_values(method, argument, world):
                what = f"{argument.name} = {value!a}"
                assert refused_field(store, method, arguments | {argument.name: value}) == field, (
                    what
                )
                assert outside.commits() == before, f"{what} was refused, yet it wrote"


# Transactions, closed stores


@each(METHODS)
def test_a_transaction_that_is_rolled_back_leaves_no_trace(method: Method, stage: Stage) -> None:
    store, file, world = stage
    arguments = world.arguments(store, method)
    before = contents(file)
    with undone(store):
        if method.refuses_transactions:
            with pytest.raises(ConflictError):
                method(store, arguments)
        else:
            method(store, arguments)
    assert contents(file) == before


@each(METHODS)
def test_a_closed_store_refuses_every_call(
    method: Method, stage: Stage, closed_store: Store
) -> None:
    arguments = stage.world.arguments(stage.store, method)
    with pytest.raises(StoreClosedError):
        method(closed_store, arguments)


# A failing disk


@pytest.mark.only_sqlite("the disk of a server is its own")
@each(METHODS)
def test_a_read_error_of_the_disk_is_an_error_of_ours_and_passes(
    method: Method, faulty: Faulty, stage: Stage
) -> None:
    disk, (store, file, world) = faulty
    arguments = world.arguments(stage.store, method)
    before = contents(file)
    disk.break_down("read")
    with pytest.raises(CwstoreError):
        method(store, arguments)
    disk.recover()
    assert contents(file) == before
    with method.trial(store) as tried:
        method(tried, arguments)


@pytest.mark.only_sqlite("the disk of a server is its own")
@each(WRITES)
def test_a_write_error_of_the_disk_is_an_error_of_ours_and_nothing_is_kept(
    method: Method, faulty: Faulty, stage: Stage
) -> None:
    disk, (store, file, world) = faulty
    arguments = world.arguments(stage.store, method)
    before = contents(file)
    for failing in ("write", "sync"):
        disk.break_down(failing)
        with pytest.raises(OutcomeUnknownError if failing == "sync" else CwstoreError):
            method(store, arguments)
        disk.recover()
        assert contents(file) == before
    method(store, arguments)
    assert contents(file) != before


# A new method


def test_every_public_method_is_among_those_tested_and_marked_as_one_that_reads_or_writes() -> None:
    tested: dict[str, set[str]] = {attribute: set() for attribute in ENTITIES}
    for method in METHODS:
        tested[method.attribute].add(method.name)
    for attribute, kind in repositories().items():
        module = ast.parse(inspect.getsource(import_module(f"cwstore.entities.{attribute}")))
        (tree,) = (
            node
            for node in module.body
            if isinstance(node, ast.ClassDef) and node.name == kind.__name__
        )
        marks = {
            one.name: [ast.unparse(mark) for mark in one.decorator_list]
            for one in tree.body
            if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
        }
        assert marks.keys() == tested[attribute]
        assert all(
            mark in (["command"], ["lengthy"], ["query"], ["stream"]) for mark in marks.values()
        )


class Strange(Repository[Any]):
    """With methods that these tests know nothing about."""

    def weigh(self, scale: complex) -> None:
        """A number that no argument is."""

    def rename(self, initiative_id: str) -> Initiative:
        """Give it another name; what if there is none?"""
        raise NotImplementedError


def test_a_method_whose_arguments_nobody_knows_fails_here() -> None:
    with pytest.raises(TypeError, match="scale: the contract tests know no values of type"):
        method_of("strange", Strange, "weigh")


def test_a_method_that_does_not_say_what_an_unknown_id_does_fails_here() -> None:
    method = method_of("strange", Strange, "rename")
    with pytest.raises(AssertionError, match="does not say what an unknown initiative_id does"):
        outcome_of_unknown(method, method.arguments[0], "initiatives")
