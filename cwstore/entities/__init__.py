"""One file an entity: enums, the row, its patch, its SQL, and the repository.

What methods return that is imported on use can be had here: `get_type_hints` finds it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore.entities.claims import TaskAttempt as TaskAttempt
    from cwstore.entities.obstacles import Obstacle as Obstacle
    from cwstore.entities.plan_check import PlanProblem as PlanProblem

_MODULES = {"Obstacle": "obstacles", "PlanProblem": "plan_check", "TaskAttempt": "claims"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
