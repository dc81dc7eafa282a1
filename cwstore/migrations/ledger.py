"""The rules of the ledger: which file may be used, and migrated, with which scripts.

The ledger is a table in each database that tells which scripts made it. Engines read and write it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cwstore.errors import ForeignDatabaseError, MigrationError, SchemaTooNewError
from cwstore.migrations.scripts import MigrationFile

LEDGER = "schema_migrations"
_SHOWN = 5  # differences in a message
# Fingerprints of structures that turned out to differ in the layout of their SQL only.
_equal: set[tuple[int, tuple[int, ...]]] = set()


class Row(NamedTuple):
    """A row of the ledger: a script that was applied. The time when is not read again."""

    version: int
    name: str  #: of the script, without .sql
    checksum: str  #: of its SQL tokens
    text_sum: int  #: of its text: if it is equal, so is the checksum
    compatible_with: int | None  #: oldest code that may use the file; None: only newer code
    structure: int  #: fingerprint of the structure right after it


class State(NamedTuple):
    """What one consistent look at a database found."""

    version: int
    rows: list[Row] | None  #: None: there is no ledger
    names: list[str]  #: of tables, indexes, triggers and views, if there is no ledger
    structure: int  #: fingerprint; the ledger itself does not count


def check_history(
    state: State,
    files: list[MigrationFile],
    file: str,
    drift: Callable[[list[MigrationFile]], Sequence[str]],
) -> None:
    """Raise unless these migrations may be applied to a database in this state.

    `drift` tells how its structure differs from the one that some scripts make. It is asked only
    if the fingerprint is not the one that the ledger notes. Raises as `validate` does.
    """
    validate(state, files, file)
    if state.rows and state.rows[-1].structure != state.structure:
        _refuse_drift(state, files, file, drift)


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
    if row.text_sum != script.text_sum and row.checksum != script.parse().checksum:
        raise MigrationError(
            f"{script.file_name} was edited after it was applied to {file}; restore its text, and"
            " put the change into a new migration"
        )


def _refuse_drift(
    state: State,
    files: list[MigrationFile],
    file: str,
    drift: Callable[[list[MigrationFile]], Sequence[str]],
) -> None:
    if state.version > len(files):
        raise MigrationError(
            f"{file}: its structure was changed by hand after version {state.version} was applied;"
            " open it with the cwstore that wrote it to see where, or restore a backup"
        )
    applied = files[: state.version]
    key = (state.structure, tuple(script.text_sum for script in applied))
    if key in _equal:
        return
    found = drift(applied)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise MigrationError(
            f"{file} is not structured as version {state.version}: {'; '.join(found[:_SHOWN])}"
            f"{more}; undo what was changed by hand, or restore a backup"
        )
    _equal.add(key)
