"""What took long, as lines of the log: the method, the plan, who was waited for; never a bind."""

import sys
from typing import TYPE_CHECKING, NamedTuple

from cwstore.core.clock import real_time as time
from cwstore.core.faults import table_of
from cwstore.core.log import WARNING, log
from cwstore.core.observed import method_that_runs

if TYPE_CHECKING:
    from collections.abc import Callable


class SlowStatement(NamedTuple):
    """A statement that took long."""

    method: str  #: such as "tasks.find_ready"
    seconds: float
    text: str
    plan: str = "unknown"


def slow_statement(text: str, seconds: float) -> SlowStatement:
    """Of the method that is being called just now."""
    return SlowStatement(method_that_runs() or table_of(text), seconds, text)


def with_plans(slow: list[SlowStatement], plan_of: "Callable[[str], str]") -> list[SlowStatement]:
    """The same with their plans, if anybody listens."""
    if "logging" not in sys.modules:
        return slow
    return [one._replace(plan=plan_of(one.text)) for one in slow]


def tell_statements(where: str, slow: list[SlowStatement]) -> None:
    """Log them."""
    for one in slow:
        text = "%s: %s took %.1f s; its plan: %s"
        log(WARNING, text, where, one.method, one.seconds, one.plan)


def tell_wait(where: str, seconds: float, holder: str | None, began: float | None) -> None:
    """Log a wait for the write lock, and who had it; None: that is not known.

    `began`: when the transaction of the holder did, by `time.monotonic`.
    """
    text = "%s: a transaction waited %.1f s for the write lock, which %s had"
    holder = holder or "nobody known"
    if began is not None:
        holder += f", in a transaction begun {time.monotonic() - began:.1f} s ago,"
    log(WARNING, text, where, seconds, holder)
