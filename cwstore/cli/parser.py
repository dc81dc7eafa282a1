"""The command line: arguments in, exit code out.

The codes are 0: done, 1: refused or failed, 2: wrong usage, 3: `status --exit-code` found something
pending, 130: Ctrl-C.
"""

import os
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, cast

from cwstore import __version__
from cwstore.cli import terminal
from cwstore.cli.output import lost_output, say_if_possible, with_output
from cwstore.cli.values import application_id, count, duration, size, workers
from cwstore.core.drivers import shown
from cwstore.errors import CwstoreError, InvalidValueError
from cwstore.migrations.scripts import APPLICATION_ID

#: Second arguments that a command needs.
_REQUIRED = ("initiative", "file")

_SHIELD = "\0"  # no argument of a process can hold it
_DASHED_ID = re.compile(r"-[A-Za-z0-9_-]{20}")  # longer than every option

Command = Callable[[Namespace], int]

#: The variable that names the file where PATH is left out.
PATH_VARIABLE = "CWSTORE_PATH"

#: Where the function of each command is. It is imported on use: a command loads only what it needs.
_FUNCTIONS = {
    "migrate": "migration_commands.migrate",
    "status": "migration_commands.status",
    "rehearse": "migration_commands.rehearse",
    "new": "migration_commands.new",
    "show": "show_command.show",
    "report": "report_command.report",
    "check": "upkeep_commands.check",
    "backup": "upkeep_commands.backup",
    "restore": "upkeep_commands.restore",
    "stats": "upkeep_commands.stats",
    "prune": "upkeep_commands.prune",
    "compact": "upkeep_commands.compact",
    "export": "transfer_commands.export",
    "import": "transfer_commands.import_",
    "shell": "shell_command.shell",
    "demo": "demo_command.demo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; None takes the arguments of this process."""
    return with_output("cwstore", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    given = sys.argv[1:] if arguments is None else arguments
    hidden: dict[str, str] = {}
    options = parser.parse_args([_shielded(argument, hidden) for argument in given])
    if options.version:
        return run("cwstore", _print_version, options)
    if options.completion:
        return run("cwstore", _print_completion, options)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    _fill_in_path(options, hidden)
    return run("cwstore", _command(options.command), options)


def _shielded(argument: str, hidden: dict[str, str]) -> str:
    """The argument as argparse may take it, and show it.

    An id may begin with a dash, and is no option for that: `_an_id` takes the shield off. `hidden`
    gets the address that had a password, by what is left of it.
    """
    if "://" in argument:
        try:
            without = shown(argument)
        except InvalidValueError:
            without = f"{argument.partition('://')[0]}://…"
        hidden[without] = argument
        return without
    return f"{_SHIELD}{argument}" if _DASHED_ID.fullmatch(argument) else argument


def _an_id(text: str) -> str:
    return text.removeprefix(_SHIELD)


def run(program: str, command: Command, options: Namespace) -> int:
    """Run a command and return its exit code. An expected error becomes one line."""
    try:
        code = command(options)
    except CwstoreError as error:
        return _fail(program, error, str(error), options)
    except BrokenPipeError:  # the reader of our output has closed it
        return 1
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else None
        return _fail(program, error, about or lost_output(error.strerror or str(error)), options)
    except KeyboardInterrupt as stop:
        text = str(stop) or "stopped; what was not finished was rolled back"
        say_if_possible(program, text)
        return 130
    return code


def _fail(program: str, error: Exception, message: str, options: Namespace) -> int:
    say_if_possible(program, message)
    if options.json:
        with suppress(OSError):  # `with_output` tells of it
            terminal.print_json({"error": {"type": type(error).__name__, "message": message}})
    return 1


def _command(name: str) -> Command:
    module, _, function = _FUNCTIONS[name].partition(".")
    return cast(Command, getattr(import_module(f"cwstore.cli.{module}"), function))


def _print_version(options: Namespace) -> int:
    """Print the version of the program and of its newest schema."""
    from cwstore.migrations.scripts import load

    del options
    terminal.say(f"cwstore {__version__}, schema version {len(load())}")
    return 0


def _print_completion(options: Namespace) -> int:
    """Print the script that completes arguments in a shell."""
    try:
        shtab: Any = import_module("shtab")  # it has no types
    except ImportError:
        terminal.complain("cwstore", "completion needs shtab: pip install 'cwstore[cli]'")
        return 1
    print(shtab.complete(make_parser(), shell=options.completion))
    return 0


# What is accepted


def _fill_in_path(options: Namespace, hidden: dict[str, str]) -> None:
    """Take PATH from the environment where it was left out. Wrong usage exits with 2.

    A single argument of a command that may have two is PATH if there is such a file, or if it is an
    address. If the command needs the second one, it is that. What of an address was `hidden` comes
    back.
    """
    if options.takes_path:
        _fill_in(options)
    options.path = hidden.get(options.path, options.path)


def _fill_in(options: Namespace) -> None:
    named = os.environ.get(PATH_VARIABLE)
    second: str | None = options.second
    is_alone = second is not None and options.path and getattr(options, second) is None
    must = second in _REQUIRED
    if second and is_alone and named and (must or not _is_there(options.path)):
        setattr(options, second, _an_id(options.path))
        options.path = None
    if options.path is None:
        options.path = named
    if not options.path:
        options.parser.error(
            f"PATH is missing: give the path of the cwstore file, or set {PATH_VARIABLE}"
        )
    if second and must and getattr(options, second) is None:
        options.parser.error(f"{second.upper()} is missing")


def _is_there(path: str) -> bool:
    return "://" in path or os.path.lexists(path)


class _Parser(ArgumentParser):
    """argparse passes over help that it cannot write to an output without a buffer."""

    def print_help(self, file: Any = None) -> None:
        if file is not None:
            super().print_help(file)
        elif code := run("cwstore", self._write_help, Namespace(json=False)):
            self.exit(code)

    def _write_help(self, options: Namespace) -> int:
        del options
        sys.stdout.write(self.format_help())
        return 0


def make_parser() -> ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(
        prog="cwstore",
        description="Look after a cwstore file.",
        epilog=f"Where PATH is left out, the environment variable {PATH_VARIABLE} names the file."
        " Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 something is pending"
        " (`status --exit-code`), 130 Ctrl-C.",
    )
    parser.set_defaults(json=False, command=None, path=None)
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.add_argument(
        "--completion",
        choices=["bash", "zsh", "tcsh"],
        help="print a script that completes arguments in that shell",
    )
    commands = parser.add_subparsers(metavar="COMMAND")

    def add(name: str, help: str, *, path: bool = True, second: str | None = None) -> Any:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(command=name, parser=added, takes_path=path, second=second)
        added.add_argument("--json", action="store_true", help="print JSON, for programs")
        if path:
            added.add_argument(
                "path",
                nargs="?",
                metavar="PATH",
                help="the cwstore file, or postgresql://user@host/database",
            )
        return added

    _add_show(add)
    _add_migrations(add)
    _add_upkeep(add)
    _add_others(add)
    return parser


def _add_show(add: Callable[..., Any]) -> None:
    show = add("show", "Show what is going on: all initiatives, or one thing.", second="id")
    show.add_argument(
        "id",
        nargs="?",
        type=_an_id,
        metavar="ID",
        help="an initiative (its phases and tasks), a phase, a task, or an agent",
    )
    show.add_argument(
        "--graph", choices=["mermaid", "dot"], help="the plan of an initiative, to be drawn"
    )
    show.add_argument("--watch", action="store_true", help="again after each change, until Ctrl-C")
    report = add("report", "Draw a page of HTML: plans, attempts, logs, accounts.")
    report.add_argument(
        "-o",
        "--output",
        default="report.html",
        metavar="FILE",
        help="a new file, or an earlier report; - prints it (default: report.html)",
    )


def _add_migrations(add: Callable[..., Any]) -> None:
    migrate = add("migrate", "Bring a file to the newest version, or make a new one.")
    status = add("status", "Show the version of a file and what is pending.")
    rehearse = add("rehearse", "Try the pending migrations on a copy; on a server undo them.")
    for command in (migrate, status, rehearse):
        _add_program(command)
    for command in (migrate, rehearse):
        command.add_argument("--target", type=int, metavar="N", help="stop at this version")
    migrate.add_argument(
        "--no-backup", dest="backup", action="store_false", help="do not copy the file first"
    )
    status.add_argument(
        "--exit-code", action="store_true", help="exit with 3 if a migration is pending"
    )
    new = add("new", "Begin a migration: write the script with the next number.", path=False)
    new.add_argument("name", metavar="NAME", help="what it does, in snake_case")
    new.add_argument("--directory", metavar="DIR", help="where it goes, if not into cwstore's own")


def _add_program(command: Any) -> None:
    """Whose file it is, if not one of cwstore."""
    command.add_argument("--directory", metavar="DIR", help="scripts of another database")
    command.add_argument(
        "--application-id",
        type=application_id,
        default=APPLICATION_ID,
        metavar="ID",
        help="the number, or its four letters, that marks the files of another program",
    )


def _add_upkeep(add: Callable[..., Any]) -> None:
    check = add("check", "Look for damage, broken references and schema drift.")
    backup = add("backup", "Copy a file that may be in use; the copy is verified.", second="target")
    backup.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="the copy, which must not exist yet (default: PATH.<time in UTC>.bak)",
    )
    restore = add("restore", "Put a verified copy of a backup in the place of a file.", path=False)
    restore.set_defaults(takes_path=True)
    restore.add_argument("backup", metavar="BACKUP", help="the backup, which stays as it is")
    restore.add_argument(
        "path", nargs="?", metavar="PATH", help="the file; what is there is kept beside it"
    )
    stats = add(
        "stats", "Show rows and bytes of each table, and which processes read from the log."
    )
    prune = add("prune", "Delete old sessions of agents' logs, and give their space back.")
    prune.add_argument(
        "--older-than", type=duration, metavar="30d", help="last written to longer ago (h, d, w)"
    )
    prune.add_argument(
        "--keep-sessions", type=count, metavar="N", help="all but the newest N of each agent"
    )
    prune.add_argument(
        "--max-size", type=size, metavar="2GB", help="the oldest, until the rest fits"
    )
    prune.add_argument("--dry-run", action="store_true", help="only say what would go")
    compact = add("compact", "Give the space of deleted rows back to the file system.")
    for command in (check, backup, restore, stats, compact):
        _add_program(command)


def _add_others(add: Callable[..., Any]) -> None:
    export = add("export", "Write an initiative and all that hangs on it.", second="initiative")
    export.add_argument(
        "initiative", nargs="?", type=_an_id, metavar="INITIATIVE", help="its id: see `show`"
    )
    export.add_argument(
        "-o", "--output", metavar="FILE", help="a new file (default, and -: print it)"
    )
    export.add_argument("--logs", action="store_true", help="with the logs of its agents")
    load = add("import", "Read what export wrote, all of it or nothing.", second="file")
    load.add_argument("file", nargs="?", metavar="FILE", help="- reads standard input")
    load.add_argument(
        "--on-conflict",
        choices=["error", "skip"],
        default="error",
        help="of what is there already: refuse it all, or keep that and add the rest",
    )
    shell = add("shell", "Ask in SQL: apsw's own shell on the file, which it only reads.")
    _add_program(shell)
    shell.add_argument("--write", action="store_true", help="let it change the file")
    demo = add("demo", "Let worker processes carry out a plan, then check the result.", path=False)
    demo.add_argument("path", nargs="?", metavar="PATH", help="default: a new temporary file")
    demo.add_argument("--backlog", metavar="FILE", help="issues to work on, one a line as JSON")
    demo.add_argument(
        "--workers", type=workers, default=4, metavar="N", help="processes (default: 4)"
    )
