"""Find the migration scripts, check their numbers, read their header comments."""

import os
import re
import time
from binascii import crc32
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

from cwstore.errors import InvalidValueError, MigrationError

if TYPE_CHECKING:
    from cwstore.core.lexer import Statement

# Compiled on first use: opening an up-to-date file looks at no header.
_NAME = r"([0-9]{4})_[A-Za-z0-9][A-Za-z0-9_-]*\.sql"
_HEADER = r"--\s*(compatible-with|drops|deletes)\s*:\s*(.*?)\s*"
_NAMED = r'(\w+|"(?:[^"]|"")+")'
_DROPPED = rf"(index|table|trigger|view)\s+{_NAMED}"
_SETTLED = 100_000_000  # ns; a file changed more recently may change again without a new mtime
# What a file held when it had this inode, time of change and size: 1 stat a file at each open.
_files: dict[str, tuple[tuple[int, int, int], "MigrationFile"]] = {}
# What our own directory held when it had this inode and time of change. That costs 1 stat instead
# of one a file, of which there are more with every release. A script that is edited in place is
# noticed by the next process.
_own: dict[str, tuple[tuple[int, int], list["MigrationFile"]]] = {}


class MigrationFile(NamedTuple):
    """A script as it lies in the directory; line endings are those of Unix, whatever it has."""

    version: int
    name: str  #: without .sql
    text: str
    text_sum: int  #: of `text`: equal means the same script, without looking at its tokens

    @property
    def file_name(self) -> str:
        """As it is called in the directory."""
        return f"{self.name}.sql"


class Script(NamedTuple):
    """What a migration file says."""

    statements: "tuple[Statement, ...]"
    checksum: str
    compatible_with: int | None  #: None: older code must not use the file any more
    drops: frozenset[tuple[str, str]]  #: (kind, name in lower case) it may remove
    deletes: frozenset[str]  #: tables, in lower case, that may lose rows


def default_directory() -> str:
    """`sql/migrations` of the installed package, or of the checkout it is imported from."""
    package = os.path.dirname(os.path.dirname(__file__))
    installed = f"{package}/sql/migrations"
    if os.path.isdir(installed):
        return installed
    return os.path.join(os.path.dirname(package), "sql", "migrations")


def load(directory: str | os.PathLike[str] | None = None) -> list[MigrationFile]:
    """The migrations of a directory (None: our own), number 1 first, without a gap.

    Files that do not end in .sql or .SQL, and hidden ones, are none of its business. Raises
    MigrationError: no such directory, none in it, a bad name, no text, a gap, a number used twice.
    """
    place = default_directory() if directory is None else _checked(directory)
    try:
        status = os.stat(place)
        key = (status.st_ino, status.st_mtime_ns)
        known = _own.get(place) if directory is None else None
        if known and known[0] == key:
            return known[1]
        with os.scandir(place) as entries:
            scripts = [e for e in entries if e.name.lower().endswith(".sql") and e.name[0] != "."]
        found = [_read(entry) for entry in sorted(scripts, key=lambda entry: entry.name)]
    except OSError as error:
        raise MigrationError(
            f"cannot read the migrations in {place}: {error.strerror}; give a directory with"
            " 0001_<name>.sql that this user may read"
        ) from None
    _check_numbers(found, place)
    if directory is None and _is_settled(status) and all(e.path in _files for e in scripts):
        _own[place] = (key, found)
    return found


def _check_numbers(found: list[MigrationFile], place: str) -> None:
    if not found:
        raise MigrationError(f"{place} holds no migration; give the directory with 0001_<name>.sql")
    for position, (file, earlier) in enumerate(zip(found, [None, *found], strict=False), 1):
        if earlier and file.version == earlier.version:
            raise MigrationError(
                f"{earlier.file_name} and {file.file_name} have the same number; give the one"
                " that was not released yet the next free number"
            )
        if file.version != position:
            after = f"{earlier.file_name} is followed by" if earlier else "the first one is"
            raise MigrationError(
                f"migration {position:04} is missing: {after} {file.file_name}; restore it, or"
                " renumber those that were not released yet"
            )


def _is_settled(status: os.stat_result) -> bool:
    return time.time_ns() - status.st_mtime_ns > _SETTLED


def _checked(directory: object) -> str:
    place = (
        os.fspath(cast("os.PathLike[str]", directory))
        if isinstance(directory, os.PathLike)
        else directory
    )
    if not isinstance(place, str) or "\0" in place:
        raise InvalidValueError("directory", "expected a path as str or os.PathLike[str]")
    try:
        os.fsencode(place)
    except UnicodeEncodeError:
        raise InvalidValueError("directory", "no path of this system can hold its text") from None
    return place


def _read(entry: os.DirEntry[str]) -> MigrationFile:
    name, path, status = entry.name, entry.path, entry.stat()
    key = (status.st_ino, status.st_mtime_ns, status.st_size)
    known = _files.get(path)
    if known and known[0] == key:
        return known[1]
    number = re.fullmatch(_NAME, name)
    if not number:
        raise MigrationError(f"{name} is not named like a migration: 0001_what_it_does.sql")
    text = _text(path)
    if text is None:
        raise MigrationError(f"{name} is not UTF-8 text; save it as such")
    file = MigrationFile(
        int(number.group(1)), name.removesuffix(".sql"), text, crc32(text.encode())
    )
    if _is_settled(status):
        _files[path] = (key, file)
    return file


def _text(path: str) -> str | None:
    """With the line endings of Unix; None: it is not UTF-8."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return stream.read().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=256)
def parse(file: MigrationFile) -> Script:
    """Statements, checksum and header comments of a migration.

    Raises MigrationError: an unclosed string, no statement, a header that is not understood.
    """
    # Compiling the tokeniser takes milliseconds that opening an up-to-date file does not need.
    from cwstore.core.lexer import UnfinishedTextError, checksum, split, tokens

    try:
        statements = tuple(split(file.text))
        comments = [token for token in tokens(file.text) if token.kind == "comment"]
    except UnfinishedTextError as error:
        raise MigrationError(f"{file.file_name}, line {error.line}: {error}") from None
    if not statements:
        raise MigrationError(f"{file.file_name} holds no statement; write one, or remove the file")
    compatible_with: int | None = None
    drops: set[tuple[str, str]] = set()
    deletes: set[str] = set()
    for comment in comments:
        header = re.fullmatch(_HEADER, comment.text)
        if not header:
            continue
        word, value = header.groups()
        if word == "compatible-with":
            compatible_with = _compatible_with(file, comment.line, value)
        elif word == "deletes":
            deletes.add(_table(file, comment.line, value))
        else:
            drops.add(_dropped(file, comment.line, value))
    return Script(
        statements, checksum(file.text), compatible_with, frozenset(drops), frozenset(deletes)
    )


def _compatible_with(file: MigrationFile, line: int, value: str) -> int:
    if line != 1:
        raise MigrationError(
            f"{file.file_name}, line {line}: `compatible-with` must be the first line of the file"
        )
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 0 < int(value) < file.version:
        raise MigrationError(
            f"{file.file_name}, line 1: `compatible-with: {value}` must name a version from 1 to"
            f" {file.version - 1}, the oldest code that can go on using the file"
        )
    return int(value)


def _table(file: MigrationFile, line: int, value: str) -> str:
    if not re.fullmatch(_NAMED, value):
        raise MigrationError(
            f"{file.file_name}, line {line}: write `-- deletes: table_name`, one table a line"
        )
    return _bare(value)


def _dropped(file: MigrationFile, line: int, value: str) -> tuple[str, str]:
    what = re.fullmatch(_DROPPED, value)
    if not what:
        raise MigrationError(
            f"{file.file_name}, line {line}: write `-- drops: index name` (or table, trigger,"
            " view), one a line"
        )
    return what.group(1), _bare(what.group(2))


def _bare(name: str) -> str:
    """The name in lower case, without its quotes."""
    return lowered(name if name[0] != '"' else name[1:-1].replace('""', '"'))


def lowered(name: str) -> str:
    """The name as SQLite compares it: only A to Z are the same as a to z."""
    return name.encode().lower().decode()
