"""Store many edges between tasks, in any order, in one transaction."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from cwstore.core.checks import check_id
from cwstore.entities.batches import act_on, several
from cwstore.errors import InvalidValueError

if TYPE_CHECKING:
    from cwstore.core.port import Database

Edge = tuple[str, str]  # (task, what it depends on)


def create_edges(db: "Database", create: Callable[[str, str], int], edges: Iterable[Edge]) -> int:
    """See `TaskRepository.create_dependencies`; `create` makes one: 1, or 0 if it was there."""
    given = [act_on(index, _edge, edge) for index, edge in enumerate(several("edges", edges))]
    with db.transaction():
        return sum(create(task_id, needed) for task_id, needed in growing(given))


def growing(edges: Iterable[Edge]) -> list[Edge]:
    """The edges, each once, so that no task gets one after another task depends on it.

    In this order the guard against cycles has nothing to walk. Edges in and behind a ring come
    last, as they were.
    """
    needs: dict[str, dict[str, None]] = {}
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    for task_id, needed in edges:
        own = needs.setdefault(task_id, {})
        if needed not in own:
            own[needed] = None
            dependents[needed].append(task_id)
    waiting_for = {task_id: len(own) for task_id, own in needs.items()}
    free = [task_id for task_id in dependents if task_id not in needs]
    for task_id in free:  # grows
        for dependent in dependents[task_id]:
            waiting_for[dependent] -= 1
            if not waiting_for[dependent]:
                free.append(dependent)
    order = dict.fromkeys((*free, *needs))
    return [(task_id, needed) for task_id in order for needed in needs.get(task_id, ())]


def _edge(item: object) -> Edge:
    if not isinstance(item, tuple | list) or len(cast(list[object], item)) != 2:
        raise InvalidValueError("edges", "expected pairs of task_id and depends_on_task_id")
    task_id, needed = cast(list[str], item)
    check_id("task_id", task_id)
    check_id("depends_on_task_id", needed)
    return task_id, needed
