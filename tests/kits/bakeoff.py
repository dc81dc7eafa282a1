"""A tool for tools/bakeoff that does what one writes in an afternoon."""

from collections.abc import Mapping
from pathlib import Path

import apsw

from cwstore._sqlite.apsw_types import open_connection
from tools._python.bakeoff.tool import Run


class Adapter:
    distribution = "apsw"
    bookkeeping = ("none",)
    failure: str | None = None

    def write(self, directory: Path, scripts: Mapping[str, str]) -> None:
        for name, text in scripts.items():
            (directory / name).write_text(text)

    def file_of(self, name: str) -> str:
        return name

    def runner(self) -> Run:
        return migrate


def migrate(file: str, directory: str) -> None:
    connection = open_connection(file, apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
    for number, path in enumerate(sorted(Path(directory).iterdir()), 1):
        if number > connection.pragma("user_version"):
            connection.execute(path.read_text()).fetchall()
            connection.pragma("user_version", number)
    connection.close()
