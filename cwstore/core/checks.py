"""Check values on their way in, and make them what SQLite takes.

A bind takes its rule from the annotation of the entity's field of the same name. Its check is
compiled on first use, because a process that opens a store rarely needs more than a few.
"""

import os
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from threading import TIMEOUT_MAX
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NamedTuple,
    NoReturn,
    TypeGuard,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from cwstore.core.faults import loading
from cwstore.errors import InvalidValueError, SecretError, of_item

if TYPE_CHECKING:
    from cwstore.core.secret import Secret

T = TypeVar("T")
R = TypeVar("R")

#: Text that is never empty: ids and names.
NonEmpty = Annotated[str, "non-empty"]
#: JSON text, kept to the letter; the database's CHECK refuses what is not JSON.
Json = Annotated[str, "json"]

Binder = Callable[[Mapping[str, Any]], list[Any]]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
#: What a datetime can say, in microseconds since 1970.
FIRST_MICROS = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MICROSECOND
LAST_MICROS = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MICROSECOND


class ValueRule(NamedTuple):
    """What an annotation allows: its plain type, whether None, whether empty text, a marker."""

    type: type[Any]
    optional: bool
    marker: str

    @property
    def is_json(self) -> bool:
        """Whether it is JSON text."""
        return "json" in self.marker

    @property
    def is_time(self) -> bool:
        """Whether it is a datetime, also while freezegun puts another class of that name here."""
        return issubclass(self.type, datetime)

    @property
    def is_sealed(self) -> bool:
        """Whether it is kept as a secret: see `core.secret`."""
        return "sealed" in self.marker


def rule_of(annotation: Any) -> ValueRule:
    """The rule that an annotation such as `str`, `Json | None` or `TaskStatus` stands for."""
    optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        arms = set(get_args(annotation))
        optional = types.NoneType in arms
        # `Secret | str`: a secret may be given as text.
        (annotation,) = arms - {types.NoneType, str} or {str}
    if get_origin(annotation) is Annotated:
        plain, marker = get_args(annotation)
        return ValueRule(plain, optional, marker)
    return ValueRule(annotation, optional, getattr(annotation, "value_marker", ""))


_HINTS: dict[Any, dict[str, Any]] = {}


def hints_of(entity: type[Any]) -> dict[str, Any]:
    """The annotation of each field, also of those that are inherited or written as text."""
    found = _HINTS.get(entity)
    if found is None:
        found = _HINTS[entity] = get_type_hints(entity, include_extras=True)
    return found


def members_of(rule: ValueRule) -> list[StrEnum]:
    """The members of an enum's ValueRule, in order of definition.

    Raises TypeError for a type that is none: no column holds its values.
    """
    kind = cast("type[Any]", get_origin(rule.type) or rule.type)  # list, of list[str]
    if not issubclass(kind, StrEnum):
        raise TypeError(
            f"no column holds {rule.type}: the field of a row is str, int, float, bool, bytes,"
            " datetime or a StrEnum, and maybe None"
        )
    return list(kind)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether it is an integer or a float; a bool is neither."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def to_micros(field: str, value: object) -> int:
    """Microseconds since 1970; exact for every aware datetime that is in years 1 to 9999 UTC."""
    if not isinstance(value, datetime):
        raise InvalidValueError(field, f"expected datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise InvalidValueError(field, "is a naive datetime; give it a time zone")
    micros = (value - EPOCH) // MICROSECOND
    if not FIRST_MICROS <= micros <= LAST_MICROS:
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


def check_secret(field: str, value: object) -> "Secret":
    """The value as a Secret. No variable of a frame that raises is its text."""
    with loading("credentials"):
        from cwstore.core.secret import Secret, hide

    value = hide(value)
    if not isinstance(value, Secret):
        kind = "NoneType" if value is None else value.kind
        raise InvalidValueError(field, f"expected Secret or str, got {kind}")
    problem = _problem_of(value)
    if problem:
        raise InvalidValueError(field, problem)
    return value


def _problem_of(secret: "Secret") -> str:
    """Why it cannot be stored; "" if it can."""
    try:
        secret.reveal().encode()
    except SecretError as error:
        return str(error)
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not text"
    return "contains U+0000, which SQLite text cannot hold" if "\0" in secret.reveal() else ""


def _integer(field: str, value: object, rule: ValueRule) -> int:
    if not is_integer(value):
        raise InvalidValueError(field, f"expected {rule.type.__name__}, got {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise InvalidValueError(field, "does not fit into 64 bits")
    return int(value)


def _real(field: str, value: object) -> float:
    if not is_number(value):
        raise InvalidValueError(field, f"expected float, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if number - number != 0:  # NaN, which SQLite makes NULL, or an infinity
        raise InvalidValueError(field, "must be a finite number")
    return number


def _blob(field: str, value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(cast(bytes, value))
    raise InvalidValueError(field, f"expected bytes, got {type(value).__name__}")


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


def check_limit(limit: object, field: str = "limit") -> int:
    """The bind for LIMIT; None stands for all rows."""
    if limit is None:
        return 2**63 - 1
    number = _integer(field, limit, _INTEGER)
    if number < 0:
        raise InvalidValueError(field, "must be 0 or more; None for all")
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


def check_answer(callback: str, answer: object) -> bool:
    """What a callback returned: True or False and nothing else, or InvalidValueError.

    None from one that forgot to return, or a coroutine, would else be taken for an answer.
    """
    if isinstance(answer, bool):
        return answer
    with loading(callback):
        from inspect import iscoroutine  # what most processes do not need

    kind = type(answer).__name__
    if iscoroutine(answer):
        answer.close()
    raise InvalidValueError(callback, f"must return True or False, and it returned {kind}")


def for_each(items: Iterable[T], act: Callable[[T], R]) -> list[R]:
    """What `act` returns for each; an InvalidValueError that it raises says for which, from 0."""
    results: list[R] = []
    for index, item in enumerate(items):
        try:
            results.append(act(item))
        except InvalidValueError as error:
            raise of_item(error, index) from None
    return results


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


# How a plain, good value is checked inline; {v} is the value of the bind {b}, {k} its ValueRule,
# {e} the values of its enum.
_CHECKS: dict[type[Any], str] = {
    str: r'if {v}.__class__ is not str or "\0" in {v}{or_empty}: {v} = text({b}, {v}, {k})',
    int: "if {v}.__class__ is not int or not MIN <= {v} <= MAX: {v} = integer({b}, {v}, {k})",
    float: "if {v}.__class__ is not float or {v} - {v} != 0: {v} = real({b}, {v})",
    bytes: "if {v}.__class__ is not bytes: {v} = blob({b}, {v})",
    bool: "if {v} is not True and {v} is not False: boolean({b}, {v})",
    datetime: "{v} = to_micros({b}, {v})",
    StrEnum: (
        "{v} = {e}[{v}] if {v}.__class__ is {k}.type or {v}.__class__ is str and {v} in {e}"
        " else member({b}, {v}, {k})"
    ),
}

_SEALED_CHECK = "{v} = secret({b}, {v})"


def compile_binder(order: list[str], rules: Mapping[str, ValueRule]) -> Binder:
    """A function that checks the values of these binds and lists them in order for SQLite.

    One that has no ValueRule is left None. (By position, because by name each costs another 75 ns.)
    """
    names: dict[str, Any] = {
        "text": _text,
        "integer": _integer,
        "real": _real,
        "blob": _blob,
        "boolean": _boolean,
        "member": _member,
        "to_micros": to_micros,
        "secret": check_secret,
        "MIN": -(2**63),
        "MAX": 2**63 - 1,
    }
    lines = ["def bind(binds):"]
    for index, (name, rule) in enumerate(rules.items()):
        v, k, e = f"v_{name}", f"k{index}", f"e{index}"
        names[k] = rule
        kind = type(EPOCH) if rule.is_time else rule.type
        check = _SEALED_CHECK if rule.is_sealed else _CHECKS.get(kind)
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


# What a caller gives to `Store.open`, `migrate` and the like


def check_flags(**flags: object) -> None:
    """Raise InvalidValueError for the first one that is no bool."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidValueError(name, f"expected bool, got {type(value).__name__}")


def check_checkpoints(value: object) -> bool:
    """Whether they are another program's. Raises InvalidValueError for an unknown value."""
    if value not in ("own", "external"):
        raise InvalidValueError("checkpoints", f"{value!r} is not one of: own, external")
    return value == "external"


def check_application_id(value: object) -> int:
    """Raise InvalidValueError unless it is a number that SQLite can keep, and not 0."""
    if not is_integer(value):
        raise InvalidValueError("application_id", f"expected int, got {type(value).__name__}")
    if not 0 < value < 2**31:
        raise InvalidValueError(
            "application_id", "must be from 1 to 0x7fffffff: four ASCII letters make a good one"
        )
    return value


def check_directory(field: str, value: object) -> str:
    """The path as text. Raises InvalidValueError unless a directory can have it."""
    place = os.fspath(cast("os.PathLike[str]", value)) if isinstance(value, os.PathLike) else value
    if not isinstance(place, str) or "\0" in place:
        raise InvalidValueError(field, "expected a path as str or os.PathLike[str]")
    try:
        os.fsencode(place)
    except UnicodeEncodeError:
        raise InvalidValueError(field, "no path of this system can hold its text") from None
    return place


def check_progress(on_progress: object) -> None:
    """Raise InvalidValueError unless it is None or can be called."""
    if on_progress is not None and not callable(on_progress):
        raise InvalidValueError("on_progress", "expected a callable that takes a Progress")


def check_busy_timeout(busy_timeout: object) -> float:
    """The seconds as a float. Raises InvalidValueError unless it is a finite number, at least 0."""
    if not is_number(busy_timeout):
        raise InvalidValueError(
            "busy_timeout", f"expected seconds as a number, got {type(busy_timeout).__name__}"
        )
    if not 0 <= busy_timeout < float("inf"):
        raise InvalidValueError("busy_timeout", "must be a finite number of seconds, at least 0")
    return float(min(busy_timeout, TIMEOUT_MAX))  # an int may be too large for a float
