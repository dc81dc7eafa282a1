"""Lists are read a page at a time: every list of every repository, from both ends."""

import inspect
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from cwstore.core.statement import PageKind, Paging, lists_of
from cwstore.entities.log_chunks import LogChunk
from cwstore.entities.task import FIND_TASK, Task
from cwstore.entities.tasks import TaskRepository
from cwstore.errors import InvalidValueError, NotFoundError
from cwstore.store import Store
from tests.kits.checker import repositories
from tests.kits.database import OpenStore, copy_database, open_at
from tests.kits.lists import LISTS, List, fill_lists

BY_NUMBER = [name for name in LISTS if name.startswith("log_chunks")]
BY_ID = [name for name in LISTS if name not in BY_NUMBER]


@pytest.fixture(scope="module")
def world(migrated_here: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    file = tmp_path_factory.mktemp("lists") / "lists.db"
    copy_database(migrated_here, file)
    fill_lists(file)
    with open_at(file) as store:
        yield store


def place(row: Any) -> Any:
    """What names a row as the end of a page."""
    return row.seq if isinstance(row, LogChunk) else row.id


def walked(read: List, size: int) -> list[Any]:
    """All pages from the first on."""
    rows: list[Any] = []
    while page := read(limit=size, **({"after": place(rows[-1])} if rows else {})):
        assert len(page) <= size
        assert len(rows) < 1000  # a place that is passed by no page
        rows += page
    return rows


def walked_back(read: List, size: int) -> list[Any]:
    """All pages from the last on, each before what was read already."""
    rows: list[Any] = []
    while page := read(last=size, **({"before": place(rows[0])} if rows else {})):
        assert len(page) <= size
        assert len(rows) < 1000  # a place that is passed by no page
        rows = page + rows
    return rows


def test_every_list_of_every_repository_can_be_paged() -> None:
    paged = {
        f"{attribute}.{name}"
        for attribute, repository in repositories().items()
        for name, method in inspect.getmembers(repository, inspect.isfunction)
        if not name.startswith("_")
        and set(inspect.signature(method).parameters) & {"page", "last"}
        and not hasattr(method, "streams")
    }
    assert paged == {name.partition(",")[0] for name in LISTS}


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_pages_make_the_whole_list(world: Store, name: str, size: int) -> None:
    read = LISTS[name](world)
    whole = read()
    assert len(whole) >= 5
    assert walked(read, size) == whole
    assert walked_back(read, size) == whole


@pytest.mark.parametrize("name", LISTS)
def test_a_page_begins_after_any_row_and_ends_before_any_row(world: Store, name: str) -> None:
    read = LISTS[name](world)
    whole = read()
    for index, row in enumerate(whole):
        assert read(after=place(row)) == whole[index + 1 :]
        assert read(before=place(row)) == whole[:index]
        assert read(after=place(row), limit=2) == whole[index + 1 : index + 3]
        assert read(before=place(row), last=2) == whole[max(0, index - 2) : index]


@pytest.mark.parametrize("name", LISTS)
def test_a_page_may_be_empty_or_larger_than_the_list(world: Store, name: str) -> None:
    read = LISTS[name](world)
    whole = read()
    assert read(limit=0) == read(last=0) == []
    assert read(limit=0, after=place(whole[0])) == read(last=0, before=place(whole[0])) == []
    assert read(limit=2**63 - 1) == read(last=2**63 - 1) == whole
    assert read(limit=None, after=None, last=None, before=None) == whole


@pytest.mark.parametrize("name", LISTS)
def test_the_two_ways_to_page_are_not_mixed(world: Store, name: str) -> None:
    read = LISTS[name](world)
    row = place(read()[0])
    for wrong, field in (
        ({"limit": 1, "last": 1}, "last"),
        ({"after": row, "before": row}, "before"),
        ({"limit": 1, "before": row}, "before"),
        ({"after": row, "last": 1}, "last"),
        ({"limit": 1, "after": row, "last": 1, "before": row}, "last"),
    ):
        with pytest.raises(InvalidValueError) as caught:
            read(**wrong)
        assert caught.value.field == field


@pytest.mark.parametrize("name", LISTS)
def test_a_bad_size_or_place_is_refused_by_name(world: Store, name: str) -> None:
    read = LISTS[name](world)
    bad_place = (5, True, "", "\ud800", "a\0b") if name in BY_ID else ("5", 1.5, True, 2**63)
    for field, values in (
        ("limit", (-1, 2**63, "5", 1.5, True)),
        ("last", (-1, 2**63, "5", 1.5, True)),
        ("after", bad_place),
        ("before", bad_place),
    ):
        for value in values:
            with pytest.raises(InvalidValueError) as caught:
                read(**{field: value})
            assert caught.value.field == field


@pytest.mark.parametrize("name", BY_ID)
def test_a_row_that_no_longer_exists_is_no_place(world: Store, name: str) -> None:
    read = LISTS[name](world)
    for wrong in ({"after": "gone"}, {"before": "gone"}, {"after": "gone", "limit": 0}):
        with pytest.raises(NotFoundError, match="begin again from an end of the list") as caught:
            read(**wrong)
        assert caught.value.id == "gone"
        assert caught.value.table is not None


@pytest.mark.parametrize("name", BY_NUMBER)
def test_a_number_is_a_place_whether_its_row_exists_or_not(world: Store, name: str) -> None:
    read = LISTS[name](world)
    whole = read()
    end = next(n for n, (one, next_) in enumerate(pairwise(whole), 1) if next_.seq > one.seq + 1)
    missing = whole[end].seq - 1
    assert read(after=missing) == whole[end:]
    assert read(before=missing) == whole[:end]
    assert read(after=0) == read(after=-1) == read(before=2**62) == whole
    assert read(after=2**62) == read(before=0) == []


def test_an_argument_that_no_page_has_is_refused(world: Store) -> None:
    find_all: Any = world.tasks.find_all
    with pytest.raises(InvalidValueError, match="offset: pages take: limit, after, last, before"):
        find_all(offset=3)


def test_the_place_of_a_row_of_another_list_counts_in_this_one(world: Store) -> None:
    """It has a place in the order, whether it is listed or not: so has one that just left."""
    tasks = world.tasks
    order = sorted(tasks.find_all(), key=lambda task: (task.sort_order, task.created_at, task.id))
    pending = tasks.find_by_status("pending")
    for index, task in enumerate(order):
        behind = [one for one in order[index + 1 :] if one in pending]
        assert tasks.find_by_status("pending", after=task.id) == behind


def test_a_task_that_leaves_the_list_between_two_pages_hides_no_other(store: Store) -> None:
    ids = [store.tasks.create(name="x").id for _ in range(4)]
    first = store.tasks.find_by_status("pending", limit=2)
    store.tasks.update(first[-1].id, status="completed")
    second = store.tasks.find_by_status("pending", limit=2, after=first[-1].id)
    assert [task.id for task in first + second] == ids


def test_a_task_that_is_put_elsewhere_is_a_place_where_it_is_now(store: Store) -> None:
    initiative = store.initiatives.create(name="x")
    ids = [store.tasks.create(name="x", initiative_id=initiative.id).id for _ in range(4)]
    store.tasks.update(ids[0], sort_order=1)
    listed = store.tasks.find_by_initiative_id(initiative.id, before=ids[0])
    assert [task.id for task in listed] == ids[1:]


def test_pages_of_a_transaction_show_what_it_has_written(store: Store) -> None:
    with store.transaction():
        ids = [store.tasks.create(name="x").id for _ in range(5)]
        assert [task.id for task in walked(store.tasks.find_all, 2)] == ids
        assert [task.id for task in walked_back(store.tasks.find_all, 2)] == ids


def walked_among_others(store: Store, stay: set[str], size: int, *, back: bool) -> list[str]:
    """The ids of the tasks that `stay`, page by page. A row that others delete is no place."""
    ids: list[str] = []
    asked = size
    while True:
        part: Any = {"last" if back else "limit": asked}
        if ids:
            part["before" if back else "after"] = ids[-1]
        rows = store.tasks.find_by_initiative_id("i", **part)
        steady = [row.id for row in rows if row.id in stay]
        ids += reversed(steady) if back else steady
        if len(rows) < asked:
            return ids
        asked = size if steady else asked * 2


@pytest.mark.parametrize("back", [False, True])
def test_others_may_insert_and_delete_between_pages(
    store: Store, back: bool, open_store: OpenStore
) -> None:
    """No row comes twice, and none is missed that was there all the time."""
    store.initiatives.create(name="x", id="i")
    with store.transaction():
        for number in range(120):
            store.tasks.create(name="x", initiative_id="i", sort_order=number % 3)
    stay = [task.id for task in store.tasks.find_by_initiative_id("i")]
    stop = Event()
    rounds = count()

    def disturb() -> None:
        with open_store() as own:
            while not stop.is_set():
                orders = (-1, 0, 1, 2, 3)
                made = [
                    own.tasks.create(name="y", initiative_id="i", sort_order=order)
                    for order in orders
                ]
                for task in made:
                    own.tasks.delete(task.id)
                next(rounds)

    thread = Thread(target=disturb)
    thread.start()
    try:
        for size in (1, 2, 7, 50):
            ids = walked_among_others(store, set(stay), size, back=back)
            assert ids == (stay[::-1] if back else stay)
        while next(rounds) < 3:  # it was not disturbed by nobody
            walked_among_others(store, set(stay), 50, back=back)
    finally:
        stop.set()
        thread.join()


def test_a_list_has_one_direction() -> None:
    make = lists_of(LogChunk)
    with pytest.raises(
        ValueError, match=(r"^all columns of a list go in one direction: session_number DESC, seq")
    ):
        make("SELECT seq FROM agent_log_chunks ORDER BY session_number DESC, seq")


def test_a_list_may_descend() -> None:
    listing = lists_of(LogChunk)("SELECT seq FROM agent_log_chunks ORDER BY seq DESC")
    assert "WHERE (seq) < (:after)\n    ORDER BY seq DESC" in listing.page("after").text
    assert "WHERE (seq) > (:before)\n    ORDER BY seq\n" in listing.page("before").text


def test_a_list_by_rank_may_descend_and_its_columns_may_name_their_table() -> None:
    rank = "CASE t.status WHEN 'pending' THEN 0 ELSE 1 END"
    make = lists_of(Task, FIND_TASK)
    listing = make(f"SELECT t.id FROM tasks AS t ORDER BY {rank} DESC, t.id DESC")
    assert listing.fields == ("status", "id")

    def text_of(kind: PageKind) -> str:
        return " ".join(listing.page(kind).text.split())

    place = "CASE :from_status WHEN 'pending' THEN 0 ELSE 1 END"
    for side, beyond, direction in (("after", "<", " DESC"), ("before", ">", "")):
        in_rank = text_of("after in rank" if side == "after" else "before in rank")
        assert in_rank == (
            f"SELECT t.id FROM tasks AS t WHERE {rank} = {place} AND (t.id) {beyond} (:from_id)"
            f" ORDER BY t.id{direction} LIMIT :limit"
        )
        text = text_of("after" if side == "after" else "before")
        assert f"WITH same_rank AS ( {in_rank} )" in text
        order = f"ORDER BY {rank}{direction}, t.id{direction}"
        assert f"WHERE {rank} {beyond} {place} {order}" in text
        assert text.endswith(f") AS page {order.replace('t.', '')}")  # which has no table t


def test_a_list_by_several_columns_knows_how_to_find_a_row() -> None:
    with pytest.raises(
        ValueError, match=r"^a list by several columns needs `find`: session_number, seq"
    ):
        lists_of(LogChunk)("SELECT seq FROM agent_log_chunks ORDER BY session_number, seq")


def test_the_arguments_of_a_page_are_written_once() -> None:
    method: Any = vars(TaskRepository)["find_all"]
    parameter = inspect.signature(method).parameters["page"]
    assert parameter.annotation.__args__ == (Paging,)
