"""Pages: the tree of documents of an initiative, with one page at its root."""

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

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
from cwstore.errors import CycleError, InvalidValueError

if TYPE_CHECKING:
    from cwstore.entities import bulk_delete, ordering
else:
    bulk_delete = on_use("cwstore.entities.bulk_delete", "pages")
    ordering = on_use("cwstore.entities.ordering", "pages")

__all__ = ["Page", "PagePatch", "PageRepository"]


@dataclass(frozen=True, slots=True)
class Page:
    """One row of `pages`, as it was when read."""

    id: NonEmpty
    initiative_id: NonEmpty
    #: None for the root page.
    parent_page_id: NonEmpty | None
    title: str
    #: Tiptap JSON; None: nothing written.
    content: Json | None
    sort_order: int
    created_at: datetime
    updated_at: datetime


class PagePatch(TypedDict, total=False):
    """What `update` may change; a missing key keeps the value."""

    title: str
    content: str | None
    parent_page_id: str | None
    sort_order: int


class _Nesting(NamedTuple):
    """The page lies in the other one."""

    id: NonEmpty
    parent_page_id: NonEmpty


_COLUMNS = """id, initiative_id, parent_page_id, title, content, sort_order, created_at,
    updated_at"""
_page = rows_of(Page)
_id = values_of(str, Page)

# No row if the parent is a page of another initiative.
_CREATE = _page(f"""
    INSERT INTO pages ({_COLUMNS})
    SELECT :id, :initiative_id, :parent_page_id, :title, :content, :sort_order, :now, :now
    WHERE NOT EXISTS (
        SELECT 1 FROM pages
        WHERE id = :parent_page_id AND initiative_id <> :initiative_id
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _page(f"""
    SELECT {_COLUMNS}
    FROM pages
    WHERE id = :id
""")
_list = lists_of(Page, _FIND_BY_ID)

_FIND_ALL = _list(f"""
    SELECT {_COLUMNS}
    FROM pages
    ORDER BY created_at, id
""")

_FIND_BY_INITIATIVE = _list(f"""
    SELECT {_COLUMNS}
    FROM pages
    WHERE initiative_id = :initiative_id
    ORDER BY sort_order, created_at, id
""")

_FIND_BY_PARENT = _list(f"""
    SELECT {_COLUMNS}
    FROM pages
    WHERE parent_page_id = :parent_page_id
    ORDER BY sort_order, created_at, id
""")

_FIND_ROOT = _page(f"""
    SELECT {_COLUMNS}
    FROM pages
    WHERE initiative_id = :initiative_id
      AND parent_page_id IS NULL
""")

# No row if the initiative does not exist or has a root page.
_CREATE_ROOT = _page(f"""
    INSERT INTO pages ({_COLUMNS})
    SELECT :id, id, NULL, name, NULL, 0, :now, :now
    FROM initiatives
    WHERE id = :initiative_id
    ON CONFLICT (initiative_id) WHERE parent_page_id IS NULL DO NOTHING
    RETURNING {_COLUMNS}
""")

_UPDATE = Patch(
    f"""
    UPDATE pages
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    PagePatch,
    _FIND_BY_ID,
)

_FIND_FOREIGN_PARENT = _id("""
    SELECT parent.id
    FROM pages AS page
    JOIN pages AS parent ON parent.id = page.parent_page_id
    WHERE page.id = :id
      AND parent.initiative_id <> page.initiative_id
""")

_NESTINGS_ABOVE = rows_of(_Nesting)("""
    WITH RECURSIVE above (id, parent_page_id) AS (
        SELECT id, parent_page_id FROM pages WHERE id = :parent_page_id
        UNION
        SELECT pages.id, pages.parent_page_id
        FROM above
        JOIN pages ON pages.id = above.parent_page_id
    )
    SELECT id /* never NULL: a key */, parent_page_id /* never NULL: see WHERE */
    FROM above
    WHERE parent_page_id IS NOT NULL
""")

_DELETE = _id("""
    DELETE FROM pages
    WHERE id = :id
    RETURNING id
""")


class PageRepository(Repository[Mode]):
    """Create, read, update, move and delete pages."""

    @command
    def create(
        self,
        *,
        initiative_id: str,
        title: str,
        parent_page_id: str | None = None,
        content: str | None = None,
        sort_order: int = 0,
        id: str | None = None,
    ) -> Page:
        """A new page; without a parent it is the initiative's root page.

        Raises ConflictError if there is a root page already or the id is taken, InvalidValueError
        if the parent is of another initiative, MissingReferenceError if initiative or parent does
        not exist, CycleError for a page that is its own parent.
        """
        own_id = make_id() if id is None else id
        try:
            page = self._db.write_one(
                _CREATE,
                id=own_id,
                initiative_id=initiative_id,
                parent_page_id=parent_page_id,
                title=title,
                content=content,
                sort_order=sort_order,
            )
        except CycleError:
            raise self._ring(own_id, own_id) from None
        if page is None:
            raise _foreign_parent()
        return page

    @query
    def find_by_id(self, id: str) -> Page | None:
        """The page, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> Page:
        """The page. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "pages", id)

    @query
    def find_all(self, **page: Unpack[Paging]) -> list[Page]:
        """Every page, oldest first."""
        return fetch_page(self._db, _FIND_ALL, page)

    @query
    def find_by_initiative_id(self, initiative_id: str, **page: Unpack[Paging]) -> list[Page]:
        """All pages of the initiative, the root page too, by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_INITIATIVE, page, initiative_id=initiative_id)

    @query
    def find_by_parent_page_id(self, parent_page_id: str, **page: Unpack[Paging]) -> list[Page]:
        """The pages right below that one, by sort_order, then oldest first."""
        return fetch_page(self._db, _FIND_BY_PARENT, page, parent_page_id=parent_page_id)

    @query
    def find_root_page(self, initiative_id: str) -> Page | None:
        """The page without a parent, or None."""
        return self._db.fetch_one(_FIND_ROOT, initiative_id=initiative_id)

    @command
    def get_or_create_root_page(self, initiative_id: str) -> Page:
        """The root page; if there is none, a new one with the initiative's name as its title.

        Callers who race get the same page. Raises NotFoundError if the initiative does not exist.
        """
        # The page exists on nearly every call, and reading it waits for no writer.
        root = self._db.fetch_one(_FIND_ROOT, initiative_id=initiative_id)
        if root is not None:
            return root
        with self._db.transaction():
            root = self._db.write_one(_CREATE_ROOT, id=make_id(), initiative_id=initiative_id)
            if root is None:
                root = self._db.fetch_one(_FIND_ROOT, initiative_id=initiative_id)
            return row_or_raise(root, "initiatives", initiative_id)

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[PagePatch]
    ) -> Page:
        """Change what is given and `updated_at`; a new `parent_page_id` moves it with all below it.

        Raises NotFoundError; ConflictError if `updated_at` is not `if_updated_at`, or on a second
        root page; CycleError, with the ring, if the new parent is the page or below it;
        InvalidValueError if it is of another initiative; MissingReferenceError if it does not
        exist.
        """
        parent_page_id = patch.get("parent_page_id")
        if parent_page_id is None:
            return patch_row(self._db, _UPDATE, id, if_updated_at, patch)
        with self._db.transaction():
            try:
                page = patch_row(self._db, _UPDATE, id, if_updated_at, patch)
            except CycleError:
                raise self._ring(id, parent_page_id) from None
            if self._db.fetch_one(_FIND_FOREIGN_PARENT, id=id) is not None:
                raise _foreign_parent()
            return page

    @command
    def delete(self, id: str) -> bool:
        """Delete it with all pages below it, however deep; False if there was none."""
        with self._db.transaction():
            bulk_delete.delete_subpages(self._db, id)
            return self._db.write_one(_DELETE, id=id) is not None

    def _ring(self, id: str, parent_page_id: str) -> CycleError:
        above = self._db.fetch_all(_NESTINGS_ABOVE, parent_page_id=parent_page_id)
        return ordering.ring_error("pages", above, id, parent_page_id)


def _foreign_parent() -> InvalidValueError:
    return InvalidValueError("parent_page_id", "a page and its parent must be of one initiative")


publish(globals())
