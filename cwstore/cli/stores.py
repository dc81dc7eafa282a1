"""Open the file that a command works on. These commands neither make a file nor migrate one."""

import os
from typing import TYPE_CHECKING, cast

from cwstore.core.drivers import engine_for, is_address, shown
from cwstore.errors import MigrationError, StorageError
from cwstore.migrations.advice import options_of
from cwstore.migrations.scripts import Program

if TYPE_CHECKING:
    from argparse import Namespace

    from cwstore.core.database import Database
    from cwstore.core.port import Engine, OpenDatabase
    from cwstore.store import Store


def open_store(path: str, *, to_read: bool, advice: str = "") -> "Store":
    """The store of a file that is up to date; `advice` where there is no file.

    With `to_read` for users who can only read, and on standbys, too.
    """
    from cwstore.store import Store

    _refuse_missing_or_old(path, Program(), advice)
    return Store.open(path, read_only=to_read and _may_only_read(path))


def open_program(options: "Namespace", *, to_read: bool) -> "Database":
    """As `open_store`, but the file may be of another program."""
    from cwstore.core.database import Database

    program = program_of(options)
    if program == Program():
        return open_store(options.path, to_read=to_read)
    _refuse_missing_or_old(options.path, program)
    return Database.open(
        options.path,
        migrations=options.directory,
        application_id=program.application_id,
        read_only=to_read and _may_only_read(options.path),
    )


def program_of(options: "Namespace") -> Program:
    """The program that the options name."""
    return Program(options.directory, options.application_id)


def open_database(path: str) -> "OpenDatabase":
    """The database of such a file, to read what no method of a store does."""
    _refuse_missing_or_old(path, Program())
    engine = cast("Engine", engine_for(path))
    return engine.open_database(
        path,
        clock=None,
        busy_timeout=5.0,
        durable=False,
        backup=True,
        on_progress=None,
        read_only=_may_only_read(path),
    )


def _may_only_read(path: str) -> bool:
    if is_address(path):  # it may be a standby
        return True
    files = engine_for(path, "database_file")
    return bool(files.may_only_read(files.resolve(path)))


def _refuse_missing_or_old(path: str, program: "Program", advice: str = "") -> None:
    from cwstore.migrations.api import status

    found = status(path, directory=program.directory, application_id=program.application_id)
    if not is_address(path) and not os.path.exists(found.path):
        raise StorageError(f"{found.path} is not there; give the path of a cwstore file{advice}")
    if found.pending:
        this = f"this {program.name.removeprefix('the ')}"
        raise MigrationError(
            f"{found.path} has version {found.version}, {this} works on {found.newest}:"
            f" run `cwstore migrate {shown(path)}{options_of(program)}` first"
        )
