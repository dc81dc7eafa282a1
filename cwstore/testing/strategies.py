"""Hypothesis strategies for what repositories take, made from their signatures and row types.

    from hypothesis import given
    from cwstore import Task, TaskPatch, TaskRepository
    from cwstore.testing.strategies import arguments, entities, patches

    @given(arguments(TaskRepository), patches(TaskPatch))
    def test_our_view_of_a_task(create, patch): ...

    @given(entities(Task))
    def test_our_text_of_a_task(task): ...

All values are valid and nasty: empty where that is allowed, huge, of every plane of Unicode but
without surrogates and U+0000, at the edges of 64 bits, of the years 1 to 9999 in any zone.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from cwstore.core.checks import ValueRule, hints_of, members_of, rule_of
from cwstore.core.repository import Repository
from cwstore.core.secret import Secret, hide
from cwstore.core.statement import Paging
from cwstore.entities.change_sets import ChangeSetAction, ChangeSetEntityType, NewChangeSetEntry
from cwstore.entities.conversations import ConversationStatus
from cwstore.entities.log_chunks import NewLogChunk
from cwstore.entities.messages import PartyType
from cwstore.entities.registry import ENTITIES, repository_class
from cwstore.entities.task import NewTask, Task

__all__ = [
    "arguments",
    "change_set_entries",
    "entities",
    "ids",
    "integers",
    "json_texts",
    "leases",
    "members",
    "new_log_chunks",
    "new_tasks",
    "paging",
    "patches",
    "texts",
    "times",
    "values",
]

Arguments = dict[str, Any]
T = TypeVar("T")

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
#: The state that an entry of a change set does not have, by action.
_STATE_WITHOUT = {"create": "previous_state", "delete": "new_state"}
#: What is no `..._number` and has a least value all the same.
_LEAST = {"keep_sessions": 0, "last": 0, "limit": 0, "max_bytes": 0, "page": 1, "seq": 1}
#: Optional arguments without which a method is refused: exactly one of them, or any.
_EXACTLY_ONE = {("TaskRepository", "topological_order"): ("phase_id", "initiative_id")}
_ANY = {("LogChunkRepository", "prune"): ("before", "keep_sessions", "max_bytes")}
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


def leases() -> SearchStrategy[timedelta]:
    """How long a claim may be held: 1 µs to 36,500 days."""
    shortest, longest = timedelta(microseconds=1), timedelta(days=36_500)
    return st.timedeltas(shortest, longest) | st.sampled_from((shortest, longest))


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
    absent = _STATE_WITHOUT.get(entry["action"])
    return {key: value for key, value in entry.items() if key != absent}


def new_log_chunks() -> SearchStrategy[Any]:
    """What `log_chunks.insert_chunks` takes, as mappings and as tuples."""
    keys = {"agent_id": ids(), "agent_name": ids()}
    numbers = {"session_number": integers(least=1)}
    chunks = st.fixed_dictionaries(
        {**keys, **numbers, "content": texts()}, optional={"id": st.none() | ids()}
    )
    order = ("agent_id", "agent_name", "session_number", "content")
    return chunks | chunks.map(lambda chunk: tuple(chunk[key] for key in order))


def new_tasks() -> SearchStrategy[Arguments]:
    """What `tasks.create_many` takes; of no phase, initiative or parent."""
    hints = hints_of(Task)
    keys: dict[str, SearchStrategy[Any]] = {}
    for name in NewTask.__annotations__:
        kind = rule_of(hints[name])
        keys[name] = st.none() if _is_reference(name, kind) else values(name, kind)
    keys["id"] = st.none() | ids()
    return st.fixed_dictionaries({"name": keys.pop("name")}, optional=keys)


def paging(**given: SearchStrategy[Any]) -> SearchStrategy[Arguments]:
    """Which part of a list to read. Ids of rows are for you to give, as `after` and `before`."""
    numbers = st.none() | integers(least=0)
    forward = {"limit": numbers, "after": given.get("after", st.none())}
    backward = {"last": numbers, "before": given.get("before", st.none())}
    return st.fixed_dictionaries({}, optional=forward) | st.fixed_dictionaries(
        {}, optional=backward
    )


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
    one_of = _EXACTLY_ONE.get((repository.__name__, method), ())
    required: dict[str, SearchStrategy[Any]] = {}
    optional: dict[str, SearchStrategy[Any]] = {}
    for name, parameter in list(signature.parameters.items())[1:]:
        has_default = parameter.default is not parameter.empty
        annotation = parameter.annotation
        if parameter.kind is parameter.VAR_KEYWORD or name in {"if_updated_at", *one_of}:
            continue
        if name in given:
            made = given[name]
        elif has_default and NoneType in _arms(annotation) and name.endswith("_id"):
            continue
        else:
            made = _argument(name, annotation, hints)
        (optional if has_default else required)[name] = made
    if one_of:
        names = [name for name in one_of if name in given] or one_of
        return st.one_of(*(st.fixed_dictionaries({name: given.get(name, ids())}) for name in names))
    needed = _ANY.get((repository.__name__, method))
    sides = [side for side in ("sender", "recipient") if f"{side}_type" in required]
    drawn = st.fixed_dictionaries(required, optional=optional)
    if {"last", "limit"} <= optional.keys():
        drawn = drawn.map(_one_way)
    if needed:
        drawn = drawn.filter(lambda made: any(made.get(name) is not None for name in needed))
    return drawn.map(lambda made: _with_parties(made, sides)) if sides else drawn


def _one_way(part: Arguments) -> Arguments:
    """A list is read from its begin or from its end."""
    if part.get("limit") is None and part.get("after") is None:
        return part
    return {name: value for name, value in part.items() if name not in {"last", "before"}}


def _argument(name: str, annotation: Any, hints: dict[str, Any]) -> SearchStrategy[Any]:
    """Values for a parameter: None as it says itself, all else as the row's field of its name."""
    plain = _arms(annotation)[0]
    is_optional = NoneType in _arms(annotation)
    made: SearchStrategy[Any]
    if get_origin(plain) is Iterable:
        made = st.lists(_element(name, get_args(plain)[0]), max_size=4)
        return st.none() | made if is_optional else made
    if get_origin(plain) is Callable:
        return st.booleans().map(_always)
    if name in hints:
        kind = rule_of(hints[name])
    else:
        kind = ValueRule(plain, False, "non-empty" if _is_id(name) else "")
    return values(name, kind._replace(optional=is_optional))


def _always(answer: bool) -> Callable[[object], bool]:
    def judge(_row: object) -> bool:
        return answer

    return judge


def _element(name: str, annotation: Any) -> SearchStrategy[Any]:
    plain = _arms(annotation)[0]
    if get_origin(plain) is tuple:
        return st.tuples(*(ids() for _ in get_args(plain)))
    known = {
        NewChangeSetEntry: change_set_entries,
        NewLogChunk: new_log_chunks,
        NewTask: new_tasks,
    }
    if plain in known:
        return known[plain]()
    return values(name, ValueRule(plain, False, "non-empty" if _is_id(name) else ""))


def patches(
    of: type[Any], method: str = "update", /, **given: SearchStrategy[Any]
) -> SearchStrategy[Arguments]:
    """Patches: any subset of their keys. Ids that may be None, unless given, are.

    `of` is a repository class, your own too, whose method takes them; or a patch of cwstore, such
    as `TaskPatch`.
    """
    if _is_typed_dict(of):
        of, method = _method_that_takes(of)
    signature = inspect.signature(getattr(of, method))
    hints = _hints(signature.return_annotation)
    keys: dict[str, SearchStrategy[Any]] = {}
    for name in _patch_of(signature).__annotations__:
        kind = rule_of(hints[name])
        keys[name] = given.get(name, st.none() if _is_reference(name, kind) else values(name, kind))
    return st.fixed_dictionaries({}, optional=keys)


def values(name: str, kind: ValueRule) -> SearchStrategy[Any]:
    """Values for a column of that name and rule: a `..._number` or `number` counts from 1."""
    made: SearchStrategy[Any]
    if kind.is_json:
        made = json_texts()
    elif kind.type in (str, Secret):
        made = ids() if kind.marker == "non-empty" else texts()
    elif kind.type is bool:
        made = st.booleans()
    elif kind.type is int:
        least = 1 if name.endswith("number") else -(2**63)
        made = integers(least=_LEAST.get(name, least))
    elif kind.type is datetime:
        made = times()
    elif kind.type is timedelta:
        made = leases()
    else:
        made = st.sampled_from([*members_of(kind), *(one.value for one in members_of(kind))])
    return st.none() | made if kind.optional else made


def entities(entity: type[T], /, **given: SearchStrategy[Any]) -> SearchStrategy[T]:
    """Rows of a type as they are when read, as in `entities(Task, id=st.just("t1"))`.

    They keep the rules that hold within one row, such as that only an answered conversation has
    an answer. Ids of other rows are made up. `given` replaces the strategies of fields, and what
    it makes is left as it is.
    """
    fields: dict[str, SearchStrategy[Any]] = {}
    for name, annotation in hints_of(entity).items():
        kind = rule_of(annotation)
        is_state = name in {"previous_state", "new_state"}
        made = values(name, kind._replace(optional=False) if is_state else kind)
        fields[name] = given.get(name, made.map(_kept_as(kind)))

    def build(row: Arguments) -> T:
        return entity(**_consistent(row) | {name: row[name] for name in given})

    return st.fixed_dictionaries(fields).map(build)


def _kept_as(kind: ValueRule) -> Callable[[Any], Any]:
    """Enums are read as members, times as UTC, secrets as Secret."""

    def keep(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).replace(fold=0)
        if kind.type is Secret:
            return hide(value)
        is_member = isinstance(value, str) and issubclass(kind.type, StrEnum)
        return kind.type(value) if is_member else value

    return keep


def _consistent(row: Arguments) -> Arguments:
    """The row with what its table asks of several columns at once."""
    kept = dict(row)
    if "updated_at" in row:
        kept["created_at"], kept["updated_at"] = sorted((row["created_at"], row["updated_at"]))
    for side in ("sender", "recipient"):
        if row.get(f"{side}_type") == PartyType.USER:
            kept[f"{side}_id"] = None
    if "answer" in row:
        is_answered = row["answer"] is not None
        kept["status"] = ConversationStatus.ANSWERED if is_answered else ConversationStatus.PENDING
    if "outcome" in row:
        is_open = row["outcome"] is None
        kept["ended_at"] = None if is_open else kept["ended_at"] or kept["updated_at"]
        kept["detail"] = None if is_open else row["detail"]
        kept["agent_name"] = row["agent_name"] or row["agent_id"]
    if row.get("exhausted_until") is not None:
        kept["is_exhausted"] = True
    if "action" in row and row["action"] in _STATE_WITHOUT:
        kept[_STATE_WITHOUT[row["action"]]] = None
    for name in row:
        if name.startswith("parent_") and row[name] == row["id"]:
            kept[name] = None
    return kept


def _hints(returned: Any) -> dict[str, Any]:
    """The fields of the row type that a method returns, alone, in a list or as one of two."""
    for arm in (returned, *get_args(returned)):
        if is_dataclass(arm):
            return hints_of(cast("type[Any]", arm))
    return {}


def _method_that_takes(patch: type[Any]) -> tuple[type[Any], str]:
    """A repository of cwstore, and its method that changes one row by such a patch."""
    for attribute in ENTITIES:
        repository: type[Any] = repository_class(attribute)
        for name, method in vars(repository).items():
            if name.startswith("update") and patch in _taken_by(inspect.signature(method)):
                return repository, name
    raise TypeError(f"{patch.__name__} is no patch of cwstore: give your repository class instead")


def _patch_of(signature: inspect.Signature) -> type[Any]:
    for patch in _taken_by(signature):
        return patch
    raise TypeError("the method takes no patch; give one that does, such as `update`")


def _taken_by(signature: inspect.Signature) -> list[type[Any]]:
    """The patch among the parameters of a method, if there is one."""
    return [
        cast("type[Any]", arm)
        for parameter in signature.parameters.values()
        if parameter.kind is parameter.VAR_KEYWORD
        for arm in get_args(parameter.annotation)
        if _is_typed_dict(arm) and arm is not Paging
    ]


def _is_typed_dict(kind: object) -> bool:
    """Of `typing`, or of typing_extensions, which is another one before Python 3.13."""
    return isinstance(kind, type) and dict in kind.__mro__ and hasattr(kind, "__required_keys__")


def _arms(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _is_id(name: str) -> bool:
    return name in {"id", "ids"} or name.endswith(("_id", "_ids"))


def _is_reference(name: str, kind: ValueRule) -> bool:
    return kind[1:] == (True, "non-empty") and name.endswith("_id")


def _with_parties(message: Arguments, sides: Sequence[str]) -> Arguments:
    """The user has no id, an agent has one."""
    fitting = dict(message)
    for side in sides:
        if message.get(f"{side}_id") is None:
            fitting[f"{side}_type"] = PartyType.USER
        if fitting[f"{side}_type"] == PartyType.USER:
            fitting.pop(f"{side}_id", None)
    return fitting
