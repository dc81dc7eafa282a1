"""What an SQLite file says of its own past: its version, its ledger and its catalogue."""

from binascii import crc32

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore.migrations.ledger import LEDGER, Row, State
from cwstore.migrations.scripts import load

# Without what SQLite makes for itself: `sqlite_` begins the names of ANALYZE's and AUTOINCREMENT's
# tables, and of the indexes behind UNIQUE and PRIMARY KEY, which have no SQL.
_CATALOGUE = """
    SELECT sql, name, type, tbl_name FROM sqlite_schema
    WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'
    ORDER BY rowid
"""
_ROWS = f"""
    SELECT version, name, checksum, text_sum, compatible_with, structure FROM {LEDGER}
    ORDER BY version
"""


def read_catalogue(connection: Connection) -> list[tuple[str, str, str, str]]:
    """SQL, name, kind and table of each table, index, trigger and view, as the file lists them."""
    return connection.execute(_CATALOGUE).fetchall()


def read_state(connection: Connection) -> State:
    """The state in one read transaction, or in the transaction that is open. Writes nothing."""
    inside = connection.in_transaction
    try:
        if not inside:
            connection.execute("BEGIN")
        objects = read_catalogue(connection)
        # Sorted here: to sort long texts in SQL costs twice as much, and this runs at every open.
        texts = sorted([row[0] for row in objects if row[1] != LEDGER])
        known = len(texts) < len(objects)
        return State(
            version=connection.pragma("user_version"),
            rows=[*map(Row._make, connection.execute(_ROWS).fetchall())] if known else None,
            names=[] if known else [row[1] for row in sorted(objects)],
            structure=crc32("\n".join(texts).encode()),
        )
    finally:
        if not inside and connection.in_transaction:
            connection.execute("ROLLBACK")


def version_if_current(connection: Connection) -> int | None:
    """The version of a file that is up to date and needs no closer look; else None.

    On None the caller runs `migrations.runner.upgrade`. Most opens need only this function.
    """
    try:
        state = read_state(connection)
        files = load(None)
        rows = state.rows or []
        settled = (
            state.version == len(files) == len(rows)
            and rows[-1].structure == state.structure
            and [(row.name, row.text_sum) for row in rows] == [(f.name, f.text_sum) for f in files]
            and connection.pragma("journal_mode") == "wal"
        )
    except apsw.Error:
        return None
    return state.version if settled else None
