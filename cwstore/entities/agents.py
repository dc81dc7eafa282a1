"""Agents: the coding agents that run tasks, each in a git worktree of its own."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple, TypedDict, Unpack

from cwstore.core import publish
from cwstore.core.checks import Json, NonEmpty, check_answer, check_id
from cwstore.core.entity import dataclass
from cwstore.core.ids import make_id
from cwstore.core.repository import (
    Mode,
    Repository,
    command,
    fetch_page,
    patch_row,
    query,
    row_or_raise,
)
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, Patch, lists_of, rows_of, values_of
from cwstore.entities.claims import find_open_attempts, held_by, take_back_from
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError

__all__ = ["Agent", "AgentMode", "AgentPatch", "AgentRepository", "AgentStatus"]


class AgentStatus(StrEnum):
    """Running and waiting_for_input say that a process exists; `reconcile` checks it."""

    IDLE = "idle"
    RUNNING = "running"
    WAITING_FOR_INPUT = "waiting_for_input"
    STOPPED = "stopped"
    CRASHED = "crashed"


AgentStatusLike = (
    AgentStatus | Literal["idle", "running", "waiting_for_input", "stopped", "crashed"]
)


class AgentMode(StrEnum):
    """What kind of work it was started for."""

    EXECUTE = "execute"
    DISCUSS = "discuss"
    PLAN = "plan"
    DETAIL = "detail"
    REFINE = "refine"


AgentModeLike = AgentMode | Literal["execute", "discuss", "plan", "detail", "refine"]


@dataclass(frozen=True, slots=True)
class Agent:
    """One row of `agents`, as it was when read."""

    id: NonEmpty
    #: Unique; adjective-animal.
    name: NonEmpty
    task_id: NonEmpty | None
    initiative_id: NonEmpty | None
    #: Of the CLI, to resume it; None while there is none.
    session_id: NonEmpty | None
    #: Path of its git worktree.
    worktree_id: NonEmpty
    provider: str
    account_id: NonEmpty | None
    status: AgentStatus
    mode: AgentMode
    #: None if no process was started.
    pid: int | None
    #: Start time and boot id of the process: tells a pid that is used again.
    process_token: str | None
    #: None if it did not end, or nobody saw it end.
    exit_code: int | None
    output_file_path: str | None
    result: Json | None
    #: None if it asks nothing.
    pending_questions: Json | None
    #: None while the user still sees it.
    user_dismissed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class AgentPatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    name: str
    task_id: str | None
    initiative_id: str | None
    session_id: str | None
    worktree_id: str
    provider: str
    account_id: str | None
    status: AgentStatusLike
    mode: AgentModeLike
    pid: int | None
    process_token: str | None
    exit_code: int | None
    output_file_path: str | None
    result: str | None
    pending_questions: str | None
    user_dismissed_at: datetime | None


_COLUMNS = """id, name, task_id, initiative_id, session_id, worktree_id, provider, account_id,
    status, mode, pid, process_token, exit_code, output_file_path, result, pending_questions,
    user_dismissed_at, created_at, updated_at"""
_agent = rows_of(Agent)
_id = values_of(str, Agent)

_CREATE = _agent(f"""
    INSERT INTO agents ({_COLUMNS})
    VALUES (
        :id, :name, :task_id, :initiative_id, :session_id, :worktree_id, :provider, :account_id,
        :status, :mode, :pid, :process_token, NULL, :output_file_path, NULL, NULL,
        NULL, :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _agent(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE id = :id
""")
_list = lists_of(Agent, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM agents
    ORDER BY created_at, id
""")

_FIND_BY_NAME = _agent(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE name = :name
""")

_FIND_BY_TASK = _list(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE task_id = :task_id
    ORDER BY created_at, id
""")

_FIND_BY_SESSION = _agent(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE session_id = :session_id
    ORDER BY created_at DESC, id DESC
    LIMIT 1
""")

_FIND_BY_STATUS = _list(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE status = :status
    ORDER BY created_at, id
""")

# In one statement, so that no agent is missed that goes from one status to the other meanwhile.
_FIND_TO_ASK = _agent(f"""
    SELECT {_COLUMNS}
    FROM agents
    WHERE id IN (
            SELECT id
            FROM agents
            WHERE status IN ('running', 'waiting_for_input')
            UNION
            SELECT agent_id
            FROM task_attempts
            WHERE agent_id IS NOT NULL
              AND outcome IS NULL
        )
    ORDER BY created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE agents
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    AgentPatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM agents
    WHERE id = :id
    RETURNING id
""")

# Only while it is the process that was looked at.
_CRASH = _agent(
    f"""
    UPDATE agents
    SET status = 'crashed', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
      AND status = :status
      AND pid IS NOT DISTINCT FROM :pid
      AND process_token IS NOT DISTINCT FROM :process_token
    RETURNING {_COLUMNS}
    """,
    pid=int | None,
    process_token=str | None,
)

# Of a task that was set in progress without a claim. Not while another agent runs on it or holds
# it: given back, it would be run twice at once.
_GIVE_BACK_UNCLAIMED = _id(
    f"""
    UPDATE tasks
    SET status = 'pending', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :task_id
      AND status = 'in_progress'
      AND NOT EXISTS (
            SELECT 1
            FROM task_attempts
            WHERE task_id = :task_id
              AND outcome IS NULL
          )
      AND NOT EXISTS (
            SELECT 1
            FROM agents
            WHERE task_id = :task_id
              AND status IN ('running', 'waiting_for_input')
          )
    """,
    task_id=NonEmpty,
)


class _Asked(NamedTuple):
    """An agent as it was when `reconcile` looked, and the attempt that it had open."""

    agent: Agent
    attempt_id: str | None


class AgentRepository(Repository[Mode]):
    """Create, read, update and delete agents, and find out which have died."""

    @command
    def create(
        self,
        *,
        name: str,
        worktree_id: str,
        task_id: str | None = None,
        initiative_id: str | None = None,
        session_id: str | None = None,
        provider: str = "claude",
        account_id: str | None = None,
        status: AgentStatusLike = AgentStatus.IDLE,
        mode: AgentModeLike = AgentMode.EXECUTE,
        pid: int | None = None,
        process_token: str | None = None,
        output_file_path: str | None = None,
        id: str | None = None,
    ) -> Agent:
        """A new agent.

        Raises ConflictError if the name or the id is taken, MissingReferenceError if the task,
        the initiative or the account does not exist.
        """
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            name=name,
            task_id=task_id,
            initiative_id=initiative_id,
            session_id=session_id,
            worktree_id=worktree_id,
            provider=provider,
            account_id=account_id,
            status=status,
            mode=mode,
            pid=pid,
            process_token=process_token,
            output_file_path=output_file_path,
        )

    @query
    def find_by_id(self, id: str) -> Agent | None:
        """The agent, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Agent:
        """The agent. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "agents", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Agent]:
        """Every agent, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_name(self, name: str) -> Agent | None:
        """The agent of that name, or None."""
        return self._db.fetch_one(_FIND_BY_NAME, name=name)

    @query
    def find_by_task_id(self, task_id: str, **page: Unpack[Paging]) -> list[Agent]:
        """Agents that have the task, oldest first."""
        return fetch_page(self._db, _FIND_BY_TASK, page, task_id=task_id)

    @query
    def find_by_session_id(self, session_id: str) -> Agent | None:
        """The newest agent of that CLI session, or None."""
        return self._db.fetch_one(_FIND_BY_SESSION, session_id=session_id)

    @query
    def find_by_status(self, status: AgentStatusLike, **page: Unpack[Paging]) -> list[Agent]:
        """Agents of that status, oldest first."""
        return fetch_page(self._db, _FIND_BY_STATUS, page, status=status)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[AgentPatch]
    ) -> Agent:
        """Change what is given and `updated_at`.

        Raises NotFoundError; ConflictError if the name is taken or `updated_at` is not
        `if_updated_at`; MissingReferenceError if what it shall refer to does not exist.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it with its proposals and conversations; its logs stay. False if none was.

        The task that it holds is pending again, the attempt lost.
        """
        check_id("id", id)
        with self._db.transaction():
            take_back_from(self._db, id, "the agent was deleted")
            return self._db.write_one(_DELETE, id=id) is not None

    @command
    def reconcile(self, is_alive: Callable[[Agent], bool | Awaitable[bool]]) -> list[Agent]:
        """Find the agents that are gone and take back what they held. Returns them, oldest first.

        `is_alive` is asked about each agent that is running, waits for input or holds a task,
        before anything is written and with no lock held. It returns True or False: anything else
        is InvalidValueError, and nothing is changed. Then each dead one becomes crashed, its
        attempt lost and its task pending; one transaction per agent. One that got another status,
        process or task meanwhile is left alone and not returned. Under AsyncStore `is_alive` may be
        a coroutine function. Raises ConflictError inside of a transaction: others would wait for
        what `is_alive` does.
        """
        if not callable(is_alive):
            raise InvalidValueError("is_alive", "expected a callable that takes an Agent")
        if self._db.in_transaction():
            raise ConflictError(
                "reconcile() inside of a transaction: leave it first",
                reason=ConflictReason.TRANSACTION,
            )
        asked = self._find_to_ask()
        dead = [one for one in asked if not check_answer("is_alive", is_alive(one.agent))]
        return self._bury(dead)

    def _find_to_ask(self) -> list[_Asked]:
        agents = self._db.fetch_all(_FIND_TO_ASK)
        # After the agents: what was claimed between the two reads is known before anybody is asked.
        held = {one.agent_id: one.id for one in find_open_attempts(self._db, None, {})}
        return [_Asked(agent, held.get(agent.id)) for agent in agents]

    def _bury(self, dead: list[_Asked]) -> list[Agent]:
        return [crashed for one in dead if (crashed := self._crash(*one)) is not None]

    def _crash(self, seen: Agent, attempt_id: str | None) -> Agent | None:
        with self._db.transaction():
            now = held_by(self._db, seen.id)
            if now is not None and now.id != attempt_id:
                return None  # it was given a task since it was looked at
            crashed = self._db.write_one(
                _CRASH,
                id=seen.id,
                status=seen.status,
                pid=seen.pid,
                process_token=seen.process_token,
            )
            if crashed is None:
                return None
            take_back_from(self._db, seen.id, "the agent crashed")
            if crashed.task_id is not None:
                self._db.execute(_GIVE_BACK_UNCLAIMED, task_id=crashed.task_id)
            return crashed


publish(globals())
