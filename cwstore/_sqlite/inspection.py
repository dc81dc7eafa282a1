"""Inspect a file: look for damage, count rows and bytes. Nothing is repaired or written."""

import os
from collections import Counter
from collections.abc import Callable
from functools import partial

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.backup import find_damage
from cwstore._sqlite.busy_handler import BUSY_TIMEOUT
from cwstore._sqlite.connection import skip_checkpoint_on_close
from cwstore._sqlite.database_file import MEMORY, is_there, resolve, size_of
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.look import connect_to_look
from cwstore._sqlite.permissions import exposed_files
from cwstore._sqlite.schema.drift import drift
from cwstore._sqlite.schema.foreign_keys import find_broken_keys
from cwstore._sqlite.version import extensions_in, read_state
from cwstore.core.reports import CheckReport, ReaderStats, StoreStats, TableStats
from cwstore.core.watching import tell
from cwstore.errors import CorruptDatabaseError, StorageError
from cwstore.migrations.ledger import check_history, validate
from cwstore.migrations.scripts import OURS, Program, load

_SHOWN = 100  # problems of a kind that are listed


# A row of a table with rowid is a cell of a leaf; without rowid, a cell of any page.
_TABLES = """
    SELECT
        owner.name,
        (
            SELECT coalesce(sum(page.ncell), 0)
            FROM dbstat AS page
            WHERE page.name = owner.name
              AND (page.pagetype = 'leaf' OR owner.wr = 1 AND page.pagetype = 'internal')
        ),
        (SELECT coalesce(sum(page.pgsize), 0) FROM dbstat AS page WHERE page.name = owner.name),
        (
            SELECT coalesce(sum(page.pgsize), 0)
            FROM sqlite_schema AS part
            JOIN dbstat AS page ON page.name = part.name
            WHERE part.type = 'index'
              AND part.tbl_name = owner.name
        )
    FROM pragma_table_list AS owner
    WHERE owner.schema = 'main'
      AND owner.type = 'table'
      AND substr(owner.name, 1, 7) <> 'sqlite_'
    ORDER BY owner.name
"""
_FRAME = 24  # bytes of the log that come with each page

# `readiness` and `stamps` have the same form and one row at most, so SQLite finds nothing where
# their pages have changed places. But one counts from 0, and the other has a time in microseconds:
# 10**14 of them after 1970 is 1973, and nobody has changed a file as often.
_COUNTS = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'readiness'"
_COUNT = "SELECT 1 FROM readiness WHERE changes < 100000000000000"


def check_file(path: str | os.PathLike[str], program: Program = OURS) -> CheckReport:
    """`check` without a store: also of a file that was changed by hand, or is older than this code.

    Makes no file and migrates nothing. Raises StorageError, ForeignDatabaseError, BusyError;
    SchemaTooNewError and MigrationError where the file cannot be compared with these migrations.
    """
    file = resolve(path)
    if file == MEMORY or not is_there(file):
        raise StorageError(f"{file} is not there; give the path of a cwstore file")
    try:
        connection = connect_to_look(
            file, busy_timeout=BUSY_TIMEOUT, application_id=program.application_id
        )
    except CorruptDatabaseError as error:  # its advice is to run a check
        found = str(error).partition("; nothing was repaired")[0]
        return CheckReport((found,), (), (), exposed_files(file), ())
    try:
        connection.execute("PRAGMA query_only = ON")
        skip_checkpoint_on_close(connection, file)
        _refuse_other_history(connection, file, program)
        return check(connection, file, BUSY_TIMEOUT, program)
    finally:
        connection.close()


def _refuse_other_history(connection: Connection, file: str, program: Program) -> None:
    """Raise unless the file can be compared with these migrations, or is damaged."""
    files = load(program.directory)
    try:
        state = read_state(connection, program)
    except (apsw.CorruptError, UnicodeDecodeError):
        return
    except apsw.Error as error:
        fault = map_error(error, f"reading the version of {file}", BUSY_TIMEOUT, file)
    else:
        validate(state, files, file)
        if state.version > len(files):
            check_history(state, files, file, partial(drift, connection))
        return
    raise fault


def check(connection: Connection, file: str, busy_timeout: float, program: Program) -> CheckReport:
    """Read everything once. Raises BusyError rather than call a file that is in use damaged.

    The structure is compared with that of the version which the file has now: newer code may have
    migrated it since it was opened. Where that is newer than this code, nothing is compared.
    """
    added: list[str] = []
    try:
        damage = find_damage(connection, _SHOWN)
        damage += _listed(lambda: _misplaced(connection, program), damage)
        tell(99, 100, "looking for broken references")
        violations = _listed(lambda: _violations(connection), damage)
        changed = _listed(lambda: _drift(connection, program, added), damage)
    except apsw.Error as error:
        fault = map_error(error, "checking", busy_timeout, file)
    else:
        found = tuple(dict.fromkeys(damage))
        return CheckReport(found, violations, changed, exposed_files(file), tuple(added))
    raise fault


def _listed(find: Callable[[], list[str]], damage: list[str]) -> tuple[str, ...]:
    """What `find` finds, at most _SHOWN lines. Pages that it cannot read are added to `damage`."""
    try:
        return tuple(find()[:_SHOWN])
    except apsw.SQLError as error:  # to a structure changed by hand the question may make no sense
        return (str(error),)
    except apsw.CorruptError as error:
        damage.append(str(error))
    except UnicodeDecodeError:
        damage.append("a text in the structure is not UTF-8")
    return ()


def _misplaced(connection: Connection, program: Program) -> list[str]:
    """What is on a page that belongs to another table of the same form."""
    if program.application_id != OURS.application_id or not connection.execute(_COUNTS).fetchall():
        return []
    if len(connection.execute(_COUNT).fetchall()) == 1:
        return []
    return ["readiness: it has no count; its page may have changed places with that of stamps"]


def _violations(connection: Connection) -> list[str]:
    rows = Counter[tuple[str, str]]()  # there may be more than one key from a table to another
    for broken in find_broken_keys(connection):
        rows[broken.table, broken.parent] += broken.rows
    return [
        f"{table}: {count} rows refer to rows of {parent} that do not exist"
        for (table, parent), count in sorted(rows.items())
    ]


def _drift(connection: Connection, program: Program, added: list[str]) -> list[str]:
    """What was changed; what was added goes to the list `added`."""
    files = load(program.directory)
    began = not connection.in_transaction
    if began:
        connection.execute("BEGIN")  # one state for all looks
    try:
        version = connection.pragma("user_version")
        if version > len(files):
            return []
        parts = [(program, files[:version])]
        there = extensions_in(connection)
        parts += [
            (one, load(one.directory)[: there.get(one.extension, 0)]) for one in program.extensions
        ]
        changed: list[str] = []
        for part, scripts in parts:
            found = drift(connection, scripts, part)
            changed.extend(found.changed)
            added.extend(map(str, found.added))
        return changed
    finally:
        if began:
            connection.execute("ROLLBACK")


def stats(
    connection: Connection,
    file: str,
    busy_timeout: float,
    readers: tuple[ReaderStats, ...],
) -> StoreStats:
    """Count rows and bytes; reads every page once."""
    try:
        logged = moved = 0
        if file != MEMORY:
            logged, moved = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
        tables = tuple(TableStats(*row) for row in connection.execute(_TABLES).fetchall())
        version = connection.pragma("user_version")
        page_bytes = connection.pragma("page_size")
        pages = connection.pragma("page_count")
        free = connection.pragma("freelist_count")
    except apsw.Error as error:
        fault = map_error(error, "counting", busy_timeout, file)
    else:
        return StoreStats(
            version=version,
            file_bytes=pages * page_bytes if file == MEMORY else size_of(file),
            wal_bytes=size_of(f"{file}-wal"),
            wal_pending_bytes=(logged - moved) * (page_bytes + _FRAME),
            free_bytes=free * page_bytes,
            tables=tables,
            readers=readers,
        )
    raise fault
