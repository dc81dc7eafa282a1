"""Where the tasks of a plan lie when it is drawn: in layers, from left to right."""

from collections import defaultdict
from dataclasses import dataclass

from cwstore._overview.reading import Board

WIDTH, HEIGHT = 200, 26  # of a task, in pixels
_STEP_X, _STEP_Y = 270, 36


@dataclass(frozen=True, slots=True)
class Layout:
    """Left upper corners by id, and the size of the whole."""

    places: dict[str, tuple[int, int]]
    width: int
    height: int


def layers_of(board: Board) -> Layout:
    """Each task that waits for another, or is waited for, to the right of all that it needs."""
    needs = board.task_needs
    drawn = [task.id for task in board.tasks if task.id in needs]
    drawn += [one for all_needed in needs.values() for one in all_needed]
    nodes = list(dict.fromkeys(drawn))
    level = _levels(nodes, needs)
    rows: defaultdict[int, list[str]] = defaultdict(list)
    for node in nodes:
        rows[level[node]].append(node)
    places: dict[str, tuple[int, int]] = {}
    for depth in sorted(rows):
        # Beside what they need: that keeps most lines short.
        rows[depth].sort(key=lambda node: _middle(needs.get(node, ()), places))
        for row, node in enumerate(rows[depth]):
            places[node] = (depth * _STEP_X, row * _STEP_Y)
    longest = max((len(row) for row in rows.values()), default=0)
    return Layout(places, len(rows) * _STEP_X, longest * _STEP_Y)


def _levels(nodes: list[str], needs: dict[str, list[str]]) -> dict[str, int]:
    """The length of the longest path to each node. The database lets no ring through."""
    waiting: defaultdict[str, list[str]] = defaultdict(list)
    missing = {node: len(needs.get(node, ())) for node in nodes}
    for node in nodes:
        for needed in needs.get(node, ()):
            waiting[needed].append(node)
    level = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not missing[node]]
    while ready:
        needed = ready.pop()
        for node in waiting[needed]:
            level[node] = max(level[node], level[needed] + 1)
            missing[node] -= 1
            if not missing[node]:
                ready.append(node)
    return level


def _middle(needed: list[str] | tuple[()], places: dict[str, tuple[int, int]]) -> float:
    return sum(places[one][1] for one in needed) / len(needed) if needed else 0.0
