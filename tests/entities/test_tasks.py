"""Tasks: creating, reading, updating and deleting them."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.task import (
    NewTask,
    Task,
    TaskCategory,
    TaskPriority,
    TaskStatus,
    TaskType,
)
from cwstore.errors import (
    ConflictError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, rows_of_each_commit
from tests.kits.entities import (
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    at,
    moment,
    refused,
)


def make(store: Store, *ids: str, **given: Any) -> list[Task]:
    """Tasks whose names are their ids, in this order of creation."""
    return [store.tasks.create(name=key, id=key, **given) for key in ids]


def chain(store: Store, *ids: str) -> None:
    """Let each task wait for the next one."""
    for task_id, needed in pairwise(ids):
        store.tasks.create_dependency(task_id, needed)


def owners(store: Store) -> None:
    """Initiatives `i` and `j`, each with a phase, `pi` and `pj`."""
    for key in "ij":
        store.initiatives.create(name=key, id=key)
        store.phases.create(initiative_id=key, name=key, id=f"p{key}")


def ids_of(tasks: list[Task]) -> str:
    return "".join(task.id for task in tasks)


def test_a_new_task_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.tasks.create(name="One")
        assert made == Task(
            id=made.id,
            phase_id=None,
            initiative_id=None,
            parent_task_id=None,
            name="One",
            description=None,
            type=TaskType.AUTO,
            category=TaskCategory.EXECUTE,
            priority=TaskPriority.MEDIUM,
            status=TaskStatus.PENDING,
            requires_approval=None,
            sort_order=0,
            summary=None,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.tasks.find_by_id(made.id) == made


def test_everything_given_is_kept(store: Store) -> None:
    owners(store)
    make(store, "parent", initiative_id="i")
    made = store.tasks.create(
        name="One",
        phase_id="pi",
        initiative_id="i",
        parent_task_id="parent",
        description="",
        type="checkpoint:decision",
        category=TaskCategory.REFINE,
        priority="high",
        status=TaskStatus.BLOCKED,
        requires_approval=False,
        sort_order=-7,
        summary="done",
        id="t",
    )
    assert made == Task(
        id="t",
        phase_id="pi",
        initiative_id="i",
        parent_task_id="parent",
        name="One",
        description="",
        type=TaskType.CHECKPOINT_DECISION,
        category=TaskCategory.REFINE,
        priority=TaskPriority.HIGH,
        status=TaskStatus.BLOCKED,
        requires_approval=False,
        sort_order=-7,
        summary="done",
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    assert store.tasks.find_by_id("t") == made
    assert store.tasks.find_by_id("nobody") is None


def test_the_initiative_comes_from_the_phase_or_else_from_the_parent(store: Store) -> None:
    owners(store)
    make(store, "of-i", initiative_id="i")
    make(store, "free")
    cases: list[tuple[dict[str, Any], str | None]] = [
        ({"phase_id": "pi"}, "i"),
        ({"parent_task_id": "of-i"}, "i"),
        ({"phase_id": "pi", "parent_task_id": "of-i"}, "i"),
        ({"phase_id": "pj", "parent_task_id": "free"}, "j"),
        ({"parent_task_id": "free"}, None),
        ({"initiative_id": "j", "phase_id": "pj"}, "j"),
    ]
    for given, initiative_id in cases:
        made = store.tasks.create(name="x", **given)
        assert made.initiative_id == initiative_id
        assert store.tasks.find_by_id(made.id) == made


@pytest.mark.parametrize(
    "given",
    [
        {"initiative_id": "j", "phase_id": "pi"},
        {"initiative_id": "j", "parent_task_id": "of-i"},
        {"phase_id": "pj", "parent_task_id": "of-i"},
        {"initiative_id": "i", "phase_id": "pj", "parent_task_id": "of-i"},
    ],
)
def test_owners_of_different_initiatives_are_refused(
    store: Store, file: Path, given: dict[str, Any]
) -> None:
    owners(store)
    make(store, "of-i", initiative_id="i")
    with refused(file, InvalidValueError, "initiative_id"):
        store.tasks.create(name="x", **given)


@pytest.mark.parametrize("field", ["phase_id", "initiative_id", "parent_task_id"])
def test_an_owner_must_exist(store: Store, file: Path, field: str) -> None:
    given: dict[str, Any] = {field: "nobody"}
    with refused(file, MissingReferenceError):
        store.tasks.create(name="x", **given)


def test_a_taken_id_or_ones_own_as_parent_is_refused(store: Store, file: Path) -> None:
    make(store, "a")
    with refused(file, ConflictError):
        make(store, "a")
    before = contents(file)
    with pytest.raises(CycleError, match=r"^tasks: 'b' cannot be its own parent$") as caught:
        make(store, "b", parent_task_id="b")
    assert (caught.value.path, contents(file)) == (("b",), before)


def test_lists_of_an_owner_come_by_sort_order_then_oldest_first_and_ties_by_id(
    store: Store, file: Path
) -> None:
    owners(store)
    make(store, "P", initiative_id="i")
    for key, second, order in (("c", 2, 0), ("b", 1, 0), ("a", 2, 0), ("d", 1, 1), ("e", 3, -1)):
        given = {"phase_id": "pi", "parent_task_id": "P", "sort_order": order}
        at(file, moment(second), lambda one, key=key, given=given: make(one, key, **given))
    make(store, "x", phase_id="pj")
    assert ids_of(store.tasks.find_by_phase_id("pi")) == "ebacd"
    assert ids_of(store.tasks.find_by_parent_task_id("P")) == "ebacd"
    assert ids_of(store.tasks.find_by_initiative_id("i")) == "ebacPd"
    assert ids_of(store.tasks.find_by_initiative_id("j")) == "x"
    assert ids_of(store.tasks.find_all()) == "bdacePx"
    assert ids_of(store.tasks.topological_order(initiative_id="i")) == "bdaceP"
    assert store.tasks.find_by_phase_id("nobody") == []
    assert store.tasks.find_by_parent_task_id("x") == []
    assert store.tasks.find_by_initiative_id("nobody") == []
    for key in "bacde":
        store.tasks.update(key, status="pending_approval")
    by_age = [store.tasks.find_by_id(key) for key in "bdace"]
    assert store.tasks.find_pending_approval() == by_age


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("name", "new", "new"),
        ("description", "new", "new"),
        ("description", None, None),
        ("type", "checkpoint:human-action", TaskType.CHECKPOINT_HUMAN_ACTION),
        ("category", "verify", TaskCategory.VERIFY),
        ("priority", TaskPriority.LOW, TaskPriority.LOW),
        ("status", "completed", TaskStatus.COMPLETED),
        ("requires_approval", True, True),
        ("requires_approval", None, None),
        ("sort_order", -(2**63), -(2**63)),
        ("summary", "new", "new"),
        ("summary", None, None),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(
    store: Store, key: str, value: Any, stored: object
) -> None:
    make(store, "other")
    (before,) = make(store, "a", description="d", requires_approval=False, summary="s")
    patch: dict[str, Any] = {key: value}
    after = store.tasks.update("a", **patch)
    assert_updated(before, after, **{key: stored})
    assert store.tasks.find_by_id("a") == after
    assert_updated(after, store.tasks.update("a"))


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    (first,) = make(store, "a")
    second = store.tasks.update("a", name="y", if_updated_at=first.updated_at)
    assert_updated(first, second, name="y")
    with refused(file, ConflictError):
        store.tasks.update("a", name="z", if_updated_at=first.updated_at)
    with refused(file, NotFoundError):
        store.tasks.update("nobody", name="z")


BAD: list[tuple[str, object]] = [
    ("name", ""),
    ("name", None),
    ("description", 5),
    ("type", "manual"),
    ("category", None),
    ("priority", 1),
    ("status", "done"),
    ("requires_approval", 0),
    ("sort_order", None),
    ("sort_order", 2**63),
    ("sort_order", float("nan")),
    ("summary", "\ud800"),
]


@pytest.mark.parametrize(
    ("field", "value"), [*BAD, ("phase_id", ""), ("parent_task_id", 1), ("id", "")]
)
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"name": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.tasks.create(**given)


@pytest.mark.parametrize(("field", "value"), [*BAD, ("phase_id", None), ("created_at", moment(0))])
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    make(store, "a")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.tasks.update("a", **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    make(store, "a")
    tasks = store.tasks
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", tasks.find_by_id, (bad,)),
        ("id", tasks.update, (bad,)),
        ("id", tasks.delete, (bad,)),
        ("phase_id", tasks.find_by_phase_id, (bad,)),
        ("initiative_id", tasks.find_by_initiative_id, (bad,)),
        ("parent_task_id", tasks.find_by_parent_task_id, (bad,)),
        ("task_id", tasks.requires_approval, (bad,)),
        ("task_id", tasks.create_dependency, (bad, "a")),
        ("depends_on_task_id", tasks.create_dependency, ("a", bad)),
        ("task_id", tasks.delete_dependency, (bad, "a")),
        ("depends_on_task_id", tasks.delete_dependency, ("a", bad)),
        ("task_id", tasks.get_dependencies, (bad,)),
        ("task_id", tasks.get_dependents, (bad,)),
        ("task_id", tasks.dependency_summaries, (bad,)),
        ("phase_id", tasks.topological_order, ()),
        ("phase_id", lambda: tasks.topological_order(phase_id="p", initiative_id="i"), ()),
        ("initiative_id", lambda: tasks.topological_order(initiative_id=""), ()),
    )


def test_delete_takes_subtasks_and_edges_and_frees_agents(store: Store, file: Path) -> None:
    make(store, "a", "b")
    before = contents(file)
    agent = store.agents.create(name="x", worktree_id="w")
    make(store, "doomed")
    make(store, "child", parent_task_id="doomed")
    make(store, "grandchild", parent_task_id="child")
    chain(store, "a", "doomed", "b")
    chain(store, "a", "grandchild")
    has_task = store.agents.update(agent.id, task_id="grandchild")
    assert store.tasks.delete("doomed") is True
    assert store.tasks.delete("doomed") is False
    assert store.agents.find_all() == [replace(has_task, task_id=None)]
    store.agents.delete(agent.id)
    assert contents(file) == before


def test_approval_is_the_word_of_the_task_else_of_its_initiative_else_yes(store: Store) -> None:
    for strict in (True, False):
        store.initiatives.create(name="x", id=str(strict), merge_requires_approval=strict)
        make(store, f"of-{strict}", initiative_id=str(strict))
        make(store, f"no-{strict}", initiative_id=str(strict), requires_approval=False)
        make(store, f"yes-{strict}", initiative_id=str(strict), requires_approval=True)
    make(store, "free")
    make(store, "no-free", requires_approval=False)
    outcomes = {task.id: store.tasks.requires_approval(task.id) for task in store.tasks.find_all()}
    assert outcomes == {
        "of-True": True,
        "no-True": False,
        "yes-True": True,
        "of-False": False,
        "no-False": False,
        "yes-False": True,
        "free": True,
        "no-free": False,
    }
    assert all(type(outcome) is bool for outcome in outcomes.values())
    with pytest.raises(NotFoundError):
        store.tasks.requires_approval("nobody")


def test_tasks_of_a_status_come_by_sort_order(store: Store) -> None:
    for name in "ij":
        store.initiatives.create(name=name, id=name)
    a, b = make(store, "a", "b", initiative_id="i", sort_order=1)
    (c,) = make(store, "c", initiative_id="j")
    make(store, "d", initiative_id="i", status="blocked")
    assert store.tasks.find_by_status("pending") == [c, a, b]
    assert store.tasks.find_by_status(TaskStatus.PENDING, "i") == [a, b]
    assert store.tasks.find_by_status("pending", "gone") == []
    assert store.tasks.find_by_status("completed") == []


def test_tasks_are_counted_by_status(store: Store) -> None:
    none = dict.fromkeys(TaskStatus, 0)
    assert store.tasks.count_by_status() == none
    for name in "ij":
        store.initiatives.create(name=name, id=name)
        store.phases.create(initiative_id=name, name=name, id=f"p{name}")
    make(store, "a", "b", initiative_id="i")
    make(store, "c", phase_id="pi", status="blocked")
    make(store, "d", phase_id="pj")
    make(store, "e", status="completed")
    count = store.tasks.count_by_status
    pending, blocked, completed = TaskStatus.PENDING, TaskStatus.BLOCKED, TaskStatus.COMPLETED
    assert count() == none | {pending: 3, blocked: 1, completed: 1}
    assert count(initiative_id="i") == none | {pending: 2, blocked: 1}
    assert count(phase_id="pj") == none | {pending: 1}
    assert count(phase_id="pi", initiative_id="i") == none | {blocked: 1}
    assert count(phase_id="pi", initiative_id="j") == count(phase_id="gone") == none
    assert [type(status) for status in count()] == [TaskStatus] * 5


# Many at once


@pytest.mark.only_sqlite("looks inside of it")
def test_many_are_made_in_their_order_each_as_create_would(store: Store, file: Path) -> None:
    store.initiatives.create(name="i", id="i")
    store.phases.create(initiative_id="i", name="p", id="p")
    given: list[NewTask] = [
        {"name": "a", "id": "a", "phase_id": "p", "priority": "high", "requires_approval": True},
        {"name": "b", "parent_task_id": "a", "sort_order": 3, "summary": None},
        {"name": "c", "type": TaskType.CHECKPOINT_DECISION, "description": "d"},
    ]
    rows = rows_of_each_commit(store)
    made = store.tasks.create_many(task for task in given)
    assert len(rows) == 1
    assert made == [store.tasks.find_by_id(task.id) for task in made]
    assert [task.initiative_id for task in made] == ["i", "i", None]
    for task, wanted in zip(made, given, strict=True):
        assert {key: getattr(task, key) for key in wanted} == wanted
    assert sorted(made, key=lambda task: task.created_at) == made
    assert store.tasks.create_many([]) == []


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"name": ""}, "name"),
        ({}, "name"),
        ({"name": "x", "priority": "highest"}, "priority"),
        ({"name": "x", "sort_order": "1"}, "sort_order"),
        ({"name": "x", "colour": "red"}, "colour"),
        ({"name": "x", "phase_id": "p", "initiative_id": "j"}, "initiative_id"),
        ("x", "tasks"),
    ],
)
def test_one_bad_task_of_many_is_named_and_none_is_made(
    store: Store, file: Path, bad: Any, field: str
) -> None:
    store.initiatives.create(name="i", id="i")
    store.initiatives.create(name="j", id="j")
    store.phases.create(initiative_id="i", name="p", id="p")
    before = contents(file)
    with pytest.raises(InvalidValueError, match=f"^item 2: {field}: ") as caught:
        store.tasks.create_many([{"name": "a"}, {"name": "b"}, bad, {"name": "c"}])
    assert (caught.value.field, caught.value.index) == (field, 2)
    assert contents(file) == before
    with refused(file, MissingReferenceError):
        store.tasks.create_many([{"name": "a"}, {"name": "b", "phase_id": "nobody"}])
    with refused(file, ConflictError):
        store.tasks.create_many([{"name": "a", "id": "x"}, {"name": "b", "id": "x"}])


@pytest.mark.parametrize("several", [5, None, "ab", {"name": "x"}])
def test_many_are_given_as_several(store: Store, file: Path, several: Any) -> None:
    with refused(file, InvalidValueError, "tasks"):
        store.tasks.create_many(several)
