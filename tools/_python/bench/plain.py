"""The file of a user who has no cwstore: the rows of one of cwstore's, in a plain schema."""

from pathlib import Path
from typing import Any

import apsw

DDL = Path(__file__).resolve().parents[2] / "_data" / "plain.sql"


def tables_of(connection: Any) -> list[str]:
    """All tables but SQLite's own, in the order in which they were made."""
    text = "SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY rowid"
    return [name for (name,) in connection.execute(text) if not name.startswith("sqlite_")]


def build(seed: Path, file: Path) -> None:
    """Copy the rows of a file of cwstore's, each table in the order in which it was filled."""
    connection: Any = apsw.Connection(str(file))
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute(DDL.read_text(encoding="utf-8"))
        connection.execute("ATTACH ? AS seed", (str(seed),))
        connection.execute("BEGIN")
        for table in tables_of(connection):
            names = connection.execute("SELECT name FROM pragma_table_info(?)", (table,)).fetchall()
            columns = ", ".join(name for (name,) in names)
            order = "ORDER BY created_at" if "created_at" in columns else ""
            connection.execute(
                f"INSERT INTO {table} ({columns}) SELECT {columns} FROM seed.{table} {order}"
            )
        connection.execute("COMMIT")
    finally:
        connection.close()
