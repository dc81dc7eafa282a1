"""Actions with tasks: claim, claim again, extend, report, report too late, be deleted meanwhile.

Every kind of call names the task by its number and the holder by its agent, None for nobody named.
A lease is None, "short" (it passes while the soak runs) or "long" (it does not).
"""

import os
from collections.abc import Generator
from datetime import timedelta
from time import monotonic_ns
from typing import Any

from cwstore.store import Store
from tools._python.soak.actor import Actor, Call, Holding, Step
from tools._python.soak.pool import POOL_TASKS

LEASES = {None: None, "short": timedelta(milliseconds=2), "long": timedelta(hours=1)}
_HAND = ".hand"


def number_of(id: str) -> int:
    """The number that ends the id of a task or an account."""
    return int(id.rpartition(".")[2])


def is_hand(agent_id: str) -> bool:
    """Whether it is an agent of `dismiss`."""
    return _HAND in agent_id


def work(me: Actor, pool: str) -> Step:
    """Claim a task and report on it, now or some time later, if ever."""
    if me.holding is not None and (me.holding.pool != pool or me.rng.random() < 0.3):
        yield from report_late(me)
    named = me.holding is not None or me.rng.random() < 0.8
    who = me.id if named else None
    # Nobody could tell that a holder without a name is gone, so it takes a lease.
    lease = me.rng.choice((None, "short", "long") if named else ("short", "long"))
    task = yield from _claim(me, pool, who, lease)
    if task is None:
        return
    me.holding = Holding(pool, task, who)
    if me.rng.random() < 0.05:
        os.write(1, b".")  # may be the end of this process
    if named and me.rng.random() < 0.2:
        again = yield from _claim(me, pool, who, me.rng.choice((None, "short", "long")))
        if again is not None:
            me.holding = Holding(pool, again, who)
    if me.rng.random() < 0.2:
        yield from _extend(me)
    if me.rng.random() < 0.85:
        yield from report_late(me)


def _claim(
    me: Actor, pool: str, who: str | None, lease: str | None
) -> Generator[Call, Any, int | None]:
    """The number of the task, or None."""
    key, number = f"pool/{pool}", me.rng.randrange(POOL_TASKS)
    options: dict[str, Any] = {"agent_id": who, "lease": LEASES[lease]}
    if me.rng.random() < 0.6:
        task = yield Call(
            "next",
            key,
            lambda s: s.tasks.claim_next_ready(initiative_id=pool, **options),
            (who, lease),
            outcome=lambda task: task and number_of(task.id),
        )
    else:
        task = yield Call(
            "claim",
            key,
            lambda s: s.tasks.claim(f"{pool}.{number}", **options),
            (number, who, lease),
        )
    return None if task is None else number_of(task.id)


def _extend(me: Actor) -> Step:
    assert me.holding is not None
    pool, number, who = me.holding
    lease = me.rng.choice(("short", "long"))
    yield Call(
        "extend",
        f"pool/{pool}",
        lambda s: s.tasks.extend_lease(f"{pool}.{number}", LEASES[lease], agent_id=who),
        (number, who, lease),
    )


def report_late(me: Actor) -> Step:
    """Report on the task in hand, even if somebody else holds it by now."""
    if me.holding is None:
        return
    holding, me.holding = me.holding, None
    (kind,) = me.rng.choices(("finish", "release", "retry", "block"), weights=(12, 4, 4, 1))
    yield _report(me, holding, kind)


def _report(me: Actor, holding: Holding, kind: str) -> Call:
    pool, number, who = holding
    task = f"{pool}.{number}"
    text = f"by {me.id} {monotonic_ns()}"

    def run(s: Any) -> Any:
        match kind:
            case "finish":
                return s.tasks.complete(task, agent_id=who, summary=text)
            case "release":
                return s.tasks.release(task, agent_id=who)
            case _:
                return s.tasks.fail(task, agent_id=who, detail=text, retry=kind == "retry")

    return Call(kind, f"pool/{pool}", run, (number, who), extra=lambda task: task.summary)


def dismiss(me: Actor, pool: str) -> Step:
    """Make an agent, let it claim, delete it, and let it report."""
    me.hired += 1
    hand, key = f"{me.id}{_HAND}{me.hired}", f"pool/{pool}"

    def hire(tx: Store) -> Any:
        tx.agents.create(
            name=hand, worktree_id=hand, status="running", process_token=me.token, id=hand
        )
        return tx.tasks.claim_next_ready(initiative_id=pool, agent_id=hand)

    task = yield Call(
        "next",
        key,
        hire,
        (hand, None),
        outcome=lambda task: task and number_of(task.id),
        whole=True,
    )
    yield Call("dismiss", key, lambda s: s.agents.delete(hand), (hand,))
    if task is not None:
        yield _report(me, Holding(pool, number_of(task.id), hand), "finish")


def expire(me: Actor, _pool: str) -> Step:
    """Take back what leases have passed of, in all pools; told are the tasks."""
    yield Call(
        "expire",
        f"expire/{me.round}",
        lambda s: s.tasks.expire_leases(),
        outcome=lambda tasks: [task.id for task in tasks],
    )
