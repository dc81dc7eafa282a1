"""Proposals: made by agents, listed, counted, decided one by one or many at once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.proposals import Proposal, ProposalStatus, ProposalTargetType
from cwstore.errors import (
    ConflictError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _owners(store: Store) -> None:
    store.initiatives.create(id="i", name="login")
    store.initiatives.create(id="j", name="logout")
    store.agents.create(id="fox", name="brave-fox", worktree_id="/w/fox")
    store.agents.create(id="owl", name="quiet-owl", worktree_id="/w/owl")


def propose(store: Store, **given: Any) -> Proposal:
    """A proposal of `fox` for `i`, but for what is given."""
    values: dict[str, Any] = {
        "agent_id": "fox",
        "initiative_id": "i",
        "target_type": "task",
        "title": "split",
    }
    return store.proposals.create(**(values | given))


def test_a_proposal_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = propose(
            then,
            id="p",
            target_type=ProposalTargetType.PHASE,
            target_id="was deleted",
            summary="in short",
            content="# long",
            metadata='{ "a":1 }',
            status="accepted",
            sort_order=4,
        )
    assert made == Proposal(
        id="p",
        agent_id="fox",
        initiative_id="i",
        target_type=ProposalTargetType.PHASE,
        target_id="was deleted",
        title="split",
        summary="in short",
        content="# long",
        metadata='{ "a":1 }',
        status=ProposalStatus.ACCEPTED,
        sort_order=4,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.proposals.find_by_id("p") == made


def test_what_is_not_given_has_its_default(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = propose(then)
    assert made == Proposal(
        id=made.id,
        agent_id="fox",
        initiative_id="i",
        target_type=ProposalTargetType.TASK,
        target_id=None,
        title="split",
        summary=None,
        content=None,
        metadata=None,
        status=ProposalStatus.PENDING,
        sort_order=0,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert len(made.id) == 21


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"agent_id": None}, "agent_id"),
        ({"initiative_id": ""}, "initiative_id"),
        ({"target_type": "agent"}, "target_type"),
        ({"target_id": ""}, "target_id"),
        ({"title": None}, "title"),
        ({"summary": 1}, "summary"),
        ({"content": b"x"}, "content"),
        ({"metadata": "no json"}, "metadata"),
        ({"status": "lost"}, "status"),
        ({"sort_order": 2**63}, "sort_order"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        propose(store, **given)
    assert caught.value.field == field
    assert store.proposals.find_all() == []


@pytest.mark.parametrize("name", ["agent_id", "initiative_id"])
def test_what_a_proposal_belongs_to_must_exist(store: Store, name: str) -> None:
    with pytest.raises(MissingReferenceError):
        propose(store, **{name: "gone"})
    assert store.proposals.find_all() == []


def test_an_id_is_taken_once(store: Store) -> None:
    made = propose(store, id="p")
    with pytest.raises(ConflictError):
        propose(store, id="p", title="other")
    assert store.proposals.find_all() == [made]


def test_an_unknown_proposal_is_none(store: Store) -> None:
    assert store.proposals.find_by_id("gone") is None


def test_all_proposals_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = propose(later, id="a", sort_order=-1)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = propose(one, id="c", agent_id="owl")
        b = propose(other, id="b")
    assert store.proposals.find_all() == [b, c, a]


def test_lists_come_by_sort_order_age_and_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        a = propose(later, id="a")
        d = propose(later, id="d", sort_order=-1)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = propose(one, id="c")
        b = propose(other, id="b")
    elsewhere = propose(store, initiative_id="j", status="dismissed", sort_order=1)
    owls = propose(store, agent_id="owl", sort_order=1)

    find = store.proposals
    assert find.find_by_agent_id("fox") == [d, b, c, a, elsewhere]
    assert find.find_by_agent_id("owl") == [owls]
    assert find.find_by_agent_id("gone") == []
    assert find.find_by_initiative_id("i") == [d, b, c, a, owls]
    assert find.find_by_initiative_id("j") == [elsewhere]
    assert find.find_by_initiative_id("gone") == []
    assert find.find_by_agent_id_and_status("fox", "pending") == [d, b, c, a]
    assert find.find_by_agent_id_and_status("fox", ProposalStatus.DISMISSED) == [elsewhere]
    assert find.find_by_agent_id_and_status("fox", "accepted") == []
    assert find.count_by_agent_id_and_status("fox", ProposalStatus.PENDING) == 4
    assert find.count_by_agent_id_and_status("fox", "dismissed") == 1
    assert find.count_by_agent_id_and_status("owl", "dismissed") == 0
    assert find.count_by_agent_id_and_status("gone", "pending") == 0


def test_an_unknown_status_is_refused(store: Store) -> None:
    unknown: Any = "lost"
    for find in (
        store.proposals.find_by_agent_id_and_status,
        store.proposals.count_by_agent_id_and_status,
    ):
        with pytest.raises(InvalidValueError) as caught:
            find("fox", unknown)
        assert caught.value.field == "status"


PATCHES: list[dict[str, Any]] = [
    {},
    {"title": "new"},
    {"summary": "new"},
    {"summary": None},
    {"content": "new"},
    {"content": None},
    {"metadata": "[1]"},
    {"metadata": None},
    {"status": ProposalStatus.DISMISSED},
    {"sort_order": -7},
    {"target_id": "new"},
    {"target_id": None},
]
BAD_PATCHES: list[tuple[dict[str, Any], str]] = [
    ({"title": None}, "title"),
    ({"metadata": "{"}, "metadata"),
    ({"status": None}, "status"),
    ({"status": "lost"}, "status"),
    ({"sort_order": None}, "sort_order"),
    ({"target_id": ""}, "target_id"),
    ({"target_type": "page"}, "target_type"),
    ({"initiative_id": "j"}, "initiative_id"),
]


def full(store: Store, **given: Any) -> Proposal:
    """A proposal in which nothing is None."""
    values: dict[str, Any] = {"target_id": "x", "summary": "s", "content": "c", "metadata": "{}"}
    return propose(store, **(values | given))


@pytest.mark.parametrize("patch", PATCHES)
def test_an_update_changes_what_is_given(store: Store, file: Path, patch: dict[str, Any]) -> None:
    with store_at(file, 1) as then:
        made = full(then)
    with store_at(file, 2) as then:
        updated = then.proposals.update(made.id, **patch)
    assert updated == replace(made, updated_at=minute(2), **patch)
    assert store.proposals.find_all() == [updated]


@pytest.mark.parametrize(("patch", "field"), BAD_PATCHES)
def test_a_bad_update_changes_nothing(store: Store, patch: dict[str, Any], field: str) -> None:
    made = full(store)
    with pytest.raises(InvalidValueError) as caught:
        store.proposals.update(made.id, **patch)
    assert caught.value.field == field
    assert store.proposals.find_all() == [made]


def test_an_update_of_a_row_that_changed_since_is_refused(store: Store) -> None:
    made = propose(store)
    changed = store.proposals.update(made.id, title="new", if_updated_at=made.updated_at)
    with pytest.raises(ConflictError):
        store.proposals.update(made.id, title="late", if_updated_at=made.updated_at)
    assert store.proposals.find_all() == [changed]


def test_an_update_of_an_unknown_proposal_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.proposals.update("gone", title="x")


@pytest.mark.parametrize("patch", PATCHES)
def test_many_are_updated_as_one_is(store: Store, file: Path, patch: dict[str, Any]) -> None:
    with store_at(file, 1) as then:
        b = full(then, id="b")
        a = full(then, id="a", status="accepted")
    owls = full(store, agent_id="owl")
    with store_at(file, 2) as then:
        changed = then.proposals.update_many_by_agent_id("fox", **patch)
    assert changed == [
        replace(b, updated_at=minute(2), **patch),
        replace(a, updated_at=minute(2), **patch),
    ]
    assert store.proposals.find_by_agent_id("fox") == changed
    assert store.proposals.find_by_agent_id("owl") == [owls]


def test_only_those_of_the_current_status_are_updated(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        pending = propose(then)
        accepted = propose(then, status="accepted")
    with store_at(file, 2) as then:
        changed = then.proposals.update_many_by_agent_id(
            "fox", current_status="pending", status="dismissed", summary="too late"
        )
    dismissed = replace(
        pending, status=ProposalStatus.DISMISSED, summary="too late", updated_at=minute(2)
    )
    assert changed == [dismissed]
    assert store.proposals.find_all() == [dismissed, accepted]


def test_the_updated_come_by_their_order_age_and_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        propose(later, id="a")
        propose(later, id="d", sort_order=-1)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        propose(one, id="c")
        propose(other, id="b")
    update = store.proposals.update_many_by_agent_id
    assert [row.id for row in update("fox", title="x")] == ["d", "b", "c", "a"]
    assert [row.id for row in update("fox", sort_order=5)] == ["b", "c", "a", "d"]


@pytest.mark.parametrize("agent", ["owl", "gone"])
def test_an_agent_without_proposals_has_none_updated(store: Store, agent: str) -> None:
    made = propose(store)
    assert store.proposals.update_many_by_agent_id(agent, title="x") == []
    assert store.proposals.find_all() == [made]


@pytest.mark.parametrize(
    ("patch", "field"), [*BAD_PATCHES, ({"current_status": "lost"}, "current_status")]
)
def test_a_bad_update_of_many_changes_nothing(
    store: Store, patch: dict[str, Any], field: str
) -> None:
    made = [full(store), full(store)]
    with pytest.raises(InvalidValueError) as caught:
        store.proposals.update_many_by_agent_id("fox", **patch)
    assert caught.value.field == field
    assert store.proposals.find_all() == made


def test_a_deleted_proposal_is_gone(store: Store) -> None:
    made, kept = propose(store), propose(store)
    assert store.proposals.delete(made.id) is True
    assert store.proposals.find_all() == [kept]
    assert store.proposals.delete(made.id) is False


def test_proposals_go_with_their_agent_and_with_their_initiative(store: Store) -> None:
    kept = propose(store, agent_id="owl", initiative_id="j")
    propose(store, initiative_id="j")
    propose(store, agent_id="owl")
    store.agents.delete("fox")
    store.initiatives.delete("i")
    assert store.proposals.find_all() == [kept]
