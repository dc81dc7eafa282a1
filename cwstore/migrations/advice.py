"""What to do when only a backup helps: the command to run."""

import os

from cwstore.migrations.scripts import OURS, Program


def how_to_restore(program: Program, file: str, newest: int | None = None) -> str:
    """As "restore a backup: `cwstore restore BACKUP FILE`", with the newest one beside the file.

    With `newest`, the newest that was made before a migration from that version or an older one; an
    extension counts its own versions. Opens nothing.
    """
    if not os.path.isabs(file) or program.application_id != OURS.application_id:
        return "restore a backup"  # in memory, or a file that the command does not take
    from shlex import quote

    backups = sorted(_backups_beside(file, None if program.extension else newest))
    backup = quote(backups[-1][1]) if backups else "BACKUP"
    return f"restore a backup: `cwstore restore {backup} {quote(file)}`"


def _backups_beside(file: str, newest: int | None) -> list[tuple[int, str]]:
    """The time and the path of each."""
    folder, name = os.path.split(file)
    found: list[tuple[int, str]] = []
    try:
        for entry in os.scandir(folder):
            end = entry.name.removeprefix(f"{name}.")
            if end == entry.name or not end.endswith(".bak"):
                continue
            version = end[1:-4]  # of "v12.bak"
            if newest is None or (version.isdecimal() and int(version) <= newest):
                found.append((entry.stat().st_mtime_ns, entry.path))
    except OSError:  # the folder may not be read, or a backup is removed just now
        pass
    return found
