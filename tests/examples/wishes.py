"""A service with a table of its own, as its author would write it: no Codewalkers tables at all.

`Database.open(path, migrations=MIGRATIONS, application_id=APPLICATION_ID)` opens its file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from cwstore.core import (
    NEXT_UPDATED_AT,
    Json,
    Mode,
    NonEmpty,
    Paging,
    Patch,
    Repository,
    command,
    fetch_page,
    lists_of,
    make_id,
    patch_row,
    query,
    row_or_raise,
    rows_of,
    stream,
    values_of,
)

MIGRATIONS = Path(__file__).parent / "wishes_sql"
APPLICATION_ID = 0x57495348  # "WISH"


class WishStatus(StrEnum):
    """Whether somebody has granted it."""

    OPEN = "open"
    GRANTED = "granted"


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wishes for."""

    id: str
    wisher: NonEmpty
    text: NonEmpty
    status: WishStatus
    details: Json | None
    created_at: datetime
    updated_at: datetime


class WishPatch(TypedDict, total=False):
    """What may change."""

    text: str
    status: WishStatus | Literal["open", "granted"]
    details: str | None


_COLUMNS = "id, wisher, text, status, details, created_at, updated_at"
_wish = rows_of(Wish)

_INSERT = _wish(f"""
    INSERT INTO wishes ({_COLUMNS})
    VALUES (:id, :wisher, :text, 'open', :details, :now, :now)
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _wish(f"""
    SELECT {_COLUMNS}
    FROM wishes
    WHERE id = :id
""")

_FIND_BY_WISHER = lists_of(Wish, _FIND_BY_ID)(f"""
    SELECT {_COLUMNS}
    FROM wishes
    WHERE wisher = :wisher
    ORDER BY created_at, id
""")

_FIND_ALL = lists_of(Wish, _FIND_BY_ID)(f"""
    SELECT {_COLUMNS}
    FROM wishes
    ORDER BY created_at, id
""")

_UPDATE = Patch(
    f"""
    UPDATE wishes
    SET /*patch*/ updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id /*unchanged*/
    RETURNING {_COLUMNS}
    """,
    WishPatch,
    _FIND_BY_ID,
)

_DELETE = values_of(int, Wish)("""
    DELETE FROM wishes
    WHERE id = :id
""")


class WishRepository(Repository[Mode]):
    """Wishes."""

    @command
    def create(self, *, wisher: str, text: str, details: str | None = None) -> Wish:
        """Note a wish."""
        return self._db.insert(_INSERT, id=make_id(), wisher=wisher, text=text, details=details)

    @query
    def get(self, id: str) -> Wish:
        """The wish; raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "wishes", id)

    @query
    def find_by_wisher(self, wisher: str, **paging: Unpack[Paging]) -> list[Wish]:
        """The wishes of somebody, oldest first."""
        return fetch_page(self._db, _FIND_BY_WISHER, paging, wisher=wisher)

    @stream
    def iter_all(self) -> Iterator[Wish]:
        """All of them, oldest first, a hundred at a time."""
        page = fetch_page(self._db, _FIND_ALL, {"limit": 100})
        while page:
            yield from page
            page = fetch_page(self._db, _FIND_ALL, {"limit": 100, "after": page[-1].id})

    @command
    def update(
        self, id: str, *, if_updated_at: datetime | None = None, **patch: Unpack[WishPatch]
    ) -> Wish:
        """Change it; raises NotFoundError, and ConflictError if it was changed meanwhile."""
        return patch_row(self._db, _UPDATE, id, if_updated_at, patch)

    @command
    def delete(self, id: str) -> bool:
        """Forget it; whether it was there."""
        return self._db.execute(_DELETE, id=id) > 0
