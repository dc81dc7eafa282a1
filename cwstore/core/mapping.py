"""Compile what turns Python values into binds and rows into entities.

The one place where values are checked: a bind takes its rule from the annotation of the entity's
field of the same name. Compiled on first use, because a process that opens a store rarely needs
more than a few of its statements.
"""

import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import CoroutineType
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NoReturn,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from cwstore.errors import CorruptDatabaseError, InvalidValueError

#: Text that is never empty: ids and names.
NonEmpty = Annotated[str, "non-empty"]
#: JSON text, kept to the letter; the database's CHECK refuses what is not JSON.
Json = Annotated[str, "json"]

Row = tuple[Any, ...]
Binder = Callable[[Mapping[str, Any]], list[Any]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

# A bind outside of quoted text and comments; 'checkpoint:human-verify' holds none.
_BIND = re.compile(r"""'[^']*'|"[^"]*"|--[^\n]*|/\*[\s\S]*?\*/|:([a-z_]+)""")


class ValueRule(NamedTuple):
    """What an annotation allows: its plain type, whether None, whether empty text, a marker."""

    type: type[Any]
    optional: bool
    marker: str


def rule_of(annotation: Any) -> ValueRule:
    """The rule that an annotation such as `str`, `Json | None` or `TaskStatus` stands for."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (arm for arm in get_args(annotation) if arm is not types.NoneType)
        optional = True
    if get_origin(annotation) is Annotated:
        plain, marker = get_args(annotation)
        return ValueRule(plain, optional, marker)
    return ValueRule(annotation, optional, "")


def hints_of(entity: type[Any]) -> dict[str, Any]:
    """The annotation of each field, also of those that are inherited or written as text."""
    return get_type_hints(entity, include_extras=True)


def members_of(rule: ValueRule) -> list[StrEnum]:
    """The members of an enum's ValueRule, in order of definition."""
    return list(cast(type[StrEnum], rule.type))


def bind_names(text: str) -> list[str]:
    """The named binds of a statement, each once, in order of appearance."""
    return list(dict.fromkeys(name for name in _BIND.findall(text) if name))


def is_insert(text: str) -> bool:
    """Whether a statement inserts, wherever in its text that is said."""
    return re.search(r"\bINSERT\b", _BIND.sub(" ", text), re.IGNORECASE) is not None


# Values on their way in


def to_micros(field: str, value: object) -> int:
    """Microseconds since 1970; exact for every aware datetime that is in years 1 to 9999 UTC."""
    if not isinstance(value, datetime):
        raise InvalidValueError(field, f"expected datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidValueError(field, "is a naive datetime; give it a time zone")
    micros = (value - _EPOCH) // _MICROSECOND
    if not _FIRST <= micros <= _LAST:
        raise InvalidValueError(field, "is outside of the years 1 to 9999 in UTC")
    return micros


def _text(field: str, value: object, rule: ValueRule) -> str:
    """What the compiled fast check did not let pass: a subclass of str, or a reason to refuse."""
    if not isinstance(value, str):
        raise InvalidValueError(field, f"expected str, got {type(value).__name__}")
    plain = str.__str__(value)
    if "\0" in plain:
        raise InvalidValueError(field, "contains U+0000, which SQLite text cannot hold")
    if rule.marker == "non-empty" and not plain:
        raise InvalidValueError(field, "must not be empty")
    return plain


def _integer(field: str, value: object, rule: ValueRule) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidValueError(field, f"expected {rule.type.__name__}, got {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise InvalidValueError(field, "does not fit into 64 bits")
    return int(value)


def _boolean(field: str, value: object) -> NoReturn:
    raise InvalidValueError(field, f"expected bool, got {type(value).__name__}")


def _member(field: str, value: object, rule: ValueRule) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(
            field, f"expected {rule.type.__name__} or str, got {type(value).__name__}"
        )
    plain = str.__str__(value)
    known = [member.value for member in members_of(rule)]
    if plain in known:  # a subclass of str
        return plain
    raise InvalidValueError(field, f"{plain!r} is not one of: {', '.join(known)}")


_INTEGER = rule_of(int)
_TEXT = rule_of(str)
_ID = rule_of(NonEmpty)


def check_limit(limit: object) -> int:
    """The bind for LIMIT; None stands for all rows."""
    if limit is None:
        return 2**63 - 1
    number = _integer("limit", limit, _INTEGER)
    if number < 0:
        raise InvalidValueError("limit", "must be 0 or more; None for all")
    return number


def check_id(field: str, value: object) -> None:
    """Refuse what cannot be an id, where no statement may come to check it."""
    check_text(field, value, _ID)


def check_text(field: str, value: object, rule: ValueRule = _TEXT) -> None:
    """Refuse what is not text, where no statement may come to check it."""
    text = _text(field, value, rule)
    try:
        text.encode()
        return
    except UnicodeEncodeError:  # carries the text: it is not chained
        pass
    raise InvalidValueError(field, "contains a lone surrogate, which is not text")


def check_flag(field: str, value: object) -> None:
    """Refuse what is not a bool, where no statement may come to check it."""
    if not isinstance(value, bool):
        _boolean(field, value)


def check_answer(callback: str, answer: object) -> bool:
    """What a callback returned: True or False and nothing else, or InvalidValueError.

    None from one that forgot to return, or a coroutine, would else be taken for an answer.
    """
    if isinstance(answer, bool):
        return answer
    kind = type(answer).__name__
    if isinstance(answer, CoroutineType):
        cast("CoroutineType[Any, Any, Any]", answer).close()
    raise InvalidValueError(callback, f"must return True or False, and it returned {kind}")


def check_members(field: str, values: object, enum: type[StrEnum]) -> list[str]:
    """The values of some members of an enum, each once, given as members or plain strings."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidValueError(
            field, f"expected several of {enum.__name__}, got {type(values).__name__}"
        )
    known = {member.value: member.value for member in enum}
    chosen = [
        known[value]
        if isinstance(value, str) and value in known
        else _member(field, value, rule_of(enum))
        for value in cast(Iterable[object], values)
    ]
    return list(dict.fromkeys(chosen))


# The inline way of a plain, good value; {v} is the value of the bind {b}, {k} its ValueRule, {e}
# the values of its enum.
_CHECKS: dict[type[Any], str] = {
    str: r'if {v}.__class__ is not str or "\0" in {v}{or_empty}: {v} = text({b}, {v}, {k})',
    int: "if {v}.__class__ is not int or not MIN <= {v} <= MAX: {v} = integer({b}, {v}, {k})",
    bool: "if {v} is not True and {v} is not False: boolean({b}, {v})",
    datetime: "{v} = to_micros({b}, {v})",
    StrEnum: (
        "{v} = {e}[{v}] if {v}.__class__ is {k}.type or {v}.__class__ is str and {v} in {e}"
        " else member({b}, {v}, {k})"
    ),
}


def compile_binder(order: list[str], rules: Mapping[str, ValueRule]) -> Binder:
    """A function that checks the values of these binds and lists them in order for SQLite.

    One that has no ValueRule is left None. (By position, because by name each costs another 75 ns.)
    """
    names: dict[str, Any] = {
        "text": _text,
        "integer": _integer,
        "boolean": _boolean,
        "member": _member,
        "to_micros": to_micros,
        "MIN": -(2**63),
        "MAX": 2**63 - 1,
    }
    lines = ["def bind(binds):"]
    for index, (name, rule) in enumerate(rules.items()):
        v, k, e = f"v_{name}", f"k{index}", f"e{index}"
        names[k] = rule
        check = _CHECKS.get(rule.type)
        if check is None:
            check = _CHECKS[StrEnum]
            names[e] = {member.value: member.value for member in members_of(rule)}
        or_empty = f" or not {v}" if rule.marker == "non-empty" else ""
        lines.append(f" {v} = binds[{name!r}]")
        lines.append(f" if {v} is not None:" if rule.optional else " if True:")
        lines.append("  " + check.format(v=v, b=repr(name), k=k, e=e, or_empty=or_empty))
    values = [f"v_{name}" if name in rules else "None" for name in order]
    lines.append(f" return [{', '.join(values)}]")
    exec("\n".join(lines), names)
    return cast(Binder, names["bind"])


# Rows on their way out


class _Times(dict[int, datetime]):
    """The datetimes of stamps that were read before; making one is the dearest step of a row."""

    def __missing__(self, micros: int) -> datetime:
        if len(self) >= _TIMES_KEPT:
            self.clear()
        made = self[micros] = _EPOCH + _MICROSECOND * micros
        return made


_TIMES_KEPT = 16384  # 2 MB
_MANY = 100  # rows
_known_time_of = _Times().__getitem__


def _value_code(name: str, rule: ValueRule, names: dict[str, Any], *, again: bool) -> str:
    if rule.type is bool:
        code = f"{name} != 0"
    elif rule.type is datetime:
        code = f"known_time_of({name})" if again else f"EPOCH + MICROSECOND * {name}"
    else:
        names[rule.type.__name__] = {member.value: member for member in members_of(rule)}
        code = f"{rule.type.__name__}[{name}]"
    return f"None if {name} is None else {code}" if rule.optional else code


def _misfit(entity: type[Any], problem: str) -> CorruptDatabaseError:
    return CorruptDatabaseError(
        f"a row does not fit {entity.__name__} ({problem}); a newer version or another program"
        " wrote it: upgrade cwstore, or run `cwstore check`"
    )


# A frozen dataclass assigns through object.__setattr__, which triples the cost of a row; so each
# entity is filled as an open twin with the same slots, and then given its class.
_TWIN = """
class Twin:
    __slots__ = {slots!r}

def build({argument}):
    try:
        {body}
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        problem = f"{{type(error).__name__}}: {{error}}"
    raise misfit(entity, problem)
"""

_ROW = """
        one = Twin()
        {fill}
        return one
"""

# Many are made empty first: the cycle collector passes over them several times while they are new,
# and 10,000 that are filled by then take 1.2 times as long. But two would take 1.4 times as long in
# that way.
_ROWS = f"""
        if len(rows) < {_MANY}:
            made = []
            for row in rows:
                one = Twin()
                {{fill}}
                made.append(one)
        else:
            made = [Twin() for _ in rows]
            for one, row in zip(made, rows):
                {{fill}}
        return made
"""


def compile_mapper(entity: type[Any], *, written: bool) -> Callable[[list[Row]], list[Any]]:
    """A function that makes frozen entities of rows whose columns are its fields, in order.

    `written` says that the statement has just written them: their times are not kept.
    """
    return _compile(entity, "rows", _ROWS, again=not written)


def compile_row_mapper(entity: type[Any]) -> Callable[[Row], Any]:
    """As `compile_mapper`, for one row, whose times are not kept either.

    To keep one takes twice as long as to make it, and among many rows that are read one at a time
    few are met again: a find among a million tasks took 12.3 µs with kept times, 11.6 without;
    among ten thousand 7.3 in both ways.
    """
    return _compile(entity, "row", _ROW, again=False)


def _compile(entity: type[Any], argument: str, body: str, *, again: bool) -> Callable[[Any], Any]:
    hints = hints_of(entity)
    rules = {field.name: rule_of(hints[field.name]) for field in fields(entity)}
    names: dict[str, Any] = {
        "entity": entity,
        "misfit": _misfit,
        "known_time_of": _known_time_of,
        "EPOCH": _EPOCH,
        "MICROSECOND": _MICROSECOND,
    }
    fill = _fill_code(rules, names, again=again)
    body = body.strip().format(fill=fill)
    exec(_TWIN.format(slots=tuple(rules), argument=argument, body=body), names)
    return cast(Callable[[Any], Any], names["build"])


def _fill_code(rules: Mapping[str, ValueRule], names: dict[str, Any], *, again: bool) -> str:
    """A line that fills the twin `one` from `row`; adds the `names` of enums.

    What needs no conversion goes from the row straight into its slot. Rows with more than one time
    are updated, and lists of them are read `again` and again, so their times are kept for a while.
    Those of rows with one, such as log chunks, would only push them out. A row that was never
    updated has one datetime for both of its times.
    """
    times = [rule.type for rule in rules.values()].count(datetime)
    targets: list[str] = []
    steps: list[str] = []
    for name, rule in rules.items():
        if rule.type in (str, int):
            targets.append(f"one.{name}")
            continue
        targets.append(name)
        code = _value_code(name, rule, names, again=again and times > 1)
        if name == "updated_at" and "created_at" in targets:
            code = f"one.created_at if updated_at == created_at else {code}"
        steps.append(f"one.{name} = {code}")
    return f"({', '.join(targets)},) = row; {'; '.join([*steps, 'one.__class__ = entity'])}"


def first_value(row: Row) -> Any:
    """The mapper of a row of one column of plain values."""
    (value,) = row
    return value


def first_column(rows: list[Row]) -> list[Any]:
    """The mapper of such rows."""
    return [value for (value,) in rows]
