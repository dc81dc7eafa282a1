from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore import Store
from tools._python.bench import node, plain
from tools._python.bench.__main__ import disagreements
from tools._python.bench.report import cheats, line, row_of
from tools._python.bench.runner import Bench, Measured
from tools._python.bench.workloads import calls_before, calls_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmark_compares_adapters_that_return_the_same_rows(tmp_path: Path) -> None:
    names = ["limit", "by-hand", "cwstore", "cwstore-async"]
    bench = Bench(ROOT, tmp_path, names, 1, 0.1, plain=True)

    assert disagreements(bench) == []
    bench.end()


@pytest.mark.slow
@pytest.mark.skipif(
    not (ROOT / ".venvs" / "node" / ".ready").exists(), reason="tools/bench has not installed them"
)
def test_the_adapters_of_node_return_the_same_rows_as_the_limit(tmp_path: Path) -> None:
    bench = Bench(ROOT, tmp_path, ["limit", *node.SCRIPT], 1, 0.1, plain=True)

    assert disagreements(bench) == []
    assert bench.able("W16") == bench.names
    bench.end()


def test_a_process_of_node_is_given_the_calls_that_one_of_python_makes_itself() -> None:
    request = {"name": "W17", "number": 2, "count": 3}
    assert node.with_calls("prepare", request) == {
        "before": calls_before("W17", 3),
        "calls": calls_of("W17", 2, 3),
        "opening": False,
    }
    assert node.with_calls("prepare", request | {"name": "W12"})["opening"] is True
    assert node.with_calls("open", {"file": "a.db"}) == {"file": "a.db"}


def test_what_node_needs_and_cannot_have_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert node.install(tmp_path) == "there is no node, or no npm"

    for name, does in (("node", "echo v20"), ("npm", "echo refused; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o700)
    assert node.install(tmp_path) == "npm install failed: .venvs/node/install.log tells why"
    assert (tmp_path / ".venvs" / "node" / "install.log").read_text() == "refused\n"


@pytest.mark.slow
def test_the_benchmark_compares_adapters_that_write_the_same_pages(tmp_path: Path) -> None:
    bench = Bench(ROOT, tmp_path, ["limit", "cwstore"], 1, 0.1)

    pages = {name: round(found.pages) for name, found in bench.measure("W4").items()}

    assert pages["limit"] > 0
    assert pages["cwstore"] == pages["limit"]
    bench.end()


@pytest.mark.slow
def test_the_benchmark_claims_with_every_adapter_that_can(tmp_path: Path) -> None:
    bench = Bench(ROOT, tmp_path, ["limit", "by-hand", "cwstore", "cwstore-async"], 2, 0.2)

    for workload in ("W15", "W16", "W17"):
        found = bench.measure(workload)
        assert list(found) == bench.able(workload) == bench.names
        rounds = {name: len(measured.wall) for name, measured in found.items()}
        assert rounds == dict.fromkeys(bench.names, 2)
        # A claim that finds nothing writes nothing; the others do.
        assert {measured.pages > 0 for measured in found.values()} == {workload != "W15"}
    bench.end()


@pytest.mark.parametrize("workload", ["W16", "W17"])
def test_each_call_about_a_claim_is_another_agents(workload: str) -> None:
    agents = [arguments[-1] for _, arguments in calls_of(workload, 3, 50)]
    assert len({*agents}) == 50
    assert [arguments[-1] for _, arguments in calls_before(workload, 50)] == agents


def test_what_an_adapter_cannot_do_is_not_available() -> None:
    found = Measured([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], 5.0)
    row = row_of("W16", {"limit": found, "cwstore": found}, plain=False)
    assert "n/a" in line(row, ["cwstore", "sqlspec"], "ratio")
    assert cheats(row, plain=False) == []


def test_only_with_cwstores_own_schema_cwstore_has_to_write_the_pages_of_the_limit() -> None:
    few, many = (Measured([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], pages) for pages in (5.0, 9.0))
    measured = {"limit": few, "by-hand": many, "cwstore": many}

    def accused(*, plain: bool) -> list[str]:
        found = cheats(row_of("W1", measured, plain=plain), plain=plain)
        return [text.split()[1] for text in found]

    assert accused(plain=False) == ["by-hand", "cwstore"]
    assert accused(plain=True) == ["by-hand"]


def shape_of(connection: Any, table: str) -> dict[str, Any]:
    """Columns, keys and foreign keys."""

    def rows(text: str, name: str) -> list[tuple[Any, ...]]:
        return connection.execute(text, (name,)).fetchall()

    columns = rows(
        'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?) ORDER BY cid', table
    )
    unique = rows("SELECT name FROM pragma_index_list(?) WHERE origin = 'u'", table)
    return {
        "columns": [
            # `seq INTEGER PRIMARY KEY` is never NULL, whatever is declared.
            (name, kind, 1 if key else never_null, default, key)
            for name, kind, never_null, default, key in columns
        ],
        "unique": sorted(rows("SELECT name FROM pragma_index_info(?)", name) for (name,) in unique),
        "foreign keys": sorted(
            rows(
                'SELECT "from", "table", "to", on_delete FROM pragma_foreign_key_list(?)',
                table,
            )
        ),
    }


def test_the_plain_schema_has_the_tables_columns_and_keys_of_cwstores(tmp_path: Path) -> None:
    Store.open(tmp_path / "own.db").close()
    plain.build(tmp_path / "own.db", tmp_path / "plain.db")
    own: Any = apsw.Connection(str(tmp_path / "own.db"))
    made: Any = apsw.Connection(str(tmp_path / "plain.db"))

    tables = plain.tables_of(made)

    assert "tasks" in tables
    assert [shape_of(made, table) for table in tables] == [shape_of(own, table) for table in tables]
    own.close()
    made.close()
