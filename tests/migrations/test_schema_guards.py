"""No cycles, whoever writes and however: the triggers on four graphs, on raw apsw."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import apsw
import pytest

from tests.kits.schema import add, code, database, rows


@pytest.fixture
def db() -> apsw.Connection:
    return database()


@dataclass
class Graph:
    """A table seen as edges between nodes; in a tree the edge's end is the parent."""

    table: str
    start: str
    end: str
    message: str
    is_tree: bool

    def nodes(self, db: apsw.Connection, *names: str) -> None:
        owner = "phases" if self.table == "phase_dependencies" else "tasks"
        db.execute("BEGIN")
        for name in names:
            # Pages start below a root page, since an initiative has only one.
            extra = {"parent_page_id": "root"} if self.table == "pages" else {}
            add(db, "pages" if self.table == "pages" else owner, id=name, **extra)
        db.execute("COMMIT")

    def link(self, db: apsw.Connection, start: str, end: str) -> None:
        if self.is_tree:
            sql = f"UPDATE {self.table} SET {self.end} = :e WHERE id = :s"
        else:
            sql = f"INSERT INTO {self.table} ({self.start}, {self.end}) VALUES (:s, :e)"
        db.execute(sql, {"s": start, "e": end})

    def edges(self, db: apsw.Connection) -> list[Any]:
        return rows(
            db,
            f"SELECT {self.start}, {self.end} FROM {self.table} "
            f"WHERE {self.end} <> 'root' ORDER BY 1, 2",
        )


GRAPHS = [
    Graph("phase_dependencies", "phase_id", "depends_on_phase_id", "phase_dependencies", False),
    Graph("task_dependencies", "task_id", "depends_on_task_id", "task_dependencies", False),
    Graph("tasks", "id", "parent_task_id", "tasks.parent_task_id", True),
    Graph("pages", "id", "parent_page_id", "pages.parent_page_id", True),
]
every_graph = pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.table)
every_edge_table = pytest.mark.parametrize("graph", GRAPHS[:2], ids=lambda graph: graph.table)
every_tree = pytest.mark.parametrize("graph", GRAPHS[2:], ids=lambda graph: graph.table)


@pytest.fixture
def graph_db(db: apsw.Connection) -> apsw.Connection:
    add(db, "initiatives", id="i")
    add(db, "pages", id="root")
    return db


def refused(db: apsw.Connection, graph: Graph, sql: str) -> None:
    before = graph.edges(db)
    with pytest.raises(apsw.ConstraintError) as error:
        db.execute(sql)
    assert code(error.value) == apsw.SQLITE_CONSTRAINT_TRIGGER
    assert str(error.value) == f"cycle: {graph.message}"
    assert graph.edges(db) == before


@every_graph
@pytest.mark.parametrize("length", [2, 3, 900])
def test_an_edge_that_closes_a_circle_is_refused(
    graph_db: apsw.Connection, graph: Graph, length: int
) -> None:
    names = [f"n{number}" for number in range(length)]
    graph.nodes(graph_db, *names)
    for start, end in itertools.pairwise(names):
        graph.link(graph_db, start, end)
    if graph.is_tree:
        last = f"UPDATE {graph.table} SET {graph.end} = 'n0' WHERE id = '{names[-1]}'"
    else:
        last = f"INSERT INTO {graph.table} VALUES ('{names[-1]}', 'n0')"
    refused(graph_db, graph, last)


@every_edge_table
def test_diamonds_and_second_ways_are_accepted(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c", "d")
    edges = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    for order in itertools.permutations(edges):
        graph_db.execute(f"DELETE FROM {graph.table}")
        for edge in order:
            graph.link(graph_db, *edge)
        assert graph.edges(graph_db) == edges


@every_edge_table
def test_an_edge_cannot_be_moved_into_a_circle(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c", "x")
    for edge in [("a", "b"), ("b", "c"), ("c", "x")]:
        graph.link(graph_db, *edge)
    where = f"WHERE {graph.start} = 'c'"
    refused(graph_db, graph, f"UPDATE {graph.table} SET {graph.end} = 'a' {where}")
    graph.nodes(graph_db, "y")
    graph.link(graph_db, "y", "a")
    where = f"WHERE {graph.start} = 'y'"
    refused(graph_db, graph, f"UPDATE {graph.table} SET {graph.start} = 'b' {where}")


@every_edge_table
def test_an_edge_can_be_turned_round(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b")
    graph.link(graph_db, "a", "b")
    graph_db.execute(f"UPDATE {graph.table} SET {graph.start} = 'b', {graph.end} = 'a'")
    assert graph.edges(graph_db) == [("b", "a")]


@every_edge_table
def test_an_edge_that_exists_can_be_added_again(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c")
    graph.link(graph_db, "b", "c")
    for _ in range(2):
        graph_db.execute(
            f"INSERT INTO {graph.table} VALUES ('a', 'b') "
            f"ON CONFLICT ({graph.start}, {graph.end}) DO NOTHING"
        )
    assert graph.edges(graph_db) == [("a", "b"), ("b", "c")]


@every_graph
def test_one_statement_cannot_write_a_circle_of_several_rows(
    graph_db: apsw.Connection, graph: Graph
) -> None:
    graph.nodes(graph_db, "a", "b", "c")
    if graph.is_tree:
        ring = "CASE id WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' ELSE 'a' END"
        refused(
            graph_db,
            graph,
            f"UPDATE {graph.table} SET {graph.end} = {ring} WHERE id IN ('a', 'b', 'c')",
        )
    else:
        refused(
            graph_db,
            graph,
            f"INSERT INTO {graph.table} VALUES ('a', 'b'), ('b', 'c'), ('c', 'a')",
        )
        graph.nodes(graph_db, "d", "e", "f")
        for end in ("d", "e", "f"):
            graph.link(graph_db, "abc"["def".index(end)], end)
        ring = f"CASE {graph.start} WHEN 'a' THEN 'b' WHEN 'b' THEN 'c' ELSE 'a' END"
        refused(graph_db, graph, f"UPDATE {graph.table} SET {graph.end} = {ring}")


@every_tree
def test_new_rows_cannot_be_each_others_parents(graph_db: apsw.Connection, graph: Graph) -> None:
    text = "name" if graph.table == "tasks" else "title"
    values = "('x', 'y', 'i', 'x', 1, 1), ('y', 'x', 'i', 'y', 1, 1)"
    columns = f"id, {graph.end}, initiative_id, {text}, created_at, updated_at"
    refused(graph_db, graph, f"INSERT INTO {graph.table} ({columns}) VALUES {values}")


@every_tree
def test_changing_ids_cannot_close_a_circle(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "3", "2", "1")
    graph.link(graph_db, "1", "3")
    graph.link(graph_db, "2", "1")
    ids = "CASE id WHEN '3' THEN '4' WHEN '2' THEN '3' END"
    refused(graph_db, graph, f"UPDATE {graph.table} SET id = {ids} WHERE id IN ('2', '3')")


@every_tree
def test_a_row_moves_with_its_children(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c", "d")
    for edge in [("c", "b"), ("d", "c"), ("b", "a")]:
        graph.link(graph_db, *edge)
    graph.link(graph_db, "c", "a")
    assert graph.edges(graph_db) == [("b", "a"), ("c", "a"), ("d", "c")]
    refused(graph_db, graph, f"UPDATE {graph.table} SET {graph.end} = 'd' WHERE id = 'a'")


def test_a_replaced_row_is_guarded_too(db: apsw.Connection) -> None:
    db.pragma("foreign_keys", False)
    add(db, "tasks", id="a", parent_task_id="b")
    with pytest.raises(apsw.ConstraintError, match=r"^cycle: tasks\.parent_task_id$"):
        add(db, "tasks", id="b", parent_task_id="a")


@every_edge_table
def test_the_walk_ends_among_circles_that_exist(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c", "d", "e")
    graph_db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    for edge in [("a", "b"), ("b", "c"), ("c", "a"), ("d", "e")]:
        graph.link(graph_db, *edge)
    graph_db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
    graph.link(graph_db, "a", "d")
    assert len(graph.edges(graph_db)) == 5


@every_tree
def test_the_climb_ends_among_circles_that_exist(graph_db: apsw.Connection, graph: Graph) -> None:
    graph.nodes(graph_db, "a", "b", "c", "d")
    graph_db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    for edge in [("a", "b"), ("b", "a"), ("d", "c")]:
        graph.link(graph_db, *edge)
    graph_db.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
    graph.link(graph_db, "c", "a")
    assert len(graph.edges(graph_db)) == 4
    # The same for a new row, which can have children only while foreign keys are off.
    graph_db.pragma("foreign_keys", False)
    graph_db.execute(f"DELETE FROM {graph.table} WHERE id = 'c'")
    add(graph_db, graph.table, id="c", **{graph.end: "a"})
    assert len(graph.edges(graph_db)) == 4


@every_edge_table
@pytest.mark.parametrize("grows_at_its", ["start", "end"])
def test_a_chain_that_grows_is_not_walked(
    graph_db: apsw.Connection, graph: Graph, grows_at_its: str
) -> None:
    names = [f"n{number}" for number in range(600)]
    graph.nodes(graph_db, *names)
    edges = list(itertools.pairwise(names))
    if grows_at_its == "start":
        edges.reverse()
    steps: list[int] = []

    def count() -> bool:
        steps[-1] += 1
        return False

    graph_db.set_progress_handler(count, 1)
    for edge in edges:
        steps.append(0)
        graph.link(graph_db, *edge)
    assert max(steps[100:]) == steps[100]
