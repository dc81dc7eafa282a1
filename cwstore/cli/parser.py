"""The command line: arguments in, exit code out.

The codes are 0: done, 1: refused or failed, 2: wrong usage, 130: Ctrl-C.
"""

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from cwstore.cli import terminal
from cwstore.errors import CwstoreError

Command = Callable[[Namespace], int]

_MOST_WORKERS = 64
#: The module of each command. It is imported on use, so a command loads only what it needs.
_MODULES = {
    "migrate": "migration_commands",
    "status": "migration_commands",
    "rehearse": "migration_commands",
    "check": "upkeep_commands",
    "backup": "upkeep_commands",
    "stats": "upkeep_commands",
    "demo": "demo_command",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; None takes the arguments of this process. Wrong usage exits with 2."""
    options = _parser().parse_args(arguments)
    return run("cwstore", _command(options.command), options)


def run(program: str, command: Command, options: Namespace) -> int:
    """Run a command and return its exit code. An expected error becomes one line."""
    try:
        code = command(options)
        sys.stdout.flush()
    except CwstoreError as error:
        return _fail(program, error, str(error), options)
    except BrokenPipeError:
        # The reader of our output has closed it. Python would complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return _fail(program, error, about, options)
    except KeyboardInterrupt as stop:
        text = str(stop) or "stopped; what was not finished was rolled back"
        terminal.complain(program, text)
        return 130
    return code


def _fail(program: str, error: Exception, message: str, options: Namespace) -> int:
    if options.json:
        terminal.print_json({"error": {"type": type(error).__name__, "message": message}})
    terminal.complain(program, message)
    return 1


def _command(name: str) -> Command:
    module = import_module(f"cwstore.cli.{_MODULES[name]}")
    return cast(Command, getattr(module, name))


# What is accepted


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="cwstore", description="Look after a cwstore file.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help: str) -> ArgumentParser:
        added = commands.add_parser(name, help=help, description=help)
        added.set_defaults(command=name)
        added.add_argument("--json", action="store_true", help="print JSON, for programs")
        if name != "demo":
            added.add_argument("path", metavar="PATH", help="the cwstore file")
        return added

    migrate = add("migrate", "Bring a file to the newest version, or make a new one.")
    status = add("status", "Show the version of a file and what is pending.")
    rehearse = add("rehearse", "Run the pending migrations on a copy of the file.")
    for command in (migrate, status, rehearse):
        command.add_argument("--directory", metavar="DIR", help="scripts of another database")
    for command in (migrate, rehearse):
        command.add_argument("--target", type=int, metavar="N", help="stop at this version")
    migrate.add_argument(
        "--no-backup", dest="backup", action="store_false", help="do not copy the file first"
    )
    add("check", "Look for damage, broken references and schema drift.")
    backup = add("backup", "Copy a file that may be in use; the copy is verified.")
    backup.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help="the copy, which must not exist yet (default: PATH.<time in UTC>.bak)",
    )
    add("stats", "Show rows and bytes of each table, and which processes read from the log.")
    demo = add("demo", "Let worker processes carry out a plan, then check the result.")
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
        raise ArgumentTypeError(f"must be a number from 1 to {_MOST_WORKERS}")
    return number
