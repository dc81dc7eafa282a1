"""One adapter in a process of its own, told over its standard input what to do.

Every request and every answer is a line of JSON. Two copies of SQLite in one process would not see
each other's locks on a file; so the adapters never share a process, nor a file.
"""

import asyncio
import gc
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import import_module
from inspect import iscoroutinefunction
from time import perf_counter_ns, process_time_ns
from typing import Any, cast

from tools._python.bench.common import ACCOUNT_COLUMNS, CONVERSATION_COLUMNS, TASK_COLUMNS
from tools._python.bench.workloads import OPENING, calls_before, calls_of

AT_ONCE = 50  # calls that are gathered, where they are awaited
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Child:
    """Holds the adapter between requests."""

    def __init__(self, module: str) -> None:
        self.adapter = import_module(f"tools._python.bench.{module}").Adapter()
        self.runner = asyncio.Runner() if iscoroutinefunction(self.adapter.open) else None
        self.bound: list[tuple[Callable[..., Any], tuple[object, ...]]] = []
        self.file = ""
        self.one_by_one = self.runner is None

    def _done(self, outcome: Any) -> Any:
        return outcome if self.runner is None else self.runner.run(outcome)

    def open(self, file: str) -> None:
        self.file = file
        self._done(self.adapter.open(file))
        if hasattr(self.adapter, "bind"):
            self.adapter.bind()

    def close(self) -> None:
        self._done(self.adapter.close())

    def can(self, name: str) -> bool:
        """Whether it has the methods of a workload."""
        return hasattr(self.adapter, calls_of(name, 0, 1)[0][0])

    def prepare(self, name: str, number: int, count: int) -> None:
        """What `run` will call, and no garbage of earlier rounds."""
        for method, arguments in calls_before(name, count):
            self._call(getattr(self.adapter, method), arguments)
        calls = calls_of(name, number, count)
        self.one_by_one = self.runner is None or name == OPENING
        if name == OPENING:
            self.bound = [(self._open_and_call, call) for call in calls]
        else:
            self.bound = [(getattr(self.adapter, method), arguments) for method, arguments in calls]
        gc.collect()

    def run(self) -> tuple[int, int]:
        """Nanoseconds of wall clock and of processor time that the calls took."""
        if self.runner is not None and not self.one_by_one:
            return self.runner.run(self._gather())
        started, processor = perf_counter_ns(), process_time_ns()
        for method, arguments in self.bound:
            method(*arguments)
        return perf_counter_ns() - started, process_time_ns() - processor

    async def _gather(self) -> tuple[int, int]:
        started, processor = perf_counter_ns(), process_time_ns()
        for first in range(0, len(self.bound), AT_ONCE):
            batch = self.bound[first : first + AT_ONCE]
            await asyncio.gather(*[method(*arguments) for method, arguments in batch])
        return perf_counter_ns() - started, process_time_ns() - processor

    def sample(self, name: str) -> object:
        """What the first call of a workload returns, in plain values."""
        method, arguments = calls_of(name, 0, 1)[0]
        for before, whose in calls_before(name, 1):
            self._call(getattr(self.adapter, before), whose)
        return plain(self._call(getattr(self.adapter, method), arguments))

    def _open_and_call(self, method: str, arguments: tuple[object, ...]) -> None:
        """As a process does that has everything imported, and no other connection to the file."""
        adapter = type(self.adapter)()
        self._done(adapter.open(self.file))
        self._call(getattr(adapter, method), arguments)
        self._done(adapter.close())

    def _call(self, bound: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
        if self.runner is None:
            return bound(*arguments)

        async def once() -> object:
            return await bound(*arguments)

        return self.runner.run(once())


def plain(value: Any) -> object:
    """Rows as lists of what the database holds, whatever an adapter makes of them."""
    if value is None or isinstance(value, int | float):
        return int(value) if isinstance(value, bool) else value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - EPOCH) // MICROSECOND
    if isinstance(value, list | tuple):
        return [plain(item) for item in cast("list[object]", value)]
    for columns in (TASK_COLUMNS, ACCOUNT_COLUMNS, CONVERSATION_COLUMNS):
        names = columns.split(", ")
        if all(hasattr(value, name) for name in names):
            return [plain(getattr(value, name)) for name in names]
    raise TypeError(f"not a row: {value!r}")


def main() -> None:
    """Serve until the input ends."""
    child = Child(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(child, request.pop("do"))(**request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
