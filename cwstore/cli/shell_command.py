"""The command `shell`."""

from argparse import Namespace

from cwstore.core.drivers import engine_for


def shell(options: Namespace) -> int:
    """Let the user ask in SQL; 1 if what came through a pipe had an error in it."""
    shell = engine_for(options.path, "shell")
    code: int = shell.run_shell(
        options.path, write=options.write, application_id=options.application_id
    )
    return code
