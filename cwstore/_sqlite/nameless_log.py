"""What becomes of a write-ahead log that somebody has removed or replaced under an open store.

Whoever opens the file next has another log, or another index of this one, and what the two write is
not seen by each other. SQLite would move both logs into the file, one over the other. So nobody
opens the file while another process has it open with a log that has no name; and a store that is
closed looks what it may do with its log.
"""

from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.database_file import inode_of, size_of
from cwstore._sqlite.lock_holders import index_is_used, who_lacks_log
from cwstore.core.clock import real_time as time
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection


_LOOKS = 25  # 4 ms apart: whoever is just opening or closing the file has done so by then


def refuse_lost_log(file: str) -> None:
    """Raise StorageError if others have the file open with a log, or an index, that was removed."""
    others: list[str] = []
    for _ in range(_LOOKS):
        others = who_lacks_log(file)
        if not others:
            return
        time.sleep(0.004)
    raise StorageError(
        f"{', '.join(others)} has {file} open with a write-ahead log, or an index of it, that was"
        " removed: it may hold the only copy of what was written last, which is kept when the store"
        " is closed there; do that first"
    )


def fate(
    connection: "Connection", file: str, log: tuple[int, int], index: tuple[int, int] | None
) -> str:
    """As `FileNames.fate_of_log`; `log` and `index` are those that are open here.

    Raises apsw.Error, StorageError.
    """
    if inode_of(f"{file}-wal") == log:
        return "leave"  # another index may know of more than ours
    frames, moved = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
    if frames <= moved:
        return "leave"
    has_another = inode_of(f"{file}-shm") != index and index_is_used(file)
    if has_another or size_of(f"{file}-wal"):
        return "copy"
    # Now: SQLite would only do it for the last to close, and somebody may be just opening the file.
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return "move"
