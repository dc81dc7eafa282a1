"""Initiatives: every method, order and refusal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.initiatives import Initiative, InitiativeStatus
from cwstore.errors import ConflictError, InvalidValueError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import (
    MICROSECOND,
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    at,
    moment,
    refused,
)


def test_a_new_initiative_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.initiatives.create(name="Auth")
        assert made == Initiative(
            id=made.id,
            name="Auth",
            status=InitiativeStatus.ACTIVE,
            merge_requires_approval=True,
            branch=None,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.initiatives.find_by_id(made.id) == made


def test_everything_given_is_kept(store: Store) -> None:
    made = store.initiatives.create(
        name="Auth \N{LOCK}",
        status="pending_review",
        merge_requires_approval=False,
        branch="cw/user-auth",
        id="own",
    )
    assert made == Initiative(
        id="own",
        name="Auth \N{LOCK}",
        status=InitiativeStatus.PENDING_REVIEW,
        merge_requires_approval=False,
        branch="cw/user-auth",
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    assert store.initiatives.find_by_id("own") == made


def test_an_unknown_id_finds_nothing(store: Store) -> None:
    assert store.initiatives.find_by_id("nobody") is None


def test_a_taken_id_is_refused(store: Store, file: Path) -> None:
    store.initiatives.create(name="first", id="i")
    with refused(file, ConflictError):
        store.initiatives.create(name="second", id="i")


def test_lists_come_oldest_first_and_ties_by_id(file: Path, open_store: OpenStore) -> None:
    for key, second in (("c", 2), ("b", 1), ("a", 2), ("d", 1)):
        at(file, moment(second), lambda one, key=key: one.initiatives.create(name="x", id=key))
    with open_store() as store:
        assert [row.id for row in store.initiatives.find_all()] == ["b", "d", "a", "c"]
        store.initiatives.update("d", status="archived")
        by_status = store.initiatives.find_by_status(InitiativeStatus.ACTIVE)
        assert [row.id for row in by_status] == ["b", "a", "c"]


def test_find_by_status_takes_a_member_or_its_value(store: Store) -> None:
    store.initiatives.create(name="active")
    done = store.initiatives.create(name="done", status=InitiativeStatus.COMPLETED)
    assert store.initiatives.find_by_status(InitiativeStatus.COMPLETED) == [done]
    assert store.initiatives.find_by_status("completed") == [done]
    assert store.initiatives.find_by_status("archived") == []


@pytest.mark.parametrize(
    ("key", "value", "stored"),
    [
        ("name", "new", "new"),
        ("status", "archived", InitiativeStatus.ARCHIVED),
        ("status", InitiativeStatus.COMPLETED, InitiativeStatus.COMPLETED),
        ("merge_requires_approval", False, False),
        ("branch", "other", "other"),
        ("branch", None, None),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(
    store: Store, key: str, value: Any, stored: object
) -> None:
    other = store.initiatives.create(name="other")
    before = store.initiatives.create(name="old", branch="b")
    patch: dict[str, Any] = {key: value}
    after = store.initiatives.update(before.id, **patch)
    assert_updated(before, after, **{key: stored})
    assert store.initiatives.find_all() == [other, after]


def test_an_empty_patch_touches_updated_at_only(store: Store) -> None:
    before = store.initiatives.create(name="x")
    assert_updated(before, store.initiatives.update(before.id))


def test_updated_at_rises_even_if_the_clock_steps_back(file: Path) -> None:
    at(file, moment(9), lambda store: store.initiatives.create(name="x", id="i"))
    after = at(file, moment(5), lambda store: store.initiatives.update("i", name="y"))
    assert after.updated_at == moment(9) + MICROSECOND


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    first = store.initiatives.create(name="x")
    second = store.initiatives.update(first.id, name="y", if_updated_at=first.updated_at)
    assert_updated(first, second, name="y")
    with refused(file, ConflictError):
        store.initiatives.update(first.id, name="z", if_updated_at=first.updated_at)


def test_updating_what_does_not_exist_is_refused(store: Store, file: Path) -> None:
    with refused(file, NotFoundError):
        store.initiatives.update("nobody", name="x")
    with refused(file, NotFoundError):
        store.initiatives.update("nobody", name="x", if_updated_at=moment(0))


def test_what_an_update_missed_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError) as missed:
        store.initiatives.update("nobody", name="x")
    assert str(missed.value) == "initiatives: no row has the id 'nobody'"
    store.initiatives.create(name="x", id="i")
    with pytest.raises(ConflictError) as late:
        store.initiatives.update("i", name="y", if_updated_at=moment(0))
    assert str(late.value) == (
        f"initiatives: row 'i' was updated since {moment(0).isoformat()};"
        " read it again and decide anew"
    )


BAD: list[tuple[str, object]] = [
    ("name", None),
    ("name", ""),
    ("name", 5),
    ("name", "a\0b"),
    ("name", "\ud800"),
    ("status", None),
    ("status", "done"),
    ("status", 1),
    ("merge_requires_approval", None),
    ("merge_requires_approval", 1),
    ("branch", b"cw"),
]


@pytest.mark.parametrize(("field", "value"), [*BAD, ("id", ""), ("id", 7)])
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"name": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.initiatives.create(**given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *BAD,
        ("created_at", moment(0)),
        ("updated_at", moment(0)),
        ("if_updated_at", moment(0).replace(tzinfo=None)),
    ],
)
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    made = store.initiatives.create(name="good")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.initiatives.update(made.id, **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", store.initiatives.find_by_id, (bad,)),
        ("id", store.initiatives.update, (bad,)),
        ("id", store.initiatives.delete, (bad,)),
        ("status", store.initiatives.find_by_status, (bad,)),
    )


def test_delete_takes_what_the_initiative_owns_and_frees_its_agents(
    store: Store, file: Path
) -> None:
    other = store.initiatives.create(name="other")
    before = contents(file)
    doomed = store.initiatives.create(name="doomed")
    project = store.projects.create(name="p", url="u")
    agent = store.agents.create(name="a", worktree_id="w", initiative_id=doomed.id)
    phase = store.phases.create(initiative_id=doomed.id, name="p")
    store.tasks.create(name="t", phase_id=phase.id)
    store.tasks.create(name="t", initiative_id=doomed.id)
    store.projects.add_to_initiative(doomed.id, project.id)

    assert store.initiatives.delete(doomed.id) is True
    assert store.initiatives.delete(doomed.id) is False
    assert store.initiatives.find_all() == [other]
    assert store.agents.find_all() == [replace(agent, initiative_id=None)]
    store.agents.delete(agent.id)
    store.projects.delete(project.id)
    assert contents(file) == before
