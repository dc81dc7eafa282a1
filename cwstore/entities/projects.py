"""Projects: the git repositories that initiatives touch, and which initiative touches which."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, TypedDict, Unpack, cast

from cwstore.core import publish
from cwstore.core.checks import NonEmpty, check_id, for_each
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
from cwstore.errors import InvalidValueError, MissingReferenceError

__all__ = ["Project", "ProjectPatch", "ProjectRepository"]


@dataclass(frozen=True, slots=True)
class Project:
    """One row of `projects`, as it was when read."""

    id: NonEmpty
    #: Unique.
    name: NonEmpty
    #: Unique, byte for byte.
    url: str
    default_branch: str
    #: None: never fetched.
    last_fetched_at: datetime | None
    created_at: datetime
    updated_at: datetime


class InitiativeProject(NamedTuple):
    """A pair: the initiative touches the project."""

    initiative_id: NonEmpty
    project_id: NonEmpty


class ProjectPatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    name: str
    url: str
    default_branch: str
    last_fetched_at: datetime | None


_COLUMNS = "id, name, url, default_branch, last_fetched_at, created_at, updated_at"
_project = rows_of(Project)
_pair = rows_of(InitiativeProject)
_id = values_of(str, Project)

_CREATE = _project(f"""
    INSERT INTO projects ({_COLUMNS})
    VALUES (:id, :name, :url, :default_branch, :last_fetched_at, :now, :now)
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _project(f"""
    SELECT {_COLUMNS}
    FROM projects
    WHERE id = :id
""")
_list = lists_of(Project, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM projects
    ORDER BY name, id
""")

_UPDATE = Patch(
    f"""
    UPDATE projects
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    ProjectPatch,
    _FIND_BY_ID,
)

_DELETE = _id("""
    DELETE FROM projects
    WHERE id = :id
    RETURNING id
""")

_FIND_BY_INITIATIVE = _list(
    """
    SELECT
        projects.id, projects.name, projects.url, projects.default_branch,
        projects.last_fetched_at, projects.created_at, projects.updated_at
    FROM initiative_projects
    JOIN projects ON projects.id = initiative_projects.project_id
    WHERE initiative_projects.initiative_id = :initiative_id
    ORDER BY projects.name, projects.id
    """,
    initiative_id=NonEmpty,
)

_FIND_INITIATIVE = _id(
    """
    SELECT id
    FROM initiatives
    WHERE id = :initiative_id
    """,
    initiative_id=NonEmpty,
)

# The bind is called as the argument of set_initiative_projects is: an error names that.
_FIND_ONE_OF = _id(
    """
    SELECT id
    FROM projects
    WHERE id = :project_ids
    """,
    project_ids=NonEmpty,
)

_ADD = _pair("""
    INSERT INTO initiative_projects (initiative_id, project_id)
    VALUES (:initiative_id, :project_id)
    ON CONFLICT (initiative_id, project_id) DO NOTHING
""")

_REMOVE = _pair("""
    DELETE FROM initiative_projects
    WHERE initiative_id = :initiative_id
      AND project_id = :project_id
""")


def _distinct(project_ids: object) -> list[str]:
    if isinstance(project_ids, str) or not isinstance(project_ids, Iterable):
        raise InvalidValueError(
            "project_ids", f"expected several ids, got {type(project_ids).__name__}"
        )
    ids = list(cast(Iterable[str], project_ids))
    for_each(ids, lambda project_id: check_id("project_ids", project_id))
    return list(dict.fromkeys(ids))


class ProjectRepository(Repository[Mode]):
    """Create, read, update and delete projects, and say which initiative touches which."""

    @command
    def create(
        self,
        *,
        name: str,
        url: str,
        default_branch: str = "main",
        last_fetched_at: datetime | None = None,
        id: str | None = None,
    ) -> Project:
        """A new project. Raises ConflictError if the name, the url or the id is taken."""
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            name=name,
            url=url,
            default_branch=default_branch,
            last_fetched_at=last_fetched_at,
        )

    @query
    def find_by_id(self, id: str) -> Project | None:
        """The project, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Project:
        """The project. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "projects", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Project]:
        """Every project, by name (by code point)."""
        return fetch_page(self._db, _FIND_ALL, page)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[ProjectPatch]
    ) -> Project:
        """Change what is given and `updated_at`.

        Raises NotFoundError; ConflictError if the name or the url is taken, or `updated_at` is
        not `if_updated_at`.
        """
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Delete it; initiatives touch it no more. False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None

    @query
    def find_projects_by_initiative_id(
        self, initiative_id: str, **page: Unpack[Paging]
    ) -> list[Project]:
        """Projects that the initiative touches, by name."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @command
    def set_initiative_projects(
        self, initiative_id: str, project_ids: Iterable[str]
    ) -> list[Project]:
        """Let the initiative touch exactly these, as one; the result by name.

        Duplicates count once, pairs that are there already stay untouched. Raises NotFoundError
        if the initiative does not exist, also for an empty list, and MissingReferenceError if a
        project does not.
        """
        wanted = _distinct(project_ids)
        with self._db.transaction():
            known = self._db.fetch_one(_FIND_INITIATIVE, initiative_id=initiative_id)
            row_or_raise(known, "initiatives", initiative_id)
            there = self._db.fetch_all(_FIND_BY_INITIATIVE, initiative_id=initiative_id)
            present = {project.id for project in there}
            for project_id in present.difference(wanted):
                self._db.execute(_REMOVE, initiative_id=initiative_id, project_id=project_id)
            for project_id in wanted:
                if project_id not in present:
                    if self._db.fetch_one(_FIND_ONE_OF, project_ids=project_id) is None:
                        raise MissingReferenceError(
                            f"projects: no row has the id {project_id!r}", field="project_ids"
                        )
                    self._db.execute(_ADD, initiative_id=initiative_id, project_id=project_id)
            return self._db.fetch_all(_FIND_BY_INITIATIVE, initiative_id=initiative_id)

    @command
    def add_to_initiative(self, initiative_id: str, project_id: str) -> None:
        """Let the initiative touch the project; does nothing if it does already.

        Raises MissingReferenceError if one of the two does not exist.
        """
        self._db.execute(_ADD, initiative_id=initiative_id, project_id=project_id)

    @command
    def remove_from_initiative(self, initiative_id: str, project_id: str) -> bool:
        """Let the initiative touch it no more; False if it did not."""
        return self._db.execute(_REMOVE, initiative_id=initiative_id, project_id=project_id) > 0


publish(globals())
