"""Hooks of apsw that the application has set: they are for its connections, not for ours.

apsw calls every function in `apsw.connection_hooks` with each new connection of the process. Those
of `apsw.bestpractice` switch it to WAL and optimise it before it is known whose file it is, and
traces of an application would change the rows that we read.
"""

from collections.abc import Generator, Iterator
from threading import local
from typing import Any

import apsw

from cwstore.core.blocks import block

_here = local()


class _HooksOfOthers(list[Any]):
    """The list as it was; it looks empty to a thread that opens a connection of ours."""

    def __iter__(self) -> Iterator[Any]:
        return iter(()) if getattr(_here, "opens_ours", False) else super().__iter__()


@block
def without_hooks() -> Generator[None]:
    """Open a connection in this block, and no hook is called with it."""
    hooks: list[Any] = apsw.connection_hooks
    if hooks and not isinstance(hooks, _HooksOfOthers):
        apsw.connection_hooks = _HooksOfOthers(hooks)
    _here.opens_ours = True
    try:
        yield
    finally:
        _here.opens_ours = False
