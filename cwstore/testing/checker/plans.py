"""Query plans: full scans, sorts, indexes that no statement uses, and indexes that are missing."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import apsw

from cwstore.core.lexer import spoken
from cwstore.testing.checker.reading import made_names
from cwstore.testing.checker.report import Fault, Line
from cwstore.testing.checker.schema import ForeignKey, Index, Schema
from cwstore.testing.checker.words import aliases

_INDEX = re.compile(r"USING (?:COVERING )?INDEX (\w+)")
_SCAN = re.compile(r"SCAN (\S+)(?: USING (?:COVERING )?INDEX (\w+))?")
_MADE = re.compile(r"(?:CO-ROUTINE|MATERIALIZE) (\S+)")
_TRIGGER = re.compile(r"-- TRIGGER (\w+)")
_NO_TABLE = re.compile(r"SCAN (?:\d+ )?CONSTANT ROWS?|SCAN \d+-ROW VALUES|VIRTUAL TABLE")


def plan_of(info: Any, schema: Schema) -> list[str]:
    """The lines of EXPLAIN QUERY PLAN, those of triggers and foreign key actions too."""
    names: list[str | None] = list(info.bindings_names)
    binds = [None] * len(names) if None in names else dict.fromkeys(filter(None, names))
    rows = schema.connection.execute(f"EXPLAIN QUERY PLAN {info.first_query}", binds).fetchall()
    return list(dict.fromkeys(row[3] for row in rows if row[3]))


def check_plan(text: str, info: Any, plan: list[str], schema: Schema) -> Iterator[tuple[str, str]]:
    """Report scans of a whole table, sorts, and indexes that SQLite builds at each run."""
    partial = {index.name for index in schema.indexes if index.condition}
    made = _interim_results(text, info, plan, schema)
    for step in plan:
        scan = _SCAN.match(step)
        if "TEMP B-TREE" in step:
            yield "sort", f"it sorts: {step}"
        elif "AUTOMATIC" in step:
            yield "scan", f"it builds an index at each run: {step}"
        elif scan and scan.group(2) not in partial and not _is_small(step, scan.group(1), made):
            yield "scan", f"it reads a whole table: {step}"


def _interim_results(text: str, info: Any, plan: list[str], schema: Schema) -> set[str]:
    """The names in a plan that are interim results: scanning one scans no table."""
    triggers = [found.group(1) for step in plan if (found := _TRIGGER.match(step))]
    views = {action.trigger_or_view for action in info.actions} & schema.views.keys()
    texts = [
        text,
        *(schema.views[name] for name in views),
        *(schema.triggers[name] for name in triggers),
    ]
    made = {found.group(1) for step in plan if (found := _MADE.match(step))}
    made = made.union(*map(made_names, texts)) - schema.tables.keys()
    known = {*schema.tables}
    return made.difference(*(aliases(list(spoken(one)), known) for one in texts))


def _is_small(step: str, name: str, made: set[str]) -> bool:
    """Whether the scan reads constants, a table-valued function or an interim result."""
    return name in made or name.startswith("(subquery") or bool(_NO_TABLE.search(step))


def line_of(subject: str, info: Any, plan: list[str], schema: Schema) -> Line:
    """The statement as the table shows it."""
    reads: set[str] = set()
    writes: set[str] = set()
    for action in info.actions:
        if action.table_name not in schema.tables:
            continue
        if action.action == apsw.SQLITE_READ:
            reads.add(action.table_name)
        else:
            writes.add(action.table_name)
    indexes = sorted({name for step in plan for name in _INDEX.findall(step)})
    return Line(subject, tuple(sorted(reads)), tuple(sorted(writes)), tuple(indexes), tuple(plan))


def merged(lines: Iterable[Line], subject: str) -> Line:
    """The variants of a patch as one."""
    lines = list(lines)
    return Line(
        subject,
        tuple(sorted({name for line in lines for name in line.reads})),
        tuple(sorted({name for line in lines for name in line.writes})),
        tuple(sorted({name for line in lines for name in line.indexes})),
        tuple(dict.fromkeys(step for line in lines for step in line.plan)),
    )


def check_indexes(lines: Iterable[Line], schema: Schema, whole: bool) -> Iterator[Fault]:
    """Foreign keys without an index and, if no other program uses the schema, unused indexes."""
    used = {name for line in lines for name in line.indexes}
    for key in schema.foreign_keys:
        if not key.table.startswith(schema.prefix):
            continue
        if not any(_serves(index, key) for index in schema.indexes if index.table == key.table):
            columns = ", ".join(key.columns)
            problem = f"({columns}) refers to {key.parent} without an index: deletes there scan"
            yield Fault("", f"{key.table}.{columns}", "foreign-key", problem)
    for index in schema.indexes if whole else ():
        if index.is_constraint or index.name in used or not index.table.startswith(schema.prefix):
            continue
        needed = [key for key in schema.foreign_keys if _serves(index, key)]
        others = [one for one in schema.indexes if one is not index and one.table == index.table]
        if not any(_needs(key, others) for key in needed if key.table == index.table):
            yield Fault("", index.name, "index", "no statement uses it and no foreign key needs it")


def _serves(index: Index, key: ForeignKey) -> bool:
    columns = index.columns[: len(key.columns)]
    present = " and ".join(f"{column} is not null" for column in key.columns)
    return (
        index.table == key.table
        and set(columns) == set(key.columns)
        and (not index.condition or index.condition == present)
    )


def _needs(key: ForeignKey, others: list[Index]) -> bool:
    return not any(_serves(other, key) for other in others)
