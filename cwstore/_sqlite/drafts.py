"""Files that are made in private, and get their name only when they are complete.

A draft lies in a hidden directory beside its future name. Its process holds a lock on the directory
as long as it lives, in whatever container. So what killed processes have left is told from what is
being made, and goes when the next draft is made there.
"""

import os
from collections.abc import Generator
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, flock

from cwstore._sqlite.database_file import DRAFT, DRAFTS, refuse_long_path, remove
from cwstore.core.blocks import block
from cwstore.core.ids import make_id

_LONGEST_ADDED = len(f"{DRAFTS[0]}123456{DRAFTS[1]}/{DRAFT}")
_SIDE_FILES = ("", "-wal", "-shm", "-journal", "-turn", "-changes", ".migrating")  # of a draft


@block
def draft_beside(path: str) -> Generator[str]:
    """Where a file that shall be called `path` can be made. What is left there is removed.

    Raises OSError where no directory can be made.
    """
    place = os.path.dirname(path)
    refuse_long_path(os.path.join(place, "x" * _LONGEST_ADDED))
    _clear_dead(place)
    directory, lock = _make(place)
    draft = os.path.join(directory, DRAFT)
    try:
        yield draft
    finally:
        _clear(directory)
        os.close(lock)


def _make(place: str) -> tuple[str, int]:
    """A new directory, and the descriptor that holds its lock."""
    while True:
        prefix, suffix = DRAFTS
        directory = os.path.join(place, f"{prefix}{make_id()[-6:]}{suffix}")
        try:
            os.mkdir(directory, 0o700)
            lock = os.open(directory, os.O_RDONLY)
        except (FileExistsError, FileNotFoundError):
            if not os.path.isdir(place):
                raise
            continue  # the name is taken, or somebody cleared it away before it was locked
        except OSError:
            _clear(directory)
            raise
        try:
            flock(lock, LOCK_EX | LOCK_NB)
            os.stat(directory)
        except (BlockingIOError, FileNotFoundError):  # somebody clears it away, or has done so
            os.close(lock)
            continue
        except OSError:
            os.close(lock)
            _clear(directory)
            raise
        return directory, lock


def _clear_dead(place: str) -> None:
    prefix, suffix = DRAFTS
    with suppress(OSError):  # whoever makes a draft there meets what is wrong
        for name in os.listdir(place):
            if name.startswith(prefix) and name.endswith(suffix):
                with suppress(OSError):  # it is in use, or another process was faster
                    _clear_if_dead(os.path.join(place, name))


def _clear_if_dead(directory: str) -> None:
    lock = os.open(directory, os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        flock(lock, LOCK_EX | LOCK_NB)
        _clear(directory)
    finally:
        os.close(lock)


def _clear(directory: str) -> None:
    """Remove the draft and its directory; what is not ours in there stays."""
    with suppress(OSError):  # what became of the draft is known by now
        for part in _SIDE_FILES:
            remove(os.path.join(directory, f"{DRAFT}{part}"))
        os.rmdir(directory)
