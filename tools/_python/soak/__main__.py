"""Rounds of workers, killed at random, until the time is up; then a table: `tools/soak --help`."""

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

from cwstore import status
from cwstore.store import Store
from tools._python import arguments as accepted
from tools._python.soak.crew import Plan, Round, run_round
from tools._python.soak.verdict import FAULTS, Verdict, judge

_ROUND = 15.0  # seconds; what a round writes down is checked, then removed
_NO_SINGLE_WRITE = {
    *("exists", "ready", "read", "replies", "below", "follow"),
    *("migrate", "prune", "reconcile", "expire"),
}
_INNER = {"crash"}  # the calls that a reconciliation is written down as


@dataclass(slots=True)
class Soak:
    """What all rounds came to."""

    rounds: int = 0
    kills: int = 0
    histories: int = 0
    largest_wal: int = 0
    file_bytes: int = 0
    seconds: float = 0.0  #: while workers ran
    told: Counter[str] = field(default_factory=Counter[str])  #: acknowledged calls by kind
    refused: Counter[str] = field(default_factory=Counter[str])
    unheard: Counter[str] = field(default_factory=Counter[str])
    slowest: dict[str, float] = field(default_factory=dict[str, float])  #: ms
    medians: dict[str, float] = field(default_factory=dict[str, float])  #: ms, of the last round
    faults: Counter[str] = field(default_factory=Counter[str])

    def add(self, done: Round, verdict: Verdict) -> None:
        """Count a round."""
        self.rounds += 1
        self.kills += done.kills
        self.seconds += done.seconds
        self.histories += verdict.histories
        self.largest_wal = max(self.largest_wal, done.largest_wal)
        self.file_bytes = status(done.plan.place).size
        self.faults.update({kind: len(lines) for kind, lines in verdict.faults.items()})
        took: dict[str, list[float]] = {}
        for op in done.ops:
            if op.kind in _INNER:
                continue
            name = f"{op.kind} {op.key.partition('/')[0]}"
            if not op.known:
                self.unheard[name] += 1
                continue
            self.told[name] += 1
            self.refused[name] += op.outcome in ("conflict", "missing", "cycle")
            took.setdefault(name, []).append((op.end - op.begin) / 1e6)
        for name, times in took.items():
            self.slowest[name] = max(self.slowest.get(name, 0.0), *times)
            self.medians[name] = median(times)

    def table(self) -> str:
        """For people."""
        lines = [
            f"{'call':24}{'told':>10}{'refused':>9}{'unheard':>9}{'median ms':>11}{'max ms':>9}"
        ]
        lines += [
            f"{name:24}{times:10,}{self.refused[name]:9,}{self.unheard[name]:9,}"
            f"{self.medians[name]:11.2f}{self.slowest[name]:9.0f}"
            for name, times in sorted(self.told.items())
        ]
        claims = sum(self.told[name] - self.refused[name] for name in ("claim pool", "next pool"))
        writes = [
            ms for name, ms in self.slowest.items() if name.split()[0] not in _NO_SINGLE_WRITE
        ]
        rows: list[tuple[str, str]] = [
            ("calls acknowledged", f"{self.told.total():,}"),
            ("calls nobody heard of", f"{self.unheard.total():,}"),
            ("claims of tasks", f"{claims:,}"),
            ("workers killed", f"{self.kills:,}"),
            ("histories put in order", f"{self.histories:,}"),
            ("slowest write", f"{max(writes, default=0):.0f} ms"),
            ("file", f"{self.file_bytes / 1e6:.1f} MB"),
            ("write-ahead log at most", f"{self.largest_wal / 1e6:.1f} MB"),
            ("rounds", f"{self.rounds}"),
            ("seconds of work", f"{self.seconds:.0f}"),
            *((kind, f"{self.faults[kind]}") for kind in FAULTS),
        ]
        return "\n".join([*lines, "", *(f"{name:40}{value:>14}" for name, value in rows)])


def soak(arguments: argparse.Namespace, directory: Path) -> int:
    """Run rounds in the directory; 1 if anything went wrong."""
    whole = Soak()
    started = monotonic()
    total = arguments.seconds or 60 * arguments.minutes
    while (left := total - (monotonic() - started)) > 1 or not whole.rounds:
        plan = Plan(
            directory,
            f"{arguments.seed}-{whole.rounds}",
            arguments.processes,
            seconds=min(_ROUND, left),
            kills=arguments.kills,
            calm=arguments.calm,
            address=arguments.address,
        )
        done = run_round(plan)
        with Store.open(plan.place) as store:
            verdict = judge(done, store)
        whole.add(done, verdict)
        _tell(whole, verdict)
        if not verdict.faults:
            for left_over in directory.glob(f"{plan.name}.*"):
                left_over.unlink()
    print(whole.table())
    return 1 if whole.faults.total() else 0


def _tell(whole: Soak, verdict: Verdict) -> None:
    for kind, lines in verdict.faults.items():
        for line in lines[:10]:
            print(f"{kind}: {line}", file=sys.stderr)
    print(
        f"round {whole.rounds}: {whole.told.total():,} calls, {whole.kills} kills,"
        f" {whole.faults.total()} faults",
        file=sys.stderr,
    )


def main() -> int:
    """Read the arguments and run."""
    arguments = accepted.soak().parse_args()
    directory = Path(tempfile.mkdtemp(prefix="cwstore-soak-"))
    code = soak(arguments, directory)
    if code:
        print(f"the file and the journals of the rounds that failed: {directory}", file=sys.stderr)
    else:
        shutil.rmtree(directory)
    return code


if __name__ == "__main__":
    sys.exit(main())
