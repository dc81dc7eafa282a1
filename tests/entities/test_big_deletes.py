"""Trees of any depth can be deleted, by whatever deletes them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cwstore.entities.bulk_delete import _Node, leaves_first
from cwstore.store import Store
from tests.kits.database import contents, engine_of, run_raw

DEEP = 1_500  # SQLite's cascade ends at 1,000


def nested_tasks(store: Store, depth: int) -> None:
    """Tasks t0, t1, ..., each the parent of the next, in initiative `i`; t0 in phase `p`."""
    store.initiatives.create(name="i", id="i")
    store.phases.create(initiative_id="i", name="p", id="p")
    store.tasks.create(name="kept", id="kept")
    store.tasks.create(name="t", id="t0", phase_id="p")
    store.tasks.create_many(
        {"name": "t", "id": f"t{n}", "parent_task_id": f"t{n - 1}"} for n in range(1, depth)
    )
    store.tasks.create_dependency("kept", f"t{depth - 1}")


def nested_pages(store: Store, depth: int) -> None:
    """Pages g0, g1, ..., each the parent of the next, below the root of initiative `i`."""
    store.initiatives.create(name="i", id="i")
    above = store.pages.get_or_create_root_page("i").id
    with store.transaction():
        for number in range(depth):
            above = store.pages.create(
                initiative_id="i", title="g", parent_page_id=above, id=f"g{number}"
            ).id


@pytest.mark.parametrize(
    "delete",
    [
        lambda store: store.tasks.delete("t0"),
        lambda store: store.phases.delete("p"),
        lambda store: store.initiatives.delete("i"),
        lambda store: store.initiatives.purge("i") > DEEP,
    ],
    ids=["task", "phase", "initiative", "purge"],
)
def test_tasks_nested_to_any_depth_are_deleted(
    store: Store, delete: Callable[[Store], bool]
) -> None:
    nested_tasks(store, DEEP)
    assert delete(store) is True
    assert [task.id for task in store.tasks.find_all()] == ["kept"]
    assert store.tasks.get_dependencies("kept") == []


@pytest.mark.parametrize(
    ("delete", "left"),
    [
        (lambda store: store.pages.delete("g1"), 2),
        (lambda store: store.initiatives.delete("i"), 0),
        (lambda store: store.initiatives.purge("i") > DEEP, 0),
    ],
    ids=["page", "initiative", "purge"],
)
def test_pages_nested_to_any_depth_are_deleted(
    store: Store, delete: Callable[[Store], bool], left: int
) -> None:
    nested_pages(store, DEEP)
    assert delete(store) is True
    assert len(store.pages.find_all()) == left


@pytest.mark.only_sqlite("what is deep there is not deep on PostgreSQL")
@pytest.mark.slow
def test_a_chain_of_20_000_tasks_is_deleted(store: Store) -> None:
    nested_tasks(store, 20_000)
    assert store.tasks.delete("t0") is True
    assert len(store.tasks.find_all()) == 1


@pytest.mark.only_sqlite("looks inside of it")
def test_the_work_of_a_delete_grows_with_the_number_of_rows_alone(store: Store) -> None:
    """Not with their depth: each row was dearer than the one above it."""
    spent: list[int] = []
    for depth in (200, 400):
        store.tasks.create(name="t", id=f"{depth}-0")
        store.tasks.create_many(
            {"name": "t", "id": f"{depth}-{n}", "parent_task_id": f"{depth}-{n - 1}"}
            for n in range(1, depth)
        )
        spent.append(0)

        def count() -> bool:
            spent[-1] += 1
            return False

        connection = engine_of(store)._writer.connection
        connection.set_progress_handler(count, 10)
        store.tasks.delete(f"{depth}-0")
        connection.set_progress_handler(None)
    assert spent[1] < 2.2 * spent[0]


@pytest.mark.only_sqlite("makes a trigger of its kind")
def test_a_delete_of_a_tree_is_one_transaction(store: Store, file: Path) -> None:
    nested_tasks(store, 20)
    before = contents(file)
    run_raw(
        file,
        "CREATE TRIGGER refuse BEFORE DELETE ON tasks WHEN OLD.id = 't3'"
        " BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    for delete in (store.tasks.delete, store.initiatives.delete):
        with pytest.raises(Exception, match="no"):
            delete("t0" if delete == store.tasks.delete else "i")
    assert contents(file) == before


def test_leaves_come_first_and_rings_before_them() -> None:
    nodes = [("a", None), ("b", "a"), ("c", "b"), ("d", "outside"), ("x", "y"), ("y", "x")]
    order = leaves_first([_Node(*node) for node in nodes])
    assert set(order[:2]) == {"x", "y"}
    assert order[2:] == ["c", "b", "d", "a"]
