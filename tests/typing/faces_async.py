"""What every public method returns, awaited: for type checkers only."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import assert_type

from cwstore import Obstacle, PlanProblem, PruneReport, Task, TaskAttempt
from cwstore.core.repository import Async
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


async def check_initiatives(initiatives: InitiativeRepository[Async]) -> None:
    assert_type(await initiatives.create(name="x"), Initiative)
    assert_type(await initiatives.find_by_id("x"), Initiative | None)
    assert_type(await initiatives.get("x"), Initiative)
    assert_type(await initiatives.find_all(), list[Initiative])
    assert_type(await initiatives.find_by_status(InitiativeStatus.ACTIVE), list[Initiative])
    assert_type(await initiatives.update("x"), Initiative)
    assert_type(await initiatives.delete("x"), bool)
    assert_type(await initiatives.check_plan("x"), list[PlanProblem])
    assert_type(await initiatives.purge("x", on_progress=print), int)


async def check_phases(phases: PhaseRepository[Async]) -> None:
    assert_type(await phases.create(initiative_id="x", name="x"), Phase)
    assert_type(await phases.find_by_id("x"), Phase | None)
    assert_type(await phases.get("x"), Phase)
    assert_type(await phases.find_all(), list[Phase])
    assert_type(await phases.find_by_initiative_id("x"), list[Phase])
    assert_type(await phases.update("x"), Phase)
    assert_type(await phases.delete("x"), bool)
    assert_type(await phases.create_dependency("x", "x"), None)
    assert_type(await phases.delete_dependency("x", "x"), bool)
    assert_type(await phases.get_dependencies("x"), list[str])
    assert_type(await phases.get_dependents("x"), list[str])
    assert_type(await phases.topological_order("x"), list[Phase])


async def check_tasks(tasks: TaskRepository[Async]) -> None:
    assert_type(await tasks.create(name="x"), Task)
    assert_type(await tasks.find_by_id("x"), Task | None)
    assert_type(await tasks.get("x"), Task)
    assert_type(await tasks.find_all(), list[Task])
    assert_type(await tasks.find_by_initiative_id("x"), list[Task])
    assert_type(await tasks.find_by_phase_id("x"), list[Task])
    assert_type(await tasks.find_by_parent_task_id("x"), list[Task])
    assert_type(await tasks.find_pending_approval(), list[Task])
    assert_type(await tasks.find_by_status(TaskStatus.PENDING, limit=1, after="x"), list[Task])
    assert_type(await tasks.count_by_status(), dict[TaskStatus, int])
    assert_type(await tasks.move("x", phase_id=None), Task)
    assert_type(await tasks.update("x"), Task)
    assert_type(await tasks.create_many([{"name": "x", "type": "auto"}]), list[Task])
    assert_type(await tasks.delete("x"), bool)
    assert_type(await tasks.requires_approval("x"), bool)
    assert_type(await tasks.create_dependency("x", "x"), None)
    assert_type(await tasks.create_dependencies([("x", "x")]), int)
    assert_type(await tasks.delete_dependency("x", "x"), bool)
    assert_type(await tasks.get_dependencies("x"), list[str])
    assert_type(await tasks.get_dependents("x"), list[str])
    assert_type(await tasks.dependency_summaries("x"), list[Task])
    assert_type(await tasks.topological_order(), list[Task])
    assert_type(await tasks.find_ready(limit=1, after="x"), list[Task])
    assert_type(await tasks.claim("x"), Task)
    assert_type(await tasks.claim_next_ready(), Task | None)
    assert_type(await tasks.why_not_ready("x"), list[Obstacle])
    assert_type(await tasks.complete("x"), Task)
    assert_type(await tasks.release("x"), Task)
    assert_type(await tasks.fail("x", detail="x"), Task)
    assert_type(await tasks.extend_lease("x", timedelta(1)), TaskAttempt)
    assert_type(await tasks.find_attempts("x", last=1), list[TaskAttempt])
    assert_type(await tasks.find_open_attempts(limit=1, after="x"), list[TaskAttempt])
    assert_type(await tasks.expire_leases(), list[Task])


async def check_agents(agents: AgentRepository[Async]) -> None:
    assert_type(await agents.create(name="x", worktree_id="x"), Agent)
    assert_type(await agents.find_by_id("x"), Agent | None)
    assert_type(await agents.get("x"), Agent)
    assert_type(await agents.find_all(), list[Agent])
    assert_type(await agents.find_by_name("x"), Agent | None)
    assert_type(await agents.find_by_task_id("x"), list[Agent])
    assert_type(await agents.find_by_session_id("x"), Agent | None)
    assert_type(await agents.find_by_status(AgentStatus.IDLE), list[Agent])
    assert_type(await agents.update("x"), Agent)
    assert_type(await agents.delete("x"), bool)
    assert_type(await agents.reconcile(bool), list[Agent])


async def check_messages(messages: MessageRepository[Async]) -> None:
    assert_type(
        await messages.create(
            sender_type=PartyType.AGENT, recipient_type=PartyType.AGENT, content="x"
        ),
        Message,
    )
    assert_type(await messages.find_by_id("x"), Message | None)
    assert_type(await messages.get("x"), Message)
    assert_type(await messages.find_all(), list[Message])
    assert_type(await messages.find_pending_for_user(), list[Message])
    assert_type(await messages.find_for_recipient(PartyType.USER, last=1), list[Message])
    assert_type(await messages.find_by_sender(PartyType.USER), list[Message])
    assert_type(await messages.mark_read(["x"]), int)
    assert_type(await messages.find_requiring_response(), list[Message])
    assert_type(await messages.find_replies("x"), list[Message])
    assert_type(await messages.update("x"), Message)
    assert_type(await messages.delete("x"), bool)
    assert_type(await messages.respond("x", "x", PartyType.AGENT), Message)


async def check_pages(pages: PageRepository[Async]) -> None:
    assert_type(await pages.create(initiative_id="x", title="x"), Page)
    assert_type(await pages.find_by_id("x"), Page | None)
    assert_type(await pages.get("x"), Page)
    assert_type(await pages.find_all(), list[Page])
    assert_type(await pages.find_by_initiative_id("x"), list[Page])
    assert_type(await pages.find_by_parent_page_id("x"), list[Page])
    assert_type(await pages.find_root_page("x"), Page | None)
    assert_type(await pages.get_or_create_root_page("x"), Page)
    assert_type(await pages.update("x"), Page)
    assert_type(await pages.delete("x"), bool)


async def check_projects(projects: ProjectRepository[Async]) -> None:
    assert_type(await projects.create(name="x", url="x"), Project)
    assert_type(await projects.find_by_id("x"), Project | None)
    assert_type(await projects.get("x"), Project)
    assert_type(await projects.find_all(), list[Project])
    assert_type(await projects.update("x"), Project)
    assert_type(await projects.delete("x"), bool)
    assert_type(await projects.find_projects_by_initiative_id("x"), list[Project])
    assert_type(await projects.set_initiative_projects("x", ()), list[Project])
    assert_type(await projects.add_to_initiative("x", "x"), None)
    assert_type(await projects.remove_from_initiative("x", "x"), bool)


async def check_accounts(accounts: AccountRepository[Async]) -> None:
    assert_type(await accounts.create(email="x"), Account)
    assert_type(await accounts.find_by_id("x"), Account | None)
    assert_type(await accounts.get("x"), Account)
    assert_type(await accounts.find_all(), list[Account])
    assert_type(await accounts.find_by_provider("x"), list[Account])
    assert_type(await accounts.update("x"), Account)
    assert_type(await accounts.delete("x"), bool)
    assert_type(await accounts.find_next_available(), Account | None)
    assert_type(await accounts.claim_next_available(), Account | None)
    assert_type(await accounts.mark_exhausted("x", None), Account)
    assert_type(await accounts.clear_exhausted("x"), Account)
    assert_type(await accounts.clear_expired_exhaustion(), int)


async def check_proposals(proposals: ProposalRepository[Async]) -> None:
    assert_type(
        await proposals.create(
            agent_id="x", initiative_id="x", target_type=ProposalTargetType.PAGE, title="x"
        ),
        Proposal,
    )
    assert_type(await proposals.find_by_id("x"), Proposal | None)
    assert_type(await proposals.get("x"), Proposal)
    assert_type(await proposals.find_all(), list[Proposal])
    assert_type(await proposals.find_by_agent_id("x"), list[Proposal])
    assert_type(await proposals.find_by_initiative_id("x"), list[Proposal])
    assert_type(
        await proposals.find_by_agent_id_and_status("x", ProposalStatus.PENDING), list[Proposal]
    )
    assert_type(await proposals.count_by_agent_id_and_status("x", ProposalStatus.PENDING), int)
    assert_type(await proposals.update("x"), Proposal)
    assert_type(await proposals.update_many_by_agent_id("x"), list[Proposal])
    assert_type(await proposals.delete("x"), bool)


async def check_log_chunks(log_chunks: LogChunkRepository[Async]) -> None:
    assert_type(
        await log_chunks.insert_chunk("x", agent_name="x", session_number=1, content="x"), LogChunk
    )
    assert_type(await log_chunks.insert_chunks(()), int)
    assert_type(await log_chunks.find_by_agent_id("x"), list[LogChunk])
    assert_type(log_chunks.iter_by_agent_id("x"), AsyncIterator[LogChunk])
    assert_type(await log_chunks.delete_by_agent_id("x"), int)
    assert_type(await log_chunks.get_session_count("x"), int)
    assert_type(await log_chunks.prune(), PruneReport)


async def check_conversations(conversations: ConversationRepository[Async]) -> None:
    assert_type(
        await conversations.create(from_agent_id="x", to_agent_id="x", question="x"), Conversation
    )
    assert_type(await conversations.find_by_id("x"), Conversation | None)
    assert_type(await conversations.get("x"), Conversation)
    assert_type(await conversations.find_pending_for_agent("x"), list[Conversation])
    assert_type(await conversations.find_by_from_agent_id("x"), list[Conversation])
    assert_type(await conversations.find_by_task_id("x", before="x"), list[Conversation])
    assert_type(await conversations.delete("x"), bool)
    assert_type(await conversations.answer("x", "x"), Conversation)


async def check_chat_sessions(chat_sessions: ChatSessionRepository[Async]) -> None:
    assert_type(
        await chat_sessions.create_session(ChatTargetType.PHASE, "x", initiative_id="x"),
        ChatSession,
    )
    assert_type(await chat_sessions.find_session_by_id("x"), ChatSession | None)
    assert_type(await chat_sessions.find_sessions(ChatTargetType.TASK, "x"), list[ChatSession])
    assert_type(await chat_sessions.delete_session("x"), bool)
    assert_type(
        await chat_sessions.find_active_session(ChatTargetType.PHASE, "x"), ChatSession | None
    )
    assert_type(await chat_sessions.find_active_session_by_agent_id("x"), ChatSession | None)
    assert_type(await chat_sessions.update_session("x"), ChatSession)
    assert_type(
        await chat_sessions.create_message("x", role=ChatRole.USER, content="x"), ChatMessage
    )
    assert_type(await chat_sessions.find_messages_by_session_id("x"), list[ChatMessage])


async def check_review_comments(review_comments: ReviewCommentRepository[Async]) -> None:
    assert_type(
        await review_comments.create(
            phase_id="x", file_path="x", line_number=1, line_type=LineType.ADDED, body="x"
        ),
        ReviewComment,
    )
    assert_type(await review_comments.find_by_id("x"), ReviewComment | None)
    assert_type(await review_comments.get("x"), ReviewComment)
    assert_type(await review_comments.find_by_phase_id("x"), list[ReviewComment])
    assert_type(await review_comments.resolve("x"), ReviewComment)
    assert_type(await review_comments.unresolve("x"), ReviewComment)
    assert_type(await review_comments.delete("x"), bool)


async def check_change_sets(change_sets: ChangeSetRepository[Async]) -> None:
    assert_type(await change_sets.create(initiative_id="x", entries=()), ChangeSet)
    assert_type(await change_sets.find_by_id("x"), ChangeSet | None)
    assert_type(await change_sets.get("x"), ChangeSet)
    assert_type(await change_sets.find_by_initiative_id("x"), list[ChangeSet])
    assert_type(await change_sets.find_entries("x"), list[ChangeSetEntry])
    assert_type(await change_sets.delete("x"), bool)
    assert_type(await change_sets.mark_reverted("x"), ChangeSet)
