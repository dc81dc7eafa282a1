"""What was asked of the store and what it answered, written down by the one who asked.

A journal is a file of its own for each process: a line before each call and a line after it was
acknowledged, each in one write, so that a process killed at any moment leaves whole lines. A call
without a second line may have happened or not.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from time import monotonic_ns
from typing import Any


class Unknown:
    """Marks the outcome of a call that nobody lived to hear."""

    def __repr__(self) -> str:
        return "nobody knows"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Op:
    """One call; times in ns of a clock that all processes of the machine share."""

    kind: str
    key: str  #: what it is about, as `model/thing`
    args: tuple[Any, ...]
    begin: int
    end: int  #: of a call with unknown outcome: when its process was certainly dead
    outcome: Any  #: UNKNOWN: killed before it was told
    extra: Any = None  #: what else the answer said, for checks of its own
    who: str = ""  #: the process

    @property
    def known(self) -> bool:
        """Whether it was acknowledged."""
        return self.outcome is not UNKNOWN


class Journal:
    """Where one process writes; its threads may all do so at once."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._numbers = count()

    def begin(self, kind: str, key: str, args: tuple[Any, ...]) -> int:
        """Before a call; its number."""
        number = next(self._numbers)
        self._write(["begin", number, kind, key, args, monotonic_ns()])
        return number

    def end(self, number: int, outcome: Any, extra: Any = None) -> None:
        """After the call was acknowledged."""
        self._write(["end", number, outcome, monotonic_ns(), extra])

    def _write(self, line: list[Any]) -> None:
        os.write(self._descriptor, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Nothing is written any more."""
        os.close(self._descriptor)


def read_journal(path: Path, dead_at: int | None) -> Iterator[Op]:
    """The calls in a journal; `dead_at` (ns): when its process was dead, None if it ended well."""
    begun: dict[int, list[Any]] = {}
    for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last end of line is cut off
        what, number, *rest = json.loads(line)
        if what == "begin":
            begun[number] = rest
            continue
        kind, key, args, begin = begun.pop(number)
        outcome, end, extra = rest
        yield Op(kind, key, _frozen(args), begin, end, _frozen(outcome), extra, path.stem)
    for kind, key, args, begin in begun.values():
        if dead_at is None:
            raise ValueError(f"{path}: {kind} {key} {args} has no end, yet nobody killed it")
        yield Op(kind, key, _frozen(args), begin, dead_at, UNKNOWN, None, path.stem)


def _frozen(value: Any) -> Any:
    """JSON has no tuples; states and outcomes must be hashable."""
    return tuple(map(_frozen, value)) if _is_list(value) else value


def _is_list(value: object) -> bool:
    return isinstance(value, list)
