"""Methods that AsyncStore runs in its own way, because their parts need different threads.

The parts are private methods of the repositories, which are `Any` here.
"""

from collections.abc import Callable, Coroutine, Iterator
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, cast

from cwstore.core.checks import check_answer

if TYPE_CHECKING:
    from cwstore.aio.lanes import Lanes
    from cwstore.entities.agents import Agent
    from cwstore.entities.task import Task


async def reconcile(
    lanes: "Lanes", agents: Any, is_alive: Callable[["Agent"], object]
) -> "list[Agent]":
    """As `AgentRepository.reconcile`; a coroutine function is awaited in the loop."""
    if not _is_async(is_alive):
        return await lanes.aside(agents.reconcile, is_alive)
    dead: list[Any] = []
    for asked in await lanes.read_many(agents._find_to_ask):
        answer = await cast("Coroutine[Any, Any, object]", is_alive(asked.agent))
        if not check_answer("is_alive", answer):
            dead.append(asked)
    return await lanes.aside(agents._bury, dead)


def _is_async(function: object) -> bool:
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


async def claim_next_ready(lanes: "Lanes", tasks: Any, **wanted: Any) -> "Task | None":
    """As `TaskRepository.claim_next_ready`; a claim that finds nothing waits for no writer."""
    for name, given in wanted.items():
        if isinstance(given, Iterator):  # it is looked at twice
            wanted[name] = list(cast("Iterator[object]", given))
    if not await lanes.points.run(tasks._may_claim, **wanted):
        return None
    return await lanes.writes.run(tasks.claim_next_ready, **wanted)


#: By the name of the method that is awaited so.
OWN_WAYS: dict[str, Callable[..., Any]] = {
    "cwstore.entities.agents.AgentRepository.reconcile": reconcile,
    "cwstore.entities.tasks.TaskRepository.claim_next_ready": claim_next_ready,
}
