"""Tells whether the log beside a file is the log of that file.

SQLite applies whatever log lies there. Somebody whose process was killed, and who then copies a
backup over the file, has the log of the old file beside the new one: the two would be mixed.

So each file that cwstore makes, and each copy, gets a number of its own: the schema cookie in the
header of the file. SQLite asks of it only that it changes with the schema, which adds 1; it begins
at random here. Whoever is about to write notes the number in `<file>-turn`, and the last to close
removes that. So a log whose writers were killed has the note of its file beside it, at any moment.

What cannot be told: copies that were made past cwstore (`cp`) have the number of their original.
Files of version 0.1.0 all have small numbers; their copies get one of their own from now on.
"""

import os
from secrets import randbelow
from typing import TYPE_CHECKING

import apsw

from cwstore._sqlite.apsw_types import sqlite_name
from cwstore._sqlite.side_files import open_side_file
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection

TURN_BYTES = 80  # of `<file>-turn`
_NOTE = 40  # where the note begins in it: the number and 1, in 8 bytes; 0: nobody knows
_HEADER = 100  # bytes
_SCHEMA_CHANGES = 1 << 16  # that one file may see between two looks
_NUMBERS = 1 << 31


def read_header(file: str) -> bytes:
    """The header as it lies in the file, whatever the log says; shorter if the file is.

    By the file system of SQLite, so that the locks which this process has on the file stay.
    """
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
    handle = apsw.VFSFile("", sqlite_name(file), flags)
    try:
        return handle.xRead(_HEADER, 0)
    finally:
        handle.xClose()


def number_in(header: bytes) -> int:
    """The number of a file, from its header."""
    return int.from_bytes(header[40:44], "big")


def give_own_number(connection: "Connection") -> None:
    """Make another file of a copy, or of an empty database. For one that nobody else has open."""
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)  # it forbids this pragma
    number = 4 * _SCHEMA_CHANGES + randbelow(_NUMBERS - 8 * _SCHEMA_CHANGES)
    connection.execute(f"PRAGMA schema_version = {number}")


def note_number(descriptor: int, number: int) -> None:
    """Note in `<file>-turn` whose log comes into being. Raises OSError."""
    noted = _noted(os.pread(descriptor, 8, _NOTE))
    if noted is not None and is_of_one_file(noted, number):
        return
    os.pwrite(descriptor, (number + 1).to_bytes(8, "little"), _NOTE)
    if noted is not None:
        # After a power cut the old note must not lie beside the new log.
        os.fsync(descriptor)


def make_note_last(file: str, number: int) -> None:
    """See to it that a note lies on disk; one that is there already stays. Raises OSError."""
    descriptor = open_side_file(f"{file}-turn", file)
    try:
        if _noted(os.pread(descriptor, 8, _NOTE)) is None:
            note_number(descriptor, number)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_foreign_log(file: str, log: str, header: bytes) -> None:
    """Raise StorageError if the log beside the file is known to be another file's."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # it may be a pipe
    try:
        descriptor = os.open(f"{file}-turn", flags)
        try:
            noted = _noted(os.pread(descriptor, 8, _NOTE))
        finally:
            os.close(descriptor)
    except OSError:
        return  # nobody knows whose it is
    if noted is not None and not is_of_one_file(noted, number_in(header)):
        raise StorageError(
            f"{log} is not the log of {file}, but of another file that was in its place: to apply"
            " it would mix two databases; nothing was changed. If the file is a copy that was put"
            f" there, use `cwstore restore COPY {file}`, which keeps file and log under another"
            " name; or put the old file back beside its log. If both were brought here together,"
            f" remove {file}-turn"
        )


def _noted(data: bytes) -> int | None:
    value = int.from_bytes(data, "little")
    return value - 1 if 0 < value <= 2 * _NUMBERS else None


def is_of_one_file(one: int, other: int) -> bool:
    """Whether they are numbers of one file, at two times."""
    return (one - other + _SCHEMA_CHANGES) % (2 * _NUMBERS) <= 2 * _SCHEMA_CHANGES
