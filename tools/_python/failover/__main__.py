"""Kill the leader of three nodes again and again, and count what was lost."""

import sys
import tempfile
import time
from argparse import Namespace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from cwstore import Store
from tools._python import arguments as accepted
from tools._python.failover.cluster import Cluster, wait_for
from tools._python.failover.counts import Counts, Told, count
from tools._python.failover.writers import write

_CUT_OFF = 1.5  # seconds that the leader goes on alone before it is killed
_ON_ITS_WAY = 1.0  # seconds in which an answer of a killed leader may still be read


class Writers:
    """Processes that write until they are asked what they were told."""

    def __init__(self, address: str, number: int) -> None:
        context = get_context("spawn")
        with Store.open(address) as store:
            agents = [
                store.agents.create(name=f"writer {n}", worktree_id="x") for n in range(number)
            ]
        self._pipes: list[Connection[Any, Told]] = []
        self._processes: list[BaseProcess] = []
        self._last: list[Any] = []
        for agent in agents:
            mine, theirs = context.Pipe()
            last = context.Value("d", 0.0, lock=False)
            process = context.Process(target=write, args=(address, agent.id, last, theirs))
            process.daemon = True
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)
            self._last.append(last)

    def all_wrote_since(self, moment: float) -> bool:
        """Whether each was told of a write after that moment."""
        return all(last.value > moment for last in self._last)

    def one_wrote_since(self, moment: float) -> bool:
        """Whether any was."""
        return any(last.value > moment for last in self._last)

    def finish(self) -> list[Told]:
        """Let them end."""
        for pipe in self._pipes:
            pipe.send(None)
        told = [pipe.recv() for pipe in self._pipes]
        for process in self._processes:
            process.join()
        return told


def kill_once(cluster: Cluster, writers: Writers, seconds: float, *, alone: bool) -> float:
    """Kill the leader, `alone`: after it was cut off; the seconds until a write was done again."""
    began = time.monotonic()
    wait_for(lambda: writers.all_wrote_since(began), "a write of each writer")
    Event().wait(seconds)
    leader = cluster.leader()
    if alone:
        leader.cut_off()
        Event().wait(_CUT_OFF)
    leader.kill()
    killed = time.monotonic()
    wait_for(lambda: writers.one_wrote_since(killed + _ON_ITS_WAY), "a write")
    took = time.monotonic() - killed
    how = "cut off, then killed" if alone else "killed"
    print(f"  {leader.name} {how}: a write again after {took:.1f} s", flush=True)
    cluster.start(leader)
    cluster.wait_until_whole()
    return took


def switch_over_once(cluster: Cluster, writers: Writers) -> None:
    """Let another node lead, and wait until every writer has found it."""
    began = time.monotonic()
    wait_for(lambda: writers.all_wrote_since(began), "a write of each writer")
    asked = time.monotonic()
    cluster.switch_over()
    switched = time.monotonic()
    wait_for(lambda: writers.all_wrote_since(switched), "a write of each writer")
    took = time.monotonic() - asked
    print(f"  switched over: every writer has written again after {took:.1f} s", flush=True)
    cluster.wait_until_whole()


def run(options: Namespace, kills: int, *, synchronous: bool) -> Counts:
    """One cluster, its kills, and what was lost."""
    mode = "synchronous" if synchronous else "asynchronous, the control"
    print(f"{mode}: three nodes, {kills} kills", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="cwstore-failover-") as directory,
        Cluster(Path(directory), synchronous=synchronous) as cluster,
    ):
        writers = Writers(cluster.address, options.writers)
        for _ in range(options.switchovers):
            switch_over_once(cluster, writers)
        took = [
            kill_once(cluster, writers, options.seconds, alone=number % 2 == 1)
            for number in range(kills)
        ]
        told = writers.finish()
        with Store.open(cluster.address) as store:
            found = {task.id: task.status.value for task in store.tasks.find_all()}
    counts = count(told, found)
    print(lines_of(counts, took), flush=True)
    return counts


def lines_of(counts: Counts, took: list[float]) -> str:
    """What a person reads."""
    lines = [
        f"acknowledged writes {counts.acknowledged:,}, of these lost {counts.lost:,}",
        f"tasks claimed twice {counts.claimed_twice}",
        f"refused {counts.refused}, of these done {counts.made_though_refused}",
        f"outcome unknown {counts.unknown}",
        f"a write again after {min(took):.0f} to {max(took):.0f} s, median {median(took):.0f} s",
        *(f"unexpected: {one}" for one in counts.others[:20]),
    ]
    return "\n".join(f"  {line}" for line in lines)


def main() -> int:
    """Both modes: 1 if the one loses what was acknowledged, or the other does not."""
    options = accepted.failover().parse_args()
    kept = run(options, options.kills, synchronous=True)
    code = 0 if kept.ok else 1
    if options.control:
        control = run(options, options.control, synchronous=False)
        if not control.lost:
            print("the control lost nothing: nothing is shown", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
