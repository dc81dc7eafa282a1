"""Stores whose clock stands at a given minute: for expected stamps, and for rows of one age."""

from datetime import datetime
from pathlib import Path

from cwstore.store import Store
from tests.kits.database import store_of_its_own_time
from tests.kits.entities import MICROSECOND, SetClock, moment


def minute(number: int, microseconds: int = 0) -> datetime:
    """That many minutes after the first moment."""
    return moment(60 * number) + microseconds * MICROSECOND


def store_at(file: Path, number: int) -> Store:
    """One more store on the file. Its first stamp is that minute, each later one 1 µs more."""
    return store_of_its_own_time(file, SetClock(minute(number)))
