"""Values as people write them on a command line: `30d`, `2GB`."""

import re
from argparse import ArgumentTypeError
from datetime import timedelta

_BAR = 10  # signs: a table fits into 80 columns
_MOST_WORKERS = 64
# No `m`: to some it is minutes, to others months, and what is deleted stays deleted.
_DURATIONS = {"s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}  # seconds
_SIZES = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
_LONGEST = timedelta(days=36_500)


def duration(text: str) -> timedelta:
    """A time span such as `30d`, `12h` or `1.5w`."""
    number, unit = _split(text)
    seconds = _DURATIONS.get(unit.lower())
    if number is None or seconds is None:
        raise ArgumentTypeError(f"{text!r} is not a time span: write 45min, 12h, 30d or 2w")
    if not 0 < number * seconds <= _LONGEST.total_seconds():
        raise ArgumentTypeError(f"{text!r} must be longer than 0 and at most 36500d")
    return timedelta(seconds=number * seconds)


def size(text: str) -> int:
    """A number of bytes such as `2GB`, `500MiB` or `1000`."""
    number, unit = _split(text)
    factor = _SIZES.get(unit.upper())
    if number is None or factor is None:
        raise ArgumentTypeError(f"{text!r} is not a size: write 500MB, 2GB, 2GiB, or bytes")
    return int(number * factor)


def count(text: str) -> int:
    """A whole number, 0 or more."""
    if not (text.isdecimal() and text.isascii() and len(text) < 16):
        raise ArgumentTypeError(f"{text!r} is not a number, 0 or more")
    return int(text)


def application_id(text: str) -> int:
    """The number that marks the files of a program: `0x57495348`, or its four letters, `WISH`."""
    if len(text) == 4 and text.isascii() and not text.isdecimal():
        return int.from_bytes(text.encode())
    try:
        return int(text, 0)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is no application id: write a number, or its four letters"
        ) from None


def workers(text: str) -> int:
    """How many processes the demo starts."""
    number = int(text) if text.isdecimal() and text.isascii() else 0
    if not 1 <= number <= _MOST_WORKERS:
        raise ArgumentTypeError(f"must be a number from 1 to {_MOST_WORKERS}")
    return number


def readable_bytes(number: int) -> str:
    """As `2.0 GB`; below 1,000 exactly."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 999.95:
            return f"{number} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1_000
    return f"{amount:.1f} TB"


def bar(number: int, most: int) -> str:
    """Of up to ten signs; what is not 0 has at least one."""
    return ("#" * -(-_BAR * number // most if most else 0)).ljust(_BAR)


def _split(text: str) -> tuple[float | None, str]:
    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", text)
    return (float(found[1]), found[2]) if found else (None, "")
