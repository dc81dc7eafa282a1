"""Conversations: one agent asks another one something, and the other answers once."""

from datetime import datetime
from enum import StrEnum
from typing import Unpack

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.ids import make_id
from cwstore.core.repository import Mode, Repository, command, fetch_page, query, row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, lists_of, rows_of, values_of
from cwstore.errors import ConflictError, ConflictReason

__all__ = ["Conversation", "ConversationRepository", "ConversationStatus"]


class ConversationStatus(StrEnum):
    """Answered exactly when there is an answer."""

    PENDING = "pending"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of `conversations`, as it was when read."""

    id: NonEmpty
    from_agent_id: NonEmpty
    to_agent_id: NonEmpty
    #: What it is about; None if about none, or about one that was deleted since.
    initiative_id: NonEmpty | None
    #: As above.
    phase_id: NonEmpty | None
    #: As above.
    task_id: NonEmpty | None
    question: str
    #: None while pending.
    answer: str | None
    status: ConversationStatus
    created_at: datetime
    updated_at: datetime


_COLUMNS = """id, from_agent_id, to_agent_id, initiative_id, phase_id, task_id, question, answer,
    status, created_at, updated_at"""
_conversation = rows_of(Conversation)
_id = values_of(str, Conversation)

_CREATE = _conversation(f"""
    INSERT INTO conversations ({_COLUMNS})
    VALUES (
        :id, :from_agent_id, :to_agent_id, :initiative_id, :phase_id, :task_id, :question, NULL,
        'pending', :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _conversation(f"""
    SELECT {_COLUMNS}
    FROM conversations
    WHERE id = :id
""")
_list = lists_of(Conversation, _FIND_BY_ID)

_FIND_PENDING_FOR_AGENT = _list(
    f"""
    SELECT {_COLUMNS}
    FROM conversations
    WHERE to_agent_id = :agent_id
      AND status = 'pending'
    ORDER BY created_at, id
    """,
    agent_id=NonEmpty,
)

_FIND_BY_FROM_AGENT = _list(f"""
    SELECT {_COLUMNS}
    FROM conversations
    WHERE from_agent_id = :from_agent_id
    ORDER BY created_at, id
""")

_FIND_BY_TASK = _list(f"""
    SELECT {_COLUMNS}
    FROM conversations
    WHERE task_id = :task_id
    ORDER BY created_at, id
""")

_DELETE = _id("""
    DELETE FROM conversations
    WHERE id = :id
    RETURNING id
""")

_ANSWER = _conversation(f"""
    UPDATE conversations
    SET answer = :answer, status = 'answered', updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
      AND status = 'pending'
    RETURNING {_COLUMNS}
""")


class ConversationRepository(Repository[Mode]):
    """Ask, look for what was asked, answer."""

    @command
    def create(
        self,
        *,
        from_agent_id: str,
        to_agent_id: str,
        question: str,
        initiative_id: str | None = None,
        phase_id: str | None = None,
        task_id: str | None = None,
        id: str | None = None,
    ) -> Conversation:
        """A new question of one agent to another; the other ids say what it is about.

        Raises MissingReferenceError if one of them does not exist, ConflictError if the id is
        taken.
        """
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            from_agent_id=from_agent_id,
            to_agent_id=to_agent_id,
            initiative_id=initiative_id,
            phase_id=phase_id,
            task_id=task_id,
            question=question,
        )

    @query
    def find_by_id(self, id: str) -> Conversation | None:
        """The conversation, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Conversation:
        """The conversation. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "conversations", id)

    @query
    def find_pending_for_agent(self, agent_id: str, **page: Unpack[Paging]) -> list[Conversation]:
        """What the agent was asked and has not answered, oldest first."""
        return fetch_page(self._db, _FIND_PENDING_FOR_AGENT, page, agent_id=agent_id)

    @query
    def find_by_from_agent_id(
        self, from_agent_id: str, **page: Unpack[Paging]
    ) -> list[Conversation]:
        """What the agent has asked, oldest first."""
        return fetch_page(self._db, _FIND_BY_FROM_AGENT, page, from_agent_id=from_agent_id)

    @query
    def find_by_task_id(self, task_id: str, **page: Unpack[Paging]) -> list[Conversation]:
        """What was asked about the task, oldest first."""
        return fetch_page(self._db, _FIND_BY_TASK, page, task_id=task_id)

    @command
    def answer(self, id: str, answer: str) -> Conversation:
        """Answer a pending conversation; of any number of answers the first one wins.

        Raises ConflictError if it is answered already, NotFoundError if it does not exist.
        """
        with self._db.transaction():
            answered = self._db.write_one(_ANSWER, id=id, answer=answer)
            if answered is None:
                row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "conversations", id)
                raise ConflictError(
                    f"conversations: {id!r} is answered already; read the answer with find_by_id",
                    reason=ConflictReason.SETTLED,
                    table="conversations",
                    id=id,
                )
            return answered

    @command
    def delete(self, id: str) -> bool:
        """Delete it; False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None


publish(globals())
