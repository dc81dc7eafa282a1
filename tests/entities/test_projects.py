"""Projects: every method, order and refusal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.projects import Project
from cwstore.errors import ConflictError, InvalidValueError, MissingReferenceError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents, rows_written
from tests.kits.entities import (
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    moment,
    refused,
)


def make(store: Store, name: str) -> Project:
    """A project whose id is its name."""
    return store.projects.create(name=name, url=f"https://example.org/{name}", id=name)


def test_a_new_project_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.projects.create(name="core", url="ssh://git/core")
        assert made == Project(
            id=made.id,
            name="core",
            url="ssh://git/core",
            default_branch="main",
            last_fetched_at=None,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.projects.find_by_id(made.id) == made


def test_everything_given_is_kept(store: Store) -> None:
    made = store.projects.create(
        name="core", url="u", default_branch="trunk", last_fetched_at=moment(0.000001), id="p"
    )
    assert made == Project(
        id="p",
        name="core",
        url="u",
        default_branch="trunk",
        last_fetched_at=moment(0.000001),
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    assert store.projects.find_by_id("p") == made
    assert store.projects.find_by_id("nobody") is None


def test_lists_come_by_name(store: Store) -> None:
    store.initiatives.create(name="x", id="i")
    for key, name in (("2", "b"), ("1", "é"), ("3", "a"), ("4", "B")):
        store.projects.create(name=name, url=name, id=key)
        store.projects.add_to_initiative("i", key)
    projects = store.projects.find_all()
    assert [project.name for project in projects] == ["B", "a", "b", "é"]
    assert store.projects.find_projects_by_initiative_id("i") == projects
    assert store.projects.set_initiative_projects("i", list("1234")) == projects


def test_a_taken_name_url_or_id_is_refused(store: Store, file: Path) -> None:
    store.projects.create(name="name", url="url", id="id")
    other = store.projects.create(name="NAME", url="url/")
    with refused(file, ConflictError, match=r"projects\.name"):
        store.projects.create(name="name", url="x")
    with refused(file, ConflictError, match=r"projects\.url"):
        store.projects.create(name="x", url="url")
    with refused(file, ConflictError, match=r"projects\.id"):
        store.projects.create(name="x", url="x", id="id")
    with refused(file, ConflictError, match=r"projects\.name"):
        store.projects.update(other.id, name="name")
    with refused(file, ConflictError, match=r"projects\.url"):
        store.projects.update(other.id, url="url")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "new"),
        ("url", "new"),
        ("default_branch", "new"),
        ("last_fetched_at", moment(7)),
        ("last_fetched_at", None),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(store: Store, key: str, value: Any) -> None:
    make(store, "other")
    before = store.projects.create(name="old", url="old", last_fetched_at=moment(1))
    patch: dict[str, Any] = {key: value}
    after = store.projects.update(before.id, **patch)
    assert_updated(before, after, **{key: value})
    assert store.projects.find_by_id(before.id) == after
    assert_updated(after, store.projects.update(before.id))


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    first = make(store, "x")
    second = store.projects.update("x", name="y", if_updated_at=first.updated_at)
    assert_updated(first, second, name="y")
    with refused(file, ConflictError):
        store.projects.update("x", name="z", if_updated_at=first.updated_at)
    with refused(file, NotFoundError):
        store.projects.update("nobody", name="z")


BAD: list[tuple[str, object]] = [
    ("name", ""),
    ("name", None),
    ("url", None),
    ("url", 5),
    ("default_branch", None),
    ("last_fetched_at", moment(0).replace(tzinfo=None)),
    ("last_fetched_at", 1_700_000_000),
]


@pytest.mark.parametrize(("field", "value"), [*BAD, ("id", "")])
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"name": "good", "url": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.projects.create(**given)


@pytest.mark.parametrize(("field", "value"), [*BAD, ("created_at", moment(0))])
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    make(store, "p")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.projects.update("p", **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    make(store, "p")
    projects = store.projects
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", projects.find_by_id, (bad,)),
        ("id", projects.update, (bad,)),
        ("id", projects.delete, (bad,)),
        ("initiative_id", projects.find_projects_by_initiative_id, (bad,)),
        ("initiative_id", projects.add_to_initiative, (bad, "p")),
        ("project_id", projects.add_to_initiative, ("i", bad)),
        ("initiative_id", projects.remove_from_initiative, (bad, "p")),
        ("project_id", projects.remove_from_initiative, ("i", bad)),
        ("initiative_id", projects.set_initiative_projects, (bad, ["p"])),
        ("project_ids", projects.set_initiative_projects, ("i", bad)),
        ("project_ids", projects.set_initiative_projects, ("i", "p")),
        ("project_ids", projects.set_initiative_projects, ("i", ["p", None])),
        ("project_ids", projects.set_initiative_projects, ("i", ["p", ["p"]])),
        ("project_ids", projects.set_initiative_projects, ("i", ["p", ""])),
        ("project_ids", projects.set_initiative_projects, ("i", ["p", "\ud800"])),
    )


def test_delete_takes_the_pairs_along(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    before = contents(file)
    make(store, "p")
    store.projects.add_to_initiative("i", "p")
    assert store.projects.delete("p") is True
    assert store.projects.delete("p") is False
    assert contents(file) == before


def test_a_pair_is_made_once_and_removed_once(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    store.initiatives.create(name="x", id="other")
    b, a = make(store, "b"), make(store, "a")
    store.projects.add_to_initiative("i", "b")
    store.projects.add_to_initiative("i", "a")
    store.projects.add_to_initiative("other", "b")
    made = contents(file)
    store.projects.add_to_initiative("i", "b")
    assert contents(file) == made
    assert store.projects.find_projects_by_initiative_id("i") == [a, b]
    assert store.projects.find_projects_by_initiative_id("nobody") == []

    assert store.projects.remove_from_initiative("i", "b") is True
    assert store.projects.remove_from_initiative("i", "b") is False
    assert store.projects.find_projects_by_initiative_id("i") == [a]
    assert store.projects.find_projects_by_initiative_id("other") == [b]


def test_a_pair_needs_both_ends(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    make(store, "p")
    with refused(file, MissingReferenceError):
        store.projects.add_to_initiative("i", "nobody")
    with refused(file, MissingReferenceError):
        store.projects.add_to_initiative("nobody", "p")


@pytest.mark.only_sqlite("looks inside of it")
def test_setting_the_projects_writes_the_difference_alone(store: Store) -> None:
    store.initiatives.create(name="x", id="i")
    a, b, c = make(store, "a"), make(store, "b"), make(store, "c")
    assert store.projects.set_initiative_projects("i", ["b", "a", "b"]) == [a, b]

    before = rows_written(store)
    assert store.projects.set_initiative_projects("i", ["c", "b"]) == [b, c]
    assert rows_written(store) == before + 2
    assert store.projects.set_initiative_projects("i", {"b", "c"}) == [b, c]
    assert rows_written(store) == before + 2
    assert store.projects.set_initiative_projects("i", []) == []
    assert store.projects.find_projects_by_initiative_id("i") == []


def test_the_ids_may_come_from_an_iterator_that_uses_the_store(store: Store) -> None:
    store.initiatives.create(name="x", id="i")

    def making() -> Iterator[str]:
        for name in ("b", "a"):
            yield make(store, name).id

    assert store.projects.set_initiative_projects("i", making()) == store.projects.find_all()


def test_setting_is_all_or_nothing(store: Store, file: Path) -> None:
    store.initiatives.create(name="x", id="i")
    make(store, "a")
    make(store, "b")
    store.projects.set_initiative_projects("i", ["a"])
    with refused(file, MissingReferenceError, match="'nobody'"):
        store.projects.set_initiative_projects("i", ["b", "nobody"])
    with refused(file, NotFoundError):
        store.projects.set_initiative_projects("nobody", [])
    with refused(file, NotFoundError):
        store.projects.set_initiative_projects("nobody", ["a", "nobody"])
