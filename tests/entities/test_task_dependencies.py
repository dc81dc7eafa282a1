"""Tasks that wait for others: edges, cycles, order, and what finished ones hand on."""

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cwstore.entities.task import Task
from cwstore.errors import CycleError, InvalidValueError, MissingReferenceError
from cwstore.store import Store
from tests.kits.database import contents, run_raw
from tests.kits.entities import at, moment, refused
from tests.kits.plans import layered, steps


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


def test_a_long_ring_is_told_whole_by_the_path_and_by_its_ends_in_the_message(
    store: Store,
) -> None:
    ids = tuple(f"t{number}" for number in range(1_000))
    make(store, *ids)
    store.tasks.create_dependencies(pairwise(ids))
    with pytest.raises(CycleError) as caught:
        store.tasks.create_dependency("t999", "t0")
    assert caught.value.path == ("t999", *ids[:-1])
    assert str(caught.value) == (
        "task_dependencies: this would close a cycle ('t999' -> 't0' -> 't1' -> 't2' -> 't3'"
        " -> 991 more (see `path`) -> 't995' -> 't996' -> 't997' -> 't998' -> 't999');"
        " remove one of its other edges first"
    )


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


# Whole plans


def make_layers(store: Store, layers: int, width: int) -> None:
    make(store, *(f"{layer}-{place}" for layer in range(layers) for place in range(width)))


def edges_of(file: Path) -> set[Any]:
    return set(contents(file)["task_dependencies"])


def test_many_edges_are_made_at_once_in_any_order_and_counted(store: Store, file: Path) -> None:
    make_layers(store, 10, 10)
    edges = layered(10, 10)
    assert store.tasks.create_dependencies(edges[:100]) == 100
    assert store.tasks.create_dependencies(list(pair) for pair in edges * 2) == len(edges) - 100  # type: ignore[misc]
    assert store.tasks.create_dependencies(edges) == store.tasks.create_dependencies([]) == 0
    assert edges_of(file) == set(edges)


def test_of_many_edges_none_is_made_if_one_cannot_be(store: Store, file: Path) -> None:
    make(store, *"abcde")
    store.tasks.create_dependency("a", "b")
    create: Any = store.tasks.create_dependencies
    before = contents(file)
    with pytest.raises(CycleError) as caught:
        create([("e", "a"), ("d", "c"), ("c", "a"), ("b", "d")])
    assert sorted(caught.value.path) == list("abcd")
    ring = [*caught.value.path, caught.value.path[0]]
    assert set(pairwise(ring)) == {("a", "b"), ("b", "d"), ("d", "c"), ("c", "a")}
    with refused(file, CycleError):
        create([("a", "c"), ("d", "d")])
    with refused(file, MissingReferenceError):
        create([("a", "c"), ("a", "nobody")])
    for bad, field in (
        (("a", ""), "depends_on_task_id"),
        ((5, "a"), "task_id"),
        (("a", "b", "c"), "edges"),
        ("ab", "edges"),
    ):
        with pytest.raises(InvalidValueError) as refusal:
            create([("a", "c"), bad])
        assert (refusal.value.field, refusal.value.index) == (field, 1)
    assert contents(file) == before
    for several in (5, "ab", {"a": "b"}):
        with refused(file, InvalidValueError, "edges"):
            create(several)


@pytest.mark.only_sqlite("counts its steps")
def test_edges_in_random_order_cost_little_however_many_there_are(store: Store) -> None:
    """The guard walked all that waits for a task: 35,000 steps an edge, in a plan of this size."""
    make_layers(store, 40, 50)
    edges = layered(40, 50)
    half = len(edges) // 2
    store.tasks.create_dependencies(edges[:half])
    with store.transaction():
        spent = steps(
            store, lambda: [store.tasks.create_dependency(*edge) for edge in edges[half:]]
        )
    assert spent / half < 5_000


@pytest.mark.only_sqlite("counts its instructions")
def test_a_task_is_visited_once_though_millions_of_ways_lead_to_it(store: Store) -> None:
    """24 diamonds in a row, three ways through each."""
    ends = range(24)
    make(store, *(f"{side}{end}" for side in "-abc" for end in range(25)))
    edges = [(f"{side}{end}", f"-{end}") for side in "abc" for end in ends]
    edges += [(f"-{end + 1}", f"{side}{end}") for side in "abc" for end in ends]
    Random(4).shuffle(edges)
    with store.transaction():
        spent = steps(store, lambda: [store.tasks.create_dependency(*edge) for edge in edges])
    assert spent / len(edges) < 5_000
    with pytest.raises(CycleError) as caught:
        store.tasks.create_dependency("-0", "-24")
    assert len(caught.value.path) == 49
    for key in ("-0", *(f"{side}{end}" for side in "abc" for end in ends)):
        store.tasks.update(key, status="completed")
    assert len(store.tasks.dependency_summaries("-24")) == 73


@pytest.mark.only_sqlite("counts its steps")
def test_many_new_edges_at_once_are_not_walked(store: Store) -> None:
    make_layers(store, 40, 50)
    edges = layered(40, 50)
    assert steps(store, lambda: store.tasks.create_dependencies(edges)) / len(edges) < 250


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))]
)
def test_a_cycle_is_refused_in_a_large_plan_too(store: Store, file: Path, seed: int) -> None:
    """Where tasks have levels: against a search that knows nothing of them."""
    random = Random(seed)
    names = [f"{number:03}" for number in range(160)]
    make(store, *names)
    needs: dict[str, set[str]] = {name: set() for name in names}

    def reaches(start: str, end: str) -> bool:
        seen = [start]
        for name in seen:
            seen += [other for other in needs[name] if other not in seen]
        return end in seen

    spread = 25 if seed % 2 else 160
    accepted = refused = 0
    with store.transaction():
        for _ in range(1_500):
            place = random.randrange(160)
            near = (place + random.randrange(-spread // 4, spread)) % 160
            task_id, needed = names[place], names[near]
            closes = reaches(needed, task_id)
            try:
                store.tasks.create_dependency(task_id, needed)
            except CycleError:
                assert closes
                refused += 1
            else:
                assert not closes
                needs[task_id].add(needed)
                accepted += 1
            if random.random() < 0.1:
                task_id = random.choice(names)
                for other in sorted(needs[task_id])[:1]:
                    store.tasks.delete_dependency(task_id, other)
                    needs[task_id].discard(other)
    assert accepted > 100
    assert refused > 100
    if seed % 2:
        assert contents(file)["task_levels"]


@pytest.mark.only_sqlite("tells another of two faults first")
def test_an_edge_may_be_moved_by_others_but_not_into_a_cycle(store: Store, file: Path) -> None:
    make_layers(store, 20, 10)
    edges = layered(20, 10)
    store.tasks.create_dependencies(edges)
    start, end = edges[0]
    with pytest.raises(Exception, match="cycle: task_dependencies"):
        run_raw(
            file,
            f"UPDATE task_dependencies SET task_id = '{end}', depends_on_task_id = '{start}'"
            f" WHERE task_id <> '{start}' AND depends_on_task_id = '{end}'",
        )


def test_levels_are_neither_lowered_nor_removed_by_others(store: Store, file: Path) -> None:
    make(store, *"ab")
    run_raw(file, "INSERT INTO task_levels VALUES ('a', 5)")
    for statement in (
        "UPDATE task_levels SET level = 4",
        "UPDATE task_levels SET task_id = 'b'",
        "DELETE FROM task_levels",
    ):
        with pytest.raises(Exception, match="task_levels: a level"):
            run_raw(file, statement)
    store.tasks.create_dependency("b", "a")
    assert sorted(contents(file)["task_levels"]) == [("a", 5), ("b", 5)]
    store.tasks.delete("a")
    assert contents(file)["task_levels"] == [("b", 5)]
