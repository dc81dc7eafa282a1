"""Whole plans: the edges of many layers, and what the guards against cycles spend on them."""

from collections.abc import Callable
from random import Random

from cwstore.store import Store
from tests.kits.database import engine_of


def layered(layers: int, width: int) -> list[tuple[str, str]]:
    """Edges between each node of a layer and three of the one before it, shuffled."""
    random = Random(layers * width)
    edges = [
        (f"{layer}-{place}", f"{layer - 1}-{needed}")
        for layer in range(1, layers)
        for place in range(width)
        for needed in random.sample(range(width), 3)
    ]
    random.shuffle(edges)
    return edges


def steps(store: Store, act: Callable[[], object]) -> int:
    """How many instructions the writer spends on it."""
    spent = 0

    def count() -> bool:
        nonlocal spent
        spent += 1
        return False

    connection = engine_of(store)._writer.connection
    connection.set_progress_handler(count, 10)
    act()
    connection.set_progress_handler(None)
    return 10 * spent
