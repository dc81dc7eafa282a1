"""Typed repositories over one SQLite file: the data store of Codewalkers.

Names are imported when they are first used, so that opening a store costs only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cwstore._sqlite.inspection import CheckReport, StoreStats, TableStats
    from cwstore._sqlite.lock_holders import ReaderStats
    from cwstore.aio.store import AsyncStore
    from cwstore.core.changes import Change, ChangeFeed, ChangeOperation
    from cwstore.core.reports import (
        MigrationReport,
        MigrationStatus,
        Progress,
        RehearsalReport,
        Step,
    )
    from cwstore.core.repository import Async, Sync
    from cwstore.entities.accounts import Account, AccountPatch, AccountRepository
    from cwstore.entities.agents import Agent, AgentMode, AgentPatch, AgentRepository, AgentStatus
    from cwstore.entities.change_sets import (
        ChangeSet,
        ChangeSetAction,
        ChangeSetEntityType,
        ChangeSetEntry,
        ChangeSetRepository,
        ChangeSetStatus,
        NewChangeSetEntry,
    )
    from cwstore.entities.chat_sessions import (
        ChatMessage,
        ChatRole,
        ChatSession,
        ChatSessionPatch,
        ChatSessionRepository,
        ChatSessionStatus,
        ChatTargetType,
    )
    from cwstore.entities.conversations import (
        Conversation,
        ConversationRepository,
        ConversationStatus,
    )
    from cwstore.entities.initiatives import (
        Initiative,
        InitiativePatch,
        InitiativeRepository,
        InitiativeStatus,
    )
    from cwstore.entities.log_chunks import LogChunk, LogChunkRepository, NewLogChunk
    from cwstore.entities.log_retention import PruneReport
    from cwstore.entities.messages import (
        Message,
        MessagePatch,
        MessageRepository,
        MessageStatus,
        MessageType,
        PartyType,
    )
    from cwstore.entities.pages import Page, PagePatch, PageRepository
    from cwstore.entities.phases import Phase, PhasePatch, PhaseRepository, PhaseStatus
    from cwstore.entities.projects import Project, ProjectPatch, ProjectRepository
    from cwstore.entities.proposals import (
        Proposal,
        ProposalPatch,
        ProposalRepository,
        ProposalStatus,
        ProposalTargetType,
    )
    from cwstore.entities.review_comments import LineType, ReviewComment, ReviewCommentRepository
    from cwstore.entities.tasks import (
        Task,
        TaskCategory,
        TaskPatch,
        TaskPriority,
        TaskRepository,
        TaskStatus,
        TaskType,
    )
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
    from cwstore.migrations.api import migrate, rehearse, status
    from cwstore.store import Store

# Where the names are defined.
_HOMES = {
    "store": "Store",
    "aio": "AsyncStore",
    "core.repository": "Async Sync",
    "migrations.api": "migrate rehearse status",
    "core.reports": "MigrationReport MigrationStatus Progress RehearsalReport Step",
    "_sqlite.inspection": "CheckReport StoreStats TableStats",
    "_sqlite.lock_holders": "ReaderStats",
    "core.changes": "Change ChangeFeed ChangeOperation",
    "errors": (
        "BusyError ConflictError CorruptDatabaseError CwstoreError CycleError "
        "ForeignDatabaseError InvalidValueError MigrationError MissingReferenceError "
        "NotFoundError OutcomeUnknownError SchemaTooNewError StorageError "
        "StoreClosedError"
    ),
    "entities.initiatives": "Initiative InitiativePatch InitiativeRepository InitiativeStatus",
    "entities.phases": "Phase PhasePatch PhaseRepository PhaseStatus",
    "entities.tasks": (
        "Task TaskCategory TaskPatch TaskPriority TaskRepository TaskStatus TaskType"
    ),
    "entities.agents": "Agent AgentMode AgentPatch AgentRepository AgentStatus",
    "entities.messages": "Message MessagePatch MessageRepository MessageStatus MessageType PartyType",
    "entities.pages": "Page PagePatch PageRepository",
    "entities.projects": "Project ProjectPatch ProjectRepository",
    "entities.accounts": "Account AccountPatch AccountRepository",
    "entities.proposals": "Proposal ProposalPatch ProposalRepository ProposalStatus ProposalTargetType",
    "entities.log_chunks": "LogChunk LogChunkRepository NewLogChunk",
    "entities.log_retention": "PruneReport",
    "entities.conversations": "Conversation ConversationRepository ConversationStatus",
    "entities.chat_sessions": (
        "ChatMessage ChatRole ChatSession ChatSessionPatch ChatSessionRepository "
        "ChatSessionStatus ChatTargetType"
    ),
    "entities.review_comments": "LineType ReviewComment ReviewCommentRepository",
    "entities.change_sets": (
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
