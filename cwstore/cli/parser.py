"""The command line. It exits with 0: done, 1: refused or failed, 2: wrong usage, 130: Ctrl-C."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from cwstore.cli import terminal as _console
from cwstore.errors import CwstoreError, MigrationError, StorageError

if TYPE_CHECKING:
    from cwstore.core.reports import Progress, Step
    from cwstore.store import Store

Arguments = argparse.Namespace

_MOST_WORKERS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; None takes the arguments of this process. Wrong usage exits with 2."""
    options = _parser().parse_args(arguments)
    return run("cwstore", cast(Callable[[Arguments], int], options.run), options)


def run(program: str, command: Callable[[Arguments], int], options: Arguments) -> int:
    """The exit code of a command; whatever it raises on purpose becomes one line that says it."""
    try:
        code = command(options)
        sys.stdout.flush()
    except CwstoreError as error:
        return _fail(program, error, str(error), options)
    except BrokenPipeError:
        # Who read the output has left. Nothing more may be written at exit, or Python complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(program, error, about, options)
    except KeyboardInterrupt as stop:
        text = str(stop) or "stopped; whatever was not finished was rolled back"
        _console.complain(program, text)
        return 130
    return code


def _fail(program: str, error: Exception, message: str, options: Arguments) -> int:
    if options.json:
        print_json({"error": {"type": type(error).__name__, "message": message}})
    _console.complain(program, message)
    return 1


# What is accepted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cwstore", description="Look after a cwstore file.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[Arguments], int], help: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(run=command)
        added.add_argument("--json", action="store_true", help="print JSON, for programs")
        if name != "demo":
            added.add_argument("path", metavar="PATH", help="the cwstore file")
        return added

    migrate = add("migrate", _migrate, "Bring a file to the newest version, or make a new one.")
    status = add("status", _status, "Show the version of a file and what is pending.")
    rehearse = add("rehearse", _rehearse, "Run the pending migrations on a copy of the file.")
    for command in (migrate, status, rehearse):
        command.add_argument("--directory", metavar="DIR", help="scripts of another database")
    for command in (migrate, rehearse):
        command.add_argument("--target", type=int, metavar="N", help="stop at this version")
    migrate.add_argument(
        "--no-backup", dest="backup", action="store_false", help="do not copy the file first"
    )
    add("check", _check, "Look for damage, broken references and schema drift.")
    backup = add("backup", _backup, "Copy a file that may be in use; the copy is verified.")
    backup.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="the copy, which must not exist yet (default: PATH.<time in UTC>.bak)",
    )
    add("stats", _stats, "Show rows and bytes of each table, and who holds up the log.")
    demo = add("demo", _demo, "Let worker processes carry out a plan, and look that all is right.")
    demo.add_argument("path", nargs="?", metavar="PATH", help="default: a new temporary file")
    demo.add_argument("--backlog", metavar="FILE", help="issues to work on, one a line as JSON")
    demo.add_argument(
        "--workers", type=_workers, default=4, metavar="N", help="processes (default: 4)"
    )
    return parser


def _workers(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {_MOST_WORKERS}")
    return number


# Commands


def _migrate(options: Arguments) -> int:
    from cwstore.migrations.api import migrate

    with _console.progress("Migrating") as report:
        done = migrate(
            options.path,
            directory=options.directory,
            target=options.target,
            backup=options.backup,
            on_progress=_to_bar(report),
        )
    if options.json:
        print_json(done)
        return 0
    if done.steps:
        _steps(f"Migrated in {done.seconds:.2f} s", done.steps)
    if done.backup is not None:
        _console.say(f"Backup: {done.backup}")
    _console.say(f"{options.path} has version {done.version}; {_count(done.steps)} applied.")
    return 0


def _status(options: Arguments) -> int:
    from cwstore.migrations.api import status

    found = status(options.path, directory=options.directory)
    if options.json:
        print_json(found)
        return 0
    rows = [
        ("version", f"{found.version} of {found.newest}"),
        ("usable by code from version", str(found.compatible_from)),
        ("size", f"{found.size:,} bytes" if os.path.exists(found.path) else "no file yet"),
        ("backup before migrating", found.backup or "none"),
        ("pending migrations", str(len(found.pending))),
    ]
    _console.table(found.path, ("", ""), rows)
    for name in found.pending:
        _console.say(f"pending: {name}")
    if found.pending and found.version:
        given = f" --directory {options.directory}" if options.directory else ""
        _console.say(f"`cwstore rehearse {options.path}{given}` shows what they would do.")
    return 0


def _rehearse(options: Arguments) -> int:
    from cwstore.migrations.api import rehearse

    with _console.progress("Rehearsing") as report:
        done = rehearse(
            options.path,
            directory=options.directory,
            target=options.target,
            on_progress=_to_bar(report),
        )
    if options.json:
        print_json(done)
        return 0
    if done.steps:
        _steps(f"Rehearsed on a copy in {done.seconds:.2f} s", done.steps)
    for violation in done.violations or ("none leads nowhere",):
        _console.say(f"foreign keys: {violation}")
    _console.say(
        f"{options.path} was not touched. It would go from version {done.version_before} to"
        f" {done.version}, from {done.size_before:,} to {done.size:,} bytes."
    )
    return 0


def _check(options: Arguments) -> int:
    from cwstore._sqlite.inspection import check_file

    report = check_file(options.path)
    if options.json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        for problem in (*report.integrity, *report.foreign_keys, *report.drift):
            _console.say(problem)
        if report.ok:
            _console.say(f"{options.path}: whole, and as its version says.")
    if not report.ok:
        _console.complain("cwstore", f"{options.path} has the problems listed; restore a backup")
    return 0 if report.ok else 1


def _backup(options: Arguments) -> int:
    target = options.target
    if target is None:
        target = f"{options.path}.{datetime.now(UTC):%Y%m%dT%H%M%SZ}.bak"
    with _open_existing(options.path) as store:
        store.backup(target)
    size = os.stat(target).st_size
    if options.json:
        print_json({"path": target, "bytes": size})
    else:
        _console.say(f"{target}: {size:,} bytes, verified.")
    return 0


def _stats(options: Arguments) -> int:
    with _open_existing(options.path) as store:
        found = store.stats()
    if options.json:
        print_json(found)
        return 0
    rows = [(t.name, f"{t.rows:,}", f"{t.bytes:,}", f"{t.index_bytes:,}") for t in found.tables]
    _console.table(options.path, ("table", "rows", "bytes", "bytes of indexes"), rows)
    _console.say(
        f"Version {found.version}; {found.file_bytes:,} bytes in the file ({found.free_bytes:,}"
        f" free) and {found.wal_bytes:,} in its write-ahead log ({found.wal_pending_bytes:,} of"
        " them not moved into the file yet)."
    )
    for reader in found.readers:
        _console.say(
            f"Process {reader.pid} ({reader.process or 'unknown'}) holds a snapshot of the file."
        )
    return 0


def _demo(options: Arguments) -> int:
    from cwstore._demo.report import show
    from cwstore._demo.run import run_demo

    with _console.progress("Demo") as bar:
        report = run_demo(
            options.path, backlog=options.backlog, workers=options.workers, on_progress=bar
        )
    if options.json:
        print_json({"ok": report.ok, **asdict(report)})
    else:
        show(report)
    if not report.ok:
        problems = "; ".join(report.problems)
        _console.complain("cwstore", f"the demo found what must not be: {problems}")
    return 0 if report.ok else 1


# What several commands need


def _open_existing(path: str) -> "Store":
    """A store that is there and up to date: looking at a file neither makes nor migrates it."""
    from cwstore.migrations.api import status
    from cwstore.store import Store

    found = status(path)
    if not os.path.exists(found.path):
        raise StorageError(f"{found.path} is not there; give the path of a cwstore file")
    if found.pending:
        raise MigrationError(
            f"{found.path} has version {found.version}, this cwstore works on {found.newest}:"
            f" run `cwstore migrate {path}` first"
        )
    return Store.open(path)


def _to_bar(report: _console.Report) -> "Callable[[Progress], None]":
    def show(at: "Progress") -> None:
        share = at.statement / at.of_statements if at.of_statements else 1.0
        report(
            at.migration - 1 + share,
            at.of_migrations,
            f"migration {at.migration} of {at.of_migrations}: {at.name},"
            f" statement {at.statement} of {at.of_statements}, {at.seconds:.1f} s",
        )

    return show


def _steps(title: str, steps: "Sequence[Step]") -> None:
    rows = [(s.name, str(s.statements), f"{s.rows_changed:,}", f"{s.seconds:.3f}") for s in steps]
    _console.table(title, ("migration", "statements", "rows changed", "seconds"), rows)


def _count(steps: "Sequence[Step]") -> str:
    return "1 migration" if len(steps) == 1 else f"{len(steps)} migrations"


def print_json(value: Any) -> None:
    """Print a report, or plain data."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    print(json.dumps(plain, indent=2))
