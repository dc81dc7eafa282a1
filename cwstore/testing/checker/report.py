"""What the checker found: faults, allowances, and a table of all statements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: What may be tolerated: check -> subject -> reason, as in {"scan": {"tasks._FIND_ALL": "..."}}.
Allowances = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong."""

    #: Where it stands, as `path:line`; the schema has none: "".
    place: str
    #: The statement, index, table or allowance, such as `tasks._FIND_ALL`.
    subject: str
    #: Which check failed, such as `scan`; the word to use in an allowance.
    check: str
    problem: str

    def __str__(self) -> str:
        place = f"{self.place}: " if self.place else ""
        return f"{place}{self.subject}: {self.problem} [{self.check}]"


@dataclass(frozen=True, slots=True)
class Line:
    """One statement as the table shows it."""

    subject: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    indexes: tuple[str, ...]
    #: EXPLAIN QUERY PLAN, triggers and foreign keys included, in order.
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check; `str` of it lists the faults, one a line."""

    faults: tuple[Fault, ...]
    lines: tuple[Line, ...]

    def expect_no_faults(self) -> None:
        """Raise AssertionError, with all faults in its message, if there is any."""
        if self.faults:
            raise AssertionError(str(self))

    def table(self) -> str:
        """Every statement with the tables that it reads and writes, its plan and indexes."""
        return "\n".join(_described(line) for line in self.lines)

    def __str__(self) -> str:
        summary = f"{_counted(self.lines, 'statement')}, {_counted(self.faults, 'fault')}"
        return "\n".join([*map(str, self.faults), summary])


def _counted(things: tuple[object, ...], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _described(line: Line) -> str:
    parts = {"reads": line.reads, "writes": line.writes, "indexes": line.indexes}
    summary = " | ".join(f"{name}: {', '.join(part) or '-'}" for name, part in parts.items())
    return "\n".join([line.subject, *(f"    {step}" for step in line.plan), f"    {summary}"])


def settle(faults: Iterable[Fault], allowances: Allowances) -> list[Fault]:
    """The faults that are not allowed, each once, and those of the allowances themselves."""
    found = sorted(set(faults))
    kept = [one for one in found if not allowances.get(one.check, {}).get(one.subject, "").strip()]
    met = {(one.check, one.subject) for one in found}
    for check, subjects in allowances.items():
        for subject, reason in subjects.items():
            if not reason.strip():
                kept.append(Fault("", subject, "allowance", f"{check} is allowed without a reason"))
            elif (check, subject) not in met:
                kept.append(
                    Fault("", subject, "allowance", f"{check} is allowed but does not occur")
                )
    return kept
