"""What the scenarios ask of a tool."""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

Run = Callable[[str, str], None]


class Tool(Protocol):
    """One way to apply migrations, by the interface that its documentation shows."""

    #: Of the package in the index.
    distribution: str
    #: How the names of its own tables begin.
    bookkeeping: tuple[str, ...]
    #: What it prints where it fails without raising anything.
    failure: str | None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        """Lay the scripts, by names such as 0001_step, into an empty directory, in its form."""
        ...

    def file_of(self, name: str) -> str:
        """What the file or function of a script is called there."""
        ...

    def runner(self) -> Run:
        """Import the tool; what is returned migrates a file by a directory. In a child only."""
        ...


#: Each of these modules has a class Adapter.
MODULES = {
    "cwstore": "tools._python.bakeoff.with_cwstore",
    "sqlite-utils": "tools._python.bakeoff.with_sqlite_utils",
    "fastmigrate": "tools._python.bakeoff.with_fastmigrate",
    "yoyo": "tools._python.bakeoff.with_yoyo",
    "sqlspec": "tools._python.bakeoff.with_sqlspec",
}


def load(module: str) -> Tool:
    """The adapter of a module."""
    adapter: Tool = import_module(module).Adapter()
    return adapter


def version_of(tool: Tool) -> str:
    """The version that is installed."""
    try:
        return version(tool.distribution)
    except PackageNotFoundError:
        return "not installed"
