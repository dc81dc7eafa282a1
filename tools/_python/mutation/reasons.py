"""Why some changes may stay unnoticed: `tools/_data/mutants.toml`."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Change:
    """Lines of a file that are taken away, those in their place, and the function around them."""

    file: str  #: as in cwstore/_sqlite/writer.py
    first: int  #: how many lines of the file come before
    old: tuple[str, ...]
    new: tuple[str, ...]
    function: str  #: as in Writer.run

    @property
    def module(self) -> str:
        """Its name inside the package, as in `_sqlite.writer`."""
        return ".".join(Path(self.file).with_suffix("").parts[1:])

    @property
    def place(self) -> str:
        """The function, as in `_sqlite.writer.Writer.run`."""
        return f"{self.module}.{self.function}"

    @property
    def was(self) -> str:
        """What was taken away, on one line."""
        return " ".join(line.strip() for line in self.old)

    @property
    def became(self) -> str:
        """What came in its place, on one line."""
        return " ".join(line.strip() for line in self.new)

    def __str__(self) -> str:
        return f"{self.file}:{self.first + 1}: {self.function}\n  - {self.was}\n  + {self.became}"


@dataclass
class Reasons:
    """By the line as it is after the change."""

    #: (place, changed line) or a pattern that the changed line holds.
    exact: dict[tuple[str, str], str]
    patterns: dict[str, str]
    #: A pattern that the line holds in which nothing changed but upper and lower case.
    cases: dict[str, str]

    def of(self, change: Change) -> str:
        """The reason; "" if there is none."""
        key = change.place, change.became
        if key in self.exact:
            return self.exact[key]
        for pattern, reason in self.patterns.items():
            if re.search(pattern, change.became):
                return reason
        for pattern, reason in self.cases.items():
            if change.was.lower() == change.became.lower() and re.search(pattern, change.was):
                return reason
        return ""

    def stale(self, changes: list[Change]) -> list[tuple[str, str]]:
        """Those for lines of these modules that no change makes any more."""
        modules = tuple(f"{one.module}." for one in changes)
        made = {(one.place, one.became) for one in changes}
        return sorted(key for key in self.exact if key[0].startswith(modules) and key not in made)


def read_reasons(file: Path) -> Reasons:
    """The reasons that the file gives."""
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    exact: dict[tuple[str, str], str] = {}
    for one in data.get("survivor", []):
        for line in one["lines"]:
            exact[one["in"], line] = one["reason"]
    patterns: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for one in data.get("everywhere", []):
        patterns[one.get("case", False)][one["pattern"]] = one["reason"]
    return Reasons(exact, *patterns)
