"""Give the space of deleted rows back to the file system."""

from shlex import quote
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.checkpoint import truncate
from cwstore._sqlite.database_file import size_of
from cwstore._sqlite.error_map import map_error
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cwstore._sqlite.transaction import TransactionStack
    from cwstore._sqlite.writer import Writer


def compact(
    vacuum: "Callable[[], None]", writer: "Writer", transactions: "TransactionStack"
) -> int:
    """See `Store.compact`."""
    before = _size(writer.file)
    vacuum()
    with transactions.exclusive():
        ((mode,),) = writer.ask("PRAGMA auto_vacuum")
        ((free,),) = writer.ask("PRAGMA freelist_count")
        ((page,),) = writer.ask("PRAGMA page_size")
        if not writer.leaves_checkpoints:
            _cut_log(writer)
    if free and not mode:
        raise StorageError(
            f"{writer.file} was made without auto_vacuum: {free * page} bytes of it are free, new"
            " rows use them, but only a rewrite gives them back; while nobody has the file open,"
            f" run python -m apsw {quote(writer.file)} 'PRAGMA auto_vacuum = INCREMENTAL; VACUUM'"
        )
    return max(before - _size(writer.file), 0)


def _cut_log(writer: "Writer") -> None:
    queue = writer.queue
    assert queue is not None  # since the vacuum, which was a transaction
    try:
        truncate(writer.connection, queue, writer.busy_handler)
        return
    except apsw.Error as error:
        fault = map_error(
            error, f"wal_checkpoint ({writer.file})", writer.busy_timeout, writer.file
        )
    raise fault


def _size(file: str) -> int:
    """Bytes of the file and its log."""
    return sum(size_of(part) for part in (file, f"{file}-wal"))
