"""What a store should hold: the rows of every table, and the rules between them.

Written from the specification, not from the code: rows are replaced, never changed, and a copy of
the whole is cheap.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

from cwstore.core.mapping import field_names
from cwstore.core.secret import Secret
from cwstore.entities.accounts import Account
from cwstore.entities.agents import Agent
from cwstore.entities.change_sets import ChangeSet, ChangeSetEntry
from cwstore.entities.chat_sessions import ChatMessage, ChatSession
from cwstore.entities.claims import TaskAttempt
from cwstore.entities.conversations import Conversation
from cwstore.entities.initiatives import Initiative
from cwstore.entities.log_chunks import LogChunk
from cwstore.entities.messages import Message
from cwstore.entities.pages import Page
from cwstore.entities.phases import Phase, PhaseDependency
from cwstore.entities.projects import InitiativeProject, Project
from cwstore.entities.proposals import Proposal
from cwstore.entities.review_comments import ReviewComment
from cwstore.entities.tasks import Task, TaskDependency
from cwstore.errors import (
    ConflictError,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
)

Key = str | tuple[str, str]
Errors = set[type[CwstoreError]]

MICROSECOND = timedelta(microseconds=1)
_STATES = count()
FIRST = datetime(1, 1, 1, tzinfo=UTC)

TABLES: dict[str, type[Any]] = {
    "initiatives": Initiative,
    "phases": Phase,
    "phase_dependencies": PhaseDependency,
    "tasks": Task,
    "task_dependencies": TaskDependency,
    "task_attempts": TaskAttempt,
    "agents": Agent,
    "accounts": Account,
    "proposals": Proposal,
    "pages": Page,
    "projects": Project,
    "initiative_projects": InitiativeProject,
    "messages": Message,
    "agent_log_chunks": LogChunk,
    "conversations": Conversation,
    "change_sets": ChangeSet,
    "change_set_entries": ChangeSetEntry,
    "chat_sessions": ChatSession,
    "chat_messages": ChatMessage,
    "review_comments": ReviewComment,
}

#: Kept by the engine and by triggers, and what callers see of it is compared: the last stamp, how
#: deep tasks and phases wait for others, session numbers whose chunks are gone.
INTERNAL = {"stamps", "readiness", "task_levels", "phase_levels", "agent_log_sessions"}

# What a column is that `create` was not given; the others are None.
DEFAULTS: dict[str, dict[str, object]] = {
    "initiatives": {"status": "active", "merge_requires_approval": True},
    "phases": {"status": "pending"},
    "tasks": {
        "type": "auto",
        "category": "execute",
        "priority": "medium",
        "status": "pending",
        "sort_order": 0,
    },
    "agents": {"provider": "claude", "status": "idle", "mode": "execute"},
    "accounts": {"provider": "claude", "is_exhausted": False, "sort_order": 0},
    "proposals": {"status": "pending", "sort_order": 0},
    "pages": {"sort_order": 0},
    "projects": {"default_branch": "main"},
    "messages": {"type": "info", "requires_response": False, "status": "pending"},
    "conversations": {"status": "pending"},
    "change_sets": {"status": "applied"},
    "change_set_entries": {"sort_order": 0},
    "chat_sessions": {"status": "active"},
    "review_comments": {"author": "you", "resolved": False},
}


class Reference(NamedTuple):
    """A foreign key, and what becomes of the row when its target is deleted."""

    table: str
    column: str
    target: str
    cascades: bool  # else the column becomes NULL


CASCADE, SET_NULL = True, False
REFERENCES = (
    Reference("phases", "initiative_id", "initiatives", CASCADE),
    Reference("phase_dependencies", "phase_id", "phases", CASCADE),
    Reference("phase_dependencies", "depends_on_phase_id", "phases", CASCADE),
    Reference("tasks", "phase_id", "phases", CASCADE),
    Reference("tasks", "initiative_id", "initiatives", CASCADE),
    Reference("tasks", "parent_task_id", "tasks", CASCADE),
    Reference("task_dependencies", "task_id", "tasks", CASCADE),
    Reference("task_dependencies", "depends_on_task_id", "tasks", CASCADE),
    Reference("task_attempts", "task_id", "tasks", CASCADE),
    Reference("task_attempts", "agent_id", "agents", SET_NULL),
    Reference("agents", "task_id", "tasks", SET_NULL),
    Reference("agents", "initiative_id", "initiatives", SET_NULL),
    Reference("agents", "account_id", "accounts", SET_NULL),
    Reference("proposals", "agent_id", "agents", CASCADE),
    Reference("proposals", "initiative_id", "initiatives", CASCADE),
    Reference("pages", "initiative_id", "initiatives", CASCADE),
    Reference("pages", "parent_page_id", "pages", CASCADE),
    Reference("initiative_projects", "initiative_id", "initiatives", CASCADE),
    Reference("initiative_projects", "project_id", "projects", CASCADE),
    Reference("messages", "sender_id", "agents", SET_NULL),
    Reference("messages", "recipient_id", "agents", SET_NULL),
    Reference("messages", "parent_message_id", "messages", SET_NULL),
    Reference("conversations", "from_agent_id", "agents", CASCADE),
    Reference("conversations", "to_agent_id", "agents", CASCADE),
    Reference("conversations", "initiative_id", "initiatives", SET_NULL),
    Reference("conversations", "phase_id", "phases", SET_NULL),
    Reference("conversations", "task_id", "tasks", SET_NULL),
    Reference("change_sets", "initiative_id", "initiatives", CASCADE),
    Reference("change_sets", "agent_id", "agents", SET_NULL),
    Reference("change_set_entries", "change_set_id", "change_sets", CASCADE),
    Reference("chat_sessions", "initiative_id", "initiatives", CASCADE),
    Reference("chat_sessions", "agent_id", "agents", SET_NULL),
    Reference("chat_messages", "chat_session_id", "chat_sessions", CASCADE),
    Reference("chat_messages", "change_set_id", "change_sets", SET_NULL),
    Reference("review_comments", "phase_id", "phases", CASCADE),
)
TO: dict[str, list[Reference]] = {
    table: [one for one in REFERENCES if one.target == table] for table in TABLES
}
FROM: dict[str, list[Reference]] = {
    table: [one for one in REFERENCES if one.table == table] for table in TABLES
}


def key_of(row: Any) -> Key:
    """The id; of an edge or a pair, both."""
    if hasattr(row, "id"):
        return row.id
    first, second = (getattr(row, name) for name in field_names(type(row)))
    return first, second


class Model:
    """The rows of each table by key, in the order in which they came."""

    def __init__(self, tables: dict[str, dict[Any, Any]], last_seq: int) -> None:
        self.tables = tables
        self.last_seq = last_seq  # the greatest `seq` ever given out
        self.floor = FIRST  # the greatest stamp ever given out and kept
        #: By agent: the greatest session number of a chunk that is gone.
        self.sessions_gone: dict[str, int] = {}
        self.state = next(_STATES)  # models of the same state are equal

    def copy(self) -> "Model":
        made = Model({name: dict(rows) for name, rows in self.tables.items()}, self.last_seq)
        made.state, made.floor = self.state, self.floor
        made.sessions_gone = dict(self.sessions_gone)
        return made

    def rows(self, table: str, **wanted: object) -> list[Any]:
        """The rows with these values, by created_at and id where they have them."""
        chosen = [
            row
            for row in self.tables[table].values()
            if all(getattr(row, column) == value for column, value in wanted.items())
        ]
        return sorted(chosen, key=std) if chosen and hasattr(chosen[0], "created_at") else chosen

    def put(self, table: str, row: Any) -> None:
        self.tables[table][key_of(row)] = row
        self.state = next(_STATES)

    def delete(self, table: str, key: Any) -> None:
        """Delete a row, and what goes or changes with it."""
        row = self.tables[table].pop(key)
        self.state = next(_STATES)
        for reference in TO[table]:
            rows = self.tables[reference.table]
            for child in [one for one, other in rows.items() if _points(other, reference, key)]:
                if child not in rows:
                    continue
                if reference.cascades:
                    self.delete(reference.table, child)
                else:
                    rows[child] = replace(rows[child], **{reference.column: None})
        if table in {"phases", "tasks"}:
            for session in self.rows("chat_sessions", target_type=table[:-1], target_id=key):
                self.delete("chat_sessions", session.id)
        if table == "agents":
            self.sessions_gone.pop(key, None)
        if table == "agent_log_chunks" and row.agent_id in self.tables["agents"]:
            gone = self.sessions_gone.get(row.agent_id, 0)
            self.sessions_gone[row.agent_id] = max(gone, row.session_number)

    def below(self, task: str) -> set[str]:
        """All tasks that lie in it."""
        own = {row.id for row in self.tables["tasks"].values() if row.parent_task_id == task}
        return own.union(*map(self.below, own))

    # What may not be stored

    def refusals(self, table: str, row: Any, *, new: bool) -> Errors:
        """Why this row cannot be stored; empty if it can. Which is said first is not promised."""
        errors: Errors = set()
        if new and key_of(row) in self.tables[table]:
            errors.add(ConflictError)
        for reference in FROM[table]:
            key = getattr(row, reference.column)
            if key is None:
                continue
            if reference.target == table and key == row.id:
                errors.add(CycleError)
            elif key not in self.tables[reference.target]:
                errors.add(MissingReferenceError)
        if any(other.id != row.id and _clash(table, row, other) for other in self.rows(table)):
            errors.add(ConflictError)
        if table == "pages" and row.id in self._above_page(row.parent_page_id):
            errors.add(CycleError)
        if new and table == "messages" and not _has_parties(row):
            errors.add(InvalidValueError)
        lost = table == "chat_sessions" and row.target_id not in self.tables[f"{row.target_type}s"]
        if new and lost:
            errors.add(MissingReferenceError)
        if self._disagrees(table, row):
            errors.add(InvalidValueError)
        return errors

    def _above_page(self, page: str | None) -> set[str]:
        """The page and all that it lies in."""
        above: set[str] = set()
        while page is not None and page in self.tables["pages"] and page not in above:
            above.add(page)
            page = self.tables["pages"][page].parent_page_id
        return above

    def _disagrees(self, table: str, row: Any) -> bool:
        """Whether it is of another initiative than what it belongs to."""
        owners: list[Any] = []
        if table == "tasks":
            owners += [self.tables["phases"].get(row.phase_id)]
            owners += [self.tables["tasks"].get(row.parent_task_id)]
        elif table == "pages":
            owners += [self.tables["pages"].get(row.parent_page_id)]
        elif table == "chat_sessions":
            owners += [self.tables[f"{row.target_type}s"].get(row.target_id)]
        known = {owner.initiative_id for owner in owners if owner is not None} - {None}
        if not known:
            return False
        return row.initiative_id is not None and not known <= {row.initiative_id}


def std(row: Any) -> tuple[datetime, str]:
    """The sort key of most lists."""
    return row.created_at, row.id


def by_order(row: Any) -> tuple[int, datetime, str]:
    """The sort key of lists that the caller can arrange."""
    return row.sort_order, row.created_at, row.id


def raw(row: Any) -> tuple[object, ...]:
    """The row as SQLite has it."""
    return tuple(_raw(getattr(row, name)) for name in field_names(type(row)))


def _raw(value: object) -> object:
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=UTC)) // MICROSECOND
    return value.reveal() if isinstance(value, Secret) else value


def _points(row: Any, reference: Reference, key: Key) -> bool:
    return getattr(row, reference.column) == key


def _has_parties(message: Any) -> bool:
    return all(
        (agent is None) == (party == "user")
        for party, agent in (
            (message.sender_type, message.sender_id),
            (message.recipient_type, message.recipient_id),
        )
    )


def _clash(table: str, row: Any, other: Any) -> bool:
    """Whether there may be only one of the two."""
    if table == "agents":
        return row.name == other.name
    if table == "projects":
        return row.name == other.name or row.url == other.url
    if table == "pages":
        roots = row.parent_page_id is None and other.parent_page_id is None
        return roots and row.initiative_id == other.initiative_id
    if table == "chat_sessions":
        return row.status == other.status == "active" and (
            (row.target_type, row.target_id) == (other.target_type, other.target_id)
        )
    return False
