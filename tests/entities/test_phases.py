"""Phases: every method, order and refusal."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.phases import Phase, PhaseStatus
from cwstore.errors import (
    ConflictError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import (
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    at,
    moment,
    refused,
)


def plan(store: Store, *ids: str, initiative: str = "i") -> None:
    """An initiative with these phases, in this order of creation."""
    store.initiatives.create(name="plan", id=initiative)
    for key in ids:
        store.phases.create(initiative_id=initiative, name=key, id=key)


def chain(store: Store, *ids: str) -> None:
    """Let each phase wait for the next one."""
    for phase_id, needed in pairwise(ids):
        store.phases.create_dependency(phase_id, needed)


def ids_of(phases: list[Phase]) -> list[str]:
    return [phase.id for phase in phases]


def test_a_new_phase_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        plan(store)
        clock.now = moment(1)
        made = store.phases.create(initiative_id="i", name="One")
        assert made == Phase(
            id=made.id,
            initiative_id="i",
            name="One",
            content=None,
            status=PhaseStatus.PENDING,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.phases.find_by_id(made.id) == made


def test_everything_given_is_kept_json_to_the_letter(store: Store) -> None:
    plan(store)
    content = ' { "b":1,\n "a" : [ 2.50 ] } '
    made = store.phases.create(
        initiative_id="i", name="One", content=content, status="approved", id="p"
    )
    assert made == Phase(
        id="p",
        initiative_id="i",
        name="One",
        content=content,
        status=PhaseStatus.APPROVED,
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    assert store.phases.find_by_id("p") == made


def test_a_phase_of_no_initiative_or_with_a_taken_id_is_refused(store: Store, file: Path) -> None:
    plan(store, "p")
    with refused(file, MissingReferenceError):
        store.phases.create(initiative_id="nobody", name="x")
    with refused(file, ConflictError):
        store.phases.create(initiative_id="i", name="x", id="p")


def test_lists_come_oldest_first_and_ties_by_id(store: Store, file: Path) -> None:
    plan(store)
    plan(store, initiative="other")
    for key, second in (("c", 2), ("b", 1), ("a", 2), ("d", 1), ("x", 0)):
        owner = "other" if key == "x" else "i"
        given: dict[str, Any] = {"initiative_id": owner, "name": "n", "id": key}
        at(file, moment(second), lambda one, given=given: one.phases.create(**given))
    assert ids_of(store.phases.find_all()) == ["x", "b", "d", "a", "c"]
    assert ids_of(store.phases.find_by_initiative_id("i")) == ["b", "d", "a", "c"]
    assert ids_of(store.phases.topological_order("i")) == ["b", "d", "a", "c"]
    assert store.phases.find_by_initiative_id("nobody") == []
    assert store.phases.find_by_id("nobody") is None

    store.phases.create_dependency("b", "a")
    store.phases.create_dependency("b", "c")
    store.phases.create_dependency("b", "d")
    store.phases.create_dependency("a", "d")
    assert store.phases.get_dependencies("b") == ["d", "a", "c"]
    assert store.phases.get_dependents("d") == ["b", "a"]


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("name", "new", "new"),
        ("content", '{"new": 1}', '{"new": 1}'),
        ("content", None, None),
        ("status", "blocked", PhaseStatus.BLOCKED),
        ("status", PhaseStatus.COMPLETED, PhaseStatus.COMPLETED),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(
    store: Store, key: str, value: Any, stored: object
) -> None:
    plan(store, "other")
    before = store.phases.create(initiative_id="i", name="old", content="{}")
    patch: dict[str, Any] = {key: value}
    after = store.phases.update(before.id, **patch)
    assert_updated(before, after, **{key: stored})
    assert store.phases.find_all()[1:] == [after]
    assert_updated(after, store.phases.update(before.id))


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    plan(store)
    first = store.phases.create(initiative_id="i", name="x")
    second = store.phases.update(first.id, name="y", if_updated_at=first.updated_at)
    assert_updated(first, second, name="y")
    with refused(file, ConflictError):
        store.phases.update(first.id, name="z", if_updated_at=first.updated_at)
    with refused(file, NotFoundError):
        store.phases.update("nobody", name="z")


BAD: list[tuple[str, object]] = [
    ("name", None),
    ("name", ""),
    ("name", 5),
    ("content", "{"),
    ("content", ""),
    ("content", {"a": 1}),
    ("status", "done"),
    ("status", None),
]


@pytest.mark.parametrize(
    ("field", "value"), [*BAD, ("initiative_id", None), ("initiative_id", ""), ("id", "")]
)
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    plan(store)
    given: dict[str, Any] = {"initiative_id": "i", "name": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.phases.create(**given)


@pytest.mark.parametrize(("field", "value"), [*BAD, ("initiative_id", "i")])
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    plan(store, "p")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.phases.update("p", **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    plan(store, "p")
    phases = store.phases
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", phases.find_by_id, (bad,)),
        ("id", phases.update, (bad,)),
        ("id", phases.delete, (bad,)),
        ("initiative_id", phases.find_by_initiative_id, (bad,)),
        ("initiative_id", phases.topological_order, (bad,)),
        ("phase_id", phases.get_dependencies, (bad,)),
        ("phase_id", phases.get_dependents, (bad,)),
        ("phase_id", phases.create_dependency, (bad, "p")),
        ("depends_on_phase_id", phases.create_dependency, ("p", bad)),
        ("phase_id", phases.delete_dependency, (bad, "p")),
        ("depends_on_phase_id", phases.delete_dependency, ("p", bad)),
    )


def test_delete_takes_tasks_and_edges(store: Store, file: Path) -> None:
    plan(store, "a", "b")
    before = contents(file)
    store.phases.create(initiative_id="i", name="doomed", id="doomed")
    chain(store, "a", "doomed", "b")
    store.tasks.create(name="t", phase_id="doomed")
    assert store.phases.delete("doomed") is True
    assert store.phases.delete("doomed") is False
    assert contents(file) == before


def test_an_edge_is_made_once_and_removed_once(store: Store, file: Path) -> None:
    plan(store, "a", "b")
    store.phases.create_dependency("a", "b")
    once = contents(file)
    store.phases.create_dependency("a", "b")
    assert contents(file) == once
    assert store.phases.get_dependencies("a") == ["b"]
    assert store.phases.get_dependents("b") == ["a"]
    assert store.phases.get_dependencies("b") == store.phases.get_dependents("a") == []

    assert store.phases.delete_dependency("b", "a") is False
    assert store.phases.delete_dependency("a", "b") is True
    assert store.phases.delete_dependency("a", "b") is False
    assert store.phases.get_dependencies("a") == []


def test_an_edge_needs_two_phases_of_one_initiative(store: Store, file: Path) -> None:
    plan(store, "a")
    plan(store, "b", initiative="other")
    with refused(file, MissingReferenceError, match="'nobody'"):
        store.phases.create_dependency("a", "nobody")
    with refused(file, MissingReferenceError, match="'nobody'"):
        store.phases.create_dependency("nobody", "a")
    with refused(file, InvalidValueError, "depends_on_phase_id"):
        store.phases.create_dependency("a", "b")


def test_a_cycle_is_refused_however_long_it_is(store: Store, file: Path) -> None:
    plan(store, "a", "b", "c", "d")
    chain(store, "a", "b", "c", "d")
    for phase_id, needed in (("a", "a"), ("b", "a"), ("d", "a"), ("d", "c")):
        with refused(file, CycleError):
            store.phases.create_dependency(phase_id, needed)
    store.phases.delete_dependency("b", "c")
    store.phases.create_dependency("d", "a")
    assert ids_of(store.phases.topological_order("i")) == ["b", "a", "d", "c"]


def test_topological_order_puts_dependencies_first_and_the_oldest_of_what_is_free(
    store: Store,
) -> None:
    plan(store, "a", "b", "c", "d", "e")
    plan(store, "x", "y", initiative="other")
    chain(store, "a", "d")
    chain(store, "b", "e")
    chain(store, "x", "y")
    order = store.phases.topological_order("i")
    assert order == [store.phases.find_by_id(key) for key in "cdaeb"]
    assert ids_of(store.phases.topological_order("other")) == ["y", "x"]
    assert store.phases.topological_order("nobody") == []
