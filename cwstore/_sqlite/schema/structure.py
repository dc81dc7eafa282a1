"""Read the structure of a database, and say in words how two of them differ."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.version import read_catalogue
from cwstore.core.lexer import lowered, normalised, quoted, spoken
from cwstore.migrations.ledger import Addition
from cwstore.migrations.scripts import LEDGER

_GENERATED = {0: "stored as given", 1: "hidden", 2: "GENERATED VIRTUAL", 3: "GENERATED STORED"}
_OBJECTS = (
    "index ",
    "table ",
    "trigger ",
    "view ",
)  # begin the names of parts with SQL of their own
_LONGEST = 200  # characters of a phrase in a message


if TYPE_CHECKING:
    from typing import Protocol

    class _Describes(Protocol):
        """What apsw.Connection knows of a column: type, collation, not null, key, autoincrement."""

        def column_metadata(self, *names: str) -> tuple[str, str, bool, bool, bool]: ...


@dataclass(frozen=True, slots=True)
class Part:
    """A table, or something of a table."""

    name: str  #: such as "table tasks", "column tasks.owner", "index tasks_ix"
    table: str
    properties: tuple[str, ...] = ()  #: phrases; of one kind of part always the same ones in order


@dataclass(frozen=True, slots=True)
class Structure:
    """Equal structures: the databases differ in nothing but rows and the layout of their SQL."""

    parts: dict[str, Part]
    columns: dict[str, tuple[str, ...]]  #: table -> its columns in order


def read_structure(connection: Connection) -> Structure:
    """The structure, without the ledger and what SQLite makes for itself."""
    parts: list[Part] = []
    columns: dict[str, tuple[str, ...]] = {}
    objects = sorted(read_catalogue(connection), key=lambda row: row[1])
    for sql, own_name, kind, of_table in sorted(objects, key=lambda row: row[2], reverse=True):
        text, name, table = _text(sql), lowered(own_name), lowered(of_table)
        if name.endswith(LEDGER):
            continue
        if kind == "index":
            head, _, rest = text.partition(" on ")
            unique = "UNIQUE" if "unique" in head.split() else "not UNIQUE"
            parts.append(Part(f"index {name}", table, (unique, f"on {rest}")))
        elif kind != "table" or text.startswith("create virtual"):
            parts.append(Part(f"{kind} {name}", table, (text,)))
        else:
            rows = connection.execute(f"PRAGMA table_xinfo({quoted(name)})").fetchall()
            parts += _table(connection, name, sql)
            parts += (_column(connection, name, row) for row in rows)
            columns[name] = tuple(row[1].lower() for row in rows)
    return Structure({part.name: part for part in parts}, columns)


def part_of(structure: Structure, prefixes: tuple[str, ...], inside: bool) -> Structure:
    """The tables whose names begin with one of these prefixes, or (not `inside`) all others."""
    return Structure(
        {
            name: part
            for name, part in structure.parts.items()
            if part.table.startswith(prefixes) == inside
        },
        {
            table: order
            for table, order in structure.columns.items()
            if table.startswith(prefixes) == inside
        },
    )


def without_additions(expected: Structure, found: Structure) -> tuple[Structure, list[Addition]]:
    """Take out what somebody added: the structure without it, and the additions.

    A column that was added is a change of its table, and stays.
    """
    names = {
        name for name in found.parts if name not in expected.parts and name.startswith(_OBJECTS)
    }
    added: list[Addition] = []
    for part in sorted(names):
        kind, _, name = part.partition(" ")
        added.append(Addition(kind, name, found.parts[part].table))
    tables = {one.table for one in added if one.kind == "table"}
    parts = {
        name: part
        for name, part in found.parts.items()
        if name not in names and part.table not in tables
    }
    columns = {table: order for table, order in found.columns.items() if table not in tables}
    return Structure(parts, columns), added


def differences(expected: Structure, found: Structure) -> list[str]:
    """A line for each difference, such as `tasks.owner: expected NOT NULL, found NULL`."""
    lines = [f"{name} is missing" for name in _only_in(expected, found)]
    lines += [f"{name} is not expected" for name in _only_in(found, expected)]
    for name, part in expected.parts.items():
        there = found.parts.get(name, part)
        if len(part.properties) != len(there.properties):
            lines.append(f"{name}: expected {part.properties[0]}, found {there.properties[0]}")
            continue
        lines += [
            f"{name.removeprefix('column ')}: expected {_shown(one)}, found {_shown(other)}"
            for one, other in zip(part.properties, there.properties, strict=True)
            if one != other
        ]
    for table, order in expected.columns.items():
        other = found.columns.get(table, order)
        if order != other and sorted(order) == sorted(other):
            lines.append(f"{table}: expected the columns {_list(order)}, found {_list(other)}")
    return lines


def _only_in(here: Structure, there: Structure) -> Iterator[str]:
    """What is `here` only; if a whole table is, its parts are not worth a line each."""
    for name, part in here.parts.items():
        table = f"table {part.table}"
        covered = name != table and table in here.parts and table not in there.parts
        if name not in there.parts and not covered:
            yield name


def _table(connection: Connection, table: str, sql: str) -> Iterator[Part]:
    without_rowid, strict = connection.execute(
        "SELECT wr, strict FROM pragma_table_list(:name) WHERE schema = 'main'", {"name": table}
    ).fetchall()[0]
    yield Part(
        f"table {table}",
        table,
        (
            "STRICT" if strict else "not STRICT",
            "WITHOUT ROWID" if without_rowid else "with rowid",
            f"{_deferred(sql)} deferred foreign keys",
        ),
    )
    for word, times in Counter(_conflicts(sql)).items():
        yield Part(f"ON CONFLICT {word.upper()} of {table}", table, (f"{times} times",))
    yield from _foreign_keys(connection, table)
    for _, index, _, origin, *_ in connection.execute(
        f"PRAGMA index_list({quoted(table)})"
    ).fetchall():
        if origin == "u":
            rows = connection.execute(f"PRAGMA index_info({quoted(index)})").fetchall()
            yield Part(f"unique {table} ({_list([row[2].lower() for row in rows])})", table)
    for name, expression in _expressions(sql, "check"):
        yield Part(f"check {name or expression} of {table}", table, (expression,))
    for _, expression in _expressions(sql, "as"):
        yield Part(f"generated {table} ({expression})", table)


def _column(connection: Connection, table: str, row: tuple[Any, ...]) -> Part:
    _, name, type_, not_null, default, key, generated = row
    described = cast("_Describes", connection).column_metadata("main", table, name)
    return Part(
        f"column {table}.{name.lower()}",
        table,
        (
            type_.upper() or "no type",
            "NOT NULL" if not_null else "NULL",
            "no DEFAULT" if default is None else f"DEFAULT {_text(default)}",
            f"PRIMARY KEY part {key}" if key else "not in the PRIMARY KEY",
            f"COLLATE {described[1]}",
            "AUTOINCREMENT" if described[4] else "no AUTOINCREMENT",
            _GENERATED[generated],
        ),
    )


def _foreign_keys(connection: Connection, table: str) -> Iterator[Part]:
    keys: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in connection.execute(f"PRAGMA foreign_key_list({quoted(table)})").fetchall():
        keys[row[0]].append(row)
    for rows in keys.values():
        columns = _list([row[3].lower() for row in rows])
        targets = _list([(row[4] or "its primary key").lower() for row in rows])
        yield Part(
            f"foreign key {table} ({columns}) to {rows[0][2].lower()}",
            table,
            (targets, f"ON UPDATE {rows[0][5]}", f"ON DELETE {rows[0][6]}"),
        )


# The file and what it is compared with have the same texts, if all is well.
_text = lru_cache(maxsize=512)(normalised)


@lru_cache(maxsize=128)
def _deferred(sql: str) -> int:
    return sum(token.text.lower() == "deferred" for token in spoken(sql))


@lru_cache(maxsize=128)
def _conflicts(sql: str) -> tuple[str, ...]:
    """The word of each ON CONFLICT clause: no pragma tells of it. ABORT is what holds without."""
    words = [token.text.lower() for token in spoken(sql)]
    found = (words[at] for at in range(2, len(words)) if words[at - 2 : at] == ["on", "conflict"])
    return tuple(word for word in found if word != "abort")


@lru_cache(maxsize=256)
def _expressions(sql: str, word: str) -> tuple[tuple[str | None, str], ...]:
    """Each `word ( expression )` of a CREATE TABLE: its constraint name, if any, and expression."""
    words = list(spoken(sql))
    found: list[tuple[str | None, str]] = []
    for start in range(2, len(words) - 1):
        if words[start].text.lower() != word or words[start + 1].text != "(":
            continue
        depth, end = 1, start + 2
        while depth:
            depth += {"(": 1, ")": -1}.get(words[end].text, 0)
            end += 1
        named = words[start - 2].text.lower() == "constraint"
        found.append(
            (
                normalised(words[start - 1].text) if named else None,
                normalised(" ".join(token.text for token in words[start + 2 : end - 1])),
            )
        )
    return tuple(found)


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
