"""Hypothesis strategies for what repositories take, made from their signatures and row types.

    from hypothesis import given
    from cwstore.tasks import TaskRepository
    from cwstore.testing.strategies import arguments, patches

    @given(arguments(TaskRepository), patches(TaskRepository))
    def test_our_view_of_a_task(create, patch): ...

All values are valid and nasty: empty where that is allowed, huge, of every plane of Unicode but
without surrogates and U+0000, at the edges of 64 bits, of the years 1 to 9999 in any zone.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, cast, get_args, is_typeddict

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cwstore._engine import Repository
from cwstore._rows import Kind, kind_of, members_of
from cwstore.change_sets import ChangeSetAction, ChangeSetEntityType
from cwstore.messages import MessageRepository, PartyType

Arguments = dict[str, Any]

_LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
# The smallest and the greatest letter of each plane are among them, and what breaks naive code.
_TEXTS = (
    *(chr(plane * 0x10000 + 1) + chr(plane * 0x10000 + 0xFFFF) for plane in range(17)),
    *(
        " ",
        "\n",
        "\r\n",
        "\t",
        "'",
        '"',
        "';--",
        ":id",
        "?",
        "%",
        "_",
        "\\",
        "NULL",
        "é",
        "e\u0301",
    ),
    *("\ufeff", "\u202e", "\u2028", "\x7f", "\x01", "0", "-1", "\ud7ff", "\ue000", "x" * 20_000),
)
_JSON = (
    *("null", "0", '""', "[]", " {\n} ", '{"a":1,"a":2}', "1e400", "9" * 400, '"\\ud800"'),
    *("[" * 900 + "]" * 900, json.dumps("x" * 20_000), '"\U0001f600"', "1.0", "-0"),
)
_EDGES = (0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, -(2**63))
_ENDS = (
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
)


def texts(*, min_size: int = 0) -> SearchStrategy[str]:
    """Any text that the database can hold."""
    known = [text for text in ("", *_TEXTS) if len(text) >= min_size]
    return st.text(_LETTERS, min_size=min_size) | _known(known)


def ids() -> SearchStrategy[str]:
    """Any text that may be an id or a name."""
    return texts(min_size=1)


def integers(*, least: int = -(2**63)) -> SearchStrategy[int]:
    """Any integer of 64 bits that is at least that."""
    edges = [edge for edge in _EDGES if edge >= least]
    return st.integers(least, 2**63 - 1) | st.sampled_from(edges)


def times() -> SearchStrategy[datetime]:
    """Aware datetimes, to the microsecond, of any zone, whose moment is in the years 1 to 9999."""
    offsets = st.integers(-86_399_999_999, 86_399_999_999) | st.sampled_from((0, 3_600_000_000))
    zones = offsets.map(lambda micros: timezone(timedelta(microseconds=micros)))
    moments = st.datetimes(timezones=st.just(UTC)) | st.sampled_from(_ENDS)
    return st.builds(_in_zone, moments, zones)


def _in_zone(moment: datetime, zone: timezone) -> datetime:
    try:
        return moment.astimezone(zone)
    except OverflowError:
        return moment


def json_texts() -> SearchStrategy[str]:
    """Any JSON text, however it is laid out."""
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    plain = st.none() | st.booleans() | numbers | texts()
    nested = st.recursive(
        plain, lambda inner: st.lists(inner) | st.dictionaries(texts(), inner), max_leaves=8
    )
    layouts = st.sampled_from((None, 0, 2))
    written = st.builds(json.dumps, nested, indent=layouts, ensure_ascii=st.booleans())
    return written | _known(_JSON)


def _known(values: Sequence[str]) -> SearchStrategy[str]:
    """As `sampled_from`; but that one warns when it has to describe itself, with values so huge."""

    @st.composite
    def known(draw: st.DrawFn) -> str:
        return values[draw(st.integers(0, len(values) - 1))]

    return known()


def members(enum: type[StrEnum]) -> SearchStrategy[StrEnum | str]:
    """The members of an enum, and their values as plain text."""
    return st.sampled_from([*enum, *(member.value for member in enum)])


def change_set_entries() -> SearchStrategy[Arguments]:
    """Entries for `change_sets.create`, each with the states that its action asks for."""
    return st.builds(
        _entry,
        entity_type=members(ChangeSetEntityType),
        entity_id=ids(),
        action=members(ChangeSetAction),
        previous_state=json_texts(),
        new_state=json_texts(),
        sort_order=integers(),
    )


def _entry(**entry: Any) -> Arguments:
    absent = {"create": "previous_state", "delete": "new_state"}.get(entry["action"])
    return {key: value for key, value in entry.items() if key != absent}


def arguments(
    repository: type[Repository[Any]], method: str = "create", /, **given: SearchStrategy[Any]
) -> SearchStrategy[Arguments]:
    """Keyword arguments for a method; those with a default may be missing.

    Ids of other rows are for you to give, as in `arguments(PhaseRepository,
    initiative_id=st.sampled_from(ids))`. If you do not, optional ones are left out and others are
    ids of no row. `given` replaces any other strategy too.
    """
    signature = inspect.signature(getattr(repository, method))
    hints = _hints(signature.return_annotation)
    required: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        has_default = parameter.default is not parameter.empty
        kind = kind_of(hints[name]) if name in hints else None
        if parameter.kind is parameter.VAR_KEYWORD or name == "if_updated_at":
            continue
        if name in given:
            (optional if has_default else required)[name] = given[name]
        elif name == "entries":
            required[name] = st.lists(change_set_entries(), max_size=4)
        elif not _is_reference(name, kind):
            made = values(name, kind or _kind_of_parameter(parameter.annotation))
            (optional if has_default else required)[name] = made
    made = st.fixed_dictionaries(required, optional=optional)
    return made.map(_parties) if repository is MessageRepository else made


def patches(
    repository: type[Repository[Any]], method: str = "update", /, **given: SearchStrategy[Any]
) -> SearchStrategy[Arguments]:
    """Patches for a method: any subset of its keys. Ids that may be None, unless given, are."""
    signature = inspect.signature(getattr(repository, method))
    hints = _hints(signature.return_annotation)
    keys: dict[str, SearchStrategy[Any]] = {}
    for name in _patch_of(signature).__annotations__:
        kind = kind_of(hints[name])
        keys[name] = given.get(name, st.none() if _is_reference(name, kind) else values(name, kind))
    return st.fixed_dictionaries({}, optional=keys)


def values(name: str, kind: Kind) -> SearchStrategy[Any]:
    """Values for a column of that name and rule: a `..._number` counts from 1."""
    made: SearchStrategy[Any]
    if kind.marker == "json":
        made = json_texts()
    elif kind.type is str:
        made = ids() if kind.marker == "non-empty" else texts()
    elif kind.type is bool:
        made = st.booleans()
    elif kind.type is int:
        made = integers(least=1) if name.endswith("_number") else integers()
    elif kind.type is datetime:
        made = times()
    else:
        made = st.sampled_from([*members_of(kind), *(one.value for one in members_of(kind))])
    return st.none() | made if kind.optional else made


def _hints(returned: Any) -> dict[str, Any]:
    """The fields of the row type that a method returns, alone, in a list or as one of two."""
    for arm in (returned, *get_args(returned)):
        if is_dataclass(arm):
            return dict(arm.__annotations__)
    return {}


def _patch_of(signature: inspect.Signature) -> type[Any]:
    for parameter in signature.parameters.values():
        for arm in get_args(parameter.annotation):
            if parameter.kind is parameter.VAR_KEYWORD and is_typeddict(arm):
                return cast("type[Any]", arm)
    raise TypeError("the method takes no patch")


def _kind_of_parameter(annotation: Any) -> Kind:
    """As `kind_of`, where `Enum | str` is the enum."""
    arms = [arm for arm in get_args(annotation) if arm is not type(None)] or [annotation]
    return Kind(arms[0], type(None) in get_args(annotation), "")


def _is_reference(name: str, kind: Kind | None) -> bool:
    return kind is not None and kind[1:] == (True, "non-empty") and name.endswith("_id")


def _parties(message: Arguments) -> Arguments:
    """The user has no id, an agent has one."""
    fitting = dict(message)
    for side in ("sender", "recipient"):
        if message.get(f"{side}_id") is None:
            fitting[f"{side}_type"] = PartyType.USER
        if fitting[f"{side}_type"] == PartyType.USER:
            fitting.pop(f"{side}_id", None)
    return fitting
