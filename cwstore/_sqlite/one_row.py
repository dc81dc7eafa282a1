"""Tells from the text of a statement which row it changes itself, whatever its triggers change.

What is not plain is not told: a statement that changes the row of an id which the caller gives.
"""

import re
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import apsw

from cwstore.core.changes import ChangeOperation
from cwstore.core.statement import bare, bind_names

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

_PLAIN = (
    (
        ChangeOperation.INSERT,
        re.compile(r"INSERT INTO (\w+) \(\s*id\b[^()]*\)\s*VALUES \(\s*:(\w+)\s*[,)]"),
    ),
    (
        ChangeOperation.UPDATE,
        re.compile(r"UPDATE (\w+)\s+SET\s[\s\S]*\sWHERE id = :(\w+)(?=\s+AND\b|\s+RETURNING\b|$)"),
    ),
)
# By these more rows may be meant, or those of another table.
_NOT_PLAIN = re.compile(r"\b(OR|FROM|CONFLICT|WHERE[\s\S]*WHERE)\b")

#: What is done, the table, and the place of the id among the binds.
OneRow: TypeAlias = tuple[ChangeOperation, str, int]


def find_one_row(connection: "Connection", text: str) -> OneRow | None:
    """The row that a statement changes if it changes any; None if its text does not tell."""
    text = bare(text)
    for operation, pattern in _PLAIN:
        found = pattern.match(text)
        if found and not _NOT_PLAIN.search(text):
            table, bind = found.groups()
            with suppress(apsw.Error):  # no such table, or no such column
                kind, order, *_ = connection.column_metadata("main", table, "id")
                # A text is kept as it is given, and found by nothing but itself.
                if kind == "TEXT" and order == "BINARY":
                    return operation, table, bind_names(text).index(bind)
    return None
