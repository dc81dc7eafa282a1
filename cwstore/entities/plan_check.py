"""Find what can never become ready in the plan of an initiative.

A task waits for the tasks it depends on, and for every phase that its own phase depends on. A phase
waits for its tasks: it is completed when they are. Rings across these can be stored, because the
database guards tasks and phases each for themselves.
"""

from collections import defaultdict, deque
from collections.abc import Iterable
from enum import StrEnum
from json import dumps
from typing import TYPE_CHECKING, NamedTuple

from cwstore.core import publish
from cwstore.core.checks import NonEmpty, check_id
from cwstore.core.entity import dataclass
from cwstore.core.statement import rows_of
from cwstore.entities.task import TaskStatus

if TYPE_CHECKING:
    from cwstore.core.port import Database

__all__ = ["PlanProblem", "PlanProblemKind"]


class PlanProblemKind(StrEnum):
    """Why work can never become ready."""

    #: Each waits for the next one, and the last for the first.
    RING = "ring"
    #: The first is blocked, or an initiative that is archived or completed; the others wait for
    #: it, the nearest first.
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """One thing to mend in a plan."""

    kind: PlanProblemKind
    #: Of tasks and phases, and of an initiative, in the order that the kind says.
    ids: tuple[str, ...]
    #: The same in words: what each of them is.
    detail: str


class _Phase(NamedTuple):
    id: NonEmpty
    status: str  #: a PhaseStatus, which only `phases` knows


class _Initiative(NamedTuple):
    id: NonEmpty
    status: str  #: an InitiativeStatus, which only `initiatives` knows


class _Task(NamedTuple):
    id: NonEmpty
    initiative_id: NonEmpty | None
    phase_id: NonEmpty | None
    status: TaskStatus


class _Edge(NamedTuple):
    dependent: NonEmpty
    needed: NonEmpty


_initiative = rows_of(_Initiative)
_phase = rows_of(_Phase)
_task = rows_of(_Task)
_edge = rows_of(_Edge)

_INITIATIVE = _initiative(
    """
    SELECT id, CAST(status AS TEXT) AS status /* never NULL: the column is not */
    FROM initiatives
    WHERE id = :id
    """,
    id=NonEmpty,
)

_PHASES = _phase(
    """
    SELECT id, CAST(status AS TEXT) AS status /* never NULL: the column is not */
    FROM phases
    WHERE initiative_id = :initiative_id
    ORDER BY created_at, id
    """,
    initiative_id=NonEmpty,
)

_PHASE_EDGES = _edge(
    """
    SELECT edge.phase_id AS dependent, edge.depends_on_phase_id AS needed
    FROM phases
    JOIN phase_dependencies AS edge ON edge.phase_id = phases.id
    WHERE phases.initiative_id = :initiative_id
    """,
    initiative_id=NonEmpty,
)

_TASKS = _task(
    """
    SELECT id, initiative_id, phase_id, status
    FROM tasks
    WHERE initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
    """,
    initiative_id=NonEmpty,
)

# Through tasks of other initiatives, and of none.
_TASK_EDGES = _edge(
    """
    WITH RECURSIVE reached (id) AS (
        SELECT id FROM tasks WHERE initiative_id = :initiative_id
        UNION
        SELECT edge.depends_on_task_id
        FROM reached
        JOIN task_dependencies AS edge ON edge.task_id = reached.id
    )
    SELECT task_id AS dependent, depends_on_task_id AS needed
    FROM task_dependencies
    WHERE task_id IN (SELECT id FROM reached)
    """,
    initiative_id=NonEmpty,
)

_TASKS_OF = _task(
    """
    SELECT id, initiative_id, phase_id, status
    FROM tasks
    WHERE id IN (SELECT value FROM json_each(:ids))
    """,
    ids=str,
)

#: A task, a phase or an initiative: what it is, and its id. They may have one id.
_Node = tuple[str, str]
_Graph = dict[_Node, list[_Node]]


#: In such an initiative no task becomes ready. One that is `pending_review` goes on afterwards.
_CLOSED = ("completed", "archived")


class _Plan:
    """What the initiative waits for, also in other initiatives."""

    def __init__(self) -> None:
        self.tasks: dict[str, _Task] = {}
        self.phases: dict[str, _Phase] = {}
        self.task_edges: set[_Edge] = set()
        self.phase_edges: set[_Edge] = set()
        self.closed: dict[str, str] = {}  # other initiatives in which nothing begins: their status

    def read(self, db: "Database", initiative_id: str) -> None:
        """Read it, and every other initiative that one of its tasks waits for."""
        unread, seen = [initiative_id], {initiative_id}
        while unread:
            owner = unread.pop()
            one = db.fetch_one(_INITIATIVE, id=owner)
            if one is not None and owner != initiative_id and one.status in _CLOSED:
                self.closed[owner] = one.status
            self.phases |= {one.id: one for one in db.fetch_all(_PHASES, initiative_id=owner)}
            self.phase_edges.update(db.fetch_all(_PHASE_EDGES, initiative_id=owner))
            self.tasks |= {one.id: one for one in db.fetch_all(_TASKS, initiative_id=owner)}
            edges = db.fetch_all(_TASK_EDGES, initiative_id=owner)
            self.task_edges.update(edges)
            strangers = {edge.needed for edge in edges} - self.tasks.keys()
            for task in db.fetch_all(_TASKS_OF, ids=dumps(sorted(strangers))):
                self.tasks[task.id] = task
                if task.initiative_id is not None and task.initiative_id not in seen:
                    seen.add(task.initiative_id)
                    unread.append(task.initiative_id)

    def waits(self) -> _Graph:
        """What each open task and phase waits for. What is completed holds up nobody."""
        graph: _Graph = {("task", one): [] for one in self.tasks}
        graph |= {("phase", one): [] for one in self.phases}
        needed_phases: defaultdict[str, list[str]] = defaultdict(list)
        for phase, needed in sorted(self.phase_edges):
            if self._is_open(self.phases.get(needed)):
                needed_phases[phase].append(needed)
        for dependent, needed in sorted(self.task_edges):
            if self._is_waiting(dependent) and self._is_open(self.tasks.get(needed)):
                graph["task", dependent].append(("task", needed))
        for task in self.tasks.values():
            holder = self.phases.get(task.phase_id or "")
            if holder is None or task.status == TaskStatus.COMPLETED:
                continue
            if self._is_open(holder):
                graph["phase", holder.id].append(("task", task.id))
            if self._is_waiting(task.id):
                graph["task", task.id] += [("phase", one) for one in needed_phases[holder.id]]
        return graph

    def blocked(self) -> list[_Node]:
        """What somebody set to blocked, and the other initiatives that are over."""
        tasks = [("task", one.id) for one in self.tasks.values() if one.status == "blocked"]
        phases = [("phase", one.id) for one in self.phases.values() if one.status == "blocked"]
        return [*tasks, *phases, *(("initiative", one) for one in self.closed)]

    def held(self) -> _Graph:
        """The tasks that a blocked phase itself holds back, or a closed initiative.

        Of the latter those alone that another initiative waits for.
        """
        held: _Graph = defaultdict(list)
        for task in self.tasks.values():
            holder = self.phases.get(task.phase_id or "")
            if holder is not None and holder.status == "blocked" and self._is_to_do(task):
                held["phase", holder.id].append(("task", task.id))
        for needed in sorted({edge.needed for edge in self.task_edges if self._leaves(edge)}):
            task = self.tasks[needed]
            if task.initiative_id in self.closed and self._is_to_do(task):
                held["initiative", task.initiative_id].append(("task", needed))
        return held

    def _leaves(self, edge: _Edge) -> bool:
        """Whether it leads into another initiative."""
        ends = self.tasks.get(edge.dependent), self.tasks.get(edge.needed)
        return None not in ends and len({one.initiative_id for one in ends if one}) == 2

    def _is_to_do(self, task: _Task) -> bool:
        return task.status in (TaskStatus.PENDING_APPROVAL, TaskStatus.PENDING)

    def _is_waiting(self, task_id: str) -> bool:
        return self.tasks[task_id].status in ("pending_approval", "pending", "blocked")

    def _is_open(self, one: "_Task | _Phase | None") -> bool:
        return one is not None and one.status != "completed"


def check_plan(db: "Database", initiative_id: str) -> list[PlanProblem]:
    """See `InitiativeRepository.check_plan`; of one moment if a transaction is open."""
    check_id("initiative_id", initiative_id)
    plan = _Plan()
    plan.read(db, initiative_id)
    graph = plan.waits()
    own = {("task", one.id) for one in plan.tasks.values() if one.initiative_id == initiative_id}
    own |= {("phase", one.id) for one in db.fetch_all(_PHASES, initiative_id=initiative_id)}
    rings = [_ring(graph, part) for part in _knots(graph) if not own.isdisjoint(part)]
    problems = [_problem(PlanProblemKind.RING, ring) for ring in rings]
    waiting = _reversed(graph)
    held = plan.held()
    for blocked in plan.blocked():
        behind = _behind(blocked, waiting, held.get(blocked, []))
        if not own.isdisjoint(behind):
            state = (
                plan.closed.get(blocked[1], "blocked") if blocked[0] == "initiative" else "blocked"
            )
            problems.append(_problem(PlanProblemKind.BLOCKED, [blocked, *behind], state))
    return problems


def _problem(kind: PlanProblemKind, nodes: list[_Node], state: str = "") -> PlanProblem:
    shown = [f"{what} {key!r}" for what, key in nodes]
    if kind is PlanProblemKind.RING:
        detail = " waits for ".join([*shown, shown[0]])
    else:
        detail = f"{shown[0]} is {state}, and these wait for it: {', '.join(shown[1:])}"
    return PlanProblem(kind, tuple(key for _, key in nodes), detail)


def _knots(graph: _Graph) -> list[list[_Node]]:
    """The parts in which everything waits for everything. Tarjan's algorithm, without recursion."""
    number: dict[_Node, int] = {}
    lowest: dict[_Node, int] = {}
    stack: list[_Node] = []
    on_stack: set[_Node] = set()
    knots: list[list[_Node]] = []
    for root in graph:
        work = [(root, iter(graph[root]))] if root not in number else []
        while work:
            node, rest = work[-1]
            if node not in number:
                number[node] = lowest[node] = len(number)
                stack.append(node)
                on_stack.add(node)
            following = next(rest, None)
            if following is None:
                work.pop()
                if work:
                    above = work[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == number[node]:
                    part = [stack.pop()]
                    while part[-1] != node:
                        part.append(stack.pop())
                    on_stack.difference_update(part)
                    if len(part) > 1:
                        knots.append(part[::-1])
            elif following not in number:
                work.append((following, iter(graph[following])))
            elif following in on_stack:
                lowest[node] = min(lowest[node], number[following])
    return knots


def _ring(graph: _Graph, knot: Iterable[_Node]) -> list[_Node]:
    """A shortest ring through the first node of the knot."""
    nodes = list(knot)
    start, inside = nodes[0], set(nodes)
    came_from: dict[_Node, _Node] = {}
    reached = deque([start])
    while True:  # everything in a knot waits for everything, so the way back is found
        node = reached.popleft()
        for following in graph[node]:
            if following == start:
                ring = [node]
                while ring[-1] != start:
                    ring.append(came_from[ring[-1]])
                return ring[::-1]
            if following in inside and following not in came_from:
                came_from[following] = node
                reached.append(following)


def _reversed(graph: _Graph) -> _Graph:
    """What waits for each task and phase."""
    waiting: _Graph = {node: [] for node in graph}
    for node, needed in graph.items():
        for one in needed:
            waiting[one].append(node)
    return waiting


def _behind(blocked: _Node, waiting: _Graph, held: list[_Node]) -> list[_Node]:
    """All that waits for it, directly or not, the nearest first."""
    found = [blocked]
    seen = {blocked}
    for node in found:
        waits = waiting.get(node, [])
        for one in (*waits, *held) if node == blocked else waits:
            if one not in seen:
                seen.add(one)
                found.append(one)
    return found[1:]


publish(globals())
