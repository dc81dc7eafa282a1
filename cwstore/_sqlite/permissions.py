"""Files of a store that every user of the system may read: they hold credentials."""

import os
import stat
from shlex import quote

from cwstore._sqlite.database_file import MEMORY, REPLACED, RESCUED

_SIDES = ("", "-wal", "-shm", "-journal", "-turn", "-changes")


def exposed_files(file: str) -> tuple[str, ...]:
    """Those that others than owner and group may read or write, each with what mends it.

    The database, what SQLite and cwstore keep beside it, backups made before migrations, what
    `restore` has replaced, and what was rescued.
    """
    if file == MEMORY:
        return ()
    return tuple(
        f"{path} can be {what} by every user of this system: chmod o-rwx {quote(path)}"
        for path in (*(f"{file}{side}" for side in _SIDES), *_copies(file))
        if (what := _open_to_others(path))
    )


def _copies(file: str) -> list[str]:
    directory, name = os.path.split(file)
    try:
        found = os.listdir(directory)
    except OSError:  # it may be entered, but not listed
        return []
    return [
        os.path.join(directory, entry)
        for entry in sorted(found)
        if (entry.startswith(f"{name}.v") and entry.endswith(".bak"))
        or entry.startswith((f"{name}{REPLACED}", f"{name}{RESCUED}"))
    ]


def _open_to_others(path: str) -> str:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return ""
    reads, writes = bool(mode & stat.S_IROTH), bool(mode & stat.S_IWOTH)
    if not stat.S_ISREG(mode) or not (reads or writes):
        return ""
    return "read and written" if reads and writes else "read" if reads else "written"
