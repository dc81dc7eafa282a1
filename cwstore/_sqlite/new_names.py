"""Give a finished file the name under which others find it, and take no name from anybody.

A link makes the name or fails, in one step. File systems without links (exFAT, say) have renames
alone, which replace what is there. There, processes that give names take turns.
"""

import os
from errno import EEXIST, EMLINK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM

_NO_LINKS = frozenset({EMLINK, ENOSYS, ENOTSUP, EOPNOTSUPP, EPERM})


def give_name(draft: str, path: str) -> None:
    """Call the draft `path`; it may keep its own name besides.

    Raises FileExistsError if the name is taken, OSError.
    """
    try:
        os.link(draft, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_in_turn(draft, path)


def keep_as(file: str, path: str) -> None:
    """Give a file a second name; the new one alone where it can have only one. Raises OSError."""
    try:
        os.link(file, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(file, path)


def _rename_in_turn(draft: str, path: str) -> None:
    from fcntl import LOCK_EX, flock

    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        flock(directory, LOCK_EX)
        if os.path.lexists(path):
            raise FileExistsError(EEXIST, os.strerror(EEXIST), path)
        os.rename(draft, path)
    finally:
        os.close(directory)
