"""Put a copy of a backup in the place of a database, and keep what was there.

At any moment at which this may be killed, one whole file has the name: the old one with its log, or
the copy. (Where files can have one name only, none for a moment, and the old one has its new name.)
Between the two the log of the old one lies beside the copy. Its note in `<file>-turn` is
on disk by then and says whose it is, so whoever opens the file refuses: see identity.py.
"""

import os
import stat
from collections.abc import Generator
from contextlib import suppress

import apsw

from cwstore._sqlite.apsw_types import sqlite_name
from cwstore._sqlite.backup import copy_to
from cwstore._sqlite.busy_handler import BUSY_TIMEOUT
from cwstore._sqlite.connection import connect, connect_reader
from cwstore._sqlite.database_file import (
    MAGIC,
    MEMORY,
    REPLACED,
    find_leftover_log,
    free_name,
    inode_of,
    is_there,
    open_unlocked,
    refuse_bad_log,
    refuse_foreign,
    refuse_strange_file,
    remove,
    resolve,
    sync,
)
from cwstore._sqlite.drafts import draft_beside
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.fork import opening, register_open
from cwstore._sqlite.identity import make_note_last, number_in, read_header
from cwstore._sqlite.lock_holders import who_has_open
from cwstore._sqlite.network_disk import refuse_network_disk
from cwstore._sqlite.new_names import give_name, keep_as
from cwstore._sqlite.schema.target import SqliteTarget
from cwstore.core.blocks import block
from cwstore.core.reports import RestoreReport
from cwstore.errors import (
    BusyError,
    CorruptDatabaseError,
    CwstoreError,
    ForeignDatabaseError,
    InvalidValueError,
    StorageError,
)
from cwstore.migrations.advice import options_of
from cwstore.migrations.runner import read_checked_state
from cwstore.migrations.scripts import Program, program_of, scripts_of


def restore(
    backup: str | os.PathLike[str],
    path: str | os.PathLike[str],
    directory: str | os.PathLike[str] | None,
    application_id: int,
) -> RestoreReport:
    """See `cwstore.restore`."""
    program = program_of(directory, application_id)
    source, file = resolve(backup, "backup"), resolve(path)
    if MEMORY in (source, file):
        field = "path" if file == MEMORY else "backup"
        raise InvalidValueError(field, "what is in memory cannot be restored")
    if not is_there(source):
        raise StorageError(f"{source} is not there; give the path of a backup")
    if inode_of(source) == inode_of(file):
        raise InvalidValueError("backup", "is the very file that it shall replace")
    refuse_strange_file(source, links=True)
    register_open(file)
    refuse_network_disk(file)
    try:
        with _held(file, program), draft_beside(file) as draft:
            version = _copy(source, draft, file, program)
            _take_over_rights(draft, file)
            sync(draft)
            size = os.stat(draft).st_size
            kept = _swap(draft, file)
        return RestoreReport(file, version, size, kept)
    except OSError as error:
        fault: CwstoreError = StorageError(
            f"cannot restore {file}: {error.strerror}; nothing is lost"
        )
    except apsw.Error as error:
        fault = map_error(error, f"restoring {file}", 0.0, file)
    raise fault


@block
def _held(file: str, program: Program) -> Generator[None]:
    """Keep everybody from opening the file that is there. Raises BusyError if somebody has it."""
    if not is_there(file):
        yield
        return
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READWRITE, 0]
    _refuse_to_replace(file, program)
    with opening(file):
        handle = apsw.VFSFile("", sqlite_name(file), flags)
        try:
            _lock(handle, file)
            yield
        finally:
            handle.xUnlock(apsw.SQLITE_LOCK_NONE)
            handle.xClose()


def _lock(handle: apsw.VFSFile, file: str) -> None:
    # Who has a file in WAL mode open holds a shared lock on it, also while at rest.
    try:
        handle.xLock(apsw.SQLITE_LOCK_SHARED)
        handle.xLock(apsw.SQLITE_LOCK_EXCLUSIVE)
        return
    except apsw.BusyError:
        holder = ", ".join(who_has_open(file))
    who = (
        f"{holder} has it"
        if holder
        else "another store or process has it, or its disk has no locks"
    )
    raise BusyError(
        f"{file} is open: {who}; close it there, then restore",
        waited=0.0,
        holder=holder or "another store or process",
    )


def _refuse_to_replace(file: str, program: Program) -> None:
    """Raise unless what is there is a file of the program, or so damaged that nobody can tell."""
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{file} is not a regular file; give the path of one")
    header = read_header(file)
    application_id = int.from_bytes(header[68:72], "big")
    if header[:16] == MAGIC and application_id != program.application_id:
        raise ForeignDatabaseError(
            f"{file} belongs to another application (application_id {application_id:#010x}); it"
            " was left alone: give another path"
        )


def _copy(source: str, draft: str, file: str, program: Program) -> int:
    """Make the copy and check it; the version that it has."""
    what, number = f"a copy of {source}", program.application_id
    is_damaged = False
    refuse_bad_log(source, number)
    if find_leftover_log(source):
        reader = connect_reader(source, busy_timeout=BUSY_TIMEOUT, application_id=number)
    else:
        reader = open_unlocked(source)
    try:
        refuse_foreign(reader, source, number)
        copy_to(draft, reader, what, BUSY_TIMEOUT)
    except (apsw.CorruptError, CorruptDatabaseError):
        is_damaged = True
    finally:
        reader.close()
    if is_damaged:
        raise CorruptDatabaseError(
            f"{source} is damaged, and {file} was left as it is: restore another backup;"
            f" if `cwstore check {source}{options_of(program)}` finds no damage, check the disk"
        )
    copy = connect(draft, busy_timeout=BUSY_TIMEOUT, create=False, application_id=number)
    try:
        target = SqliteTarget(copy, source, BUSY_TIMEOUT, program)
        return read_checked_state(target, scripts_of(program)).version
    finally:
        copy.close()


def _take_over_rights(draft: str, file: str) -> None:
    """Let who could use the old file use the new one."""
    with suppress(FileNotFoundError):
        status = os.stat(file)
        with suppress(PermissionError):
            os.chown(draft, status.st_uid, status.st_gid)
        os.chmod(draft, stat.S_IMODE(status.st_mode))


def _swap(draft: str, file: str) -> str | None:
    """Give the draft the name of the file; the name that the old one has now, if there was one."""
    old = is_there(file)
    kept = free_name(file, REPLACED)
    had_log = bool(find_leftover_log(file))
    if had_log:
        make_note_last(file, number_in(read_header(file)) if old else 0)
    directory = os.path.dirname(file)
    if old:
        keep_as(file, kept)
        sync(directory)  # after a power cut its new name must not be missing where the copy is
        os.replace(draft, file)
    else:
        sync(directory)  # nor the note
        give_name(draft, file)
        with suppress(OSError):  # the copy is there, and who opens it removes its other name
            remove(draft)
    sync(directory)
    while log := find_leftover_log(file):
        os.rename(log, log.replace(file, kept, 1))
    for part in ("-wal", "-shm"):  # a log that is empty, and the index of the log
        remove(f"{file}{part}")
    sync(directory)
    for part in ("-turn", "-changes"):
        remove(f"{file}{part}")
    return kept if old or had_log else None
