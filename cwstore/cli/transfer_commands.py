"""The commands `export` and `import`. Each prints, and returns its exit code."""

import os
import sys
from argparse import Namespace
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from shlex import quote
from tempfile import TemporaryFile, gettempdir
from typing import TYPE_CHECKING, TextIO

from cwstore.cli import terminal
from cwstore.cli.stores import open_store
from cwstore.core.drivers import is_address, shown
from cwstore.errors import NotFoundError, StorageError

if TYPE_CHECKING:
    from cwstore.core.reports import ImportReport


def export(options: Namespace) -> int:
    """Write an initiative to a file, or to standard output."""
    if options.output == "-":
        options.output = None
    lines = 0
    with open_store(options.path, to_read=True) as store, terminal.progress("Exporting") as bar:
        found = store.export_initiative(options.initiative, logs=options.logs)
        try:
            first = next(found)  # before a file is made
        except NotFoundError as error:
            place = quote(shown(options.path))
            raise NotFoundError(
                f"{error}; `cwstore show {place}` lists the initiatives",
                table=error.table,
                id=error.id,
            ) from None
        with _output(options.output) as out:
            out.write(first)
            for lines, line in enumerate(found, start=1):
                out.write(line)
                bar(lines, 0, f"{lines:,} lines")
    if options.output is None:
        return 0
    if options.json:
        terminal.print_json({"path": options.output, "rows": lines - 1})
    else:
        terminal.say(
            f"{options.output}: {lines - 1:,} rows. Accounts and credentials are not in it."
        )
    return 0


@contextmanager
def _output(path: str | None) -> Generator[TextIO, None, None]:
    """A new file that its owner alone can read, removed if it is not finished; or the output."""
    if path is None:
        yield sys.stdout
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror}; give the name of a new file"
        ) from None
    with open(descriptor, "w", encoding="ascii") as out:
        try:
            yield out
        except BaseException:
            os.unlink(path)
            raise


def import_(options: Namespace) -> int:
    """Read an initiative from a file, or from standard input."""
    new = f"`cwstore migrate {quote(options.path)}`"
    with (
        open_store(options.path, to_read=False, advice=f"; {new} makes a new one") as store,
        terminal.progress("Importing") as bar,
        _input(options.file, options.path) as lines,
    ):
        size = 0 if options.file == "-" else os.stat(options.file).st_size
        counted = _counted(lines, size, bar)
        report = store.import_initiative(counted, on_conflict=options.on_conflict)
    if options.json:
        terminal.print_json(report)
    else:
        _show(report)
    return 0


@contextmanager
def _input(path: str, store: str) -> Generator[Iterable[str], None, None]:
    if path == "-":
        with _received(store) as lines:
            yield lines
        return
    try:
        # What is no text is told by the import, with its line.
        lines = open(path, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}; give another path") from None
    with lines:
        yield lines


def _received(store: str) -> TextIO:
    """All of standard input, in a file without a name: beside the store if that is a file.

    An import holds the write lock, and whoever sends may be slow.
    """
    directory = gettempdir() if is_address(store) else os.path.dirname(os.path.abspath(store))
    try:
        lines = TemporaryFile(  # noqa: SIM115 (who reads closes it)
            "w+", encoding="utf-8", errors="surrogateescape", dir=directory
        )
    except OSError as error:
        raise _cannot_keep(directory, error) from None
    try:
        lines.writelines(sys.stdin)
        lines.seek(0)
    except BaseException as error:
        with suppress(OSError):  # it cannot write what is still in its buffer
            lines.close()
        if not isinstance(error, OSError):
            raise
        failed = error
    else:
        return lines
    raise _cannot_keep(directory, failed)


def _cannot_keep(directory: str, error: OSError) -> StorageError:
    return StorageError(
        f"cannot keep what comes from standard input in {directory}: {error.strerror}; make room"
        " there, or import a file"
    )


def _counted(lines: Iterable[str], size: int, bar: terminal.Report) -> Iterator[str]:
    read = 0
    for number, line in enumerate(lines, start=1):
        yield line
        read += len(line)  # as many bytes: an export is ASCII
        bar(read, size, f"{number:,} lines")


def _show(report: "ImportReport") -> None:
    rows = sorted({*report.rows, *report.skipped})
    terminal.table(
        f"{report.name}  {report.initiative_id}",
        ("table", "stored", "there already"),
        [(one, f"{report.rows.get(one, 0):,}", f"{report.skipped.get(one, 0):,}") for one in rows],
    )
    for agent, name in report.agents_renamed.items():
        terminal.say(f"agent {agent} is called {name} here: its name was taken.")
    if report.references_dropped:
        terminal.say(
            f"References that lead to what is neither in the file nor here (an account, another"
            f" initiative's task) were left out: {report.references_dropped:,}."
        )
