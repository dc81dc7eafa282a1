"""Copy a database while it is used. The copy appears only when it is complete and verified."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.connection import connect_reader
from cwstore._sqlite.database_file import MEMORY, is_there, remove, resolve, sync
from cwstore._sqlite.drafts import draft_beside
from cwstore._sqlite.error_map import how_to_mend, map_error
from cwstore._sqlite.identity import give_own_number
from cwstore._sqlite.new_names import give_name
from cwstore.core.watching import tell
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CorruptDatabaseError,
    InvalidValueError,
    StorageError,
)
from cwstore.migrations.advice import BACKUP
from cwstore.migrations.scripts import APPLICATION_ID

_PAGES = 4096  # of a step; between steps Ctrl-C gets through
_OPERATIONS = 50_000  # of SQLite's machine, likewise
_UNREAD = re.compile(r"error code[ =](\d+)")  # in a line of `integrity_check`
_KEPT = 3


if TYPE_CHECKING:
    from typing import Protocol, Self

    class _Pages(Protocol):
        """The part of apsw.Backup that is used here."""

        def __enter__(self) -> Self: ...
        def __exit__(self, *details: object) -> bool | None: ...
        def step(self, npages: int = -1, /) -> bool: ...
        @property
        def page_count(self) -> int: ...
        @property
        def remaining(self) -> int: ...

    class _Copier(Protocol):
        """The part of apsw.Connection that copies."""

        def backup(self, name: str, source: Connection, source_name: str, /) -> _Pages: ...
        def txn_state(self, schema: str, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Backup:
    """A copy that was made."""

    path: str
    size: int  #: bytes


def write_backup(
    source: str | Connection,
    target: str | os.PathLike[str],
    *,
    busy_timeout: float,
    replace: bool = False,
    application_id: int = APPLICATION_ID,
) -> Backup:
    """Copy `source` (a file, or a connection outside a write transaction) as it is at this moment.

    The copy gets its name only when it is complete, checked (`integrity_check`) and on disk, with
    mode 0600. A file that is there already is refused, unless `replace`. Others may write
    meanwhile. Raises StorageError, CorruptDatabaseError (the source is damaged), BusyError,
    ConflictError (the connection has begun to write).
    """
    path = _target(target, replace)
    if not isinstance(source, str) and (
        cast("_Copier", source).txn_state("main") == apsw.SQLITE_TXN_WRITE
    ):
        raise ConflictError(
            "backup() inside of a transaction of this database: leave it first",
            reason=ConflictReason.TRANSACTION,
        )
    try:
        with draft_beside(path) as draft:
            copy_to(draft, source, f"the backup {path}", busy_timeout, application_id)
            size = os.stat(draft).st_size
            _publish(draft, path, replace)
    except FileExistsError:
        raise StorageError(f"{path} exists; choose another name for the backup") from None
    except OSError as error:
        raise StorageError(
            f"cannot write the backup {path}: {error.strerror}; choose a directory that this user"
            " may write to, with room for a copy"
        ) from None
    return Backup(path, size)


def _target(given: str | os.PathLike[str], replace: bool) -> str:
    path = resolve(given)
    if path == MEMORY:
        raise InvalidValueError("path", "a backup needs a file")
    if replace:  # a link of that name is replaced, not followed
        name: str = os.fspath(given)
        directory, name = os.path.split(name)
        return os.path.join(os.path.realpath(directory), name)
    if is_there(path):
        raise StorageError(f"{path} exists; choose another name for the backup, or remove it")
    return path


def migration_backup(file: str, version: int, extension: str = "", its_version: int = 0) -> str:
    """The name of the backup that is made before a file of this version is migrated.

    Before an extension is: with the version of that, too, or the second backup would be the first.
    """
    of_extension = f"-{extension}-{its_version}" if extension else ""
    return f"{file}.v{version}{of_extension}.bak"


def keep_newest(file: str, made: str) -> None:
    """Remove the migration backups of `file` but the newest three; never the one just `made`.

    Call it under the migration lock: then nobody else writes such a backup. A directory or a link
    of such a name is left alone. Raises StorageError.
    """
    try:
        _keep_newest(file, made)
    except OSError as error:
        raise StorageError(f"cannot remove an old backup beside {file}: {error.strerror}") from None


def _keep_newest(file: str, made: str) -> None:
    directory, name = os.path.split(file)
    ours = re.compile(rf"{re.escape(name)}\.{BACKUP}")
    with os.scandir(directory) as entries:
        backups = [
            (entry.path != made, -entry.stat().st_mtime_ns, entry.path)
            for entry in entries
            if ours.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        ]
    for _, _, path in sorted(backups)[_KEPT:]:
        remove(path)


def copy_to(
    draft: str,
    source: str | Connection,
    what: str,
    busy_timeout: float,
    application_id: int = APPLICATION_ID,
) -> None:
    """Copy into a new file of mode 0600, and check the copy. Messages call it `what`.

    The copy is a file of its own from then on: see identity.py. Raises OSError, StorageError,
    CorruptDatabaseError, BusyError.
    """
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if not isinstance(source, str):
        _copy(source, draft, what, busy_timeout)
        return
    reader = connect_reader(source, busy_timeout=busy_timeout, application_id=application_id)
    try:
        _copy(reader, draft, what, busy_timeout)
    finally:
        reader.close()


def _copy(source: Connection, draft: str, what: str, busy_timeout: float) -> None:
    try:
        copy = open_connection(draft)
        try:
            _copy_pages(source, copy)
            problems = find_damage(copy, 3)
            if problems:
                raise CorruptDatabaseError(
                    f"{what} was not kept, its source is damaged: {'; '.join(problems)};"
                    f" {how_to_mend(source.filename)}"
                )
            give_own_number(copy)
        finally:
            copy.close()
    except apsw.Error as error:
        fault = map_error(error, f"writing {what}", busy_timeout, source.filename)
    else:
        return
    raise fault


def find_damage(connection: Connection, most: int) -> list[str]:
    """What `integrity_check` finds: that many lines at most, and one more where it gave up.

    Raises apsw.Error where it could not look: such as for want of memory, which is no damage.
    """
    found: list[str] = []
    # It reads each page twice: once as a part of its tree, once for the rows in it.
    pages = 2 * connection.pragma("page_count")
    begun, _ = connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)

    def tell_pages() -> bool:
        read = connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0] - begun
        tell(min(read, pages), pages, "looking for damage")
        return False

    connection.set_progress_handler(tell_pages, _OPERATIONS)
    try:
        for (line,) in connection.execute(f"PRAGMA integrity_check({most})"):
            found.append(line)
    except apsw.CorruptError as error:
        found.append(str(error))
    finally:
        connection.set_progress_handler(None)
    for code in map(int, _UNREAD.findall("\n".join(found))):
        if code & 0xFF not in {apsw.SQLITE_CORRUPT, apsw.SQLITE_NOTADB}:
            raise apsw.exception_for(code)
    return [] if found == ["ok"] else found


def _copy_pages(source: Connection, copy: Connection) -> None:
    # An open read transaction pins the moment: writers do not make the copy start again.
    pinned = not source.in_transaction
    if pinned:
        source.execute("BEGIN")
    try:
        source.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        with cast("_Copier", copy).backup("main", source, "main") as pages:
            while not pages.step(_PAGES):
                tell(pages.page_count - pages.remaining, pages.page_count, "copying")
    finally:
        if pinned and source.in_transaction:
            source.execute("ROLLBACK")


def _publish(draft: str, path: str, replace: bool) -> None:
    sync(draft)
    if replace:
        os.replace(draft, path)
    else:
        give_name(draft, path)
        with suppress(OSError):  # the copy is there
            os.unlink(draft)
    sync(os.path.dirname(path))
