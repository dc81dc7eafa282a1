"""What the commands print: tables and bars by rich on a terminal, else plain text without bars."""

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import datetime
from importlib.util import find_spec
from threading import Timer
from typing import TYPE_CHECKING, Any, TextIO

from cwstore.core.watching import watched_by

if TYPE_CHECKING:
    from rich.text import Text

#: Says how far a job is: done, of how many (0: unknown), and a note.
Report = Callable[[float, float, str], None]

_ID = re.compile(r"  [^ ]+")  # as the end of a line has it
_SHOWN_AFTER = 1.0  # seconds

#: Parts of one line, each with its style, which only a terminal shows.
Line = list[tuple[str, str]]


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
    print(to_json(plain, indent=2))


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Plain data as JSON; times as ISO 8601."""
    return json.dumps(value, indent=indent, default=datetime.isoformat)


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
    name, *numbers = columns
    grid.add_column(name, overflow="fold")  # nothing is cut
    for column in numbers:
        grid.add_column(column, justify="right", no_wrap=True)
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


def print_lines(lines: Iterable[Line]) -> None:
    """Print lines; on a terminal in colours, and cut to its width, but for an id at the end."""
    out = sys.stdout
    if not (out.isatty() and _has_rich()):
        for line in lines:
            print("".join(clean(text, out) for text, _ in line), file=out)
        return
    from rich.console import Console
    from rich.text import Text

    screen = Console(file=out, markup=False, emoji=False, highlight=False)
    for line in lines:
        parts = [Text(clean(part, out), style) for part, style in line]
        for text in _fitted(parts, screen.width):
            screen.print(text, no_wrap=True, overflow="ellipsis", crop=True)


def _fitted(parts: "list[Text]", width: int) -> "Iterator[Text]":
    """The line; if it is too long, its id stays whole: people type it. It may take a line alone."""
    from rich.text import Text

    whole = Text.assemble(*parts)
    if whole.cell_len <= width or not _ID.fullmatch(parts[-1].plain):
        yield whole
        return
    end = parts[-1]
    before = Text.assemble(*parts[:-1])
    if before.cell_len and width < 3 * end.cell_len:
        yield from (before, end)
        return
    before.truncate(width - end.cell_len, overflow="ellipsis")
    yield before + end


def clear() -> None:
    """Begin a new screen; where there is none, a line of dashes."""
    out = sys.stdout
    out.write("\x1b[H\x1b[2J" if out.isatty() else "---\n")
    out.flush()


@contextmanager
def progress(what: str) -> Generator[Report]:
    """Show a bar on standard error while the block runs, if standard error is a terminal.

    It comes after a second. It goes as far as the block reports, or what the block calls tells (see
    `core.watching`), and only moves to and fro where nobody knows how far that is.
    """
    can_draw = os.environ.get("TERM") not in ("dumb", "unknown")
    if can_draw and sys.stderr.isatty() and _has_rich():
        with _rich_bar(what) as report, watched_by(report):
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
        bars.TaskProgressColumn(),
        bars.TextColumn("{task.fields[note]}", markup=False),
        bars.TimeElapsedColumn(),
    )
    screen = Console(file=sys.stderr, markup=False, emoji=False, highlight=False)
    bar = bars.Progress(*columns, console=screen, transient=True)
    job = bar.add_task(what, total=None, note="")

    def report(done: float, total: float, note: str) -> None:
        bar.update(job, completed=done, total=total or None, note=clean(note, sys.stderr))

    appears = Timer(_SHOWN_AFTER, bar.start)
    appears.start()
    try:
        yield report
    finally:
        appears.cancel()
        appears.join()
        if bar.live.is_started:
            bar.stop()


def _ignore(done: float, total: float, note: str) -> None:
    """Nobody watches, or rich is not there: show nothing."""


def _has_rich() -> bool:
    return find_spec("rich") is not None
