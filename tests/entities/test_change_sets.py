"""Change sets: stored whole or not at all, read in order, reverted once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.change_sets import (
    ChangeSet,
    ChangeSetAction,
    ChangeSetEntityType,
    ChangeSetEntry,
    ChangeSetStatus,
    NewChangeSetEntry,
)
from cwstore.errors import (
    BusyError,
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _owners(store: Store) -> None:
    store.initiatives.create(id="i", name="login")
    store.initiatives.create(id="j", name="logout")
    store.agents.create(id="fox", name="brave-fox", worktree_id="/w/fox")


def entry(**given: Any) -> Any:
    """An entry that creates the task `t`, but for what is given."""
    values: dict[str, Any] = {
        "entity_type": "task",
        "entity_id": "t",
        "action": "create",
        "new_state": "{}",
    }
    return values | given


def record(store: Store, *entries: Any, **given: Any) -> ChangeSet:
    """A change set of `i`, but for what is given."""
    values: dict[str, Any] = {"initiative_id": "i", "entries": entries}
    return store.change_sets.create(**(values | given))


def test_a_change_set_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    created: NewChangeSetEntry = {
        "entity_type": ChangeSetEntityType.TASK,
        "entity_id": "t",
        "action": ChangeSetAction.CREATE,
        "new_state": '{ "a":1 }',
    }
    updated: NewChangeSetEntry = {
        "entity_type": "phase_dependency",
        "entity_id": "p",
        "action": "update",
        "previous_state": "1",
        "new_state": "2",
        "sort_order": -1,
    }
    deleted: NewChangeSetEntry = {
        "entity_type": "page",
        "entity_id": "g",
        "action": "delete",
        "previous_state": "[]",
        "new_state": None,
    }
    with store_at(file, 1) as then:
        made = then.change_sets.create(
            id="c",
            initiative_id="i",
            entries=[created, updated, deleted],
            agent_id="fox",
            agent_name="old-name",
            summary="all",
        )
    assert made == ChangeSet(
        id="c",
        initiative_id="i",
        agent_id="fox",
        agent_name="old-name",
        summary="all",
        status=ChangeSetStatus.APPLIED,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.change_sets.find_by_id("c") == made
    entries = store.change_sets.find_entries("c")
    assert entries == [
        ChangeSetEntry(
            id=entries[0].id,
            change_set_id="c",
            entity_type=ChangeSetEntityType.PHASE_DEPENDENCY,
            entity_id="p",
            action=ChangeSetAction.UPDATE,
            previous_state="1",
            new_state="2",
            sort_order=-1,
            created_at=minute(1, microseconds=2),
        ),
        ChangeSetEntry(
            id=entries[1].id,
            change_set_id="c",
            entity_type=ChangeSetEntityType.TASK,
            entity_id="t",
            action=ChangeSetAction.CREATE,
            previous_state=None,
            new_state='{ "a":1 }',
            sort_order=0,
            created_at=minute(1, microseconds=1),
        ),
        ChangeSetEntry(
            id=entries[2].id,
            change_set_id="c",
            entity_type=ChangeSetEntityType.PAGE,
            entity_id="g",
            action=ChangeSetAction.DELETE,
            previous_state="[]",
            new_state=None,
            sort_order=0,
            created_at=minute(1, microseconds=3),
        ),
    ]
    assert {len(entry.id) for entry in entries} == {21}


def test_what_is_not_given_is_the_users_and_may_be_empty(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = then.change_sets.create(initiative_id="i", entries=[])
    assert made == ChangeSet(
        id=made.id,
        initiative_id="i",
        agent_id=None,
        agent_name=None,
        summary=None,
        status=ChangeSetStatus.APPLIED,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert len(made.id) == 21
    assert store.change_sets.find_entries(made.id) == []


def test_an_agents_work_keeps_its_name_when_it_is_gone(store: Store) -> None:
    made = record(store, agent_id="fox")
    assert (made.agent_id, made.agent_name) == ("fox", "brave-fox")
    store.agents.delete("fox")
    assert store.change_sets.find_by_id(made.id) == replace(made, agent_id=None)


def test_a_name_can_be_kept_of_an_agent_that_is_gone(store: Store) -> None:
    made = record(store, agent_name="lost-lynx")
    assert (made.agent_id, made.agent_name) == (None, "lost-lynx")


def test_entries_of_one_number_keep_their_order(store: Store) -> None:
    made = record(store, *(entry(entity_id=f"t{9 - number}") for number in range(10)))
    entries = store.change_sets.find_entries(made.id)
    assert [entry.entity_id for entry in entries] == [f"t{9 - number}" for number in range(10)]


def test_entries_are_read_before_anything_is_locked(store: Store, open_store: OpenStore) -> None:
    """A generator may write through another store, which waits for nobody."""
    with open_store(busy_timeout=0.0) as other:

        def entries() -> Iterator[Any]:
            yield entry(entity_id=other.tasks.create(name="made meanwhile").id)

        made = record(store, entries=entries())
    assert [entry.entity_id for entry in store.change_sets.find_entries(made.id)] == [
        task.id for task in store.tasks.find_all()
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"initiative_id": None}, "initiative_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"agent_name": ""}, "agent_name"),
        ({"summary": 1}, "summary"),
        ({"id": ""}, "id"),
        ({"entries": None}, "entries"),
        ({"entries": "text"}, "entries"),
        ({"entries": [entry(), None]}, "entries"),
        ({"entries": entry()}, "entries"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        record(store, **given)
    assert caught.value.field == field
    assert store.change_sets.find_by_initiative_id("i") == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"entity_type": "agent"}, "entity_type"),
        ({"entity_id": ""}, "entity_id"),
        ({"entity_id": None}, "entity_id"),
        ({"action": "rename"}, "action"),
        ({"action": []}, "action"),
        ({"new_state": "{"}, "new_state"),
        ({"new_state": {}}, "new_state"),
        ({"action": "update", "previous_state": "no json"}, "previous_state"),
        ({"sort_order": "1"}, "sort_order"),
        ({"sort_order": None}, "sort_order"),
        # A create has only a new state, a delete only a previous one, an update both.
        ({"new_state": None}, "new_state"),
        ({"previous_state": "{}"}, "previous_state"),
        ({"action": "update"}, "previous_state"),
        ({"action": "update", "previous_state": "{}", "new_state": None}, "new_state"),
        ({"action": "delete", "previous_state": "{}"}, "new_state"),
        ({"action": ChangeSetAction.DELETE, "new_state": None}, "previous_state"),
        ({"colour": "red"}, "colour"),
        ({"id": "e"}, "id"),
        ({"change_set_id": "c"}, "change_set_id"),
        ({5: "x"}, "5"),
    ],
)
def test_with_one_bad_entry_nothing_is_stored(
    store: Store, given: dict[Any, Any], field: str
) -> None:
    bad: Any = entry() | given
    with pytest.raises(InvalidValueError) as caught:
        record(store, entry(), bad, id="c")
    assert caught.value.field == field
    assert store.change_sets.find_by_initiative_id("i") == []
    assert store.change_sets.find_entries("c") == []


@pytest.mark.parametrize("key", ["entity_type", "entity_id", "action", "new_state"])
def test_an_entry_without_a_key_is_refused(store: Store, key: str) -> None:
    bad = entry()
    del bad[key]
    with pytest.raises(InvalidValueError) as caught:
        record(store, entry(), bad)
    assert caught.value.field == key
    assert store.change_sets.find_by_initiative_id("i") == []


@pytest.mark.parametrize("name", ["initiative_id", "agent_id"])
def test_what_a_change_set_refers_to_must_exist(store: Store, name: str) -> None:
    with pytest.raises(MissingReferenceError):
        record(store, entry(), id="c", **{name: "gone"})
    assert store.change_sets.find_by_id("c") is None
    assert store.change_sets.find_entries("c") == []


def test_an_id_is_taken_once(store: Store) -> None:
    made = record(store, entry(), id="c")
    entries = store.change_sets.find_entries("c")
    with pytest.raises(ConflictError):
        record(store, entry(), id="c")
    assert store.change_sets.find_by_initiative_id("i") == [made]
    assert store.change_sets.find_entries("c") == entries


def test_an_unknown_change_set_is_none_and_has_no_entries(store: Store) -> None:
    assert store.change_sets.find_by_id("gone") is None
    assert store.change_sets.find_entries("gone") == []


def test_change_sets_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = record(later, id="a")
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = record(one, id="c")
        b = record(other, id="b")
    elsewhere = record(store, initiative_id="j")
    assert store.change_sets.find_by_initiative_id("i") == [b, c, a]
    assert store.change_sets.find_by_initiative_id("j") == [elsewhere]
    assert store.change_sets.find_by_initiative_id("gone") == []


def test_a_change_set_is_marked_as_reverted_once(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = record(then, entry())
    other = record(store)
    with store_at(file, 2) as then:
        reverted = then.change_sets.mark_reverted(made.id)
    assert reverted == replace(made, status=ChangeSetStatus.REVERTED, updated_at=minute(2))
    with pytest.raises(ConflictError):
        store.change_sets.mark_reverted(made.id)
    assert store.change_sets.find_by_id(made.id) == reverted
    assert store.change_sets.find_by_id(other.id) == other


def test_why_a_revert_is_refused_is_decided_under_the_same_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    reverted = store.change_sets.mark_reverted(record(store).id)
    find = store.change_sets._db.fetch_one

    with open_store(busy_timeout=0.0) as other:

        def find_later(*args: Any, **binds: Any) -> Any:
            with pytest.raises(BusyError):
                other.initiatives.delete("i")
            return find(*args, **binds)

        monkeypatch.setattr(store.change_sets._db, "fetch_one", find_later)
        with pytest.raises(ConflictError):
            store.change_sets.mark_reverted(reverted.id)


def test_an_unknown_change_set_is_not_reverted(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.change_sets.mark_reverted("gone")


def test_change_sets_and_entries_go_with_the_initiative(store: Store) -> None:
    made = record(store, entry())
    kept = record(store, entry(), initiative_id="j")
    store.initiatives.delete("i")
    assert store.change_sets.find_by_id(made.id) is None
    assert store.change_sets.find_entries(made.id) == []
    assert store.change_sets.find_by_id(kept.id) == kept
    assert len(store.change_sets.find_entries(kept.id)) == 1


def test_a_change_set_is_deleted_with_its_entries(store: Store) -> None:
    made, other = record(store, entry()), record(store, entry())
    assert store.change_sets.delete(made.id) is True
    assert store.change_sets.delete(made.id) is False
    assert store.change_sets.find_by_initiative_id(made.initiative_id) == [other]
    assert store.change_sets.find_entries(made.id) == []
    assert len(store.change_sets.find_entries(other.id)) == 1
