"""Processes of threads and tasks on one schema, some killed: `tools/soak --address` in short.

That the judge notices each kind of fault is shown in `tests/engine/test_concurrency.py`.
"""

from pathlib import Path

import pytest

from cwstore.store import Store
from tools._python.soak.crew import Plan, run_round
from tools._python.soak.verdict import judge


@pytest.mark.slow
def test_no_process_thread_or_task_is_told_what_does_not_hold(address: str, tmp_path: Path) -> None:
    """Nothing is claimed twice, lost or stuck; accounts take turns; readers miss no chunk."""
    plan = Plan(
        tmp_path, "short", processes=3, steps=30, kills=4, calm=3, busy_timeout=60, address=address
    )
    done = run_round(plan)
    with Store.open(plan.place) as store:
        verdict = judge(done, store)
    assert verdict.faults == {}
    assert verdict.histories > 20
