"""Standard output and error may be closed, full, or read by nobody: then the exit code tells."""

import errno
import os
import sys
from collections.abc import Callable
from typing import TextIO, cast

from cwstore.cli import terminal


def with_output(program: str, act: Callable[[], int]) -> int:
    """The exit code of `act`, which prints; 1 instead of 0 if what it printed went nowhere."""
    was_open = _fill_in_closed()
    try:
        return _settled(program, act(), was_open)
    except SystemExit as end:  # argparse has printed help, or what is wrong
        raise SystemExit(_settled(program, cast(int, end.code), was_open)) from None


def _settled(program: str, code: int, was_open: bool) -> int:
    problem = _flush(sys.stdout) if was_open else os.strerror(errno.EBADF)
    if problem and not code:
        code = 1
        if problem != os.strerror(errno.EPIPE):  # whoever reads has read enough
            say_if_possible(program, lost_output(problem))
    _flush(sys.stderr)
    return code


def lost_output(problem: str) -> str:
    """What to say where standard output does not take what is printed."""
    return f"cannot write to standard output: {problem}; send it to a file that can be written"


def say_if_possible(program: str, text: str) -> None:
    """Print one line to standard error, if that takes it."""
    try:
        terminal.complain(program, text)
    except OSError:
        pass


def _fill_in_closed() -> bool:
    """Put the null device where a stream is closed; whether standard output was open.

    Else the next file that is opened would get its number, and what is printed would go there.
    """
    was_open = cast("TextIO | None", sys.stdout) is not None
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    return was_open


def _flush(stream: TextIO) -> str:
    """Write out what is buffered; "" or why that fails. Then the rest goes to the null device.

    Python would try it again when it ends, complain, and exit with 120.
    """
    try:
        stream.flush()
        return ""
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return os.strerror(error.errno or errno.EIO)
