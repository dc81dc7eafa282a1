"""The demo: an orchestrator whose worker processes carry out a plan, and a look at the outcome."""

import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from cwstore._demo.plan import store_plan
from cwstore._demo.report import DemoReport, claimed_twice, read_logs, run_too_early
from cwstore._demo.worker import PROVIDER, Event, Job, work
from cwstore._transfer.backlog import Backlog, ImportReport, import_backlog, read_backlog
from cwstore.cli.terminal import Report
from cwstore.core.ids import make_id
from cwstore.entities.agents import Agent
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError
from cwstore.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

_ACCOUNTS = 3
_FAREWELL = 5.0  # seconds that a worker has to end after it was told to


def run_demo(
    path: str | None = None,
    *,
    backlog: str | None = None,
    workers: int = 4,
    pace: float = 0.01,
    on_progress: Report | None = None,
) -> DemoReport:
    """Store a plan, or a backlog, and let that many processes carry it out.

    It works under an initiative, with agents and accounts of its own: what else the file at `path`
    holds is left alone. None is a new file in a new temporary directory; it is kept. `pace` is
    how long (seconds) the smallest task takes. Raises ConflictError if no issue of the backlog
    could be stored, StorageError before anything is made if it cannot be read, InvalidValueError
    for ":memory:", KeyboardInterrupt when stopped, and what the store raises.
    """
    began = time.monotonic()
    if path == ":memory:":
        raise InvalidValueError("path", "the workers are processes of their own; give a file")
    issues = None if backlog is None else read_backlog(backlog)
    if path is None:
        path = os.path.join(tempfile.mkdtemp(prefix="cwstore-demo-"), "demo.db")
    file = os.path.abspath(path)
    with Store.open(file) as store:
        imported = None
        if issues is None:
            initiative_id = store_plan(store)
        else:
            imported = _import(store, issues, on_progress)
            initiative_id = str(imported.initiative_id)
        _ensure_accounts(store)
        crew = _Crew(store, initiative_id, on_progress)
        try:
            crew.start([Job(file, initiative_id, n, make_id(), pace) for n in range(workers)])
            crew.watch()
        except KeyboardInterrupt:
            crew.dismiss()
            raise KeyboardInterrupt(f"stopped; what was begun is pending again in {file}") from None
        except BaseException:
            crew.dismiss()
            raise
        return crew.report(file, imported, began)


def _import(store: Store, backlog: Backlog, on_progress: Report | None) -> ImportReport:
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


@dataclass(eq=False, slots=True)
class _Member:
    """A worker, as its parent sees it."""

    process: "SpawnProcess"
    pipe: "Connection[Any, Any]"
    token: str
    agent_id: str = ""  # once it is ready
    left: bool = False  # having nothing more to do
    failed: bool = False  # and told why


class _Crew:
    """The workers, what they told, and the user whom they ask."""

    def __init__(self, store: Store, initiative_id: str, on_progress: Report | None) -> None:
        self._store = store
        self._initiative_id = initiative_id
        self._on_progress = on_progress
        self._members: list[_Member] = []
        self._present: list[_Member] = []
        self._begun = False
        self._told: Counter[str] = Counter()
        self._claims: Counter[str] = Counter()
        self._early: set[str] = set()
        self._given_back: Counter[str] = Counter()
        self._errors: list[str] = []
        tasks = store.tasks.find_by_initiative_id(initiative_id)
        self._to_do = sum(task.status != "completed" for task in tasks)

    def start(self, jobs: list[Job]) -> None:
        """Start the processes; they wait for each other."""
        context = get_context("spawn")
        with _deaf_to_ctrl_c():
            for job in jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(job, theirs), daemon=True)
                process.start()
                theirs.close()  # now the worker's end is held by the worker alone
                self._members.append(_Member(process, ours, job.token))
        self._present = list(self._members)

    def watch(self) -> None:
        """Listen until the last worker has ended."""
        while self._present:
            heard = connection.wait([member.pipe for member in self._present])
            for member in [one for one in self._present if one.pipe in heard]:
                try:
                    event = member.pipe.recv()
                except (EOFError, OSError):
                    self._see_off(member)
                else:
                    self._take(member, event)
            if not self._begun and all(member.agent_id for member in self._present):
                self._begin()

    def _begin(self) -> None:
        self._begun = True
        for member in self._present:
            try:
                member.pipe.send("begin")
            except OSError:
                pass  # it has just ended, which `watch` will hear

    def _take(self, member: _Member, event: Event) -> None:
        self._told[event.kind] += 1
        match event.kind:
            case "ready":
                member.agent_id = event.about
            case "claimed":
                self._claims[event.about] += 1
            case "early":
                self._early.add(event.about)
            case "asked_user":
                self._answer_as_user(event.about)
            case "left":
                member.left = True
            case "busy" | "error":
                member.failed = True
                self._errors.append(event.about)
            case _:
                pass
        if self._on_progress:
            done = self._told["finished"]
            running = self._told["claimed"] - done - sum(self._given_back.values())
            note = (
                f"{done} of {self._to_do} tasks, {running} running on {len(self._present)} workers"
            )
            self._on_progress(done, self._to_do, note)

    def _answer_as_user(self, message_id: str) -> None:
        self._store.messages.respond(message_id, content="Yes, go on.", sender_type="user")

    def _see_off(self, member: _Member) -> None:
        """A worker has ended; one that did not say so before gives back what it was at."""
        self._present.remove(member)
        member.pipe.close()
        member.process.join()
        if member.left:
            return
        code = member.process.exitcode
        if code is not None and code > 0 and not member.failed:
            self._errors.append(f"a worker ended with exit code {code}")
        self._give_back({member.token})

    def _give_back(self, tokens: set[str]) -> None:
        def is_alive(agent: Agent) -> bool:
            return agent.process_token not in tokens

        for crashed in self._store.agents.reconcile(is_alive):
            if crashed.task_id is not None:
                self._given_back[crashed.task_id] += 1

    def dismiss(self) -> None:
        """End all workers now, and give back what they were at."""
        for member in self._members:
            member.pipe.close()  # is what they look out for
        for member in self._members:
            member.process.join(_FAREWELL)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
        self._give_back({member.token for member in self._members})

    # Afterwards

    def report(self, file: str, imported: ImportReport | None, began: float) -> DemoReport:
        """Look at what the store holds and at what the workers told."""
        store = self._store
        agent_ids = {member.agent_id for member in self._members if member.agent_id}
        logs = read_logs(store, agent_ids)
        tasks = Counter(
            str(task.status) for task in store.tasks.find_by_initiative_id(self._initiative_id)
        )
        ready = store.tasks.find_ready(initiative_id=self._initiative_id)
        return DemoReport(
            path=file,
            initiative_id=self._initiative_id,
            workers=len(self._members),
            imported=imported,
            tasks=dict(sorted(tasks.items())),
            claims=sum(self._claims.values()),
            claims_made_twice=claimed_twice(
                self._claims,
                {task_id: len(seqs) for task_id, seqs in logs.starts.items()},
                self._given_back,
            ),
            tasks_run_too_early=len(self._early | run_too_early(store, self._initiative_id, logs)),
            tasks_left=len(ready) + tasks["in_progress"],
            busy_errors=self._told["busy"],
            worker_errors=tuple(self._errors),
            workers_ended_early=sum(not member.left for member in self._members),
            tasks_given_back=sum(self._given_back.values()),
            log_chunks=logs.chunks,
            log_bytes=logs.bytes,
            messages=sum(
                message.sender_id in agent_ids or message.recipient_id in agent_ids
                for message in store.messages.find_all()
            ),
            conversations=self._told["asked"],
            conversations_answered=self._told["answered"],
            accounts_exhausted=self._told["exhausted"],
            seconds=time.monotonic() - began,
        )


@contextmanager
def _deaf_to_ctrl_c() -> Generator[None]:
    """Processes started inside ignore Ctrl-C: a terminal sends it to all, the parent ends them."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
