from typing import Any

import pytest

from tools._python.bench.__main__ import AGREED
from tools._python.bench_postgres import claims, claims_cwstore
from tools._python.bench_postgres.__main__ import TARGETS, Bench, line
from tools._python.postgres import Server


@pytest.mark.slow
def test_the_benchmark_compares_adapters_that_return_the_same_rows(
    postgres_server: Server,
) -> None:
    bench = Bench(postgres_server, ["psycopg", "cwstore"], 1)
    for workload in TARGETS.keys() & AGREED.keys():
        rows: dict[str, Any] = bench.samples(workload)
        kept = [
            [value for index, value in enumerate(one) if index not in AGREED[workload]]
            for one in rows.values()
        ]
        assert kept[0] == kept[1], workload
    found = bench.measure("W5b", 2)
    assert {name: len(calls) for name, calls in found.items()} == {"psycopg": 2, "cwstore": 2}
    bench.close()


@pytest.mark.slow
def test_eight_clients_claim_every_task_once(
    postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "JOBS", 10_000)  # more than can be claimed meanwhile
    database = postgres_server.new_database()
    claims_cwstore.prepare(postgres_server.address(database), 2_000)
    assert claims.one_round("cwstore", postgres_server.address(database), 0.5) > 0


def test_a_ratio_is_of_neighbours_in_time_and_a_missed_target_is_told() -> None:
    found = {"psycopg": [1e6, 4e6, 2e6], "cwstore": [1.2e6, 8e6, 3.2e6]}
    assert line("W2", found).split() == [
        *("find", "task", "by", "id", "2000", "µs", "n/a", "1.60", "<=", "1.3", "MISSED"),
    ]
    assert "MISSED" not in line("W2", found | {"cwstore": [1e6, 4e6, 2e6]})
    assert claims.line("dbos", [3.0, 1.0, 2.0]).split()[-6:] == [
        *("2", "a", "second,", "1", "to", "3"),
    ]
