"""Drives the adapters' processes in turn, so that what disturbs the machine disturbs all alike."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from tools._python.bench import node
from tools._python.bench.adapters import ADAPTERS, OURS
from tools._python.bench.plain import build
from tools._python.bench.workloads import IDLE, OPENING, WORKLOADS
from tools._python.bench.world import identity

#: Calls of the page check: few enough that no checkpoint starts the log anew.
CHECKED = {
    "W1": 60,
    "W4": 60,
    "W5a": 60,
    "W5b": 3,
    "W7": 60,
    "W9": 60,
    "W11": 2,
    "W16": 40,
    "W17": 40,
}
WRITERS = 4
FRAME = 4096 + 24  # bytes of a page in the write-ahead log


class Measured(NamedTuple):
    """Nanoseconds an operation, by round; and pages written an operation."""

    wall: list[float]
    processor: list[float]
    pages: float


class Process:
    """One adapter's process."""

    def __init__(self, root: Path, folder: Path, name: str) -> None:
        self._is_node = name in node.SCRIPT
        python = [sys.executable, "-m", "tools._python.bench.child", ADAPTERS[name]]
        self._process = subprocess.Popen(
            node.command(root, folder, name) if self._is_node else python,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=root,
        )

    def tell(self, do: str, **arguments: object) -> None:
        """Send a request and go on."""
        assert self._process.stdin is not None
        told = node.with_calls(do, arguments) if self._is_node else arguments
        print(json.dumps({"do": do, **told}), file=self._process.stdin, flush=True)

    def hear(self) -> Any:
        """The answer to the oldest request that was not heard of."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"an adapter died with exit code {self._process.wait()}")
        return json.loads(line)

    def ask(self, do: str, **arguments: object) -> Any:
        """Send a request and wait for its answer."""
        self.tell(do, **arguments)
        return self.hear()

    def round(self, name: str, number: int, count: int) -> Any:
        """Nanoseconds of wall clock and of processor time of some calls."""
        self.ask("prepare", name=name, number=number, count=count)
        return self.ask("run")

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


class Bench:
    """The processes of some adapters and the file that each gets a copy of.

    With `plain` the others than cwstore get one with the schema of plain.sql.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        names: list[str],
        rounds: int,
        scale: float,
        *,
        plain: bool = False,
    ) -> None:
        self.root, self.folder, self.rounds, self.scale = root, folder, rounds, scale
        self.names = names
        self.plain = plain
        self._make_seeds()
        node.write_statements(folder / "statements.json")
        self.processes = {name: Process(root, folder, name) for name in names}

    def _make_seeds(self) -> None:
        run = [sys.executable, "-m", "tools._python.bench.world"]
        for name, options in (("seed", ()), ("idle", ("--idle",))):
            seed = self.folder / f"{name}.db"
            subprocess.run([*run, *options, str(seed)], cwd=self.root, check=True)
            if self.plain:
                build(seed, self.folder / f"{name}-plain.db")

    def end(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            process.end()

    def able(self, workload: str) -> list[str]:
        """The adapters that can do it."""
        return [name for name in self.names if self.processes[name].ask("can", name=workload)]

    def _copy(self, name: str, workload: str = "") -> str:
        """A copy of the seed for this adapter; the last one is gone."""
        file = self.folder / f"{name}.db"
        for leftover in self.folder.glob(f"{name}.db*"):
            leftover.unlink()
        seed = "idle" if workload == IDLE else "seed"
        schema = "-plain" if self.plain and name not in OURS else ""
        shutil.copyfile(self.folder / f"{seed}{schema}.db", file)
        return str(file)

    def measure(self, workload: str) -> dict[str, Measured]:
        """Each adapter's cost of the workload."""
        if workload == "W10":
            return self._start_ups()
        if workload == "W13":
            return self._together()
        pages: dict[str, float] = {}
        operations = WORKLOADS[workload].operations
        calls = max(1, round(WORKLOADS[workload].calls * self.scale))
        names = self.able(workload)
        for name in names:
            process, file = self.processes[name], self._copy(name, workload)
            process.ask("open", file=file)
            if workload == OPENING:
                process.ask("close")
            checked = CHECKED.get(workload, 2)
            process.ask("prepare", name=workload, number=-1, count=checked)
            before = _frames(file)
            process.ask("run")
            pages[name] = (_frames(file) - before) / checked / operations
        found: dict[str, Measured] = {name: Measured([], [], pages[name]) for name in names}
        for number in range(self.rounds):
            for name in _turned(names, number):
                wall, processor = self.processes[name].round(workload, number, calls)
                found[name].wall.append(wall / calls / operations)
                found[name].processor.append(processor / calls / operations)
        for name in names:
            if workload != OPENING:
                self.processes[name].ask("close")
        return found

    def samples(self, workload: str) -> dict[str, Any]:
        """What the first call of the workload returns, by adapter."""
        found: dict[str, Any] = {}
        for name in self.able(workload):
            process = self.processes[name]
            process.ask("open", file=self._copy(name, workload))
            found[name] = process.ask("sample", name=workload)
            process.ask("close")
        return found

    def _start_ups(self) -> dict[str, Measured]:
        task = identity("task", 0, 0, 0)
        found: dict[str, Measured] = {name: Measured([], [], 0.0) for name in self.names}
        files = {name: self._copy(name) for name in self.names}
        # With compiled modules at hand, as an installed package has them.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(self.folder / "compiled")}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(-1, self.rounds):
            for name in _turned(self.names, number):
                run = [sys.executable, "-m", "tools._python.bench.first", ADAPTERS[name]]
                if name in node.SCRIPT:
                    run = node.command(self.root, self.folder, name)
                run += [files[name], task]
                started, used = time.perf_counter_ns(), _used_by_children()
                subprocess.run(run, cwd=self.root, env=environment, check=True)
                if number >= 0:
                    found[name].wall.append(time.perf_counter_ns() - started)
                    found[name].processor.append(_used_by_children() - used)
        return found

    def _together(self) -> dict[str, Measured]:
        """Four processes at once: the time of all calls, divided by their number."""
        found: dict[str, Measured] = {name: Measured([], [], 0.0) for name in self.names}
        files = {name: self._copy(name) for name in self.names}
        calls = max(1, round(WORKLOADS["W13"].calls * self.scale))
        crews = {
            name: [Process(self.root, self.folder, name) for _ in range(WRITERS)]
            for name in self.names
        }
        for name, crew in crews.items():
            for process in crew:
                process.ask("open", file=files[name])
        for number in range(-1, self.rounds):
            for name in _turned(self.names, number):
                crew = crews[name]
                for index, process in enumerate(crew):
                    process.ask("prepare", name="W13", number=10 * number + index, count=calls)
                started = time.perf_counter_ns()
                for process in crew:
                    process.tell("run")
                used = sum(process.hear()[1] for process in crew)
                if number >= 0:
                    spent = time.perf_counter_ns() - started
                    found[name].wall.append(spent / calls / WRITERS)
                    found[name].processor.append(used / calls / WRITERS)
        for crew in crews.values():
            for process in crew:
                process.ask("close")
                process.end()
        return found


def _used_by_children() -> float:
    """Nanoseconds of processor time of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1e9 * (used.ru_utime + used.ru_stime)


def _turned(names: list[str], number: int) -> list[str]:
    """Another one begins in each round: the first after a pause pays for cold caches."""
    start = number % len(names)
    return names[start:] + names[:start]


def _frames(file: str) -> float:
    """Pages in the write-ahead log of a file. It is only looked at, never opened."""
    log = Path(f"{file}-wal")
    size = log.stat().st_size if log.exists() else 0
    return max(0, size - 32) / FRAME
