"""The rules for files: which path may be a database, how one is made, and whose it is.

Nothing here writes to a file that exists. Nothing opens one by other means than SQLite: a plain
`open` and `close` would drop the locks that this process holds on it.
"""

import os
import stat
import time
from contextlib import suppress
from typing import cast

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.error_map import map_error
from cwstore.errors import ForeignDatabaseError, InvalidValueError, StorageError

MEMORY = ":memory:"
DRAFTS = (".cwstore-", ".tmp")  # how the name of a directory for drafts begins and ends
DRAFT = "d"  # in it; short, as that name is: SQLite takes paths of 504 bytes
REPLACED = ".replaced-"  # begins what `restore` adds to the name of the file that was there
RESCUED = ".rescued-"  # begins what `rescue` adds to that of a copy
MAGIC = b"SQLite format 3\0"
_LONGEST_PATH = 504  # bytes: 512 less those of "-journal"
_SMALLEST_DATABASE = 512  # bytes; SQLite takes anything shorter for an empty database


def resolve(path: object, field: str = "path") -> str:
    """The real path of the file (symlinks followed), or ":memory:" as it is."""
    text = os.fspath(cast("os.PathLike[str]", path)) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidValueError(
            field, f"expected str or os.PathLike[str], got {type(text).__name__}"
        )
    if not text or "\0" in text:
        raise InvalidValueError(field, "must be a non-empty path without U+0000")
    if text == MEMORY:
        return text
    try:
        file = os.path.realpath(text)
        os.fsencode(file).decode()  # SQLite takes UTF-8 only: see `open_connection`
    except UnicodeError:
        raise InvalidValueError(
            field, "must be a path that can be written as UTF-8; rename the file or its directory"
        ) from None
    refuse_long_path(file)
    return file


def refuse_long_path(file: str) -> None:
    """Raise StorageError if the path is longer than SQLite takes, which would not say so."""
    length = len(os.fsencode(file))
    if length > _LONGEST_PATH:
        raise StorageError(
            f"{file}: this path has {length} bytes, and SQLite takes {_LONGEST_PATH}; use a shorter"
            " one"
        )


# A file that exists


def inode_of(file: str) -> tuple[int, int] | None:
    """Device and number of the file; None if it is not there. Raises StorageError."""
    try:
        status = os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot look at {file}: {error.strerror}; check the path") from None
    return status.st_dev, status.st_ino


def is_there(path: str) -> bool:
    """Whether something has that name, if only a link to nowhere. Raises StorageError."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"cannot look at {path}: {error.strerror}; check the path") from None
    return True


def look_at_file(file: str, *, links: bool = False) -> os.stat_result:
    """Raise unless the path is a regular file that can be a database. Opens nothing.

    With `links` it may have more than one name.
    """
    try:
        status = os.stat(file)
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            _finish_creation(file, status)
            status = os.stat(file)
    except OSError as error:
        raise StorageError(f"cannot look at {file}: {error.strerror}; check the path") from None
    if stat.S_ISDIR(status.st_mode):
        raise StorageError(f"{file} is a directory; give the path of a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{file} is not a regular file; give the path of one")
    if status.st_nlink > 1 and not links:
        raise StorageError(
            f"{file} has {status.st_nlink} hard links; two names would mean two write-ahead logs"
            " and a corrupt database: keep one name"
        )
    if status.st_size < _SMALLEST_DATABASE:
        what = "is empty" if status.st_size == 0 else f"has only {status.st_size} bytes"
        raise ForeignDatabaseError(
            f"{file} {what}: it is not a database; remove it to have a new one made, or give"
            " another path"
        )
    return status


def refuse_strange_file(file: str, *, links: bool = False) -> tuple[int, int]:
    """As `look_at_file`, for a file that is read and written; its device and number."""
    status = look_at_file(file, links=links)
    if not may(file, os.R_OK | os.W_OK):
        from cwstore._sqlite.file_access import how_to_permit

        raise StorageError(f"{file} cannot be read and written by this user; {how_to_permit(file)}")
    return status.st_dev, status.st_ino


def may(file: str, mode: int) -> bool:
    """Whether the permissions let this process do that: with the rights that it has just now.

    Those of a program that runs as another user or group are not the ones it was started with.
    """
    return os.access(file, mode, effective_ids=os.access in os.supports_effective_ids)


def may_only_read(file: str) -> bool:
    """Whether the file is there and this process can read it, but not write to it or beside it."""
    if file == MEMORY or not may(file, os.R_OK):
        return False
    return not (may(file, os.W_OK) and may(os.path.dirname(file), os.W_OK | os.X_OK))


def size_of(file: str) -> int:
    """Bytes; 0 if it is not there. It is not opened: that would drop SQLite's locks."""
    try:
        return os.stat(file).st_size
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StorageError(f"cannot look at {file}: {error.strerror}; check the path") from None


def refuse_foreign(connection: Connection, file: str, application_id: int) -> None:
    """Raise ForeignDatabaseError unless the file that the connection has open has that number."""
    try:
        found_id = connection.pragma("application_id")
    except apsw.NotADBError:
        found_id = None
    if found_id != application_id:
        raise _foreign(file, found_id)


def refuse_bad_log(file: str, application_id: int) -> None:
    """Raise if the log that lies beside the file must not be applied, as any other look would.

    ForeignDatabaseError: the file is not ours. StorageError: the log belongs to another file.
    """
    log = find_leftover_log(file)
    if not log:
        return
    from cwstore._sqlite.identity import read_header, refuse_foreign_log

    try:
        header = read_header(file)
    except apsw.Error:
        return  # whoever opens it is told
    if header[:16] != MAGIC:
        raise _foreign(file, None)
    found_id = int.from_bytes(header[68:72], "big")
    if found_id != application_id:
        raise _foreign(file, found_id)
    refuse_foreign_log(file, log, header)


def _foreign(file: str, application_id: int | None) -> ForeignDatabaseError:
    found = "is not an SQLite database"
    if application_id is not None:
        found = f"belongs to another application (application_id {application_id:#010x})"
    return ForeignDatabaseError(f"{file} {found}; it was left alone: give another path")


def open_unlocked(file: str) -> Connection:
    """Open a file that nobody writes to and that has no log, for reading. Makes no file beside it.

    It needs no permission to write.
    """
    address = "".join({"%": "%25", "?": "%3f", "#": "%23"}.get(sign, sign) for sign in file)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    return open_connection(f"file:{address}?immutable=1", flags)


def find_leftover_log(file: str) -> str:
    """The log beside the file that SQLite would apply when it opens the file; "" if none is.

    Raises StorageError where nobody can tell: a log that is overlooked is lost.
    """
    logs = (f"{file}-wal", f"{file}-journal")
    return next((log for log in logs if size_of(log)), "")


# A file that is made


def refuse_bad_place(file: str) -> None:
    """Raise StorageError where no new file can be made, or not safely.

    SQLite would apply the log of an old file to a new one beside it.
    """
    if file == MEMORY:
        return
    try:
        os.stat(os.path.join(os.path.dirname(file), "."))
    except OSError as error:
        raise StorageError(f"cannot create {file}: {error.strerror}; check the directory") from None
    log = find_leftover_log(file)
    # Another process may have made the file, and then its log, since the caller looked.
    if log and not is_there(file):
        raise StorageError(
            f"{file} is not there, but {log} is: the log of a database that was moved or removed."
            " It may hold the only copy of what was written last: put the very file back beside it,"
            f" or `cwstore restore BACKUP {file}`, which keeps the log; to have a new database"
            " made, rename the log"
        )


def free_name(file: str, mark: str) -> str:
    """A name for what is kept beside the file: with the mark and the time, in UTC."""
    made = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    name, number = f"{file}{mark}{made}", 1
    while os.path.lexists(name) or os.path.lexists(f"{name}-wal"):
        number += 1
        name = f"{file}{mark}{made}-{number}"
    return name


def create_file(file: str, application_id: int) -> None:
    """Make an empty database of ours, whole or not at all. Does nothing if one appears meanwhile.

    It is made under a draft name and then gets its own. So no process ever meets a file that
    is there but not yet ours, and an empty file can be refused.
    """
    from cwstore._sqlite.new_names import give_name  # what opening a file does not need
    from cwstore.core.ids import make_id

    directory = os.path.dirname(file)
    draft = os.path.join(directory, f"{DRAFTS[0]}{make_id()[-6:]}.new")
    refuse_long_path(draft)
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"cannot create {file}: {error.strerror}; check the directory") from None
    try:
        _make_empty(draft, application_id)
        give_name(draft, file)
        # Before a log is made beside it: after a power cut, a log without its file is refused.
        sync(directory)
        return
    except FileExistsError:
        return  # another process was faster: its file is as good
    except apsw.Error as error:
        fault = map_error(error, f"creating {file}", 0.0, file)
    except OSError as error:
        fault = StorageError(f"cannot create {file}: {error.strerror}; check the directory")
    finally:
        with suppress(OSError):  # who opens the file removes it
            remove(draft)
            remove(f"{draft}-journal")  # SQLite leaves it where it could undo nothing
    raise fault


def _make_empty(draft: str, application_id: int) -> None:
    """Write the header of a database of ours into an empty file."""
    from cwstore._sqlite.identity import give_own_number

    connection = open_connection(draft)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {application_id}")
        give_own_number(connection)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        connection.close()


def _finish_creation(file: str, status: os.stat_result) -> None:
    """Remove second names of `file`: those that its creator or `restore`, killed or just slow, has
    left as drafts, and the one under which a `restore` that was killed wanted to keep it.
    """
    directory, name = os.path.split(file)
    for entry in os.scandir(directory):
        # The second beginning is that of version 0.1.0.
        ours = entry.name.startswith((DRAFTS[0], f".{name}.")) and entry.name.endswith(".new")
        second = None
        if ours or entry.name.startswith(f"{name}{REPLACED}"):
            second = entry.path
        elif entry.name.startswith(DRAFTS[0]) and entry.name.endswith(DRAFTS[1]):
            second = os.path.join(entry.path, DRAFT)
        if second is not None and _is_name_of(second, status):
            remove(second)


def _is_name_of(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.lstat(path), status)
    except OSError:  # it has gone, or is another user's
        return False


def sync(path: str) -> None:
    """Bring to disk what was written to a file, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(file: str) -> None:
    """Remove a file, if it is still there."""
    try:
        os.unlink(file)
    except FileNotFoundError:
        pass
