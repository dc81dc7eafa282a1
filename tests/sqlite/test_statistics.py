"""Statistics of ANALYZE: those of a small file do not make statements slow when it has grown."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore import Extension
from cwstore.core.database import Database
from cwstore.store import Store
from tests.kits.database import raw
from tests.kits.migrations import run, scripts
from tests.kits.plans import steps

_TABLES = "SELECT tbl FROM sqlite_stat1 GROUP BY tbl ORDER BY tbl"
_KINDS = "SELECT name FROM sqlite_schema WHERE name GLOB 'sqlite_stat*'"


def ask(file: Path, sql: str) -> list[Any]:
    with raw(file) as database:
        return [row[0] for row in database.query(sql)]


def fill(store: Store, tasks: int) -> list[str]:
    """Tasks of one phase, each with a child; the ids of those without parent."""
    phase = store.phases.create(
        initiative_id=store.initiatives.create(name="i").id, name="p", status="in_progress"
    )
    parents = store.tasks.create_many({"phase_id": phase.id, "name": "t"} for _ in range(tasks))
    store.tasks.create_many(
        {"phase_id": phase.id, "parent_task_id": one.id, "name": "child"} for one in parents
    )
    return [one.id for one in parents]


def analyse_as_if_small(file: Path) -> None:
    """As ANALYZE left it that ran when each table had a row or two."""
    run(file, "ANALYZE")
    run(file, "UPDATE sqlite_stat1 SET stat = '2 1 1 1 1 1 1'")
    run(file, "DROP TABLE IF EXISTS sqlite_stat4")


def dear(store: Store, ids: list[str]) -> dict[str, int]:
    """What takes SQLite more than 3,000 instructions of what an orchestrator does all day.

    A statement that reads all tasks from end to end takes some 10,000 here, any other under 1,000.
    """
    acts: dict[str, Callable[[], object]] = {
        "claim": store.tasks.claim_next_ready,
        "move": lambda: store.tasks.move(ids[3], phase_id=store.tasks.get(ids[3]).phase_id),
        "delete": lambda: store.tasks.delete(ids.pop()),
    }
    for act in acts.values():
        act()  # the first time it has to be prepared, and the schema to be read
    spent = {name: steps(store, act) for name, act in acts.items()}
    return {name: count for name, count in spent.items() if count > 3_000}


@pytest.fixture
def small(store: Store, file: Path) -> Path:
    store.tasks.create(name="t")
    store.close()
    return file


@pytest.fixture
def filled(store: Store, file: Path) -> tuple[Path, list[str]]:
    ids = fill(store, 600)
    store.close()
    return file, ids


def test_work_costs_no_more_after_an_analyze_of_the_file_when_it_was_small(
    filled: tuple[Path, list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    file, ids = filled
    analyse_as_if_small(file)
    tables = ask(file, _TABLES)
    assert "tasks" in tables
    with caplog.at_level(logging.INFO, "cwstore"), Store.open(file) as store:
        assert dear(store, ids) == {}
        assert store.check().ok
    assert ask(file, _KINDS) == []
    (told,) = (record.getMessage() for record in caplog.records)
    assert told == (
        f"{file}: statistics of ANALYZE removed, with which statements get slow as tables grow:"
        f" {', '.join(tables)}"
    )


@pytest.mark.parametrize(
    "remove",
    [lambda store: Store.open(store.path).close(), lambda store: store.compact()],
    ids=["another is opened", "it is made compact"],
)
def test_a_store_that_stays_open_does_without_them_as_soon_as(
    remove: Callable[[Store], object], filled: tuple[Path, list[str]]
) -> None:
    file, ids = filled
    with Store.open(file) as store:
        analyse_as_if_small(file)
        assert [*dear(store, ids)] == ["claim", "move", "delete"]
        remove(store)
        assert dear(store, ids) == {}
    assert ask(file, _KINDS) == []


def test_extensions_and_tables_that_others_added_keep_theirs(small: Path, tmp_path: Path) -> None:
    table = "CREATE TABLE billing_invoices (id TEXT NOT NULL PRIMARY KEY) STRICT"
    billing = Extension("billing", migrations=scripts(tmp_path, f"{table};"))
    Store.open(small, extensions=[billing]).close()
    run(small, "INSERT INTO billing_invoices VALUES ('one')")
    run(small, "CREATE TABLE mine (id INTEGER PRIMARY KEY, word TEXT)")
    run(small, "CREATE INDEX mine_ix ON mine (word)")
    run(small, "INSERT INTO mine (word) VALUES ('one')")
    run(small, "ANALYZE")
    for _ in range(2):
        Store.open(small, extensions=[billing]).close()
        assert ask(small, _TABLES) == ["billing_invoices", "billing_schema_migrations", "mine"]


def test_a_program_with_tables_of_its_own_keeps_those_of_its_tables(tmp_path: Path) -> None:
    directory = scripts(tmp_path, "CREATE TABLE notes (id TEXT NOT NULL PRIMARY KEY) STRICT;")
    file = tmp_path / "notes.db"
    Database.open(file, migrations=directory, application_id=77).close()
    run(file, "INSERT INTO notes VALUES ('one')")
    run(file, "ANALYZE")
    tables = ask(file, _TABLES)
    assert "notes" in tables
    Database.open(file, migrations=directory, application_id=77).close()
    assert ask(file, _TABLES) == tables


def test_while_another_process_writes_a_store_opens_all_the_same(small: Path) -> None:
    run(small, "ANALYZE")
    holder = apsw.Connection(str(small))
    holder.execute("BEGIN IMMEDIATE")
    with Store.open(small, busy_timeout=0) as store:
        assert store.tasks.find_all(limit=1)
    assert ask(small, _TABLES)
    holder.close()
    Store.open(small).close()
    assert ask(small, _KINDS) == []


def test_a_store_that_only_reads_leaves_them(small: Path) -> None:
    run(small, "ANALYZE")
    with Store.open(small, read_only=True) as store:
        assert store.tasks.find_all(limit=1)
    assert ask(small, _TABLES)
