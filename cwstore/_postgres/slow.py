"""The plan of what took long on a server, and who has the lane meanwhile."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import psycopg

from cwstore.core.slow import SlowStatement, tell_statements, with_plans
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection


def tell(
    where: str,
    found: list[SlowStatement],
    lease_reader: "Callable[[], AbstractContextManager[Connection]]",
) -> None:
    """Log them with their plans, which do not depend on binds, if anybody listens."""

    def plan_of(text: str) -> str:
        explain = b"EXPLAIN (GENERIC_PLAN, COSTS OFF) " + text.encode()
        try:
            with lease_reader() as connection:
                steps = connection.execute(explain, prepare=False).fetchall()
        except (psycopg.Error, CwstoreError):  # what was done is done all the same
            return "unknown"
        return ", ".join(str(step).strip().removeprefix("->  ") for (step,) in steps)

    tell_statements(where, with_plans(found, plan_of))
