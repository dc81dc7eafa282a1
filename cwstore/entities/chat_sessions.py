"""Chat sessions: the user talks with an agent about one phase or task; with their messages."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, LiteralString, TypedDict, Unpack

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.ids import make_id
from cwstore.core.repository import Mode, Repository, command, fetch_page, patch_row, query
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, Patch, lists_of, rows_of, values_of
from cwstore.errors import InvalidValueError, MissingReferenceError

__all__ = [
    "ChatMessage",
    "ChatRole",
    "ChatSession",
    "ChatSessionPatch",
    "ChatSessionRepository",
    "ChatSessionStatus",
    "ChatTargetType",
]


class ChatTargetType(StrEnum):
    """What the session is about."""

    PHASE = "phase"
    TASK = "task"


ChatTargetTypeLike = ChatTargetType | Literal["phase", "task"]


class ChatSessionStatus(StrEnum):
    """At most one session of a target is active."""

    ACTIVE = "active"
    CLOSED = "closed"


ChatSessionStatusLike = ChatSessionStatus | Literal["active", "closed"]


class ChatRole(StrEnum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"
    SYSTEM = "system"


ChatRoleLike = ChatRole | Literal["user", "assistant", "system"]


@dataclass(frozen=True, slots=True)
class ChatSession:
    """One row of `chat_sessions`, as it was when read."""

    id: NonEmpty
    target_type: ChatTargetType
    #: A phase or a task; the session is deleted with it.
    target_id: NonEmpty
    initiative_id: NonEmpty
    #: Who answers the user; None: nobody yet, or an agent that was deleted since.
    agent_id: NonEmpty | None
    status: ChatSessionStatus
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One row of `chat_messages`; it never changes, except that its change set may go."""

    id: NonEmpty
    chat_session_id: NonEmpty
    role: ChatRole
    content: str
    #: What was changed along with it; None: nothing, or a change set that was deleted since.
    change_set_id: NonEmpty | None
    created_at: datetime


class ChatSessionPatch(TypedDict, total=False):
    """What `update_session` may change; a missing key keeps the value."""

    agent_id: str | None
    status: ChatSessionStatusLike


_COLUMNS = """id, target_type, target_id, initiative_id, agent_id, status, created_at,
    updated_at"""
_MESSAGE_COLUMNS = "id, chat_session_id, role, content, change_set_id, created_at"
_session = rows_of(ChatSession)
_id = values_of(str, ChatSession)
_message = rows_of(ChatMessage)

_TARGET: LiteralString = """(
        SELECT 'phase' AS type, id, initiative_id FROM phases WHERE id = :target_id
        UNION ALL
        SELECT 'task' AS type, id, initiative_id FROM tasks WHERE id = :target_id
    ) AS target"""

# No row if the target does not exist.
_CREATE_SESSION = _session(f"""
    INSERT INTO chat_sessions ({_COLUMNS})
    SELECT :id, :target_type, :target_id, :initiative_id, :agent_id, 'active', :now, :now
    FROM {_TARGET}
    WHERE target.type = :target_type
    RETURNING {_COLUMNS}
""")

# A task need not be of any initiative.
_FIND_FOREIGN_TARGET = _id(f"""
    SELECT target.id /* never NULL: the key of either table */
    FROM {_TARGET}
    WHERE target.type = :target_type
      AND target.initiative_id <> :initiative_id
""")

_FIND_SESSION_BY_ID = _session(f"""
    SELECT {_COLUMNS}
    FROM chat_sessions
    WHERE id = :id
""")

_FIND_SESSIONS = lists_of(ChatSession, _FIND_SESSION_BY_ID)(f"""
    SELECT {_COLUMNS}
    FROM chat_sessions
    WHERE target_type = :target_type
      AND target_id = :target_id
    ORDER BY created_at, id
""")

_FIND_ACTIVE_SESSION = _session(f"""
    SELECT {_COLUMNS}
    FROM chat_sessions
    WHERE target_type = :target_type
      AND target_id = :target_id
      AND status = 'active'
""")

_FIND_ACTIVE_SESSION_BY_AGENT = _session(f"""
    SELECT {_COLUMNS}
    FROM chat_sessions
    WHERE agent_id = :agent_id
      AND status = 'active'
    ORDER BY created_at DESC, id DESC
    LIMIT 1
""")

_UPDATE_SESSION = Patch(
    f"""
    UPDATE chat_sessions
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    ChatSessionPatch,
    _FIND_SESSION_BY_ID,
)

_DELETE_SESSION = _id("""
    DELETE FROM chat_sessions
    WHERE id = :id
    RETURNING id
""")

_CREATE_MESSAGE = _message(f"""
    INSERT INTO chat_messages ({_MESSAGE_COLUMNS})
    VALUES (:id, :chat_session_id, :role, :content, :change_set_id, :now)
    RETURNING {_MESSAGE_COLUMNS}
""")

_FIND_MESSAGE_BY_ID = _message(f"""
    SELECT {_MESSAGE_COLUMNS}
    FROM chat_messages
    WHERE id = :id
""")

_FIND_MESSAGES_BY_SESSION = lists_of(ChatMessage, _FIND_MESSAGE_BY_ID)(f"""
    SELECT {_MESSAGE_COLUMNS}
    FROM chat_messages
    WHERE chat_session_id = :chat_session_id
    ORDER BY created_at, id
""")


class ChatSessionRepository(Repository[Mode]):
    """Open, read and close sessions; write and read their messages."""

    @command
    def create_session(
        self,
        target_type: ChatTargetTypeLike,
        target_id: str,
        *,
        initiative_id: str,
        agent_id: str | None = None,
        id: str | None = None,
    ) -> ChatSession:
        """A new active session about a phase or task of the initiative, or a task of none.

        Raises ConflictError if the target has an active session or the id is taken,
        MissingReferenceError if target, initiative or agent does not exist, InvalidValueError if
        the target is of another initiative.
        """
        with self._db.transaction():
            session = self._db.write_one(
                _CREATE_SESSION,
                id=make_id() if id is None else id,
                target_type=target_type,
                target_id=target_id,
                initiative_id=initiative_id,
                agent_id=agent_id,
            )
            if session is None:
                raise MissingReferenceError(
                    f"chat_sessions: there is no {target_type} {target_id!r}; create it first",
                    field="target_id",
                )
            foreign = self._db.fetch_one(
                _FIND_FOREIGN_TARGET,
                target_type=target_type,
                target_id=target_id,
                initiative_id=initiative_id,
            )
            if foreign is not None:
                raise InvalidValueError("initiative_id", "the target is of another initiative")
            return session

    @query
    def find_session_by_id(self, id: str) -> ChatSession | None:
        """The session, or None."""
        return self._db.fetch_one(_FIND_SESSION_BY_ID, id=id)

    @query
    def find_sessions(
        self, target_type: ChatTargetTypeLike, target_id: str, **page: Unpack[Paging]
    ) -> list[ChatSession]:
        """All sessions about that target, the closed ones too, oldest first."""
        return fetch_page(
            self._db, _FIND_SESSIONS, page, target_type=target_type, target_id=target_id
        )

    @query
    def find_active_session(
        self, target_type: ChatTargetTypeLike, target_id: str
    ) -> ChatSession | None:
        """The active session about that target, or None."""
        return self._db.fetch_one(
            _FIND_ACTIVE_SESSION, target_type=target_type, target_id=target_id
        )

    @query
    def find_active_session_by_agent_id(self, agent_id: str) -> ChatSession | None:
        """The newest active session of that agent, or None."""
        return self._db.fetch_one(_FIND_ACTIVE_SESSION_BY_AGENT, agent_id=agent_id)

    @command
    def update_session(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[ChatSessionPatch]
    ) -> ChatSession:
        """Change what is given and `updated_at`.

        Raises NotFoundError; ConflictError if `updated_at` is not `if_updated_at`, or if it would
        be the target's second active session; MissingReferenceError if the agent does not exist.
        """
        return patch_row(self._db, _UPDATE_SESSION, id, if_updated_at, patch)

    @command
    def delete_session(self, id: str) -> bool:
        """Delete it with its messages; False if there was none."""
        return self._db.write_one(_DELETE_SESSION, id=id) is not None

    @command
    def create_message(
        self,
        chat_session_id: str,
        *,
        role: ChatRoleLike,
        content: str,
        change_set_id: str | None = None,
        id: str | None = None,
    ) -> ChatMessage:
        """A new message in a session, active or closed.

        Raises MissingReferenceError if session or change set does not exist, ConflictError if the
        id is taken.
        """
        return self._db.insert(
            _CREATE_MESSAGE,
            id=make_id() if id is None else id,
            chat_session_id=chat_session_id,
            role=role,
            content=content,
            change_set_id=change_set_id,
        )

    @query
    def find_messages_by_session_id(
        self, chat_session_id: str, **page: Unpack[Paging]
    ) -> list[ChatMessage]:
        """Messages of the session, oldest first."""
        return fetch_page(
            self._db, _FIND_MESSAGES_BY_SESSION, page, chat_session_id=chat_session_id
        )


publish(globals())
