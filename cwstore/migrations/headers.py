"""Read a migration script: its statements and what its header comments declare."""

import re
from typing import NamedTuple

from cwstore.core.lexer import Statement, UnfinishedTextError, checksum, lowered, split, tokens
from cwstore.errors import MigrationError

_HEADER = r"--\s*(compatible-with|drops|deletes)\s*:\s*(.*?)\s*"
_NAMED = r'(\w+|"(?:[^"]|"")+")'
_DROPPED = rf"(index|table|trigger|view)\s+{_NAMED}"


class Script(NamedTuple):
    """What a migration script says."""

    version: int
    file_name: str
    statements: tuple[Statement, ...]
    checksum: str
    compatible_with: int | None  #: None: older code must not use the file any more
    drops: frozenset[tuple[str, str]]  #: (kind, name in lower case) that it may remove
    deletes: frozenset[str]  #: tables, in lower case, that may lose rows


def parse(version: int, file_name: str, text: str) -> Script:
    """Read the text of a migration.

    Raises MigrationError: an unclosed string, no statement, a header that is not understood.
    """
    try:
        statements = tuple(split(text))
        comments = [token for token in tokens(text) if token.kind == "comment"]
    except UnfinishedTextError as error:
        raise MigrationError(f"{file_name}, line {error.line}: {error}") from None
    if not statements:
        raise MigrationError(f"{file_name} holds no statement; write one, or remove the file")
    compatible_with: int | None = None
    drops: set[tuple[str, str]] = set()
    deletes: set[str] = set()
    for comment in comments:
        header = re.fullmatch(_HEADER, comment.text)
        if not header:
            continue
        word, value = header.groups()
        if word == "compatible-with":
            compatible_with = _compatible_with(version, file_name, comment.line, value)
        elif word == "deletes":
            deletes.add(_table(file_name, comment.line, value))
        else:
            drops.add(_dropped(file_name, comment.line, value))
    return Script(
        version=version,
        file_name=file_name,
        statements=statements,
        checksum=checksum(text),
        compatible_with=compatible_with,
        drops=frozenset(drops),
        deletes=frozenset(deletes),
    )


def _compatible_with(version: int, file_name: str, line: int, value: str) -> int:
    if line != 1:
        raise MigrationError(
            f"{file_name}, line {line}: `compatible-with` must be the first line of the file"
        )
    if not re.fullmatch(r"[0-9]{1,4}", value) or not 0 < int(value) < version:
        raise MigrationError(
            f"{file_name}, line 1: `compatible-with: {value}` must name a version from 1 to"
            f" {version - 1}, the oldest code that can go on using the file"
        )
    return int(value)


def _table(file_name: str, line: int, value: str) -> str:
    if not re.fullmatch(_NAMED, value):
        raise MigrationError(
            f"{file_name}, line {line}: write `-- deletes: table_name`, one table a line"
        )
    return _bare(value)


def _dropped(file_name: str, line: int, value: str) -> tuple[str, str]:
    what = re.fullmatch(_DROPPED, value)
    if not what:
        raise MigrationError(
            f"{file_name}, line {line}: write `-- drops: index name` (or table, trigger,"
            " view), one a line"
        )
    return what.group(1), _bare(what.group(2))


def _bare(name: str) -> str:
    """The name in lower case, without its quotes."""
    return lowered(name if name[0] != '"' else name[1:-1].replace('""', '"'))
