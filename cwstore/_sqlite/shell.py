"""apsw's own shell on one of our files, for people who know SQL. By default it cannot write."""

import sys
from importlib import import_module
from typing import Any

import apsw

from cwstore._sqlite.apsw_types import Connection
from cwstore._sqlite.busy_handler import BUSY_TIMEOUT
from cwstore._sqlite.connection import connect, skip_checkpoint_on_close
from cwstore._sqlite.database_file import MEMORY, is_there, resolve
from cwstore._sqlite.look import connect_to_look
from cwstore.errors import StorageError
from cwstore.migrations.scripts import APPLICATION_ID, OURS

# Its type hints are partly unknown on Python 3.11.
_shell: Any = import_module("apsw.shell")

#: What a reader of the file must not set: it would write, or keep others from writing.
_NOT_FOR_READERS = {"journal_mode", "locking_mode", "query_only", "writable_schema"}


def run_shell(path: str, *, write: bool, application_id: int = APPLICATION_ID) -> int:
    """Read SQL and commands from standard input until it ends; the exit code.

    The file may have any version. Credentials are not shown: with `write` they are forbidden,
    since a NULL that is read might be written back; else they are NULL.
    """
    if _shell.Shell.__doc__ is None:  # it makes its help of docstrings
        raise StorageError(
            "apsw's shell needs the docstrings that -OO leaves out: run it without that, and"
            " without PYTHONOPTIMIZE=2"
        )
    file = resolve(path)
    if file == MEMORY or not is_there(file):
        raise StorageError(f"{file} is not there; give the path of a cwstore file")
    if write:
        connection = connect(
            file, busy_timeout=BUSY_TIMEOUT, create=False, application_id=application_id
        )
    else:
        connection = connect_to_look(file, busy_timeout=BUSY_TIMEOUT, application_id=application_id)
    try:
        if not write:
            connection.execute("PRAGMA query_only = ON")
            skip_checkpoint_on_close(connection, file)
        connection.set_authorizer(_writer_may if write else _reader_may)
        return _talk(connection, file, write)
    finally:
        connection.close()


def _writer_may(operation: int, table: str | None, column: str | None, *_: object) -> int:
    is_secret = operation == apsw.SQLITE_READ and (table, column) == OURS.hidden
    return apsw.SQLITE_DENY if is_secret else apsw.SQLITE_OK


def _reader_may(operation: int, name: str | None, value: str | None, *_: object) -> int:
    if operation == apsw.SQLITE_READ and (name, value) == OURS.hidden:
        return apsw.SQLITE_IGNORE
    sets = operation == apsw.SQLITE_PRAGMA and value is not None
    return apsw.SQLITE_DENY if sets and name in _NOT_FOR_READERS else apsw.SQLITE_OK


def _begin_without_a_lock(shell: Any) -> None:
    """`.dump` asks for the write lock, so that nothing changes meanwhile: a snapshot does that."""
    run = shell.process_sql

    def process_sql(sql: str, *others: object, **options: object) -> None:
        run("BEGIN" if sql == "BEGIN IMMEDIATE" else sql, *others, **options)

    shell.process_sql = process_sql


def _talk(connection: Connection, file: str, write: bool) -> int:
    shell = _shell.Shell(db=connection)
    if not write:
        _begin_without_a_lock(shell)
    if not shell.interactive:
        shell.bail = True  # the first error ends it, and is told by the exit code
    may = "you can change it" if write else "read only; --write lets you change it"
    try:
        shell.cmdloop(f'{file}: {may}. ".help" for help, ".exit" to leave.\n')
    except SystemExit as leave:
        return leave.code if isinstance(leave.code, int) else 0
    except (apsw.Error, _shell.Shell.Error):  # the shell has told what it is
        return 1
    sys.stdout.flush()
    return 0
