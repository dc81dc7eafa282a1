"""Open a file for reading alone: by a user who may not write, or on a read-only mount.

SQLite wants to share an index of the write-ahead log (`-shm`) with all who have the file open.
While somebody writes, it is there and is read. When nobody has the file open there is neither log
nor index; where none can be made, the file is opened as immutable. That takes no locks and sees no
later change, so such a connection serves one call.
"""

import os

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.connection import (
    CACHED_STATEMENTS,
    configure,
    connect,
    find_index,
    refuse_old_sqlite,
    refuse_other_index,
)
from cwstore._sqlite.database_file import (
    MEMORY,
    find_leftover_log,
    look_at_file,
    may,
    may_only_read,
    open_unlocked,
    refuse_bad_log,
    refuse_foreign,
)
from cwstore._sqlite.error_map import map_error
from cwstore._sqlite.fork import register_open
from cwstore._sqlite.network_disk import refuse_network_disk
from cwstore.errors import CwstoreError, InvalidValueError, StorageError

_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW

#: What SQLite says where it cannot make the index of the log.
_NO_INDEX = (apsw.CantOpenError, apsw.ReadOnlyError)


def connect_read_only(
    file: str, *, busy_timeout: float, application_id: int
) -> tuple[Connection, bool]:
    """A connection that cannot write, and whether it sees later changes.

    `file` is a resolved path. Raises StorageError, ForeignDatabaseError, BusyError,
    CorruptDatabaseError; StoreClosedError in a forked child.
    """
    refuse_old_sqlite()
    if file == MEMORY:
        raise InvalidValueError(
            "read_only", "a database in memory is new and empty: nothing to read"
        )
    register_open(file)
    refuse_network_disk(file)
    status = look_at_file(file, links=True)
    if not may(file, os.R_OK):
        raise StorageError(f"{file} cannot be read by this user; mend its permissions")
    refuse_bad_log(file, application_id)
    index = find_index(file)
    try:
        try:
            plain = open_connection(file, _READ_ONLY, cached_statements=CACHED_STATEMENTS)
            plain.inode = status.st_dev, status.st_ino
            _configured(plain, file, busy_timeout, application_id)
            try:
                refuse_other_index(plain, file, index)
            except StorageError:
                plain.close()
                raise
            return plain, True
        except _NO_INDEX:
            if find_leftover_log(file):
                raise
            immutable = open_unlocked(file)
            return _configured(immutable, file, busy_timeout, application_id), False
    except _NO_INDEX:
        fault: CwstoreError = StorageError(
            f"{file}-wal holds what nobody has moved into {file} yet, and {file}-shm, which that"
            " takes, is missing; open the store once as a user who may write"
        )
    except apsw.Error as error:
        fault = map_error(error, f"opening {file}", busy_timeout, file)
    raise fault


def connect_to_look(file: str, *, busy_timeout: float, application_id: int) -> Connection:
    """A connection to a file that is there, which will only read and need not see changes."""
    if may_only_read(file):
        return connect_read_only(file, busy_timeout=busy_timeout, application_id=application_id)[0]
    return connect(file, busy_timeout=busy_timeout, create=False, application_id=application_id)


def _configured(
    connection: Connection, file: str, busy_timeout: float, application_id: int
) -> Connection:
    try:
        configure(connection, busy_timeout, durable=False)
        refuse_foreign(connection, file, application_id)
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection
