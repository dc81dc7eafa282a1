"""A dispatcher that starts processes by `spawn`: each opens a store of its own.

Workers that die take nothing along: the dispatcher asks which agents are alive, and what the others
held is ready again.
"""

import multiprocessing
import os
import signal
import sys
from datetime import timedelta
from multiprocessing.process import BaseProcess

from cwstore import Agent, Store

LEASE = timedelta(minutes=5)


def work(path: str, agent_id: str, doomed: str | None = None) -> None:
    """What a worker process does: everything that is ready. It dies at the task named `doomed`."""
    with Store.open(path) as store:
        store.agents.update(agent_id, status="running", pid=os.getpid())
        while task := store.tasks.claim_next_ready(agent_id=agent_id, lease=LEASE):
            if task.name == doomed:
                os.kill(os.getpid(), signal.SIGKILL)
            store.tasks.complete(task.id, agent_id=agent_id, summary=f"by process {os.getpid()}")
        store.agents.update(agent_id, status="stopped", pid=None)


def start(store: Store, path: str, name: str, doomed: str | None = None) -> BaseProcess:
    """Start a worker process as a new agent of that name."""
    agent = store.agents.create(name=name, worktree_id=name)
    process = multiprocessing.get_context("spawn").Process(
        target=work, args=(path, agent.id, doomed), name=agent.id
    )
    process.start()
    return process


def dispatch(path: str, workers: int = 2, doomed: str | None = None) -> list[str]:
    """Let processes work until nothing is ready; the names of the agents that died."""
    with Store.open(path) as store:
        processes = [start(store, path, f"agent-{number}", doomed) for number in range(workers)]
        for process in processes:
            process.join()

        def is_alive(agent: Agent) -> bool:
            return any(one.name == agent.id and one.is_alive() for one in processes)

        dead = store.agents.reconcile(is_alive)  # what they held is pending again
        if store.tasks.find_ready(limit=1):
            start(store, path, f"agent-{workers}").join()
        return [agent.name for agent in dead]


if __name__ == "__main__":
    print("died:", *dispatch(sys.argv[1]))
