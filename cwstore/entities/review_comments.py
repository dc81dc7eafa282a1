"""Review comments: what a reviewer wrote on lines of a phase's diff."""

from datetime import datetime
from enum import StrEnum
from typing import Literal, Unpack

from cwstore.core import publish
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.ids import make_id
from cwstore.core.repository import Mode, Repository, command, fetch_page, query, row_or_raise
from cwstore.core.statement import NEXT_UPDATED_AT, Paging, lists_of, rows_of, values_of

__all__ = ["LineType", "ReviewComment", "ReviewCommentRepository"]


class LineType(StrEnum):
    """What the diff does with the line; a removed one is numbered as in the old file."""

    ADDED = "added"
    REMOVED = "removed"
    CONTEXT = "context"


LineTypeLike = LineType | Literal["added", "removed", "context"]


@dataclass(frozen=True, slots=True)
class ReviewComment:
    """One row of `review_comments`, as it was when read."""

    id: NonEmpty
    phase_id: NonEmpty
    file_path: str
    #: From 1.
    line_number: int
    line_type: LineType
    body: str
    author: str
    resolved: bool
    created_at: datetime
    updated_at: datetime


_COLUMNS = """id, phase_id, file_path, line_number, line_type, body, author, resolved, created_at,
    updated_at"""
_comment = rows_of(ReviewComment)
_id = values_of(str, ReviewComment)

_CREATE = _comment(f"""
    INSERT INTO review_comments ({_COLUMNS})
    VALUES (
        :id, :phase_id, :file_path, :line_number, :line_type, :body, :author, 0, :now, :now
    )
    RETURNING {_COLUMNS}
""")

_FIND_BY_ID = _comment(f"""
    SELECT {_COLUMNS}
    FROM review_comments
    WHERE id = :id
""")
_list = lists_of(ReviewComment, _FIND_BY_ID)

_FIND_BY_PHASE = _list(f"""
    SELECT {_COLUMNS}
    FROM review_comments
    WHERE phase_id = :phase_id
    ORDER BY file_path, line_number, created_at, id
""")

_SET_RESOLVED = _comment(f"""
    UPDATE review_comments
    SET resolved = :resolved, updated_at = {NEXT_UPDATED_AT}
    WHERE id = :id
      AND resolved <> :resolved
    RETURNING {_COLUMNS}
""")

_DELETE = _id("""
    DELETE FROM review_comments
    WHERE id = :id
    RETURNING id
""")


class ReviewCommentRepository(Repository[Mode]):
    """Write, read, resolve and delete comments."""

    @command
    def create(
        self,
        *,
        phase_id: str,
        file_path: str,
        line_number: int,
        line_type: LineTypeLike,
        body: str,
        author: str = "you",
        id: str | None = None,
    ) -> ReviewComment:
        """A new comment, not resolved; `line_number` counts from 1.

        Raises MissingReferenceError if the phase does not exist, ConflictError if the id is taken.
        """
        return self._db.insert(
            _CREATE,
            id=make_id() if id is None else id,
            phase_id=phase_id,
            file_path=file_path,
            line_number=line_number,
            line_type=line_type,
            body=body,
            author=author,
        )

    @query
    def find_by_id(self, id: str) -> ReviewComment | None:
        """The comment, or None."""
        return self._db.fetch_one(_FIND_BY_ID, id=id)

    @query
    def get(self, id: str) -> ReviewComment:
        """The comment. Raises NotFoundError."""
        return row_or_raise(self._db.fetch_one(_FIND_BY_ID, id=id), "review_comments", id)

    @query
    def find_by_phase_id(self, phase_id: str, **page: Unpack[Paging]) -> list[ReviewComment]:
        """Comments on the phase by file and line, then oldest first."""
        return fetch_page(self._db, _FIND_BY_PHASE, page, phase_id=phase_id)

    @command
    def resolve(self, id: str) -> ReviewComment:
        """Mark it as resolved; one that is resolved stays as it is, `updated_at` too.

        Raises NotFoundError.
        """
        return self._set_resolved(id, True)

    @command
    def unresolve(self, id: str) -> ReviewComment:
        """Mark it as not resolved; one that is not stays as it is, `updated_at` too.

        Raises NotFoundError.
        """
        return self._set_resolved(id, False)

    def _set_resolved(self, id: str, resolved: bool) -> ReviewComment:
        with self._db.transaction():
            comment = self._db.write_one(_SET_RESOLVED, id=id, resolved=resolved)
            if comment is None:
                comment = self._db.fetch_one(_FIND_BY_ID, id=id)
            return row_or_raise(comment, "review_comments", id)

    @command
    def delete(self, id: str) -> bool:
        """Delete it; False if there was none."""
        return self._db.write_one(_DELETE, id=id) is not None


publish(globals())
