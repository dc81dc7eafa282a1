"""The rules of the ledger: which file may be used, and migrated, with which scripts.

The ledger is a table in each database that tells which scripts made it. Engines read and write it.
"""

import re
from binascii import crc32
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import NamedTuple

from cwstore.errors import (
    CorruptDatabaseError,
    ForeignDatabaseError,
    MigrationError,
    SchemaTooNewError,
)
from cwstore.migrations.scripts import LEDGER, OURS, MigrationFile, Program, newest

REPLICATOR = "_litestream_"  # begins the names of the tables that Litestream makes in any file
_SHOWN = 5  # differences in a message
_TOLD_APART = 10  # objects of a newer version or of somebody else; 1,024 sets of them take 30 ms
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
    #: SQL and name of each table, index, trigger and view, sorted; the ledger does not count.
    objects: list[tuple[str, str]]
    structure: int  #: fingerprint of the objects
    program: Program = OURS  #: whose versions these are
    extensions: tuple[tuple[str, int], ...] = ()  #: name and version of each that the file has


class Addition(NamedTuple):
    """A table, view, index or trigger that somebody added. It is left alone."""

    kind: str
    name: str  #: in lower case
    table: str

    def __str__(self) -> str:
        on_table = f" on {self.table}" if self.kind in ("index", "trigger") else ""
        return f"{self.kind} {self.name}{on_table}"


class Drift(NamedTuple):
    """How the structure differs from the one that the scripts make."""

    changed: list[str]  #: a line for each difference
    added: list[Addition]  #: what is there besides


def fingerprint(texts: Iterable[str]) -> int:
    """Of a structure: of the SQL of its objects, sorted."""
    return crc32("\n".join(texts).encode())


def is_intact(state: State, files: list[MigrationFile]) -> bool:
    """Whether the structure is the one noted in the ledger, apart from what somebody added.

    A quick look, without making the structure anew; False: only a closer look can tell. What no
    script names was added. In the file of newer code it may also be of that code: then some set of
    such objects gives the fingerprint.
    """
    noted = state.rows[-1].structure if state.rows else state.structure
    if noted == state.structure:
        return True
    names = unknown_names(state, files)
    unknown = [at for at, (_, name) in enumerate(state.objects) if name in names]
    if state.version <= newest(files):
        return noted == _without(state, unknown)
    if len(unknown) > _TOLD_APART:
        return True  # nobody here can tell; the code that wrote the file will
    return any(
        noted == _without(state, added)
        for count in range(1, len(unknown) + 1)
        for added in combinations(unknown, count)
    )


def unknown_names(state: State, files: list[MigrationFile]) -> set[str]:
    """Of the objects that no script names."""
    text = "\n".join(file.text for file in files).lower()
    words = set(re.findall(r"\w+", text))
    return {
        name
        for _, name in state.objects
        if name.lower() not in words and not _is_written(name.lower(), text)
    }


def _is_written(name: str, text: str) -> bool:
    """Whether a text holds a name that is not made of letters alone, as `"such a name"`."""
    return not re.fullmatch(r"\w+", name) and (name in text or name.replace('"', '""') in text)


def _without(state: State, added: Iterable[int]) -> int:
    left = set(added)
    return fingerprint(sql for at, (sql, _) in enumerate(state.objects) if at not in left)


def check_history(
    state: State,
    files: list[MigrationFile],
    file: str,
    drift: Callable[[list[MigrationFile]], Drift],
) -> None:
    """Raise unless these migrations may be applied to a database in this state.

    `drift` tells how its structure differs from the one that some scripts make. It is asked only
    if a quick look does not tell that it is the same. Raises as `validate` does.
    """
    validate(state, files, file)
    if not is_intact(state, files):
        _refuse_drift(state, files, file, drift)


def validate(state: State, files: list[MigrationFile], file: str) -> None:
    """Raise unless the file is one that these migrations made, whole and unchanged.

    The structure is not looked at. Raises ForeignDatabaseError, SchemaTooNewError, MigrationError.
    """
    ledger = state.program.ledger
    if state.version == 0 and state.rows is None:
        _refuse_others_tables(state, file)
        return
    if state.rows == []:
        raise MigrationError(f"{file}: somebody emptied {ledger}; {_restore(state, file)}")
    rows = state.rows or []
    if not all(isinstance(number, int) for row in rows for number in _numbers_of(row)):
        raise CorruptDatabaseError(f"{file}: {ledger} is damaged; {_restore(state, file)}")
    _check_newer(state, rows, newest(files), file)
    if state.rows is None:
        raise MigrationError(
            f"{file}: user_version says {state.version}, but there is no {ledger};"
            f" {_restore(state, file)}"
        )
    first = files[0].version
    if [row.version for row in rows] != list(range(first, first + len(rows))):
        numbered = enumerate([*rows, None], first)
        missing = next(n for n, row in numbered if not row or row.version != n)
        raise MigrationError(f"{file}: {ledger} lacks version {missing}; {_restore(state, file)}")
    last = rows[-1].version
    if last != state.version:
        raise MigrationError(
            f"{file}: {ledger} says version {last}, user_version says {state.version}; if"
            f" somebody set it by hand, set it back: PRAGMA user_version = {last}"
        )
    for row, script in zip(rows, files, strict=False):
        _check_unchanged(row, script, file)


def _refuse_others_tables(state: State, file: str) -> None:
    """Raise if a file that has no ledger has tables all the same."""
    names = sorted(name for _, name in state.objects if not name.startswith(REPLICATOR))
    if names and state.program.extension:
        raise MigrationError(
            f"{file} has {', '.join(names[:3])} already, which {state.program.name} did not"
            " make; give it another name"
        )
    if names:
        raise ForeignDatabaseError(
            f"{file} has tables ({', '.join(names[:3])}) but no version; it was left"
            " alone: give another path"
        )


def _restore(state: State, file: str, newest: int | None = None) -> str:
    from cwstore.migrations.advice import how_to_restore  # what a good file does not need

    return how_to_restore(state.program, file, newest)


def _numbers_of(row: Row) -> tuple[object, ...]:
    return row.version, row.text_sum, row.structure, row.compatible_with or 0


def compatible_from(rows: list[Row]) -> int:
    """The oldest version of the code that may use a file with this ledger."""
    if not rows:
        return 0
    first, oldest = rows[0].version, rows[-1].version
    while oldest >= first and all(
        row.compatible_with is not None and row.compatible_with < oldest
        for row in rows[oldest - first :]
    ):
        oldest -= 1
    return oldest


def _check_newer(state: State, rows: list[Row], newest: int, file: str) -> None:
    version, program = state.version, state.program.name
    if version <= newest:
        return
    newer = [row for row in rows if row.version > newest]
    if not rows or rows[-1].version != version:
        last = rows[-1].version if rows else 0
        why = f"its {LEDGER} ends at {last}, so user_version may have been set by hand"
    elif any(row.compatible_with is None or row.compatible_with > newest for row in newer):
        oldest = compatible_from(rows)
        why = f"it can be used by {program} with schema version {oldest} and up"
    else:
        return
    raise SchemaTooNewError(
        f"{file} has schema version {version}, this {program.removeprefix('the ')} knows {newest};"
        f" {why}: update {program}, or {_restore(state, file, newest)}"
    )


def _check_unchanged(row: Row, script: MigrationFile, file: str) -> None:
    if row.name != script.name:
        raise MigrationError(
            f"{file}: version {row.version} was applied from {script.called(row.name)}, but the"
            f" directory has {script.file_name}; a migration that comes late takes the next free"
            " number"
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
    drift: Callable[[list[MigrationFile]], Drift],
) -> None:
    if state.version > newest(files):
        this = state.program.name.removeprefix("the ")
        raise MigrationError(
            f"{file}: its structure was changed by hand after version {state.version} was applied;"
            f" open it with the {this} that wrote it to see where, or {_restore(state, file)}"
        )
    applied = [script for script in files if script.version <= state.version]
    key = (state.structure, tuple(script.text_sum for script in applied))
    if key in _equal:
        return
    found = drift(applied).changed
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise MigrationError(
            f"{file} is not structured as version {state.version}: {'; '.join(found[:_SHOWN])}"
            f"{more}; undo what was changed by hand, or {_restore(state, file)}"
        )
    _equal.add(key)
