"""Which threads and processes read from the file, and so keep the log from beginning anew.

Processes are found by the locks that SQLite holds on `<file>-shm` while it reads. Nothing here
opens that file: closing it would drop the locks of this process.
"""

import os
import threading
import time
from contextlib import suppress

from cwstore._sqlite.database_file import MEMORY
from cwstore.core.faults import table_of
from cwstore.core.reports import ReaderStats

#: What is read (SQL, or a name for it), the thread, and when it began by `time.monotonic`.
Reading = tuple[str, int, float | None]

_Lock = tuple[str, str, str, str, str]  # kind, process, place, first and last byte

_LOCKS = "/proc/locks"  # of Linux; elsewhere only the threads of this store are named
_LAST_BYTE = 1 << 62
_WRITE_LOCK = 120  # byte that the writer holds
_FIRST_MARK, _LAST_MARK = 123, 127  # bytes of which each reader holds one: SQLite's walformat
_IN_USE = 128  # byte that each process holds which has the index of the log open

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
    return _as_text(found)


def who_lacks_log(file: str) -> list[str]:
    """The processes, as text, that have the file open, but not the index beside it of the log.

    Somebody has removed their log with its index. As far as one can know: no lock on either file is
    asked of the caller, and on some file systems that takes one.
    """
    with suppress(OSError):
        locks = _locks()
        here = _holders(locks, _place_of(file), 0, _LAST_BYTE)
        if os.path.exists(f"{file}-shm"):
            here -= _holders(locks, _place_of(f"{file}-shm"), _IN_USE, _IN_USE)
        return _as_text(here)
    return []


def index_is_used(file: str) -> bool:
    """Whether a process has the index beside the file open, likewise."""
    with suppress(OSError):
        return bool(_holders(_locks(), _place_of(f"{file}-shm"), _IN_USE, _IN_USE))
    return False


def _place_of(file: str) -> str:
    """As /proc/locks calls it, but on file systems whose devices have other numbers there."""
    status = os.stat(file)
    device = status.st_dev
    return f"{os.major(device):02x}:{os.minor(device):02x}:{status.st_ino}"


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
    """The processes that hold a lock of that kind on any of these bytes of the file.

    The caller holds a lock on it: that tells how it is called in /proc/locks.
    """
    with suppress(OSError):
        end, own, locks = f":{os.stat(file).st_ino}", str(os.getpid()), _locks()
        places = {
            place for _, holder, place, _, _ in locks if holder == own and place.endswith(end)
        }
        return {
            one for place in places for one in _holders(locks, place, first_byte, last_byte, wanted)
        }
    return set()


def _holders(
    locks: list[_Lock], place: str, first_byte: int, last_byte: int, wanted: str = "READ"
) -> set[int]:
    """The same, of what has that name in /proc/locks."""
    return {
        int(holder)
        for kind, holder, found, first, last in locks
        if (found, kind) == (place, wanted)
        and int(first) <= last_byte
        and (last == "EOF" or int(last) >= first_byte)
    }


def _locks() -> list[_Lock]:
    """All that there are. Raises OSError."""
    with open(_LOCKS, encoding="ascii") as text:
        lines = [line.split() for line in text]
    # One field more: somebody who waits.
    return [
        (kind, holder, place, first, last)
        for _, _, _, kind, holder, place, first, last in (one for one in lines if len(one) == 8)
    ]


def _as_text(pids: set[int]) -> list[str]:
    return [f"process {pid} ({_name(pid)})" for pid in sorted(pids)]


def _name(pid: int) -> str | None:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as text:
            return text.read().rstrip("\n")
    except OSError:
        return None
