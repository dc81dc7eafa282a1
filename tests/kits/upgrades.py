"""Fill any version of the schema with rows that test its limits.

What a column may hold is read from the schema itself; only rules between columns are told here.
Hypothesis draws the values and the sizes, and the seed of how they are dealt out to the rows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hypothesis import strategies as st

from cwstore._sqlite.schema.structure import Structure, read_structure

Row = dict[str, Any]

LIMITS = (-(2**63), -1, 0, 1, 2**31, 2**53 + 1, 2**63 - 1)
JSON = ("{}", "null", '{"b": 1.0,  "a":1}', "[1e400]", '"\\u0000"', json.dumps("x" * 5_000))
DEEP = 200
GRAPHS = {
    "phase_dependencies": ("phases", "phase_id", "depends_on_phase_id"),
    "task_dependencies": ("tasks", "task_id", "depends_on_task_id"),
}
PARENTS = {"tasks": "parent_task_id", "pages": "parent_page_id", "messages": "parent_message_id"}


@dataclass(frozen=True)
class Column:
    name: str
    is_integer: bool
    nullable: bool
    values: tuple[Any, ...] = ()  #: those that its CHECK lists; none: anything
    is_json: bool = False
    is_unique: bool = False
    needs_text: bool = False
    least: int = LIMITS[0]
    parent: str = ""  #: the table that it refers to


@dataclass
class Values:
    """What an example consists of."""

    texts: list[str]
    integers: list[int]
    seed: int
    size: int  #: rows of a table beyond those that the enums and the chains need
    ids: int = 0
    known: dict[str, list[str]] = field(default_factory=dict[str, list[str]])  #: table -> ids

    def new(self, random: Random) -> str:
        self.ids += 1
        return f"{random.choice(self.texts)}{self.ids}"


values = st.builds(
    Values,
    texts=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=5
    ).map(lambda drawn: ["", "'\"\n--", "é\U0001f600", "x" * 10_000, *drawn]),
    integers=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(lambda n: [*LIMITS, *n]),
    seed=st.integers(0, 2**32),
    size=st.integers(2, 12),
)


_structures: dict[str, Structure] = {}


def structure_of(db: Any) -> Structure:
    """What `read_structure` says, which follows from the schema's text and takes a while."""
    text = repr(db.execute("SELECT type, name, sql FROM sqlite_schema").fetchall())
    if text not in _structures:
        _structures[text] = read_structure(db)
    return _structures[text]


def columns_of(structure: Structure, table: str) -> list[Column]:
    """The columns of a table, with what its CHECKs and keys say about each alone."""
    parts = [part for part in structure.parts.values() if part.table == table]
    checks = [part.properties[0] for part in parts if part.name.startswith("check ")]
    parents: dict[str, str] = {}
    unique: set[str] = set()
    for part in parts:
        if found := re.fullmatch(r"foreign key \w+ \((\w+)\) to (\w+)", part.name):
            parents[found[1]] = found[2]
        if found := re.fullmatch(r"unique \w+ \((\w+)\)", part.name):
            unique.add(found[1])
    columns: list[Column] = []
    for name in structure.columns[table]:
        type_, null, _, key, *_ = structure.parts[f"column {table}.{name}"].properties
        own = [check.removeprefix(f"{name} is null or ") for check in checks]
        lists = (f"{name} in (", f"{name} = '")
        listed = next((c for c in own if c.startswith(lists) or c == f"{name} = 1"), "")
        least = next((re.fullmatch(rf"{name} >= (\d+)", c) for c in own if ">=" in c), None)
        columns.append(
            Column(
                name=name,
                is_integer=type_ == "INTEGER",
                nullable=null == "NULL" and not key.startswith("PRIMARY"),
                values=tuple(map(_literal, re.findall(r"'[^']*'|-?\d+", listed))),
                is_json=f"json_valid ( {name} )" in own,
                is_unique=name in unique or (name == "id" and key == "PRIMARY KEY part 1"),
                needs_text=f"{name} <> ''" in own,
                least=int(least[1]) if least else LIMITS[0],
                parent=parents.get(name, ""),
            )
        )
    return columns


def _literal(text: str) -> str | int:
    return text[1:-1] if text.startswith("'") else int(text)


# Rules between columns: what makes a row, dealt column by column, one that the database takes.


def _account(row: Row) -> None:
    if not row["is_exhausted"]:
        row["exhausted_until"] = None


def _message(row: Row) -> None:
    for party in ("sender", "recipient"):
        if row[f"{party}_type"] == "user":
            row[f"{party}_id"] = None


def _conversation(row: Row) -> None:
    if row["status"] == "pending":
        row["answer"] = None
    elif row["answer"] is None:
        row["answer"] = ""


def _entry(row: Row) -> None:
    for state, without in (("previous_state", "create"), ("new_state", "delete")):
        row[state] = None if row["action"] == without else row[state] or "{}"


def _attempt(row: Row) -> None:
    if row["outcome"] is None:
        row["ended_at"] = None
    elif row["ended_at"] is None:
        row["ended_at"] = row["updated_at"]


RULES: dict[str, Callable[[Row], None]] = {
    "accounts": _account,
    "messages": _message,
    "conversations": _conversation,
    "change_set_entries": _entry,
    "task_attempts": _attempt,
}
ONE_ROW = {"stamps", "readiness"}
MADE_WITH_ITS_ROW = {"readiness"}
#: A row of each task, phase or agent.
ONE_OF_EACH = {"task_levels", "phase_levels", "agent_log_sessions"}
ONE_ACTIVE_EACH = {"chat_sessions"}  #: so each gets a target of its own


def fill(db: Any, given: Values) -> None:
    """Store rows in every table; foreign keys, checks and triggers of the database are on."""
    assert db.pragma("foreign_keys") == 1
    random = Random(given.seed)
    structure = structure_of(db)
    for table in in_order(structure):
        columns = columns_of(structure, table)
        if table in MADE_WITH_ITS_ROW:
            continue
        if table in GRAPHS:
            _insert(db, table, _edges(table, given, random))
        elif table in ONE_ROW:
            row = {column.name: _value(column, given.seed, given, random) for column in columns}
            _insert(db, table, [row])
        elif table in ONE_OF_EACH:
            _insert(db, table, _rows_kept_by_triggers(db, table, columns, given, random))
        elif [column.parent != "" for column in columns] == [True, True]:
            pairs = zip(*(given.known[column.parent] for column in columns), strict=False)
            names = [column.name for column in columns]
            _insert(db, table, [dict(zip(names, pair, strict=True)) for pair in pairs])
        else:
            _insert(db, table, _rows(table, columns, given, random))


def in_order(structure: Structure) -> list[str]:
    """The tables, each after those that it refers to."""
    left = {
        table: {column.parent for column in columns_of(structure, table)} - {table, ""}
        for table in structure.columns
    }
    order: list[str] = []
    while left:
        free = [table for table, parents in left.items() if parents <= set(order)]
        order += free
        left = {table: parents for table, parents in left.items() if table not in free}
    return order


def _rows_kept_by_triggers(
    db: Any, table: str, columns: list[Column], given: Values, random: Random
) -> list[Row]:
    """One of each parent that has none yet."""
    key, number = columns
    there = {found for (found,) in db.execute(f"SELECT {key.name} FROM {table}").fetchall()}
    return [
        {key.name: known, number.name: _value(number, place, given, random)}
        for place, known in enumerate(given.known[key.parent])
        if known not in there
    ]


def _rows(table: str, columns: list[Column], given: Values, random: Random) -> list[Row]:
    """Every value of every enum at least once, and a chain of parents where there can be one."""
    count = given.size + max(len(column.values) for column in columns) * 2
    chain = PARENTS.get(table)
    ids = [given.new(random) for _ in range(count + (DEEP if chain else 0))]
    given.known[table] = ids
    rows: list[Row] = []
    for place, own in enumerate(ids):
        row = {column.name: _value(column, place, given, random) for column in columns}
        row["id"] = own
        if chain:  # the first ones are a chain, the others hang anywhere among those before
            above = ids[place - 1] if place <= DEEP else random.choice([*ids[:place], None])
            # An initiative has one root page: here there is one for all.
            row[chain] = None if place == 0 else above or (ids[0] if table == "pages" else None)
        if table in ONE_ACTIVE_EACH:
            row["target_id"] = given.new(random)
        if table == "task_attempts":  # a task and an agent have at most one that is open
            row["task_id"] = given.known["tasks"][place]
            row["agent_id"] = row["agent_id"] and given.known["agents"][place]
        RULES.get(table, lambda _: None)(row)
        rows.append(row)
    return rows


def _value(column: Column, place: int, given: Values, random: Random) -> Any:
    if column.name == "seq":
        return None  # the database gives it
    if column.nullable and (place == 0 or random.random() < 0.3):
        return None
    if column.values:
        return column.values[place % len(column.values)]
    if column.parent:
        known = given.known.get(column.parent, [])
        return random.choice(known) if known else None
    if column.is_json:
        return random.choice(JSON)
    if column.is_integer:
        number = given.integers[(place + len(column.name)) % len(given.integers)]
        return max(column.least, number)
    text = random.choice(given.texts)
    return given.new(random) if column.is_unique else text or ("x" if column.needs_text else "")


def _edges(table: str, given: Values, random: Random) -> list[Row]:
    """A long line through all nodes and a thicket among the last: all point to earlier nodes."""
    parent, start, end = GRAPHS[table]
    nodes = list(given.known[parent])
    random.shuffle(nodes)
    pairs = dict.fromkeys(zip(nodes[1:], nodes, strict=False))
    for place in range(1, len(nodes[-12:])):
        for earlier in range(place):
            if random.random() < 0.5:
                pairs[nodes[-12:][place], nodes[-12:][earlier]] = None
    return [{start: one, end: other} for one, other in pairs]


def _insert(db: Any, table: str, rows: Iterable[Row]) -> None:
    for row in rows:
        names = ", ".join(row)
        binds = ", ".join(f":{name}" for name in row)
        db.execute(f"INSERT INTO {table} ({names}) VALUES ({binds})", row)


# Looking at what is there


def readable(db: Any) -> dict[str, tuple[str, ...]]:
    """The tables with their columns; of a view, which tells what rows mean, all of them."""
    views = db.execute("SELECT name FROM sqlite_schema WHERE type = 'view'").fetchall()
    return structure_of(db).columns | {view: ("*",) for (view,) in views}


def contents(db: Any, tables: dict[str, tuple[str, ...]]) -> dict[str, Counter[Any]]:
    """All rows of these columns; types count, the order of rows does not."""
    return {
        table: Counter(
            tuple((type(value), value) for value in row)
            for row in db.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
        )
        for table, columns in tables.items()
    }


def changed(before: dict[str, Counter[Any]], after: dict[str, Counter[Any]]) -> list[str]:
    """The tables whose rows are not the same any more, with one row that is gone or new."""
    lines: list[str] = []
    for table, rows in before.items():
        gone, new = rows - after[table], after[table] - rows
        for what, some in (("gone", gone), ("new", new)):
            if some:
                row = [value for _, value in next(iter(some))]
                lines.append(f"{table}: {some.total()} rows {what}, such as {repr(row)[:500]}")
    return lines


def faults(db: Any) -> list[Any]:
    """What SQLite itself finds wrong."""
    found = db.execute("PRAGMA integrity_check").fetchall()
    return [row for row in found if row != ("ok",)] + db.execute(
        "PRAGMA foreign_key_check"
    ).fetchall()
