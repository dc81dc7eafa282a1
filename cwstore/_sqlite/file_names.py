"""Whether a database, and what SQLite keeps beside it, still have the names they were opened by.

A process goes on writing to a file that was removed, renamed or replaced, and nobody will ever find
what it wrote. The same holds for a log that was removed: whoever opens the file makes a new one.
"""

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.database_file import inode_of, size_of
from cwstore._sqlite.error_map import how_to_mend
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

_SETTLED = 100_000_000  # ns; a directory changed more recently may change again with no new time


class FileNames:
    """The names of the files that one store has open."""

    __slots__ = ("_damage", "_directory", "_file", "_known", "_log", "_noted", "_number", "inode")

    def __init__(self, file: str, connection: "Connection") -> None:
        self.inode = connection.inode
        self._file = file
        self._directory = os.path.dirname(file)
        self._log = (f"{file}-wal", f"{file}-shm")
        self.note_log(connection)

    def note_log(self, connection: "Connection") -> None:
        """Note which log is open, for a connection that was just opened.

        Raises StorageError if the log was emptied: then nothing of it is moved into the file.
        """
        self._noted = tuple(map(inode_of, self._log))
        if None in self._noted:  # nothing was read since the file was switched to WAL
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
            self._noted = tuple(map(inode_of, self._log))
        if _is_cut(connection):
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            raise StorageError(
                f"{self._log[0]} was removed or emptied while others have the file open, and what"
                " it held is not there: close the file where it is open, which saves what is seen"
                " there, and open it anew"
            )
        self._known: tuple[int, int, int] | None = None  # the directory, when all was well
        self._number = _number_of(connection)
        self._damage = ""  # that somebody has done, as far as anybody has looked

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
        if directory is not None and directory == self._known and not self._damage:
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
        if self._damage:
            return self._damage
        log, index = map(inode_of, self._log)
        if self._noted[0] is None or log != self._noted[0]:
            return self._without_log(has_other=log is not None)
        if self._noted[1] is None or index != self._noted[1]:
            return (
                f"{self._log[1]} was removed or replaced while this store had it open; nothing was"
                " changed: close the store, which leaves the log to whoever opens the file next,"
                " and open it anew"
            )
        return ""

    def _without_log(self, *, has_other: bool) -> str:
        said = f"{self._log[0]} was removed or replaced while this store had it open; nothing was"
        if has_other:
            return (
                f"{said} changed: close the store, which moves what its log holds into the file if"
                " nobody else has that open, and else copies what the store sees to a file beside"
                " it; then open it anew"
            )
        return (
            f"{said} changed: close the store, which moves what its log holds into the file, and"
            " open it anew"
        )

    def others_are_here(self) -> bool:
        """Whether somebody has opened the file with another log, or another index of the log.

        What they write is not seen here, and they may write into what is read here.
        """
        log, index = map(inode_of, self._log)
        return log not in (None, self._noted[0]) or index not in (None, self._noted[1])

    def look_inside(self, connection: "Connection", frames: int) -> bool:
        """Whether file and log, which has so many frames, begin as they should. Raises apsw.Error.

        Whoever empties the log leaves a hole that SQLite takes for pages of zeros. It would move
        them into the file, which is nothing then. Whoever copies an earlier state over the file
        has it mixed with the log.
        """
        if frames and not _log_begins(connection) and _is_cut(connection):
            self._damage = (
                f"{self._log[0]} was cut while this store had it open: what it held is lost, and"
                " what was committed just then. Nothing of it is moved into the file: close the"
                " store and open it anew, and look what is missing;"
                f" {how_to_mend(self._file)}"
            )
        elif self._has_other_number(connection):
            self._damage = (
                f"{self._file} was overwritten with another file while this store had it open: what"
                " was committed just then may be lost. Nothing more is moved into it: close the"
                f" store, then use `cwstore restore COPY {self._file}`, which keeps file and log"
                " under another name"
            )
        return not self._damage

    def _has_other_number(self, connection: "Connection") -> bool:
        found, is_other = _number_of(connection), False
        if found != self._number:
            with suppress(OSError):  # what opening a file does not need; then nobody can tell
                from cwstore._sqlite.identity import is_of_one_file

                is_other = not is_of_one_file(found, self._number)
        return is_other

    def may_checkpoint(self, connection: "Connection") -> bool:
        """Whether what the log holds may be moved into the file, as far as can be known."""
        with suppress(apsw.Error):
            frames, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            return self.look_inside(connection, frames)
        return True

    def fate_of_log(self, connection: "Connection") -> str:
        """What becomes of the log as the store is closed.

        "move": SQLite moves it into the file, if this store is the last. "leave": it stays for
        whoever opens the file next. "copy": nobody would find it any more, and it holds what is
        nowhere else.
        """
        if not self.may_checkpoint(connection):
            return "leave"
        with suppress(apsw.Error, OSError, StorageError):  # nobody can tell
            log, index = self._noted
            if log is None or tuple(map(inode_of, self._log)) == self._noted:
                return "move"
            try:
                from cwstore._sqlite.nameless_log import fate
            except ImportError:  # the interpreter ends, and nobody closed the store
                return "leave" if size_of(self._log[0]) else "move"
            return fate(connection, self._file, log, index)
        return "move"


def _is_cut(connection: "Connection") -> bool:
    """Whether the log has pages and no beginning. Asks twice: others may just begin it anew."""
    is_cut = False  # as far as can be known
    with suppress(apsw.Error):
        for _ in range(2):
            frames, _ = connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_NOOP)
            if not frames or _log_begins(connection):
                return False
        is_cut = True
    return is_cut


def _log_begins(connection: "Connection") -> bool:
    return any(connection.read("main", 1, 0, 4)[1])


def _number_of(connection: "Connection") -> int:
    """The number of the file, from its header as it lies there: see identity.py."""
    _, number = connection.read("main", 0, 40, 4)
    return int.from_bytes(number, "big")
