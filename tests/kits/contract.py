"""Every public method of every repository, taken apart: good arguments, bad ones, unknown ids.

All of it is read from signatures, row types and docstrings. A method that cannot be read so, or
whose docstring does not say what an unknown id does, makes the contract tests fail.
"""

import inspect
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

import cwstore
from cwstore.core.checks import rule_of
from cwstore.core.repository import Repository
from cwstore.core.secret import Secret
from cwstore.entities.messages import PartyType
from cwstore.entities.tasks import TaskStatus
from cwstore.errors import (
    ConflictError,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from cwstore.testing.strategies import _hints
from tests.kits.checker import repositories
from tests.kits.database import (
    copy_of,
    open_at,
    referenced_tables,
    remove_database,
    rows_written,
)
from tests.kits.entities import moment, undone

UNKNOWN = "no-such-row"
# What signatures and row types do not say.
_LEAST = {"limit": 0, "last": 0, "page": 1, "keep_sessions": 0, "max_bytes": 0, "line_number": 1}
_PAIRS = {"edges": ("task_id", "depends_on_task_id")}
_NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 to be refused
_YEAR_10000 = datetime(9999, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1)))


def _answering(answer: object) -> Callable[..., object]:
    return lambda *_: answer


async def _coroutine(*_: object) -> bool:
    raise AssertionError("nobody awaits it")


_BAD_TEXT = (5, 1.5, True, b"text", ["text"], "\ud800", "x\udfffy", "a\0b", UNKNOWN.encode())
_BAD: dict[Any, tuple[object, ...]] = {
    str: _BAD_TEXT,
    int: ("5", 1.5, float("nan"), float("inf"), True, b"5", 2**63, -(2**63) - 1, [5]),
    bool: (0, 1, 1.0, "true", "", []),
    datetime: ("2026-01-01T00:00:00Z", 0, 1.5, date(2026, 1, 1), _NAIVE, _YEAR_10000),
    timedelta: (
        *(0, 5, 1.5, True, "1:00:00", b"1", [timedelta(1)], moment(0)),
        *(timedelta(0), timedelta(microseconds=-1), timedelta.min),
        *(timedelta(days=36_500, microseconds=1), timedelta.max),
    ),
    StrEnum: ("nope", "", " ", *_BAD_TEXT),
    Callable: (5, "text", []),
}
#: Such as forget to return, or to be awaited: of what they return, it is not known if it is so.
_BAD_JUDGES = (*(_answering(answer) for answer in (None, 0, 1, "", "yes", [])), _coroutine)
_BAD_JSON = ("", "{", "nope", "{'a': 1}", "[1,]", "NaN")


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a method, one key of its patch, or one key of the mappings that it takes."""

    name: str
    #: str, int, bool, datetime, timedelta, an enum, Callable, a TypedDict, or tuple for a pair of
    #: ids; `several`: an iterable of it.
    type: Any
    marker: str
    nullable: bool
    several: bool
    required: bool

    @property
    def is_key(self) -> bool:
        return self.is_place or _is_id(self.name)

    @property
    def is_place(self) -> bool:
        """Whether it is the row after which a page begins, or before which it ends."""
        return self.name in {"after", "before"} and self.type is str


@dataclass(frozen=True, slots=True)
class Method:
    """One public method of the repository that is this attribute of a store."""

    attribute: str
    name: str
    returns: Any
    doc: str
    writes: bool
    arguments: tuple[Argument, ...]

    def __str__(self) -> str:
        return f"{self.attribute}.{self.name}"

    @property
    def refuses_transactions(self) -> bool:
        """Whether its docstring says so."""
        return "ConflictError inside of a transaction" in self.doc

    @contextmanager
    def trial(self, store: Store) -> Generator[Store, None, None]:
        """Where it can be tried without a trace: in a transaction, else on a copy."""
        if not self.refuses_transactions:
            with undone(store):
                yield store
            return
        with TemporaryDirectory() as place:
            copy = Path(place) / "copy.db"
            copy_of(store, copy)
            with open_at(copy) as tried:
                yield tried
            remove_database(copy)

    def __call__(self, store: Store, arguments: Mapping[str, object]) -> Any:
        """Call it; what a stream yields as a list."""
        result = getattr(getattr(store, self.attribute), self.name)(**arguments)
        return list(result) if isinstance(result, Iterator) else result


def every_method() -> list[Method]:
    return [
        method_of(attribute, kind, name)
        for attribute, kind in repositories().items()
        for name in dir(kind)
        if not name.startswith("_")
    ]


def method_of(attribute: str, kind: type[Repository[Any]], name: str) -> Method:
    function = getattr(kind, name)
    signature = inspect.signature(function)
    hints = _hints(returned_by(function))
    arguments: list[Argument] = []
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.VAR_KEYWORD:
            (keys,) = get_args(parameter.annotation)
            arguments += _keys(keys, hints)
        else:
            required = parameter.default is parameter.empty
            arguments.append(_argument(parameter.name, parameter.annotation, hints, required))
    reads = hasattr(function, "reads") or hasattr(function, "streams")
    doc = " ".join((function.__doc__ or "").split())
    return Method(attribute, name, returned_by(function), doc, not reads, tuple(arguments))


def returned_by(function: Callable[..., Any]) -> Any:
    """What it returns; as text it names types that are imported when they are first needed."""
    returned = inspect.signature(function).return_annotation
    if not isinstance(returned, str):
        return returned
    names = {name for name in re.findall(r"\w+", returned) if hasattr(cwstore, name)}
    return eval(returned, {name: getattr(cwstore, name) for name in names})


def _keys(patch: Any, hints: Mapping[str, Any]) -> list[Argument]:
    found = get_type_hints(patch).items()
    return [_argument(name, annotation, hints, False) for name, annotation in found]


def keys_of(argument: Argument) -> list[Argument]:
    """The keys of the mappings that it takes, or the two of a pair; `NewThing` is for `Thing`."""
    typed = argument.type
    if typed is tuple:
        return [_argument(name, str, {}, True) for name in _PAIRS[argument.name]]
    if not is_typeddict(typed):
        return []
    row = getattr(sys.modules[typed.__module__], typed.__name__.removeprefix("New"))
    return _keys(typed, row.__annotations__)


def _arms(annotation: Any) -> list[Any]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return list(get_args(annotation)) if is_union else [annotation]


def _argument(name: str, annotation: Any, hints: Mapping[str, Any], required: bool) -> Argument:
    nullable = NoneType in _arms(annotation)
    plain: Any = _arms(annotation)[0]
    several = get_origin(plain) is Iterable
    if several:
        (element,) = get_args(plain)
        plain = _arms(element)[0]
    is_place = name in {"after", "before"} and plain is str
    marker = "non-empty" if is_place or _is_id(name) else ""
    if get_origin(plain) is Callable:
        marker = "" if get_args(plain)[1] is object else "judge"
        plain = Callable
    if get_origin(plain) is tuple and name in _PAIRS:
        plain = tuple
    if name in hints:
        kind = rule_of(hints[name])
        plain, marker = (str if kind.type is Secret else kind.type), kind.marker
    is_enum = isinstance(plain, type) and issubclass(plain, StrEnum)
    if plain not in {*_BAD, tuple} and not is_enum and not is_typeddict(plain):
        raise TypeError(f"{name}: the contract tests know no values of type {plain}")
    return Argument(name, plain, marker, nullable, several, required)


def _is_id(name: str) -> bool:
    return name in {"id", "ids"} or name.endswith(("_id", "_ids"))


# Bad values


def bad_values(method: Method, argument: Argument, world: "World") -> Iterator[tuple[str, object]]:
    """Values to be refused, each with the name that the error must tell."""
    if not argument.several:
        for value in _bad(argument):
            yield argument.name, value
        return
    for value in (5, 1.5, "text", True) if argument.nullable else (5, 1.5, "text", True, None):
        yield argument.name, value
    keys = keys_of(argument)
    for value in (5, None, "text", []) if keys else _bad(argument):
        yield argument.name, [value]
    for key in keys:
        for value in _bad(key):
            item = {**world.mapping(method, keys), key.name: value}
            yield key.name, [tuple(item.values()) if argument.type is tuple else item]


def _bad(argument: Argument) -> Iterator[object]:
    if not argument.nullable or argument.several:
        yield None
    if argument.marker == "non-empty":
        yield ""
    if "json" in argument.marker:
        yield from _BAD_JSON
    if argument.name in _LEAST:
        yield _LEAST[argument.name] - 1
    if argument.marker == "judge":
        yield from _BAD_JUDGES
    yield from _BAD[argument.type if argument.type in _BAD else StrEnum]


# Unknown ids


def outcome_of_unknown(method: Method, argument: Argument, table: str) -> object:
    """What its documentation says of an id of no row: an error, a value, or NotImplemented.

    The latter where the id is stored as it is. An error whose clause names what the id stands for
    comes first, then a NotFoundError about the leading key, then a MissingReferenceError about
    whatever the row refers to, then what the return type has for nothing. Of pages `Paging` says
    it.
    """
    if argument.is_place:
        return NotFoundError
    singular = table.removesuffix("s").replace("_", " ") or argument.name.removesuffix("_id")
    words = {singular, singular.rpartition(" ")[2]}
    if argument.name.startswith("parent_"):
        words.add("parent")
    named = re.compile(rf"\b({'|'.join(words)})\b")
    if re.search(rf"{named.pattern} (need not exist|is not looked up)", method.doc):
        return NotImplemented
    clauses = dict(re.findall(r"(\w+Error)\b(.*?)(?=\w+Error|[.;]|$)", method.doc))
    if argument.name == "agent_id" and "holder" in clauses.get("ConflictError", ""):
        return ConflictError
    errors: dict[str, type[CwstoreError]] = {
        error.__name__: error
        for error in (NotFoundError, MissingReferenceError)
        if error.__name__ in clauses
    }
    for name, error in errors.items():
        if named.search(clauses[name]):
            return error
    if argument.required and argument == method.arguments[0] and "NotFoundError" in errors:
        return NotFoundError
    if table and "MissingReferenceError" in errors:
        return MissingReferenceError
    if not table and method.writes:
        return NotImplemented
    return _nothing(method, argument)


def _nothing(method: Method, argument: Argument) -> object:
    arms = _arms(method.returns)
    if NoneType in arms and len(arms) > 1:
        return None
    if get_origin(arms[0]) in (list, Iterator):
        return []
    if get_origin(arms[0]) is dict:
        return {}
    if arms[0] in (bool, int):
        return arms[0](0)
    raise AssertionError(
        f"{method}: the docstring does not say what an unknown {argument.name} does"
    )


# Where to call them


class World:
    """What a store that was populated has: enough rows for every method to have work to do."""

    def __init__(self, store: Store) -> None:
        #: By table: the row that methods are called with, and another one to refer to.
        self.rows = populate(store)
        self._parents = referenced_tables(store)
        phase = self.rows["phases"][0]
        self._given: dict[str, object] = {
            "target_type": "phase",
            "target_id": phase.id,
            "sender_type": PartyType.AGENT,
            "recipient_type": PartyType.AGENT,
            "action": "update",
        }

    def table(self, method: Method, argument: Argument) -> str:
        """The table whose row the argument names; "" if it names none that must be there."""
        if argument.is_place:
            (entity,) = get_args(method.returns)
            return next(table for table, rows in self.rows.items() if type(rows[0]) is entity)
        name = argument.name.removesuffix("s")
        if name == "id":
            return method.attribute if argument.required else ""
        for table in sorted(self.rows, key=len, reverse=True):
            if name.endswith(table.removesuffix("s") + "_id"):
                return table
        return self._parents.get(name, "")

    def good(self, method: Method, argument: Argument) -> object:
        keys = keys_of(argument)
        value: object = self.mapping(method, keys) if keys else self._one(method, argument)
        if argument.type is tuple:
            value = tuple(self.mapping(method, keys).values())
        return [value] if argument.several else value

    def mapping(self, method: Method, keys: list[Argument]) -> dict[str, object]:
        return {key.name: self._one(method, key) for key in keys}

    def _one(self, method: Method, argument: Argument) -> object:
        table = self.table(method, argument)
        if table and argument.name not in self._given:
            is_other = argument.name.startswith(("depends_on_", "parent_"))
            return self.rows[table][is_other].id
        if argument.name == "if_updated_at":
            return self.rows[method.attribute][0].updated_at
        return self._plain(argument)

    def _plain(self, argument: Argument) -> object:
        if argument.name in self._given:
            return self._given[argument.name]
        if argument.type is Callable:
            return lambda *given: False
        if argument.type in _BAD:
            text = '{"a": 1}' if "json" in argument.marker else f"some {argument.name}"
            known = {int: 1, bool: True, datetime: moment(10**9), timedelta: timedelta(hours=1)}
            return text if argument.type is str else known[argument.type]
        return next(iter(argument.type))

    def sets_of_arguments(
        self, method: Method, needed: Argument | None = None
    ) -> list[dict[str, object]]:
        """What it might be called with, all good: few arguments first, all of them last."""
        required = {one.name for one in method.arguments if one.required}
        wanted = required if needed is None else {needed.name, *required}
        sets = [wanted, *({one.name, *wanted} for one in method.arguments if not one.required)]
        everything = {one.name: self.good(method, one) for one in method.arguments}
        made = [{name: everything[name] for name in everything if name in one} for one in sets]
        return [*made, everything]

    def arguments(
        self, store: Store, method: Method, needed: Argument | None = None
    ) -> dict[str, object]:
        """Arguments that are accepted: as many as can be given together. A write has work to do."""
        for chosen in reversed(self.sets_of_arguments(method, needed)):
            try:
                with method.trial(store) as tried:
                    method(tried, chosen)
            except InvalidValueError:
                continue
            except ConflictError:
                pass  # these rows are in another state; others may not be
            return self._to_do(store, method, chosen) if method.writes else chosen
        raise AssertionError(f"{method}: no arguments were found that it accepts")

    def _to_do(self, store: Store, method: Method, chosen: dict[str, object]) -> dict[str, object]:
        """The same, or about other rows, so that there is something to write."""
        with suppress(ConflictError):
            if self.rows_written(store, method, chosen):
                return chosen
        tables = {one.name: self.table(method, one) for one in method.arguments}
        named = [name for name in chosen if tables[name] and name not in self._given]
        for rows in product(*(self.rows[tables[name]] for name in named)):
            others = {
                name: [row.id] if isinstance(chosen[name], list) else row.id
                for name, row in zip(named, rows, strict=True)
            }
            with suppress(CwstoreError):
                if self.rows_written(store, method, chosen | others):
                    return chosen | others
        raise AssertionError(f"{method}: no arguments were found with which it writes")

    def rows_written(self, store: Store, method: Method, arguments: Mapping[str, object]) -> int:
        """How many rows the call would change."""
        with method.trial(store) as tried:
            before = rows_written(tried)
            method(tried, arguments)
            return rows_written(tried) - before


def populate(store: Store) -> dict[str, list[Any]]:
    """Two rows of a table where there can be two; a third where some method needs it."""
    initiatives = [store.initiatives.create(name=name) for name in ("i", "j")]
    initiative = initiatives[0].id
    phases = [
        store.phases.create(initiative_id=initiative, name=name, status="approved")
        for name in ("p", "q", "r")
    ]
    store.phases.create_dependency(phases[2].id, phases[1].id)
    tasks = [store.tasks.create(name=name, initiative_id=initiative) for name in ("t", "u", "w")]
    store.tasks.create_dependency(tasks[2].id, tasks[1].id)
    running = store.tasks.create(name="v", status=TaskStatus.IN_PROGRESS)
    agents = [
        store.agents.create(name="a", worktree_id="w", status="running", task_id=running.id),
        store.agents.create(name="b", worktree_id="x"),
    ]
    held, late = (store.tasks.create(name=name) for name in ("held", "late"))
    store.tasks.claim(held.id, agent_id=agents[1].id, lease=timedelta(days=1))
    store.tasks.claim(late.id, lease=timedelta(microseconds=1))  # over at once
    root = store.pages.create(initiative_id=initiative, title="root")
    child = store.pages.create(initiative_id=initiative, title="child", parent_page_id=root.id)
    a, b = (agent.id for agent in agents)
    change_set = store.change_sets.create(
        initiative_id=initiative,
        entries=[{"entity_type": "page", "entity_id": "p", "action": "create", "new_state": "{}"}],
        agent_id=a,
    )
    proposal = store.proposals.create(
        agent_id=a, initiative_id=initiative, target_type="phase", title="t"
    )
    accounts = [
        store.accounts.create(email=email, provider="some provider") for email in ("e", "f")
    ]
    store.accounts.mark_exhausted(accounts[1].id, datetime(2000, 1, 1, tzinfo=UTC))
    chunks = [
        store.log_chunks.insert_chunk(a, agent_name="a", session_number=session, content="{}")
        for session in (1, 2)
    ]
    projects = [store.projects.create(name=name, url=name) for name in ("p", "q")]
    store.projects.add_to_initiative(initiatives[1].id, projects[1].id)
    comments = [
        store.review_comments.create(
            phase_id=phases[0].id, file_path="f", line_number=1, line_type="added", body="b"
        )
        for _ in range(2)
    ]
    store.review_comments.resolve(comments[1].id)
    session = store.chat_sessions.create_session("task", tasks[0].id, initiative_id=initiative)
    return {
        "initiatives": initiatives,
        "phases": phases,
        "tasks": [*tasks, held],
        "task_attempts": store.tasks.find_open_attempts(),
        "agents": agents,
        "messages": [
            store.messages.create(
                sender_type="agent", sender_id=a, recipient_type="user", content=text
            )
            for text in ("m", "n")
        ],
        "pages": [child, root],
        "projects": projects,
        "accounts": accounts,
        "proposals": [proposal],
        "log_chunks": chunks,
        "conversations": [
            store.conversations.create(from_agent_id=b, to_agent_id=a, question="why?")
        ],
        "chat_sessions": [session],
        "review_comments": comments,
        "change_sets": [change_set],
        "change_set_entries": store.change_sets.find_entries(change_set.id),
        "chat_messages": [
            store.chat_sessions.create_message(session.id, role="user", content=text)
            for text in ("first", "second")
        ],
    }
