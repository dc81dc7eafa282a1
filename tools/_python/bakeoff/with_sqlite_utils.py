"""sqlite-utils: a Python file with a function for each migration, each in a transaction.

The connection is the application's. One whose rows cascade has switched foreign keys on.
"""

from collections.abc import Mapping
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from tools._python.bakeoff.tool import Run

_HEAD = """from sqlite_utils import Migrations

migrations = Migrations("bakeoff")
"""
_FUNCTION = """

@migrations()
def {name}(db):
    db.executescript({text!r})
"""


class Adapter:
    """`Migrations.apply`; inside its transaction `executescript` does not commit."""

    distribution = "sqlite-utils"
    bookkeeping = ("_sqlite_migrations",)
    failure: str | None = None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        functions = (
            _FUNCTION.format(name=self.file_of(name), text=scripts[name])
            for name in sorted(scripts)
        )
        (directory / "migrations.py").write_text(_HEAD + "".join(functions), encoding="utf-8")

    def file_of(self, name: str) -> str:
        return f"m{name}"

    def runner(self) -> Run:
        sqlite_utils: Any = import_module("sqlite_utils")

        def run(file: str, directory: str) -> None:
            found: Any = spec_from_file_location("migrations", Path(directory) / "migrations.py")
            module: Any = module_from_spec(found)
            found.loader.exec_module(module)
            database = sqlite_utils.Database(file)
            database.execute("PRAGMA foreign_keys = ON")
            module.migrations.apply(database)

        return run
