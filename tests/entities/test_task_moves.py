"""Moving a task: it and what is below it, into another initiative or phase, below another task."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.tasks import Task
from cwstore.errors import (
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.entities import assert_updated, refused


@pytest.fixture(autouse=True)
def _plan(store: Store) -> None:
    """Initiatives i and j, each with a phase; in i: t, below it u and v, below that w; and x."""
    for name in "ij":
        store.initiatives.create(name=name, id=name)
        store.phases.create(initiative_id=name, name=name, id=f"p-{name}")
    store.phases.create(initiative_id="i", name="q", id="q-i")
    for name, parent in (("t", None), ("u", "t"), ("v", "t"), ("w", "v"), ("x", None)):
        store.tasks.create(name=name, id=name, initiative_id="i", parent_task_id=parent)


def places(store: Store) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {
        task.id: (task.initiative_id, task.phase_id, task.parent_task_id)
        for task in store.tasks.find_all()
    }


def changed(store: Store, act: Callable[[], object]) -> dict[str, Any]:
    """The places that are other ones afterwards."""
    before = places(store)
    act()
    return {key: place for key, place in places(store).items() if place != before[key]}


def test_what_is_not_given_stays(store: Store) -> None:
    before = store.tasks.get("w")
    assert_updated(before, store.tasks.move("w"))
    assert_updated(
        store.tasks.get("w"), store.tasks.move("w", parent_task_id="u"), parent_task_id="u"
    )


def test_a_task_moves_alone_below_another(store: Store) -> None:
    store.tasks.update("v", status="completed")
    act = lambda: store.tasks.move("v", parent_task_id="x")  # noqa: E731
    assert changed(store, act) == {"v": ("i", None, "x")}
    assert changed(store, lambda: store.tasks.move("v", parent_task_id=None)) == {
        "v": ("i", None, None)
    }


def test_all_below_follow_into_the_phase(store: Store) -> None:
    store.tasks.move("w", phase_id="q-i")
    untouched = store.tasks.get("x")
    assert changed(store, lambda: store.tasks.move("t", phase_id="p-i")) == {
        "t": ("i", "p-i", None),
        "u": ("i", "p-i", "t"),
        "v": ("i", "p-i", "t"),
        "w": ("i", "p-i", "v"),
    }
    assert store.tasks.get("x") == untouched
    assert changed(store, lambda: store.tasks.move("t", phase_id=None)).keys() == set("tuvw")


def test_all_below_follow_into_the_initiative_with_their_chats(store: Store) -> None:
    chats = {
        store.chat_sessions.create_session("task", key, initiative_id="i").id: key for key in "twx"
    }
    store.chat_sessions.create_session("phase", "p-i", initiative_id="i")
    moved = store.tasks.move("t", initiative_id="j", phase_id="p-j")
    assert (moved.initiative_id, moved.phase_id) == ("j", "p-j")
    assert places(store) == {
        "t": ("j", "p-j", None),
        "u": ("j", "p-j", "t"),
        "v": ("j", "p-j", "t"),
        "w": ("j", "p-j", "v"),
        "x": ("i", None, None),
    }
    store.initiatives.delete("i")
    assert {
        chats[chat.id]: chat.initiative_id
        for key in "twx"
        for chat in store.chat_sessions.find_sessions("task", key)
    } == {"t": "j", "w": "j"}


def test_what_is_where_it_should_be_is_not_written(store: Store) -> None:
    store.tasks.move("w", phase_id="p-i")
    before = store.tasks.get("w")
    store.tasks.move("t", initiative_id="i", phase_id="p-i")
    assert store.tasks.get("w") == before


def test_a_task_may_be_of_no_initiative(store: Store) -> None:
    session = store.chat_sessions.create_session("task", "t", initiative_id="i")
    store.tasks.move("t", initiative_id=None)
    assert {place[0] for key, place in places(store).items() if key != "x"} == {None}
    # A chat is always of one.
    assert store.chat_sessions.find_sessions("task", "t") == [session]
    store.tasks.create(name="y", id="y")
    assert store.tasks.move("t", parent_task_id="y").parent_task_id == "y"


@pytest.mark.parametrize(
    ("id", "place", "field"),
    [
        ("t", {"phase_id": "p-j"}, "initiative_id"),
        ("w", {"initiative_id": "j"}, "initiative_id"),
        ("t", {"initiative_id": "j", "parent_task_id": "x"}, "initiative_id"),
        ("t", {"initiative_id": "j", "phase_id": "q-i"}, "initiative_id"),
        ("t", {"initiative_id": None, "phase_id": "p-i"}, "initiative_id"),
        ("t", {"initiative_id": ""}, "initiative_id"),
        ("t", {"phase_id": 5}, "phase_id"),
        ("t", {"parent_task_id": "\0"}, "parent_task_id"),
        ("t", {"name": "new"}, "name"),
        (5, {}, "id"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    store: Store, file: Path, id: Any, place: Any, field: str
) -> None:
    with refused(file, InvalidValueError, field):
        store.tasks.move(id, **place)


def test_a_task_below_that_is_in_a_phase_of_the_old_initiative_is_not_torn_off(
    store: Store, file: Path
) -> None:
    store.tasks.move("w", phase_id="p-i")
    told = "a task below it is in a phase of another initiative: give both"
    with refused(file, InvalidValueError, "phase_id", told):
        store.tasks.move("t", initiative_id="j")
    assert store.tasks.move("t", initiative_id="j", phase_id=None).initiative_id == "j"
    assert places(store)["w"] == ("j", None, "v")


@pytest.mark.parametrize("field", ["initiative_id", "phase_id", "parent_task_id"])
def test_a_place_that_does_not_exist_is_named(store: Store, file: Path, field: str) -> None:
    place: Any = {field: "gone"}
    with refused(file, MissingReferenceError, match=f"tasks.{field}: .*'gone'"):
        store.tasks.move("t", **place)
    with pytest.raises(MissingReferenceError) as caught:
        store.tasks.move("t", **place)
    assert caught.value.field == field


def test_a_task_that_does_not_exist_is_named(store: Store, file: Path) -> None:
    with refused(file, NotFoundError, match="tasks: no row has the id 'gone'"):
        store.tasks.move("gone", phase_id="p-i")


@pytest.mark.parametrize(
    ("parent_task_id", "ring"), [("t", ("t",)), ("v", ("t", "v")), ("w", ("t", "w", "v"))]
)
def test_no_task_lies_in_itself(
    store: Store, file: Path, parent_task_id: str, ring: tuple[str, ...]
) -> None:
    with refused(file, CycleError):
        store.tasks.move("t", parent_task_id=parent_task_id)
    with pytest.raises(CycleError) as caught:
        store.tasks.move("t", parent_task_id=parent_task_id)
    assert caught.value.path == ring


def test_a_move_joins_in_a_transaction_and_leaves_it_whole_when_refused(store: Store) -> None:
    with store.transaction():
        store.tasks.move("x", phase_id="p-i")
        with pytest.raises(InvalidValueError):
            store.tasks.move("t", phase_id="p-j")
        store.tasks.move("u", parent_task_id=None)
    assert places(store)["x"] == ("i", "p-i", None)
    assert places(store)["t"] == ("i", None, None)
    assert places(store)["u"] == ("i", None, None)


def test_a_deep_subtree_follows(store: Store) -> None:
    task: Task = store.tasks.get("w")
    with store.transaction():
        for number in range(300):
            task = store.tasks.create(name="x", id=f"d{number:03}", parent_task_id=task.id)
    store.tasks.move("t", phase_id="q-i")
    assert {place[1] for key, place in places(store).items() if key != "x"} == {"q-i"}


def test_what_was_moved_away_survives_the_deletion_of_where_it_was(store: Store) -> None:
    old, new = (store.initiatives.create(name=name).id for name in ("old", "new"))
    top = store.tasks.create(name="top", initiative_id=old)
    middle = store.tasks.create(name="middle", parent_task_id=top.id)
    store.tasks.create(name="leaf", parent_task_id=middle.id)
    store.tasks.move(top.id, initiative_id=new)
    assert store.tasks.find_by_initiative_id(old) == []
    assert store.initiatives.delete(old)
    left = store.tasks.find_by_initiative_id(new)
    assert [task.name for task in left] == ["top", "middle", "leaf"]
    assert [task.parent_task_id for task in left] == [None, top.id, middle.id]
