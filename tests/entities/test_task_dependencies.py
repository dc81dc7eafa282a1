"""Tasks that wait for others: edges, cycles, order, and what finished ones hand on."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.task import Task
from cwstore.errors import CycleError, MissingReferenceError
from cwstore.store import Store
from tests.kits.database import contents
from tests.kits.entities import at, moment, refused


def make(store: Store, *ids: str, **given: Any) -> list[Task]:
    """Tasks whose names are their ids, in this order of creation."""
    return [store.tasks.create(name=key, id=key, **given) for key in ids]


def chain(store: Store, *ids: str) -> None:
    """Let each task wait for the next one."""
    for task_id, needed in pairwise(ids):
        store.tasks.create_dependency(task_id, needed)


def owners(store: Store) -> None:
    """Initiatives `i` and `j`, each with a phase, `pi` and `pj`."""
    for key in "ij":
        store.initiatives.create(name=key, id=key)
        store.phases.create(initiative_id=key, name=key, id=f"p{key}")


def ids_of(tasks: list[Task]) -> str:
    return "".join(task.id for task in tasks)


def test_an_edge_is_made_once_and_removed_once(store: Store, file: Path) -> None:
    owners(store)
    make(store, "a", initiative_id="i")
    make(store, "b", initiative_id="j")
    store.tasks.create_dependency("a", "b")
    once = contents(file)
    store.tasks.create_dependency("a", "b")
    assert contents(file) == once
    assert store.tasks.get_dependencies("a") == ["b"]
    assert store.tasks.get_dependents("b") == ["a"]
    assert store.tasks.get_dependencies("b") == store.tasks.get_dependents("a") == []

    assert store.tasks.delete_dependency("b", "a") is False
    assert store.tasks.delete_dependency("a", "b") is True
    assert store.tasks.delete_dependency("a", "b") is False
    assert store.tasks.get_dependencies("a") == []


def test_an_edge_needs_two_tasks(store: Store, file: Path) -> None:
    make(store, "a")
    with refused(file, MissingReferenceError):
        store.tasks.create_dependency("a", "nobody")
    with refused(file, MissingReferenceError):
        store.tasks.create_dependency("nobody", "a")


def test_a_cycle_is_refused_however_long_it_is(store: Store, file: Path) -> None:
    make(store, *"abcd")
    chain(store, *"abcd")
    for task_id, needed, path in (
        ("a", "a", "a"),
        ("b", "a", "ba"),
        ("d", "a", "dabc"),
        ("d", "c", "dc"),
    ):
        with refused(file, CycleError):
            store.tasks.create_dependency(task_id, needed)
        with pytest.raises(CycleError) as caught:
            store.tasks.create_dependency(task_id, needed)
        assert caught.value.path == tuple(path)


def test_the_ring_of_a_refused_edge_is_the_shortest_in_order(store: Store) -> None:
    make(store, *"abcdef")
    chain(store, *"abcde")
    chain(store, "a", "f", "e")
    with pytest.raises(CycleError, match="'e' -> 'a' -> 'f' -> 'e'") as caught:
        store.tasks.create_dependency("e", "a")
    assert caught.value.path == ("e", "a", "f")


def test_neighbours_come_oldest_first_and_ties_by_id(store: Store, file: Path) -> None:
    for key, second in (("c", 2), ("b", 1), ("a", 2), ("d", 1)):
        at(file, moment(second), lambda one, key=key: make(one, key))
    make(store, "x", "y")
    for key in "abcd":
        chain(store, "x", key, "y")
    assert store.tasks.get_dependencies("x") == list("bdac")
    assert store.tasks.get_dependents("y") == list("bdac")


def test_topological_order_puts_dependencies_first_and_the_oldest_of_what_is_free(
    store: Store,
) -> None:
    owners(store)
    make(store, *"abcde", phase_id="pi")
    make(store, "x", phase_id="pj")
    make(store, "y", initiative_id="i", sort_order=-1)
    chain(store, "a", "d")
    # Through tasks that are not asked for: b waits for e, and c for y.
    chain(store, "b", "x", "e")
    chain(store, "c", "y")
    by_id = {task.id: task for task in store.tasks.find_all()}
    order = store.tasks.topological_order(phase_id="pi")
    assert order == [by_id[key] for key in "cdaeb"]
    assert ids_of(store.tasks.topological_order(initiative_id="i")) == "daebyc"
    assert ids_of(store.tasks.topological_order(initiative_id="j")) == "x"
    assert store.tasks.topological_order(phase_id="nobody") == []


def test_summaries_are_those_of_all_completed_dependencies_in_order(store: Store) -> None:
    make(store, *"abcdef")
    chain(store, "a", "b", "c", "d")
    chain(store, "a", "e", "d")
    for key in "bdef":
        store.tasks.update(key, status="completed", summary=f"what {key} did")
    by_id = {task.id: task for task in store.tasks.find_all()}
    assert store.tasks.dependency_summaries("a") == [by_id[key] for key in "dbe"]
    assert store.tasks.dependency_summaries("c") == [by_id["d"]]
    assert store.tasks.dependency_summaries("d") == []
    assert store.tasks.dependency_summaries("nobody") == []
