"""What is left when every worker is gone: tasks stuck, results overwritten, attempts left open.

It is found out on a copy of the file, in which the time of every lease has passed; on PostgreSQL in
the schema itself, which is the round's own.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cwstore.entities.agents import Agent
from cwstore.store import Store
from tools._python.soak.crew import Plan
from tools._python.soak.history import Op
from tools._python.soak.pool import FOR, POOL_TASKS, WAITS

STUCK = "tasks stuck"
OVERWRITTEN = "results overwritten"
LEFT_OPEN = "attempts open without a living holder"
_LATER = timedelta(days=1)  # than any lease


def judge_afterwards(
    add: Callable[[str, str], None], store: Store, plan: Plan, ops: list[Op]
) -> None:
    """`add` takes the kind of a fault, and a line about it. `ops` are of all pools."""
    _judge_results(add, store, ops)
    pools = sorted({op.key.partition("/")[2] for op in ops})
    copy = plan.directory / f"{plan.name}.afterwards.db"
    if not plan.address:
        store.backup(copy)
    with Store.open(
        plan.place if plan.address else copy, clock=lambda: datetime.now(UTC) + _LATER
    ) as later:
        _judge_attempts(add, later)
        for pool in pools:
            _judge_tasks(add, later, pool)
    for file in copy.parent.glob(f"{copy.name}*"):
        file.unlink()


def _judge_results(add: Callable[[str, str], None], store: Store, ops: list[Op]) -> None:
    """A result that was taken is the one that is there."""
    for op in ops:
        if op.kind == "finish" and op.outcome == "ok":
            task = store.tasks.find_by_id(f"{op.key.partition('/')[2]}.{op.args[0]}")
            kept = task and task.summary
            if kept != op.extra:
                add(OVERWRITTEN, f"{op.key}: {op.args[0]}: told {op.extra!r}, kept {kept!r}")


def _judge_attempts(add: Callable[[str, str], None], later: Store) -> None:
    """One call of reconcile ends what agents held, the end of the lease what nobody named held."""

    def is_alive(_: Agent) -> bool:
        return False

    later.agents.reconcile(is_alive)
    named = [one for one in later.tasks.find_open_attempts() if one.agent_id is not None]
    later.tasks.expire_leases()
    for attempt in dict.fromkeys([*named, *later.tasks.find_open_attempts()]):
        add(LEFT_OPEN, str(attempt))


def _judge_tasks(add: Callable[[str, str], None], later: Store, pool: str) -> None:
    """Somebody who goes on alone gets every task, but those that failed for good."""
    while (task := later.tasks.claim_next_ready(initiative_id=pool)) is not None:
        later.tasks.complete(task.id)
    for number in range(POOL_TASKS):
        found = later.tasks.find_by_id(f"{pool}.{number}")
        status = "gone" if found is None else str(found.status)
        if status in {"completed", "blocked"}:
            continue
        behind = later.tasks.find_by_id(f"{pool}.{FOR}")
        if number == WAITS and status == "pending" and behind and behind.status == "blocked":
            continue
        add(STUCK, f"{pool}.{number} is {status}")
