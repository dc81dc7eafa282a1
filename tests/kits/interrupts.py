"""Ctrl-C at a chosen step of our own code."""

import contextlib
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from cwstore._postgres import connection

CODE = str(Path(sys.modules["cwstore"].__file__ or "").parent)
_OURS = (CODE, contextlib.__file__)  # what we call of contextlib is Python, too
# They stand in the place of psycopg's own, and run under its lock: moments of psycopg.
_OF_PSYCOPG = {
    connection.Connection.wait.__code__,
    connection._Pipeline._exit_gen.__code__,
    connection._watched.__code__,
}


def is_ours(frame: FrameType, places: str | tuple[str, ...] = CODE) -> bool:
    """Whether it runs code of cwstore, or of what else lies in these places."""
    return frame.f_code.co_filename.startswith(places) and frame.f_code not in _OF_PSYCOPG


class CtrlC:
    """Raises KeyboardInterrupt where CPython looks for signals: when one of our functions begins,
    and when it has called one that is written in C. `at` is how many such moments pass before.

    The exception is held as long as this is, with all that it refers to. No garbage is collected
    meanwhile: in the `__del__` of what another test left, Python would swallow the exception.
    """

    def __init__(self, at: int) -> None:
        self.left = at
        self.held: KeyboardInterrupt | None = None

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in {"call", "c_return"} or not is_ours(frame, _OURS):
            return
        self.left -= 1
        if self.left < 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    def within(self, work: Callable[[], object]) -> bool:
        """Whether the work was interrupted; False: it has fewer steps than that."""
        gc.disable()
        sys.setprofile(self)
        try:
            work()
        except KeyboardInterrupt as error:
            self.held = error
            return True
        finally:
            sys.setprofile(None)
            gc.enable()
        return False
