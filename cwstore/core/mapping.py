"""Make entities of rows.

A mapper is compiled on first use, because a process that opens a store rarely needs more than a
few of its statements.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from cwstore.core.checks import EPOCH, MICROSECOND, ValueRule, hints_of, members_of, rule_of
from cwstore.core.entity import fields_of
from cwstore.core.faults import loading
from cwstore.errors import CorruptDatabaseError, SecretError

if TYPE_CHECKING:
    from cwstore.core.sealing import SecretCodec

Row = tuple[Any, ...]


class _Times(dict[int, datetime]):
    """The datetimes of stamps that were read before; making one is the dearest step of a row."""

    def __missing__(self, micros: int) -> datetime:
        if len(self) >= _TIMES_KEPT:
            self.clear()
        made = self[micros] = EPOCH + MICROSECOND * micros
        return made


_TIMES_KEPT = 16384  # 2 MB
_MANY = 100  # rows
_known_time_of = _Times().__getitem__


def _value_code(name: str, rule: ValueRule, names: dict[str, Any], *, again: bool) -> str:
    if is_plain(rule):
        return name
    if rule.is_sealed:
        code = f"unseal({name!r}, {name}, {names['id_code']})"
        code = code if rule.type is str else f"Secret({code})"
    elif rule.type is bool:
        code = f"{name} != 0"
    elif rule.is_time:
        code = f"known_time_of({name})" if again else f"EPOCH + MICROSECOND * {name}"
    else:
        names[rule.type.__name__] = {member.value: member for member in members_of(rule)}
        code = f"{rule.type.__name__}[{name}]"
    return f"None if {name} is None else {code}" if rule.optional else code


def is_plain(rule: ValueRule) -> bool:
    """Whether the value in the row is the value of the field."""
    return rule.type in (str, int, float, bytes) and not rule.is_sealed


def _misfit(entity: type[Any], problem: str) -> CorruptDatabaseError:
    return CorruptDatabaseError(
        f"a row does not fit {entity.__name__} ({problem}); a newer version or another program"
        " wrote it: upgrade cwstore, or run `cwstore check`"
    )


# A frozen dataclass assigns through object.__setattr__, which triples the cost of a row; so each
# entity is filled as an open twin with the same slots, and then given its class. Where it raises,
# the values of the row are forgotten first: a traceback may show the variables.
_TWIN = """
class Twin:
    __slots__ = {slots!r}

def build({argument}):
    try:
        {body}
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        problem = f"{{error.__class__.__name__}}: {{error}}"  # `type` may be a column
    except SecretError:
        {forget}
        raise
    {forget}
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


# A NamedTuple pays nothing for being frozen.
_TUPLE = """
        {targets} = row
        return entity({values})
"""

_TUPLES = """
        return [entity({values}) for {targets} in rows]
"""


def field_names(entity: type[Any]) -> tuple[str, ...]:
    """The columns of a row type, in order: a dataclass or a NamedTuple."""
    if issubclass(entity, tuple):
        return cast("type[NamedTuple]", entity)._fields
    if (names := fields_of(entity)) is not None:
        return names
    from dataclasses import fields

    return tuple(field.name for field in fields(entity))


def compile_mapper(
    entity: type[Any], *, written: bool, codec: "SecretCodec | None" = None
) -> Callable[[list[Row]], list[Any]]:
    """A function that makes entities of rows whose columns are its fields, in order.

    `written` says that the statement has just written them: their times are not kept. `codec`
    decodes what was encoded; it raises SecretError where it cannot.
    """
    return _compile(entity, "rows", _ROWS, _TUPLES, again=not written, codec=codec)


def compile_row_mapper(
    entity: type[Any], codec: "SecretCodec | None" = None
) -> Callable[[Row], Any]:
    """As `compile_mapper`, for one row, whose times are not kept either.

    To keep one takes twice as long as to make it, and among many rows that are read one at a time
    few are met again: a find among a million tasks took 12.3 µs with kept times, 11.6 without;
    among ten thousand 7.3 in both ways.
    """
    return _compile(entity, "row", _ROW, _TUPLE, again=False, codec=codec)


def _compile(
    entity: type[Any],
    argument: str,
    body: str,
    of_tuple: str,
    *,
    again: bool,
    codec: "SecretCodec | None",
) -> Callable[[Any], Any]:
    hints = hints_of(entity)
    rules = {name: rule_of(hints[name]) for name in field_names(entity)}
    names: dict[str, Any] = {
        "entity": entity,
        "misfit": _misfit,
        "known_time_of": _known_time_of,
        "EPOCH": EPOCH,
        "MICROSECOND": MICROSECOND,
        "SecretError": SecretError,
    }
    if any(rule.is_sealed for rule in rules.values()):
        _name_what_unseals(names, entity, rules, codec)
    if issubclass(entity, tuple):
        values = [_value_code(name, rule, names, again=False) for name, rule in rules.items()]
        code = of_tuple.format(targets=f"({', '.join(rules)},)", values=", ".join(values))
    else:
        code = body.format(fill=_fill_code(rules, names, again=again))
    forget = " = ".join(
        ["rows = row", *(name for name, rule in rules.items() if not is_plain(rule)), "None"]
    )
    exec(
        _TWIN.format(slots=tuple(rules), argument=argument, body=code.strip(), forget=forget), names
    )
    return cast(Callable[[Any], Any], names["build"])


def _name_what_unseals(
    names: dict[str, Any],
    entity: type[Any],
    rules: Mapping[str, ValueRule],
    codec: "SecretCodec | None",
) -> None:
    with loading("credentials"):
        from cwstore.core.sealing import unsealer  # what most processes do not need
        from cwstore.core.secret import Secret

    names["Secret"] = Secret
    names["unseal"] = unsealer(entity, codec)
    first = next(iter(rules))  # the id
    names["id_code"] = first if issubclass(entity, tuple) else f"one.{first}"


def _fill_code(rules: Mapping[str, ValueRule], names: dict[str, Any], *, again: bool) -> str:
    """A line that fills the twin `one` from `row`; adds the `names` of enums.

    What needs no conversion goes from the row straight into its slot. Rows with more than one time
    are updated, and lists of them are read `again` and again, so their times are kept for a while.
    Those of rows with one, such as log chunks, would only push them out. A row that was never
    updated has one datetime for both of its times.
    """
    times = [rule.is_time for rule in rules.values()].count(True)
    targets: list[str] = []
    steps: list[str] = []
    for name, rule in rules.items():
        if is_plain(rule):
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
