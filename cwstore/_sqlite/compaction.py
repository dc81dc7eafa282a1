"""Give the space of deleted rows back to the file system."""

import os
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.checkpoint import truncate
from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.error_map import map_error
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.engine import SqliteDatabase
    from cwstore._sqlite.transaction import TransactionStack
    from cwstore._sqlite.writer import Writer


def compact(db: "SqliteDatabase", writer: "Writer", transactions: "TransactionStack") -> int:
    """See `Store.compact`."""
    before = _size(writer, transactions)
    db.vacuum()
    with transactions.exclusive():
        ((mode,),) = writer.ask("PRAGMA auto_vacuum")
        ((free,),) = writer.ask("PRAGMA freelist_count")
        ((page,),) = writer.ask("PRAGMA page_size")
        if writer.file != MEMORY:
            _cut_log(writer)
    if free and not mode:
        raise StorageError(
            f"{writer.file} was made without auto_vacuum: {free * page} bytes of it are free, new"
            " rows use them, but only a rewrite gives them back; while nobody has the file open,"
            " run PRAGMA auto_vacuum = INCREMENTAL and VACUUM on it with the sqlite3 shell"
        )
    return max(before - _size(writer, transactions), 0)


def _cut_log(writer: "Writer") -> None:
    queue = writer.queue
    assert queue is not None  # since the vacuum, which was a transaction
    try:
        truncate(writer.connection, queue, writer.busy_handler)
        return
    except apsw.Error as error:
        fault = map_error(error, f"wal_checkpoint ({writer.file})", writer.busy_timeout)
    raise fault


def _size(writer: "Writer", transactions: "TransactionStack") -> int:
    """Bytes of the file and its log. They are not opened: that would drop SQLite's locks."""
    if writer.file == MEMORY:
        with transactions.exclusive():
            ((pages,),) = writer.ask("PRAGMA page_count")
            ((page,),) = writer.ask("PRAGMA page_size")
        return int(pages) * int(page)
    sizes = [os.stat(writer.file).st_size]
    log = f"{writer.file}-wal"
    if os.path.exists(log):
        sizes.append(os.stat(log).st_size)
    return sum(sizes)
