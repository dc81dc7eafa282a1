"""Result columns against fields, enums against CHECK lists, binds against the columns they meet."""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args, get_origin

from cwstore.core.checks import ValueRule, hints_of, members_of, rule_of
from cwstore.core.lexer import Token, spoken
from cwstore.core.mapping import field_names
from cwstore.core.secret import Secret
from cwstore.core.statement import ENGINE_BINDS, Patch, bind_names
from cwstore.testing.checker.found import AnyStatement
from cwstore.testing.checker.reading import result_columns
from cwstore.testing.checker.schema import Column, Schema
from cwstore.testing.checker.words import (
    aliases,
    at_top,
    bracket,
    clause,
    is_literal,
    split_at,
    text_of,
    upper,
)

#: A check and what it found.
Finding = tuple[str, str]

_DECLARED = {
    **dict.fromkeys((str, Secret), "TEXT"),
    **dict.fromkeys((int, bool, datetime), "INTEGER"),
    float: "REAL",
    bytes: "BLOB",
}
_COMPARISONS = {"=", "<>", "!=", "<", ">", "<=", ">="}
_OPERATORS = {"||", "+", "-", "*", "/", "%", "->", "->>"}
_BOOLEAN = frozenset({"0", "1"})


def check_columns(statement: AnyStatement, info: Any, schema: Schema) -> Iterator[Finding]:
    """Name, order, declared type and nullability of what the statement returns."""
    described: list[tuple[str, str | None, str | None, str | None, str | None]]
    described = list(info.description_full or ())
    if not described:
        return
    names = [column[0] for column in described]
    if statement.scalar:
        if len(names) != 1:
            yield "columns", f"it returns {', '.join(names)}; a value is one column"
            return
        annotations = {names[0]: statement.scalar}
        if rule_of(statement.scalar).type not in (str, int, float, bytes):
            word = getattr(statement.scalar, "__name__", str(statement.scalar))
            yield (
                "type",
                f"values come as str, int, float or bytes, never as {word}",
            )
    else:
        wanted = list(field_names(statement.entity))
        if names != wanted:
            yield "columns", _difference(statement.entity.__name__, wanted, names)
            return
        annotations = hints_of(statement.entity)
    nullness = result_columns(statement.text, schema)
    if len(nullness) != len(names):
        nullness = [None] * len(names)
    for (name, declared, _, table, origin), may_be_null in zip(described, nullness, strict=True):
        kind = rule_of(annotations[name])
        yield from _check_null(name, kind, may_be_null)
        column = schema.tables.get(table or "", {}).get(origin or "")
        if column and not statement.scalar:
            yield from _check_rule(name, kind, column)
        elif declared and declared.upper() != _declared(kind):
            yield "type", f"{name} is {declared.upper()}, the field {_shown(kind)}"


def _difference(entity: str, wanted: list[str], found: list[str]) -> str:
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    parts = [f"without {', '.join(missing)}"] if missing else []
    parts += [f"with {', '.join(extra)} besides"] if extra else []
    return f"the columns are not the fields of {entity}: {' and '.join(parts) or 'another order'}"


def _check_null(name: str, kind: ValueRule, may_be_null: bool | None) -> Iterator[Finding]:
    if may_be_null is False and kind.optional:
        yield "null", f"{name} is never NULL, but the field is Optional"
    elif may_be_null and not kind.optional:
        yield "null", f"{name} may be NULL, but the field is not Optional"
    elif may_be_null is None and not kind.optional:
        advice = "make it Optional, or write /* never NULL: reason */ behind the expression"
        yield "null", f"nobody knows whether {name} can be NULL; {advice}"


def _is_enum(kind: ValueRule) -> bool:
    return issubclass(kind.type, StrEnum)


def _declared(kind: ValueRule) -> str:
    return "TEXT" if _is_enum(kind) else _DECLARED.get(kind.type, "?")


def _shown(kind: ValueRule) -> str:
    return f"{kind.type.__name__}{' | None' if kind.optional else ''}"


def _check_rule(name: str, kind: ValueRule, column: Column) -> Iterator[Finding]:
    """A field or a stored bind against its column."""
    if column.type != _declared(kind):
        yield "type", f"{name} is {column.type}, the field {_shown(kind)}"
        return
    yield from _check_members(name, kind, column)
    if column.is_json != kind.is_json:
        has = "has" if column.is_json else "has no"
        yield "rule", f"{name} {has} CHECK (json_valid), the annotation is {kind.marker or 'plain'}"
    if column.is_filled and kind.marker != "non-empty":
        yield "rule", f"{name} has CHECK ({name} <> ''), the annotation is not NonEmpty"


def _check_members(name: str, kind: ValueRule, column: Column) -> Iterator[Finding]:
    members: frozenset[str] | None = None
    if _is_enum(kind):
        members = frozenset(member.value for member in members_of(kind))
    elif kind.type is bool:
        members = _BOOLEAN
    if members == column.members:
        return
    if members is None or column.members is None:
        has = "a CHECK list" if column.members else "no CHECK list"
        yield "enum", f"{name} has {has}, the field is {_shown(kind)}"
        return
    for value in sorted(members - column.members):
        yield "enum", f"{name}: {kind.type.__name__} has {value!r}, the CHECK list does not"
    for value in sorted(column.members - members):
        yield "enum", f"{name}: the CHECK list has {value!r}, {kind.type.__name__} does not"


# Binds


class Meeting(NamedTuple):
    """A bind or a literal, and the column that it is stored in or compared with."""

    value: Token
    column: str
    qualifier: str  #: a table or an alias; "" without one
    is_stored: bool


def check_binds(statement: AnyStatement, info: Any, schema: Schema) -> Iterator[Finding]:
    """The names that SQLite sees, and each bind's rule where its column is known."""
    if None in info.bindings_names:
        return  # positional ones are the dialect's
    named = bind_names(statement.text)
    if named != list(info.bindings_names):  # they are bound by position
        other = sorted(set(named) ^ set(info.bindings_names)) or named
        yield "binds", f"write binds as :lower_case: {', '.join(other)}"
        return
    hints = {*hints_of(statement.entity), *statement.extra, *ENGINE_BINDS}
    unknown = [name for name in named if name not in hints]
    for name in unknown:
        yield "binds", f":{name} is no field of {statement.entity.__name__}; name it with its type"
    kinds = {} if unknown else statement.rules()
    words = list(spoken(statement.text))
    for name in statement.extra:
        if name not in named and not _is_patched(statement, name):
            yield "binds", f"{name} is given a type, but there is no :{name}"
    for meeting in _meetings(words):
        kind = kinds.get(meeting.value.text[1:]) if meeting.value.kind == "bind" else None
        if kind:
            yield from _check_meeting(meeting, kind, words, schema)
        elif meeting.value.kind != "bind":
            yield from _check_literal(meeting, words, schema)
    yield from _check_limits(words, kinds)


def _is_patched(statement: AnyStatement, name: str) -> bool:
    """What Patch itself adds for every key."""
    return name == "if_updated_at" or name in hints_of(statement.entity)


def _check_limits(words: list[Token], kinds: dict[str, ValueRule]) -> Iterator[Finding]:
    for before, token in pairwise(words):
        kind = kinds.get(token.text[1:]) if token.kind == "bind" else None
        if upper(before) in {"LIMIT", "OFFSET"} and kind and kind != ValueRule(int, False, ""):
            yield "type", f"{token.text} is a {upper(before)}, its rule is {_shown(kind)}"


def _check_meeting(
    meeting: Meeting, kind: ValueRule, words: list[Token], schema: Schema
) -> Iterator[Finding]:
    tables = _tables_of(meeting, words, schema)
    known = {(one.type, one.members): one for one in _columns_of(meeting, tables, schema)}
    if len(known) != 1:
        return
    (column,) = known.values()
    name = f"{meeting.value.text} and {meeting.column}"
    if column.type != _declared(kind):
        yield "type", f"{name}: the column is {column.type}, the bind {_shown(kind)}"
        return
    if any(meeting.column in schema.tables.get(one, {}) for one in tables):
        yield from _check_members(name, kind, column)
    if meeting.is_stored and kind.optional and column.not_null:
        yield "null", f"{name}: the bind may be None, the column is NOT NULL"
    if not meeting.is_stored and kind.optional and "INSERT" not in map(upper, words):
        yield "null", f"{name}: the bind may be None, which equals nothing"


def _check_literal(meeting: Meeting, words: list[Token], schema: Schema) -> Iterator[Finding]:
    """A literal that no column of that name can hold."""
    tables = [one for one in _tables_of(meeting, words, schema) if one in schema.tables]
    lists = [column.members for column in _columns_of(meeting, tables, schema)]
    value = text_of(meeting.value)
    if lists and not any(members is None or value in members for members in lists):
        yield "enum", f"{meeting.column}: its CHECK list has no {meeting.value.text}"


def _columns_of(meeting: Meeting, tables: list[str], schema: Schema) -> list[Column]:
    columns = (schema.columns_of(table).get(meeting.column) for table in tables)
    return [column for column in columns if column]


def _tables_of(meeting: Meeting, words: list[Token], schema: Schema) -> list[str]:
    """The tables and views that the column may be of."""
    if meeting.is_stored:
        return [_target(words)]
    known = [*schema.tables, *schema.views]
    if not meeting.qualifier:
        spoken_names = {token.text for token in words}
        return [name for name in known if name in spoken_names]
    named = {**{name: name for name in known}, **aliases(words, set(known))}
    return [named[meeting.qualifier]] if meeting.qualifier in named else []


def _target(words: list[Token]) -> str:
    """The table that is written."""
    written = (at + 1 for at, token in at_top(words) if upper(token) in {"INTO", "UPDATE"})
    return words[next(written)].text


def _meetings(words: list[Token]) -> Iterator[Meeting]:
    yield from _inserted(words)
    assigned = {id(part[-1]) for part in _assignments(words) if len(part) == 3}
    for at in range(1, len(words) - 1):
        left, right = words[at - 1], words[at + 1]
        kinds = {left.kind, right.kind}
        if upper(words[at]) == "IN" and right.text == "(":
            column = words[at - 2] if upper(left) == "NOT" else left
            items = split_at(bracket(words, at + 1)[0], ",")
            yield from (
                Meeting(item[0], column.text, _qualifier(words, column), False)
                for item in items
                if len(item) == 1 and _is_value(item[0])
            )
        is_calculated = bool({_texts(words, at - 2), _texts(words, at + 2)} & _OPERATORS)
        if words[at].text not in _COMPARISONS or (is_calculated and "bind" not in kinds):
            continue
        if _is_value(left) and right.kind == "word":
            column = words[at + 3] if _texts(words, at + 2) == "." else right
            yield Meeting(left, column.text, _qualifier(words, column), False)
        elif left.kind == "word" and _is_value(right):
            is_stored = id(right) in assigned
            yield Meeting(right, left.text, _qualifier(words, left), is_stored)


def _is_value(token: Token) -> bool:
    return token.kind == "bind" or is_literal(token)


def _qualifier(words: list[Token], column: Token) -> str:
    at = next(position for position, token in enumerate(words) if token is column)
    return words[at - 2].text if _texts(words, at - 1) == "." else ""


def _texts(words: list[Token], position: int) -> str:
    return words[position].text if 0 <= position < len(words) else ""


def _assignments(words: list[Token]) -> list[list[Token]]:
    return split_at(clause(words, "SET", {"FROM", "WHERE", "RETURNING"}), ",")


def _inserted(words: list[Token]) -> Iterator[Meeting]:
    into = next((i for i, token in at_top(words) if upper(token) == "INTO"), None)
    if into is None:
        return
    rest = words[into + 2 :]
    columns = _first_bracket(rest)
    values = clause(rest, "VALUES", {"ON", "RETURNING"})
    items = _first_bracket(values) if values else clause(rest, "SELECT", {"FROM", "WHERE"})
    for column, item in zip(split_at(columns, ","), split_at(items, ","), strict=False):
        if len(item) == 1 and _is_value(item[0]):
            yield Meeting(item[0], column[0].text, "", True)


def _first_bracket(words: list[Token]) -> list[Token]:
    closing = next((i for i, token in at_top(words) if token.text == ")"), len(words))
    return words[1:closing]


# Patches


def check_patch(patch: Patch[Any]) -> Iterator[Finding]:
    """Each key is a field of the entity, of the same type and with the same word on None."""
    hints = hints_of(patch.entity)
    for key, annotation in hints_of(patch.keys).items():
        if key not in hints:
            yield "columns", f"the key {key} is no field of {patch.entity.__name__}"
            continue
        (plain, optional, taken), field = _kind_of_key(annotation), rule_of(hints[key])
        if plain is not field.type or optional != field.optional:
            name = f"{plain.__name__}{' | None' if optional else ''}"
            yield "type", f"the key {key} is {name}, the field {_shown(field)}"
        elif taken is not None and taken != [member.value for member in members_of(field)]:
            problem = f"takes {taken}, which are not the values of {plain.__name__}"
            yield "enum", f"the key {key} {problem}"


def _kind_of_key(annotation: Any) -> tuple[type[Any], bool, list[str] | None]:
    """As `rule_of`, where `Enum | str` and `Enum | Literal[...]` count as the enum.

    Then the plain strings that the latter takes; None: any.
    """
    arms = get_args(annotation)
    enums = [arm for arm in arms if isinstance(arm, type) and issubclass(arm, StrEnum)]
    literals = [arm for arm in arms if get_origin(arm) is Literal]
    if enums and (literals or str in arms):
        taken = [value for literal in literals for value in get_args(literal)]
        return enums[0], type(None) in arms, None if str in arms else taken
    kind = rule_of(annotation)
    return kind.type, kind.optional, None
