"""What to do when only a backup helps: the command to run."""

import os
import re

from cwstore.migrations.scripts import APPLICATION_ID, Program

#: How the name of a backup before a migration ends: "store.db.v12.bak", before one of an extension
#: "store.db.v17-billing-2.bak". An expression.
BACKUP = r"v(?P<version>\d+)(-(?P<extension>[a-z0-9]+)-(?P<its_version>\d+))?\.bak"


def options_of(program: Program) -> str:
    """The options by which a command knows the program, each after a space; "" for cwstore."""
    from shlex import quote

    directory = program.host if program.extension else program.directory
    number = program.application_id
    return (f" --directory {quote(os.fspath(directory))}" if directory is not None else "") + (
        f" --application-id {number:#x}" if number != APPLICATION_ID else ""
    )


def how_to_restore(program: Program, file: str, newest: int | None = None) -> str:
    """As "restore a backup: `cwstore restore BACKUP FILE`", with the newest one beside the file.

    With `newest`, the newest that was made before a migration from that version or an older one; an
    extension counts its own versions. Opens nothing.
    """
    if not os.path.isabs(file):
        return "restore a backup"  # in memory, or on a server
    from shlex import quote

    backups = sorted(_backups_beside(file, program.extension, newest))
    backup = quote(backups[-1][2]) if backups else "BACKUP"
    return f"restore a backup: `cwstore restore {backup} {quote(file)}{options_of(program)}`"


def _backups_beside(file: str, extension: str, newest: int | None) -> list[tuple[bool, int, str]]:
    """Those that may serve: whether its name says so, the time, and the path of each."""
    folder, name = os.path.split(file)
    found: list[tuple[bool, int, str]] = []
    try:
        for entry in os.scandir(folder):
            end = entry.name.removeprefix(f"{name}.")
            if end == entry.name or not end.endswith(".bak"):
                continue
            serves = newest is None or _serves(end, extension, newest)
            if serves is not False:
                found.append((bool(serves), entry.stat().st_mtime_ns, entry.path))
    except OSError:  # the folder may not be read, or a backup is removed just now
        pass
    return found


def _serves(end: str, extension: str, newest: int) -> bool | None:
    """Whether a backup whose name ends so has no newer version; None: its name does not say."""
    made = re.fullmatch(BACKUP, end)
    if not extension:
        return made is not None and int(made["version"]) <= newest
    if made is None or made["extension"] != extension:
        return None
    return int(made["its_version"]) <= newest
