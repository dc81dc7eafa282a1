"""The command `report`: one page of HTML to look at."""

import os
import sys
from argparse import Namespace
from contextlib import closing
from datetime import UTC, datetime

from cwstore._overview.page import FIRST_LINE, page
from cwstore._overview.reading import read_board, read_log_volume, read_summary
from cwstore.cli import terminal
from cwstore.cli.stores import open_database
from cwstore.core.drivers import is_address, shown
from cwstore.errors import StorageError


def report(options: Namespace) -> int:
    """Write the page, or print it; a report that is there already is replaced."""
    target = options.output
    if target != "-":
        _refuse_other_file(target)
    now = datetime.now(UTC)
    with (
        terminal.progress("Drawing"),
        closing(open_database(options.path)) as database,
        database.snapshot("report") as db,
    ):
        summary = read_summary(db)
        boards = [read_board(db, initiative) for initiative in summary.initiatives]
        volume = read_log_volume(db)
    text = "".join(page(_title(options.path), summary, boards, volume, now))
    if target == "-":
        sys.stdout.write(text)
        return 0
    _write(target, text)
    size = os.stat(target).st_size
    if options.json:
        terminal.print_json({"path": target, "bytes": size})
    else:
        terminal.say(f"{target}: {size:,} bytes; open it in a browser.")
    return 0


def _title(path: str) -> str:
    return shown(path) if is_address(path) else os.path.basename(path)


def _refuse_other_file(path: str) -> None:
    """Replace nothing but an earlier report."""
    try:
        with open(path, "rb") as stream:
            if stream.read(len(FIRST_LINE)) == FIRST_LINE.encode():
                return
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; give another path") from None
    raise StorageError(f"{path} exists and is no report of cwstore; give another path")


def _write(path: str, text: str) -> None:
    draft = f"{path}.{os.getpid()}.tmp"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(draft, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; give another path") from None
