"""Open the file that a command works on. These commands neither make a file nor migrate one."""

import os
from typing import TYPE_CHECKING, cast

from cwstore.core.drivers import engine_for
from cwstore.errors import MigrationError, StorageError

if TYPE_CHECKING:
    from cwstore.core.port import Engine, OpenDatabase
    from cwstore.store import Store


def open_store(path: str) -> "Store":
    """The store of a file that is there and up to date."""
    from cwstore.store import Store

    _refuse_missing_or_old(path)
    return Store.open(path)


def open_database(path: str) -> "OpenDatabase":
    """The database of such a file, for what is not a method of a store."""
    _refuse_missing_or_old(path)
    engine = cast("Engine", engine_for(path))
    return engine.open_database(
        path, clock=None, busy_timeout=5.0, durable=False, backup=True, on_progress=None
    )


def _refuse_missing_or_old(path: str) -> None:
    from cwstore.migrations.api import status

    found = status(path)
    if not os.path.exists(found.path):
        raise StorageError(f"{found.path} is not there; give the path of a cwstore file")
    if found.pending:
        raise MigrationError(
            f"{found.path} has version {found.version}, this cwstore works on {found.newest}:"
            f" run `cwstore migrate {path}` first"
        )
