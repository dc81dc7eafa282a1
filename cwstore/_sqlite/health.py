"""Whether a store can do its work just now: for a readiness probe."""

import os
from time import perf_counter
from typing import TYPE_CHECKING

from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.lock_holders import STOPPED, Reading, log_readers, who_writes
from cwstore.core.health_report import HealthReport
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cwstore._sqlite.apsw_types import Connection

_LEAST_ROOM = 64_000_000  # bytes on the disk
_LONGEST_LOG = 256_000_000  # bytes; a writer shortens it at some 16 MB, unless somebody reads


def look(
    file: str,
    gone: str,
    lease_reader: "Callable[[str], AbstractContextManager[Connection]]",
    open_snapshots: "Callable[[], list[Reading]]",
    *,
    leaves_checkpoints: bool = False,
) -> HealthReport:
    """See `Store.health`. `gone` tells that the file was removed or replaced, or is ""."""
    problems: list[str] = [gone] if gone else []
    started = perf_counter()
    try:
        with lease_reader("health") as connection:
            connection.execute("SELECT name FROM sqlite_schema LIMIT 1").fetchall()
    except CwstoreError as error:
        problems.append(str(error))
    seconds = perf_counter() - started
    room = log = None
    if file != MEMORY:
        room, log = _room_beside(file), _size(f"{file}-wal")
        if room is None:
            problems.append(f"{file}: its directory cannot be looked at; see whether it is there")
        elif room < _LEAST_ROOM:
            problems.append(f"{file}: its disk has {room:,} bytes left; make room")
        holder, _ = who_writes(file)
        if holder and STOPPED in holder:
            problems.append(f"{file}: nobody can write: {holder} has the write lock")
        if log > _LONGEST_LOG:
            readers = log_readers(file, open_snapshots())
            who = ", ".join(f"{one.pid} ({one.process or 'unknown'})" for one in readers)
            why = "cannot begin anew"
            if leaves_checkpoints:
                why = "this store leaves checkpoints to another program: see whether that runs"
            problems.append(
                f"{file}: its write-ahead log has {log:,} bytes and {why}; who reads: process"
                f" {who or 'unknown'}"
            )
    return HealthReport(tuple(problems), seconds, room, log)


def _room_beside(file: str) -> int | None:
    try:
        disk = os.statvfs(os.path.dirname(file))
    except OSError:
        return None
    return disk.f_bavail * disk.f_frsize


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
