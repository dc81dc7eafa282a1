"""Proposals: changes to pages, phases and tasks that an agent suggests and somebody decides on."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, TypedDict, Unpack

from cwstore.core import publish
from cwstore.core.checks import Json, NonEmpty
from cwstore.core.entity import dataclass
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

__all__ = [
    "Proposal",
    "ProposalPatch",
    "ProposalRepository",
    "ProposalStatus",
    "ProposalTargetType",
]


class ProposalTargetType(StrEnum):
    """What would be created or changed."""

    PAGE = "page"
    PHASE = "phase"
    TASK = "task"


ProposalTargetTypeLike = ProposalTargetType | Literal["page", "phase", "task"]


class ProposalStatus(StrEnum):
    """What was decided."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


ProposalStatusLike = ProposalStatus | Literal["pending", "accepted", "dismissed"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """One row of `proposals`, as it was when read."""

    id: NonEmpty
    agent_id: NonEmpty
    initiative_id: NonEmpty
    target_type: ProposalTargetType
    #: None: the target is to be created. It may name what was deleted since.
    target_id: NonEmpty | None
    title: str
    #: None: the title says it all.
    summary: str | None
    #: Markdown; None: no text proposed.
    content: str | None
    #: None: there is none.
    metadata: Json | None
    status: ProposalStatus
    sort_order: int
    created_at: datetime
    updated_at: datetime


class ProposalPatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    title: str
    summary: str | None
    content: str | None
    metadata: str | None
    status: ProposalStatusLike
    sort_order: int
    target_id: str | None


_COLUMNS = """id, agent_id, initiative_id, target_type, target_id, title, summary, content,
    metadata, status, sort_order, created_at, updated_at"""
_proposal = rows_of(Proposal)
_id = values_of(str, Proposal)
_number = values_of(int, Proposal)

_CREATE = _proposal(f"""
    INSERT INTO proposals ({_COLUMNS})
    VALUES (
        :id, :agent_id, :initiative_id, :target_type, :target_id, :title, :summary, :content,
        :metadata, :status, :sort_order, :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _proposal(f"""
    SELECT {_COLUMNS}
    FROM proposals
    WHERE id = :id
""")
_list = lists_of(Proposal, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM proposals
    ORDER BY created_at, id
""")

_FIND_BY_AGENT = _list(f"""
    SELECT {_COLUMNS}
    FROM proposals
    WHERE agent_id = :agent_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_INITIATIVE = _list(f"""
    SELECT {_COLUMNS}
    FROM proposals
    WHERE initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_AGENT_AND_STATUS = _list(f"""
    SELECT {_COLUMNS}
    FROM proposals
    WHERE agent_id = :agent_id
      AND status = :status
    ORDER BY sort_order, created_at, id
""")

_COUNT_BY_AGENT_AND_STATUS = _number("""
    SELECT count(*)
    FROM proposals
    WHERE agent_id = :agent_id
      AND status = :status
""")

_UPDATE = Patch(
    f"""
    UPDATE proposals
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    ProposalPatch,
    _FIND_BY_ID,
)

_UPDATE_BY_AGENT = Patch(
    f"""
    UPDATE proposals
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE agent_id = :agent_id
    RETURNING {_COLUMNS}
    """,
    ProposalPatch,
    _FIND_BY_ID,
)

_UPDATE_BY_AGENT_AND_STATUS = Patch(
    f"""
    UPDATE proposals
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE agent_id = :agent_id
      AND status = :current_status
    RETURNING {_COLUMNS}
    """,
    ProposalPatch,
    _FIND_BY_ID,
    current_status=ProposalStatus,
)

_DELETE = _id("""
    DELETE FROM proposals
    WHERE id = :id
    RETURNING id
""")


class ProposalRepository(Repository[Mode]):
    """Make, read, decide and delete proposals."""

    @command
    def create(
        self,
        *,
        agent_id: str,
        initiative_id: str,
        target_type: ProposalTargetTypeLike,
        title: str,
        target_id: str | None = None,
        summary: str | None = None,
        content: str | None = None,
        metadata: str | None = None,
        status: ProposalStatusLike = ProposalStatus.PENDING,
        sort_order: int = 0,
        id: str | None = None,
    ) -> Proposal:
        """A new proposal; the target is not looked up.

        Raises MissingReferenceError if agent or initiative does not exist, ConflictError if the id
        is taken.
        """
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            agent_id=agent_id,
            initiative_id=initiative_id,
            target_type=target_type,
            target_id=target_id,
            title=title,
            summary=summary,
            content=content,
            metadata=metadata,
            status=status,
            sort_order=sort_order,
        )

    @query
    def find_by_id(self, id: str) -> Proposal | None:
        """The proposal, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Proposal:
        """The proposal. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "proposals", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Proposal]:
        """Every proposal, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_agent_id(self, agent_id: str, **page: Unpack[Paging]) -> list[Proposal]:
        """Proposals of the agent by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_AGENT, page, agent_id=agent_id)

    @query
    def find_by_initiative_id(self, initiative_id: str, **page: Unpack[Paging]) -> list[Proposal]:
        """Proposals for the initiative by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @query
    def find_by_agent_id_and_status(
        self, agent_id: str, status: ProposalStatusLike, **page: Unpack[Paging]
    ) -> list[Proposal]:
        """Proposals of the agent with that status, by sort_order, then oldest first."""
        return fetch_page(
            self._db, _FIND_BY_AGENT_AND_STATUS, page, agent_id=agent_id, status=status
        )

    @query
    def count_by_agent_id_and_status(self, agent_id: str, status: ProposalStatusLike) -> int:
        """How many proposals of the agent have that status."""
        return self._db.fetch_all(_COUNT_BY_AGENT_AND_STATUS, agent_id=agent_id, status=status)[0]

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[ProposalPatch]
    ) -> Proposal:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def update_many_by_agent_id(
        self,
        agent_id: str,
        *,
        current_status: ProposalStatusLike | None = None,
        **patch: Unpack[ProposalPatch],
    ) -> list[Proposal]:
        """Change what is given and `updated_at` in all proposals of the agent, as one; those rows.

        With `current_status` only those of that status. By (new) sort_order, then oldest first; an
        agent without any, or that does not exist, gives an empty list.
        """
        if current_status is None:
            of_all = _UPDATE_BY_AGENT.statement(patch, checked=False)
            changed = self._db.write_all(of_all, **patch, agent_id=agent_id)
        else:
            of_some = _UPDATE_BY_AGENT_AND_STATUS.statement(patch, checked=False)
            changed = self._db.write_all(
                of_some, **patch, agent_id=agent_id, current_status=current_status
            )
        # RETURNING promises no order.
        return sorted(changed, key=lambda row: (row.sort_order, row.created_at, row.id))

    @command
    def delete(self, id: str) -> bool:
        """Delete it; False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None


publish(globals())
