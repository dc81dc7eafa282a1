"""What the commands print: tables and bars by rich on a terminal, else plain text without bars."""

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from importlib.util import find_spec
from typing import Any, TextIO

#: Says how far a job is: done, of how many, and a note.
Report = Callable[[float, float, str], None]


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
    """Show a bar on standard error while the block runs, if standard error is a terminal.

    A block that does not say how far it is gets a bar that only moves.
    """
    if sys.stderr.isatty() and _has_rich():
        with _rich_bar(what) as report:
            yield report
    else:
        yield _ignore


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


def _ignore(done: float, total: float, note: str) -> None:
    """Nobody watches, or rich is not there: show nothing."""


def _has_rich() -> bool:
    return find_spec("rich") is not None
