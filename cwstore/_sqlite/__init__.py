"""The apsw engine: the only place that imports apsw."""

from importlib import import_module

try:
    import_module("fcntl")
except ImportError:
    from cwstore.errors import StorageError

    raise StorageError(
        "this system has no file locks of the kind that cwstore needs (Python's fcntl): use Linux,"
        " macOS, or on Windows the Windows Subsystem for Linux"
    ) from None
