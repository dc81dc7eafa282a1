"""Where the write-ahead log ends: what a connection sees, in terms that all processes share.

`data_version` tells that somebody has committed, but each connection counts by itself. The log has
a number of its own, its salts, each time it is begun anew, and every commit adds frames to it. So
salts and the number of frames name a state of the file.
"""

from typing import TYPE_CHECKING, TypeAlias

import apsw

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

# See SQLite's file format, 4.1 and 4.2.
_HEADER, _FRAME = 32, 24  # bytes
_AT_SALTS = 16
_PAGE_SIZE, _SALTS, _SALTS_OF_FRAME = slice(8, 12), slice(16, 24), slice(8, 16)


#: One state of the file, as salts and number of frames; of an empty log both are 0. A plain tuple:
#: one is made at each commit while somebody listens.
LogEnd: TypeAlias = tuple[bytes, int]

UNKNOWN: LogEnd = (bytes(8), 1)  # the state of no file

_SMALL = 64  # frames of a commit, at most


def find_end(connection: "Connection") -> LogEnd:
    """The state as it is now; for a connection without a transaction. Raises apsw.Error."""
    frames, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
    return _header(connection)[_SALTS], frames


def end_of_commit(connection: "Connection", before: LogEnd, frames: int) -> LogEnd:
    """The state after a commit of this connection, which has left the log so long.

    `before` is the state that it began with. Raises apsw.Error.
    """
    salts, earlier = before
    if _SMALL < earlier < frames <= earlier + _SMALL:
        return salts, frames  # had it begun the log anew, that would be shorter now
    _, salts = connection.read("main", 1, _AT_SALTS, 8)
    if salts != before[0]:  # it has begun the log anew, or somebody has who came after it
        version = connection.data_version()
        connection.pragma("data_version")  # reads what others have committed
        if connection.data_version() != version:
            return UNKNOWN
    return salts, frames


def is_at(connection: "Connection", end: LogEnd) -> bool:
    """Whether the file is in that state still: nobody has committed since. Raises apsw.Error.

    It may say no where the log was begun anew, or holds what was not committed.
    """
    header = _header(connection)
    salts, frames = end
    if header[_SALTS] != salts:
        return False
    if not frames:
        return True  # whoever adds to a log that is to begin anew gives it new salts
    size = _FRAME + int.from_bytes(header[_PAGE_SIZE], "big")
    _, frame = connection.read("main", 1, _HEADER + frames * size, _FRAME)
    return frame[_SALTS_OF_FRAME] != salts


def _header(connection: "Connection") -> bytes:
    """The header of the log; zeros if there is no log."""
    _, header = connection.read("main", 1, 0, _HEADER)
    return header
