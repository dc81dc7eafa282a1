"""Bad items of a batch are told by their place, and what is not JSON by where it goes wrong."""

from pathlib import Path
from typing import Any

import pytest

from cwstore.errors import (
    ConflictError,
    CwstoreError,
    InvalidValueError,
    MissingReferenceError,
)
from cwstore.store import Store
from tests.kits.entities import refused

SECRET = "s3cret-token"


def chunk(**given: Any) -> Any:
    return {"agent_id": "a", "agent_name": "x", "session_number": 1, "content": "x"} | given


def entry(**given: Any) -> Any:
    return {"entity_type": "task", "entity_id": "t", "action": "create", "new_state": "1"} | given


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"content": 5}, "content"),
        ({"agent_id": ""}, "agent_id"),
        ({"content": "\ud800"}, "content"),
        ({"session_number": 0}, "session_number"),
        ({"nonsense": 0}, "chunks"),
    ],
)
def test_a_bad_chunk_of_many_is_told_by_its_place(
    store: Store, file: Path, bad: Any, field: str
) -> None:
    """One that Python refuses, one that only the database refuses."""
    chunks = [chunk() for _ in range(1000)]
    chunks[700] = chunk(**bad)
    with refused(file, InvalidValueError, field, f"^item 700: {field}: "):
        store.log_chunks.insert_chunks(chunks)
    with pytest.raises(InvalidValueError) as caught:
        store.log_chunks.insert_chunks(iter(chunks))
    assert caught.value.index == 700


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (5, "entries"),
        ({"entity_type": "task"}, "entity_id"),
        (entry(more=1), "more"),
        (entry(action="delete"), "previous_state"),
        (entry(action="nope"), "action"),
        (entry(sort_order=2**63), "sort_order"),
        (entry(new_state="{"), "new_state"),
        (entry(entity_id=""), "entity_id"),
    ],
)
def test_a_bad_entry_of_a_change_set_is_told_by_its_place(
    store: Store, file: Path, bad: Any, field: str
) -> None:
    store.initiatives.create(name="x", id="i")
    entries = [entry() for _ in range(9)]
    entries[4] = bad
    with refused(file, InvalidValueError, field, f"^item 4: {field}: "):
        store.change_sets.create(initiative_id="i", entries=entries)
    with pytest.raises(InvalidValueError) as caught:
        store.change_sets.create(initiative_id="i", entries=entries)
    assert caught.value.index == 4


@pytest.mark.parametrize("bad", [5, None, "", "\ud800", "a\0b"])
def test_a_bad_project_of_an_initiative_is_told_by_its_place(
    store: Store, file: Path, bad: Any
) -> None:
    store.initiatives.create(name="x", id="i")
    store.projects.create(name="x", url="u", id="j")
    with refused(file, InvalidValueError, "project_ids", "^item 2: project_ids: "):
        store.projects.set_initiative_projects("i", ["j", "j", bad])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (
            {"phase_id": "gone"},
            MissingReferenceError,
            "^item 590: tasks.phase_id: no row of phases",
        ),
        ({"parent_task_id": "gone"}, MissingReferenceError, "^item 590: .*'gone'"),
        ({"id": "there"}, ConflictError, "^item 590: tasks.id: this value is taken"),
    ],
)
def test_a_task_of_many_that_cannot_be_stored_is_told_by_its_place(
    store: Store, file: Path, bad: Any, error: type[CwstoreError], message: str
) -> None:
    store.tasks.create(name="x", id="there")
    tasks: list[Any] = [{"name": "x"} for _ in range(600)]
    tasks[590] |= bad
    with refused(file, error, match=message):
        store.tasks.create_many(tasks)


def test_what_is_no_batch_has_no_place(store: Store) -> None:
    with pytest.raises(InvalidValueError) as caught:
        store.log_chunks.insert_chunk("a", agent_name="x", session_number=0, content="x")
    assert caught.value.index is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1, column 1 (character 0)"),
        ('{"a": 1,\n "b": }', "line 2, column 7 (character 15)"),
        ('{"a": 1} x', "line 1, column 10 (character 9)"),
        (f'{{"token": "{SECRET}"', "line 1, column 25 (character 24)"),
        (f'["{SECRET}\\q"]', "line 1, column 15 (character 14)"),
    ],
)
def test_what_is_not_json_is_told_by_where_it_goes_wrong(
    store: Store, file: Path, text: str, place: str
) -> None:
    message = f"credentials: not JSON: it goes wrong at {place}"
    with pytest.raises(InvalidValueError) as caught:
        store.accounts.create(email="x", credentials=text)
    assert str(caught.value) == message
    assert caught.value.__cause__ is caught.value.__context__ is None
    account = store.accounts.create(email="x")
    with pytest.raises(InvalidValueError) as caught:
        store.accounts.update(account.id, credentials=text)
    assert str(caught.value) == message


@pytest.mark.only_sqlite("JSON may be nested deeper on PostgreSQL")
@pytest.mark.parametrize("text", ["NaN", '{"a": -Infinity}', "[" * 1001 + "]" * 1001, "[" * 10**5])
def test_what_only_python_takes_for_json_is_refused_too(store: Store, text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"^content: not JSON: ") as caught:
        store.pages.create(
            initiative_id=store.initiatives.create(name="x").id, title="x", content=text
        )
    assert str(caught.value).endswith("nested too deep, or NaN or an infinity in it")


def test_a_rule_that_is_not_about_json_says_so_as_before(store: Store) -> None:
    with pytest.raises(InvalidValueError, match="refused by the rule review_comments_line_number"):
        store.review_comments.create(
            phase_id="p", file_path="x", line_number=0, line_type="added", body="x"
        )
