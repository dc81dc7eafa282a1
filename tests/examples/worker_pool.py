"""A pool of threads that works through a plan: one store, shared; one agent a thread."""

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

from cwstore import ConflictError, ConflictReason, Store, Task

LEASE = timedelta(minutes=5)


def work(store: Store, do: Callable[[Task], str], name: str) -> list[str]:
    """Do what is ready, as an agent of that name, until nothing is; the names of what was done."""
    agent = store.agents.create(name=name, worktree_id=name)
    done: list[str] = []
    while task := store.tasks.claim_next_ready(agent_id=agent.id, lease=LEASE):
        try:
            summary = do(task)  # outside of any transaction: others write meanwhile
        except OSError as error:  # blocked, until somebody has looked at it
            store.tasks.fail(task.id, agent_id=agent.id, detail=repr(error), retry=False)
            continue
        try:
            store.tasks.complete(task.id, agent_id=agent.id, summary=summary)
        except ConflictError as error:
            if error.reason is not ConflictReason.NOT_HELD:
                raise
            continue  # it took longer than the lease: somebody else has the task now
        done.append(task.name)
    return done


def work_through(path: str, do: Callable[[Task], str], threads: int = 4) -> list[str]:
    """Open the store and let that many threads work; the names of what was done."""
    with Store.open(path) as store, ThreadPoolExecutor(threads) as pool:
        names = [f"worker-{number}" for number in range(threads)]
        return [name for done in pool.map(partial(work, store, do), names) for name in done]


if __name__ == "__main__":
    print(*work_through(sys.argv[1], lambda task: f"did {task.name}"), sep="\n")
