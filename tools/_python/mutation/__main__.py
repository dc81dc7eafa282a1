"""Makes small changes to the code, one at a time, and runs the tests that reach each."""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tools._python.mutation.host import CANNOT
from tools._python.mutation.parts import PARTS, Part, file_of
from tools._python.mutation.reached import Reached
from tools._python.mutation.reasons import Change, Reasons, read_reasons
from tools._python.mutation.trials import Ended, Trials

ROOT = Path(__file__).resolve().parents[3]
WHERE = ROOT / ".cache" / "mutation"
COPIED = ("cwstore", "sql", "tests", "tools", "README.md", "pyproject.toml")
STANDARD = ("statements", "mapping", "claims", "changes", "engine", "runner")
_LATEST = 5


def copy(source: Path, tree: Path) -> Path:
    """Another copy of the checkout, with what is compiled."""
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, tree / name)
        else:
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, tree / name)
    return tree


def changes_of(part: Part, given: argparse.Namespace) -> list[Change]:
    """What mutmut, which a Python of its own has, would change in it."""
    names = [f"cwstore/{module}.py" for module in part.modules]
    files = [name for name in names if given.match in name]
    maker = Path(__file__).with_name("changes.py")
    done = subprocess.run(
        [given.mutmut, str(maker), str(given.first), str(given.every), *files],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    made = map(json.loads, done.stdout.splitlines())
    return [
        Change(one["file"], one["first"], tuple(one["old"]), tuple(one["new"]), one["function"])
        for one in made
    ]


class Run:
    """All changes of one part."""

    def __init__(self, part: Part, processes: int, reasons: Reasons) -> None:
        shutil.rmtree(WHERE, ignore_errors=True)
        files = [f"tests/{file_of(name)}" for name in part.tests]
        first = copy(ROOT, WHERE / "0")
        self._reached = Reached(first, files)
        others = [copy(first, WHERE / str(number)) for number in range(1, processes)]
        self._trials = Trials([first, *others], files)
        self._reasons = reasons
        self._noticed_by: dict[str, list[str]] = {}  # by file, the latest last
        self.counts: dict[str, Counter[str]] = {}

    def __call__(self, changes: list[Change]) -> None:
        """Try them, and again those that a test noticed which fails without a change, too."""
        while changes:
            noticed = self._round(changes)
            failing = self._failing_anyway(changes[0])
            self._reached.leave_out(failing)
            for change, test in noticed.items():
                if test not in failing:
                    self._count(change, "killed")
            changes = [change for change, test in noticed.items() if test in failing]
        self._trials.close()

    def _round(self, changes: list[Change]) -> dict[Change, str]:
        """What noticed each: a test that reaches the line, else one of the others."""
        noticed: dict[Change, str] = {}
        again: dict[Change, tuple[list[str], bool]] = {}
        for ended in self._tried({one: (self._reached.tests_of(one), False) for one in changes}):
            change = ended.change
            if ended.noticed_by == CANNOT:
                again[change] = self._reached.all, True
            elif ended.noticed_by:
                noticed[change] = ended.noticed_by
            elif self._reasons.of(change):
                self._count(change, "reason")
            else:
                again[change] = self._reached.others_of(change)
        for ended in self._tried(again):
            if ended.noticed_by:
                noticed[ended.change] = ended.noticed_by
            else:
                self._count(ended.change, "left")
                print(ended.change, flush=True)
        return noticed

    def _failing_anyway(self, one: Change) -> set[str]:
        """Those of the tests that noticed something that fail where nothing is changed."""
        names = {name for names in self._noticed_by.values() for name in names}
        none = Change(one.file, one.first, one.old, one.old, one.function)
        failing: set[str] = set()
        while True:
            tests = [test for test in self._reached.all if test in names - failing]
            (ended,) = self._tried({none: (tests, False)})
            if not ended.noticed_by:
                return failing
            print(f"it fails without a change, too, and is left out: {ended.noticed_by}")
            failing.add(ended.noticed_by)

    def _tried(self, tests: dict[Change, tuple[list[str], bool]]) -> Iterator[Ended]:
        """Each change on some tests, fresh or not."""
        for change, (names, fresh) in tests.items():
            for ended in self._trials.ended():
                yield self._noted(ended)
            # What has noticed a change of the same file may notice this one, too.
            latest = self._noticed_by.get(change.file, [])[-_LATEST:]
            ordered = sorted(names, key=latest.__contains__, reverse=True)
            seconds = self._reached.seconds
            self._trials.begin(change, [(name, seconds[name]) for name in ordered], fresh=fresh)
        for ended in self._trials.ended(all_of_them=True):
            yield self._noted(ended)

    def _noted(self, ended: Ended) -> Ended:
        self._noticed_by.setdefault(ended.change.file, []).append(ended.noticed_by)
        if ended.hangs:
            print(f"{ended.change}\n  took too long in {ended.noticed_by}", flush=True)
        return ended

    def _count(self, change: Change, outcome: str) -> None:
        self.counts.setdefault(change.module, Counter())[outcome] += 1


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="tools/mutate")
    parser.add_argument("mutmut", help="a Python that has mutmut")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--from", type=int, default=0, metavar="N", dest="first")
    parser.add_argument("--match", default="", metavar="TEXT")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    reasons = read_reasons(ROOT / "tools" / "_data" / "mutants.toml")
    total: Counter[str] = Counter()
    for name in given.parts or STANDARD:
        changes = changes_of(PARTS[name], given)
        for place, line in reasons.stale(changes) if given.every == 1 else ():
            print(f"mutants.toml: no change needs the reason for {place}: {line}")
        run = Run(PARTS[name], given.processes, reasons)
        run(changes)
        for module, counts in run.counts.items():
            print(f"{module:32}{_shares(counts)}", flush=True)
            total += counts
    print(f"{'all':32}{_shares(total)}")
    return 1 if total["left"] else 0


def _shares(counts: Counter[str]) -> str:
    number = counts.total()
    return (
        f"{number:6} changes: {counts['killed']} killed"
        f" ({100 * counts['killed'] / max(1, number):.1f} %), {counts['reason']} survive for a"
        f" reason (tools/_data/mutants.toml), {counts['left']} without"
    )


if __name__ == "__main__":
    sys.exit(main())
