"""Messages between agents and the user, and the responses to them."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypedDict, Unpack, cast

from cwstore.core import publish
from cwstore.core.checks import NonEmpty, check_id, for_each
from cwstore.core.entity import dataclass
from cwstore.core.faults import loading
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
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError

__all__ = [
    "Message",
    "MessagePatch",
    "MessageRepository",
    "MessageStatus",
    "MessageType",
    "PartyType",
]


class PartyType(StrEnum):
    """Who sends or receives. An agent has an id; the user has none."""

    AGENT = "agent"
    USER = "user"


PartyTypeLike = PartyType | Literal["agent", "user"]


class MessageType(StrEnum):
    """What a message is for."""

    QUESTION = "question"
    INFO = "info"
    ERROR = "error"
    RESPONSE = "response"


MessageTypeLike = MessageType | Literal["question", "info", "error", "response"]


class MessageStatus(StrEnum):
    """How far the recipient got with it."""

    PENDING = "pending"
    READ = "read"
    RESPONDED = "responded"


MessageStatusLike = MessageStatus | Literal["pending", "read", "responded"]


@dataclass(frozen=True, slots=True)
class Message:
    """One row of `messages`, as it was when read."""

    id: NonEmpty
    sender_type: PartyType
    #: None for the user, and for an agent that was deleted since.
    sender_id: NonEmpty | None
    recipient_type: PartyType
    #: None for the user, and for an agent that was deleted since.
    recipient_id: NonEmpty | None
    type: MessageType
    content: str
    requires_response: bool
    status: MessageStatus
    #: The message that this one replies to; None if to none, or to one that was deleted since.
    parent_message_id: NonEmpty | None
    created_at: datetime
    updated_at: datetime


class MessagePatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    content: str
    status: MessageStatusLike
    requires_response: bool


_COLUMNS = """id, sender_type, sender_id, recipient_type, recipient_id, type, content,
    requires_response, status, parent_message_id, created_at, updated_at"""
_message = rows_of(Message)
_id = values_of(str, Message)

_CREATE = _message(f"""
    INSERT INTO messages ({_COLUMNS})
    VALUES (
        :id, :sender_type, :sender_id, :recipient_type, :recipient_id, :type, :content,
        :requires_response, :status, :parent_message_id, :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _message(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE id = :id
""")
_list = lists_of(Message, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    ORDER BY created_at, id
""")

_FIND_PENDING_FOR_USER = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE recipient_type = 'user'
      AND status = 'pending'
    ORDER BY created_at, id
""")

# Whoever has no id is the user, or an agent that was deleted since.
_FIND_FOR_RECIPIENT = _list(
    f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE recipient_id IS NOT DISTINCT FROM :recipient_id
      AND recipient_type = :recipient_type
    ORDER BY created_at, id
    """,
    recipient_id=NonEmpty | None,
)

_FIND_FOR_RECIPIENT_BY_STATUS = _list(
    f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE recipient_id IS NOT DISTINCT FROM :recipient_id
      AND recipient_type = :recipient_type
      AND status = :status
    ORDER BY created_at, id
    """,
    recipient_id=NonEmpty | None,
)

_FIND_FOR_AGENTS = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE recipient_type = 'agent'
    ORDER BY created_at, id
""")

_FIND_FOR_AGENTS_BY_STATUS = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE recipient_type = 'agent'
      AND status = :status
    ORDER BY created_at, id
""")

_FIND_BY_SENDER = _list(
    f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE sender_id IS NOT DISTINCT FROM :sender_id
      AND sender_type = :sender_type
    ORDER BY created_at, id
    """,
    sender_id=NonEmpty | None,
)

_FIND_BY_AGENTS = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE sender_type = 'agent'
    ORDER BY created_at, id
""")

_FIND_REQUIRING_RESPONSE = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE requires_response = 1
      AND status <> 'responded'
    ORDER BY created_at, id
""")

_FIND_REQUIRING_RESPONSE_OF_TYPE = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE requires_response = 1
      AND status <> 'responded'
      AND recipient_type = :recipient_type
    ORDER BY created_at, id
""")

_FIND_REQUIRING_RESPONSE_OF_ID = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE requires_response = 1
      AND status <> 'responded'
      AND recipient_type = 'agent'
      AND recipient_id = :recipient_id
    ORDER BY created_at, id
""")

_FIND_REQUIRING_RESPONSE_OF_TYPE_AND_ID = _list(f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE requires_response = 1
      AND status <> 'responded'
      AND recipient_type = :recipient_type
      AND recipient_id = :recipient_id
    ORDER BY created_at, id
""")

_FIND_REPLIES = _list(
    f"""
    SELECT {_COLUMNS}
    FROM messages
    WHERE parent_message_id = :message_id
    ORDER BY created_at, id
    """,
    message_id=NonEmpty,
)

_UPDATE = Patch(
    f"""
    UPDATE messages
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    MessagePatch,
    _FIND_BY_ID,
)

_MARK_READ = _id(
    f"""
    UPDATE messages
    SET status = 'read', updated_at = {NEXT_UPDATED_AT}
    WHERE id IN (SELECT value FROM json_each(:ids))
      AND status = 'pending'
    """,
    ids=str,
)

_DELETE = _id("""
    DELETE FROM messages
    WHERE id = :id
    RETURNING id
""")

_MARK_RESPONDED = _message(
    f"""
    UPDATE messages
    SET status = 'responded', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :message_id
      AND status <> 'responded'
    RETURNING {_COLUMNS}
    """,
    message_id=NonEmpty,
)


class MessageRepository(Repository[Mode]):
    """Write, read and answer messages."""

    @command
    def create(
        self,
        *,
        sender_type: PartyTypeLike,
        recipient_type: PartyTypeLike,
        content: str,
        sender_id: str | None = None,
        recipient_id: str | None = None,
        type: MessageTypeLike = MessageType.INFO,
        requires_response: bool = False,
        status: MessageStatusLike = MessageStatus.PENDING,
        parent_message_id: str | None = None,
        id: str | None = None,
    ) -> Message:
        """A new message. An agent is named by its id; the user has none.

        Raises InvalidValueError if an agent is without an id or the user with one,
        MissingReferenceError if an agent or the parent does not exist, ConflictError if the id is
        taken.
        """
        _check_party("sender_id", sender_type, sender_id)
        _check_party("recipient_id", recipient_type, recipient_id)
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            sender_type=sender_type,
            sender_id=sender_id,
            recipient_type=recipient_type,
            recipient_id=recipient_id,
            type=type,
            content=content,
            requires_response=requires_response,
            status=status,
            parent_message_id=parent_message_id,
        )

    @query
    def find_by_id(self, id: str) -> Message | None:
        """The message, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Message:
        """The message. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "messages", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Message]:
        """Every message, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_pending_for_user(self, **page: Unpack[Paging]) -> list[Message]:
        """Messages to the user whose status is pending, oldest first."""
        return fetch_page(self._db, _FIND_PENDING_FOR_USER, page)

    @query
    def find_for_recipient(
        self,
        recipient_type: PartyTypeLike,
        recipient_id: str | None = None,
        *,
        status: MessageStatusLike | None = None,
        **page: Unpack[Paging],
    ) -> list[Message]:
        """The mail of the user or of an agent, oldest first; with `status` only what has that.

        `agent` without an id means: of all agents, also of those that were deleted since. The user
        has no id, so with one nothing is found.
        """
        if recipient_type == PartyType.AGENT and recipient_id is None:
            if status is None:
                return fetch_page(self._db, _FIND_FOR_AGENTS, page)
            return fetch_page(self._db, _FIND_FOR_AGENTS_BY_STATUS, page, status=status)
        whom = {"recipient_type": recipient_type, "recipient_id": recipient_id}
        if status is None:
            return fetch_page(self._db, _FIND_FOR_RECIPIENT, page, **whom)
        return fetch_page(self._db, _FIND_FOR_RECIPIENT_BY_STATUS, page, **whom, status=status)

    @query
    def find_by_sender(
        self,
        sender_type: PartyTypeLike,
        sender_id: str | None = None,
        **page: Unpack[Paging],
    ) -> list[Message]:
        """What the user or an agent has sent, oldest first.

        `agent` without an id means: all agents, also those that were deleted since. The user has no
        id, so with one nothing is found.
        """
        if sender_type == PartyType.AGENT and sender_id is None:
            return fetch_page(self._db, _FIND_BY_AGENTS, page)
        return fetch_page(
            self._db, _FIND_BY_SENDER, page, sender_type=sender_type, sender_id=sender_id
        )

    @query
    def find_requiring_response(
        self,
        *,
        recipient_type: PartyTypeLike | None = None,
        recipient_id: str | None = None,
        **page: Unpack[Paging],
    ) -> list[Message]:
        """Messages that require a response and are not responded to, oldest first.

        None means: to anybody, to whatever id. Only agents have one, so `recipient_id` alone asks
        for an agent's, and together with the user it finds nothing.
        """
        if recipient_type is None and recipient_id is None:
            return fetch_page(self._db, _FIND_REQUIRING_RESPONSE, page)
        if recipient_id is None:
            return fetch_page(
                self._db, _FIND_REQUIRING_RESPONSE_OF_TYPE, page, recipient_type=recipient_type
            )
        if recipient_type is None:
            return fetch_page(
                self._db, _FIND_REQUIRING_RESPONSE_OF_ID, page, recipient_id=recipient_id
            )
        return fetch_page(
            self._db,
            _FIND_REQUIRING_RESPONSE_OF_TYPE_AND_ID,
            page,
            recipient_type=recipient_type,
            recipient_id=recipient_id,
        )

    @query
    def find_replies(self, message_id: str, **page: Unpack[Paging]) -> list[Message]:
        """Messages whose parent it is, oldest first."""
        return fetch_page(self._db, _FIND_REPLIES, page, message_id=message_id)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[MessagePatch]
    ) -> Message:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def mark_read(self, ids: Iterable[str]) -> int:
        """Set those that are pending to read, as one; how many they were.

        Those that are read, responded to or unknown are left alone.
        """
        if isinstance(ids, str) or not isinstance(cast(object, ids), Iterable):
            raise InvalidValueError("ids", f"expected several ids, got {type(ids).__name__}")
        with loading("mark_read"):
            from json import dumps  # what reading does not need

        wanted = list(ids)
        for_each(wanted, lambda one: check_id("ids", one))
        return self._db.execute(_MARK_READ, ids=dumps(wanted))

    @command
    def delete(self, id: str) -> bool:
        """Delete it; replies to it stay and lose their parent. False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None

    @command
    def respond(
        self,
        message_id: str,
        content: str,
        sender_type: PartyTypeLike,
        *,
        sender_id: str | None = None,
    ) -> Message:
        """Reply to whoever sent the message and set its status to responded, as one; the reply.

        If the agent who sent it was deleted since, the reply is kept without a recipient_id. The
        first response wins: raises ConflictError for a second one, NotFoundError for an unknown
        message, InvalidValueError if an agent responds without an id or the user with one,
        MissingReferenceError if the responding agent does not exist.
        """
        _check_party("sender_id", sender_type, sender_id)
        with self._db.transaction():
            message = self._db.write_one(_MARK_RESPONDED, message_id=message_id)
            if message is None:
                row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=message_id), "messages", message_id)
                raise ConflictError(
                    f"messages: {message_id!r} has a response already; read it with find_replies",
                    reason=ConflictReason.SETTLED,
                    table="messages",
                    id=message_id,
                )
            return self._db.insert(
                _CREATE,
                id=make_id(),
                sender_type=sender_type,
                sender_id=sender_id,
                recipient_type=message.sender_type,
                recipient_id=message.sender_id,
                type=MessageType.RESPONSE,
                content=content,
                requires_response=False,
                status=MessageStatus.PENDING,
                parent_message_id=message_id,
            )


def _check_party(field: str, party: PartyTypeLike, id: str | None) -> None:
    """Not a CHECK of the table: an agent's mail outlives it, without its id."""
    if party == PartyType.AGENT and id is None:
        raise InvalidValueError(field, "an agent has an id: give it")
    if party == PartyType.USER and id is not None:
        raise InvalidValueError(field, "the user has no id: leave it out")


publish(globals())
