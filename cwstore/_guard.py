"""What a migration script may not do, and what may not be missing after it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import apsw

from cwstore._apsw import Connection
from cwstore._ledger import LEDGER
from cwstore._migration_files import Script

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


def take_inventory(connection: Connection) -> Inventory:
    """List everything and count the rows: one scan of each table."""
    objects = connection.execute(
        """
        SELECT type, lower(name), lower(tbl_name) FROM sqlite_schema
        WHERE substr(name, 1, 7) <> 'sqlite_'
        """
    ).fetchall()
    tables = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'"
    ).fetchall()
    return Inventory(
        {(kind, name): table for kind, name, table in objects},
        {
            table.lower(): connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()[
                0
            ][0]
            for (table,) in tables
            if table != LEDGER and not table.startswith("sqlite_")
        },
    )


def losses(before: Inventory, after: Inventory, script: Script) -> list[str]:
    """What is gone although the script does not declare it, with the line that would declare it."""
    gone: list[str] = []
    for (kind, name), table in before.objects.items():
        with_its_table = ("table", table) in script.drops
        if (kind, name) in after.objects or (kind, name) in script.drops or with_its_table:
            continue
        gone.append(f"{kind} {name} is gone; if that is meant, add `-- drops: {kind} {name}`")
    for table, count in before.rows.items():
        left = after.rows.get(table, count)
        if left < count and table not in script.deletes and ("table", table) not in script.drops:
            gone.append(
                f"{count - left} of {count} rows of {table} are gone; if that is meant, add"
                f" `-- deletes: {table}`"
            )
    return gone


def find_violations(connection: Connection) -> Counter[str]:
    """Foreign keys that lead nowhere: a line for each table, column and missing value -> rows.

    By value, not by rowid: a rebuilt table numbers its rows anew. Raises apsw.Error where a
    foreign key does not fit the table it refers to.
    """
    broken = {
        (table, number)
        for table, _, _, number in connection.execute("PRAGMA foreign_key_check").fetchall()
    }
    found: Counter[str] = Counter()
    for table, number in sorted(broken):
        found.update(_violations_of(connection, table, number))
    return found


def _violations_of(connection: Connection, table: str, number: int) -> Counter[str]:
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
    name = f"{table}.{', '.join(columns)}".lower()
    rows = connection.execute(
        f"SELECT {chosen}, count(*) FROM {quoted(table)} AS child"
        f" WHERE {' AND '.join(conditions)} GROUP BY {chosen}"
    ).fetchall()
    return Counter(
        {
            f"{name} = {', '.join(map(str, values))} is not in {parent.lower()}": count
            for *values, count in rows
        }
    )


def quoted(name: str) -> str:
    """The name as an SQL identifier, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
