"""What the commands print: tables and progress, through rich on a terminal, else as plain text."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from typing import Any, TextIO

#: Says how far a job is: done, of how many, and a note.
Report = Callable[[float, float, str], None]

_INTERVAL = 0.1  # seconds between two redrawings of a plain progress line


def say(text: str, stream: TextIO | None = None) -> None:
    """Print one line, to standard output if no stream is given."""
    out = sys.stdout if stream is None else stream
    print(clean(text, out), file=out)


def complain(program: str, text: str) -> None:
    """Print what went wrong to standard error, as one line: line breaks become spaces."""
    say(f"{program}: {' '.join(text.split())}", sys.stderr)


def print_json(value: Any) -> None:
    """Print a report, or plain data."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    print(json.dumps(plain, indent=2))


def clean(text: str, stream: TextIO) -> str:
    """The text with escapes for what the stream cannot encode and for control characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. All columns but the first hold numbers, and are aligned to the right."""
    out = sys.stdout
    rows = [[clean(cell, out) for cell in row] for row in rows]
    say(title)
    if not (out.isatty() and _has_rich()):
        _plain_table(columns, rows)
        return
    from rich.box import ROUNDED
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=ROUNDED, show_header=any(columns))
    for index, column in enumerate(columns):
        grid.add_column(column, justify="right" if index else "left")
    for row in rows:
        grid.add_row(*row)
    Console(file=out, markup=False, emoji=False, highlight=False).print(grid)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    lines = [columns, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines if any(columns) else rows:
        first, *others = line
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  " + "  ".join(cells).rstrip())


@contextmanager
def progress(what: str) -> Generator[Report]:
    """Show a bar on standard error while the block runs, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield _ignore
    elif _has_rich():
        with _rich_bar(what) as report:
            yield report
    else:
        line = _Line(what, sys.stderr)
        try:
            yield line.report
        finally:
            line.wipe()


@contextmanager
def _rich_bar(what: str) -> Generator[Report]:
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=30),
        bars.TextColumn("{task.fields[note]}", markup=False),
        bars.TimeElapsedColumn(),
    )
    screen = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
    with bars.Progress(*columns, console=screen, transient=True) as bar:
        job = bar.add_task(what, total=None, note="")

        def report(done: float, total: float, note: str) -> None:
            bar.update(job, completed=done, total=total, note=clean(note, sys.stderr))

        yield report


class _Line:
    """One line of text, redrawn in place."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self._what = what
        self._stream = stream
        self._drawn = float("-inf")

    def report(self, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        if now - self._drawn < _INTERVAL and done < total:
            return
        self._drawn = now
        share = done / total if total else 1
        self._draw(clean(f"{self._what}: {share:4.0%}  {note}", self._stream))

    def wipe(self) -> None:
        self._draw("")
        self._stream.write("\r")
        self._stream.flush()

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width))
        self._stream.flush()


def _ignore(done: float, total: float, note: str) -> None:
    """Standard error is no terminal: show nothing."""


def _has_rich() -> bool:
    return find_spec("rich") is not None
