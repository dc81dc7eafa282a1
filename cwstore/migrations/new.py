"""Begin a new migration: a script with the next number, and what its author should know."""

import os
import re

from cwstore.errors import InvalidValueError, MigrationError, StorageError
from cwstore.migrations.scripts import default_directory, load

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_TITLE = """\
-- What changes, in a sentence, and why it is wanted.
--
-- How it is done, where that is not plain from the statements: a named CHECK is exchanged in place,
-- a table is rebuilt as in 0010 of cwstore.
--
-- The runner reads the comments below, each on a line of its own. Write those that hold, and remove
-- this list:
"""
_CLAIM = """\
--   the first line `-- compatible-with: {last}`: code of version {last} and up goes on reading and
--       writing (tools/snapshot looks whether that is true); without it older code is refused
"""
_LOSSES = """\
--   `-- drops: index tasks_phase_ix` (or table, trigger, view): it is gone afterwards, on purpose
--   `-- deletes: tasks`: the table may have fewer rows afterwards

"""


def new_migration(name: str, directory: str | os.PathLike[str] | None = None) -> str:
    """Write the script of the next number and return its path.

    `directory` None is that of the checkout. Raises InvalidValueError for a name that is not
    snake_case, MigrationError while the script before is still empty or the numbers have gaps, and
    StorageError.
    """
    if not _NAME.fullmatch(name):
        raise InvalidValueError(
            "name", f"{name!r} must say what it does, in snake_case, at most 60"
        )
    place = os.fspath(_own_directory() if directory is None else directory)
    is_empty = os.path.isdir(place) and not any(one.endswith(".sql") for one in os.listdir(place))
    files = [] if is_empty else load(place)
    for file in files:
        file.parse()  # one at a time: the one before is to be filled in first
    path = os.path.join(place, f"{len(files) + 1:04}_{name}.sql")
    claim = _CLAIM.format(last=len(files)) if files else ""
    try:
        with open(path, "x", encoding="utf-8") as stream:
            stream.write(_TITLE + claim + _LOSSES)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None
    return path


def _own_directory() -> str:
    place = default_directory()
    if place.startswith(os.path.dirname(os.path.dirname(__file__)) + os.sep):
        raise MigrationError(
            f"{place} belongs to the installed cwstore: give --directory with the migrations of"
            " your own database"
        )
    return place
