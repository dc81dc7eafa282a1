"""Phases: the stages of an initiative, and which of them wait for others."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, Unpack

from cwstore.core import publish
from cwstore.core.checks import Json, NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.faults import on_use
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
from cwstore.entities.ordering import dependencies_first, ring_error
from cwstore.errors import CycleError, InvalidValueError, MissingReferenceError

if TYPE_CHECKING:
    from cwstore.entities import bulk_delete
else:
    bulk_delete = on_use("cwstore.entities.bulk_delete", "phases")

__all__ = ["Phase", "PhasePatch", "PhaseRepository", "PhaseStatus"]


class PhaseStatus(StrEnum):
    """Only the tasks of an approved phase, or of one in progress, become ready."""

    PENDING = "pending"
    APPROVED = "approved"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    BLOCKED = "blocked"


PhaseStatusLike = (
    PhaseStatus | Literal["pending", "approved", "in_progress", "completed", "blocked"]
)


@dataclass(frozen=True, slots=True)
class Phase:
    """One row of `phases`, as it was when read."""

    id: NonEmpty
    initiative_id: NonEmpty
    name: NonEmpty
    #: Tiptap JSON; None while nothing is written.
    content: Json | None
    status: PhaseStatus
    created_at: datetime
    updated_at: datetime


class PhaseDependency(NamedTuple):
    """An edge: the phase waits for the other, which is of the same initiative."""

    phase_id: NonEmpty
    depends_on_phase_id: NonEmpty


class PhasePatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    name: str
    content: str | None
    status: PhaseStatusLike


_COLUMNS = "id, initiative_id, name, content, status, created_at, updated_at"
_phase = rows_of(Phase)
_edge = rows_of(PhaseDependency)
_id = values_of(str, Phase)

_CREATE = _phase(f"""
    INSERT INTO phases ({_COLUMNS})
    VALUES (:id, :initiative_id, :name, :content, :status, :now, :now)
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _phase(f"""
    SELECT {_COLUMNS}
    FROM phases
    WHERE id = :id
""")
_list = lists_of(Phase, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM phases
    ORDER BY created_at, id
""")

_FIND_BY_INITIATIVE = _list(f"""
    SELECT {_COLUMNS}
    FROM phases
    WHERE initiative_id = :initiative_id
    ORDER BY created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE phases
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    PhasePatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM phases
    WHERE id = :id
    RETURNING id
""")

_INITIATIVE_OF_PHASE = _id(
    """
    SELECT initiative_id
    FROM phases
    WHERE id = :phase_id
    """,
    phase_id=NonEmpty,
)

_INITIATIVE_OF_NEEDED = _id(
    """
    SELECT initiative_id
    FROM phases
    WHERE id = :depends_on_phase_id
    """,
    depends_on_phase_id=NonEmpty,
)

_CREATE_DEPENDENCY = _edge("""
    INSERT INTO phase_dependencies (phase_id, depends_on_phase_id)
    VALUES (:phase_id, :depends_on_phase_id)
    ON CONFLICT (phase_id, depends_on_phase_id) DO NOTHING
""")

_DELETE_DEPENDENCY = _edge("""
    DELETE FROM phase_dependencies
    WHERE phase_id = :phase_id
      AND depends_on_phase_id = :depends_on_phase_id
""")

_GET_DEPENDENCIES = _id(
    """
    SELECT phases.id
    FROM phase_dependencies
    JOIN phases ON phases.id = phase_dependencies.depends_on_phase_id
    WHERE phase_dependencies.phase_id = :phase_id
    ORDER BY phases.created_at, phases.id
    """,
    phase_id=NonEmpty,
)

_GET_DEPENDENTS = _id(
    """
    SELECT phases.id
    FROM phase_dependencies
    JOIN phases ON phases.id = phase_dependencies.phase_id
    WHERE phase_dependencies.depends_on_phase_id = :phase_id
    ORDER BY phases.created_at, phases.id
    """,
    phase_id=NonEmpty,
)

_EDGES_OF_INITIATIVE = _edge(
    """
    SELECT edge.phase_id, edge.depends_on_phase_id
    FROM phases
    JOIN phase_dependencies AS edge ON edge.phase_id = phases.id
    WHERE phases.initiative_id = :initiative_id
    """,
    initiative_id=NonEmpty,
)


class PhaseRepository(Repository[Mode]):
    """Create, read, update and order phases."""

    @command
    def create(
        self,
        *,
        initiative_id: str,
        name: str,
        content: str | None = None,
        status: PhaseStatusLike = PhaseStatus.PENDING,
        id: str | None = None,
    ) -> Phase:
        """A new phase.

        Raises MissingReferenceError if the initiative does not exist, ConflictError if the id is
        taken.
        """
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            initiative_id=initiative_id,
            name=name,
            content=content,
            status=status,
        )

    @query
    def find_by_id(self, id: str) -> Phase | None:
        """The phase, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Phase:
        """The phase. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "phases", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Phase]:
        """Every phase, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_initiative_id(self, initiative_id: str, **page: Unpack[Paging]) -> list[Phase]:
        """Phases of the initiative, oldest first."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[PhasePatch]
    ) -> Phase:
        """Change what is given and `updated_at`.

        Raises NotFoundError, and ConflictError if `updated_at` is not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it with its tasks, edges and review comments; False if there was none.

        Tasks may be nested to any depth. One transaction, however many they are.
        """
        with self._db.transaction():
            bulk_delete.delete_nested_of_phase(self._db, id)
            return self._db.write_one(_DELETE, id=id) is not None

    @command
    def create_dependency(self, phase_id: str, depends_on_phase_id: str) -> None:
        """Let a phase wait for another one of its initiative; an edge that exists is left alone.

        Raises MissingReferenceError if one of the two does not exist, InvalidValueError if they
        are of different initiatives, CycleError.
        """
        ends = {"phase_id": phase_id, "depends_on_phase_id": depends_on_phase_id}
        with self._db.transaction():
            own = self._db.fetch_one(_INITIATIVE_OF_PHASE, phase_id=phase_id)
            other = self._db.fetch_one(
                _INITIATIVE_OF_NEEDED, depends_on_phase_id=depends_on_phase_id
            )
            if own is None or other is None:
                missing = "phase_id" if own is None else "depends_on_phase_id"
                raise MissingReferenceError(
                    f"phases: no row has the id {ends[missing]!r}", field=missing
                )
            if own != other:
                raise InvalidValueError(
                    "depends_on_phase_id", "is of another initiative than the phase itself"
                )
            try:
                self._db.execute(_CREATE_DEPENDENCY, **ends)
                return
            except CycleError:
                edges = self._edges_of(own)
        raise ring_error("phase_dependencies", edges, phase_id, depends_on_phase_id)

    @command
    def delete_dependency(self, phase_id: str, depends_on_phase_id: str) -> bool:
        """Remove the edge; False if there was none."""
        ends = {"phase_id": phase_id, "depends_on_phase_id": depends_on_phase_id}
        return self._db.execute(_DELETE_DEPENDENCY, **ends) > 0

    @query
    def get_dependencies(self, phase_id: str) -> list[str]:
        """Ids of the phases that it waits for, oldest first."""
        return self._db.fetch_all(_GET_DEPENDENCIES, phase_id=phase_id)

    @query
    def get_dependents(self, phase_id: str) -> list[str]:
        """Ids of the phases that wait for it, oldest first."""
        return self._db.fetch_all(_GET_DEPENDENTS, phase_id=phase_id)

    @query
    def topological_order(self, initiative_id: str) -> list[Phase]:
        """The phases of an initiative, dependencies first, else oldest first."""
        phases = self._db.fetch_all(_FIND_BY_INITIATIVE, initiative_id=initiative_id)
        return dependencies_first(phases, self._edges_of(initiative_id))

    def _edges_of(self, initiative_id: str) -> list[PhaseDependency]:
        return self._db.fetch_all(_EDGES_OF_INITIATIVE, initiative_id=initiative_id)


publish(globals())
