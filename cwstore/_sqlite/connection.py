"""Open one SQLite connection the way this house wants it, or refuse the path with a reason.

A path is looked at before SQLite may touch it, and the file's `application_id` is read before
anything else is asked of it. Nothing but `ensure_wal` writes to an existing file.
"""

import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from threading import TIMEOUT_MAX
from typing import cast

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.fork import register_open
from cwstore.errors import (
    BusyError,
    CwstoreError,
    ForeignDatabaseError,
    InvalidValueError,
    StorageError,
)

APPLICATION_ID = 0x43575354  # "CWST"
MEMORY = ":memory:"
BUSY_TIMEOUT = 5.0  # seconds, where no store says otherwise
_CACHED_STATEMENTS = 2048  # apsw keeps the last N executions, not an LRU: be generous
_OLDEST_SQLITE = (3, 53)
_SMALLEST_DATABASE = 512  # bytes; SQLite takes anything shorter for an empty database
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW


def resolve(path: object) -> str:
    """The real path of the file (symlinks followed), or ":memory:" as it is."""
    text = os.fspath(cast("os.PathLike[str]", path)) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidValueError(
            "path", f"expected str or os.PathLike[str], got {type(text).__name__}"
        )
    if not text or "\0" in text:
        raise InvalidValueError("path", "must be a non-empty path without U+0000")
    if text == MEMORY:
        return text
    try:
        file = os.path.realpath(text)
        file.encode()  # SQLite takes UTF-8 only, whatever the names on this system are made of
    except UnicodeEncodeError:
        raise InvalidValueError(
            "path", "must be a path that can be written as UTF-8; rename the file or its directory"
        ) from None
    return file


def check_flags(**flags: object) -> None:
    """Refuse what is not a bool."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidValueError(name, f"expected bool, got {type(value).__name__}")


def check_progress(on_progress: object) -> None:
    """Refuse what is neither None nor can be called."""
    if on_progress is not None and not callable(on_progress):
        raise InvalidValueError("on_progress", "expected a callable that takes a Progress")


def check_busy_timeout(busy_timeout: object) -> float:
    """Seconds as a float; refuses what is not a finite number of at least 0."""
    if isinstance(busy_timeout, bool) or not isinstance(busy_timeout, int | float):
        raise InvalidValueError(
            "busy_timeout", f"expected seconds as a number, got {type(busy_timeout).__name__}"
        )
    if not 0 <= busy_timeout < float("inf"):
        raise InvalidValueError("busy_timeout", "must be a finite number of seconds, at least 0")
    return float(min(busy_timeout, TIMEOUT_MAX))  # an int may be too large for a float


def connect(
    file: str, *, busy_timeout: float, durable: bool = False, create: bool = True
) -> Connection:
    """A read-write connection to a cwstore file; with `create` it is made if nothing is there.

    `file` is a resolved path or ":memory:". Foreign keys are on. The journal mode is not touched:
    see `ensure_wal`. Raises StorageError, ForeignDatabaseError, BusyError, CorruptDatabaseError,
    StoreClosedError (see `_fork`).
    """
    _refuse_old_sqlite()
    if file == MEMORY:
        connection = open_connection(MEMORY, cached_statements=_CACHED_STATEMENTS)
        _configure(connection, busy_timeout, durable)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        return connection
    register_open(file)
    if create and not os.path.lexists(file):
        refuse_bad_place(file)
        _create(file)
    refuse_strange_file(file)
    if _leftover(file) and not any(one.filename == file for one in apsw.connections()):
        _refuse_foreign_logs(file)  # whose it is, is not known from an open connection
    return _open(file, busy_timeout, durable)


def _refuse_old_sqlite() -> None:
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split(".")[:2])) < _OLDEST_SQLITE:
        raise StorageError(
            f"apsw runs with SQLite {found}, cwstore needs {'.'.join(map(str, _OLDEST_SQLITE))} or"
            " newer: upgrade apsw, as a wheel, which brings its own SQLite"
        )


def connect_reader(file: str, *, busy_timeout: float) -> Connection:
    """A connection that refuses to write, to a file that `connect` has opened before."""
    refuse_strange_file(file)
    connection = _open(file, busy_timeout, durable=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def ensure_wal(connection: Connection, *, busy_timeout: float) -> None:
    """Switch a file to WAL unless it is there already.

    The switch fails at once, whatever the busy handler, while another connection holds RESERVED
    (measured): ask first, then try again within the one bound.
    """
    deadline = time.monotonic() + busy_timeout
    while (fault := _try_wal(connection, busy_timeout)) is not None:
        if not isinstance(fault, BusyError) or time.monotonic() >= deadline:
            raise fault
        time.sleep(0.002)


def _try_wal(connection: Connection, busy_timeout: float) -> CwstoreError | None:
    try:
        if connection.pragma("journal_mode") not in ("wal", "memory"):
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
    except apsw.Error as error:
        return map_error(error, "switching to WAL", busy_timeout)
    return None


def skip_checkpoint_on_close(connection: Connection, file: str) -> None:
    """See to it that closing does not move what the write-ahead log holds into the file."""
    try:
        unmoved = file != MEMORY and os.stat(f"{file}-wal").st_size > 0
    except FileNotFoundError:
        return
    if unmoved:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def refuse_strange_file(file: str) -> None:
    """Raise unless the path is a regular file that can be a database. Opens nothing.

    (An `open` and `close` by any means but SQLite would drop the locks of this process.)
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
    if status.st_nlink > 1:
        raise StorageError(
            f"{file} has {status.st_nlink} hard links; two names would mean two write-ahead logs"
            " and a corrupt database: keep one name"
        )
    if status.st_size < _SMALLEST_DATABASE:
        what = "is empty" if status.st_size == 0 else f"has only {status.st_size} bytes"
        raise ForeignDatabaseError(
            f"{file} {what}: it is not a cwstore database;"
            " remove it to have a new one made, or give another path"
        )
    if not os.access(file, os.R_OK | os.W_OK):
        raise StorageError(f"{file} cannot be read and written by this user; mend its permissions")


def _leftover(file: str) -> str:
    """The log beside the file that SQLite would apply to it when it is opened; "" if none is."""
    for log in (f"{file}-wal", f"{file}-journal"):
        try:
            if os.stat(log).st_size:
                return log
        except OSError:  # what is wrong with the path comes to light in a moment
            continue
    return ""


def refuse_bad_place(file: str) -> None:
    """Raise StorageError where no new file can be made, or not safely.

    A new file beside the log of an old one would be filled with pieces of the old one.
    """
    if file == MEMORY:
        return
    try:
        os.stat(os.path.join(os.path.dirname(file), "."))
    except OSError as error:
        raise StorageError(f"cannot create {file}: {error.strerror}; check the directory") from None
    log = _leftover(file)
    # The log of a file that another process has just made comes after that file.
    if log and not os.path.lexists(file):
        raise StorageError(
            f"{file} is not there, but {log} is: the log of a database that was moved or removed;"
            " put the file back beside it, or remove the log to have a new database made"
        )


def _refuse_foreign_logs(file: str) -> None:
    """Ask whose file it is without the log being applied to it, as any other look would do.

    This look takes no locks, so it may see a checkpoint of another process half done and take the
    file for damaged: then nothing is decided here, and `_open` looks again, under locks.
    """
    address = "".join({"%": "%25", "?": "%3f", "#": "%23"}.get(sign, sign) for sign in file)
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with suppress(apsw.Error):
        connection = open_connection(f"file:{address}?immutable=1", flags)
        try:
            _check_ours(connection, file)
        finally:
            connection.close()


def _open(file: str, busy_timeout: float, durable: bool) -> Connection:
    try:
        connection = open_connection(file, _READ_WRITE, cached_statements=_CACHED_STATEMENTS)
        try:
            _configure(connection, busy_timeout, durable)
            _check_ours(connection, file)
            _check_writable(connection, file)
        except BaseException:
            connection.close()
            raise
        return connection
    except apsw.Error as error:
        fault = map_error(error, f"opening {file}", busy_timeout)
    raise fault


def _check_ours(connection: Connection, file: str) -> None:
    try:
        application_id = connection.pragma("application_id")
    except apsw.NotADBError:
        application_id = None
    if application_id != APPLICATION_ID:
        found = "is not an SQLite database"
        if application_id is not None:
            found = f"belongs to another application (application_id {application_id:#010x})"
        raise ForeignDatabaseError(f"{file} {found}; it was left alone: give another path")


def _check_writable(connection: Connection, file: str) -> None:
    # With EMFILE or EACCES on the second open, SQLite falls back to read-only without a word.
    if connection.readonly("main"):
        raise StorageError(f"{file} can only be read; mend the permissions of file and directory")


def _configure(connection: Connection, busy_timeout: float, durable: bool) -> None:
    connection.set_busy_handler(busy_handler(busy_timeout))
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    # Without it every new bind value re-plans the statement: 3 times the cost of a short read.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1) != 1:
        raise StorageError("this SQLite was built without foreign keys; install apsw from a wheel")
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    # One statement a call: a multi-statement execute() hides the errors of the later ones.
    connection.execute("PRAGMA recursive_triggers = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")


def busy_handler(busy_timeout: float) -> Callable[[int], bool]:
    """A busy handler that gives up after `busy_timeout` seconds.

    SQLite's own back-off notices a freed lock some 10 ms late; this one within 0.1 ms where it
    is freed soon, else within 2 ms.
    """
    began = deadline = 0.0

    def wait(earlier_calls: int) -> bool:
        nonlocal began, deadline
        now = time.monotonic()
        if earlier_calls == 0:
            began, deadline = now, now + busy_timeout
        if now >= deadline:
            return False
        pause = 0.0005
        if earlier_calls < 20:
            pause = 0.0001
        elif now - began > 1.0:
            pause = 0.002
        time.sleep(min(pause, deadline - now))
        return True

    return wait


def _create(file: str) -> None:
    """Make an empty database of ours at `file`, whole or not at all, unless one appears meanwhile.

    It is made under another name and linked into place, so that no process ever meets a file that
    is there but not yet ours: an empty file can then be refused.
    """
    from cwstore.core.ids import make_id  # what opening an existing file does not need

    directory, name = os.path.split(file)
    draft = os.path.join(directory, f".{name}.{make_id()}.new")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise StorageError(f"cannot create {file}: {error.strerror}; check the directory") from None
    try:
        connection = open_connection(draft)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
        finally:
            connection.close()
        os.link(draft, file)
        return
    except FileExistsError:
        return  # another process was faster: its file is as good
    except apsw.Error as error:
        fault = map_error(error, f"creating {file}", 0.0)
    except OSError as error:
        fault = StorageError(f"cannot create {file}: {error.strerror}; check the directory")
    finally:
        remove(draft)
    raise fault


def _finish_creation(file: str, status: os.stat_result) -> None:
    """Remove the draft names of `file` that a creator, killed or just slow, has not removed yet."""
    directory, name = os.path.split(file)
    for entry in os.scandir(directory):
        if entry.name.startswith(f".{name}.") and entry.name.endswith(".new"):
            try:
                same = entry.stat(follow_symlinks=False).st_ino == status.st_ino
            except FileNotFoundError:
                continue
            if same:
                remove(entry.path)


def remove(file: str) -> None:
    """Remove a file, if it is still there."""
    try:
        os.unlink(file)
    except FileNotFoundError:
        pass
