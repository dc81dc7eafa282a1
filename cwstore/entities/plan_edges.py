"""Store whole plans: many tasks, and many edges in any order."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cwstore.core.checks import check_id
from cwstore.core.faults import of_item
from cwstore.entities.task import NewTask, Task
from cwstore.errors import ConflictError, InvalidValueError, MissingReferenceError

if TYPE_CHECKING:
    from cwstore.core.port import Database

T = TypeVar("T")
Edge = tuple[str, str]  # (task, what it depends on)

_KEYS = NewTask.__annotations__.keys()


def create_tasks(
    db: "Database", create: Callable[..., Task], tasks: Iterable[NewTask]
) -> list[Task]:
    """See `TaskRepository.create_many`; `create` makes one."""
    given = [_checked(index, _task, task) for index, task in enumerate(_several("tasks", tasks))]
    with db.transaction():
        return [
            _checked(index, lambda task: create(**task), task) for index, task in enumerate(given)
        ]


def create_edges(db: "Database", create: Callable[[str, str], int], edges: Iterable[Edge]) -> int:
    """See `TaskRepository.create_dependencies`; `create` makes one: 1, or 0 if it was there."""
    given = [_checked(index, _edge, edge) for index, edge in enumerate(_several("edges", edges))]
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


def _several(field: str, items: object) -> list[object]:
    kind = type(items).__name__
    if isinstance(items, str | Mapping) or not isinstance(items, Iterable):
        raise InvalidValueError(field, f"expected several, got {kind}")
    return list(cast(Iterable[object], items))


def _checked(index: int, function: Callable[[Any], T], item: object) -> T:
    """What the function returns for the item; an error about it then says which item it was."""
    try:
        return function(item)
    except InvalidValueError as error:
        fault = of_item(error, index)
    except (ConflictError, MissingReferenceError) as error:
        error.args = (f"item {index}: {error}",)
        raise
    raise fault


def _task(item: object) -> dict[str, object]:
    if not isinstance(item, Mapping):
        raise InvalidValueError("tasks", f"expected a mapping, got {type(item).__name__}")
    task = dict(cast(Mapping[str, object], item))
    for key in task:
        if key not in _KEYS:
            raise InvalidValueError(str(key), f"unknown; what can be given: {', '.join(_KEYS)}")
    if "name" not in task:
        raise InvalidValueError("name", "is missing")
    return task


def _edge(item: object) -> Edge:
    if not isinstance(item, tuple | list) or len(cast(list[object], item)) != 2:
        raise InvalidValueError("edges", "expected pairs of task_id and depends_on_task_id")
    task_id, needed = cast(list[str], item)
    check_id("task_id", task_id)
    check_id("depends_on_task_id", needed)
    return task_id, needed
