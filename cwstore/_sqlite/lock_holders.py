"""Which threads and processes read from the file, and so keep the log from beginning anew.

Processes are found by the locks that SQLite holds on `<file>-shm` while it reads. Nothing here
opens that file: closing it would drop the locks of this process.
"""

import os
import threading
import time

from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.reader_pool import Reading
from cwstore.core.faults import table_of
from cwstore.core.reports import ReaderStats

_LOCKS = "/proc/locks"  # of Linux; elsewhere only the threads of this store are named
_LAST_BYTE = 1 << 62
_WRITE_LOCK = 120  # byte that the writer holds
_FIRST_MARK, _LAST_MARK = 123, 127  # bytes of which each reader holds one: SQLite's walformat

STOPPED = "which is stopped"


def log_readers(file: str, own: list[Reading]) -> tuple[ReaderStats, ...]:
    """Threads of this store, the longest first; then other processes by number.

    `own` is what the threads of this store read. Another store of this process is named like
    another process, but only while this store reads nothing.
    """
    if file == MEMORY:
        return ()
    now = time.monotonic()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    pid = os.getpid()
    process = _name(pid)
    found = [
        ReaderStats(
            pid,
            process,
            names.get(thread, f"thread {thread}"),
            table_of(what) if " " in what else what,
            None if since is None else now - since,
        )
        for what, thread, since in own
    ]
    found.sort(key=lambda one: -1.0 if one.seconds is None else one.seconds, reverse=True)
    marks = _pids(f"{file}-shm", _FIRST_MARK, _LAST_MARK)
    others = [other for other in sorted(marks) if other != pid or not own]
    return (*found, *(ReaderStats(other, _name(other), None, None, None) for other in others))


def who_has_open(file: str) -> list[str]:
    """The other processes that have a connection to the file, as text; as far as one can know.

    Call it while this process holds a lock on the file.
    """
    found = _pids(file, 0, _LAST_BYTE) - {os.getpid()}
    return [f"process {pid} ({_name(pid)})" for pid in sorted(found)]


def who_writes(file: str) -> tuple[str | None, int]:
    """Who holds the write lock of the file, as text and process; None and 0 where nobody knows."""
    for pid in _pids(f"{file}-shm", _WRITE_LOCK, _WRITE_LOCK, "WRITE"):
        return f"process {pid} ({_name(pid)}{_rest(pid)})", pid
    return None, 0


def _rest(pid: int) -> str:
    """What to do about a process that was stopped: it keeps its locks, and never ends by itself."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as text:
            is_stopped = "\nState:\tT" in text.read()
    except OSError:
        return ""
    return f", {STOPPED}: `kill -CONT {pid}` lets it go on" if is_stopped else ""


def _pids(file: str, first_byte: int, last_byte: int, wanted: str = "READ") -> set[int]:
    """The processes that hold a lock of that kind on any of these bytes of the file."""
    try:
        inode = os.stat(file).st_ino
        with open(_LOCKS, encoding="ascii") as text:
            lines = [line.split() for line in text]
    except OSError:
        return set()
    # A device has other numbers in /proc/locks than in stat() on some file systems; but the locks
    # that this process has on the file tell how it is called there.
    places: set[str] = set()
    found: set[tuple[str, int]] = set()
    pid = os.getpid()
    for fields in lines:
        if len(fields) != 8:  # one more: somebody who waits
            continue
        _, _, _, kind, holder, place, first, last = fields
        if not place.endswith(f":{inode}"):
            continue
        if int(holder) == pid:
            places.add(place)
        to_the_end = last == "EOF" or int(last) >= first_byte
        if kind == wanted and int(first) <= last_byte and to_the_end:
            found.add((place, int(holder)))
    return {holder for place, holder in found if place in places}


def _name(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as text:
            return text.read().rstrip("\n")
    except OSError:
        return None
