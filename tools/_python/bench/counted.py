"""Runs under callgrind: every workload once, then one of them some times more.

What the first part costs, start-up included, is subtracted by a run without the second. The
workload of idle claims has a file of its own, and so such a run of its own.
"""

import gc
import sys
from importlib import import_module

from tools._python.bench.workloads import IDLE, calls_before, calls_of

#: Calls that are counted; callgrind is some fifty times slower than the machine.
COUNTED = {
    "W1": 40,
    "W2": 200,
    "W3": 20,
    "W4": 40,
    "W5a": 40,
    "W5b": 2,
    "W6": 200,
    "W7": 40,
    "W8": 1,
    "W9": 100,
    "W15": 40,
    "W16": 40,
    "W17": 40,
    "W18": 20,
}
#: Runs without a second part, on the file of most workloads and on that of idle claims.
NONE, NONE_IDLE = "none", "none-idle"


def is_idle(workload: str) -> bool:
    """Whether a run is on the file of idle claims."""
    return workload in (IDLE, NONE_IDLE)


def main() -> None:
    """Arguments: module of the adapter, its file, and the workload, or none."""
    _, module, file, workload = sys.argv
    counted = {name: count for name, count in COUNTED.items() if is_idle(name) == is_idle(workload)}
    adapter = import_module(f"tools._python.bench.{module}").Adapter()
    adapter.open(file)
    if hasattr(adapter, "bind"):
        adapter.bind()
    gc.disable()  # a collection costs what the objects of the whole process cost
    for name in counted:
        for method, arguments in calls_before(name, 3):
            getattr(adapter, method)(*arguments)
        for method, arguments in calls_of(name, -1, 1 if name == "W8" else 3):
            getattr(adapter, method)(*arguments)
    # Made in every run, so that making them cancels out.
    calls = {name: calls_of(name, 0, count) for name, count in counted.items()}
    for name, count in counted.items():
        for method, arguments in calls_before(name, count):
            getattr(adapter, method)(*arguments)
    for method, arguments in calls.get(workload, []):
        getattr(adapter, method)(*arguments)
    adapter.close()


if __name__ == "__main__":
    main()
