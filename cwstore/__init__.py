"""Typed repositories over one SQLite file: the data store of Codewalkers.

Names are imported when they are first used, so that opening a store costs only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore._changes import Change, ChangeFeed, ChangeOperation
    from cwstore._engine import Async, Sync
    from cwstore._log_prune import PruneReport
    from cwstore._log_readers import ReaderStats
    from cwstore._reports import MigrationReport, MigrationStatus, Progress, RehearsalReport, Step
    from cwstore._task import Task, TaskCategory, TaskPatch, TaskPriority, TaskStatus, TaskType
    from cwstore._upkeep import CheckReport, StoreStats, TableStats
    from cwstore.accounts import Account, AccountPatch, AccountRepository
    from cwstore.agents import Agent, AgentMode, AgentPatch, AgentRepository, AgentStatus
    from cwstore.aio import AsyncStore
    from cwstore.change_sets import (
        ChangeSet,
        ChangeSetAction,
        ChangeSetEntityType,
        ChangeSetEntry,
        ChangeSetRepository,
        ChangeSetStatus,
        NewChangeSetEntry,
    )
    from cwstore.chat_sessions import (
        ChatMessage,
        ChatRole,
        ChatSession,
        ChatSessionPatch,
        ChatSessionRepository,
        ChatSessionStatus,
        ChatTargetType,
    )
    from cwstore.conversations import Conversation, ConversationRepository, ConversationStatus
    from cwstore.errors import (
        BusyError,
        ConflictError,
        CorruptDatabaseError,
        CwstoreError,
        CycleError,
        ForeignDatabaseError,
        InvalidValueError,
        MigrationError,
        MissingReferenceError,
        NotFoundError,
        OutcomeUnknownError,
        SchemaTooNewError,
        StorageError,
        StoreClosedError,
    )
    from cwstore.initiatives import (
        Initiative,
        InitiativePatch,
        InitiativeRepository,
        InitiativeStatus,
    )
    from cwstore.log_chunks import LogChunk, LogChunkRepository, NewLogChunk
    from cwstore.messages import (
        Message,
        MessagePatch,
        MessageRepository,
        MessageStatus,
        MessageType,
        PartyType,
    )
    from cwstore.migrations import migrate, rehearse, status
    from cwstore.pages import Page, PagePatch, PageRepository
    from cwstore.phases import Phase, PhasePatch, PhaseRepository, PhaseStatus
    from cwstore.projects import Project, ProjectPatch, ProjectRepository
    from cwstore.proposals import (
        Proposal,
        ProposalPatch,
        ProposalRepository,
        ProposalStatus,
        ProposalTargetType,
    )
    from cwstore.review_comments import LineType, ReviewComment, ReviewCommentRepository
    from cwstore.store import Store
    from cwstore.tasks import TaskRepository

# Where the names are defined.
_HOMES = {
    "store": "Store",
    "aio": "AsyncStore",
    "_engine": "Async Sync",
    "migrations": "migrate rehearse status",
    "_reports": "MigrationReport MigrationStatus Progress RehearsalReport Step",
    "_upkeep": "CheckReport StoreStats TableStats",
    "_log_readers": "ReaderStats",
    "_changes": "Change ChangeFeed ChangeOperation",
    "errors": (
        "BusyError ConflictError CorruptDatabaseError CwstoreError CycleError "
        "ForeignDatabaseError InvalidValueError MigrationError MissingReferenceError "
        "NotFoundError OutcomeUnknownError SchemaTooNewError StorageError "
        "StoreClosedError"
    ),
    "initiatives": "Initiative InitiativePatch InitiativeRepository InitiativeStatus",
    "phases": "Phase PhasePatch PhaseRepository PhaseStatus",
    "_task": "Task TaskCategory TaskPatch TaskPriority TaskStatus TaskType",
    "tasks": "TaskRepository",
    "agents": "Agent AgentMode AgentPatch AgentRepository AgentStatus",
    "messages": "Message MessagePatch MessageRepository MessageStatus MessageType PartyType",
    "pages": "Page PagePatch PageRepository",
    "projects": "Project ProjectPatch ProjectRepository",
    "accounts": "Account AccountPatch AccountRepository",
    "proposals": "Proposal ProposalPatch ProposalRepository ProposalStatus ProposalTargetType",
    "log_chunks": "LogChunk LogChunkRepository NewLogChunk",
    "_log_prune": "PruneReport",
    "conversations": "Conversation ConversationRepository ConversationStatus",
    "chat_sessions": (
        "ChatMessage ChatRole ChatSession ChatSessionPatch ChatSessionRepository "
        "ChatSessionStatus ChatTargetType"
    ),
    "review_comments": "LineType ReviewComment ReviewCommentRepository",
    "change_sets": (
        "ChangeSet ChangeSetAction ChangeSetEntityType ChangeSetEntry ChangeSetRepository "
        "ChangeSetStatus NewChangeSetEntry"
    ),
}

__all__ = [
    # the store
    "Store",
    "AsyncStore",
    "Async",
    "Sync",
    # looking after a file
    "migrate",
    "rehearse",
    "status",
    "MigrationReport",
    "MigrationStatus",
    "Progress",
    "RehearsalReport",
    "Step",
    "CheckReport",
    "StoreStats",
    "TableStats",
    "ReaderStats",
    "Change",
    "ChangeFeed",
    "ChangeOperation",
    # errors
    "BusyError",
    "ConflictError",
    "CorruptDatabaseError",
    "CwstoreError",
    "CycleError",
    "ForeignDatabaseError",
    "InvalidValueError",
    "MigrationError",
    "MissingReferenceError",
    "NotFoundError",
    "OutcomeUnknownError",
    "SchemaTooNewError",
    "StorageError",
    "StoreClosedError",
    # entities, enums, patches and repositories
    "Initiative",
    "InitiativePatch",
    "InitiativeRepository",
    "InitiativeStatus",
    "Phase",
    "PhasePatch",
    "PhaseRepository",
    "PhaseStatus",
    "Task",
    "TaskCategory",
    "TaskPatch",
    "TaskPriority",
    "TaskStatus",
    "TaskType",
    "TaskRepository",
    "Agent",
    "AgentMode",
    "AgentPatch",
    "AgentRepository",
    "AgentStatus",
    "Message",
    "MessagePatch",
    "MessageRepository",
    "MessageStatus",
    "MessageType",
    "PartyType",
    "Page",
    "PagePatch",
    "PageRepository",
    "Project",
    "ProjectPatch",
    "ProjectRepository",
    "Account",
    "AccountPatch",
    "AccountRepository",
    "Proposal",
    "ProposalPatch",
    "ProposalRepository",
    "ProposalStatus",
    "ProposalTargetType",
    "LogChunk",
    "LogChunkRepository",
    "NewLogChunk",
    "PruneReport",
    "Conversation",
    "ConversationRepository",
    "ConversationStatus",
    "ChatMessage",
    "ChatRole",
    "ChatSession",
    "ChatSessionPatch",
    "ChatSessionRepository",
    "ChatSessionStatus",
    "ChatTargetType",
    "LineType",
    "ReviewComment",
    "ReviewCommentRepository",
    "ChangeSet",
    "ChangeSetAction",
    "ChangeSetEntityType",
    "ChangeSetEntry",
    "ChangeSetRepository",
    "ChangeSetStatus",
    "NewChangeSetEntry",
    "__version__",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    for home, names in _HOMES.items():
        if name in names.split():
            value: object = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
