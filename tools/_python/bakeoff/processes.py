"""The scenarios that need several processes, or the end of one: D and I."""

import random
import shutil
import time

from tools._python.bakeoff import scripts as sql
from tools._python.bakeoff.place import Place, Yard, go

_PROCESSES = 6
_ROUNDS = 3  # of each start: a race is not lost every time
_KILLS = 20
_SLOW = tuple(sql.slow(number, 30_000) for number in range(3))


def six_at_once(yard: Yard) -> list[str]:
    """D: on a new file and on an old one; one migrates, five wait."""
    old = yard.migrated(sql.ROWS)
    alone = yard.migrated(sql.ROWS, *_SLOW).content()
    problems: list[str] = []
    for what, given in (("a new file", None), ("an old file", old.file)):
        for _ in range(_ROUNDS):
            place = yard.place(sql.ROWS, *_SLOW, file=given)
            found = _race(place, what)
            if not found and place.content() != alone:
                found = [f"{what}: it is not what one process alone makes"]
            problems += found
            if found:
                break
    return problems


def _race(place: Place, what: str) -> list[str]:
    waiting = [place.start() for _ in range(_PROCESSES)]
    for process in waiting:
        go(process)
    outcomes = [place.end(process) for process in waiting]
    failed = [outcome for outcome in outcomes if outcome.refused]
    return [f"{what}: {len(failed)} of {_PROCESSES} fail: {failed[0].brief}"] if failed else []


def killed(yard: Yard) -> list[str]:
    """I: the file is at one version or the next, and the next run finishes."""
    first = yard.migrated(sql.ROWS)
    between = [
        yard.migrated(sql.ROWS, *_SLOW[:number]).content() for number in range(len(_SLOW) + 1)
    ]
    quiet = yard.place(sql.ROWS, *_SLOW, file=first.file)
    process = quiet.start()
    began = time.monotonic()
    go(process)
    quiet.end(process)
    longest = time.monotonic() - began
    moments = random.Random(20)
    for number in range(1, _KILLS + 1):
        place = yard.place(sql.ROWS, *_SLOW, file=first.file)
        place.killed_after(moments.random() * longest)
        if place.content() not in between:
            return [f"kill {number} of {_KILLS}: the file is between two versions"]
        outcome = place.migrate()
        if outcome.refused:
            return [f"kill {number} of {_KILLS}: stuck: {outcome.brief}"]
        if place.content() != between[-1]:
            return [f"kill {number} of {_KILLS}: something was applied twice or never"]
        shutil.rmtree(place.root)
    return []
