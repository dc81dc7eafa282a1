"""Open and configure one SQLite connection, or refuse the file with a reason.

The path is checked before SQLite opens it. The first thing read from an open file is its
`application_id`. Of the functions here, only `ensure_wal` writes to a file that exists.
"""

import os
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.busy_handler import busy_handler
from cwstore._sqlite.database_file import (
    MEMORY,
    create_file,
    inode_of,
    is_there,
    refuse_bad_log,
    refuse_bad_place,
    refuse_foreign,
    refuse_strange_file,
    size_of,
)
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.fork import register_open
from cwstore._sqlite.network_disk import refuse_network_disk
from cwstore.core.clock import real_time as time
from cwstore.core.faults import loading
from cwstore.errors import BusyError, CwstoreError, StorageError
from cwstore.migrations.scripts import APPLICATION_ID

if TYPE_CHECKING:
    from cwstore.core.secret import Secret

CACHED_STATEMENTS = 2048  # apsw keeps the last N executions, used again or not (no LRU)
_OLDEST_SQLITE = (3, 53)
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW


def connect(
    file: str,
    *,
    busy_timeout: float,
    durable: bool = False,
    create: bool = True,
    application_id: int = APPLICATION_ID,
) -> Connection:
    """Open a file of that application for reading and writing. With `create`, it is made.

    `file` is a resolved path or ":memory:". Foreign keys are on. The journal mode stays as it is:
    see `ensure_wal`. Raises StorageError, ForeignDatabaseError, BusyError, CorruptDatabaseError;
    StoreClosedError in a forked child (see fork.py).
    """
    refuse_old_sqlite()
    if file == MEMORY:
        connection = open_connection(MEMORY, cached_statements=CACHED_STATEMENTS)
        configure(connection, busy_timeout, durable)
        connection.execute(f"PRAGMA application_id = {application_id}")
        return connection
    register_open(file)
    refuse_network_disk(file)
    if create and not is_there(file):
        refuse_bad_place(file)
        create_file(file, application_id)
    inode = refuse_strange_file(file)
    refuse_bad_log(file, application_id)
    return _open(file, inode, busy_timeout, application_id, durable=durable)


def connect_reader(
    file: str, *, busy_timeout: float, application_id: int = APPLICATION_ID
) -> Connection:
    """A connection that refuses to write, to a file that `connect` has opened before.

    A hard link that somebody has made of it meanwhile stops nobody who has it open already.
    """
    inode = refuse_strange_file(file, links=True)
    connection = _open(file, inode, busy_timeout, application_id, durable=False)
    connection.execute("PRAGMA query_only = ON")
    # 16 MB instead of 2, if the file has them. With 10,000 tasks a find costs 0.9 times as much, a
    # list of ready tasks 0.8. A writer with as much appends 0.1 to 0.2 more slowly: what it writes
    # into is never warm. A process keeps at most 8 readers.
    connection.execute("PRAGMA cache_size = -16000").fetchall()
    return connection


def ensure_wal(connection: Connection, *, busy_timeout: float) -> None:
    """Switch a file to WAL unless it is there already. Raises BusyError after `busy_timeout`.

    While another connection holds RESERVED, the switch fails at once and never calls the busy
    handler (measured). So the mode is read first, and the switch is tried again until the timeout.
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
        return map_error(error, "switching to WAL", busy_timeout, connection.filename)
    return None


def skip_checkpoint_on_close(connection: Connection, file: str) -> None:
    """Keep `close` from moving what the write-ahead log holds into the file."""
    try:
        log_has_pages = file != MEMORY and os.stat(f"{file}-wal").st_size > 0
    except FileNotFoundError:
        return
    except OSError:
        log_has_pages = True  # nobody knows
    if log_has_pages:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)


def leave_checkpoints(connection: Connection) -> None:
    """Never move the log into the file: another program does."""
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()


def refuse_old_sqlite() -> None:
    """Raise StorageError if the SQLite of apsw is too old for cwstore."""
    found = apsw.sqlite_lib_version()
    if tuple(map(int, found.split(".")[:2])) < _OLDEST_SQLITE:
        raise StorageError(
            f"apsw runs with SQLite {found}, cwstore needs {'.'.join(map(str, _OLDEST_SQLITE))} or"
            " newer: upgrade apsw, as a wheel, which brings its own SQLite"
        )


def find_index(file: str) -> tuple[int, int] | None:
    """Device and number of the index of the log, before the file is opened: None if there is none.

    Raises StorageError if others have the file open with a log, or an index, that was removed.
    """
    index = inode_of(f"{file}-shm")
    if index is None or not size_of(f"{file}-wal"):
        _refuse_lost_log(file)
    return index


def refuse_other_index(connection: Connection, file: str, index: tuple[int, int] | None) -> None:
    """The same once it is open: somebody may have removed them just then."""
    if inode_of(f"{file}-shm") != index:
        try:
            _refuse_lost_log(file)
        except StorageError:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise


def _refuse_lost_log(file: str) -> None:
    if os.path.exists(f"{file}-turn"):  # else nobody of cwstore has written
        with loading("open"):
            from cwstore._sqlite.nameless_log import refuse_lost_log

        refuse_lost_log(file)


def _open(
    file: str,
    inode: tuple[int, int],
    busy_timeout: float,
    application_id: int,
    *,
    durable: bool,
) -> Connection:
    index = find_index(file)
    try:
        connection = open_connection(file, _READ_WRITE, cached_statements=CACHED_STATEMENTS)
        try:
            configure(connection, busy_timeout, durable)
            refuse_foreign(connection, file, application_id)
            _refuse_read_only(connection, file)
            refuse_other_index(connection, file, index)
            if inode_of(file) != inode:
                raise StorageError(f"{file} was replaced just when it was opened; open it again")
            connection.inode = inode
        except BaseException:
            # What speaks against the file may stand in its log alone: that must not get into it.
            skip_checkpoint_on_close(connection, file)
            connection.close()
            raise
        return connection
    except apsw.Error as error:
        fault = map_error(error, f"opening {file}", busy_timeout, file)
    raise fault


def _refuse_read_only(connection: Connection, file: str) -> None:
    # If it cannot open the file for writing (EMFILE, EACCES), SQLite opens it read-only in silence.
    if connection.readonly("main"):
        raise StorageError(
            f"{file} can only be read; let this user write (chmod u+rw {file}, and u+rwx its"
            " directory), or allow this process more open files (ulimit -n)"
        )


def _reveal(_cursor: object, _place: int, value: "Secret") -> str:
    """The text of a secret, for SQLite alone: apsw asks for it when it binds one."""
    return value.reveal()


def configure(connection: Connection, busy_timeout: float, durable: bool) -> None:
    """Set on a new connection what every connection of ours has."""
    connection.set_busy_handler(busy_handler(busy_timeout))
    connection.convert_binding = _reveal
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DML, 0)
    connection.config(apsw.SQLITE_DBCONFIG_DQS_DDL, 0)
    # Without it every new bind value re-plans the statement: 3 times the cost of a short read.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    if connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1) != 1:
        raise StorageError("this SQLite was built without foreign keys; install apsw from a wheel")
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    # One statement a call: execute() of several hides the errors of those after the first.
    connection.execute("PRAGMA recursive_triggers = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
