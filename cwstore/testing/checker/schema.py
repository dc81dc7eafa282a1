"""The schema that statements are prepared on: an in-memory database and what its tables say."""

import importlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import apsw

from cwstore._sqlite.apsw_types import Connection, open_connection
from cwstore._sqlite.version import read_catalogue
from cwstore.core.extension import Extension
from cwstore.core.lexer import Token, UnfinishedTextError, spoken
from cwstore.migrations.scripts import load
from cwstore.testing.checker.words import at_top, bracket, name_of, split_at, upper

# Its type hints are partly unknown on Python 3.11.
_ext: Any = importlib.import_module("apsw.ext")

_KINDS = ("table", "index", "view", "trigger")  # in the order in which they can be made


class Column(NamedTuple):
    """A column as declared; of a view nothing but its type is known."""

    type: str
    not_null: bool = False
    #: The values that its CHECK lists, None without a list.
    members: frozenset[str] | None = None
    is_json: bool = False
    is_filled: bool = False  #: CHECK (column <> '')


class Index(NamedTuple):
    """An index; expressions among its columns are None."""

    name: str
    table: str
    columns: tuple[str | None, ...]
    is_constraint: bool
    condition: str  #: of a partial one, in lower case with single spaces; else ""


class ForeignKey(NamedTuple):
    """The columns of a child table that name a row of a parent."""

    table: str
    columns: tuple[str, ...]
    parent: str


@dataclass(frozen=True, slots=True)
class Schema:
    """Tables by name, views and triggers with their text; `connection` is to prepare on.

    Of an extension the tables of the store are among them, and `prefix` tells its own.
    """

    connection: Connection
    tables: dict[str, dict[str, Column]]
    views: dict[str, str]
    view_columns: dict[str, dict[str, Column]]
    triggers: dict[str, str]
    indexes: list[Index]
    foreign_keys: list[ForeignKey]
    prefix: str = ""

    def info(self, text: str) -> Any:
        """apsw's QueryDetails of a statement, which is prepared and not run. Raises apsw.Error."""
        return _ext.query_info(self.connection, text, actions=True)

    def columns_of(self, name: str) -> dict[str, Column]:
        """Of a table or a view; empty for anything else."""
        return self.tables.get(name) or self.view_columns.get(name) or {}


def open_schema(schema: str | os.PathLike[str] | Extension) -> Schema:
    """Build the schema from SQL text, a .sql file, a folder of migrations or a database file.

    For an extension, from its migrations, after those of the store.

    Raises ValueError if it is none of these or does not parse.
    """
    connection = open_connection(":memory:", apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    # As the engine has it, so that plans are the ones of real life; and plans of triggers too.
    for option in ("DQS_DML", "DQS_DDL", "TRUSTED_SCHEMA"):
        connection.config(getattr(apsw, f"SQLITE_DBCONFIG_{option}"), 0)
    for option in ("ENABLE_QPSG", "TRIGGER_EQP"):
        connection.config(getattr(apsw, f"SQLITE_DBCONFIG_{option}"), 1)
    try:
        for script in _scripts(schema):
            connection.execute(script).fetchall()
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1)
        prefix = f"{schema.name}_" if isinstance(schema, Extension) else ""
        return _read(connection, prefix)
    except (apsw.Error, UnfinishedTextError) as error:
        raise ValueError(f"the schema cannot be built ({error}); give SQL text or a Path") from None


def _scripts(schema: str | os.PathLike[str] | Extension) -> Iterator[str]:
    if isinstance(schema, Extension):
        yield from (file.text for file in [*load(), *load(schema.migrations)])
        return
    if isinstance(schema, str):
        yield schema
        return
    path = Path(schema)
    if path.is_dir():
        yield from (file.text for file in load(path))
    elif path.suffix == ".sql":
        yield path.read_text(encoding="utf-8")
    else:
        # Through SQLite: a plain open() and close() would drop its locks on a live file.
        source = open_connection(os.fspath(path), apsw.SQLITE_OPEN_READONLY)
        try:
            yield from (sql for sql, *_ in _objects(source))
        finally:
            source.close()


def _objects(connection: Connection) -> list[tuple[str, str, str, str]]:
    return sorted(read_catalogue(connection), key=lambda row: _KINDS.index(row[2]))


def _read(connection: Connection, prefix: str) -> Schema:
    tables: dict[str, dict[str, Column]] = {}
    views: dict[str, str] = {}
    triggers: dict[str, str] = {}
    indexes: list[Index] = []
    foreign_keys: list[ForeignKey] = []
    view_columns: dict[str, dict[str, Column]] = {}
    for sql, name, kind, _ in _objects(connection):
        if kind == "table":
            tables[name] = _columns(connection, name, sql)
            indexes += _indexes(connection, name)
            foreign_keys += _foreign_keys(connection, name)
        elif kind == "view":
            views[name] = sql
            rows = _pragma(connection, "table_xinfo", name)
            view_columns[name] = {row[1]: Column(row[2]) for row in rows}
        elif kind == "trigger":
            triggers[name] = sql
    return Schema(connection, tables, views, view_columns, triggers, indexes, foreign_keys, prefix)


def _pragma(connection: Connection, pragma: str, name: str) -> list[tuple[Any, ...]]:
    quoted = name.replace('"', '""')
    return connection.execute(f'PRAGMA {pragma}("{quoted}")').fetchall()


def _columns(connection: Connection, table: str, sql: str) -> dict[str, Column]:
    rows = _pragma(connection, "table_xinfo", table)
    words = [token.text for token in spoken(sql)]
    without_rowid = [word.upper() for word in words[-4:]].count("WITHOUT") > 0
    keys = sum(1 for row in rows if row[5])
    checks = [_plain(check) for check in _checks(list(spoken(sql)))]
    members = {check[0]: values for check in checks if (values := _listed(check))}
    columns: dict[str, Column] = {}
    for _, name, declared, not_null, _, key, _ in rows:
        is_rowid = key and keys == 1 and declared.upper() == "INTEGER"
        columns[name] = Column(
            declared.upper(),
            bool(not_null or is_rowid or (key and without_rowid)),
            members.get(name),
            any(_is_json(check, name) for check in checks),
            [name, "<>", "''"] in checks,
        )
    return columns


def _checks(words: list[Token]) -> Iterator[list[Token]]:
    """What stands between the brackets of each CHECK; each part, if they are joined by AND."""
    for start, word in enumerate(words):
        if upper(word) != "CHECK" or words[start + 1].text != "(":
            continue
        check, _ = bracket(words, start + 1)
        joints = {upper(token) for _, token in at_top(check)}
        yield from [check] if joints & {"OR", "BETWEEN"} else split_at(check, "AND")


def _plain(check: list[Token]) -> list[str]:
    """The texts, keywords in upper case, without `column IS NULL OR` at the front."""
    texts = [
        upper(token) if upper(token) in {"IN", "IS", "NULL", "OR"} else name_of(token)
        for token in check
    ]
    return texts[4:] if texts[1:4] == ["IS", "NULL", "OR"] else texts


def _listed(check: list[str]) -> frozenset[str] | None:
    """The values of column IN (...), or of column = 'a' OR column = 'b' ..., and nothing else.

    For the first SQLite builds a b-tree at every statement that writes a row.
    """
    if check[1:3] == ["IN", "("] and check.index(")") == len(check) - 1:
        values = [text for text in check[3:-1] if text != ","]
    elif len(check) > 3 and [*check, "OR"] == [
        word for value in check[2::4] for word in (check[0], "=", value, "OR")
    ]:
        values = check[2::4]
    else:
        return None
    return frozenset(
        text[1:-1].replace("''", "'") if text.startswith("'") else text for text in values
    )


def _is_json(check: list[str], column: str) -> bool:
    return [text.lower() for text in check] == ["json_valid", "(", column.lower(), ")"]


def _indexes(connection: Connection, table: str) -> Iterator[Index]:
    rows = _pragma(connection, "index_list", table)
    keys = tuple(row[1] for row in _pragma(connection, "table_xinfo", table) if row[5])
    if keys:  # if it is the rowid, no index stands for it
        yield Index("", table, keys, True, "")
    for _, name, unique, origin, partial in rows:
        columns = tuple(row[2] for row in _pragma(connection, "index_xinfo", name) if row[5])
        condition = ""
        if partial:
            ((sql,),) = connection.execute(
                "SELECT sql FROM sqlite_schema WHERE name = :name", {"name": name}
            ).fetchall()
            words = [token.text.lower() for token in spoken(sql)]
            condition = " ".join(words[words.index("where") + 1 :])
        yield Index(name, table, columns, bool(unique) or origin != "c", condition)


def _foreign_keys(connection: Connection, table: str) -> Iterator[ForeignKey]:
    parts: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in _pragma(connection, "foreign_key_list", table):
        parts[row[0]].append(row)
    for rows in parts.values():
        yield ForeignKey(table, tuple(row[3] for row in rows), rows[0][2])
