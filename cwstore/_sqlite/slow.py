"""What took long, as lines of the log: the method, the plan, who was waited for; never a bind."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

import apsw

from cwstore.core.clock import real_time as time
from cwstore.core.faults import table_of
from cwstore.core.log import WARNING, log
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection


class SlowStatement(NamedTuple):
    """A statement that took long."""

    method: str  #: such as "tasks.find_ready"
    seconds: float
    text: str
    plan: str = "unknown"


def slow_statement(text: str, seconds: float) -> SlowStatement:
    """Of the method that is being called just now."""
    from cwstore.core.observed import method_that_runs

    return SlowStatement(method_that_runs() or table_of(text), seconds, text)


def with_plans(connection: "Connection", slow: list[SlowStatement]) -> list[SlowStatement]:
    """The same with their plans, if anybody listens."""
    if "logging" not in sys.modules:
        return slow
    return [one._replace(plan=_plan(connection, one.text)) for one in slow]


def _plan(connection: "Connection", text: str) -> str:
    """As SQLite tells it; it does not depend on binds."""
    try:
        cursor = connection.cursor()
        steps = cursor.execute(f"EXPLAIN QUERY PLAN {text}", _AnyBinds()).fetchall()
    except apsw.Error:
        return "unknown"
    return ", ".join(str(step[3]) for step in steps) or "no table is read"


class _AnyBinds(dict[str, None]):
    """NULL for whatever is asked for."""

    def __missing__(self, name: str) -> None:
        return None


def tell_statements(file: str, slow: list[SlowStatement]) -> None:
    """Log them."""
    for one in slow:
        text = "%s: %s took %.1f s; its plan: %s"
        log(WARNING, text, file, one.method, one.seconds, one.plan)


def tell_read(
    file: str,
    text: str,
    seconds: float,
    lease_reader: Callable[[str], AbstractContextManager["Connection"]],
) -> None:
    """Log a statement that has read outside of a transaction."""
    slow = [slow_statement(text, seconds)]
    try:
        with lease_reader("plan") as connection:
            slow = with_plans(connection, slow)
    except CwstoreError:  # what was read is given all the same
        pass
    tell_statements(file, slow)


def tell_wait(
    file: str, seconds: float, thread: int, holder: str | None, began: float | None
) -> None:
    """Log a wait for the write lock, and who had it. `thread`: of this process; 0: another one.

    `began`: when the transaction of the holder did, as far as it is known.
    """
    if thread:
        from cwstore.core.writer_lock import name_of_thread

        holder = name_of_thread(thread)
    text = "%s: a transaction waited %.1f s for the write lock, which %s had"
    holder = holder or "nobody known"
    if began is not None:
        holder += f", in a transaction begun {time.monotonic() - began:.1f} s ago,"
    log(WARNING, text, file, seconds, holder)
