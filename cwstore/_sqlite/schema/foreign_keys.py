"""Find broken foreign keys: values that the table referred to does not have."""

from collections import Counter
from typing import NamedTuple

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore.core.lexer import lowered, quoted

_BROKEN = """
    SELECT "table", fkid, parent, count(*)
    FROM pragma_foreign_key_check
    GROUP BY "table", fkid, parent
    ORDER BY "table", fkid, parent
"""

_BROKEN_OF = _BROKEN.replace("foreign_key_check", "foreign_key_check(:table)")
_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 ORDER BY name"


class BrokenKey(NamedTuple):
    """A foreign key that is broken in some rows of its table."""

    table: str
    number: int  #: of the key, as SQLite counts those of a table
    parent: str
    rows: int


class Violation(NamedTuple):
    """What a foreign key refers to and the parent table does not have."""

    columns: str  #: table and columns
    values: str  #: that are missing; "?" where only SQLite's own comparison misses them
    parent: str  #: the table they are missing in

    def __str__(self) -> str:
        return f"{self.columns} = {self.values} is not in {self.parent}"

    @property
    def key(self) -> tuple[str, str]:
        """The foreign key, as an Inventory lists it."""
        return self.columns, self.parent


def key_of(table: str, columns: list[str], parent: str) -> tuple[str, str]:
    """What tells a foreign key from others: its table and columns, and the table referred to."""
    return lowered(f"{table}.{', '.join(columns)}"), lowered(parent)


def find_broken_keys(
    connection: Connection, leave_out: frozenset[str] = frozenset()
) -> list[BrokenKey]:
    """The broken foreign keys, by table and number; those of some tables are left out.

    Raises apsw.Error where a foreign key does not fit the table it refers to.
    """
    if not leave_out:
        return [BrokenKey(*row) for row in connection.execute(_BROKEN).fetchall()]
    return [
        BrokenKey(*row)
        for table in _tables(connection)
        if table not in leave_out
        for row in connection.execute(_BROKEN_OF, {"table": table}).fetchall()
    ]


def find_misfits(connection: Connection) -> frozenset[str]:
    """The tables with a foreign key that does not fit the table it refers to."""
    misfits: set[str] = set()
    try:
        connection.execute(_BROKEN).fetchall()
    except apsw.SQLError:
        for table in _tables(connection):
            try:
                connection.execute(_BROKEN_OF, {"table": table}).fetchall()
            except apsw.SQLError:
                misfits.add(table)
    return frozenset(misfits)


def _tables(connection: Connection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES).fetchall()]


def find_violations(
    connection: Connection, leave_out: frozenset[str] = frozenset()
) -> Counter[Violation]:
    """The values that are missing, and how many rows refer to each.

    By value and not by rowid, since a rebuilt table numbers its rows anew. Takes and raises what
    `find_broken_keys` does.
    """
    found: Counter[Violation] = Counter()
    for broken in find_broken_keys(connection, leave_out):
        found.update(_violations_of(connection, broken))
    return found


def new_violations(
    before: Counter[Violation],
    after: Counter[Violation],
    keys_before: frozenset[tuple[str, str]],
    keys_after: frozenset[tuple[str, str]],
) -> Counter[Violation]:
    """Those of `after` that are not of `before`.

    Where a foreign key is gone and another is there, it may be the same one under other names of
    table, column or parent: then the same missing value is not new.
    """
    renamed = Counter[str]()
    for violation, rows in before.items():
        if violation.key not in keys_after:
            renamed[violation.values] += rows
    new = after - before
    for violation, rows in list(new.items()):
        if violation.key not in keys_before:
            old = min(rows, renamed[violation.values])
            renamed[violation.values] -= old
            new[violation] -= old
    return +new


def _violations_of(connection: Connection, broken: BrokenKey) -> Counter[Violation]:
    table, number = broken.table, broken.number
    key: list[tuple[str, str, str | None]] = connection.execute(
        """
        SELECT "table", "from", "to" FROM pragma_foreign_key_list(:name)
        WHERE id = :number ORDER BY seq
        """,
        {"name": table, "number": number},
    ).fetchall()
    parent, columns = key[0][0], [column for _, column, _ in key]
    known: list[tuple[str, int]] = connection.execute(
        "SELECT name, pk FROM pragma_table_info(:name) ORDER BY pk", {"name": parent}
    ).fetchall()
    targets = [to for _, _, to in key if to is not None] or [name for name, pk in known if pk]
    chosen = ", ".join(f"child.{quoted(column)}" for column in columns)
    conditions = [f"child.{quoted(column)} IS NOT NULL" for column in columns]
    if known:  # else the whole table is missing
        same = " AND ".join(
            f"parent.{quoted(to)} = child.{quoted(column)}"
            for to, column in zip(targets, columns, strict=True)
        )
        conditions.append(f"NOT EXISTS (SELECT 1 FROM {quoted(parent)} AS parent WHERE {same})")
    name, missing_in = key_of(table, columns, parent)
    rows = connection.execute(
        f"SELECT {chosen}, count(*) FROM {quoted(table)} AS child"
        f" WHERE {' AND '.join(conditions)} GROUP BY {chosen}"
    ).fetchall()
    found = Counter[Violation]()
    for *values, count in rows:  # 1 and '1' look the same
        found[Violation(name, ", ".join(map(str, values)), missing_in)] += count
    # A foreign key compares as its parent column does (`1` is not in a column that holds '1').
    found[Violation(name, "?", missing_in)] += broken.rows - found.total()
    return +found
