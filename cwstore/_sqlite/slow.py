"""The plan of what took long on a file."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import apsw

from cwstore.core import slow
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection


def with_plans(
    connection: "Connection", found: list[slow.SlowStatement]
) -> list[slow.SlowStatement]:
    """The same with their plans, if anybody listens."""
    return slow.with_plans(found, partial(_plan, connection))


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


def tell_read(
    file: str,
    text: str,
    seconds: float,
    lease_reader: Callable[[str], AbstractContextManager["Connection"]],
) -> None:
    """Log a statement that has read outside of a transaction."""
    found = [slow.slow_statement(text, seconds)]
    try:
        with lease_reader("plan") as connection:
            found = with_plans(connection, found)
    except CwstoreError:  # what was read is given all the same
        pass
    slow.tell_statements(file, found)
