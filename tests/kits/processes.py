"""Processes that migrate, told when to begin, and scripts that keep them busy for a while."""

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cwstore.migrations.api import status
from tests.kits.migrations import ROOT, run

FIRST = "CREATE TABLE rows (id INTEGER PRIMARY KEY, note TEXT);"


def filling(number: int, rows: int) -> str:
    """A script of three statements that takes a while; afterwards there are `rows` rows more."""
    return f"""
    CREATE TABLE made{number} (id INTEGER PRIMARY KEY);
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
    INSERT INTO rows (note) SELECT 'text ' || i FROM n;
    UPDATE rows SET note = note || '!';
    """


# Waits for a line, migrates, and tells each step: `started 0002_step 1`, then `applied N`.
CHILD = """
import sys
from cwstore._sqlite.connection import connect
from cwstore._sqlite.schema.target import SqliteTarget
from cwstore.migrations.runner import upgrade
from cwstore.migrations.scripts import load

def tell(progress):
    print("started", progress.name, progress.statement, flush=True)

file, directory = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
connection = connect(file, busy_timeout=0.5)
connection.create_scalar_function("inside", lambda: print("inside", flush=True) or 1, 0)
database = SqliteTarget(connection, file, 0.5)
try:
    report = upgrade(database, load(directory), on_progress=tell)
    print("applied", len(report.applied), report.version, flush=True)
except KeyboardInterrupt:
    print("interrupted", connection.in_transaction, connection.pragma("foreign_keys"), flush=True)
finally:
    database.close()
"""


def add(directory: Path, *texts: str) -> None:
    for text in texts:
        (directory / f"{sum(1 for _ in directory.iterdir()) + 1:04}_step.sql").write_text(text)


@contextmanager
def child(*arguments: object, program: str = CHILD) -> Generator[subprocess.Popen[str]]:
    """A process that runs the program; it is ended at the latest with the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def give_up_rights() -> None:
    """From here on this process may do what the permissions of its user say, root's too.

    Root stays the owner of its files, so that the project and what it imports later stay in reach
    wherever it was cloned to.
    """
    if os.geteuid() == 0:
        version, this_thread, nothing = 0x20080522, 0, bytes(24)
        assert ctypes.CDLL(None).capset(struct.pack("Ii", version, this_thread), nothing) == 0


def read_until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout
    for told in process.stdout:
        if told.strip() == line:
            return
    raise AssertionError(f"the child ended without saying {line!r}")


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def left_beside(file: Path) -> list[str]:
    """The names in the folder of the file, but for the scripts.

    Of connections that close at one moment none is the last to SQLite: the log stays, with the note
    whose it is, until somebody has the file open alone.
    """
    return sorted(path.name for path in file.parent.iterdir() if path.name != "sql")


def slow_scripts(directory: Path) -> None:
    add(directory, *(filling(number, 20_000) for number in range(3)))


def check_between_nothing(file: Path, directory: Path) -> int:
    """The version of a file that a migration was killed on, if it is whole."""
    version = status(file, directory=directory).version
    assert version in range(1, 5)
    made = run(file, "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'made*'")
    assert made == [(version - 1,)]
    rows = run(file, "SELECT count(*), count(*) FILTER (WHERE note LIKE '%!') FROM rows")
    assert rows == [(20_000 * (version - 1),) * 2]
    assert run(file, "PRAGMA integrity_check") == [("ok",)]
    return version
