"""Read what `show` and `report` tell: all initiatives at a glance, one with its plan, one task.

Everything comes from one snapshot, so that no task is both waiting and done. Credentials are not
read.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, cast

from cwstore.core.checks import NonEmpty
from cwstore.core.statement import rows_of, values_of
from cwstore.entities.agents import Agent, AgentRepository, AgentStatus
from cwstore.entities.claims import TaskAttempt
from cwstore.entities.conversations import Conversation
from cwstore.entities.initiatives import Initiative, InitiativeRepository
from cwstore.entities.messages import Message, MessageRepository
from cwstore.entities.obstacles import Obstacle
from cwstore.entities.phases import Phase, PhaseDependency, PhaseRepository
from cwstore.entities.task import Task, TaskStatus
from cwstore.entities.tasks import TaskDependency, TaskRepository

if TYPE_CHECKING:
    from cwstore.core.port import Database, Snapshot


class TaskCount(NamedTuple):
    """How many tasks of an initiative have a status."""

    initiative_id: NonEmpty
    status: TaskStatus
    tasks: int


class ReadyCount(NamedTuple):
    """How many tasks of an initiative are ready."""

    initiative_id: NonEmpty
    tasks: int


@dataclass(frozen=True, slots=True)
class Work:
    """An open attempt: who has which task in hand."""

    task_id: NonEmpty
    task_name: NonEmpty
    agent_id: NonEmpty | None
    agent_name: str | None
    number: int
    lease_until: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account without its settings and secrets."""

    id: NonEmpty
    email: str
    provider: str
    is_exhausted: bool
    exhausted_until: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Needed:
    """A task of another initiative, that one of this initiative depends on."""

    id: NonEmpty
    name: NonEmpty
    status: TaskStatus


@dataclass(frozen=True, slots=True)
class LogVolume:
    """What agents wrote in one stretch of time; stretches in which nobody did are left out."""

    bucket: int  #: number of the stretch, from 1970
    begins: datetime  #: its first chunk
    chunks: int
    bytes: int  #: of content


@dataclass(frozen=True, slots=True)
class AgentLog:
    """What an agent has written, and is still kept."""

    agent_id: NonEmpty
    agent_name: str  #: that it had when it began
    sessions: int
    chunks: int
    bytes: int  #: of content


@dataclass(frozen=True, slots=True)
class Summary:
    """All initiatives, and who does what."""

    initiatives: list[Initiative]
    counts: dict[str, dict[TaskStatus, int]]  #: by initiative; a status without tasks is left out
    ready: dict[str, int]
    work: list[Work]
    agents: list[Agent]  #: that may still do something, or ask the user something
    messages: list[Message]  #: pending, to the user
    conversations: list[Conversation]  #: pending
    accounts: list[AccountLine]
    names: dict[str, str]  #: of agents, by id


@dataclass(frozen=True, slots=True)
class Board:
    """One initiative with its plan."""

    initiative: Initiative
    phases: list[Phase]  #: dependencies first
    phase_needs: dict[str, list[str]]
    tasks: list[Task]
    task_needs: dict[str, list[str]]
    outside: dict[str, Needed]
    ready: set[str]
    attempts: dict[str, list[TaskAttempt]]  #: by task, oldest first


@dataclass(frozen=True, slots=True)
class TaskSheet:
    """One task and what surrounds it."""

    task: Task
    phase: Phase | None
    obstacles: list[Obstacle]  #: empty: it is ready
    needs: list[Task]
    needed_by: list[Task]
    attempts: list[TaskAttempt]
    agents: list[Agent]


_task_count = rows_of(TaskCount)
_ready_count = rows_of(ReadyCount)
_id = values_of(str, Task)

_COUNT_TASKS = _task_count("""
    SELECT
        initiative_id /* never NULL: of such tasks alone */,
        status,
        count(*) AS tasks
    FROM tasks
    WHERE initiative_id IS NOT NULL
    GROUP BY initiative_id, status
""")

_COUNT_READY = _ready_count("""
    SELECT
        initiative_id /* never NULL: of such tasks alone */,
        count(*) AS tasks
    FROM ready_tasks
    WHERE initiative_id IS NOT NULL
    GROUP BY initiative_id
""")

_FIND_WORK = rows_of(Work)("""
    SELECT
        attempt.task_id, task.name AS task_name, attempt.agent_id, attempt.agent_name,
        attempt.number, attempt.lease_until, attempt.created_at
    FROM task_attempts AS attempt
    JOIN tasks AS task ON task.id = attempt.task_id
    WHERE attempt.outcome IS NULL
    ORDER BY attempt.created_at, attempt.id
""")

_FIND_PENDING_CONVERSATIONS = rows_of(Conversation)("""
    SELECT
        id, from_agent_id, to_agent_id, initiative_id, phase_id, task_id, question, answer, status,
        created_at, updated_at
    FROM conversations
    WHERE status = 'pending'
    ORDER BY created_at, id
""")

_FIND_ACCOUNTS = rows_of(AccountLine)("""
    SELECT id, email, provider, is_exhausted, exhausted_until, last_used_at
    FROM accounts
    ORDER BY sort_order, created_at, id
""")

_FIND_PHASE_EDGES = rows_of(PhaseDependency)(
    """
    SELECT edge.phase_id, edge.depends_on_phase_id
    FROM phases AS phase
    JOIN phase_dependencies AS edge ON edge.phase_id = phase.id
    WHERE phase.initiative_id = :initiative_id
    ORDER BY phase.created_at, phase.id
""",
    initiative_id=NonEmpty,
)

_FIND_TASK_EDGES = rows_of(TaskDependency)(
    """
    SELECT edge.task_id, edge.depends_on_task_id
    FROM tasks AS task
    JOIN task_dependencies AS edge ON edge.task_id = task.id
    WHERE task.initiative_id = :initiative_id
    ORDER BY task.sort_order, task.created_at, task.id
""",
    initiative_id=NonEmpty,
)

_FIND_NEEDED_OUTSIDE = rows_of(Needed)(
    """
    SELECT needed.id, needed.name, needed.status
    FROM tasks AS task
    JOIN task_dependencies AS edge ON edge.task_id = task.id
    JOIN tasks AS needed ON needed.id = edge.depends_on_task_id
    WHERE task.initiative_id = :initiative_id
      AND needed.initiative_id IS DISTINCT FROM task.initiative_id
""",
    initiative_id=NonEmpty,
)

_FIND_READY_IDS = _id(
    """
    SELECT id
    FROM ready_tasks
    WHERE initiative_id = :initiative_id
""",
    initiative_id=NonEmpty,
)

_FIND_ATTEMPTS = rows_of(TaskAttempt)(
    """
    SELECT
        attempt.id, attempt.task_id, attempt.agent_id, attempt.agent_name, attempt.number,
        attempt.lease_until, attempt.outcome, attempt.detail, attempt.ended_at,
        attempt.created_at, attempt.updated_at
    FROM tasks AS task
    JOIN task_attempts AS attempt ON attempt.task_id = task.id
    WHERE task.initiative_id = :initiative_id
    ORDER BY attempt.created_at, attempt.id
""",
    initiative_id=NonEmpty,
)


_stamp = values_of(int, LogVolume)

# By the order of arrival: no index on a time is needed.
_FIRST_CHUNK = _stamp("SELECT created_at FROM agent_log_chunks ORDER BY seq LIMIT 1")
_LAST_CHUNK = _stamp("SELECT created_at FROM agent_log_chunks ORDER BY seq DESC LIMIT 1")

_SUM_CHUNKS = rows_of(LogVolume)(
    """
    SELECT
        created_at / :width AS bucket /* never NULL */,
        min(created_at) AS begins /* never NULL: of rows that have one */,
        count(*) AS chunks,
        coalesce(sum(octet_length(content)), 0) AS bytes
    FROM agent_log_chunks
    GROUP BY created_at / :width
    ORDER BY bucket
    """,
    width=int,
)

_SUM_CHUNKS_OF_AGENTS = rows_of(AgentLog)("""
    SELECT
        agent_id,
        min(agent_name) AS agent_name /* never NULL: of rows that have one */,
        count(DISTINCT session_number) AS sessions,
        count(*) AS chunks,
        coalesce(sum(octet_length(content)), 0) AS bytes
    FROM agent_log_chunks
    GROUP BY agent_id
    ORDER BY bytes DESC, agent_id
""")

_STRETCHES = 80  # at most, of the log volume
_SHORTEST = 60_000_000  # microseconds


def read_log_volume(db: "Snapshot") -> list[LogVolume]:
    """How much agents wrote, in some eighty stretches of time. Reads every chunk, not its text."""
    first, last = db.fetch_one(_FIRST_CHUNK), db.fetch_one(_LAST_CHUNK)
    if first is None or last is None:
        return []
    return db.fetch_all(_SUM_CHUNKS, width=max((last - first) // _STRETCHES, _SHORTEST))


def read_agent_logs(db: "Snapshot") -> list[AgentLog]:
    """What is kept of each agent, the most first. Reads every chunk, not its text."""
    return db.fetch_all(_SUM_CHUNKS_OF_AGENTS)


def read_summary(db: "Snapshot") -> Summary:
    """All initiatives, oldest first, and who does what."""
    agents = AgentRepository(_as_database(db))
    counts: defaultdict[str, dict[TaskStatus, int]] = defaultdict(dict)
    for count in db.fetch_all(_COUNT_TASKS):
        counts[count.initiative_id][count.status] = count.tasks
    work = db.fetch_all(_FIND_WORK)
    holders = {one.agent_id for one in work}
    known = agents.find_all()
    return Summary(
        initiatives=InitiativeRepository(_as_database(db)).find_all(),
        counts=dict(counts),
        ready={count.initiative_id: count.tasks for count in db.fetch_all(_COUNT_READY)},
        work=work,
        agents=[one for one in known if one.id in holders or _is_about(one)],
        messages=MessageRepository(_as_database(db)).find_pending_for_user(),
        conversations=db.fetch_all(_FIND_PENDING_CONVERSATIONS),
        accounts=db.fetch_all(_FIND_ACCOUNTS),
        names={one.id: one.name for one in known},
    )


def _is_about(agent: Agent) -> bool:
    return agent.status not in (AgentStatus.STOPPED, AgentStatus.CRASHED)


def read_board(db: "Snapshot", initiative: Initiative) -> Board:
    """One initiative with its phases, tasks, edges and attempts."""
    own = initiative.id
    phase_needs: defaultdict[str, list[str]] = defaultdict(list)
    for phase_id, needed in db.fetch_all(_FIND_PHASE_EDGES, initiative_id=own):
        phase_needs[phase_id].append(needed)
    task_needs: defaultdict[str, list[str]] = defaultdict(list)
    for task_id, needed in db.fetch_all(_FIND_TASK_EDGES, initiative_id=own):
        task_needs[task_id].append(needed)
    attempts: defaultdict[str, list[TaskAttempt]] = defaultdict(list)
    for attempt in db.fetch_all(_FIND_ATTEMPTS, initiative_id=own):
        attempts[attempt.task_id].append(attempt)
    return Board(
        initiative=initiative,
        phases=PhaseRepository(_as_database(db)).topological_order(own),
        phase_needs=dict(phase_needs),
        tasks=TaskRepository(_as_database(db)).find_by_initiative_id(own),
        task_needs=dict(task_needs),
        outside={one.id: one for one in db.fetch_all(_FIND_NEEDED_OUTSIDE, initiative_id=own)},
        ready=set(db.fetch_all(_FIND_READY_IDS, initiative_id=own)),
        attempts=dict(attempts),
    )


def read_task(db: "Snapshot", task: Task) -> TaskSheet:
    """One task and what surrounds it."""
    tasks = TaskRepository(_as_database(db))
    phases = PhaseRepository(_as_database(db))
    return TaskSheet(
        task=task,
        phase=None if task.phase_id is None else phases.get(task.phase_id),
        obstacles=tasks.why_not_ready(task.id),
        needs=[tasks.get(one) for one in tasks.get_dependencies(task.id)],
        needed_by=[tasks.get(one) for one in tasks.get_dependents(task.id)],
        attempts=tasks.find_attempts(task.id),
        agents=AgentRepository(_as_database(db)).find_by_task_id(task.id),
    )


def find_subject(db: "Snapshot", id: str) -> Initiative | Phase | Task | Agent | None:
    """What has this id; None: nothing that can be shown."""
    database = _as_database(db)
    return (
        InitiativeRepository(database).find_by_id(id)
        or TaskRepository(database).find_by_id(id)
        or PhaseRepository(database).find_by_id(id)
        or AgentRepository(database).find_by_id(id)
        or AgentRepository(database).find_by_name(id)
    )


def _as_database(db: "Snapshot") -> "Database":
    """To a repository of which only queries are called, which need no more than a snapshot has."""
    return cast("Database", db)
