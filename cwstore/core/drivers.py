"""Which engine opens an address. The layers above reach an engine only through this module."""

from importlib import import_module
from types import ModuleType

from cwstore.errors import InvalidValueError, StorageError

_POSTGRESQL = ("postgresql", "postgres")
#: Parts that PostgreSQL lacks because tools of its own do that.
_DONE_BY = {
    "restore": "pg_restore, or pgBackRest and the like",
    "shell": "psql",
}


def is_address(path: object) -> bool:
    """Whether it names a database on a server, and no file. Raises InvalidValueError."""
    if not isinstance(path, str) or "://" not in path:
        return False
    scheme = path.partition("://")[0]
    if scheme in _POSTGRESQL:
        return True
    if "/" in scheme:
        return False
    # Not repeated: somebody else's address has a password in it, too.
    raise InvalidValueError("path", "take the path of a file, or postgresql://user@host/database")


def shown(address: str) -> str:
    """The address as messages may show it: without a password. Raises InvalidValueError."""
    if not is_address(address):
        return address
    return str(import_module("cwstore._postgres.address").parse(address).name)


def engine_for(address: object, part: str = "engine") -> ModuleType:
    """The module `part` of the engine for this address, imported on use.

    All engines name their modules alike. An address that no engine could open is not refused here:
    the engine does that. Raises StorageError if PostgreSQL has no such part, or lacks its driver,
    and InvalidValueError for the address of something else.
    """
    if not is_address(address):
        return import_module(f"cwstore._sqlite.{part}")
    try:
        return import_module(f"cwstore._postgres.{part}")
    except ModuleNotFoundError as error:
        missing = str(error.name)
    if missing.startswith("cwstore."):
        if part in _DONE_BY:
            name = shown(str(address))
            raise StorageError(f"{name}: PostgreSQL has tools for that: {_DONE_BY[part]}")
        raise StorageError(f"what takes `{part}` of an engine is not there for PostgreSQL yet")
    raise StorageError(f"PostgreSQL takes the package {missing}: pip install 'cwstore[postgres]'")
