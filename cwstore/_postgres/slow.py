"""What took long, as a line of the log: the method and the plan, never a bind."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

import psycopg

from cwstore.core.faults import table_of
from cwstore.core.log import WARNING, log
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from cwstore._postgres.connection import Connection


def tell_read(
    name: str,
    text: str,
    prepared: bytes,
    seconds: float,
    lease_reader: "Callable[[], AbstractContextManager[Connection]]",
) -> None:
    """Log a statement that has read outside of a transaction, if anybody listens.

    `prepared` is its text as the server takes it. Its plan does not depend on binds.
    """
    if "logging" not in sys.modules:
        return
    from cwstore.core.observed import method_that_runs

    plan = "unknown"
    with suppress(psycopg.Error, CwstoreError), lease_reader() as connection:
        explain = b"EXPLAIN (GENERIC_PLAN, COSTS OFF) " + prepared
        steps = connection.execute(explain, prepare=False).fetchall()
        plan = ", ".join(str(step).strip().removeprefix("->  ") for (step,) in steps)
    method = method_that_runs() or table_of(text)
    log(WARNING, "%s: %s took %.1f s; its plan: %s", name, method, seconds, plan)
