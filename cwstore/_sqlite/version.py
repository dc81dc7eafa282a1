"""What an SQLite file says of its own past: its version, its ledger and its catalogue."""

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore.migrations.ledger import Row, State, fingerprint, is_intact
from cwstore.migrations.scripts import LEDGER, OURS, Program, load

# Without what SQLite makes for itself: `sqlite_` begins the names of ANALYZE's and AUTOINCREMENT's
# tables, and of the indexes behind UNIQUE and PRIMARY KEY, which have no SQL.
_CATALOGUE = """
    SELECT sql, name, type, tbl_name FROM sqlite_schema
    WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'
    ORDER BY rowid
"""
_ROWS = """
    SELECT version, name, checksum, text_sum, compatible_with, structure FROM {ledger}
    ORDER BY version
"""


def read_catalogue(connection: Connection) -> list[tuple[str, str, str, str]]:
    """SQL, name, kind and table of each table, index, trigger and view, as the file lists them."""
    return connection.execute(_CATALOGUE).fetchall()


def read_state(connection: Connection, program: Program = OURS) -> State:
    """The state in one read transaction, or in the transaction that is open. Writes nothing."""
    inside = connection.in_transaction
    try:
        if not inside:
            connection.execute("BEGIN")
        objects = read_catalogue(connection)
        # Sorted here: to sort long texts in SQL costs twice as much, and this runs at every open.
        ledger = program.ledger
        ledgers = [row[1] for row in objects if row[1].endswith(LEDGER)]
        if ledgers == [LEDGER] and not program.extension:
            ours = sorted([row[:2] for row in objects if row[1] != LEDGER])
        else:
            ours = sorted([row[:2] for row in objects if _is_of(program, row, ledgers)])
        rows = None
        if ledger in ledgers:
            found = connection.execute(_ROWS.format(ledger=ledger)).fetchall()
            rows = [*map(Row._make, found)]
        version: int = len(rows or ()) if program.extension else connection.pragma("user_version")
        return State(
            version=version,
            rows=rows,
            objects=ours,
            structure=fingerprint([sql for sql, _ in ours]),
            program=program,
        )
    finally:
        if not inside and connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_of(program: Program, row: tuple[str, str, str, str], ledgers: list[str]) -> bool:
    """Whether an object of the catalogue is the program's, and not of an extension."""
    _, name, _, table = row
    if program.extension:
        return table.lower().startswith(program.prefix) and name != program.ledger
    prefixes = tuple(one.removesuffix(LEDGER) for one in ledgers if one != LEDGER)
    return name != LEDGER and not (prefixes and table.lower().startswith(prefixes))


def extensions_in(connection: Connection) -> dict[str, int]:
    """The extensions that a file has, by name, and the version of each."""
    names = [
        name.removesuffix(f"_{LEDGER}")
        for _, name, kind, _ in read_catalogue(connection)
        if kind == "table" and name.endswith(f"_{LEDGER}")
    ]
    count = "SELECT count(*) FROM {}"
    return {
        name: connection.execute(count.format(f'"{name}_{LEDGER}"')).fetchall()[0][0]
        for name in sorted(names)
    }


def version_if_current(connection: Connection, program: Program = OURS) -> int | None:
    """The version of a file that is up to date and needs no closer look; else None.

    On None the caller runs `migrations.runner.upgrade`. Most opens need only this function.
    """
    try:
        state = read_state(connection, program)
        files = load(program.directory)
        rows = state.rows or []
        settled = (
            state.version == len(files) == len(rows)
            and [(row.name, row.text_sum) for row in rows] == [(f.name, f.text_sum) for f in files]
            and connection.pragma("journal_mode") == "wal"
            and is_intact(state, files)
            and all(version_if_current(connection, one) for one in program.extensions)
        )
    except (apsw.Error, UnicodeDecodeError):
        return None
    return state.version if settled else None
