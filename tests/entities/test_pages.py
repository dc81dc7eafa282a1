"""Pages: one root per initiative, a tree below it, and moves that keep it a tree."""

from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from cwstore.entities.pages import Page
from cwstore.errors import (
    ConflictError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.moments import minute, store_at


@pytest.fixture(autouse=True)
def _initiatives(store: Store) -> None:
    store.initiatives.create(id="i", name="login")
    store.initiatives.create(id="j", name="logout")


@pytest.fixture
def root(store: Store) -> Page:
    """The root page of the initiative `i`."""
    return store.pages.create(id="root", initiative_id="i", title="root")


def child(store: Store, **given: Any) -> Page:
    """A page below the root of `i`, but for what is given."""
    values: dict[str, Any] = {"initiative_id": "i", "parent_page_id": "root", "title": "child"}
    return store.pages.create(**(values | given))


def test_a_page_is_stored_as_it_was_given(store: Store, file: Path, root: Page) -> None:
    with store_at(file, 1) as then:
        made = child(then, id="p", content='{ "type":"doc" }', sort_order=-3)
    assert made == Page(
        id="p",
        initiative_id="i",
        parent_page_id="root",
        title="child",
        content='{ "type":"doc" }',
        sort_order=-3,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.pages.find_by_id("p") == made


def test_a_page_without_a_parent_is_the_root(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = then.pages.create(initiative_id="i", title="")
    assert made == Page(
        id=made.id,
        initiative_id="i",
        parent_page_id=None,
        title="",
        content=None,
        sort_order=0,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert len(made.id) == 21
    assert store.pages.find_root_page("i") == made
    assert store.pages.find_root_page("j") is None
    assert store.pages.find_root_page("gone") is None


def test_the_root_is_the_page_without_a_parent(store: Store, root: Page) -> None:
    child(store, sort_order=-1)
    assert store.pages.find_root_page("i") == root
    assert store.pages.get_or_create_root_page("i") == root


def test_a_second_root_is_refused(store: Store, root: Page) -> None:
    with pytest.raises(ConflictError):
        store.pages.create(initiative_id="i", title="another")
    other = store.pages.create(initiative_id="j", title="of another initiative")
    assert store.pages.find_all() == [root, other]


def test_an_id_is_taken_once(store: Store, root: Page) -> None:
    with pytest.raises(ConflictError):
        child(store, id="root", parent_page_id=child(store, id="p").id)
    assert store.pages.find_by_id("root") == root


@pytest.mark.parametrize("name", ["initiative_id", "parent_page_id"])
def test_what_a_page_refers_to_must_exist(store: Store, root: Page, name: str) -> None:
    values: dict[str, Any] = {"parent_page_id": None, name: "gone"}
    with pytest.raises(MissingReferenceError):
        child(store, **values)
    assert store.pages.find_all() == [root]


def test_a_parent_of_another_initiative_is_refused(store: Store, root: Page) -> None:
    with pytest.raises(InvalidValueError) as caught:
        child(store, initiative_id="j")
    assert caught.value.field == "parent_page_id"
    assert store.pages.find_all() == [root]


def test_a_new_page_is_not_its_own_parent(store: Store, root: Page) -> None:
    with pytest.raises(CycleError, match=r"^pages: 'p' cannot be its own parent$") as caught:
        child(store, id="p", parent_page_id="p")
    assert caught.value.path == ("p",)
    assert store.pages.find_all() == [root]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"initiative_id": None}, "initiative_id"),
        ({"title": None}, "title"),
        ({"parent_page_id": ""}, "parent_page_id"),
        ({"content": "{"}, "content"),
        ({"content": {}}, "content"),
        ({"sort_order": 1.5}, "sort_order"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(
    store: Store, root: Page, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        child(store, **given)
    assert caught.value.field == field
    assert store.pages.find_all() == [root]


def test_an_unknown_page_is_none(store: Store) -> None:
    assert store.pages.find_by_id("gone") is None


def test_all_pages_come_oldest_first_and_of_one_age_by_id(store: Store, file: Path) -> None:
    with store_at(file, 0) as then:
        root = then.pages.create(id="root", initiative_id="i", title="root")
    with store_at(file, 2) as later:
        a = child(later, id="a", sort_order=-1)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = child(one, id="c")
        b = child(other, id="b")
    assert store.pages.find_all() == [root, b, c, a]


def test_pages_of_an_initiative_or_parent_come_by_sort_order_age_and_id(
    store: Store, file: Path
) -> None:
    with store_at(file, 0) as then:
        root = then.pages.create(id="root", initiative_id="i", title="root", sort_order=9)
    with store_at(file, 2) as later:
        a = child(later, id="a")
        d = child(later, id="d", sort_order=-1)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        c = child(one, id="c")
        b = child(other, id="b")
    below = child(store, id="below", parent_page_id="a", sort_order=10)
    store.pages.create(initiative_id="j", title="elsewhere")
    assert store.pages.find_by_initiative_id("i") == [d, b, c, a, root, below]
    assert store.pages.find_by_initiative_id("gone") == []
    assert store.pages.find_by_parent_page_id("root") == [d, b, c, a]
    assert store.pages.find_by_parent_page_id("a") == [below]
    assert store.pages.find_by_parent_page_id("gone") == []


def test_a_missing_root_is_made_with_the_name_of_the_initiative(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = then.pages.get_or_create_root_page("i")
    assert made == Page(
        id=made.id,
        initiative_id="i",
        parent_page_id=None,
        title="login",
        content=None,
        sort_order=0,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.pages.get_or_create_root_page("i") == made
    assert store.pages.find_all() == [made]


def test_a_root_that_exists_is_read_while_another_writes(
    store: Store, root: Page, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=0.0) as reader, store.transaction():
        assert reader.pages.get_or_create_root_page("i") == root


def test_an_initiative_that_does_not_exist_gets_no_root(store: Store) -> None:
    with pytest.raises(NotFoundError):
        store.pages.get_or_create_root_page("gone")
    assert store.pages.find_all() == []


def test_all_who_race_for_the_root_get_the_same_page(store: Store, open_store: OpenStore) -> None:
    made: list[Page] = []

    def get(racer: Store) -> None:
        made.append(racer.pages.get_or_create_root_page("i"))

    racers = [open_store(busy_timeout=60.0) for _ in range(4)]
    threads = [Thread(target=get, args=(racer,)) for racer in racers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for racer in racers:
        racer.close()
    assert made == store.pages.find_all() * 4


def test_one_who_saw_no_root_gets_the_one_made_meanwhile(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loser of the race, step by step: another makes the root between its look and its lock."""
    transaction = store.pages._db.transaction

    def late() -> Any:
        monkeypatch.undo()
        store.pages.create(id="root", initiative_id="i", title="made meanwhile")
        return transaction()

    monkeypatch.setattr(store.pages._db, "transaction", late)
    assert store.pages.get_or_create_root_page("i").title == "made meanwhile"
    assert [page.id for page in store.pages.find_all()] == ["root"]


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"title": "new"},
        {"content": "[]"},
        {"content": None},
        {"sort_order": 7},
        {"parent_page_id": "q"},
        {"parent_page_id": "root", "title": "same parent"},
    ],
)
def test_an_update_changes_what_is_given(
    store: Store, file: Path, root: Page, patch: dict[str, Any]
) -> None:
    child(store, id="q")
    with store_at(file, 1) as then:
        made = child(then, id="p", content="{}")
    with store_at(file, 2) as then:
        updated = then.pages.update("p", **patch)
    assert updated == replace(made, updated_at=minute(2), **patch)
    assert store.pages.find_by_id("p") == updated


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"title": None}, "title"),
        ({"content": "{"}, "content"),
        ({"sort_order": True}, "sort_order"),
        ({"parent_page_id": ""}, "parent_page_id"),
        ({"parent_page_id": 5}, "parent_page_id"),
        ({"initiative_id": "j"}, "initiative_id"),
    ],
)
def test_a_bad_update_changes_nothing(
    store: Store, root: Page, patch: dict[str, Any], field: str
) -> None:
    made = child(store)
    with pytest.raises(InvalidValueError) as caught:
        store.pages.update(made.id, **patch)
    assert caught.value.field == field
    assert store.pages.find_all() == [root, made]


@pytest.mark.parametrize("patch", [{"title": "late"}, {"parent_page_id": "q"}])
def test_an_update_of_a_row_that_changed_since_is_refused(
    store: Store, root: Page, patch: dict[str, Any]
) -> None:
    child(store, id="q")
    made = child(store)
    changed = store.pages.update(made.id, title="new", if_updated_at=made.updated_at)
    with pytest.raises(ConflictError):
        store.pages.update(made.id, if_updated_at=made.updated_at, **patch)
    assert store.pages.find_by_id(made.id) == changed


@pytest.mark.parametrize("patch", [{"title": "x"}, {"parent_page_id": "root"}])
def test_an_update_of_an_unknown_page_is_refused(
    store: Store, root: Page, patch: dict[str, Any]
) -> None:
    with pytest.raises(NotFoundError):
        store.pages.update("gone", **patch)


@pytest.mark.parametrize(
    ("parent", "ring"), [("root", ("root",)), ("p", ("root", "p")), ("q", ("root", "q", "p"))]
)
def test_a_page_is_not_moved_below_itself(
    store: Store, root: Page, parent: str, ring: tuple[str, ...]
) -> None:
    child(store, id="p")
    child(store, id="q", parent_page_id="p")
    before = store.pages.find_all()
    with pytest.raises(CycleError) as caught:
        store.pages.update("root", parent_page_id=parent)
    assert caught.value.path == ring
    assert store.pages.find_all() == before


def test_a_page_is_not_moved_to_another_initiative(store: Store, root: Page) -> None:
    store.pages.create(id="other", initiative_id="j", title="other")
    made = child(store)
    with pytest.raises(InvalidValueError) as caught:
        store.pages.update(made.id, parent_page_id="other", title="moved")
    assert caught.value.field == "parent_page_id"
    assert store.pages.find_by_id(made.id) == made


def test_a_page_is_not_moved_below_what_does_not_exist(store: Store, root: Page) -> None:
    made = child(store)
    with pytest.raises(MissingReferenceError):
        store.pages.update(made.id, parent_page_id="gone")
    assert store.pages.find_by_id(made.id) == made


def test_no_second_root_is_made_by_a_move(store: Store, root: Page) -> None:
    made = child(store)
    with pytest.raises(ConflictError):
        store.pages.update(made.id, parent_page_id=None)
    assert store.pages.find_all() == [root, made]


def test_a_root_that_stays_root_can_be_updated(store: Store, root: Page) -> None:
    updated = store.pages.update("root", parent_page_id=None, title="new")
    assert updated == replace(root, title="new", updated_at=updated.updated_at)


def test_a_page_goes_with_all_below_it(store: Store, root: Page) -> None:
    child(store, id="p")
    child(store, id="q", parent_page_id="p")
    kept = child(store, id="r")
    assert store.pages.delete("p") is True
    assert store.pages.find_all() == [root, kept]
    assert store.pages.delete("p") is False


def test_pages_go_with_their_initiative(store: Store, root: Page) -> None:
    child(store)
    kept = store.pages.get_or_create_root_page("j")
    store.initiatives.delete("i")
    assert store.pages.find_all() == [kept]
