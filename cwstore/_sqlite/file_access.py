"""What lets a user use a file: messages tell it."""

import os


def how_to_permit(file: str) -> str:
    """What lets this user read and write the file: the command, if one does."""
    from shlex import quote  # what no process needs that may use its file

    if os.statvfs(file).f_flag & os.ST_RDONLY:
        return (
            "its file system is mounted read-only: mount it to write, or open the store to read"
            " (`read_only=True`)"
        )
    mine = os.geteuid()
    owner = os.stat(file).st_uid
    if owner == mine:
        return f"run: chmod u+rw {quote(file)}"
    return f"it belongs to {_name(owner)}: run as that user, or: sudo chown {mine} {quote(file)}"


def _name(user: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
