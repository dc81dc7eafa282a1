"""Order rows so that what they depend on comes first."""

from collections import defaultdict
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, TypeVar

from cwstore.errors import CorruptDatabaseError, CycleError

if TYPE_CHECKING:
    from typing import Protocol

    class HasId(Protocol):
        """A row with an id."""

        @property
        def id(self) -> str:
            """The id."""
            ...


T = TypeVar("T", bound="HasId")

#: How many ids of each end of a long ring a message tells.
_END = 5


def dependencies_first(rows: list[T], edges: Iterable[tuple[str, str]]) -> list[T]:
    """`rows` with dependencies first; those that are free come in the order they had.

    An edge is (dependent, dependency). Edges may run through nodes that are not among the rows:
    they order the rows on both sides and are left out themselves. Raises CorruptDatabaseError if
    there is a cycle: rows must not be lost silently.
    """
    position = {row.id: index for index, row in enumerate(rows)}
    waiting_for: defaultdict[str, int] = defaultdict(int)
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    nodes = set(position)
    for dependent, dependency in edges:
        waiting_for[dependent] += 1
        dependents[dependency].append(dependent)
        nodes |= {dependent, dependency}
    # Outsiders pass at once (-1): a row is held back by rows alone.
    free: list[tuple[int, str]] = []
    for node in nodes:
        if not waiting_for[node]:
            heappush(free, (position.get(node, -1), node))
    ordered: list[T] = []
    while free:
        index, node = heappop(free)
        if index >= 0:
            ordered.append(rows[index])
        for dependent in dependents[node]:
            waiting_for[dependent] -= 1
            if not waiting_for[dependent]:
                heappush(free, (position.get(dependent, -1), dependent))
    if len(ordered) < len(rows):
        raise CorruptDatabaseError(
            "dependencies form a cycle, which the database forbids: another program stored it;"
            " find and delete one edge of it"
        )
    return ordered


def ring_error(table: str, edges: Iterable[tuple[str, str]], start: str, needed: str) -> CycleError:
    """The error for a refused edge from `start` to what it `needed`; it tells the whole ring.

    An edge is (dependent, dependency). The ring is empty where it cannot be found any more:
    somebody has removed an edge since.
    """
    if start == needed:
        what = "wait for itself" if table.endswith("_dependencies") else "be its own parent"
        return CycleError(f"{table}: {start!r} cannot {what}", path=(start,))
    below: defaultdict[str, list[str]] = defaultdict(list)
    for dependent, dependency in edges:
        below[dependent].append(dependency)
    came_from = {needed: start}
    reached = [needed]
    for node in reached:
        for dependency in below[node]:
            if dependency not in came_from:
                came_from[dependency] = node
                reached.append(dependency)
    path: list[str] = []
    node = start
    while node in came_from and (not path or node != start):
        path.append(node)
        node = came_from[node]
    ring = (*path[:1], *reversed(path[1:]))
    shown = _shown((*ring, ring[0]) if ring else (start, needed))
    return CycleError(
        f"{table}: this would close a cycle ({shown}); remove one of its other edges first",
        path=ring,
    )


def _shown(path: tuple[str, ...]) -> str:
    """The ids with arrows between; of many the ends, so that a person can read it."""
    steps = list(map(repr, path))
    if len(steps) > 2 * _END:
        left_out = len(steps) - 2 * _END
        steps[_END:-_END] = [f"{left_out:,} more (see `path`)"]
    return " -> ".join(steps)
