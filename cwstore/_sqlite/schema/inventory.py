"""What a database holds, to find what a migration lost without saying so."""

import re
from collections import defaultdict
from dataclasses import dataclass

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.schema.foreign_keys import key_of
from cwstore._sqlite.version import read_catalogue
from cwstore.core.lexer import lowered, quoted
from cwstore.migrations.headers import Script
from cwstore.migrations.scripts import LEDGER

_TABLES = "SELECT name, type FROM pragma_table_list WHERE schema = 'main'"
_SEQUENCES = "SELECT name, CAST(seq AS INTEGER) FROM sqlite_sequence ORDER BY rowid"
_KEYS = """
    SELECT tables.name, key.id, key."from", key."table"
    FROM pragma_table_list AS tables JOIN pragma_foreign_key_list(tables.name) AS key
    WHERE tables.schema = 'main'
    ORDER BY tables.name, key.id, key.seq
"""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a database holds, as far as a migration may not lose it without saying so."""

    objects: dict[tuple[str, str], str]  #: (kind, name in lower case) -> its table
    rows: dict[str, int]  #: table -> rows
    sequences: dict[str, int]  #: table with AUTOINCREMENT -> the last number given out
    keys: frozenset[tuple[str, str]]  #: foreign keys: table and columns, the table referred to


def take_inventory(connection: Connection) -> Inventory:
    """List everything and count the rows: one scan of each table."""
    tables = dict(connection.execute(_TABLES).fetchall())
    rows: dict[str, int] = {}
    for table, kind in tables.items():
        if kind in {"table", "virtual"} and table != LEDGER and not table.startswith("sqlite_"):
            try:
                found = connection.execute(f"SELECT count(*) FROM {quoted(table)}").fetchall()
            except apsw.SQLError:  # a virtual table of a module that is not here
                continue
            rows[lowered(table)] = found[0][0]
    columns: defaultdict[tuple[str, int, str], list[str]] = defaultdict(list)
    for table, number, column, parent in connection.execute(_KEYS).fetchall():
        columns[table, number, parent].append(column)
    return Inventory(
        {
            (kind, lowered(name)): lowered(table)
            for _, name, kind, table in read_catalogue(connection)
            if tables.get(table) != "shadow"  # it goes with the virtual table that keeps rows in it
        },
        rows,
        _sequences(connection) if "sqlite_sequence" in tables else {},
        frozenset(key_of(table, of, parent) for (table, _, parent), of in columns.items()),
    )


def _sequences(connection: Connection) -> dict[str, int]:
    """Of several rows for a table SQLite takes the first."""
    first: dict[str, int | None] = {}
    for table, last in connection.execute(_SEQUENCES).fetchall():
        first.setdefault(table, last)
    return {lowered(table): last for table, last in first.items() if last is not None}


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
