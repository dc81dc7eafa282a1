"""What a board says of each task: its state in one word, and what it waits for."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from cwstore._overview.reading import Board, Summary
from cwstore.entities.initiatives import InitiativeStatus
from cwstore.entities.phases import Phase, PhaseStatus
from cwstore.entities.task import Task, TaskStatus

#: The states of tasks: what is done first.
STATES = ("completed", "in progress", "ready", "blocked", "needs approval", "waiting")
_STATES = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.IN_PROGRESS: "in progress",
    TaskStatus.PENDING_APPROVAL: "needs approval",
    TaskStatus.BLOCKED: "blocked",
}
_OPEN = (PhaseStatus.APPROVED, PhaseStatus.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class Wait:
    """Something that a pending task waits for."""

    kind: str  #: initiative, phase or task
    id: str
    name: str
    status: str
    until: str = "completed"  #: what it must be; "active" of an initiative, "open" of its own phase

    def __str__(self) -> str:
        must = "" if self.until == "completed" else f" to be {self.until}"
        return f"{self.kind} {self.name}{must} ({self.status.replace('_', ' ')})"


def state_of(board: Board, task: Task) -> str:
    """One of STATES."""
    return _STATES.get(task.status) or ("ready" if task.id in board.ready else "waiting")


def states_of(summary: Summary, initiative_id: str) -> dict[str, int]:
    """How many tasks of the initiative are in each of STATES."""
    counts = summary.counts.get(initiative_id, {})
    states = {state: counts.get(status, 0) for status, state in _STATES.items()}
    states["ready"] = summary.ready.get(initiative_id, 0)
    states["waiting"] = counts.get(TaskStatus.PENDING, 0) - states["ready"]
    return {state: states[state] for state in STATES}


class Waits:
    """What the pending tasks of a board wait for."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._tasks = {task.id: task for task in board.tasks}
        self._phases = {phase.id: phase for phase in board.phases}

    def of(self, task: Task) -> list[Wait]:
        """Nothing, if it is ready or not pending. Parents and children gate nothing."""
        if task.status is not TaskStatus.PENDING:
            return []
        return [*self._of_plan(task), *self._of_tasks(task)]

    def of_phase(self, phase: Phase) -> list[Wait]:
        """The phases that it depends on and that are not completed."""
        needed = (self._phases[one] for one in self._board.phase_needs.get(phase.id, ()))
        return [
            Wait("phase", one.id, one.name, one.status)
            for one in needed
            if one.status is not PhaseStatus.COMPLETED
        ]

    def _of_plan(self, task: Task) -> Iterator[Wait]:
        initiative = self._board.initiative
        if initiative.status is not InitiativeStatus.ACTIVE:
            yield Wait("initiative", initiative.id, initiative.name, initiative.status, "active")
        phase = self._phases.get(task.phase_id or "")
        if phase is not None:
            if phase.status not in _OPEN:
                yield Wait("phase", phase.id, phase.name, phase.status, "open")
            yield from self.of_phase(phase)

    def _of_tasks(self, task: Task) -> Iterator[Wait]:
        for needed_id in self._board.task_needs.get(task.id, ()):
            needed = self._tasks.get(needed_id) or self._board.outside[needed_id]
            if needed.status is not TaskStatus.COMPLETED:
                yield Wait("task", needed.id, needed.name, needed.status)


def children_of(tasks: list[Task]) -> dict[str | None, list[Task]]:
    """The tasks by parent, in their order. Under None: those whose parent is not among these."""
    known = {task.id for task in tasks}
    children: defaultdict[str | None, list[Task]] = defaultdict(list)
    for task in tasks:
        parent = task.parent_task_id
        children[parent if parent in known else None].append(task)
    return dict(children)


def tree_of(tasks: list[Task]) -> Iterator[tuple[int, Task]]:
    """Each task with its depth: a parent comes before its children."""
    children = children_of(tasks)
    todo = [(0, task) for task in reversed(children.get(None, []))]
    while todo:
        depth, task = todo.pop()
        yield depth, task
        todo += [(depth + 1, child) for child in reversed(children.get(task.id, []))]
