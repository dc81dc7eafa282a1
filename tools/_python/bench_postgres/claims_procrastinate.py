"""Jobs of procrastinate: its `fetch_job` and `finish_job`, on one connection."""

import asyncio
from importlib import import_module
from typing import Any

from tools._python.bench_postgres.claims import Client

# No dependency of this checkout's own environment, hence the loose types.
procrastinate: Any = import_module("procrastinate")
jobs_module: Any = import_module("procrastinate.jobs")


def _app(address: str) -> Any:
    connector = procrastinate.PsycopgConnector(conninfo=address, min_size=1, max_size=1)
    return procrastinate.App(connector=connector)


def prepare(address: str, jobs: int) -> None:
    """Jobs of one queue."""

    async def fill() -> None:
        app = _app(address)
        async with app.open_async():
            await app.schema_manager.apply_schema_async()
            new = [
                jobs_module.Job(
                    id=None, queue="q", lock=None, queueing_lock=None, task_name="work",
                    task_kwargs={"n": n},
                )
                for n in range(jobs)
            ]  # fmt: skip
            await app.job_manager.batch_defer_jobs_async(new)

    asyncio.run(fill())


def client(address: str, number: int) -> Client:
    """A worker of its own."""
    del number
    runner = asyncio.Runner()
    app = _app(address)
    manager = app.job_manager

    async def start() -> Any:
        await app.open_async()
        return await manager.register_worker()

    worker_id = runner.run(start())

    async def both() -> str | None:
        job = await manager.fetch_job(["q"], worker_id)
        if job is None:
            return None
        await manager.finish_job(job, jobs_module.Status.SUCCEEDED, False)
        return str(job.id)

    def close() -> None:
        runner.run(app.close_async())
        runner.close()

    return Client(lambda: runner.run(both()), close)
