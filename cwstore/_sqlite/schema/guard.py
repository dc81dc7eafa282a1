"""What a migration script may not do, and what may not be missing after it."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore.migrations.ledger import LEDGER
from cwstore.migrations.scripts import Script, lowered

# What SQLite asks by itself inside ALTER TABLE and the full-text index; it changes nothing.
_HARMLESS_PRAGMAS = frozenset(
    {"data_version", "foreign_key_check", "integrity_check", "quick_check", "table_info"}
)
_TRANSACTION = "it may not begin, end or nest a transaction: the runner does, once around it"
_PRAGMA = "it may not use PRAGMA: the runner sets versions and foreign keys"
_DENIED_WORDS = {
    **dict.fromkeys(("BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"), _TRANSACTION),
    **dict.fromkeys(("ATTACH", "DETACH"), "it may not attach or detach a database"),
    "PRAGMA": _PRAGMA,
    "VACUUM": "it may not VACUUM: that cannot be part of a transaction",
}
_DENIED_ACTIONS = {
    apsw.SQLITE_TRANSACTION: _TRANSACTION,
    apsw.SQLITE_SAVEPOINT: _TRANSACTION,
    apsw.SQLITE_ATTACH: _DENIED_WORDS["ATTACH"],
    apsw.SQLITE_DETACH: _DENIED_WORDS["DETACH"],
}
_CHANGES_NO_ROW = frozenset(
    {
        apsw.SQLITE_ANALYZE,
        apsw.SQLITE_FUNCTION,
        apsw.SQLITE_READ,
        apsw.SQLITE_RECURSIVE,
        apsw.SQLITE_REINDEX,
        apsw.SQLITE_SELECT,
    }
)


# The tables that a virtual table keeps its rows in go with it.
_OBJECTS = """
    SELECT type, name, tbl_name
    FROM sqlite_schema
    WHERE substr(name, 1, 7) <> 'sqlite_'
      AND tbl_name NOT IN (
            SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'shadow'
        )
"""
_TABLES = f"""
    SELECT name
    FROM pragma_table_list
    WHERE schema = 'main'
      AND type IN ('table', 'virtual')
      AND name <> '{LEDGER}'
      AND substr(name, 1, 7) <> 'sqlite_'
"""
_HAS_SEQUENCES = "SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'"
# Of several rows SQLite takes the first, and whatever is there as an integer.
_SEQUENCES = """
    SELECT name, CAST(last AS INTEGER)
    FROM (
        SELECT name,
               (
                   SELECT seq FROM sqlite_sequence AS sequence
                   WHERE sequence.name = tables.name
                   ORDER BY sequence.rowid LIMIT 1
               ) AS last
        FROM sqlite_schema AS tables
        WHERE type = 'table'
    )
    WHERE last IS NOT NULL
"""
_KEYS = """
    SELECT tables.name, key.id, key."from", key."table"
    FROM sqlite_schema AS tables JOIN pragma_foreign_key_list(tables.name) AS key
    WHERE tables.type = 'table'
    ORDER BY tables.name, key.id, key.seq
"""


def denied_word(first_word: str) -> str | None:
    """Why a statement that begins with this word may not be in a script; None: it may."""
    return _DENIED_WORDS.get(first_word)


def authorizer(
    reasons: list[str],
) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    """For `Connection.authorizer`: refuses what a script may not do and notes why in `reasons`.

    It also meets what triggers and EXPLAIN hide from a look at the first word.
    """

    def authorize(
        action: int, first: str | None, second: str | None, _database: str | None, _by: str | None
    ) -> int:
        reason = _DENIED_ACTIONS.get(action)
        if action == apsw.SQLITE_PRAGMA and (first or "").lower() not in _HARMLESS_PRAGMAS:
            reason = _PRAGMA
        elif action not in _CHANGES_NO_ROW and LEDGER in {
            (first or "").lower(),
            (second or "").lower(),
        }:
            reason = f"it may not touch {LEDGER}: the runner keeps it"
        if reason is None:
            return apsw.SQLITE_OK
        reasons.append(reason)
        return apsw.SQLITE_DENY

    return authorize


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a database holds, as far as a migration may not lose it without saying so."""

    objects: dict[tuple[str, str], str]  #: (kind, name in lower case) -> its table
    rows: dict[str, int]  #: table -> rows
    sequences: dict[str, int]  #: table with AUTOINCREMENT -> the last number given out
    keys: frozenset[tuple[str, str]]  #: foreign keys: table and columns, the table referred to


def take_inventory(connection: Connection) -> Inventory:
    """List everything and count the rows: one scan of each table."""
    objects = connection.execute(_OBJECTS).fetchall()
    rows: dict[str, int] = {}
    for (table,) in connection.execute(_TABLES).fetchall():
        ((count,),) = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()
        rows[lowered(table)] = count
    sequences: list[tuple[str, int]] = []
    if connection.execute(_HAS_SEQUENCES).fetchall():
        sequences = connection.execute(_SEQUENCES).fetchall()
    columns: defaultdict[tuple[str, int, str], list[str]] = defaultdict(list)
    for table, number, column, parent in connection.execute(_KEYS).fetchall():
        columns[table, number, parent].append(column)
    return Inventory(
        {(kind, lowered(name)): lowered(table) for kind, name, table in objects},
        rows,
        {lowered(table): last for table, last in sequences},
        frozenset(_key(table, of, parent) for (table, _, parent), of in columns.items()),
    )


def _key(table: str, columns: list[str], parent: str) -> tuple[str, str]:
    return lowered(f"{table}.{', '.join(columns)}"), lowered(parent)


def undeclared_losses(before: Inventory, after: Inventory, script: Script) -> list[str]:
    """What is gone although the script does not declare it, with the line that would declare it."""
    gone: list[str] = []
    for (kind, name), table in before.objects.items():
        table_is_gone = ("table", table) not in after.objects
        with_its_table = table_is_gone and ("table", table) in script.drops
        if (kind, name) in after.objects or (kind, name) in script.drops or with_its_table:
            continue
        gone.append(
            f"{kind} {name} is gone; if that is meant, add `-- drops: {kind} {_declared(name)}`"
        )
    for table, count in before.rows.items():
        left = after.rows.get(table, count)
        if left < count and table not in script.deletes:
            gone.append(
                f"{count - left} of {count} rows of {table} are gone; if that is meant, add"
                f" `-- deletes: {_declared(table)}`"
            )
    for table, last in before.sequences.items():
        now = after.sequences.get(table, 0)
        if now < last and ("table", table) in after.objects:
            gone.append(
                f"{table} would give out the numbers from {now + 1} to {last} once more; write"
                f" {last} into its row of sqlite_sequence"
            )
    return gone


def _declared(name: str) -> str:
    return name if re.fullmatch(r"\w+", name) else quoted(name)


class Violation(NamedTuple):
    """A foreign key that leads nowhere."""

    columns: str  #: table and columns
    values: str  #: that are missing; "?" where only SQLite's own comparison misses them
    parent: str  #: the table they are missing in

    def __str__(self) -> str:
        return f"{self.columns} = {self.values} is not in {self.parent}"

    @property
    def key(self) -> tuple[str, str]:
        """The foreign key, as an Inventory lists it."""
        return self.columns, self.parent


def find_violations(connection: Connection) -> Counter[Violation]:
    """Foreign keys that lead nowhere, and in how many rows.

    By value, not by rowid: a rebuilt table numbers its rows anew. Raises apsw.Error where a
    foreign key does not fit the table it refers to.
    """
    reported = Counter(
        (table, number)
        for table, _, _, number in connection.execute("PRAGMA foreign_key_check").fetchall()
    )
    found: Counter[Violation] = Counter()
    for (table, number), rows in sorted(reported.items()):
        found.update(_violations_of(connection, table, number, rows))
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


def _violations_of(
    connection: Connection, table: str, number: int, reported: int
) -> Counter[Violation]:
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
    name, missing_in = _key(table, columns, parent)
    rows = connection.execute(
        f"SELECT {chosen}, count(*) FROM {quoted(table)} AS child"
        f" WHERE {' AND '.join(conditions)} GROUP BY {chosen}"
    ).fetchall()
    found = Counter[Violation]()
    for *values, count in rows:  # 1 and '1' look the same
        found[Violation(name, ", ".join(map(str, values)), missing_in)] += count
    # A foreign key compares as its parent column does (`1` is not in a column that holds '1').
    found[Violation(name, "?", missing_in)] += reported - found.total()
    return +found


def quoted(name: str) -> str:
    """The name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
