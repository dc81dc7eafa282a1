from pathlib import Path

import pytest

from tools._python.bench.__main__ import disagreements
from tools._python.bench.runner import Bench

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
