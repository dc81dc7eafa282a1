"""Tasks of a store."""

from cwstore import Store
from tools._python.bench_postgres.claims import CLIENTS, Client


def prepare(address: str, jobs: int) -> None:
    """Tasks that wait for nothing, and an agent for each client."""
    with Store.open(address) as store:
        initiative = store.initiatives.create(name="claims")
        store.tasks.create_many(
            [{"name": f"task {n}", "initiative_id": initiative.id} for n in range(jobs)]
        )
        for number in range(CLIENTS):
            store.agents.create(id=f"agent-{number}", name=f"agent {number}", worktree_id="x")


def client(address: str, number: int) -> Client:
    """An agent that claims whatever is next."""
    store = Store.open(address, busy_timeout=60)
    agent_id = f"agent-{number}"
    tasks = store.tasks

    def once() -> str | None:
        task = tasks.claim_next_ready(agent_id=agent_id)
        if task is None:
            return None
        tasks.complete(task.id, agent_id=agent_id)
        return task.id

    return Client(once, store.close)
