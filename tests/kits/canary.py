"""What an error tells, the variables of its frames included: a secret must be in none of it."""

import traceback
from collections.abc import Iterator
from pathlib import Path
from pprint import pformat

from rich.pretty import pretty_repr

import cwstore

CANARY = "canary-6f1d0e4c"
_PACKAGE = str(Path(cwstore.__file__).parent)


def told_by(error: BaseException) -> str:
    """Messages, attributes and notes of the whole chain, and what its frames in cwstore hold."""
    told: list[str] = []
    for one in chain_of(error):
        told += [f"{one!s} {one!r} {one.args!r} {vars(one)!r}", *traceback.format_exception(one)]
        told += _variables(one)
    return "\n".join(told)


def chain_of(error: BaseException) -> list[BaseException]:
    """It, and all that it was raised from or while handling, shown or not."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and one not in found:
            found.append(one)
            waiting += [one.__cause__, one.__context__]
    return found


def _variables(error: BaseException) -> Iterator[str]:
    """As debuggers, crash reports and rich show them; not those of the test itself."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename.startswith((_PACKAGE, "<string>")):
            for name, value in frame.f_locals.items():
                yield f"{frame.f_code.co_qualname}: {name} = {value!r}"
                yield pretty_repr(value, max_string=80)
                yield pformat(value)
