"""Put rows into a store as they are: with their ids and times."""

from typing import Any, LiteralString, TypeVar

from cwstore._transfer.selects import LogSession
from cwstore.core.checks import NonEmpty
from cwstore.core.statement import Statement, rows_of, values_of
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
from cwstore.entities.task import Task
from cwstore.entities.tasks import TaskDependency

T = TypeVar("T")


def _into(
    table: LiteralString, entity: type[T], columns: LiteralString, key: LiteralString = "id"
) -> Statement[T]:
    """An INSERT that changes nothing if a row of that key is there already."""
    names = columns.split()
    listed = ", ".join(names)
    binds = ", ".join(f":{name}" for name in names)
    return rows_of(entity)(f"""
        INSERT INTO {table} ({listed})
        VALUES ({binds})
        ON CONFLICT ({key}) DO NOTHING
    """)


#: By table.
INSERTS: dict[str, Statement[Any]] = {
    "initiatives": _into(
        "initiatives",
        Initiative,
        "id name status merge_requires_approval branch created_at updated_at",
    ),
    "projects": _into(
        "projects", Project, "id name url default_branch last_fetched_at created_at updated_at"
    ),
    "initiative_projects": _into(
        "initiative_projects",
        InitiativeProject,
        "initiative_id project_id",
        "initiative_id, project_id",
    ),
    "phases": _into("phases", Phase, "id initiative_id name content status created_at updated_at"),
    "phase_dependencies": _into(
        "phase_dependencies",
        PhaseDependency,
        "phase_id depends_on_phase_id",
        "phase_id, depends_on_phase_id",
    ),
    "tasks": _into(
        "tasks",
        Task,
        "id phase_id initiative_id parent_task_id name description type category priority status"
        " requires_approval sort_order summary created_at updated_at",
    ),
    "task_dependencies": _into(
        "task_dependencies",
        TaskDependency,
        "task_id depends_on_task_id",
        "task_id, depends_on_task_id",
    ),
    "agents": _into(
        "agents",
        Agent,
        "id name task_id initiative_id session_id worktree_id provider account_id status mode pid"
        " process_token exit_code output_file_path result pending_questions user_dismissed_at"
        " created_at updated_at",
    ),
    "agent_log_sessions": _into(
        "agent_log_sessions", LogSession, "agent_id last_session_number", "agent_id"
    ),
    "task_attempts": _into(
        "task_attempts",
        TaskAttempt,
        "id task_id agent_id agent_name number lease_until outcome detail ended_at created_at"
        " updated_at",
    ),
    "pages": _into(
        "pages",
        Page,
        "id initiative_id parent_page_id title content sort_order created_at updated_at",
    ),
    "proposals": _into(
        "proposals",
        Proposal,
        "id agent_id initiative_id target_type target_id title summary content metadata status"
        " sort_order created_at updated_at",
    ),
    "change_sets": _into(
        "change_sets",
        ChangeSet,
        "id initiative_id agent_id agent_name summary status created_at updated_at",
    ),
    "change_set_entries": _into(
        "change_set_entries",
        ChangeSetEntry,
        "id change_set_id entity_type entity_id action previous_state new_state sort_order"
        " created_at",
    ),
    "chat_sessions": _into(
        "chat_sessions",
        ChatSession,
        "id target_type target_id initiative_id agent_id status created_at updated_at",
    ),
    "chat_messages": _into(
        "chat_messages",
        ChatMessage,
        "id chat_session_id role content change_set_id created_at",
    ),
    "review_comments": _into(
        "review_comments",
        ReviewComment,
        "id phase_id file_path line_number line_type body author resolved created_at updated_at",
    ),
    "messages": _into(
        "messages",
        Message,
        "id sender_type sender_id recipient_type recipient_id type content requires_response"
        " status parent_message_id created_at updated_at",
    ),
    "conversations": _into(
        "conversations",
        Conversation,
        "id from_agent_id to_agent_id initiative_id phase_id task_id question answer status"
        " created_at updated_at",
    ),
    "agent_log_chunks": _into(
        "agent_log_chunks",
        LogChunk,
        "id agent_id agent_name session_number content created_at",
    ),
}

_id = values_of(str, Task)

#: Whether there is a row of that id, by table.
FINDS: dict[str, Statement[str]] = {
    "initiatives": _id("SELECT id FROM initiatives WHERE id = :id"),
    "phases": _id("SELECT id FROM phases WHERE id = :id"),
    "tasks": _id("SELECT id FROM tasks WHERE id = :id"),
    "agents": _id("SELECT id FROM agents WHERE id = :id"),
    "accounts": _id("SELECT id FROM accounts WHERE id = :id"),
    "messages": _id("SELECT id FROM messages WHERE id = :id"),
    "change_sets": _id("SELECT id FROM change_sets WHERE id = :id"),
}

FIND_AGENT_CALLED = _id("SELECT id FROM agents WHERE name = :name")

#: Another project that has the name or the address.
FIND_PROJECT_LIKE = _id(
    """
    SELECT id
    FROM projects
    WHERE name = :name
       OR url = :url
    ORDER BY (url = :url) DESC
    LIMIT 1
    """,
    url=NonEmpty,
)
