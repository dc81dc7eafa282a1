"""yoyo: SQL files, cut into statements by sqlparse; a row of a table is its lock."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tools._python.bakeoff.tool import Run


class Adapter:
    """`apply_migrations(to_apply(...))` under its lock."""

    distribution = "yoyo-migrations"
    bookkeeping = ("_yoyo", "yoyo_")
    failure: str | None = None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        for name, text in scripts.items():
            (directory / self.file_of(name)).write_bytes(text.encode())

    def file_of(self, name: str) -> str:
        return f"{name}.sql"

    def runner(self) -> Run:
        yoyo: Any = import_module("yoyo")

        def run(file: str, directory: str) -> None:
            backend = yoyo.get_backend(f"sqlite:///{file}")
            migrations = yoyo.read_migrations(directory)
            with backend.lock():
                backend.apply_migrations(backend.to_apply(migrations))

        return run
