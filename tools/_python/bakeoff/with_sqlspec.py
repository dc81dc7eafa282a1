"""sqlspec: SQL files with a named block; foreign keys are on, as its configuration can have it."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from tools._python.bakeoff.tool import Run


class Adapter:
    """`migrate_up`, with strict ordering; a script that fails is printed and not raised."""

    distribution = "sqlspec"
    bookkeeping = ("ddl_migrations",)
    failure: str | None = "✗ Failed"

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        for name, text in scripts.items():
            sql = f"-- name: migrate-{name[:4]}-up\n{text}"
            (directory / self.file_of(name)).write_bytes(sql.encode())

    def file_of(self, name: str) -> str:
        return f"{name}.sql"

    def runner(self) -> Run:
        sqlite: Any = import_module("sqlspec.adapters.sqlite")

        def run(file: str, directory: str) -> None:
            config = sqlite.SqliteConfig(
                connection_config={"database": file, "enable_foreign_keys": True},
                migration_config={"script_location": directory, "strict_ordering": True},
            )
            config.migrate_up()
            config.close_pool()

        return run
