"""What questions to a model should be answered: readiness, approval, turns, orders, retention."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.engine.model.data import Model, by_order, std

Edges = set[tuple[str, str]]

URGENCY = {"high": 0, "medium": 1, "low": 2}
# An account that was put behind all others for good does not push them to the end of time.
LAST_DAY = datetime(9999, 12, 31, tzinfo=UTC)


def edges_of(model: Model, table: str) -> Edges:
    """(dependent, dependency) of phases or of tasks."""
    return set(model.tables["phase_dependencies" if table == "phases" else "task_dependencies"])


def below(edges: Edges, id: str) -> set[str]:
    """All that it depends on, directly or not."""
    found: set[str] = set()
    waiting = [id]
    while waiting:
        one = waiting.pop()
        new = {needed for dependent, needed in edges if dependent == one} - found
        found |= new
        waiting += new
    return found


def topological(rows: list[Any], edges: Edges) -> list[Any]:
    """Again and again the oldest row of which nothing that it needs is left."""
    left, ordered = sorted(rows, key=std), list[Any]()
    while left:
        ids = {row.id for row in left}
        row = next(row for row in left if not below(edges, row.id) & ids)
        left.remove(row)
        ordered.append(row)
    return ordered


def neighbours(model: Model, table: str, id: str) -> tuple[list[str], list[str]]:
    """What it waits for and what waits for it, oldest first."""
    edges, rows = edges_of(model, table), model.rows(table)
    return (
        [row.id for row in rows if (id, row.id) in edges],
        [row.id for row in rows if (row.id, id) in edges],
    )


def summaries(model: Model, id: str) -> list[Any]:
    """The completed tasks below it, dependencies first."""
    edges = edges_of(model, "tasks")
    needed = below(edges, id)
    done = [row for row in model.rows("tasks", status="completed") if row.id in needed]
    return topological(done, edges)


def is_ready(model: Model, task: Any) -> bool:
    """Whether it can be claimed."""
    return not obstacles(model, task)


def open_attempts(model: Model) -> list[Any]:
    """Attempts that did not end, oldest first."""
    return model.rows("task_attempts", outcome=None)


def held_by(model: Model, agent_id: str | None) -> Any:
    """The open attempt of the agent, or None."""
    if agent_id is None:
        return None
    return next((one for one in open_attempts(model) if one.agent_id == agent_id), None)


def holder_of(model: Model, task_id: str) -> Any:
    """The open attempt at the task, or None."""
    return next((one for one in open_attempts(model) if one.task_id == task_id), None)


def obstacles(model: Model, task: Any) -> list[tuple[str, str, str]]:
    """(kind, id, status) of all that holds the task back."""
    tables = model.tables
    found: list[tuple[str, Any]] = []
    if task.status != "pending":
        found.append(("task", task))
    initiative = tables["initiatives"].get(task.initiative_id)
    if initiative is not None and initiative.status != "active":
        found.append(("initiative", initiative))
    phase = tables["phases"].get(task.phase_id)
    if phase is not None and phase.status not in {"approved", "in_progress"}:
        found.append(("phase", phase))
    for kind, table, key in (
        ("phase_dependency", "phases", task.phase_id),
        ("task_dependency", "tasks", task.id),
    ):
        needed = {one for waiting, one in edges_of(model, table) if waiting == key}
        rows = [row for row in model.rows(table) if row.id in needed]
        found += [(kind, row) for row in rows if row.status != "completed"]
    return [(kind, row.id, row.status) for kind, row in found]


def ready(
    model: Model,
    initiative_id: str | None,
    categories: Iterable[str] | None,
    types: Iterable[str],
) -> list[Any]:
    """The ready tasks, most urgent first."""
    chosen = [
        task
        for task in model.rows("tasks")
        if is_ready(model, task)
        and (initiative_id is None or task.initiative_id == initiative_id)
        and (categories is None or task.category in categories)
        and task.type in types
    ]
    return sorted(chosen, key=by_urgency)


def by_urgency(task: Any) -> tuple[Any, ...]:
    """The order in which ready tasks are handed out."""
    return (URGENCY[task.priority], *by_order(task))


def requires_approval(model: Model, task: Any) -> bool:
    """As the task says, else its initiative, else yes."""
    if task.requires_approval is not None:
        return task.requires_approval
    if task.initiative_id is not None:
        return model.tables["initiatives"][task.initiative_id].merge_requires_approval
    return True


def next_account(model: Model, provider: str, now: datetime) -> str | None:
    """Whose turn it is when the clock shows that."""
    free = [
        row
        for row in model.rows("accounts", provider=provider)
        if not row.is_exhausted or (row.exhausted_until is not None and row.exhausted_until <= now)
    ]
    free.sort(key=lambda row: (row.last_used_at is not None, row.last_used_at, *by_order(row)))
    return free[0].id if free else None


# Retention


@dataclass(frozen=True)
class Session:
    """The chunks of one run of an agent."""

    agent_id: str
    number: int
    chunks: tuple[Any, ...]  # in order of arrival
    must_stay: bool

    @property
    def bytes(self) -> int:
        return sum(len(chunk.content.encode()) for chunk in self.chunks)

    @property
    def last_seq(self) -> int:
        return self.chunks[-1].seq


def sessions(model: Model) -> list[Session]:
    """Every session, least recently written to first."""
    chunks = sorted(model.tables["agent_log_chunks"].values(), key=lambda chunk: chunk.seq)
    by_session: dict[tuple[str, int], list[Any]] = {}
    for chunk in chunks:
        by_session.setdefault((chunk.agent_id, chunk.session_number), []).append(chunk)
    made = [
        Session(
            agent_id,
            number,
            tuple(mine),
            _may_write(model, agent_id) and number == newest_session(model, agent_id),
        )
        for (agent_id, number), mine in by_session.items()
    ]
    return sorted(made, key=lambda session: session.last_seq)


def _may_write(model: Model, agent_id: str) -> bool:
    agent = model.tables["agents"].get(agent_id)
    return agent is not None and agent.status in {"idle", "running", "waiting_for_input"}


def session_count(model: Model, agent_id: str) -> int:
    """The greatest session number ever; 0 if there was none."""
    return max(newest_session(model, agent_id), model.sessions_gone.get(agent_id, 0))


def newest_session(model: Model, agent_id: str) -> int:
    """The greatest session number whose chunks are there; 0 if there is none."""
    chunks = model.tables["agent_log_chunks"].values()
    return max((one.session_number for one in chunks if one.agent_id == agent_id), default=0)


def to_prune(
    model: Model, before: datetime | None, keep_sessions: int | None, max_bytes: int | None
) -> list[Session]:
    """The sessions that should go."""
    gone: list[Session] = []
    left: list[Session] = []
    for session in sessions(model):
        newer = {
            chunk.session_number
            for chunk in model.tables["agent_log_chunks"].values()
            if chunk.agent_id == session.agent_id and chunk.session_number > session.number
        }
        too_old = before is not None and session.chunks[-1].created_at < before
        too_many = keep_sessions is not None and len(newer) >= keep_sessions
        doomed = not session.must_stay and (too_old or too_many)
        (gone if doomed else left).append(session)
    size = sum(session.bytes for session in left)
    for session in left:
        if max_bytes is not None and size > max_bytes and not session.must_stay:
            gone.append(session)
            size -= session.bytes
    return gone


# Plans that cannot be carried out

Node = tuple[str, str]  # "task" or "phase", id
Waits = dict[Node, set[Node]]


def waits(model: Model) -> Waits:
    """What each task and phase waits for; what is completed waits for nothing."""
    tasks, phases = model.tables["tasks"], model.tables["phases"]
    graph: Waits = {("task", key): set() for key in tasks} | {
        ("phase", key): set() for key in phases
    }
    waiting = {
        task.id for task in tasks.values() if task.status not in {"in_progress", "completed"}
    }
    for dependent, needed in edges_of(model, "tasks"):
        if dependent in waiting and tasks[needed].status != "completed":
            graph["task", dependent].add(("task", needed))
    for task in tasks.values():
        if task.phase_id is None or task.status == "completed":
            continue
        if phases[task.phase_id].status != "completed":
            graph["phase", task.phase_id].add(("task", task.id))
        for dependent, needed in edges_of(model, "phases"):
            is_held = dependent == task.phase_id and phases[needed].status != "completed"
            if is_held and task.id in waiting:
                graph["task", task.id].add(("phase", needed))
    return graph


def distances(graph: Waits, start: Node) -> dict[Node, int]:
    """How many steps away is all that waits for it, itself 0."""
    found, reached = {start: 0}, [start]
    for node in reached:
        for one in graph:
            if node in graph[one] and one not in found:
                found[one] = found[node] + 1
                reached.append(one)
    return found


def knots(graph: Waits) -> set[frozenset[Node]]:
    """Sets of nodes of which each waits for each other one."""
    behind = {node: set(distances(graph, node)) for node in graph}
    found = {frozenset(one for one in behind[node] if node in behind[one]) for node in graph}
    return {one for one in found if len(one) > 1}


def blocked(model: Model, graph: Waits) -> dict[Node, dict[Node, int]]:
    """By what somebody has blocked: what waits for it, and how far away it is."""
    tasks, phases = model.rows("tasks"), model.rows("phases")
    found: dict[Node, dict[Node, int]] = {}
    for node in [("task", one.id) for one in tasks if one.status == "blocked"]:
        found[node] = distances(graph, node)
    for phase in [one for one in phases if one.status == "blocked"]:
        node = ("phase", phase.id)
        held = [
            ("task", task.id)
            for task in tasks
            if task.phase_id == phase.id and task.status in {"pending", "pending_approval"}
        ]
        more = {one: graph[one] | {node} for one in held}
        found[node] = distances(graph | more, node)
    for node, far in found.items():
        del far[node]
    return found
