"""Every value comes back equal; every bad one is refused by name, and nothing is written."""

import re
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cwstore.core.checks import check_id, check_limit, check_members, rule_of, to_micros
from cwstore.core.statement import bind_names, is_insert
from cwstore.entities.initiatives import Initiative, InitiativeStatus
from cwstore.entities.phases import PhaseStatus
from cwstore.entities.tasks import Task, TaskCategory, TaskPriority, TaskStatus, TaskType
from cwstore.errors import CorruptDatabaseError, InvalidValueError
from cwstore.store import Store
from tests.kits.database import rows_written

LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.text(LETTERS) | st.sampled_from(
    [
        *(chr(plane * 0x10000 + 1) + chr(plane * 0x10000 + 0xFFFF) for plane in range(17)),
        "'; DROP TABLE tasks; --",
        "\ufeff",
        "\x01\x7f\x80\r\n",
        "e\u0301",
        "x" * 200_000,
    ]
)
NAME = TEXT.filter(bool)
NUMBER = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 0])
ZONES = st.timezones() | st.builds(
    timezone, st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59))
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """One store for all examples."""
    with Store.open(":memory:") as opened:
        yield opened


# What comes back


@given(
    id=NAME,
    name=NAME,
    description=st.none() | TEXT,
    type=st.sampled_from(TaskType),
    category=st.sampled_from(TaskCategory),
    priority=st.sampled_from(TaskPriority),
    status=st.sampled_from(TaskStatus),
    requires_approval=st.none() | st.booleans(),
    sort_order=NUMBER,
    summary=st.none() | TEXT,
)
def test_every_value_of_a_task_comes_back_equal_and_of_its_type(
    store: Store, id: str, **values: Any
) -> None:
    made = store.tasks.create(id=id, **values)
    expected = Task(
        id=id,
        phase_id=None,
        initiative_id=None,
        parent_task_id=None,
        created_at=made.created_at,
        updated_at=made.created_at,
        **values,
    )
    assert made == expected
    assert store.tasks.find_by_id(id) == expected
    for one in fields(Task):
        assert type(getattr(made, one.name)) is type(getattr(expected, one.name))
    assert hash(made) == hash(expected)
    assert repr(made) == repr(expected)
    other = store.tasks.create(name="other")
    changed = store.tasks.update(other.id, **values)
    assert changed == replace(other, **values, updated_at=changed.updated_at)
    store.tasks.delete(id)
    store.tasks.delete(other.id)


@given(moment=st.datetimes(timezones=ZONES))
@example(moment=datetime.min.replace(tzinfo=UTC))
@example(moment=datetime.max.replace(tzinfo=UTC))
@example(moment=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
@example(moment=datetime(1, 1, 1, 13, 59, tzinfo=timezone(timedelta(hours=13, minutes=59))))
@example(moment=datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")))
def test_every_moment_of_the_years_1_to_9999_comes_back_equal_in_utc(
    store: Store, moment: datetime
) -> None:
    account = store.accounts.create(email="a@example.org")
    try:
        moment.astimezone(UTC)
    except OverflowError:  # within a day of the first or the last one
        with pytest.raises(InvalidValueError, match="outside of the years") as caught:
            store.accounts.update(account.id, last_used_at=moment)
        assert caught.value.field == "last_used_at"
        assert store.accounts.find_by_id(account.id) == account
    else:
        changed = store.accounts.update(account.id, last_used_at=moment)
        assert changed.last_used_at is not None
        assert changed.last_used_at.tzinfo is UTC
        assert changed.last_used_at.replace(tzinfo=None) == moment.astimezone(UTC).replace(
            tzinfo=None
        )
        assert store.accounts.find_by_id(account.id) == changed
    store.accounts.delete(account.id)


def test_a_moment_beyond_the_last_one_in_utc_is_refused() -> None:
    west, east = timezone(timedelta(hours=-1)), timezone(timedelta(hours=1))
    for moment in (datetime.max.replace(tzinfo=west), datetime.min.replace(tzinfo=east)):
        with pytest.raises(InvalidValueError, match="outside of the years 1 to 9999"):
            to_micros("when", moment)


@given(text=TEXT)
def test_json_is_kept_to_the_letter(store: Store, text: str) -> None:
    from json import dumps

    initiative = store.initiatives.create(name="x")
    for content in (dumps(text), f" [ {dumps(text, ensure_ascii=False)} ,1e400, -0.0]\n"):
        phase = store.phases.create(initiative_id=initiative.id, name="x", content=content)
        assert phase.content == content
        assert store.phases.find_by_id(phase.id) == phase
    store.initiatives.delete(initiative.id)


class Name(str):
    """A subclass of str, as some libraries have them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Level(IntEnum):
    HIGH = 7


def test_subclasses_of_plain_types_are_stored_as_what_they_are(store: Store) -> None:
    completed: Any = Name("completed")
    blocked: Any = PhaseStatus.BLOCKED
    made = store.tasks.create(
        name=Name("given"),
        description=Name("ü"),
        sort_order=Level.HIGH,
        status=completed,
    )
    assert type(made.name) is str
    assert (made.name, made.description, made.sort_order) == ("given", "ü", 7)
    assert type(made.sort_order) is int
    assert made.status is TaskStatus.COMPLETED
    assert store.initiatives.create(name="x", branch=TaskStatus.PENDING).branch == "pending"
    assert store.tasks.update(made.id, status=blocked).status is TaskStatus.BLOCKED
    assert store.tasks.find_by_id(Name(made.id)) is not None


@pytest.mark.parametrize("enum", [TaskStatus, TaskType, TaskCategory, TaskPriority])
def test_a_plain_string_is_as_good_as_a_member(store: Store, enum: type[StrEnum]) -> None:
    field = enum.__name__.removeprefix("Task").lower()
    for member in enum:
        values: dict[str, Any] = {field: member.value}
        made = store.tasks.create(name="x", **values)
        assert getattr(made, field) is member


def test_a_row_cannot_be_changed_and_knows_its_kin(store: Store) -> None:
    made = store.initiatives.create(name="x")
    with pytest.raises(FrozenInstanceError):
        made.name = "y"  # type: ignore[misc]
    assert type(made) is Initiative
    assert not hasattr(made, "__dict__")
    assert replace(made, name="y").name == "y"
    match made:
        case Initiative(id=id, status=InitiativeStatus.ACTIVE):
            assert id == made.id
        case _:
            raise AssertionError(made)


class Edge(IntEnum):
    LEAST = -(2**63)
    MOST = 2**63 - 1
    TOO_SMALL = -(2**63) - 1
    TOO_GREAT = 2**63


def test_subclasses_go_to_the_edge_too(store: Store) -> None:
    for edge in (Edge.LEAST, Edge.MOST):
        made = store.tasks.create(name="x", sort_order=edge, description=Name(""))
        assert (made.sort_order, made.description) == (edge.value, "")
        assert type(made.sort_order) is int
        assert type(made.description) is str
        store.tasks.delete(made.id)


def test_a_time_of_a_list_that_is_read_again_is_the_same_object(store: Store) -> None:
    for name in ("x", "y"):
        store.tasks.create(name=name)
    changed = store.tasks.update(store.tasks.create(name="z").id, name="w")
    first, again = store.tasks.find_all(), store.tasks.find_all()
    assert first == again
    assert first[-1] == changed
    for one, same in zip(first, again, strict=True):
        assert one.created_at is same.created_at
        assert one.updated_at is same.updated_at
    store.log_chunks.insert_chunk("gone", agent_name="x", session_number=1, content="x")
    first, again = (store.log_chunks.find_by_agent_id("gone") for _ in range(2))
    assert first == again
    assert first[0].created_at is not again[0].created_at  # they are many, and rarely read again


def test_a_row_that_was_never_updated_has_one_datetime_for_both_of_its_times(store: Store) -> None:
    made = store.tasks.create(name="x")
    found = store.tasks.find_by_id(made.id)
    assert found == made
    assert found is not None
    assert found.created_at is found.updated_at is not made.created_at is made.updated_at
    assert type(made.created_at) is type(found.created_at) is datetime
    task = store.tasks.update(made.id, name="y")
    assert made.created_at == task.created_at < task.updated_at
    assert store.tasks.find_by_id(made.id) == task


def test_a_stamp_is_not_mistaken_for_a_flag_that_equals_it() -> None:
    moment = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)  # 1, as True is
    with Store.open(":memory:", clock=lambda: moment) as store:
        made = store.initiatives.create(name="x")
        assert (made.merge_requires_approval, made.created_at) == (True, moment)
        assert store.initiatives.find_by_id(made.id) == made
        assert type(made.created_at) is datetime


def test_times_are_exact_and_few_are_kept_however_many_are_read() -> None:
    from cwstore.entities.initiatives import _FIND_ALL

    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=n) for n in range(50_000)]
    stamps = [to_micros("now", moment) for moment in moments]
    rows = [("i", "x", "active", 1, None, stamp, stamp) for stamp in stamps]
    assert [one.created_at for one in _FIND_ALL.map(rows)] == moments
    read = _FIND_ALL.map(rows)
    assert [one.created_at for one in read] == moments
    assert _FIND_ALL.map(rows[-1:])[0].created_at is read[-1].created_at
    assert _FIND_ALL.map(rows[:1])[0].created_at is not read[0].created_at
    # A row that is looked for alone neither takes a kept one nor adds to them.
    assert _FIND_ALL.map_row(rows[-1]).created_at is not read[-1].created_at
    alone = _FIND_ALL.map_row(rows[1])
    assert _FIND_ALL.map(rows[1:2])[0].created_at is not alone.created_at


@pytest.mark.parametrize("number", [1, 2, 99, 100, 101, 350])
def test_rows_become_the_same_entities_however_many_they_are(store: Store, number: int) -> None:
    phase = store.phases.create(
        initiative_id=store.initiatives.create(name="i").id, name=str(number)
    )
    made = [
        store.tasks.create(
            name=str(index),
            phase_id=phase.id,
            sort_order=index,
            summary=None if index % 3 else str(index),
            requires_approval=(None, True, False)[index % 3],
        )
        for index in range(number)
    ]
    assert store.tasks.find_by_phase_id(phase.id) == made
    assert [store.tasks.find_by_id(task.id) for task in made[:3]] == made[:3]


# What is refused

REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"name": 5}, "name: expected str, got int"),
    ({"name": None}, "name: expected str, got NoneType"),
    ({"name": ""}, "name: must not be empty"),
    ({"name": Name("")}, "name: must not be empty"),
    ({"name": "a\0b"}, "name: contains U+0000, which SQLite text cannot hold"),
    ({"summary": Name("\0")}, "summary: contains U+0000, which SQLite text cannot hold"),
    ({"summary": "\udfff"}, "summary: contains a lone surrogate, which is not text"),
    ({"sort_order": "5"}, "sort_order: expected int, got str"),
    ({"sort_order": True}, "sort_order: expected int, got bool"),
    ({"sort_order": 2**63}, "sort_order: does not fit into 64 bits"),
    ({"sort_order": Edge.TOO_SMALL}, "sort_order: does not fit into 64 bits"),
    ({"sort_order": Edge.TOO_GREAT}, "sort_order: does not fit into 64 bits"),
    ({"requires_approval": 1}, "requires_approval: expected bool, got int"),
    ({"status": 5}, "status: expected TaskStatus or str, got int"),
    ({"status": None}, "status: expected TaskStatus or str, got NoneType"),
    ({"priority": "High"}, "priority: 'High' is not one of: low, medium, high"),
    ({"priority": Name("High")}, "priority: 'High' is not one of: low, medium, high"),
]


@pytest.mark.parametrize(("values", "message"), REFUSALS)
def test_a_refusal_says_what_was_expected_and_what_came(
    store: Store, values: dict[str, Any], message: str
) -> None:
    given: dict[str, Any] = {"name": "x"}
    with pytest.raises(InvalidValueError) as caught:
        store.tasks.create(**given | values)
    assert str(caught.value) == message
    assert caught.value.field == next(iter(values))


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"limit": "5"}, "limit: expected int, got str"),
        ({"limit": -1}, "limit: must be 0 or more; None for all"),
        ({"types": "auto"}, "types: expected several of TaskType, got str"),
        ({"types": 5}, "types: expected several of TaskType, got int"),
        ({"types": [5]}, "types: expected TaskType or str, got int"),
        ({"categories": ["auto", "plan"]}, "categories: 'auto' is not one of: "),
        ({"categories": ["plan", None]}, "categories: expected TaskCategory or str, got NoneType"),
    ],
)
def test_a_refusal_of_a_filter_says_so_too(
    store: Store, filters: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        store.tasks.find_ready(**filters)
    known = ", ".join(TaskCategory) if message.endswith(": ") else ""
    assert str(caught.value) == message + known


EARLIEST = datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        ("now", "last_used_at: expected datetime, got str"),
        (date.min, "last_used_at: expected datetime, got date"),
        (EARLIEST.replace(tzinfo=None), "last_used_at: is a naive datetime; give it a time zone"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(microseconds=-1))),
            "last_used_at: is outside of the years 1 to 9999 in UTC",
        ),
        (
            EARLIEST.replace(tzinfo=timezone(timedelta(microseconds=1))),
            "last_used_at: is outside of the years 1 to 9999 in UTC",
        ),
    ],
)
def test_a_refusal_of_a_moment_says_so_too(store: Store, moment: Any, message: str) -> None:
    account = store.accounts.create(email="a@example.org")
    with pytest.raises(InvalidValueError) as caught:
        store.accounts.update(account.id, last_used_at=moment)
    assert str(caught.value) == message
    store.accounts.delete(account.id)


SURROGATES = st.characters(categories=["Cs"])
NO_TEXT = st.sampled_from([5, 1.5, True, b"bytes", ["x"], object(), Decimal(1), ("x",)]) | (
    st.builds(
        lambda before, bad, after: before + bad + after,
        st.text(LETTERS),
        SURROGATES | st.just("\0"),
        st.text(LETTERS),
    )
)
NO_NUMBER = (
    st.integers(min_value=2**63)
    | st.integers(max_value=-(2**63) - 1)
    | st.floats()
    | st.sampled_from(["5", True, False, b"5", Decimal(5), [5], 5 + 0j])
)
NO_BOOL = st.sampled_from([0, 1, "true", "", 0.0, [], b"1"])
NO_MEMBER = st.sampled_from(["", "PENDING", "pending ", "Pending", "péndïng", "x\0"]) | (
    st.sampled_from([5, True, b"pending", ["pending"], Level.HIGH])
)
NO_MOMENT = (
    st.datetimes()
    | st.dates()
    | st.floats()
    | st.integers()
    | st.sampled_from(["2026-01-01T00:00:00Z", True, timedelta(1), date.min])
)
BAD: dict[str, st.SearchStrategy[Any]] = {
    "name": NO_TEXT | st.sampled_from(["", None]),
    "description": NO_TEXT,
    "type": NO_MEMBER | st.none(),
    "category": NO_MEMBER | st.none(),
    "priority": NO_MEMBER | st.none(),
    "status": NO_MEMBER | st.none(),
    "requires_approval": NO_BOOL,
    "sort_order": NO_NUMBER | st.none(),
    "summary": NO_TEXT,
}


@st.composite
def bad_values(draw: st.DrawFn) -> tuple[str, Any]:
    field = draw(st.sampled_from(sorted(BAD)))
    return field, draw(BAD[field])


@given(bad=bad_values())
def test_a_bad_value_is_refused_by_name_and_nothing_is_written(
    store: Store, bad: tuple[str, Any]
) -> None:
    field, value = bad
    good: dict[str, Any] = {"name": "x"}
    values: dict[str, Any] = {field: value}
    task = store.tasks.create(**good)
    before = rows_written(store)
    calls: list[Callable[[], object]] = [
        lambda: store.tasks.create(**{**good, **values}),
        lambda: store.tasks.update(task.id, **values),
    ]
    for call in calls:
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert caught.value.field == field
        assert str(caught.value).startswith(f"{field}: ")
        assert caught.value.__context__ is None
    assert rows_written(store) == before
    assert store.tasks.find_by_id(task.id) == task
    store.tasks.delete(task.id)


@given(value=NO_MOMENT)
def test_a_moment_that_is_none_is_refused_by_name(store: Store, value: Any) -> None:
    account = store.accounts.create(email="a@example.org")
    calls: list[tuple[str, Callable[[], object]]] = [
        ("last_used_at", lambda: store.accounts.update(account.id, last_used_at=value)),
        ("if_updated_at", lambda: store.accounts.update(account.id, if_updated_at=value)),
    ]
    for field, call in calls:
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert caught.value.field == field
    assert store.accounts.find_by_id(account.id) == account
    store.accounts.delete(account.id)


@pytest.mark.parametrize("given", ["", None, 5, b"x", "a\0", "\ud800", ["x"]])
def test_an_id_that_is_none_is_refused_by_name(store: Store, given: object) -> None:
    key: Any = given
    calls: list[Callable[[], object]] = [
        lambda: store.tasks.find_by_id(key),
        lambda: store.tasks.update(key, name="x"),
        lambda: store.tasks.delete(key),
    ]
    if given is not None:  # None: "make one"
        calls.append(lambda: store.tasks.create(name="x", id=key))
    for call in calls:
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert caught.value.field == "id"
    keys: list[tuple[str, Callable[[], object]]] = [
        ("task_id", lambda: store.tasks.create_dependency(key, "x")),
        ("depends_on_task_id", lambda: store.tasks.create_dependency("x", key)),
        ("phase_id", lambda: store.tasks.find_by_phase_id(key)),
    ]
    for field, call in keys:
        with pytest.raises(InvalidValueError) as caught:
            call()
        assert caught.value.field == field


@pytest.mark.parametrize("key", ["id", "created_at", "updated_at", "phase_id", "colour", ""])
def test_a_key_that_cannot_be_updated_is_refused_by_name(store: Store, key: str) -> None:
    task = store.tasks.create(name="x")
    patch: dict[str, Any] = {key: "x", "name": "y"}
    if key == "id":
        with pytest.raises(TypeError):
            store.tasks.update(task.id, **patch)
    else:
        with pytest.raises(InvalidValueError) as caught:
            store.tasks.update(task.id, **patch)
        assert caught.value.field == key
        keys = "name, description, type, category, priority, status"
        assert str(caught.value) == (
            f"{key}: cannot be updated; what can: {keys}, requires_approval, sort_order, summary"
        )
    assert store.tasks.find_by_id(task.id) == task


@pytest.mark.parametrize("limit", [-1, 2**63, True, "5", 1.0, float("nan")])
def test_a_limit_that_is_none_is_refused_by_name(store: Store, limit: Any) -> None:
    with pytest.raises(InvalidValueError) as caught:
        store.tasks.find_ready(limit=limit)
    assert caught.value.field == "limit"


def test_a_limit_is_a_number_of_rows_or_none() -> None:
    most = 2**63 - 1
    assert [check_limit(one) for one in (0, 5, most, None)] == [0, 5, most, most]


@pytest.mark.parametrize(
    "types", ["auto", None, 5, ["auto", "manual"], [None], [["auto"]], b"auto", [b"auto"]]
)
def test_a_choice_that_is_none_is_refused_by_name(store: Store, types: Any) -> None:
    for call in (store.tasks.find_ready, store.tasks.claim_next_ready):
        with pytest.raises(InvalidValueError) as caught:
            call(types=types)
        assert caught.value.field == "types"


class Odd(str):
    """A str that no lookup finds."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 7

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_choice_may_be_any_iterable_of_members_and_strings() -> None:
    decision = "checkpoint:decision"
    chosen = iter(["auto", TaskType.AUTO, Odd(decision), Name("auto"), TaskType(decision)])
    assert check_members("types", chosen, TaskType) == ["auto", decision]
    assert check_members("types", (), TaskType) == []


# The parts


def test_the_statement_of_a_patch_is_made_once_for_each_set_of_keys() -> None:
    from cwstore.entities.initiatives import _UPDATE

    patch: dict[str, object] = {"branch": None, "name": "x"}
    made = _UPDATE.statement(patch, checked=False)
    assert _UPDATE.statement({"name": "y", "branch": "z"}, checked=False) is made
    assert _UPDATE.statement(patch, checked=True) is not made
    assert _UPDATE.statement({"name": "y"}, checked=False) is not made


def test_binds_are_found_but_not_in_quotes_and_comments() -> None:
    text = "SELECT ':no', 'it''s :no' -- :no\n, :one, :two, :one, 'checkpoint:human-verify'"
    assert bind_names(text) == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "inserts"),
    [
        ("INSERT INTO a VALUES (:b)", True),
        ("insert into a values (:b)", True),
        ("/* why */INSERT INTO a VALUES (:b)", True),
        ("WITH c AS (SELECT :b) INSERT INTO a SELECT * FROM c", True),
        ("SELECT 'INSERT' -- INSERT", False),
        ("UPDATE a SET inserted = :insert", False),
    ],
)
def test_what_inserts_is_known_wherever_the_word_stands(text: str, inserts: bool) -> None:
    assert is_insert(text) is inserts


def test_an_id_that_is_no_text_is_refused_without_a_statement() -> None:
    with pytest.raises(InvalidValueError) as caught:
        check_id("task_id", "\ud800")
    assert str(caught.value) == "task_id: contains a lone surrogate, which is not text"
    assert caught.value.__context__ is None


def test_the_kind_of_an_annotation_is_its_type_its_none_and_its_mark() -> None:
    kinds = [rule_of(Task.__annotations__[name]) for name in ("id", "phase_id", "summary")]
    assert [(kind.type, kind.optional, kind.marker) for kind in kinds] == [
        (str, False, "non-empty"),
        (str, True, "non-empty"),
        (str, True, ""),
    ]


MISFIT = re.compile(
    r"a row does not fit Initiative \((KeyError|OverflowError|TypeError|ValueError): .+\);"
    r" a newer version or another program wrote it: upgrade cwstore, or run `cwstore check`"
)


@pytest.mark.parametrize(
    "row",
    [
        ("i", "x", "dreaming", 1, None, 0, 0),
        ("i", "x", "active", 1, None, 2**62, 0),
        ("i", "x", "active", 1, None, None, 0),
        ("i", "x", "active", 1, None, "now", 0),
        ("i", "x", None, 1, None, 0, 0),
        ("i", "x", "active", 1, None, 0),
        ("i", "x", "active", 1, None, 0, 0, 0),
    ],
)
@pytest.mark.parametrize("good", [0, 1, 200])
def test_a_row_that_does_not_fit_is_reported_as_damage(good: int, row: tuple[Any, ...]) -> None:
    from cwstore.entities.initiatives import _FIND_ALL

    with pytest.raises(CorruptDatabaseError) as caught:
        _FIND_ALL.map([*[("i", "x", "active", 1, None, 0, 0)] * good, row])
    assert MISFIT.fullmatch(str(caught.value))
    assert caught.value.__context__ is None
    with pytest.raises(CorruptDatabaseError) as alone:
        _FIND_ALL.map_row(row)
    assert str(alone.value) == str(caught.value)
    assert alone.value.__context__ is None
