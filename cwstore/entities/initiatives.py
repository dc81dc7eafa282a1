"""Initiatives: what is to be achieved; they own phases, tasks and pages."""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from cwstore import entities
from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.faults import on_use
from cwstore.core.ids import make_id
from cwstore.core.repository import (
    Mode,
    Repository,
    command,
    fetch_page,
    lengthy,
    patch_row,
    query,
    row_or_raise,
)
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, Patch, lists_of, rows_of, values_of

if TYPE_CHECKING:
    from cwstore.entities import bulk_delete, plan_check
else:
    bulk_delete = on_use("cwstore.entities.bulk_delete", "initiatives")
    plan_check = on_use("cwstore.entities.plan_check", "initiatives")

__all__ = ["Initiative", "InitiativePatch", "InitiativeRepository", "InitiativeStatus"]


class InitiativeStatus(StrEnum):
    """Only the tasks of an active initiative become ready."""

    ACTIVE = "active"
    PENDING_REVIEW = "pending_review"
    COMPLETED = "completed"
    ARCHIVED = "archived"


InitiativeStatusLike = (
    InitiativeStatus | Literal["active", "pending_review", "completed", "archived"]
)


@dataclass(frozen=True, slots=True)
class Initiative:
    """One row of `initiatives`, as it was when read."""

    id: NonEmpty
    name: NonEmpty
    status: InitiativeStatus
    #: What its tasks inherit that do not say for themselves whether they need approval.
    merge_requires_approval: bool
    #: A generated name such as `cw/user-auth`; None while there is no branch.
    branch: str | None
    created_at: datetime
    updated_at: datetime


class InitiativePatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    name: str
    status: InitiativeStatusLike
    merge_requires_approval: bool
    branch: str | None


_COLUMNS = "id, name, status, merge_requires_approval, branch, created_at, updated_at"
_initiative = rows_of(Initiative)
_id = values_of(str, Initiative)

_CREATE = _initiative(f"""
    INSERT INTO initiatives ({_COLUMNS})
    VALUES (:id, :name, :status, :merge_requires_approval, :branch, :now, :now)
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _initiative(f"""
    SELECT {_COLUMNS}
    FROM initiatives
    WHERE id = :id
""")
_list = lists_of(Initiative, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM initiatives
    ORDER BY created_at, id
""")

_FIND_BY_STATUS = _list(f"""
    SELECT {_COLUMNS}
    FROM initiatives
    WHERE status = :status
    ORDER BY created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE initiatives
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    InitiativePatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM initiatives
    WHERE id = :id
    RETURNING id
""")


class InitiativeRepository(Repository[Mode]):
    """Create, read, update and delete initiatives."""

    @command
    def create(
        self,
        *,
        name: str,
        status: InitiativeStatusLike = InitiativeStatus.ACTIVE,
        merge_requires_approval: bool = True,
        branch: str | None = None,
        id: str | None = None,
    ) -> Initiative:
        """A new initiative. Raises ConflictError if the id is taken."""
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            name=name,
            status=status,
            merge_requires_approval=merge_requires_approval,
            branch=branch,
        )

    @query
    def find_by_id(self, id: str) -> Initiative | None:
        """The initiative, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Initiative:
        """The initiative. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "initiatives", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Initiative]:
        """Every initiative, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_status(
        self, status: InitiativeStatusLike, **page: Unpack[Paging]
    ) -> list[Initiative]:
        """Initiatives of that status, oldest first."""
        return fetch_page(self._db, _FIND_BY_STATUS, page, status=status)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[InitiativePatch]
    ) -> Initiative:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it with all that it owns; False if there was none.

        One transaction: while it runs, nobody else can write. See `purge` for large ones.
        """
        with self._db.transaction():
            bulk_delete.delete_nested_of_initiative(self._db, id)
            return self._db.write_one(_DELETE, id=id) is not None

    @lengthy
    def purge(
        self, initiative_id: str, *, on_progress: Callable[[int], object] | None = None
    ) -> int:
        """Delete it with all that it owns, a little at a time, so that others can write between.

        It is archived first: none of its tasks is ready any more. Each transaction deletes at most
        some thousand rows and takes some 20 ms; others see what is left. If the process dies, or
        `on_progress` raises, what is left stays, archived: begun again, it goes on. Returns the
        number of rows deleted, 0 if there was none; `on_progress` gets what it is so far, after
        each transaction. Agents and conversations of it stay and name it no more; that is an update
        of theirs. The space is given back by `Store.compact`. Raises ConflictError inside of a
        transaction, which would be one long one again.
        """
        return bulk_delete.purge_initiative(self._db, initiative_id, on_progress)

    @query
    def check_plan(self, initiative_id: str) -> "list[entities.PlanProblem]":
        """What can never become ready: rings, and work that waits for something blocked.

        A ring may run through tasks, through phases, and through the membership of tasks in phases:
        a phase waits for its tasks. Also where it leads through other initiatives. What is left to
        do in another initiative that is archived or completed counts as blocked. Rings come first.
        Empty for a plan that can be carried out, and for an unknown initiative. Several reads: call
        it in a transaction to see one moment.
        """
        return plan_check.check_plan(self._db, initiative_id)


publish(globals())
