"""Review comments: on lines of a phase's diff, resolved and not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.review_comments import LineType, ReviewComment
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
def _phases(store: Store) -> None:
    store.initiatives.create(id="i", name="login")
    store.phases.create(id="p", initiative_id="i", name="design")
    store.phases.create(id="q", initiative_id="i", name="build")


def comment(store: Store, **given: Any) -> ReviewComment:
    """A comment on line 3 of a.py in the phase `p`, but for what is given."""
    values: dict[str, Any] = {
        "phase_id": "p",
        "file_path": "a.py",
        "line_number": 3,
        "line_type": "added",
        "body": "why?",
    }
    return store.review_comments.create(**(values | given))


def test_a_comment_is_stored_as_it_was_given(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = comment(
            then, id="c", file_path="", line_type=LineType.REMOVED, author="brave-fox", body=""
        )
    assert made == ReviewComment(
        id="c",
        phase_id="p",
        file_path="",
        line_number=3,
        line_type=LineType.REMOVED,
        body="",
        author="brave-fox",
        resolved=False,
        created_at=minute(1),
        updated_at=minute(1),
    )
    assert store.review_comments.find_by_id("c") == made


def test_without_an_author_it_is_yours(store: Store) -> None:
    made = comment(store, line_type="context")
    assert (made.author, made.line_type) == ("you", LineType.CONTEXT)
    assert len(made.id) == 21


def test_an_unknown_comment_is_none(store: Store) -> None:
    assert store.review_comments.find_by_id("gone") is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"phase_id": None}, "phase_id"),
        ({"file_path": None}, "file_path"),
        ({"line_number": 0}, "line_number"),
        ({"line_number": "3"}, "line_number"),
        ({"line_number": 2**63}, "line_number"),
        ({"line_type": "changed"}, "line_type"),
        ({"body": None}, "body"),
        ({"author": None}, "author"),
        ({"id": ""}, "id"),
    ],
)
def test_bad_input_is_refused_by_name(store: Store, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        comment(store, **given)
    assert caught.value.field == field
    assert store.review_comments.find_by_phase_id("p") == []


def test_the_phase_must_exist(store: Store) -> None:
    with pytest.raises(MissingReferenceError):
        comment(store, id="c", phase_id="gone")
    assert store.review_comments.find_by_id("c") is None


def test_an_id_is_taken_once(store: Store) -> None:
    made = comment(store, id="c")
    with pytest.raises(ConflictError):
        comment(store, id="c", body="again")
    assert store.review_comments.find_by_phase_id("p") == [made]


def test_comments_come_by_file_line_age_and_id(store: Store, file: Path) -> None:
    with store_at(file, 2) as later:
        newer = comment(later, id="a")
        other_file = comment(later, id="c", file_path="B.py", line_number=99)
    with store_at(file, 0) as earlier:
        tenth_line = comment(earlier, id="b", line_number=10)
    with store_at(file, 1) as one, store_at(file, 1) as other:
        e = comment(one, id="e")
        d = comment(other, id="d")
    elsewhere = comment(store, phase_id="q")
    find = store.review_comments.find_by_phase_id
    assert find("p") == [other_file, d, e, newer, tenth_line]
    assert find("q") == [elsewhere]
    assert find("gone") == []


def test_resolving_and_back_changes_that_comment_alone(store: Store, file: Path) -> None:
    with store_at(file, 1) as then:
        made = comment(then)
        other = comment(then)
    with store_at(file, 2) as then:
        resolved = then.review_comments.resolve(made.id)
    assert resolved == replace(made, resolved=True, updated_at=minute(2))
    assert store.review_comments.find_by_phase_id("p") == [resolved, other]
    with store_at(file, 3) as then:
        back = then.review_comments.unresolve(made.id)
    assert back == replace(made, updated_at=minute(3))
    assert store.review_comments.find_by_phase_id("p") == [back, other]


def test_doing_it_twice_changes_nothing_more(store: Store) -> None:
    made = comment(store)
    assert store.review_comments.unresolve(made.id) == made
    resolved = store.review_comments.resolve(made.id)
    assert store.review_comments.resolve(made.id) == resolved
    assert store.review_comments.find_by_id(made.id) == resolved


def test_nobody_gets_between_the_look_and_the_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    resolved = store.review_comments.resolve(comment(store).id)
    find = store.review_comments._db.fetch_one

    with open_store(busy_timeout=0.0) as other:

        def find_later(*args: Any, **binds: Any) -> Any:
            with pytest.raises(BusyError):
                other.review_comments.unresolve(resolved.id)
            return find(*args, **binds)

        monkeypatch.setattr(store.review_comments._db, "fetch_one", find_later)
        assert store.review_comments.resolve(resolved.id) == resolved


def test_an_unknown_comment_is_not_resolved(store: Store) -> None:
    for change in (store.review_comments.resolve, store.review_comments.unresolve):
        with pytest.raises(NotFoundError):
            change("gone")


def test_a_deleted_comment_is_gone(store: Store) -> None:
    made, kept = comment(store), comment(store)
    assert store.review_comments.delete(made.id) is True
    assert store.review_comments.find_by_phase_id("p") == [kept]
    assert store.review_comments.delete(made.id) is False


def test_comments_go_with_their_phase(store: Store) -> None:
    made = comment(store)
    kept = comment(store, phase_id="q")
    store.phases.delete("p")
    assert store.review_comments.find_by_id(made.id) is None
    assert store.review_comments.find_by_id(kept.id) == kept
