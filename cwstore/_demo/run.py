"""The demo: an orchestrator whose worker processes carry out a plan, and a look at the outcome."""

import os
import tempfile
import time

from cwstore._demo.plan import store_plan
from cwstore._demo.report import DemoReport
from cwstore._demo.supervisor import OnProgress, Supervisor
from cwstore._demo.worker import PROVIDER, Job
from cwstore._transfer.backlog import Backlog, BacklogReport, import_backlog, read_backlog
from cwstore.core.drivers import is_address, shown
from cwstore.core.ids import make_id
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError
from cwstore.store import Store

_ACCOUNTS = 3


def run_demo(
    path: str | None = None,
    *,
    backlog: str | None = None,
    workers: int = 4,
    kills: int = 2,
    pace: float = 0.01,
    on_progress: OnProgress | None = None,
) -> DemoReport:
    """Store a plan, or a backlog, and let that many processes carry it out.

    It works under an initiative, with agents and accounts of its own: what else the file at `path`
    holds is left alone. None is a new file in a new temporary directory; it is kept. `kills` of the
    processes are killed with a task in hand, and others take their place; `pace` is how long
    (seconds) the smallest task takes. Raises ConflictError if no issue of the backlog
    could be stored, StorageError before anything is made if it cannot be read, InvalidValueError
    for ":memory:", KeyboardInterrupt when stopped, and what the store raises.
    """
    began = time.monotonic()
    if path == ":memory:":
        raise InvalidValueError("path", "the workers are processes of their own; give a file")
    issues = None if backlog is None else read_backlog(backlog)
    if path is None:
        path = os.path.join(tempfile.mkdtemp(prefix="cwstore-demo-"), "demo.db")
    file = path if is_address(path) else os.path.abspath(path)
    with Store.open(file) as store:
        imported = None if issues is None else _import(store, issues, on_progress)
        initiative_id = store_plan(store) if imported is None else str(imported.initiative_id)
        _ensure_accounts(store)
        supervisor = Supervisor(store, initiative_id, on_progress, kills)
        jobs = [Job(file, initiative_id, n, make_id(), pace) for n in range(workers)]
        _carry_out(supervisor, jobs, file)
        return supervisor.report(store.path, imported, began)


def _carry_out(supervisor: Supervisor, jobs: list[Job], file: str) -> None:
    """Run the jobs to their end. An exception, as Ctrl-C, ends them all."""
    try:
        supervisor.start(jobs)
        supervisor.watch()
    except KeyboardInterrupt:
        supervisor.terminate()
        raise KeyboardInterrupt(
            f"stopped; what was begun is pending again in {shown(file)}"
        ) from None
    except BaseException:
        supervisor.terminate()
        raise


def _import(store: Store, backlog: Backlog, on_progress: OnProgress | None) -> BacklogReport:
    def notify(done: int, total: int) -> None:
        if on_progress:
            on_progress(done, total, f"importing {backlog.file}")

    report = import_backlog(store, backlog, on_progress=notify)
    if report.initiative_id is None:
        why = f"; {report.refused[0]}" if report.refused else ""
        raise ConflictError(
            f"no issue of {backlog.file} could be stored{why}; give a new path, or none",
            reason=ConflictReason.TAKEN,
        )
    return report


def _ensure_accounts(store: Store) -> None:
    for number in range(len(store.accounts.find_by_provider(PROVIDER)), _ACCOUNTS):
        store.accounts.create(
            email=f"demo-{number + 1}@example.org",
            provider=PROVIDER,
            credentials='{"token": "not a real one"}',
            sort_order=number,
        )
