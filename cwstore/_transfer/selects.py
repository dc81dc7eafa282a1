"""The rows that hang on an initiative, table by table, each after those that it refers to.

Its agents are those that belong to it, work or have worked on it, or asked about it. Accounts stay
where they are, with their credentials.
"""

from dataclasses import dataclass
from typing import Any, LiteralString

from cwstore.core.checks import NonEmpty
from cwstore.core.statement import Statement, rows_of
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


@dataclass(frozen=True, slots=True)
class LogSession:
    """The greatest session number that an agent has had: none is used twice."""

    agent_id: NonEmpty
    last_session_number: int


_AGENT_IDS: LiteralString = """
    SELECT id FROM agents WHERE initiative_id = :initiative_id
    UNION
    SELECT agent.id
    FROM tasks AS task
    JOIN agents AS agent ON agent.task_id = task.id
    WHERE task.initiative_id = :initiative_id
    UNION
    SELECT attempt.agent_id
    FROM tasks AS task
    JOIN task_attempts AS attempt ON attempt.task_id = task.id
    WHERE task.initiative_id = :initiative_id
    UNION
    SELECT agent_id FROM proposals WHERE initiative_id = :initiative_id
    UNION
    SELECT agent_id FROM change_sets WHERE initiative_id = :initiative_id
    UNION
    SELECT agent_id FROM chat_sessions WHERE initiative_id = :initiative_id
    UNION
    SELECT from_agent_id FROM conversations WHERE initiative_id = :initiative_id
    UNION
    SELECT to_agent_id FROM conversations WHERE initiative_id = :initiative_id
"""


def _among_agents(message: LiteralString) -> LiteralString:
    return f"""({message}.sender_id IS NULL OR {message}.sender_id IN (SELECT id FROM agent_ids))
              AND ({message}.recipient_id IS NULL
                OR {message}.recipient_id IN (SELECT id FROM agent_ids))
              AND coalesce({message}.sender_id, {message}.recipient_id) IS NOT NULL"""


#: By table, in the order in which they are written.
SELECTS: dict[str, Statement[Any]] = {
    "initiatives": rows_of(Initiative)(
        """
        SELECT id, name, status, merge_requires_approval, branch, created_at, updated_at
        FROM initiatives
        WHERE id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    "projects": rows_of(Project)(
        """
        SELECT
            project.id, project.name, project.url, project.default_branch, project.last_fetched_at,
            project.created_at, project.updated_at
        FROM initiative_projects AS pair
        JOIN projects AS project ON project.id = pair.project_id
        WHERE pair.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    "initiative_projects": rows_of(InitiativeProject)("""
        SELECT initiative_id, project_id
        FROM initiative_projects
        WHERE initiative_id = :initiative_id
    """),
    "phases": rows_of(Phase)("""
        SELECT id, initiative_id, name, content, status, created_at, updated_at
        FROM phases
        WHERE initiative_id = :initiative_id
        ORDER BY created_at, id
    """),
    "phase_dependencies": rows_of(PhaseDependency)(
        """
        SELECT edge.phase_id, edge.depends_on_phase_id
        FROM phases AS phase
        JOIN phase_dependencies AS edge ON edge.phase_id = phase.id
        WHERE phase.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    # Parents come before their children; within a level in the order of tasks_initiative_ix.
    "tasks": rows_of(Task)(
        """
        WITH RECURSIVE level (id, depth) AS (
            SELECT task.id, 0
            FROM tasks AS task
            WHERE task.initiative_id = :initiative_id
              AND NOT EXISTS (
                    SELECT 1
                    FROM tasks AS parent
                    WHERE parent.id = task.parent_task_id
                      AND parent.initiative_id = task.initiative_id
                  )
            UNION ALL
            SELECT child.id, level.depth + 1
            FROM level
            JOIN tasks AS child ON child.parent_task_id = level.id
            WHERE child.initiative_id = :initiative_id
        )
        SELECT
            task.id, task.phase_id, task.initiative_id, task.parent_task_id, task.name,
            task.description, task.type, task.category, task.priority, task.status,
            task.requires_approval, task.sort_order, task.summary, task.created_at, task.updated_at
        FROM level
        CROSS JOIN tasks AS task
        WHERE task.id = level.id
        ORDER BY level.depth, task.sort_order, task.created_at, task.id
        """,
        initiative_id=NonEmpty,
    ),
    # To and from other initiatives as well: the other one may be there already, or come later.
    "task_dependencies": rows_of(TaskDependency)(
        """
        SELECT edge.task_id, edge.depends_on_task_id
        FROM tasks AS task
        JOIN task_dependencies AS edge ON edge.task_id = task.id
        WHERE task.initiative_id = :initiative_id
        UNION ALL
        SELECT edge.task_id, edge.depends_on_task_id
        FROM tasks AS task
        JOIN task_dependencies AS edge ON edge.depends_on_task_id = task.id
        JOIN tasks AS waiting ON waiting.id = edge.task_id
        WHERE task.initiative_id = :initiative_id
          AND waiting.initiative_id IS DISTINCT FROM task.initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    "agents": rows_of(Agent)(
        f"""
        SELECT
            id, name, task_id, initiative_id, session_id, worktree_id, provider, account_id, status,
            mode, pid, process_token, exit_code, output_file_path, result, pending_questions,
            user_dismissed_at, created_at, updated_at
        FROM agents
        WHERE id IN ({_AGENT_IDS})
        """,
        initiative_id=NonEmpty,
    ),
    "agent_log_sessions": rows_of(LogSession)(
        f"""
        SELECT
            agent_id /* never NULL: of agents that are there */,
            max(number) AS last_session_number /* never NULL: of rows that have one */
        FROM (
            SELECT agent_id, session_number AS number
            FROM agent_log_chunks
            WHERE agent_id IN ({_AGENT_IDS})
            UNION ALL
            SELECT agent_id, last_session_number
            FROM agent_log_sessions
            WHERE agent_id IN ({_AGENT_IDS})
        ) AS numbers
        GROUP BY agent_id
        """,
        initiative_id=NonEmpty,
    ),
    "task_attempts": rows_of(TaskAttempt)(
        """
        SELECT
            attempt.id, attempt.task_id, attempt.agent_id, attempt.agent_name, attempt.number,
            attempt.lease_until, attempt.outcome, attempt.detail, attempt.ended_at,
            attempt.created_at, attempt.updated_at
        FROM tasks AS task
        JOIN task_attempts AS attempt ON attempt.task_id = task.id
        WHERE task.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    # Parents come before their children.
    "pages": rows_of(Page)(
        """
        WITH RECURSIVE level (id, depth) AS (
            SELECT id, 0
            FROM pages
            WHERE initiative_id = :initiative_id
              AND parent_page_id IS NULL
            UNION ALL
            SELECT child.id, level.depth + 1
            FROM level
            JOIN pages AS child ON child.parent_page_id = level.id
        )
        SELECT
            page.id, page.initiative_id, page.parent_page_id, page.title, page.content,
            page.sort_order, page.created_at, page.updated_at
        FROM level
        CROSS JOIN pages AS page
        WHERE page.id = level.id
        ORDER BY level.depth, page.sort_order, page.created_at, page.id
        """,
        initiative_id=NonEmpty,
    ),
    "proposals": rows_of(Proposal)("""
        SELECT
            id, agent_id, initiative_id, target_type, target_id, title, summary, content, metadata,
            status, sort_order, created_at, updated_at
        FROM proposals
        WHERE initiative_id = :initiative_id
    """),
    "change_sets": rows_of(ChangeSet)("""
        SELECT id, initiative_id, agent_id, agent_name, summary, status, created_at, updated_at
        FROM change_sets
        WHERE initiative_id = :initiative_id
        ORDER BY created_at, id
    """),
    "change_set_entries": rows_of(ChangeSetEntry)(
        """
        SELECT
            entry.id, entry.change_set_id, entry.entity_type, entry.entity_id, entry.action,
            entry.previous_state, entry.new_state, entry.sort_order, entry.created_at
        FROM change_sets AS owner
        JOIN change_set_entries AS entry ON entry.change_set_id = owner.id
        WHERE owner.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    "chat_sessions": rows_of(ChatSession)("""
        SELECT
            id, target_type, target_id, initiative_id, agent_id, status, created_at, updated_at
        FROM chat_sessions
        WHERE initiative_id = :initiative_id
    """),
    "chat_messages": rows_of(ChatMessage)(
        """
        SELECT
            message.id, message.chat_session_id, message.role, message.content,
            message.change_set_id, message.created_at
        FROM chat_sessions AS session
        JOIN chat_messages AS message ON message.chat_session_id = session.id
        WHERE session.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    "review_comments": rows_of(ReviewComment)(
        """
        SELECT
            comment.id, comment.phase_id, comment.file_path, comment.line_number, comment.line_type,
            comment.body, comment.author, comment.resolved, comment.created_at, comment.updated_at
        FROM phases AS phase
        JOIN review_comments AS comment ON comment.phase_id = phase.id
        WHERE phase.initiative_id = :initiative_id
        """,
        initiative_id=NonEmpty,
    ),
    # Among its agents and the user: whoever has an id is one of them, and one of the two has. What
    # is replied to comes before the reply.
    "messages": rows_of(Message)(
        f"""
        WITH RECURSIVE
        agent_ids (id) AS ({_AGENT_IDS}),
        level (id, depth) AS (
            SELECT message.id, 0
            FROM messages AS message
            LEFT JOIN messages AS parent ON parent.id = message.parent_message_id
            WHERE {_among_agents("message")}
              AND CASE WHEN {_among_agents("parent")} THEN 0 ELSE 1 END = 1
            UNION ALL
            SELECT message.id, level.depth + 1
            FROM level
            JOIN messages AS message ON message.parent_message_id = level.id
            WHERE {_among_agents("message")}
        )
        SELECT
            message.id, message.sender_type, message.sender_id, message.recipient_type,
            message.recipient_id, message.type, message.content, message.requires_response,
            message.status, message.parent_message_id, message.created_at, message.updated_at
        FROM level
        CROSS JOIN messages AS message
        WHERE message.id = level.id
        ORDER BY level.depth, message.created_at, message.id
        """,
        initiative_id=NonEmpty,
    ),
    "conversations": rows_of(Conversation)(
        f"""
        WITH agent_ids (id) AS ({_AGENT_IDS})
        SELECT
            id, from_agent_id, to_agent_id, initiative_id, phase_id, task_id, question, answer,
            status, created_at, updated_at
        FROM conversations
        WHERE from_agent_id IN (SELECT id FROM agent_ids)
          AND to_agent_id IN (SELECT id FROM agent_ids)
        """,
        initiative_id=NonEmpty,
    ),
}

#: Agent by agent: in the order of arrival over all, a million of them would have to be sorted.
FIND_LOG_CHUNKS = rows_of(LogChunk)("""
    SELECT seq, id, agent_id, agent_name, session_number, content, created_at
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
    ORDER BY seq
""")
