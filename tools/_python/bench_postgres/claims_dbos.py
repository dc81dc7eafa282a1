"""Workflows of DBOS: its `start_queued_workflows` and `update_workflow_outcome`."""

from importlib import import_module
from typing import Any
from uuid import uuid4

from tools._python.bench_postgres.claims import Client

# No dependency of this checkout's own environment, hence the loose types.
dbos: Any = import_module("dbos")


def _client(address: str) -> Any:
    return dbos.DBOSClient(system_database_url=_url(address), system_database_pool_size=1)


def _url(address: str) -> str:
    return address.replace("postgresql", "postgresql+psycopg", 1)


def prepare(address: str, jobs: int) -> None:
    """Workflows of one queue, of which a worker takes one at a time."""
    dbos.run_dbos_database_migrations(_url(address))
    client = _client(address)
    client.register_queue("q", worker_concurrency=1)
    for _ in range(jobs):
        client.enqueue({"queue_name": "q", "workflow_name": "work"})
    client.destroy()


def client(address: str, number: int) -> Client:
    """An executor of its own."""
    made = _client(address)
    database, queue = made._sys_db, made.retrieve_queue("q")

    def once() -> str | None:
        owner = str(uuid4())
        claimed, _ = database.start_queued_workflows(
            queue, f"executor-{number}", "1", None, 0, owner_xid=owner, is_latest_version=True
        )
        if not claimed:
            return None
        database.update_workflow_outcome(claimed[0], "SUCCESS", output="1", owner_xid=owner)
        return str(claimed[0])

    return Client(once, made.destroy)
