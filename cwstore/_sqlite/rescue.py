"""Saves what a store sees when its log cannot be moved into the file any more.

Somebody has removed the log of an open store, and somebody else has opened the file since: that
made another log. To move both into the file would mix them. What was acknowledged before the log
was removed lies in a file without a name then, which is gone as soon as the store is closed.
"""

from typing import TYPE_CHECKING

from cwstore._sqlite.backup import write_backup
from cwstore._sqlite.database_file import RESCUED, free_name
from cwstore.core.log import ERROR, log
from cwstore.errors import CwstoreError

if TYPE_CHECKING:
    from cwstore._sqlite.apsw_types import Connection


def rescue(connection: "Connection", file: str, busy_timeout: float) -> None:
    """Copy what the connection sees to a new file beside the database. Logs its name, or why not.

    Raises nothing of the disk or of SQLite: the store closes in any case.
    """
    try:
        made = write_backup(connection, free_name(file, RESCUED), busy_timeout=busy_timeout)
    except CwstoreError as error:
        log(
            ERROR,
            "%s: its log was removed and another lies in its place; what this store had committed"
            " since the last checkpoint is lost with it, since it could not be copied: %s",
            file,
            error,
        )
        return
    log(
        ERROR,
        "%s: its log was removed and another lies in its place; what this store saw is in %s now:"
        " take from there what the file lacks, or `cwstore restore %s %s`",
        file,
        made.path,
        made.path,
        file,
    )
