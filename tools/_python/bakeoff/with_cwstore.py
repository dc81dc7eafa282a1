"""cwstore: plain SQL files; the runner switches foreign keys off, so a script may not."""

from collections.abc import Mapping
from pathlib import Path

from tools._python.bakeoff.scripts import FOREIGN_KEYS_OFF
from tools._python.bakeoff.tool import Run


class Adapter:
    """`cwstore.migrate`."""

    distribution = "cwstore"
    bookkeeping = ("schema_migrations",)
    failure: str | None = None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        for name, text in scripts.items():
            sql = text.removeprefix(FOREIGN_KEYS_OFF)
            (directory / self.file_of(name)).write_bytes(sql.encode())

    def file_of(self, name: str) -> str:
        return f"{name}.sql"

    def runner(self) -> Run:
        from cwstore.migrations.api import migrate

        return lambda file, directory: print(migrate(file, directory=directory))
