"""What entities, services and engines share: no driver, no table."""

from typing import Any, TypeVar

__all__ = ["public", "publish"]

Kind = TypeVar("Kind", bound=type)


def publish(module: dict[str, Any]) -> None:
    """Let the classes in a module's `__all__` name `cwstore` as theirs: in repr, help and pickles.

    `module` is its globals. Annotations that are written as text cannot be read afterwards.
    """
    for name in module["__all__"]:
        public(module[name])


def public(kind: Kind) -> Kind:
    """As `publish`, for one class.

    `inspect.getsource` looks for a class in the file of the module that it names, and finds none.
    Since Python 3.13 it trusts the line that the class knows, and would show other lines of that
    file: so the class forgets its line. Sources of methods are found.
    """
    kind.__module__ = "cwstore"
    if "__firstlineno__" in vars(kind):
        type.__delattr__(kind, "__firstlineno__")
    return kind
