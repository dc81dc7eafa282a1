"""Phases that wait for others, in plans so large that they have levels."""

from pathlib import Path
from random import Random

import pytest

from cwstore.errors import CycleError
from cwstore.store import Store
from tests.kits.database import contents, run_raw
from tests.kits.plans import layered, steps


def make(store: Store, *ids: str) -> None:
    """Phases of one initiative."""
    owner = store.initiatives.create(name="i")
    with store.transaction():
        for key in ids:
            store.phases.create(initiative_id=owner.id, name=key, id=key)


@pytest.mark.only_sqlite("counts its steps")
def test_edges_in_random_order_cost_little_however_many_there_are(store: Store) -> None:
    """The guard walked all that waits for a phase."""
    make(store, *(f"{layer}-{place}" for layer in range(40) for place in range(20)))
    edges = layered(40, 20)
    with store.transaction():
        spent = steps(store, lambda: [store.phases.create_dependency(*edge) for edge in edges])
    assert spent / len(edges) < 5_000


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 2))]
)
def test_a_cycle_is_refused_in_a_large_plan_too(store: Store, file: Path, seed: int) -> None:
    """Where phases have levels: against a search that knows nothing of them."""
    random = Random(seed)
    names = [f"{number:03}" for number in range(160)]
    make(store, *names)
    needs: dict[str, set[str]] = {name: set() for name in names}

    def reaches(start: str, end: str) -> bool:
        seen = [start]
        for name in seen:
            seen += [other for other in needs[name] if other not in seen]
        return end in seen

    outcomes = {True: 0, False: 0}
    with store.transaction():
        for _ in range(1_200):
            place = random.randrange(160)
            near = (place + random.randrange(-6, 25)) % 160
            if place == near:
                continue
            phase_id, needed = names[place], names[near]
            closes = reaches(needed, phase_id)
            outcomes[closes] += 1
            if closes:
                with pytest.raises(CycleError):
                    store.phases.create_dependency(phase_id, needed)
            else:
                store.phases.create_dependency(phase_id, needed)
                needs[phase_id].add(needed)
            if random.random() < 0.1 and needs[phase_id]:
                other = min(needs[phase_id])
                store.phases.delete_dependency(phase_id, other)
                needs[phase_id].discard(other)
    assert min(outcomes.values()) > 100
    assert contents(file)["phase_levels"]


def test_levels_are_neither_lowered_nor_removed_by_others(store: Store, file: Path) -> None:
    make(store, *"ab")
    run_raw(file, "INSERT INTO phase_levels VALUES ('a', 5)")
    for statement in (
        "UPDATE phase_levels SET level = 4",
        "UPDATE phase_levels SET phase_id = 'b'",
        "DELETE FROM phase_levels",
    ):
        with pytest.raises(Exception, match="phase_levels: a level"):
            run_raw(file, statement)
    store.phases.create_dependency("b", "a")
    assert sorted(contents(file)["phase_levels"]) == [("a", 5), ("b", 5)]
    store.phases.delete("a")
    assert contents(file)["phase_levels"] == [("b", 5)]


@pytest.mark.only_sqlite("tells another of two faults first")
def test_an_edge_may_be_moved_by_others_but_not_into_a_cycle(store: Store, file: Path) -> None:
    make(store, *(f"{layer}-{place}" for layer in range(20) for place in range(10)))
    edges = layered(20, 10)
    for edge in edges:
        store.phases.create_dependency(*edge)
    start, end = edges[0]
    with pytest.raises(Exception, match="cycle: phase_dependencies"):
        run_raw(
            file,
            f"UPDATE phase_dependencies SET phase_id = '{end}', depends_on_phase_id = '{start}'"
            f" WHERE phase_id <> '{start}' AND depends_on_phase_id = '{end}'",
        )
