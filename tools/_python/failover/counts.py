"""Hold what the writers were told against what is there in the end."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Told:
    """What one writer was told."""

    agent_id: str
    created: list[str] = field(default_factory=list[str])
    claimed: list[str] = field(default_factory=list[str])
    completed: list[str] = field(default_factory=list[str])
    never_made: list[str] = field(default_factory=list[str])  #: a create that was refused
    others: list[str] = field(default_factory=list[str])  #: errors that nobody expects
    refused: int = 0
    unknown: int = 0


@dataclass(frozen=True)
class Counts:
    """Of all writers."""

    acknowledged: int
    lost: int  #: acknowledged, and not there
    claimed_twice: int  #: given to two agents
    refused: int
    made_though_refused: int
    unknown: int  #: OutcomeUnknownError
    others: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the store kept its promises."""
        return not (self.lost or self.claimed_twice or self.made_though_refused or self.others)


def count(told: Iterable[Told], found: Mapping[str, str]) -> Counts:
    """`found`: the status of every task, by its id."""
    told = list(told)
    created = [one for of in told for one in of.created]
    completed = [one for of in told for one in of.completed]
    holders = Counter(task for of in told for task in {*of.claimed})
    return Counts(
        acknowledged=len(created) + len(completed),
        lost=sum(one not in found for one in created)
        + sum(found.get(one) != "completed" for one in completed),
        claimed_twice=sum(number > 1 for number in holders.values()),
        refused=sum(of.refused for of in told),
        made_though_refused=sum(one in found for of in told for one in of.never_made),
        unknown=sum(of.unknown for of in told),
        others=tuple(one for of in told for one in of.others),
    )
