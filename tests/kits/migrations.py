"""A small past for migrations: two scripts, a file made by them, and looks behind the scenes.

What a migration does can be asked for in two ways, `by_call` and `by_command`; see `faces`.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from cwstore._sqlite.apsw_types import open_connection
from cwstore._sqlite.schema.target import SqliteTarget
from cwstore.core.lexer import quoted
from cwstore.core.reports import MigrationReport
from cwstore.errors import CwstoreError
from cwstore.migrations import runner
from cwstore.migrations.api import migrate
from cwstore.migrations.scripts import load
from tests.kits.engine import assert_ours_alone

ROOT = Path(__file__).resolve().parents[2]

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

# A parent table with everything on it, and how it is rebuilt in 12 steps.
REBUILD = """
DROP VIEW named;
CREATE TABLE phases_new (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    parent_id INTEGER REFERENCES phases_new (id) ON DELETE CASCADE,
    CONSTRAINT phases_name_ck CHECK (name <> '')
) STRICT;
INSERT INTO phases_new (id, name, parent_id) SELECT id, name, parent_id FROM phases;
DROP TABLE phases;
ALTER TABLE phases_new RENAME TO phases;
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""
FURNISHED = """
ALTER TABLE phases ADD COLUMN parent_id INTEGER REFERENCES phases (id) ON DELETE CASCADE;
UPDATE phases SET parent_id = 1 WHERE id = 2;
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""


class Answer(NamedTuple):
    """What a run came to."""

    error: str  #: its class; "" if all went well
    message: str
    report: dict[str, Any]


Face = Callable[[Path, Path], Answer]


def by_call(file: Path, directory: Path) -> Answer:
    """`cwstore.migrate`; an error brings nothing of apsw along."""
    try:
        return Answer("", "", asdict(migrate(file, directory=directory)))
    except CwstoreError as error:
        assert_ours_alone(error)
        return Answer(type(error).__name__, str(error), {})


def by_command(file: Path, directory: Path) -> Answer:
    """`cwstore migrate`; an error is exit code 1, JSON, and one line without a traceback."""
    done = command(file, directory)
    out, err = done.communicate()
    told = json.loads(out)
    if done.returncode == 0:
        assert err == ""
        return Answer("", "", told)
    error = told["error"]
    assert (done.returncode, err) == (1, f"cwstore: {error['message']}\n")
    return Answer(error["type"], error["message"], {})


def command(file: Path, directory: Path) -> "subprocess.Popen[str]":
    """`cwstore migrate --json`, on its way."""
    return subprocess.Popen(
        [sys.executable, "-m", "cwstore", "migrate", file, "--directory", directory, "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


faces = pytest.mark.parametrize("face", [by_call, by_command])


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


def upgrade(
    connection: Any,
    file: Path,
    *,
    directory: Path | None = None,
    target: int | None = None,
    busy_timeout: float = 5.0,
) -> MigrationReport:
    """Migrate on a connection that goes on afterwards."""
    database = SqliteTarget(connection, str(file), busy_timeout)
    return runner.upgrade(database, load(directory), target=target)


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
                name: connection.execute(f"SELECT * FROM {quoted(name)}").fetchall()
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


def refused(
    file: Path,
    *texts: str,
    directory: Path | None = None,
    face: Face = by_call,
    error: str = "MigrationError",
) -> str:
    """The message with which the migration on top of BASE is refused; nothing may be left."""
    before = content(file)
    answer = face(file, directory or scripts(file.parent, *BASE, *texts))
    assert answer.error == error
    assert content(file) == before
    assert not (file.parent / f"{file.name}.migrating").exists()
    return answer.message
