"""The command `shell`."""

from argparse import Namespace

from cwstore.core.drivers import engine_for


def shell(options: Namespace) -> int:
    """Let the user ask in SQL; 1 if what came through a pipe had an error in it."""
    code: int = engine_for(options.path, "shell").run_shell(options.path, write=options.write)
    return code
