"""What cwstore itself keeps beside a database: `<file>-turn`, `<file>-changes`, `<file>.migrating`.

Whoever may use the database may use them, as it is with the log that SQLite keeps: the users of one
group that share a store wait in one queue, and one goes on where a process of the other was killed.
"""

import os
import stat
from contextlib import suppress

_FLAGS = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW


def open_side_file(name: str, file: str) -> int:
    """A descriptor of it; it is made if it is not there. Raises OSError."""
    descriptor = os.open(name, _FLAGS, 0o600)
    with suppress(OSError):  # then it stays its owner's alone
        _share_as(file, descriptor)
    return descriptor


def _share_as(file: str, descriptor: int) -> None:
    """Give it owner, group and mode of the database, as far as this user may."""
    wanted, found = os.stat(file), os.fstat(descriptor)
    me = os.geteuid()
    if me not in (0, found.st_uid):
        return  # whoever made it has done so
    owner = wanted.st_uid if me == 0 else found.st_uid
    if (owner, wanted.st_gid) != (found.st_uid, found.st_gid):
        os.fchown(descriptor, owner, wanted.st_gid)
    mode = stat.S_IMODE(wanted.st_mode) & 0o666
    if mode != stat.S_IMODE(found.st_mode):
        os.fchmod(descriptor, mode)
