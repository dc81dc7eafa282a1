"""The statement checker: everything about a statement that can be known without running it."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import apsw

from cwstore.core.drivers import engine_for, is_address
from cwstore.core.extension import Extension
from cwstore.core.lexer import UnfinishedTextError, spoken
from cwstore.core.statement import Listing, Patch, Statement
from cwstore.errors import InvalidValueError
from cwstore.testing.checker.calls import check_calls
from cwstore.testing.checker.columns import check_binds, check_columns, check_patch
from cwstore.testing.checker.dialect import check_dialect
from cwstore.testing.checker.found import (
    AnyStatement,
    Found,
    find_statements,
    sources_of,
    unreadable,
)
from cwstore.testing.checker.lists import check_order
from cwstore.testing.checker.plans import check_indexes, check_plan, line_of, merged, plan_of
from cwstore.testing.checker.report import Allowances, Fault, Line, Report, settle
from cwstore.testing.checker.schema import Schema, open_schema
from cwstore.testing.checker.words import clause, name_of, upper

_Problem = Callable[[Statement[Any]], str | None]


def check_statements(
    target: ModuleType,
    schema: str | os.PathLike[str] | Extension,
    *,
    allow: Allowances | None = None,
    whole: bool = True,
    address: str | None = None,
) -> Report:
    """Check every Statement, Listing and Patch in the constants of the module, or the package.

    `schema` is SQL text (a str), or the Path of an .sql file, of a folder of migrations
    (0001_name.sql ...) or of a database file, of which the structure alone is read; or it is an
    Extension, whose statements may use the tables of the store too, while indexes and foreign keys
    are asked of its own tables alone. Statements are prepared on an in-memory copy and never run.
    `allow` tolerates what a check found: check -> subject -> reason; an allowance that is not
    needed is a fault itself. With `whole=False` other programs use the schema too: an unused index
    is none then. `address` is of a database of PostgreSQL with the same tables: each statement is
    prepared there, too.

    The checks, by the word that reports and allowances use:
    sql          it does not parse
    binds        binds and the keywords of each call differ, or are no `:lower_case` names
    call, verb   which statement a call runs is not clear; it writes under a reading method
    columns      names and order of the columns are not the fields of the row type
    type, rule   declared type, CHECK (json_valid), CHECK (x <> '') against the annotation
    null         a column may be NULL, or nobody knows, and the field is not Optional
    enum         members against CHECK (x IN (...)), and the strings of a key against the members
    order        a list is ordered by what may be NULL, or by nothing unique at the end
    scan, sort   a whole table is read, a temporary b-tree is built
    stamp        an UPDATE leaves `updated_at` as it was, although the table has one
    dialect      SQL that SQLite and PostgreSQL do not share
    postgresql   it cannot be prepared at `address`
    unused       no call runs the statement
    index, foreign-key   nobody needs the index; a foreign key has none
    allowance    it has no reason, or is not needed

    Raises ValueError if the schema cannot be built, and StorageError for an address that cannot be
    reached.
    """
    opened = open_schema(schema)
    try:
        with _there(address) as problem_there:
            return _check(target, opened, allow or {}, whole, problem_there)
    finally:
        opened.connection.close()


def _there(address: str | None) -> AbstractContextManager[_Problem]:
    """What PostgreSQL says of a statement; nothing where there is no address."""
    if address is None:
        return nullcontext(lambda _: None)
    if not is_address(address):
        raise InvalidValueError("address", "expected postgresql://host/database")
    there: AbstractContextManager[_Problem] = engine_for(address, "preparing").prepared_at(address)
    return there


def _check(
    target: ModuleType, schema: Schema, allow: Allowances, whole: bool, problem_there: _Problem
) -> Report:
    sources = sources_of(target)
    statements: list[Found] = []
    faults: list[Fault] = []
    for found in find_statements(sources):
        problem = unreadable(found.value)
        if problem:
            faults.append(Fault(found.place, found.subject, "columns", problem))
        else:
            statements.append(found)
    lines: list[Line] = []
    writes: dict[str, bool] = {}
    rows: dict[str, bool] = {}
    for found in statements:
        if isinstance(found.value, Patch):
            faults += _faults(found, check_patch(found.value))
        if isinstance(found.value, Listing):
            faults += _faults(found, check_order(found.value, schema))
        variants: list[Line] = []
        for statement in found.variants().values():
            try:
                info, plan = _prepared(statement.text, schema)
            except (apsw.Error, UnfinishedTextError) as error:
                faults.append(Fault(found.place, found.subject, "sql", str(error)))
                continue
            writes[found.subject] = not info.is_readonly
            rows[found.subject] = bool(info.description)
            variants.append(line_of(found.subject, info, plan, schema))
            faults += _faults(found, _check_one(statement, info, plan, schema))
            if refused := problem_there(statement):
                faults.append(Fault(found.place, found.subject, "postgresql", refused))
        if variants:
            lines.append(merged(variants, found.subject))
    faults += check_calls(sources, statements, writes, rows)
    faults += check_indexes(lines, schema, whole)
    return Report(tuple(settle(faults, allow)), tuple(lines))


def _prepared(text: str, schema: Schema) -> tuple[Any, list[str]]:
    """What SQLite says of the text, and its plan. Raises apsw.Error, UnfinishedTextError."""
    if not list(spoken(text)):
        raise apsw.SQLError("there is no statement in it")
    info = schema.info(text)
    return info, plan_of(info, schema)


def _faults(found: Found, findings: Iterator[tuple[str, str]]) -> list[Fault]:
    return [Fault(found.place, found.subject, check, problem) for check, problem in findings]


def _check_one(
    statement: AnyStatement, info: Any, plan: list[str], schema: Schema
) -> Iterator[tuple[str, str]]:
    yield from check_columns(statement, info, schema)
    yield from check_binds(statement, info, schema)
    yield from check_plan(statement.text, info, plan, schema)
    yield from check_dialect(statement.text, info, schema)
    yield from _check_stamp(statement, schema)


def _check_stamp(statement: AnyStatement, schema: Schema) -> Iterator[tuple[str, str]]:
    words = list(spoken(statement.text))
    # Of an INSERT with ON CONFLICT DO UPDATE the table stands elsewhere.
    target = clause(words, "UPDATE", {"SET"}) or clause(words, "INTO", set())
    if not target or "updated_at" not in schema.columns_of(name_of(target[0])):
        return
    assigned = clause(words, "SET", {"WHERE", "FROM", "RETURNING"})
    if not assigned:
        return
    texts = [upper(word) for word in assigned]
    # Beside `excluded` the row's own column may need the name of its table.
    texts = [text for text in texts if text not in {".", upper(target[0])}]
    rising = ["UPDATED_AT", "=", "CASE", "WHEN", ":now", ">", "UPDATED_AT"]
    if not any(texts[i : i + len(rising)] == rising for i in range(len(texts))):
        yield "stamp", "it does not set updated_at = {NEXT_UPDATED_AT}"
