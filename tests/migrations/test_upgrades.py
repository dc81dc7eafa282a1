"""From every version that ever was to the newest one: no row changes, nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import Phase, given, settings

from cwstore._sqlite.connection import connect
from cwstore._sqlite.database_file import MEMORY
from cwstore._sqlite.schema.structure import differences
from cwstore.core.ids import make_rising_id
from cwstore.migrations.api import migrate
from cwstore.migrations.scripts import load
from cwstore.store import Store
from tests.kits.migrations import upgrade as apply
from tests.kits.upgrades import (
    DEEP,
    GRAPHS,
    LIMITS,
    ONE_ROW,
    PARENTS,
    Values,
    changed,
    columns_of,
    contents,
    faults,
    fill,
    readable,
    structure_of,
    values,
)
from tools._python.released import fingerprints, recorded, structure_sum

SQL = Path(__file__).parents[2] / "sql"
HEAD = len(load())
EXAMPLE = Values(texts=["", "x" * 10_000, "é\n"], integers=list(LIMITS), seed=7, size=12)
# 3 of the 60 that other tests get: an example is many hundred rows and up to ten migrations.
# They are not made smaller when one fails: that takes minutes, and `changed` shows the row.
few = settings(
    max_examples=max(settings().max_examples // 20, 1),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
# In the fast tests the first version and those that were released.
versions = pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=() if version in {1, 11, 16} else pytest.mark.slow)
        for version in range(1, HEAD)
    ],
)


def database(version: int) -> Any:
    """A connection as the store opens it, to a new database of this version in memory."""
    connection = connect(MEMORY, busy_timeout=0)
    upgrade(connection, version)
    return connection


def upgrade(connection: Any, version: int = HEAD) -> None:
    apply(connection, Path(MEMORY), target=version)


def example() -> Values:
    """The fixed one, none of its ids given out yet."""
    return Values(EXAMPLE.texts, EXAMPLE.integers, EXAMPLE.seed, EXAMPLE.size)


# Every row


@versions
@few
@given(drawn=values)
def test_every_row_survives_each_step_and_the_rest_of_the_way(version: int, drawn: Values) -> None:
    connection = database(version)
    fill(connection, drawn)
    tables = readable(connection)
    rows = contents(connection, tables)
    for target in (version + 1, HEAD):
        upgrade(connection, target)
        assert changed(rows, contents(connection, tables)) == []
        assert faults(connection) == []
        assert structure_sum(structure_of(connection)) == recorded(SQL)[target - 1].structure
    connection.close()


@versions
def test_a_file_of_every_version_is_upgraded_with_all_rows_and_a_backup_of_it(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    migrate(path, target=version)
    rows, tables = filled(path)
    report = migrate(path)
    assert (report.version_before, report.version) == (version, HEAD)
    assert len(report.applied) == HEAD - version
    assert report.backup is not None
    for file in (path, Path(report.backup)):
        connection = connect(str(file), busy_timeout=0)
        assert changed(rows, contents(connection, tables)) == []
        assert faults(connection) == []
        connection.close()


def filled(path: Path) -> tuple[Any, dict[str, tuple[str, ...]]]:
    connection = connect(str(path), busy_timeout=0)
    connection.execute("BEGIN")
    fill(connection, example())
    connection.execute("COMMIT")
    tables = readable(connection)
    rows = contents(connection, tables)
    connection.close()
    return rows, tables


@versions
def test_an_upgraded_database_is_structured_like_a_new_one(version: int) -> None:
    upgraded, new = database(version), database(HEAD)
    fill(upgraded, example())
    upgrade(upgraded)
    assert differences(structure_of(new), structure_of(upgraded)) == []


@versions
def test_each_single_step_leads_from_one_recorded_structure_to_the_next(version: int) -> None:
    connection = database(version)
    lines = recorded(SQL)
    assert structure_sum(structure_of(connection)) == lines[version - 1].structure
    upgrade(connection, version + 1)
    assert structure_sum(structure_of(connection)) == lines[version].structure
    assert lines == fingerprints(tuple(load()))


# That the rows are what they should be


@pytest.mark.parametrize("version", range(1, HEAD + 1))
def test_the_rows_have_nulls_limits_every_enum_value_deep_chains_and_graphs(version: int) -> None:
    connection = database(version)
    fill(connection, example())
    structure = structure_of(connection)
    for table in ONE_ROW & structure.columns.keys():
        assert count(connection, table) == 1
    for table in structure.columns.keys() - ONE_ROW:
        for column in columns_of(structure, table):
            found = {
                value
                for (value,) in connection.execute(f"SELECT {column.name} FROM {table}").fetchall()
            }
            assert set(column.values) <= found
            assert len(found) > 1
            assert (None in found) == column.nullable
            if column.is_integer and not column.values and column.name != "seq":
                limits = {max(number, column.least) for number in LIMITS}
                assert len(limits & found) > 2 if column.nullable else limits <= found
        assert count(connection, table) >= 4
    for table, parent in PARENTS.items():
        if table in structure.columns:
            assert depth(connection, table, parent) >= DEEP
    for table, (nodes, _, _) in GRAPHS.items():
        if table in structure.columns:
            assert count(connection, table) > count(connection, nodes)


def count(connection: Any, table: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


def depth(connection: Any, table: str, parent: str) -> int:
    ((deepest,),) = connection.execute(f"""
        WITH RECURSIVE below (id, depth) AS (
            SELECT id, 1 FROM {table} WHERE {parent} IS NULL
            UNION ALL
            SELECT child.id, depth + 1 FROM below JOIN {table} AS child ON child.{parent} = below.id
        )
        SELECT max(depth) FROM below
    """).fetchall()
    return int(deepest)


@pytest.mark.parametrize(
    ("version", "value"), [(2, "execute"), (10, "review"), (10, "refine"), (11, "refine")]
)
def test_the_enum_values_are_those_of_the_version(version: int, value: str) -> None:
    columns = {
        column.name: column for column in columns_of(structure_of(database(version)), "tasks")
    }
    assert (value in columns["category"].values) == (value != "refine" or version == 11)


# What a version changes


def subtasks(connection: Any) -> None:
    for task, parent in [("top", None), ("middle", "top"), ("leaf", "middle"), ("other", None)]:
        connection.execute(
            "INSERT INTO tasks (id, parent_task_id, name, created_at, updated_at)"
            " VALUES (:id, :parent, 'task', 1, 1)",
            {"id": task, "parent": parent},
        )
    connection.execute("INSERT INTO task_dependencies VALUES ('other', 'leaf')")


def after_delete(connection: Any) -> tuple[list[Any], list[Any]]:
    connection.execute("DELETE FROM tasks WHERE id = 'top'")
    return (
        connection.execute("SELECT id, parent_task_id FROM tasks ORDER BY id").fetchall(),
        connection.execute("SELECT task_id FROM task_dependencies").fetchall(),
    )


def test_until_version_9_subtasks_of_a_deleted_task_became_tasks_of_their_own() -> None:
    connection = database(9)
    subtasks(connection)
    left = [("leaf", "middle"), ("middle", None), ("other", None)]
    assert after_delete(connection) == (left, [("other",)])


@pytest.mark.parametrize("version", [10, HEAD])
def test_since_version_10_subtasks_go_with_their_task_those_stored_before_too(version: int) -> None:
    connection = database(9)
    subtasks(connection)
    upgrade(connection, version)
    assert after_delete(connection) == ([("other", None)], [])


def test_refine_is_refused_until_version_10_and_kept_from_then_on() -> None:
    connection = database(10)
    subtasks(connection)
    statement = "UPDATE tasks SET category = 'refine' WHERE id = 'leaf'"
    with pytest.raises(apsw.ConstraintError, match="tasks_category_ck"):
        connection.execute(statement)
    upgrade(connection, 11)
    connection.execute(statement)
    assert connection.execute("SELECT id FROM tasks WHERE category = 'refine'").fetchall() == [
        ("leaf",)
    ]


def in_progress(connection: Any, task: str, *agents: tuple[str, str, int]) -> None:
    """A task in progress since 7 that these agents have: name, status and time of creation."""
    connection.execute(
        "INSERT INTO tasks (id, name, status, created_at, updated_at)"
        " VALUES (:task, 'task', 'in_progress', 1, 7)",
        {"task": task},
    )
    for name, status, created in agents:
        connection.execute(
            "INSERT INTO agents (id, name, worktree_id, task_id, status, created_at, updated_at)"
            " VALUES (:name, upper(:name), 'w', :task, :status, :created, 9)",
            {"name": name, "task": task, "status": status, "created": created},
        )


@pytest.mark.parametrize("version", [3, 9, 11])
def test_tasks_in_progress_get_an_attempt_of_the_agent_that_has_them(version: int) -> None:
    connection = database(version)
    in_progress(connection, "1 nobody")
    in_progress(connection, "2 one", ("idle", "idle", 1))
    in_progress(connection, "3 crashed", ("gone", "crashed", 1))
    in_progress(connection, "4 newest", ("old", "stopped", 1), ("new", "crashed", 2))
    in_progress(connection, "5 running", ("runs", "running", 1), ("later", "idle", 2))
    in_progress(connection, "6 waits", ("first", "running", 1), ("waits", "waiting_for_input", 2))
    connection.execute(
        "INSERT INTO tasks (id, name, status, created_at, updated_at)"
        " VALUES ('done', 'task', 'completed', 1, 7)"
    )
    connection.execute("UPDATE agents SET task_id = 'done' WHERE id = 'old'")
    upgrade(connection)
    found = connection.execute(
        "SELECT task_id, agent_id, agent_name, number, lease_until, outcome, detail, ended_at,"
        " created_at, updated_at FROM task_attempts ORDER BY task_id"
    ).fetchall()
    assert found == [
        (task, agent, agent and agent.upper(), 1, None, None, None, None, 7, 7)
        for task, agent in (
            ("1 nobody", None),
            ("2 one", "idle"),
            ("3 crashed", "gone"),
            ("4 newest", "new"),
            ("5 running", "runs"),
            ("6 waits", "waits"),
        )
    ]
    ids = {key for (key,) in connection.execute("SELECT id FROM task_attempts").fetchall()}
    assert len(ids) == 6
    assert all(len(key) == 21 for key in ids)
    # The last claim is found by its id, which rises: it sorts behind these.
    assert max(ids) < make_rising_id(stamp=1_577_836_800_000_000)  # 2020


@pytest.mark.parametrize("version", [1, 11])
def test_times_go_on_behind_the_last_update_that_was_made_before_they_rose(
    version: int, tmp_path: Path
) -> None:
    path = tmp_path / "store.db"
    migrate(path, target=version)
    connection = connect(str(path), busy_timeout=0)
    connection.execute(
        "INSERT INTO projects (id, name, url, created_at, updated_at)"
        " VALUES ('p', 'p', 'p', 1, 4000000000000000)"  # in 2096
    )
    connection.close()
    with Store.open(path) as store:
        made = store.projects.create(name="later", url="later")
        assert made.created_at > store.projects.get("p").updated_at


def test_a_new_file_has_no_last_stamp() -> None:
    assert count(database(HEAD), "stamps") == 0


def test_what_was_in_progress_at_version_11_is_given_back_and_finished(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    migrate(path, target=11)
    connection = connect(str(path), busy_timeout=0)
    in_progress(connection, "a", ("works", "running", 1))
    in_progress(connection, "b", ("gone", "crashed", 1))
    in_progress(connection, "c")
    connection.close()
    with Store.open(path) as store:
        assert store.tasks.complete("a", agent_id="works").status == "completed"
        (gone,) = store.agents.reconcile(lambda agent: agent.id == "works")
        assert gone.id == "gone"
        assert store.tasks.release("c").status == "pending"
        assert [task.status for task in store.tasks.find_all()] == [
            "completed",
            "pending",
            "pending",
        ]
        outcomes = [store.tasks.find_attempts(task)[0].outcome for task in "abc"]
        assert outcomes == ["completed", "lost", "released"]
