"""The outcome of the demo, from the workers' own records and from what the store holds."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cwstore._transfer.backlog import BacklogReport
from cwstore.entities.claims import AttemptOutcome
from cwstore.entities.task import Task

if TYPE_CHECKING:
    from cwstore.store import Store


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The outcome. Comments say which numbers must be zero."""

    path: str
    initiative_id: str
    workers: int
    imported: BacklogReport | None  #: None: the built-in plan
    tasks: dict[str, int]  #: by status
    claims: int
    claims_made_twice: int  #: must be 0
    tasks_run_too_early: int  #: before one that they depend on was complete; must be 0
    tasks_left: int  #: that could run at the end; must be 0
    tasks_stuck: int  #: in progress, or held, when nobody works any more; must be 0
    results_overwritten: int  #: that the store took and does not have; must be 0
    busy_errors: int  #: must be 0
    worker_errors: tuple[str, ...]  #: must be none
    workers_ended_early: int  #: killed, or by an error
    workers_killed: int  #: of these: by the demo itself, in the middle of a task
    attempts: int
    attempts_failed: int  #: given back by their worker, for another try
    attempts_lost: int  #: of workers that ended in the middle of one
    attempts_recovered: int  #: of these: the task was completed all the same
    log_chunks: int
    log_bytes: int
    messages: int
    conversations: int
    conversations_answered: int
    accounts_exhausted: int  #: how often
    seconds: float

    @property
    def problems(self) -> tuple[str, ...]:
        """One for each number that must be zero and is not."""
        zeros = {
            "claims made twice": self.claims_made_twice,
            "tasks run before a dependency was complete": self.tasks_run_too_early,
            "tasks left that could run": self.tasks_left,
            "tasks stuck": self.tasks_stuck,
            "results overwritten": self.results_overwritten,
            "busy errors": self.busy_errors,
        }
        return (
            *(f"{number} {what}" for what, number in zeros.items() if number),
            *self.worker_errors,
        )

    @property
    def ok(self) -> bool:
        """Whether all is as it must be."""
        return not self.problems


class LogFindings(NamedTuple):
    """What the log chunks of some agents say. A position is the `seq` of a chunk."""

    chunks: int
    bytes: int
    starts: dict[str, list[int]]  # positions at which a task was begun
    ends: dict[str, list[int]]  # positions at which it was finished


def read_logs(store: "Store", agent_ids: Iterable[str]) -> LogFindings:
    """Read all that the agents wrote."""
    found = LogFindings(0, 0, {}, {})
    chunks = size = 0
    for agent_id in agent_ids:
        for chunk in store.log_chunks.iter_by_agent_id(agent_id):
            chunks += 1
            size += len(chunk.content.encode())
            for line in chunk.content.split("\n")[:-1]:
                entry = json.loads(line)
                if entry["type"] == "system":
                    found.starts.setdefault(entry["task_id"], []).append(chunk.seq)
                elif entry["type"] == "result":
                    found.ends.setdefault(entry["task_id"], []).append(chunk.seq)
    return found._replace(chunks=chunks, bytes=size)


def run_too_early(store: "Store", initiative_id: str, logs: LogFindings) -> set[str]:
    """Tasks that, by the order of the logs, began before one that they wait for had ended.

    Their phase's dependencies count too. A task that did not run here was complete before.
    """
    in_phase: dict[str | None, list[str]] = {}
    tasks = store.tasks.find_by_initiative_id(initiative_id)
    for task in tasks:
        in_phase.setdefault(task.phase_id, []).append(task.id)
    early: set[str] = set()
    for task in tasks:
        needed = store.tasks.get_dependencies(task.id)
        if task.phase_id is not None:
            for phase_id in store.phases.get_dependencies(task.phase_id):
                needed = needed + in_phase.get(phase_id, [])
        begun = min(logs.starts.get(task.id, ()), default=None)
        if begun is None:
            continue
        for one in needed:
            if one in logs.starts and begun < max(logs.ends.get(one, ()), default=begun + 1):
                early.add(task.id)
    return early


class AttemptFindings(NamedTuple):
    """What became of the attempts at some tasks."""

    all: int
    failed: int
    lost: int
    recovered: int  # lost ones whose task was completed all the same
    stuck: int  # tasks that are in progress or held, though nobody works any more


def look_at_attempts(store: "Store", tasks: Iterable[Task]) -> AttemptFindings:
    """Read all of them, when every worker has ended."""
    found: Counter[str] = Counter()
    for task in tasks:
        outcomes = [attempt.outcome for attempt in store.tasks.find_attempts(task.id)]
        lost = outcomes.count(AttemptOutcome.LOST)
        found["all"] += len(outcomes)
        found["failed"] += outcomes.count(AttemptOutcome.FAILED)
        found["lost"] += lost
        found["recovered"] += lost if task.status == "completed" else 0
        found["stuck"] += task.status == "in_progress" or None in outcomes
    return AttemptFindings(*(found[field] for field in AttemptFindings._fields))


def overwritten(tasks: Iterable[Task], results: Mapping[str, Sequence[str]]) -> int:
    """How many results the store accepted and no longer holds."""
    kept = {task.id: task.summary for task in tasks}
    return sum(result != kept.get(task_id) for task_id, told in results.items() for result in told)


def claimed_twice(claims: Mapping[str, int], begun: Mapping[str, int], ended: Counter[str]) -> int:
    """How many claims are too many, by the workers' reports or by their logs, whichever is worse.

    A task whose attempt was lost or failed may be claimed once more.
    """
    twice = 0
    for task_id in claims.keys() | begun.keys():
        times = max(claims.get(task_id, 0), begun.get(task_id, 0))
        twice += max(0, times - 1 - ended[task_id])
    return twice
