"""Two stores with the same rows on two engines, and what the same call does on each."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import psycopg

from cwstore.core.checks import to_micros
from cwstore.core.secret import Secret
from cwstore.errors import CwstoreError
from tests.kits.database import contents

_IDS = re.compile(r"(?<![\w-])[\w-]{21}(?![\w-])")
_KEPT_ELSEWHERE = {"schema_migrations", "sqlite_sequence", "stamps"}


def copy_rows(file: Path, address: str) -> None:
    """Every row of a file into a schema that is migrated and empty; chunks are numbered on."""
    source = apsw.Connection(str(file))
    names = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    with psycopg.connect(address) as target:
        target.execute("SET session_replication_role = replica")  # no trigger, no foreign key
        for (table,) in source.execute(names).fetchall():
            if table in _KEPT_ELSEWHERE:
                continue
            columns = [str(row[1]) for row in source.execute(f"PRAGMA table_info({table})")]
            listed, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
            target.execute(f"DELETE FROM {table}".encode())
            target.cursor().executemany(
                f"INSERT INTO {table} ({listed}) VALUES ({marks})".encode(),
                source.execute(f"SELECT {listed} FROM {table}").fetchall(),
            )
        ((seq,),) = source.execute("SELECT max(seq) FROM agent_log_chunks").fetchall()
        target.execute("SELECT setval('agent_log_chunks_seq', %s)", [seq])
    source.close()


class Answers:
    """Makes what calls do comparable: new ids and stamps are alike, whatever they are."""

    def __init__(self, known: set[str], since: datetime, shown: Mapping[str, str]) -> None:
        self._known = known
        self._since = since
        self._shown = dict(shown)  # texts of a message, and what stands for them

    def of(self, call: Callable[[], object]) -> object:
        """What it returns, or class, message and attributes of the error of ours that it raises."""
        try:
            return self._plain(call())
        except CwstoreError as error:
            attributes = {name: self._plain(value) for name, value in vars(error).items()}
            return type(error).__name__, self._text(str(error)), attributes

    def _plain(self, value: object) -> object:
        if is_dataclass(value):
            plain = {one.name: self._plain(getattr(value, one.name)) for one in fields(value)}
            if "seq" in plain:
                plain["seq"] = "a number"  # those of what was undone are not given out again
            return type(value).__name__, plain
        if isinstance(value, Mapping):
            return {self._plain(key): self._plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple | Iterator):
            return [self._plain(one) for one in value]
        if isinstance(value, Secret):
            return "a secret", value.reveal()
        if isinstance(value, datetime):
            return "a new stamp" if value >= self._since else value
        return self._text(value) if isinstance(value, str) else value

    def row(self, row: tuple[object, ...]) -> tuple[object, ...]:
        """As it is stored."""
        since = to_micros("since", self._since)
        return tuple(
            "a new stamp" if isinstance(one, int) and one >= since else self._plain(one)
            for one in row
        )

    def _text(self, text: str) -> str:
        for found, instead in self._shown.items():
            text = text.replace(found, instead)
        for one in _IDS.findall(text):
            if one not in self._known:
                text = text.replace(one, "NEW")
        return text


def differing_tables(file: Path, database: Path, one: Answers, two: Answers) -> dict[str, Any]:
    """The rows of each table that are only in one of the two."""
    here, there = contents(file), contents(database)
    found: dict[str, Any] = {}
    for table in here.keys() & there.keys() - _KEPT_ELSEWHERE:
        # The number of a chunk is the engine's own.
        first = 1 if table == "agent_log_chunks" else 0
        mine = Counter(one.row(row[first:]) for row in here[table])
        theirs = Counter(two.row(row[first:]) for row in there[table])
        if mine != theirs:
            found[table] = (list(mine - theirs), list(theirs - mine))
    return found
