"""What a file says about its own past: `user_version`, the ledger, the text of its structure."""

from binascii import crc32
from typing import NamedTuple

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.error_map import map_error
from cwstore.errors import ForeignDatabaseError, MigrationError, SchemaTooNewError
from cwstore.migrations.scripts import MigrationFile, load, parse

LEDGER = "schema_migrations"
_CREATE = f"""
    CREATE TABLE {LEDGER} (
        version          INTEGER  NOT NULL  PRIMARY KEY,
        name             TEXT     NOT NULL,  -- of the file, without .sql
        checksum         TEXT     NOT NULL,  -- of its SQL tokens
        text_sum         INTEGER  NOT NULL,  -- of its text: a quick look that may say "the same"
        compatible_with  INTEGER,            -- oldest code that may use the file; NULL: only newer
        structure        INTEGER  NOT NULL,  -- fingerprint of sqlite_schema right after it
        applied_at       INTEGER  NOT NULL   -- microseconds since 1970
    ) STRICT
"""
_ROWS = f"""
    SELECT version, name, checksum, text_sum, compatible_with, structure FROM {LEDGER}
    ORDER BY version
"""
# `sqlite_` covers what ANALYZE and AUTOINCREMENT make by themselves.
_OBJECTS = """
    SELECT sql, name FROM sqlite_schema WHERE sql IS NOT NULL AND substr(name, 1, 7) <> 'sqlite_'
"""


class Row(NamedTuple):
    """A row of the ledger."""

    version: int
    name: str
    checksum: str
    text_sum: int
    compatible_with: int | None
    structure: int


class State(NamedTuple):
    """One consistent look at a file."""

    version: int
    rows: list[Row] | None  #: None: there is no ledger
    names: list[str]  #: of tables, indexes, triggers and views, if there is no ledger
    structure: int


def look(connection: Connection) -> State:
    """The state in one read transaction, or in the transaction that is open. Writes nothing."""
    inside = connection.in_transaction
    try:
        if not inside:
            connection.execute("BEGIN")
        objects = connection.execute(_OBJECTS).fetchall()
        # Sorted here: sorting long texts in SQL costs twice as much, and this runs at every open.
        objects.sort()
        texts = [sql for sql, name in objects if name != LEDGER]
        known = len(texts) < len(objects)
        return State(
            version=connection.pragma("user_version"),
            rows=[*map(Row._make, connection.execute(_ROWS).fetchall())] if known else None,
            names=[] if known else [name for _, name in objects],
            structure=crc32("\n".join(texts).encode()),
        )
    finally:
        if not inside and connection.in_transaction:
            connection.execute("ROLLBACK")


def validate(state: State, files: list[MigrationFile], file: str) -> None:
    """Raise unless the file is one that these migrations made, whole and unchanged.

    The structure is not looked at. Raises ForeignDatabaseError, SchemaTooNewError, MigrationError.
    """
    if state.version == 0 and state.rows is None:
        if state.names:
            raise ForeignDatabaseError(
                f"{file} has tables ({', '.join(state.names[:3])}) but no version; it was left"
                " alone: give another path"
            )
        return
    if state.rows == []:
        raise MigrationError(f"{file}: somebody emptied {LEDGER}; restore a backup")
    rows = state.rows or []
    _check_newer(state.version, rows, len(files), file)
    if state.rows is None:
        raise MigrationError(
            f"{file}: user_version says {state.version}, but there is no {LEDGER}; restore a backup"
        )
    if [row.version for row in rows] != list(range(1, len(rows) + 1)):
        missing = next(n for n, row in enumerate([*rows, None], 1) if not row or row.version != n)
        raise MigrationError(f"{file}: {LEDGER} lacks version {missing}; restore a backup")
    if len(rows) != state.version:
        raise MigrationError(
            f"{file}: {LEDGER} says version {len(rows)}, user_version says {state.version}; if"
            f" somebody set it by hand, set it back: PRAGMA user_version = {len(rows)}"
        )
    for row, script in zip(rows, files, strict=False):
        _check_unchanged(row, script, file)


def compatible_from(rows: list[Row]) -> int:
    """The oldest version of the code that may use a file with this ledger."""
    oldest = len(rows)
    while oldest > 0 and all(
        row.compatible_with is not None and row.compatible_with < oldest
        for row in rows[oldest - 1 :]
    ):
        oldest -= 1
    return oldest


def record(connection: Connection, script: MigrationFile, applied_at: int) -> None:
    """Write the ledger row and `user_version` of a script that has just run, in its transaction."""
    if script.version == 1:
        connection.execute(_CREATE)
    parsed = parse(script)
    connection.execute(
        f"""
        INSERT INTO {LEDGER} (
            version, name, checksum, text_sum, compatible_with, structure, applied_at
        ) VALUES (
            :version, :name, :checksum, :text_sum, :compatible_with, :structure, :applied_at
        )
        """,
        {
            "version": script.version,
            "name": script.name,
            "checksum": parsed.checksum,
            "text_sum": script.text_sum,
            "compatible_with": parsed.compatible_with,
            "structure": look(connection).structure,
            "applied_at": applied_at,
        },
    )
    connection.execute(f"PRAGMA user_version = {script.version}")


def _check_newer(version: int, rows: list[Row], newest: int, file: str) -> None:
    if version <= newest:
        return
    newer = [row for row in rows if row.version > newest]
    if len(rows) != version:
        why = f"its {LEDGER} ends at {len(rows)}, so user_version may have been set by hand"
    elif any(row.compatible_with is None or row.compatible_with > newest for row in newer):
        why = f"it can be used by cwstore with schema version {compatible_from(rows)} and up"
    else:
        return
    raise SchemaTooNewError(
        f"{file} has schema version {version}, this cwstore knows {newest}; {why}: update"
        " cwstore, or restore a backup of that version"
    )


def _check_unchanged(row: Row, script: MigrationFile, file: str) -> None:
    if row.name != script.name:
        raise MigrationError(
            f"{file}: version {row.version} was applied from {row.name}.sql, but the directory has"
            f" {script.file_name}; a migration that comes late takes the next free number"
        )
    if row.text_sum != script.text_sum and row.checksum != parse(script).checksum:
        raise MigrationError(
            f"{script.file_name} was edited after it was applied to {file}; restore its text, and"
            " put the change into a new migration"
        )


def check_history(
    connection: Connection, file: str, files: list[MigrationFile], busy_timeout: float
) -> State:
    """The state of a file that these migrations may be applied to; raises if they may not."""
    try:
        state = look(connection)
        validate(state, files, file)
        if state.rows and state.rows[-1].structure != state.structure:
            from cwstore._sqlite.schema.drift import refuse_drift

            refuse_drift(connection, state, files, file)
        return state
    except apsw.Error as error:
        fault = map_error(error, f"reading the version of {file}", busy_timeout)
    raise fault


def version_if_current(connection: Connection) -> int | None:
    """The version of a file with which all is plainly well and nothing is to be done.

    None: look closer, with `migrations.upgrade`. Most opens need no more than this.
    """
    try:
        state = look(connection)
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
