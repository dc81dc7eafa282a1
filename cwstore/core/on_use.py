"""Modules that are imported when something of them is first asked for."""

from importlib import import_module

from cwstore.core.faults import loading
from cwstore.errors import ConflictError, ConflictReason


class on_use:
    """A module of ours; to a type checker it is the module itself.

    What was asked for once is an attribute, and costs no more than one of a module. Raises
    StorageError where Python cannot read the module, and ConflictError where this thread is in the
    midst of loading it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        found = loaded(self._name, attribute, attribute)
        setattr(self, attribute, found)
        return found


def loaded(name: str, attribute: str, what: str) -> object:
    """Of that module; messages speak of loading `what`."""
    with loading(what):
        module = import_module(name)
    found: object = getattr(module, attribute, None)
    if found is None:
        raise ConflictError(
            f"this thread is in the midst of loading `{what}`, which a signal handler or a"
            " finalizer has interrupted; nothing was done: do it after that call",
            reason=ConflictReason.TRANSACTION,
        )
    return found
