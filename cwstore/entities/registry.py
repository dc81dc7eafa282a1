"""The repositories of a store: they, and the names beside them, are listed here alone."""

from typing import TYPE_CHECKING, Any

from cwstore.core.faults import loaded

#: The modules of this package that have a repository, with their public names, the repository
#: first. A store has the repository as an attribute that is called like the module.
ENTITIES = {
    "initiatives": "InitiativeRepository Initiative InitiativePatch InitiativeStatus",
    "phases": "PhaseRepository Phase PhasePatch PhaseStatus",
    "tasks": "TaskRepository",
    "agents": "AgentRepository Agent AgentMode AgentPatch AgentStatus",
    "messages": "MessageRepository Message MessagePatch MessageStatus MessageType PartyType",
    "pages": "PageRepository Page PagePatch",
    "projects": "ProjectRepository Project ProjectPatch",
    "accounts": "AccountRepository Account AccountPatch",
    "proposals": "ProposalRepository Proposal ProposalPatch ProposalStatus ProposalTargetType",
    "log_chunks": "LogChunkRepository LogChunk NewLogChunk PruneReport",
    "conversations": "ConversationRepository Conversation ConversationStatus",
    "chat_sessions": (
        "ChatSessionRepository ChatMessage ChatRole ChatSession ChatSessionPatch "
        "ChatSessionStatus ChatTargetType"
    ),
    "review_comments": "ReviewCommentRepository LineType ReviewComment",
    "change_sets": (
        "ChangeSetRepository ChangeSet ChangeSetAction ChangeSetEntityType ChangeSetEntry "
        "ChangeSetStatus NewChangeSetEntry"
    ),
}

#: The modules beside these, with the public names that methods of repositories take and return.
SHARED = {
    "task": "NewTask Task TaskCategory TaskPatch TaskPlace TaskPriority TaskStatus TaskType",
    "claims": "AttemptOutcome TaskAttempt",
    "obstacles": "Obstacle ObstacleKind",
    "plan_check": "PlanProblem PlanProblemKind",
}


def repository_class(attribute: str) -> Any:
    """The class of the repository that a store has as this attribute. Imports its module.

    Raises StorageError where no file can be opened any more, and ConflictError in a handler of a
    signal that has interrupted the import.
    """
    kind = ENTITIES[attribute].partition(" ")[0]
    return loaded(f"cwstore.entities.{attribute}", kind, attribute)


if TYPE_CHECKING:
    from typing import Generic

    from cwstore.core.repository import Mode
    from cwstore.entities.accounts import AccountRepository
    from cwstore.entities.agents import AgentRepository
    from cwstore.entities.change_sets import ChangeSetRepository
    from cwstore.entities.chat_sessions import ChatSessionRepository
    from cwstore.entities.conversations import ConversationRepository
    from cwstore.entities.initiatives import InitiativeRepository
    from cwstore.entities.log_chunks import LogChunkRepository
    from cwstore.entities.messages import MessageRepository
    from cwstore.entities.pages import PageRepository
    from cwstore.entities.phases import PhaseRepository
    from cwstore.entities.projects import ProjectRepository
    from cwstore.entities.proposals import ProposalRepository
    from cwstore.entities.review_comments import ReviewCommentRepository
    from cwstore.entities.tasks import TaskRepository

    class Repositories(Generic[Mode]):
        """The repositories as attributes, awaited or not."""

        initiatives: InitiativeRepository[Mode]
        phases: PhaseRepository[Mode]
        tasks: TaskRepository[Mode]
        agents: AgentRepository[Mode]
        messages: MessageRepository[Mode]
        pages: PageRepository[Mode]
        projects: ProjectRepository[Mode]
        accounts: AccountRepository[Mode]
        proposals: ProposalRepository[Mode]
        log_chunks: LogChunkRepository[Mode]
        conversations: ConversationRepository[Mode]
        chat_sessions: ChatSessionRepository[Mode]
        review_comments: ReviewCommentRepository[Mode]
        change_sets: ChangeSetRepository[Mode]

        def _make_repository(self, attribute: str) -> object:
            """The repository for an attribute that is asked for the first time."""
            ...

        def _forget_repositories(self) -> None:
            """Make each anew when it is asked for the next time."""
            ...

else:

    class Repositories:
        """The repositories as attributes. Each is imported and made when it is first asked for.

        So a process that opens a store to do one thing (a hook, a command) pays for one.
        """

        def __class_getitem__(cls, mode):
            return cls

        def _forget_repositories(self):
            for name in ENTITIES:
                self.__dict__.pop(name, None)

    class _Attribute:
        """A repository of each store; of the class Store, the class of the repository."""

        def __init__(self, name):
            self._name = name

        def __get__(self, store, kind):
            if store is None:
                return kind._repository_class(self._name)
            repository = store.__dict__[self._name] = store._make_repository(self._name)
            return repository

    for _name in ENTITIES:
        setattr(Repositories, _name, _Attribute(_name))
