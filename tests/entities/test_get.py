"""`get`: what `find_by_id` finds, and an error for what it does not find."""

import inspect
from pathlib import Path

import pytest

from cwstore.errors import NotFoundError
from cwstore.store import Store
from tests.kits.checker import repositories
from tests.kits.lists import fill_lists

TABLES = {
    name: {"log_chunks": "agent_log_chunks"}.get(name, name)
    for name, repository in repositories().items()
    if hasattr(repository, "find_by_id")
}
IDS = {
    "agents": "a0", "change_sets": "c0", "initiatives": "i0", "messages": "m0", "pages": "root",
    "phases": "p0", "projects": "j0", "review_comments": "r0", "tasks": "t0",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_row_that_is_not_there_is_named(store: Store, name: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        getattr(store, name).get("gone")
    assert (caught.value.table, caught.value.id) == (TABLES[name], "gone")


def test_get_gives_what_is_found(store: Store, file: Path) -> None:
    fill_lists(file)
    found = {name: getattr(store, name).get(key) for name, key in IDS.items()}
    assert found == {name: getattr(store, name).find_by_id(key) for name, key in IDS.items()}
    for name in TABLES.keys() - IDS.keys() - {"conversations"}:
        row = getattr(store, name).find_all(limit=1)[0]
        assert getattr(store, name).get(row.id) == row
    (row,) = store.conversations.find_by_task_id("t0", limit=1)
    assert store.conversations.get(row.id) == row


def test_every_repository_that_finds_by_id_gets_by_id() -> None:
    for repository in repositories().values():
        methods = dict(inspect.getmembers(repository, inspect.isfunction))
        assert ("get" in methods) == ("find_by_id" in methods)
