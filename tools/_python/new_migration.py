"""Begin a new migration: `tools/new_migration --help`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from cwstore.errors import MigrationError
from cwstore.migrations.scripts import load
from tools._python import arguments as accepted

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
_TITLE = """\
-- What changes, in a sentence, and why it is wanted.
--
-- How it is done, where that is not plain from the statements: a named CHECK is exchanged in place,
-- a table is rebuilt as in 0010.
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file; the exit code: 0 done, 1 not possible, 2 usage."""
    parser = accepted.new_migration()
    options = parser.parse_args(arguments)
    directory: Path = options.directory
    if not _NAME.fullmatch(options.name):
        parser.error(f"{options.name!r} must be what the migration does, in snake_case, at most 60")
    try:
        path = _write(directory, options.name)
    except (MigrationError, OSError) as error:
        print(f"tools/new_migration: {error}", file=sys.stderr)
        return 1
    print(path)
    print("Write the statements, then run tools/snapshot, which records it, and tools/test.")
    return 0


def _write(directory: Path, name: str) -> Path:
    is_empty = directory.is_dir() and not list(directory.glob("*.sql"))
    files = [] if is_empty else load(directory)
    for file in files:
        file.parse()  # one at a time: the one before is to be filled in first
    path = directory / f"{len(files) + 1:04}_{name}.sql"
    claim = _CLAIM.format(last=len(files)) if files else ""
    with path.open("x", encoding="utf-8") as stream:
        stream.write(_TITLE + claim + _LOSSES)
    return path


if __name__ == "__main__":
    sys.exit(main())
