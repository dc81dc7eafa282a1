"""Which engine opens an address. The layers above reach an engine only through this module."""

from importlib import import_module
from types import ModuleType


def engine_for(address: object, part: str = "engine") -> ModuleType:
    """The module `part` of the engine for this address, imported on use.

    All engines name their modules alike. An address that no engine could open is not refused here:
    the engine does that.
    """
    del address  # so far there is one engine
    return import_module(f"cwstore._sqlite.{part}")
