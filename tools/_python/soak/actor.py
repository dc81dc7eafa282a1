"""Who acts, and what a call of theirs is."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import monotonic_ns
from typing import Any, NamedTuple

from tools._python.soak.history import Journal


@dataclass(frozen=True, slots=True)
class Call:
    """One call and how to write it down. `run` is given the store, of either face."""

    kind: str
    key: str
    run: Callable[[Any], Any]
    args: tuple[Any, ...] = ()
    outcome: Callable[[Any], Any] = lambda _: "ok"
    extra: Callable[[Any], Any] = lambda _: None
    whole: bool = False  #: a transaction: `run` is given the synchronous store inside of one


class Holding(NamedTuple):
    """A task that was claimed and not yet reported on."""

    pool: str
    task: int
    who: str | None  #: the agent; None: nobody named


@dataclass(slots=True)
class Actor:
    """One thread or task."""

    id: str  #: of its agent, too
    token: str  #: of its process
    round: str
    rng: Random
    journal: Journal
    graveyard: Path  #: a line for each process that was killed
    season_ns: int  #: how long all meet at the same things
    known: set[str] = field(default_factory=set[str])
    cursors: dict[str, int] = field(default_factory=dict[str, int])
    holding: Holding | None = None  #: the task that it put aside, to report late
    hired: int = 0  #: agents that it made, to be deleted with a task in hand

    def season(self) -> str:
        """What all actors of the round meet at now."""
        return f"{self.round}.{monotonic_ns() // self.season_ns}"


Step = Generator[Call, Any, None]
