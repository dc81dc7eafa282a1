"""A small past for migrations: two scripts, a file made by them, and looks behind the scenes."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from cwstore._apsw import open_connection
from cwstore.errors import MigrationError
from cwstore.migrations import migrate

PHASES = "CREATE TABLE phases (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;\n"
TASKS = """CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    phase_id INTEGER REFERENCES phases (id) ON DELETE CASCADE,
    owner TEXT NOT NULL DEFAULT 'nobody'
) STRICT;
CREATE INDEX tasks_phase_ix ON tasks (phase_id);
INSERT INTO phases (id, name) VALUES (1, 'build'), (2, 'test');
INSERT INTO tasks (id, phase_id) VALUES (1, 1), (2, 1), (3, 2);
"""
BASE = (PHASES, TASKS)


def scripts(parent: Path, *texts: str, names: tuple[str, ...] = ()) -> Path:
    """A new directory with these migrations, 0001_step.sql and on, or with these file names."""
    directory = parent / f"sql{sum(1 for _ in parent.glob('sql*'))}"
    directory.mkdir()
    for number, text in enumerate(texts, 1):
        name = names[number - 1] if names else f"{number:04}_step.sql"
        (directory / name).write_bytes(text.encode())
    return directory


def run(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """Do something to a file behind the back of cwstore."""
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = open_connection(str(file), flags)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def names_in(directory: Path) -> list[str]:
    """What lies in a directory, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def content(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All of a file: structure, version and every row of every table."""
    connection = open_connection(str(file))
    try:
        objects = connection.execute("SELECT * FROM sqlite_schema").fetchall()
        return {
            "": objects,
            "version": connection.execute("PRAGMA user_version").fetchall(),
            **{
                name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
                for kind, name, *_ in objects
                if kind == "table"
            },
        }
    finally:
        connection.close()


def made_by_base(parent: Path) -> Path:
    """A file at version 2 with phases and tasks; the scripts are in `sql0` beside it."""
    file = parent / "store.db"
    migrate(file, directory=scripts(parent, *BASE))
    return file


def refused(file: Path, *texts: str, directory: Path | None = None) -> str:
    """The message with which the migration on top of BASE is refused; nothing may be left."""
    before = content(file)
    with pytest.raises(MigrationError) as refusal:
        migrate(file, directory=directory or scripts(file.parent, *BASE, *texts))
    assert content(file) == before
    assert not (file.parent / f"{file.name}.migrating").exists()
    return str(refusal.value)
