"""The parent of the demo's workers: starts and ends them, kills some, and answers for the user."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, get_context
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from cwstore._demo.report import (
    DemoReport,
    claimed_twice,
    look_at_attempts,
    overwritten,
    read_logs,
    run_too_early,
)
from cwstore._demo.worker import Event, Job, work
from cwstore.core.ids import make_id
from cwstore.entities.agents import Agent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from cwstore._transfer.backlog import BacklogReport
    from cwstore.store import Store

#: Told how much is done, of how much, and a note.
OnProgress = Callable[[float, float, str], None]

TERMINATE_SECONDS = 5.0  # that a worker has to end after it was told to; then it is killed


@dataclass(eq=False, slots=True)
class WorkerProcess:
    """A worker, as its parent sees it."""

    process: "SpawnProcess"
    pipe: "Connection[Any, Any]"
    job: Job
    agent_id: str = ""  # once it is ready
    left: bool = False  # having nothing more to do
    failed: bool = False  # and told why
    killed: bool = False  # by its parent; another takes its place


class Supervisor:
    """The workers, what they told, and the user whom they ask."""

    def __init__(
        self,
        store: "Store",
        initiative_id: str,
        on_progress: OnProgress | None,
        kills: int = 0,
    ) -> None:
        self._store = store
        self._initiative_id = initiative_id
        self._on_progress = on_progress
        self._all: list[WorkerProcess] = []
        self._running: list[WorkerProcess] = []
        self._started = False
        self._events: Counter[str] = Counter()
        self._claims: Counter[str] = Counter()
        self._early: set[str] = set()
        self._ended: Counter[str] = Counter()  # attempts lost or failed, by task
        self._results: dict[str, list[str]] = {}  # that the store took, by task
        self._errors: list[str] = []
        tasks = store.tasks.find_by_initiative_id(initiative_id)
        self._to_do = sum(task.status != "completed" for task in tasks)
        # Claims at which the worker is killed that made them.
        self._kill_at = [1 + self._to_do * n // (kills + 2) for n in range(1, kills + 1)]

    def start(self, jobs: list[Job]) -> None:
        """Start the processes. Those of the first call begin to work when all of them are ready."""
        context = get_context("spawn")
        with _children_ignore_ctrl_c():
            for job in jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(job, theirs), daemon=True)
                process.start()
                theirs.close()  # now the worker's end is held by the worker alone
                worker = WorkerProcess(process, ours, job)
                self._all.append(worker)
                self._running.append(worker)

    def watch(self) -> None:
        """Listen until the last worker has ended."""
        while self._running:
            heard = connection.wait([worker.pipe for worker in self._running])
            for worker in [one for one in self._running if one.pipe in heard]:
                try:
                    event = worker.pipe.recv()
                except (EOFError, OSError):
                    self._reap(worker)
                else:
                    self._handle(worker, event)
            if not self._started and all(worker.agent_id for worker in self._running):
                self._start_work()

    def _start_work(self) -> None:
        self._started = True
        for worker in self._running:
            self._say_go(worker)

    def _say_go(self, worker: WorkerProcess) -> None:
        try:
            worker.pipe.send("go")
        except OSError:
            pass  # it has just ended, which `watch` will hear

    def _go_or_die(self, worker: WorkerProcess) -> None:
        """It has claimed a task and waits. One that is killed now cannot give it back."""
        if self._kill_at and sum(self._claims.values()) >= self._kill_at[0]:
            self._kill_at.pop(0)
            worker.killed = True
            worker.process.kill()
        else:
            self._say_go(worker)

    def _handle(self, worker: WorkerProcess, event: Event) -> None:
        self._events[event.kind] += 1
        match event.kind:
            case "ready":
                worker.agent_id = event.about
                if self._started:
                    self._say_go(worker)
            case "claimed":
                self._claims[event.about] += 1
                self._go_or_die(worker)
            case "finished":
                self._results.setdefault(event.about, []).append(event.summary)
            case "failed":
                self._ended[event.about] += 1
            case "early":
                self._early.add(event.about)
            case "asked_user":
                self._answer_as_user(event.about)
            case "left":
                worker.left = True
            case "busy" | "error":
                worker.failed = True
                self._errors.append(event.about)
            case _:
                pass
        if self._on_progress:
            done = self._events["finished"]
            running = self._events["claimed"] - done - sum(self._ended.values())
            note = (
                f"{done} of {self._to_do} tasks, {running} running on {len(self._running)} workers"
            )
            self._on_progress(done, self._to_do, note)

    def _answer_as_user(self, message_id: str) -> None:
        self._store.messages.respond(message_id, content="Yes, go on.", sender_type="user")

    def _reap(self, worker: WorkerProcess) -> None:
        """Clean up after a worker that has ended. If it did not report that, release its task."""
        self._running.remove(worker)
        worker.pipe.close()
        worker.process.join()
        if worker.left:
            return
        code = worker.process.exitcode
        if code is not None and code > 0 and not worker.failed:
            self._errors.append(f"a worker ended with exit code {code}")
        self._release_tasks({worker.job.token})
        if worker.killed:
            self.start([replace(worker.job, number=len(self._all), token=make_id())])

    def _release_tasks(self, tokens: set[str]) -> None:
        def is_alive(agent: Agent) -> bool:
            return agent.process_token not in tokens

        for crashed in self._store.agents.reconcile(is_alive):
            if crashed.task_id is not None:
                self._ended[crashed.task_id] += 1

    def terminate(self) -> None:
        """End all workers now, and release their tasks."""
        for worker in self._all:
            worker.pipe.close()  # a worker ends when its pipe does
        for worker in self._all:
            worker.process.join(TERMINATE_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._release_tasks({worker.job.token for worker in self._all})

    # Afterwards

    def report(self, file: str, imported: "BacklogReport | None", began: float) -> DemoReport:
        """Compare what the store holds with what the workers reported."""
        store = self._store
        agent_ids = {worker.agent_id for worker in self._all if worker.agent_id}
        logs = read_logs(store, agent_ids)
        found = store.tasks.find_by_initiative_id(self._initiative_id)
        attempts = look_at_attempts(store, found)
        begun = {task_id: len(seqs) for task_id, seqs in logs.starts.items()}
        return DemoReport(
            path=file,
            initiative_id=self._initiative_id,
            workers=len(self._all),
            imported=imported,
            tasks=dict(sorted(Counter(str(task.status) for task in found).items())),
            claims=sum(self._claims.values()),
            claims_made_twice=claimed_twice(self._claims, begun, self._ended),
            tasks_run_too_early=len(self._early | run_too_early(store, self._initiative_id, logs)),
            tasks_left=len(store.tasks.find_ready(initiative_id=self._initiative_id)),
            tasks_stuck=attempts.stuck,
            results_overwritten=overwritten(found, self._results),
            busy_errors=self._events["busy"],
            worker_errors=tuple(self._errors),
            workers_ended_early=sum(not worker.left for worker in self._all),
            workers_killed=sum(worker.killed for worker in self._all),
            attempts=attempts.all,
            attempts_failed=attempts.failed,
            attempts_lost=attempts.lost,
            attempts_recovered=attempts.recovered,
            log_chunks=logs.chunks,
            log_bytes=logs.bytes,
            messages=sum(
                bool(agent_ids & {message.sender_id, message.recipient_id})
                for message in store.messages.find_all()
            ),
            conversations=self._events["asked"],
            conversations_answered=self._events["answered"],
            accounts_exhausted=self._events["exhausted"],
            seconds=time.monotonic() - began,
        )


@contextmanager
def _children_ignore_ctrl_c() -> Generator[None]:
    """Processes started inside ignore Ctrl-C. A terminal sends it to all; the parent ends them."""
    if current_thread() is not main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
