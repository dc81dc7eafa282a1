"""What became of the changes that mutmut made in this folder.

`python tools/_python/mutants.py REASONS [PYTEST ARGUMENTS]` prints each change that no test
noticed, and the shares. It only counts a change for which REASONS gives a reason. It tries each
other change once more in a process of its own, because mutmut switches a change on after modules
were imported.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

KILLED = ("killed", "timeout")
PATIENCE = 600  # seconds; a change may make a test wait for ever
AGAIN = ("survived", "no tests")  # in this process; it may run in another one


@dataclass(frozen=True)
class Change:
    """One of mutmut's changes: the lines that it takes away and puts in place, and the outcome."""

    name: str
    outcome: str
    old: str = ""
    new: str = ""

    @property
    def module(self) -> str:
        """Its name inside the package, as in `_sqlite.writer`."""
        return self.name.removeprefix("cwstore.").rpartition(".")[0]

    @property
    def place(self) -> str:
        """The function, as in `_sqlite.writer.Writer.run`."""
        function = self.name.rpartition(".")[2]
        plain = re.sub(r"__mutmut_\d+$", "", function)
        plain = plain.removeprefix("x_") if plain.startswith("x_") else plain.removeprefix("xǁ")
        return f"{self.module}.{plain.replace('ǁ', '.')}"


@dataclass
class Reasons:
    """Why some changes may stay unnoticed, and which of the reasons were needed."""

    #: (place, changed line) or a pattern that the changed line holds.
    exact: dict[tuple[str, str], str]
    patterns: dict[str, str]
    #: A pattern that the line holds in which nothing changed but upper and lower case.
    cases: dict[str, str]
    used: set[object] = field(default_factory=set[object])

    def of(self, change: Change) -> str:
        """The reason; "" if there is none."""
        key = change.place, change.new
        if key in self.exact:
            self.used.add(key)
            return self.exact[key]
        for pattern, reason in self.patterns.items():
            if re.search(pattern, change.new):
                return reason
        for pattern, reason in self.cases.items():
            if change.old.lower() == change.new.lower() and re.search(pattern, change.old):
                return reason
        return ""

    def stale(self, modules: set[str]) -> list[tuple[str, str]]:
        """Those of these modules that no change needed."""
        starts = tuple(f"{module}." for module in modules)
        mine = {key for key in self.exact if key[0].startswith(starts)}
        return sorted(mine - self.used)


def read_reasons(file: Path) -> Reasons:
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    exact: dict[tuple[str, str], str] = {}
    for one in data.get("survivor", []):
        for line in one["lines"]:
            exact[one["in"], line] = one["reason"]
    patterns: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for one in data.get("everywhere", []):
        patterns[one.get("case", False)][one["pattern"]] = one["reason"]
    return Reasons(exact, *patterns)


def mutmut(*arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_changes() -> list[Change]:
    """All of the run; those that were not killed with their lines."""
    changes: list[Change] = []
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, outcome = line.strip().partition(": ")
        if outcome in KILLED:
            changes.append(Change(name, outcome))
        elif outcome:
            changes.append(Change(name, outcome, *changed_lines(mutmut("show", name))))
    return changes


def changed_lines(diff: str) -> tuple[str, str]:
    """What is taken away and what comes in its place, on one line each."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    old, new = (
        " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return old, new


def passes(name: str, tests: list[str]) -> bool:
    """Whether the tests pass with that change."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", *tests]
    environment = os.environ | {"MUTANT_UNDER_TEST": name}
    with Path("again.log").open("w", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                command,
                cwd="mutants",
                env=environment,
                stdout=log,
                stderr=log,
                check=False,
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def main(reasons_file: str, *tests: str) -> int:
    reasons = read_reasons(Path(reasons_file))
    changes = read_changes()
    if not changes:
        print("nothing was changed")
        return 1
    if not passes("none", list(tests)):
        print("the tests fail without a change: see again.log")
        return 1
    counts: Counter[str] = Counter()
    for change in changes:
        if change.outcome in KILLED:
            counts["killed"] += 1
        elif reasons.of(change):
            counts["reason"] += 1
        elif change.outcome in AGAIN and not passes(change.name, list(tests)):
            counts["killed"] += 1
        else:
            counts["left"] += 1
            print(
                f"{change.name}: {change.outcome}\n  - {change.old}\n  + {change.new}", flush=True
            )
    for place, line in reasons.stale({one.module for one in changes}):
        print(f"mutants.toml: no change needs the reason for {place}: {line}")
    killed, with_reason, left = counts["killed"], counts["reason"], counts["left"]
    print(
        f"{len(changes)} changes: {killed} killed ({100 * killed / len(changes):.1f} %),"
        f" {with_reason} survive for a reason (tools/_data/mutants.toml), {left} without"
    )
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
