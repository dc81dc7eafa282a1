"""A directory with one database and one tool's scripts, and processes that migrate it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from cwstore._sqlite.apsw_types import open_connection
from tools._python.bakeoff.tool import Tool, load

ROOT = Path(__file__).resolve().parents[3]
_HANGS = 120.0  # seconds
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE

Content = dict[str, list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process that migrated came to."""

    refused: bool
    text: str  #: all that it printed

    @property
    def brief(self) -> str:
        """The first line that tells of an error and what follows it, cut short."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        first = next((n for n, line in enumerate(lines) if "rror" in line or "ailed" in line), 0)
        return " ".join(lines[first:])[:150] or "nothing was said"


class Place:
    """No process has the file open between two calls; looks go through apsw's SQLite."""

    def __init__(self, module: str, root: Path) -> None:
        self._module = module
        self.tool: Tool = load(module)
        self.root = root
        self.file = root / "store.db"
        self.directory = root / "sql"
        root.mkdir()

    def write(self, *scripts: str) -> None:
        """Have these scripts and no others in the directory: 0001_step and on."""
        self.write_named({f"{n:04}_step": text for n, text in enumerate(scripts, 1)})

    def write_named(self, scripts: Mapping[str, str]) -> None:
        """Have these scripts and no others in the directory."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        self.tool.write(self.directory, scripts)

    def start(self) -> "subprocess.Popen[str]":
        """A process that is about to migrate: it waits for a line."""
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tools._python.bakeoff.child", self._module),
                *(self.file, self.directory),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "1000", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert process.stdout
        while process.stdout.readline() not in ("ready\n", ""):
            pass
        return process

    def end(self, process: "subprocess.Popen[str]") -> Outcome:
        """Wait for one that was let go."""
        try:
            text, _ = process.communicate(timeout=_HANGS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return Outcome(True, f"hangs for {_HANGS:g} s")
        told = self.tool.failure
        return Outcome(process.returncode != 0 or (told is not None and told in text), text)

    def migrate(self) -> Outcome:
        """In a process of its own, like all that a tool does."""
        process = self.start()
        go(process)
        return self.end(process)

    def killed_after(self, seconds: float) -> None:
        """Migrate, and kill the process so many seconds after it was let go."""
        process = self.start()
        go(process)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        """Do something to the file behind the back of the tool."""
        connection = open_connection(str(self.file), _READ_WRITE)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def content(self) -> Content:
        """Names of everything, and all rows, without what the tool keeps for itself."""
        if not self.file.exists():
            return {}
        objects = [
            (kind, name)
            for kind, name, table in self.run("SELECT type, name, tbl_name FROM sqlite_schema")
            if not table.startswith((*self.tool.bookkeeping, "sqlite_"))
        ]
        content: Content = {"": sorted(objects)}
        for kind, name in objects:
            if kind == "table":
                content[name] = self.run(f'SELECT * FROM "{name}" ORDER BY 1')
        return content


def go(process: "subprocess.Popen[str]") -> None:
    """Let a process that waits begin."""
    assert process.stdin
    try:
        process.stdin.write("\n")
        process.stdin.flush()
    except BrokenPipeError:
        pass  # it has ended: its outcome says why


class Yard:
    """Makes fresh places for one tool."""

    def __init__(self, module: str, root: Path) -> None:
        self._module = module
        self._root = root
        self._numbers: Iterator[int] = count()
        root.mkdir()

    def place(self, *scripts: str, file: Path | None = None) -> Place:
        """With these scripts, and a copy of `file`, if given, as its database."""
        place = Place(self._module, self._root / str(next(self._numbers)))
        place.write(*scripts)
        if file:
            shutil.copyfile(file, place.file)
        return place

    def migrated(self, *scripts: str) -> Place:
        """With a database that these scripts made."""
        place = self.place(*scripts)
        outcome = place.migrate()
        if outcome.refused:
            raise SystemExit(f"{self._module}: the set-up failed: {outcome.text}")
        return place
