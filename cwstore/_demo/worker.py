"""A worker of the demo: a process with a store and an agent of its own, which runs task after task.

It reports each step to the parent, as soon as the store has acknowledged it. So the parent has a
record of its own, to compare with what the store holds.
"""

import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from cwstore.entities.accounts import Account
from cwstore.entities.agents import Agent
from cwstore.entities.task import Task
from cwstore.errors import BusyError, ConflictError, CwstoreError
from cwstore.store import Store

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROVIDER = "demo"  # accounts of its own: the demo touches none that do real work
_ADJECTIVES = ("amber", "brave", "calm", "dapper", "eager", "fancy", "gentle", "happy")
_ANIMALS = ("badger", "crane", "dolphin", "ermine", "falcon", "gecko", "heron", "ibis")
_POLL = 0.005  # seconds between two polls of a store in which nothing is ready
_LOOKS = 20  # polls, at most, before it asks again
_RECOVERY = timedelta(milliseconds=40)  # of an exhausted account
# Each step renews it. A worker that hangs for longer loses its task.
_LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is started with."""

    path: str
    initiative_id: str
    number: int
    token: str  # tells this process from every other
    pace: float  # seconds that the smallest task takes


class Event(NamedTuple):
    """What a worker reports: `about` is an id, or the text of an error."""

    kind: str
    about: str = ""
    summary: str = ""  # of a task that is finished


def work(job: Job, parent: "Connection[Any, Any]") -> None:
    """The main function of the process. After an error it tells the parent and exits with 1."""
    try:
        with Store.open(job.path) as store:
            _Worker(store, job, parent).run()
    except (EOFError, ConnectionError):
        return  # the parent has left, so nobody waits for this work
    except CwstoreError as error:
        kind = "busy" if isinstance(error, BusyError) else "error"
        parent.send(Event(kind, f"{type(error).__name__}: {error}"))
        sys.exit(1)


class _Worker:
    def __init__(self, store: Store, job: Job, parent: "Connection[Any, Any]") -> None:
        self._store = store
        self._job = job
        self._parent = parent
        self._agent = self._register()

    def run(self) -> None:
        """Carry out tasks until nothing is ready and nothing that runs can change that."""
        self._report("ready", self._agent.id)
        self._wait_for_word()  # all start at once
        while True:
            self._answer_questions()
            task = self._claim()
            if task is not None:
                self._carry_out(task)
            elif self._is_over():
                break
            else:
                self._wait_for_change()
        self._store.agents.update(self._agent.id, status="stopped", exit_code=0)
        self._report("left")

    def _register(self) -> Agent:
        """The first agent name that is free: another demo may have run on this file."""
        turn = self._job.number
        while True:
            again, place = divmod(turn, len(_ANIMALS) ** 2)
            name = f"{_ADJECTIVES[(place + place // 8) % 8]}-{_ANIMALS[place % 8]}"
            name = f"{name}-{again + 1}" if again else name
            try:
                return self._store.agents.create(
                    name=name,
                    worktree_id=f"worktrees/{name}",
                    initiative_id=self._job.initiative_id,
                    provider=PROVIDER,
                    pid=os.getpid(),
                    process_token=self._job.token,
                )
            except ConflictError:
                turn += 1

    # Finding work

    def _claim(self) -> Task | None:
        """Claim the next ready task, set the agent running, and the phase in progress. Or None.

        Then it tells the parent and waits for an answer: the parent may kill this process instead.
        """
        store = self._store
        with store.transaction():
            task = store.tasks.claim_next_ready(
                initiative_id=self._job.initiative_id, agent_id=self._agent.id, lease=_LEASE
            )
            if task is None:
                return None
            store.agents.update(self._agent.id, status="running")
            if task.phase_id is not None:
                phase = store.phases.find_by_id(task.phase_id)
                if phase is not None and phase.status == "approved":
                    store.phases.update(phase.id, status="in_progress")
        self._report("claimed", task.id)
        self._wait_for_word()
        return task

    def _is_over(self) -> bool:
        """Whether, at one moment, nothing is ready and nobody runs what could change that."""
        store, initiative_id = self._store, self._job.initiative_id
        with store.transaction():
            if store.tasks.find_ready(initiative_id=initiative_id, limit=1):
                return False
            running = store.agents.find_by_status("running")
            return all(agent.initiative_id != initiative_id for agent in running)

    def _wait_for_change(self) -> None:
        """Until somebody commits, or a while: the change may have come just before."""
        seen = self._store.data_version()
        for _ in range(_LOOKS):
            if self._store.data_version() != seen:
                break
            self._pause(_POLL)

    # Carrying out a task

    def _carry_out(self, task: Task) -> None:
        self._check_dependencies(task)
        session = self._store.log_chunks.get_session_count(self._agent.id) + 1
        account = self._take_account()
        context = self._store.tasks.dependency_summaries(task.id)
        self._log_beginning(session, task, context)
        luck = crc32(task.name.encode())
        if luck % 3 == 0:
            self._ask_an_agent(task, luck)
        if luck % 5 == 0:
            self._ask_the_user(task)
        if luck % 4 == 0:
            account = self._exhaust(account)
        for step in range(1 + luck % 4):
            self._pause(self._job.pace)
            self._store.tasks.extend_lease(task.id, _LEASE, agent_id=self._agent.id)
            self._log(session, {"type": "assistant", "step": step + 1, "text": f"… {task.name}"})
        if luck % 7 == 0 and self._is_first_failure(task):
            self._fail(task, session)
            return
        summary = f"{task.name}: done by {self._agent.name}, knowing of {len(context)} tasks."
        self._log(
            session,
            {"type": "result", "subtype": "success", "task_id": task.id, "result": summary},
        )
        self._finish(task, summary)

    def _check_dependencies(self, task: Task) -> None:
        for needed_id in self._store.tasks.get_dependencies(task.id):
            needed = self._store.tasks.find_by_id(needed_id)
            if needed is None or needed.status != "completed":
                self._report("early", task.id)

    def _log_beginning(self, session: int, task: Task, context: list[Task]) -> None:
        self._log(
            session,
            {
                "type": "system",
                "subtype": "init",
                "session_id": f"{self._agent.name}/{session}",
                "task_id": task.id,
            },
            {
                "type": "user",
                "prompt": task.name,
                "context": [{"task": done.name, "summary": done.summary} for done in context[-20:]],
            },
        )

    def _finish(self, task: Task, summary: str) -> None:
        """In one transaction: complete the task, its phase if it was the last, and be free."""
        store = self._store
        with store.transaction():
            store.tasks.complete(task.id, agent_id=self._agent.id, summary=summary)
            store.agents.update(self._agent.id, status="idle", task_id=None)
            if task.phase_id is not None:
                left = store.tasks.find_by_phase_id(task.phase_id)
                if all(one.status == "completed" for one in left):
                    store.phases.update(task.phase_id, status="completed")
        self._report("finished", task.id, summary)

    def _is_first_failure(self, task: Task) -> bool:
        attempts = self._store.tasks.find_attempts(task.id)
        return all(attempt.outcome != "failed" for attempt in attempts)

    def _fail(self, task: Task, session: int) -> None:
        """In one transaction: give the task back as failed, and be free for another."""
        why = "the tests were red"
        self._log(session, {"type": "error", "task_id": task.id, "error": why})
        with self._store.transaction():
            self._store.tasks.fail(task.id, agent_id=self._agent.id, detail=why)
            self._store.agents.update(self._agent.id, status="idle", task_id=None)
        self._report("failed", task.id)

    def _log(self, session: int, *lines: dict[str, Any]) -> None:
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._store.log_chunks.insert_chunk(
            agent_id=self._agent.id,
            agent_name=self._agent.name,
            session_number=session,
            content=content,
        )

    # Accounts

    def _take_account(self) -> Account:
        """Claim the account whose turn it is. While all are exhausted, wait."""
        while True:
            account = self._store.accounts.claim_next_available(PROVIDER)
            if account is not None:
                self._store.agents.update(self._agent.id, account_id=account.id)
                return account
            self._pause(_POLL)

    def _exhaust(self, account: Account) -> Account:
        self._store.accounts.mark_exhausted(account.id, datetime.now(UTC) + _RECOVERY)
        self._report("exhausted", account.id)
        return self._take_account()

    # Talking

    def _answer_questions(self) -> None:
        for asked in self._store.conversations.find_pending_for_agent(self._agent.id):
            self._store.conversations.answer(asked.id, "Yes: see the summary of my last task.")
            self._report("answered", asked.id)

    def _ask_an_agent(self, task: Task, luck: int) -> None:
        others = [
            agent
            for agent in self._store.agents.find_by_status("running")
            if agent.initiative_id == self._job.initiative_id and agent.id != self._agent.id
        ]
        if others:
            asked = self._store.conversations.create(
                from_agent_id=self._agent.id,
                to_agent_id=others[luck % len(others)].id,
                question=f"Do you know anything about: {task.name}?",
                initiative_id=self._job.initiative_id,
                task_id=task.id,
            )
            self._report("asked", asked.id)

    def _ask_the_user(self, task: Task) -> None:
        message = self._store.messages.create(
            sender_type="agent",
            sender_id=self._agent.id,
            recipient_type="user",
            type="question",
            content=f"May I begin? {task.name}",
            requires_response=True,
        )
        self._report("asked_user", message.id)

    # The parent

    def _report(self, kind: str, about: str = "", summary: str = "") -> None:
        self._parent.send(Event(kind, about, summary))

    def _wait_for_word(self) -> None:
        self._parent.recv()

    def _pause(self, seconds: float) -> None:
        """Wait that long. Raises EOFError if the parent ends meanwhile; it sends nothing else."""
        if self._parent.poll(seconds):
            self._parent.recv()
