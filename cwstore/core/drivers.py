"""Which engine opens an address. The layers above reach an engine only through this module."""

from importlib import import_module
from types import ModuleType

from cwstore.errors import StorageError

_POSTGRESQL = ("postgresql://", "postgres://")


def shown(address: str) -> str:
    """The address as messages may show it: without a password."""
    if not address.startswith(_POSTGRESQL):
        return address
    return str(import_module("cwstore._postgres.address").parse(address).name)


def engine_for(address: object, part: str = "engine") -> ModuleType:
    """The module `part` of the engine for this address, imported on use.

    All engines name their modules alike. An address that no engine could open is not refused here:
    the engine does that. Raises StorageError if PostgreSQL has no such part, or lacks its driver.
    """
    if not (isinstance(address, str) and address.startswith(_POSTGRESQL)):
        return import_module(f"cwstore._sqlite.{part}")
    try:
        return import_module(f"cwstore._postgres.{part}")
    except ModuleNotFoundError as error:
        missing = str(error.name)
    if missing.startswith("cwstore."):
        raise StorageError(f"what takes `{part}` of an engine is not there for PostgreSQL yet")
    raise StorageError(f"PostgreSQL takes the package {missing}: pip install 'cwstore[postgres]'")
