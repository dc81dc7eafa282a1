"""Look after a file: is it whole, and what is in it. Repairs nothing, writes nothing."""

import os
from dataclasses import dataclass

import apsw

from cwstore import _connect
from cwstore._apsw import Connection
from cwstore._drift import drift
from cwstore._faults import translate
from cwstore._log_readers import ReaderStats
from cwstore._migration_files import load

_SHOWN = 100  # problems of a kind that are listed


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found; every list is empty when all is well."""

    integrity: tuple[str, ...]  #: damage, as SQLite's integrity_check words it
    foreign_keys: tuple[str, ...]  #: "table: n rows refer to rows of parent that do not exist"
    drift: tuple[str, ...]  #: how the structure differs from what the migrations make

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not (self.integrity or self.foreign_keys or self.drift)


@dataclass(frozen=True, slots=True)
class TableStats:
    """One table of the file."""

    name: str
    rows: int
    bytes: int  #: pages of the table itself
    index_bytes: int  #: pages of all its indexes


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How large a store is."""

    version: int  #: the newest migration that the file has
    file_bytes: int
    wal_bytes: int  #: 0 while there is no write-ahead log
    #: Of the log, what is not in the file yet. Beyond some 4 MB it waits for a reader to end.
    wal_pending_bytes: int
    free_bytes: int  #: in the file, to be used again or given back
    tables: tuple[TableStats, ...]  #: by name
    readers: tuple[ReaderStats, ...]  #: when the counting began; longest first, unknown last


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
_VIOLATIONS = """
    SELECT "table", parent, count(*)
    FROM pragma_foreign_key_check
    GROUP BY "table", parent
    ORDER BY "table", parent
"""


def check(connection: Connection, version: int, busy_timeout: float) -> CheckReport:
    """Read everything once. Raises BusyError rather than call a file that is in use damaged."""
    try:
        found = [line for (line,) in connection.execute("PRAGMA integrity_check").fetchall()]
        integrity = () if found == ["ok"] else tuple(found[:_SHOWN])
        violations = connection.execute(_VIOLATIONS).fetchall()
        files = load(None)
        changed = drift(connection, files[:version]) if version <= len(files) else []
    except apsw.CorruptError as error:
        return CheckReport((f"{error}",), (), ())
    except apsw.Error as error:
        fault = translate(error, "checking", busy_timeout)
    else:
        return CheckReport(
            integrity,
            tuple(
                f"{table}: {rows} rows refer to rows of {parent} that do not exist"
                for table, parent, rows in violations
            ),
            tuple(changed[:_SHOWN]),
        )
    raise fault


def stats(
    connection: Connection,
    file: str,
    version: int,
    busy_timeout: float,
    readers: tuple[ReaderStats, ...],
) -> StoreStats:
    """Count rows and bytes; reads every page once."""
    try:
        logged = moved = 0
        if file != _connect.MEMORY:
            logged, moved = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
        tables = tuple(TableStats(*row) for row in connection.execute(_TABLES).fetchall())
        page_bytes = connection.pragma("page_size")
        pages = connection.pragma("page_count")
        free = connection.pragma("freelist_count")
    except apsw.Error as error:
        fault = translate(error, "counting", busy_timeout)
    else:
        return StoreStats(
            version=version,
            file_bytes=pages * page_bytes if file == _connect.MEMORY else os.stat(file).st_size,
            wal_bytes=_size(f"{file}-wal"),
            wal_pending_bytes=(logged - moved) * (page_bytes + _FRAME),
            free_bytes=free * page_bytes,
            tables=tables,
            readers=readers,
        )
    raise fault


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0
