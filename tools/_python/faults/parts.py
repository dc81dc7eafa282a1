"""The parts of `tools/faults` and how a share of each is run, in a process of its own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic

from tools._python.faults import (
    broken_files,
    error_sweep,
    interruptions,
    kills,
    power_cuts,
    restore_cuts,
)
from tools._python.faults.place import scratch
from tools._python.faults.system_calls import Guard, watched


@dataclass(slots=True)
class Result:
    """Of one share of a part: a line of the table, and what was wrong."""

    name: str
    tried: int
    note: str
    faults: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


_CUTS = (
    *((case, power_cuts.sweep) for case in power_cuts.CASES),
    *((case, restore_cuts.sweep) for case in restore_cuts.CASES),
)


def _power(name: str, every: int) -> Result:
    ((case, sweep),) = ((case, sweep) for case, sweep in _CUTS if case.name == name)
    with scratch() as place:
        done = sweep(case, place, every=every)
    note = f"after {done.operations:,} operations, {done.disks:,} different disks"
    return Result(name, done.cuts, note, done.faults)


def _errors(name: str, every: int) -> Result:
    (subject,) = (subject for subject in error_sweep.SUBJECTS if subject.name == name)
    with scratch() as place, watched(str(place), Guard()) as calls:
        done = error_sweep.Sweep(subject, place, calls).run(every)
    note = f"{done.failed:,} calls raised, {done.unknown:,} of them OutcomeUnknownError"
    return Result(name, done.trials, note, done.faults)


_LOAD = "load "
_KILLS = 250  # of one share under load
_LOADS = 4


def _kills(name: str, every: int) -> Result:
    if name.startswith(_LOAD):
        with scratch() as place:
            seed = int(name.removeprefix(_LOAD))
            load = kills.kill_under_load(place, max(1, _KILLS // every), seed=seed)
        note = f"{load.told.total():,} calls acknowledged, {load.unheard:,} nobody heard of"
        return Result(name, load.kills, note, load.faults)
    (subject,) = (subject for subject in kills.SUBJECTS if subject.name == name)
    with scratch() as place, watched(str(place), Guard()) as calls:
        done = kills.kill_everywhere(subject, place, calls, every)
    return Result(name, done.trials, "one at each operation that changes a file", done.faults)


def _files(name: str, every: int) -> Result:
    with scratch() as place:
        done = broken_files.sweep(name, place, every)
    note = f"{done.refused:,} refused in whole or part, {done.reported:,} reported by check()"
    return Result(name, done.trials, note, done.faults)


def _interrupts(name: str, every: int) -> Result:
    way, _, about = name.partition(": ")
    (subject,) = (subject for subject in interruptions.SUBJECTS if subject.name == about)
    with scratch() as place:
        done = interruptions.WAYS[way](subject, place, every)
    return Result(name, done.trials, f"{done.failed:,} calls raised", done.faults)


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of fault: its shares, which can be tried at the same time, and how."""

    what: str
    shares: Iterable[str]
    run: Callable[[str, int], Result]


PARTS = {
    "power": Part("power cuts", [case.name for case, _ in _CUTS], _power),
    "errors": Part("failing operations", [one.name for one in error_sweep.SUBJECTS], _errors),
    "kills": Part(
        "kill -9",
        [
            *(f"{_LOAD}{number}" for number in range(_LOADS)),
            *(one.name for one in kills.SUBJECTS),
        ],
        _kills,
    ),
    "files": Part("broken and hostile files", broken_files.KINDS, _files),
    "interrupts": Part(
        "interruptions",
        [
            f"{way}: {subject.name}"
            for way in interruptions.WAYS
            for subject in interruptions.SUBJECTS
        ],
        _interrupts,
    ),
}


def run_share(part: str, share: str, every: int) -> Result:
    """In a process of its own."""
    began = monotonic()
    result = PARTS[part].run(share, every)
    result.seconds = monotonic() - began
    return result
