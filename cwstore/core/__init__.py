"""What entities, services and engines share: no driver, no table."""

from typing import Any

__all__ = ["publish"]


def publish(module: dict[str, Any]) -> None:
    """Let the classes in a module's `__all__` name `cwstore` as theirs: in repr, help and pickles.

    `module` is its globals. Annotations that are written as text cannot be read afterwards.
    """
    for name in module["__all__"]:
        module[name].__module__ = "cwstore"
