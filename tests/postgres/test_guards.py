"""Guards of the schema hold for every writer, also for those that do not take the lane."""

import threading
from typing import Any

import psycopg
import pytest

from cwstore.store import Store
from tests.kits.engine import PATIENCE, Task

Connection = psycopg.Connection[tuple[Any, ...]]


def rows(store: Store) -> None:
    store.initiatives.create(name="i", id="i")
    for name in "ab":
        store.phases.create(initiative_id="i", name=name, id=name)
        store.tasks.create(name=name, id=name)
    root = store.pages.get_or_create_root_page("i")
    for name in "ab":
        store.pages.create(initiative_id="i", title=name, id=name, parent_page_id=root.id)


@pytest.mark.parametrize(
    "level",
    ["READ COMMITTED", pytest.param("REPEATABLE READ", marks=pytest.mark.slow), "SERIALIZABLE"],
)
@pytest.mark.parametrize(
    "close",
    [
        "INSERT INTO task_dependencies VALUES (%s, %s)",
        "INSERT INTO phase_dependencies VALUES (%s, %s)",
        "UPDATE tasks SET parent_task_id = %s WHERE id = %s",
        "UPDATE pages SET parent_page_id = %s WHERE id = %s",
    ],
    ids=["tasks", "phases", "parents", "pages"],
)
def test_two_writers_cannot_close_a_ring_together(
    store: Store, address: str, level: str, close: str
) -> None:
    """Each has seen nothing of the other when it begins; one of the two is refused."""
    rows(store)
    refused: list[str] = []
    with psycopg.connect(address) as one, psycopg.connect(address) as two:
        for connection in (one, two):
            connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
            connection.execute("SELECT count(*) FROM tasks")
        one.execute(close.encode(), ("a", "b"))

        def follow() -> None:
            try:
                two.execute(close.encode(), ("b", "a"))
                two.commit()
            except psycopg.Error as error:
                refused.append(str(error.sqlstate))

        thread = threading.Thread(target=follow)
        thread.start()
        one.commit()
        thread.join(PATIENCE)
    assert len(refused) == 1
    assert refused[0] in {"CW001", "40001"}


@pytest.mark.parametrize(
    "statement",
    [
        (
            "INSERT INTO tasks (id, parent_task_id, name, created_at, updated_at)"
            " VALUES ('x', 'y', 'n', 1, 1), ('y', 'x', 'n', 1, 1)"
        ),
        (
            "INSERT INTO pages (id, initiative_id, parent_page_id, title, created_at, updated_at)"
            " VALUES ('x', 'i', 'y', 't', 1, 1), ('y', 'i', 'x', 't', 1, 1)"
        ),
    ],
    ids=["tasks", "pages"],
)
def test_rows_of_one_statement_cannot_contain_each_other(
    store: Store, superuser: Connection, statement: str
) -> None:
    rows(store)
    with pytest.raises(psycopg.Error) as caught:
        superuser.execute(statement.encode())
    assert caught.value.sqlstate == "CW001"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE task_levels SET level = 1",
        "DELETE FROM task_levels",
        "UPDATE phase_levels SET level = 1",
        "DELETE FROM phase_levels",
    ],
)
def test_a_level_is_neither_lowered_nor_removed(
    store: Store, superuser: Connection, statement: str
) -> None:
    rows(store)
    superuser.execute("INSERT INTO task_levels VALUES ('a', 2)")
    superuser.execute("INSERT INTO phase_levels VALUES ('a', 2)")
    with pytest.raises(psycopg.Error) as caught:
        superuser.execute(statement.encode())
    assert caught.value.sqlstate == "CW002"
    store.initiatives.delete("i")
    store.tasks.delete("a")


def test_a_log_is_read_without_a_miss_though_two_write_it_at_once(
    store: Store, address: str
) -> None:
    """The one that took the lower number commits first: the other waits for it."""
    insert = b"""
        INSERT INTO agent_log_chunks (id, agent_id, agent_name, session_number, content, created_at)
        VALUES (%s, 'a', 'a', 1, '', 1)
    """
    with psycopg.connect(address) as one, psycopg.connect(address) as two:
        one.execute(insert, ["first"])
        thread = threading.Thread(target=lambda: (two.execute(insert, ["second"]), two.commit()))
        thread.start()
        assert store.log_chunks.find_by_agent_id("a") == []
        one.commit()
        thread.join(PATIENCE)
    assert [one.id for one in store.log_chunks.find_by_agent_id("a")] == ["first", "second"]


def test_a_chunk_may_bring_its_number_and_later_ones_are_greater(
    store: Store, superuser: Connection
) -> None:
    superuser.execute(
        "INSERT INTO agent_log_chunks VALUES (9, 'nine', 'a', 'a', 1, '', 1),"
        " (3, 'three', 'a', 'a', 1, '', 1)"
    )
    made = store.log_chunks.insert_chunk(
        agent_id="a", agent_name="a", session_number=1, content="x"
    )
    assert made.seq == 10


@pytest.mark.slow
@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_however_many_writers_draw_edges_at_once_no_ring_gets_in(
    store: Store, address: str, level: str
) -> None:
    """Eight that know nothing of the lane, each with edges that close a ring with the others'."""
    rounds, writers = 40, 8
    with store.transaction():
        for number in range(writers):
            store.tasks.create(name="x", id=f"{number}")
    barrier = threading.Barrier(writers)

    def draw(number: int) -> None:
        edge = (f"{number}", f"{(number + 1) % writers}")
        with psycopg.connect(address) as connection:
            for _ in range(rounds):
                barrier.wait(PATIENCE)
                try:
                    connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}".encode())
                    connection.execute("SELECT count(*) FROM task_dependencies")
                    connection.execute("INSERT INTO task_dependencies VALUES (%s, %s)", edge)
                    connection.commit()
                except psycopg.Error as error:
                    connection.rollback()
                    refused.add(str(error.sqlstate))
                barrier.wait(PATIENCE)
                if number == 0:
                    drawn = connection.execute("DELETE FROM task_dependencies").rowcount
                    connection.commit()
                    counts.append(drawn)
                barrier.wait(PATIENCE)

    counts: list[int] = []
    refused: set[str] = set()
    tasks = [Task(lambda number=number: draw(number)) for number in range(writers)]
    for task in tasks:
        task.finish()
    assert len(counts) == rounds
    assert refused <= {"CW001", "40001", "40P01"}
    assert 0 < min(counts) <= max(counts) < writers  # all eight would be a ring
