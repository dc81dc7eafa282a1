"""fastmigrate: SQL files that bring their own transaction, as its documentation advises."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tools._python.bakeoff.scripts import FOREIGN_KEYS_OFF
from tools._python.bakeoff.tool import Run


class Adapter:
    """`create_db` and `run_migrations`, which prints what is wrong and returns False."""

    distribution = "fastmigrate"
    bookkeeping = ("_meta",)
    failure: str | None = None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        for name, text in scripts.items():
            rebuilds = text.startswith(FOREIGN_KEYS_OFF)
            before = f"{FOREIGN_KEYS_OFF}BEGIN;\n" if rebuilds else "BEGIN;\n"
            sql = f"{before}{text.removeprefix(FOREIGN_KEYS_OFF)}COMMIT;\n"
            (directory / self.file_of(name)).write_bytes(sql.encode())

    def file_of(self, name: str) -> str:
        return f"{name.replace('_', '-', 1)}.sql"

    def runner(self) -> Run:
        fastmigrate: Any = import_module("fastmigrate")

        def run(file: str, directory: str) -> None:
            fastmigrate.create_db(file)
            if not fastmigrate.run_migrations(file, directory):
                raise SystemExit(1)

        return run
