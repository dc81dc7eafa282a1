"""Makes small changes to the code, one at a time, and runs the tests that reach each."""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tools._python.mutation.parts import PARTS, Part, file_of
from tools._python.mutation.reached import Reached
from tools._python.mutation.reasons import Change, Reasons, read_reasons
from tools._python.mutation.trials import Trials

ROOT = Path(__file__).resolve().parents[3]
WHERE = ROOT / ".cache" / "mutation"
COPIED = ("cwstore", "sql", "tests", "tools", "README.md", "pyproject.toml")
STANDARD = ("statements", "mapping", "claims", "changes", "engine", "runner")


def copies(number: int) -> list[Path]:
    """So many copies of the checkout."""
    shutil.rmtree(WHERE, ignore_errors=True)
    trees = [WHERE / str(one) for one in range(number)]
    for tree in trees:
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name)
            else:
                tree.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, tree / name)
    return trees


def changes_of(part: Part, mutmut: str) -> list[Change]:
    """What mutmut, which that Python has, would change in it."""
    files = [f"cwstore/{module}.py" for module in part.modules]
    maker = Path(__file__).with_name("changes.py")
    done = subprocess.run(
        [mutmut, str(maker), *files], cwd=ROOT, check=True, capture_output=True, text=True
    )
    made = map(json.loads, done.stdout.splitlines())
    return [
        Change(one["file"], one["first"], tuple(one["old"]), tuple(one["new"]), one["function"])
        for one in made
    ]


class Run:
    """All changes of one part."""

    def __init__(self, part: Part, trees: list[Path], reasons: Reasons) -> None:
        self._reached = Reached(trees[0], [f"tests/{file_of(name)}" for name in part.tests])
        self._trials = Trials(trees)
        self._reasons = reasons
        self.counts: dict[str, Counter[str]] = {}

    def __call__(self, changes: list[Change]) -> None:
        """Those that reach the line first; who survives them is tried on all others as well."""
        first = changes[0]
        none = Change(first.file, first.first, first.old, first.old, first.function)
        if not self._survivors([none], {none: self._reached.all}):
            sys.exit(f"the tests fail without a change: see {WHERE}/*/trial.log")
        self.counts.clear()
        left = self._survivors(changes, {one: self._reached.tests_of(one) for one in changes})
        again: dict[Change, list[str]] = {}
        for change in left:
            known = set(self._reached.tests_of(change))
            others = [test for test in self._reached.all if test not in known]
            if self._reasons.of(change):
                self._count(change, "reason")
            elif others:
                again[change] = others
            else:
                self._tell(change)
        for change in self._survivors(list(again), again):
            self._tell(change)

    def _survivors(self, changes: list[Change], tests: dict[Change, list[str]]) -> list[Change]:
        left: list[Change] = []
        for change in changes:
            self._take(left)
            seconds = sum(self._reached.seconds[test] for test in tests[change])
            self._trials.begin(change, tests[change], seconds)
        self._take(left, all_of_them=True)
        return left

    def _take(self, left: list[Change], *, all_of_them: bool = False) -> None:
        for change, noticed in self._trials.ended(all_of_them=all_of_them):
            if noticed:
                self._count(change, "killed")
            else:
                left.append(change)

    def _count(self, change: Change, outcome: str) -> None:
        self.counts.setdefault(change.module, Counter())[outcome] += 1

    def _tell(self, change: Change) -> None:
        self._count(change, "left")
        print(change, flush=True)


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="tools/mutate")
    parser.add_argument("mutmut", help="a Python that has mutmut")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--match", default="", metavar="TEXT")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    reasons = read_reasons(ROOT / "tools" / "_data" / "mutants.toml")
    total: Counter[str] = Counter()
    for name in given.parts or STANDARD:
        changes = changes_of(PARTS[name], given.mutmut)
        for place, line in reasons.stale(changes):
            print(f"mutants.toml: no change needs the reason for {place}: {line}")
        run = Run(PARTS[name], copies(given.processes), reasons)
        run([one for one in changes if given.match in one.file][:: given.every])
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
