from pathlib import Path

import pytest

from tools._python.bench.__main__ import disagreements
from tools._python.bench.report import cheats, line, row_of
from tools._python.bench.runner import Bench, Measured
from tools._python.bench.workloads import calls_before, calls_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_benchmark_compares_adapters_that_return_the_same_rows(tmp_path: Path) -> None:
    bench = Bench(ROOT, tmp_path, ["limit", "by-hand", "cwstore", "cwstore-async"], 1, 0.1)

    assert disagreements(bench) == []
    bench.end()


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
    row = row_of("W16", {"limit": found, "cwstore": found})
    assert "n/a" in line(row, ["cwstore", "sqlspec"], "ratio")
    assert cheats(row) == []
