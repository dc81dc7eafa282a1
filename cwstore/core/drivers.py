"""Which engine opens an address. The layers above reach an engine only through this module."""

from importlib import import_module
from types import ModuleType

_POSTGRESQL = ("postgresql://", "postgres://")


def engine_for(address: object, part: str = "engine") -> ModuleType:
    """The module `part` of the engine for this address, imported on use.

    All engines name their modules alike. An address that no engine could open is not refused here:
    the engine does that.
    """
    engine = "_sqlite"
    if isinstance(address, str) and address.startswith(_POSTGRESQL):
        engine = "_postgres"
    return import_module(f"cwstore.{engine}.{part}")
