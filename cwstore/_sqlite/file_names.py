"""Whether a database, and what SQLite keeps beside it, still have the names they were opened by.

A process goes on writing to a file that was removed, renamed or replaced, and nobody will ever find
what it wrote. The same holds for a log that was removed: whoever opens the file makes a new one.
"""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.database_file import inode_of
from cwstore._sqlite.error_map import how_to_mend
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

_SETTLED = 100_000_000  # ns; a directory changed more recently may change again with no new time


class FileNames:
    """The names of the files that one store has open."""

    __slots__ = ("_directory", "_file", "_known", "_log", "_noted", "inode", "log_is_cut")

    def __init__(self, file: str, connection: "Connection") -> None:
        self.inode = connection.inode
        self._file = file
        self._directory = os.path.dirname(file)
        self._log = (f"{file}-wal", f"{file}-shm")
        self.note_log(connection)

    def note_log(self, connection: "Connection") -> None:
        """Note which log is open, for a connection that was just opened."""
        self._noted = tuple(map(inode_of, self._log))
        if None in self._noted:  # nothing was read since the file was switched to WAL
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            self._noted = tuple(map(inode_of, self._log))
        self._known: tuple[int, int, int] | None = None  # the directory, when all was well
        self.log_is_cut = False  # as far as anybody has looked

    def refuse_if_moved(self) -> None:
        """Raise StorageError unless all names lead where they led when the store was opened.

        Whoever removes, renames or replaces a file changes its directory. So mostly one look at
        that is enough, which takes 1 µs.
        """
        try:
            status = os.stat(self._directory)
            directory = status.st_mtime_ns, status.st_ino, status.st_dev
        except OSError:
            directory = None
        if directory is not None and directory == self._known and not self.log_is_cut:
            return
        now = time.time_ns()
        problem = self.problem()
        if problem:
            raise StorageError(problem)
        if directory is not None and now - directory[0] > _SETTLED:
            self._known = directory

    def problem(self) -> str:
        """What is wrong, and what to do; "" if nothing is."""
        found = inode_of(self._file)
        if found != self.inode:
            what = "removed or renamed" if found is None else "replaced by another file"
            return (
                f"{self._file} was {what} while this store had it open; nothing was changed:"
                " `store.backup(path)` still copies what the store sees; then close it, put the"
                " right file in that place and open it"
            )
        if self.log_is_cut:
            return (
                f"{self._log[0]} was cut while this store had it open: what it held is lost, and"
                " what was committed just then. Nothing of it is moved into the file: close the"
                " store and open it anew, and look what is missing;"
                f" {how_to_mend(self._file)}"
            )
        for name, noted in zip(self._log, self._noted, strict=True):
            if noted is None or inode_of(name) != noted:
                return (
                    f"{name} was removed or replaced while this store had it open; nothing was"
                    " changed: close the store, which moves what its log holds into the file, and"
                    " open it anew"
                )
        return ""

    def look_into_log(self, connection: "Connection", frames: int) -> bool:
        """Whether the log, which has so many frames, begins as one. Raises apsw.Error.

        Whoever empties it leaves a hole that SQLite takes for pages of zeros. It would move them
        into the file, which is nothing then.
        """
        if frames and not any(connection.read("main", 1, 0, 4)[1]):
            self.log_is_cut = True
        return not self.log_is_cut

    def may_checkpoint(self, connection: "Connection") -> bool:
        """Whether what lies beside the file may be moved into it, as far as can be known."""
        with suppress(apsw.Error):
            frames, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            return self.look_into_log(connection, frames) and not self._has_foreign_log()
        return True

    def _has_foreign_log(self) -> bool:
        """Whether another log is known to lie where the one lay that the store has open."""
        with suppress(StorageError):
            return inode_of(self._log[0]) not in (None, self._noted[0])
        return False
