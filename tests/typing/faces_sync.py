"""What every public method returns, called: for type checkers only."""

from collections.abc import Iterator
from datetime import timedelta
from typing import assert_type

from cwstore import Obstacle, PlanProblem, PruneReport, Task, TaskAttempt
from cwstore.core.repository import Sync
from cwstore.entities.accounts import Account, AccountRepository
from cwstore.entities.agents import Agent, AgentRepository, AgentStatus
from cwstore.entities.change_sets import ChangeSet, ChangeSetEntry, ChangeSetRepository
from cwstore.entities.chat_sessions import (
    ChatMessage,
    ChatRole,
    ChatSession,
    ChatSessionRepository,
    ChatTargetType,
)
from cwstore.entities.conversations import Conversation, ConversationRepository
from cwstore.entities.initiatives import Initiative, InitiativeRepository, InitiativeStatus
from cwstore.entities.log_chunks import LogChunk, LogChunkRepository
from cwstore.entities.messages import Message, MessageRepository, PartyType
from cwstore.entities.pages import Page, PageRepository
from cwstore.entities.phases import Phase, PhaseRepository
from cwstore.entities.projects import Project, ProjectRepository
from cwstore.entities.proposals import (
    Proposal,
    ProposalRepository,
    ProposalStatus,
    ProposalTargetType,
)
from cwstore.entities.review_comments import LineType, ReviewComment, ReviewCommentRepository
from cwstore.entities.task import TaskStatus
from cwstore.entities.tasks import TaskRepository


def check_initiatives(initiatives: InitiativeRepository[Sync]) -> None:
    assert_type(initiatives.create(name="x"), Initiative)
    assert_type(initiatives.find_by_id("x"), Initiative | None)
    assert_type(initiatives.get("x"), Initiative)
    assert_type(initiatives.find_all(), list[Initiative])
    assert_type(initiatives.find_by_status(InitiativeStatus.ACTIVE), list[Initiative])
    assert_type(initiatives.update("x"), Initiative)
    assert_type(initiatives.delete("x"), bool)
    assert_type(initiatives.check_plan("x"), list[PlanProblem])
    assert_type(initiatives.purge("x", on_progress=print), int)


def check_phases(phases: PhaseRepository[Sync]) -> None:
    assert_type(phases.create(initiative_id="x", name="x"), Phase)
    assert_type(phases.find_by_id("x"), Phase | None)
    assert_type(phases.get("x"), Phase)
    assert_type(phases.find_all(), list[Phase])
    assert_type(phases.find_by_initiative_id("x"), list[Phase])
    assert_type(phases.update("x"), Phase)
    assert_type(phases.delete("x"), bool)
    assert_type(phases.create_dependency("x", "x"), None)
    assert_type(phases.delete_dependency("x", "x"), bool)
    assert_type(phases.get_dependencies("x"), list[str])
    assert_type(phases.get_dependents("x"), list[str])
    assert_type(phases.topological_order("x"), list[Phase])


def check_tasks(tasks: TaskRepository[Sync]) -> None:
    assert_type(tasks.create(name="x"), Task)
    assert_type(tasks.find_by_id("x"), Task | None)
    assert_type(tasks.get("x"), Task)
    assert_type(tasks.find_all(), list[Task])
    assert_type(tasks.find_by_initiative_id("x"), list[Task])
    assert_type(tasks.find_by_phase_id("x"), list[Task])
    assert_type(tasks.find_by_parent_task_id("x"), list[Task])
    assert_type(tasks.find_pending_approval(), list[Task])
    assert_type(tasks.find_by_status(TaskStatus.PENDING, limit=1, after="x"), list[Task])
    assert_type(tasks.count_by_status(), dict[TaskStatus, int])
    assert_type(tasks.move("x", phase_id=None), Task)
    assert_type(tasks.update("x"), Task)
    assert_type(tasks.create_many([{"name": "x", "type": "auto"}]), list[Task])
    assert_type(tasks.delete("x"), bool)
    assert_type(tasks.requires_approval("x"), bool)
    assert_type(tasks.create_dependency("x", "x"), None)
    assert_type(tasks.create_dependencies([("x", "x")]), int)
    assert_type(tasks.delete_dependency("x", "x"), bool)
    assert_type(tasks.get_dependencies("x"), list[str])
    assert_type(tasks.get_dependents("x"), list[str])
    assert_type(tasks.dependency_summaries("x"), list[Task])
    assert_type(tasks.topological_order(), list[Task])
    assert_type(tasks.find_ready(limit=1, after="x"), list[Task])
    assert_type(tasks.claim("x"), Task)
    assert_type(tasks.claim_next_ready(), Task | None)
    assert_type(tasks.why_not_ready("x"), list[Obstacle])
    assert_type(tasks.complete("x"), Task)
    assert_type(tasks.release("x"), Task)
    assert_type(tasks.fail("x", detail="x"), Task)
    assert_type(tasks.extend_lease("x", timedelta(1)), TaskAttempt)
    assert_type(tasks.find_attempts("x", last=1), list[TaskAttempt])
    assert_type(tasks.find_open_attempts(limit=1, after="x"), list[TaskAttempt])
    assert_type(tasks.expire_leases(), list[Task])


def check_agents(agents: AgentRepository[Sync]) -> None:
    assert_type(agents.create(name="x", worktree_id="x"), Agent)
    assert_type(agents.find_by_id("x"), Agent | None)
    assert_type(agents.get("x"), Agent)
    assert_type(agents.find_all(), list[Agent])
    assert_type(agents.find_by_name("x"), Agent | None)
    assert_type(agents.find_by_task_id("x"), list[Agent])
    assert_type(agents.find_by_session_id("x"), Agent | None)
    assert_type(agents.find_by_status(AgentStatus.IDLE), list[Agent])
    assert_type(agents.update("x"), Agent)
    assert_type(agents.delete("x"), bool)
    assert_type(agents.reconcile(bool), list[Agent])


def check_messages(messages: MessageRepository[Sync]) -> None:
    assert_type(
        messages.create(sender_type=PartyType.AGENT, recipient_type=PartyType.AGENT, content="x"),
        Message,
    )
    assert_type(messages.find_by_id("x"), Message | None)
    assert_type(messages.get("x"), Message)
    assert_type(messages.find_all(), list[Message])
    assert_type(messages.find_pending_for_user(), list[Message])
    assert_type(messages.find_for_recipient(PartyType.USER, last=1), list[Message])
    assert_type(messages.find_by_sender(PartyType.USER), list[Message])
    assert_type(messages.mark_read(["x"]), int)
    assert_type(messages.find_requiring_response(), list[Message])
    assert_type(messages.find_replies("x"), list[Message])
    assert_type(messages.update("x"), Message)
    assert_type(messages.delete("x"), bool)
    assert_type(messages.respond("x", "x", PartyType.AGENT), Message)


def check_pages(pages: PageRepository[Sync]) -> None:
    assert_type(pages.create(initiative_id="x", title="x"), Page)
    assert_type(pages.find_by_id("x"), Page | None)
    assert_type(pages.get("x"), Page)
    assert_type(pages.find_all(), list[Page])
    assert_type(pages.find_by_initiative_id("x"), list[Page])
    assert_type(pages.find_by_parent_page_id("x"), list[Page])
    assert_type(pages.find_root_page("x"), Page | None)
    assert_type(pages.get_or_create_root_page("x"), Page)
    assert_type(pages.update("x"), Page)
    assert_type(pages.delete("x"), bool)


def check_projects(projects: ProjectRepository[Sync]) -> None:
    assert_type(projects.create(name="x", url="x"), Project)
    assert_type(projects.find_by_id("x"), Project | None)
    assert_type(projects.get("x"), Project)
    assert_type(projects.find_all(), list[Project])
    assert_type(projects.update("x"), Project)
    assert_type(projects.delete("x"), bool)
    assert_type(projects.find_projects_by_initiative_id("x"), list[Project])
    assert_type(projects.set_initiative_projects("x", ()), list[Project])
    assert_type(projects.add_to_initiative("x", "x"), None)
    assert_type(projects.remove_from_initiative("x", "x"), bool)


def check_accounts(accounts: AccountRepository[Sync]) -> None:
    assert_type(accounts.create(email="x"), Account)
    assert_type(accounts.find_by_id("x"), Account | None)
    assert_type(accounts.get("x"), Account)
    assert_type(accounts.find_all(), list[Account])
    assert_type(accounts.find_by_provider("x"), list[Account])
    assert_type(accounts.update("x"), Account)
    assert_type(accounts.delete("x"), bool)
    assert_type(accounts.find_next_available(), Account | None)
    assert_type(accounts.claim_next_available(), Account | None)
    assert_type(accounts.mark_exhausted("x", None), Account)
    assert_type(accounts.clear_exhausted("x"), Account)
    assert_type(accounts.clear_expired_exhaustion(), int)


def check_proposals(proposals: ProposalRepository[Sync]) -> None:
    assert_type(
        proposals.create(
            agent_id="x", initiative_id="x", target_type=ProposalTargetType.PAGE, title="x"
        ),
        Proposal,
    )
    assert_type(proposals.find_by_id("x"), Proposal | None)
    assert_type(proposals.get("x"), Proposal)
    assert_type(proposals.find_all(), list[Proposal])
    assert_type(proposals.find_by_agent_id("x"), list[Proposal])
    assert_type(proposals.find_by_initiative_id("x"), list[Proposal])
    assert_type(proposals.find_by_agent_id_and_status("x", ProposalStatus.PENDING), list[Proposal])
    assert_type(proposals.count_by_agent_id_and_status("x", ProposalStatus.PENDING), int)
    assert_type(proposals.update("x"), Proposal)
    assert_type(proposals.update_many_by_agent_id("x"), list[Proposal])
    assert_type(proposals.delete("x"), bool)


def check_log_chunks(log_chunks: LogChunkRepository[Sync]) -> None:
    assert_type(
        log_chunks.insert_chunk("x", agent_name="x", session_number=1, content="x"), LogChunk
    )
    assert_type(log_chunks.insert_chunks(()), int)
    assert_type(log_chunks.find_by_agent_id("x"), list[LogChunk])
    assert_type(log_chunks.iter_by_agent_id("x"), Iterator[LogChunk])
    assert_type(log_chunks.delete_by_agent_id("x"), int)
    assert_type(log_chunks.get_session_count("x"), int)
    assert_type(log_chunks.prune(), PruneReport)


def check_conversations(conversations: ConversationRepository[Sync]) -> None:
    assert_type(
        conversations.create(from_agent_id="x", to_agent_id="x", question="x"), Conversation
    )
    assert_type(conversations.find_by_id("x"), Conversation | None)
    assert_type(conversations.get("x"), Conversation)
    assert_type(conversations.find_pending_for_agent("x"), list[Conversation])
    assert_type(conversations.find_by_from_agent_id("x"), list[Conversation])
    assert_type(conversations.find_by_task_id("x", before="x"), list[Conversation])
    assert_type(conversations.delete("x"), bool)
    assert_type(conversations.answer("x", "x"), Conversation)


def check_chat_sessions(chat_sessions: ChatSessionRepository[Sync]) -> None:
    assert_type(
        chat_sessions.create_session(ChatTargetType.PHASE, "x", initiative_id="x"), ChatSession
    )
    assert_type(chat_sessions.find_session_by_id("x"), ChatSession | None)
    assert_type(chat_sessions.find_sessions(ChatTargetType.TASK, "x"), list[ChatSession])
    assert_type(chat_sessions.delete_session("x"), bool)
    assert_type(chat_sessions.find_active_session(ChatTargetType.PHASE, "x"), ChatSession | None)
    assert_type(chat_sessions.find_active_session_by_agent_id("x"), ChatSession | None)
    assert_type(chat_sessions.update_session("x"), ChatSession)
    assert_type(chat_sessions.create_message("x", role=ChatRole.USER, content="x"), ChatMessage)
    assert_type(chat_sessions.find_messages_by_session_id("x"), list[ChatMessage])


def check_review_comments(review_comments: ReviewCommentRepository[Sync]) -> None:
    assert_type(
        review_comments.create(
            phase_id="x", file_path="x", line_number=1, line_type=LineType.ADDED, body="x"
        ),
        ReviewComment,
    )
    assert_type(review_comments.find_by_id("x"), ReviewComment | None)
    assert_type(review_comments.get("x"), ReviewComment)
    assert_type(review_comments.find_by_phase_id("x"), list[ReviewComment])
    assert_type(review_comments.resolve("x"), ReviewComment)
    assert_type(review_comments.unresolve("x"), ReviewComment)
    assert_type(review_comments.delete("x"), bool)


def check_change_sets(change_sets: ChangeSetRepository[Sync]) -> None:
    assert_type(change_sets.create(initiative_id="x", entries=()), ChangeSet)
    assert_type(change_sets.find_by_id("x"), ChangeSet | None)
    assert_type(change_sets.get("x"), ChangeSet)
    assert_type(change_sets.find_by_initiative_id("x"), list[ChangeSet])
    assert_type(change_sets.find_entries("x"), list[ChangeSetEntry])
    assert_type(change_sets.delete("x"), bool)
    assert_type(change_sets.mark_reverted("x"), ChangeSet)
