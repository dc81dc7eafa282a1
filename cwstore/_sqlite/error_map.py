"""Turn what SQLite reports into our errors, by extended result code."""

from collections.abc import Mapping

import apsw

from cwstore.core import faults
from cwstore.errors import (
    BusyError,
    ConflictError,
    ConflictReason,
    CorruptDatabaseError,
    CwstoreError,
    ForeignDatabaseError,
    InvalidValueError,
    OutcomeUnknownError,
    StorageError,
    StoreClosedError,
)

_CANNOT_OPEN = (
    "the file cannot be opened; check path and permissions, and how many open files are allowed"
)
_CANNOT_LOCK = "the file cannot be locked; its file system must have locks: keep it on a local disk"
_NO_MEMORY = (
    "there is no memory left; let this process have more (ulimit -v, the container's limit)"
)
_STORAGE: dict[int, str] = {
    apsw.SQLITE_FULL: "the disk is full; make room and try again",
    apsw.SQLITE_READONLY: (
        "the file can only be read; let this user write to it and its directory (chmod u+rw), or"
        " allow this process more open files (ulimit -n)"
    ),
    apsw.SQLITE_CANTOPEN: _CANNOT_OPEN,
    apsw.SQLITE_PERM: _CANNOT_OPEN,
    apsw.SQLITE_AUTH: _CANNOT_OPEN,
    # SQLite looks at no reason when it cannot make `-shm` longer, which is memory to it.
    apsw.SQLITE_IOERR_SHMSIZE: (
        "the disk or a quota has no room for the index of the write-ahead log (`-shm`), or the disk"
        " failed; make room, or check the disk, and try again"
    ),
    apsw.SQLITE_NOMEM: _NO_MEMORY,
    apsw.SQLITE_IOERR_NOMEM: _NO_MEMORY,
    # SQLite has tried for ten seconds.
    apsw.SQLITE_PROTOCOL: _CANNOT_LOCK,
}
#: Our own schema uses nothing but what SQLite has.
_LACKING = ("no such function", "unknown function", "no such collation", "no such module")
_LOCKS = frozenset(
    {
        apsw.SQLITE_IOERR_CHECKRESERVEDLOCK,
        apsw.SQLITE_IOERR_LOCK,
        apsw.SQLITE_IOERR_RDLOCK,
        apsw.SQLITE_IOERR_SHMLOCK,
        apsw.SQLITE_IOERR_UNLOCK,
    }
)


#: The columns of a table that refer to others, and what they refer to.
FOREIGN_KEYS = """
    SELECT
        "from",
        "table",
        coalesce("to", (SELECT name FROM pragma_table_info(link."table") WHERE pk = 1))
    FROM pragma_foreign_key_list(:table) AS link
    ORDER BY seq, id DESC
"""

#: The columns that let no row go to which they refer.
HOLDING_KEYS = """
    SELECT child.name, link."from"
    FROM sqlite_schema AS child
    JOIN pragma_foreign_key_list(child.name) AS link
    WHERE child.type = 'table'
      AND link.on_delete IN ('NO ACTION', 'RESTRICT')
    ORDER BY child.name, link.seq, link.id DESC
"""


def map_statement_error(
    error: apsw.Error | UnicodeError,
    text: str,
    binds: Mapping[str, object],
    busy_timeout: float,
    file: str,
) -> CwstoreError:
    """The error to raise for one of a statement."""
    if isinstance(error, UnicodeEncodeError):
        return faults.refused_bind(binds)
    fault = map_error(error, faults.table_of(text), busy_timeout, file, text)
    if isinstance(fault, ConflictError) and _is_about_its_row(error, fault, text):
        given = binds.get("id")
        fault.id = given if isinstance(given, str) else None
    return fault


def _is_about_its_row(error: apsw.Error | UnicodeError, fault: ConflictError, text: str) -> bool:
    """Whether the row that is in conflict is the one that the bind `id` names.

    A new row is not, unless its id is what another one has: it does not exist.
    """
    return str(error).endswith(f": {fault.table}.id") or text.lstrip().startswith("UPDATE")


def map_error(
    error: apsw.Error | UnicodeError,
    what: str,
    busy_timeout: float,
    file: str,
    text: str = "",
) -> CwstoreError:
    """The error to raise for `error`, which happened in `what`, while running the SQL `text`.

    Codes decide; the message text is used for names alone. It never holds a bound value.
    """
    code = getattr(error, "extendedresult", -1)
    if isinstance(error, UnicodeError) or code & 0xFF == apsw.SQLITE_CONSTRAINT:
        return _of_a_value(error, code, what, file, text)
    primary = code & 0xFF if code >= 0 else code
    if problem := _STORAGE.get(code) or _STORAGE.get(primary):
        return StorageError(f"{what}: {problem}")
    match primary:
        case apsw.SQLITE_BUSY | apsw.SQLITE_LOCKED:
            return BusyError(
                f"{what}: another connection held the lock for all of the {busy_timeout:g} s that"
                " this store may wait; look for a long write transaction, or raise busy_timeout",
                waited=busy_timeout,
            )
        case apsw.SQLITE_NOTADB | apsw.SQLITE_CORRUPT | apsw.SQLITE_IOERR:
            return _of_the_file(error, code, what, file)
        case apsw.SQLITE_TOOBIG:
            return InvalidValueError("value", "too large for one SQLite row (1,000,000,000 bytes)")
        case apsw.SQLITE_ERROR if "too deep" in str(error) or "too many levels" in str(error):
            return ConflictError(
                f"{what}: more than 1,000 rows are nested in each other; delete the inner first",
                reason=ConflictReason.TRANSACTION,
            )
        case apsw.SQLITE_ERROR if str(error).startswith(_LACKING):
            return StorageError(
                f"{what}: {error}; an index or a trigger that somebody added needs what this"
                f" process does not have: `cwstore status {_path(file)}` lists what was added;"
                " drop it"
            )
        case apsw.SQLITE_ERROR | apsw.SQLITE_SCHEMA:
            return CorruptDatabaseError(
                f"{what}: {error}; the structure of the file is not what its version says:"
                f" run `cwstore check {_path(file)}`"
            )
        case _ if isinstance(error, apsw.ConnectionClosedError):
            return StoreClosedError(f"{what}: the store is closed; open a new one")
        case _:
            return CwstoreError(f"{what}: {type(error).__name__}: {error}")


def _of_the_file(error: apsw.Error, code: int, what: str, file: str) -> CwstoreError:
    match code & 0xFF:
        case apsw.SQLITE_NOTADB:
            return ForeignDatabaseError(f"{what}: not an SQLite database; give another path")
        case apsw.SQLITE_CORRUPT:
            # A read that the disk refuses looks the same: SQLite makes it SQLITE_CORRUPT.
            return CorruptDatabaseError(
                f"{what}: {error}; nothing was repaired: {how_to_mend(file)}"
            )
        case _ if code in _LOCKS:
            return StorageError(f"{what}: {_CANNOT_LOCK} ({_name_of(code)})")
        case _ if code == apsw.SQLITE_IOERR_SHORT_READ and file:
            return StorageError(
                f"{what}: the disk failed, or {file}-wal was removed or emptied while others have"
                f" the file open ({_name_of(code)}): then close it there, which saves what they"
                " see, and reopen; else check the disk, its room and quotas"
            )
        case _ if code == apsw.SQLITE_IOERR_WRITE:
            # So SQLite tells all but a full disk, a quota that is used up for one.
            return StorageError(
                f"{what}: the disk failed ({_name_of(code)}); check the disk, its room, its quotas"
                " and how long a file may be (ulimit -f), then reopen"
            )
        case _:
            # A full disk looks the same where memory is shared.
            return StorageError(
                f"{what}: the disk failed ({_name_of(code)}); check the disk, its room and quotas,"
                " then reopen"
            )


def how_to_mend(file: str) -> str:
    """What to do about a file that seems to be damaged: the commands."""
    path = _path(file)
    return (
        f"run `cwstore check {path}`; if it finds damage, `cwstore restore BACKUP {path}`; if it"
        " finds none, check the disk"
    )


def _path(file: str) -> str:
    from shlex import quote  # what most processes do not need

    return quote(file)


def _name_of(code: int) -> str:
    return str(apsw.mapping_extended_result_codes.get(code, code))


def outcome_unknown(error: apsw.Error) -> bool:
    """Whether a COMMIT that failed so may have been kept: its fsync failed."""
    return getattr(error, "extendedresult", -1) in (
        apsw.SQLITE_IOERR_FSYNC,
        apsw.SQLITE_IOERR_DIR_FSYNC,
    )


def commit_fault(
    error: apsw.Error, busy_timeout: float, file: str, script: str = ""
) -> CwstoreError:
    """The error to raise for one of a COMMIT, of that migration script if one is given."""
    what = f"COMMIT ({file}, {script})" if script else f"COMMIT ({file})"
    if outcome_unknown(error):
        return OutcomeUnknownError(
            f"{what}: the disk failed; the transaction may or may not be there:"
            " read before you repeat it"
        )
    return map_error(error, what, busy_timeout, file)


def _of_a_value(
    error: apsw.Error | UnicodeError, code: int, what: str, file: str, text: str
) -> CwstoreError:
    if isinstance(error, UnicodeError):  # carries the bytes: it is not chained
        return CorruptDatabaseError(
            f"{what}: a text in the file is not UTF-8; nothing was repaired: restore a"
            f" backup: `cwstore restore BACKUP {_path(file)}`"
        )
    return _constraint(error, code, text)


def _constraint(error: apsw.Error, code: int, text: str) -> CwstoreError:
    table = faults.table_of(text)
    name = str(error).rpartition(": ")[2]
    column = name.partition(".")[2] or name
    match code:
        case apsw.SQLITE_CONSTRAINT_UNIQUE | apsw.SQLITE_CONSTRAINT_PRIMARYKEY:
            return faults.taken(name)
        case apsw.SQLITE_CONSTRAINT_NOTNULL:
            return faults.missing_value(table, column)
        case apsw.SQLITE_CONSTRAINT_CHECK:
            return faults.broken_rule(table, name)
        case apsw.SQLITE_CONSTRAINT_DATATYPE:
            return faults.wrong_type(table, column)
        case apsw.SQLITE_CONSTRAINT_FOREIGNKEY:
            return faults.missing_reference(table, {}, [])
        case apsw.SQLITE_CONSTRAINT_TRIGGER if not str(error).startswith("cycle: "):
            return faults.refused_by_trigger(table, str(error))
        case apsw.SQLITE_CONSTRAINT_TRIGGER:
            return faults.cycle(name)
        case _:
            return ConflictError(f"{table}: {error}", reason=ConflictReason.TAKEN, table=table)
