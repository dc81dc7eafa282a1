"""Times the handshake of an up-to-date file, and 100 migrations; see tools/handshake --help."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter_ns

import apsw

from cwstore import Store, migrate
from cwstore._sqlite import connection as connect
from cwstore._sqlite.apsw_types import open_connection
from cwstore._sqlite.busy_handler import busy_handler
from cwstore._sqlite.version import version_if_current
from tools._python import arguments as accepted

#: What cwstore sets on each connection, and what a new file gets once.
PRAGMAS = (
    "PRAGMA recursive_triggers = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA secure_delete = FAST",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA journal_mode = WAL",
)
CONFIGS = (
    (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
    (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
    (apsw.SQLITE_DBCONFIG_DQS_DML, 0),
    (apsw.SQLITE_DBCONFIG_DQS_DDL, 0),
    (apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1),
    (apsw.SQLITE_DBCONFIG_ENABLE_FKEY, 1),
)
FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX | apsw.SQLITE_OPEN_NOFOLLOW
#: What is compared with what, and the ratio that it must stay under.
COMPARED = {
    "handshake": ("bare", 1.5),
    "Store.open": ("bare", None),
    "100 migrations": ("1 migration", 100.0),
}


def bare(file: str) -> None:
    """Connect with the same settings, and know nothing about the file."""
    connection = open_connection(file, FLAGS, cached_statements=2048)
    connection.set_busy_handler(busy_handler(5.0))
    for operation, value in CONFIGS:
        connection.config(operation, value)
    connection.limit(apsw.SQLITE_LIMIT_ATTACHED, 0)
    for pragma in PRAGMAS:
        connection.execute(pragma).fetchall()
    connection.close()


def handshake(file: str) -> None:
    """Connect, see whose file it is, compare version, scripts, ledger and structure."""
    connection = connect.connect(file, busy_timeout=5.0)
    if version_if_current(connection) is None:
        raise SystemExit("tools/handshake: the file is not up to date")
    connection.close()


def opened(file: str) -> None:
    """All that a service does to have a store."""
    Store.open(file).close()


def timed(action: Callable[[str], None], file: str, calls: int) -> float:
    """Microseconds of a call."""
    began = perf_counter_ns()
    for _ in range(calls):
        action(file)
    return (perf_counter_ns() - began) / calls / 1000


def openings(folder: Path, rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds, round by round; the actions take turns, so a disturbance hits all."""
    file = str(folder / "store.db")
    holder = Store.open(file)  # as in a service: who closes last would have a log to move
    actions = {"bare": bare, "handshake": handshake, "Store.open": opened}
    for action in actions.values():
        timed(action, file, 20)
    found: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            found[name].append(timed(action, file, calls))
    holder.close()
    return found


def migrations(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Microseconds of migrating a new file by one script and by a hundred."""
    found: dict[str, list[float]] = {"1 migration": [], "100 migrations": []}
    for name in found:
        (folder / name).mkdir()
        for number in range(1, int(name.split()[0]) + 1):
            text = f"CREATE TABLE t{number} (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;\n"
            (folder / name / f"{number:04}_t.sql").write_text(text)
    for number in range(rounds):
        for name, times in found.items():
            file = folder / f"{number} {name}.db"
            began = perf_counter_ns()
            migrate(file, directory=folder / name)
            times.append((perf_counter_ns() - began) / 1000)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 if a ratio is over its limit."""
    options = accepted.handshake().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="handshake-") as folder:
        found = openings(Path(folder), options.rounds, options.calls)
        found |= migrations(Path(folder), options.rounds)
    ratios = {
        name: median(a / b for a, b in zip(found[name], found[base], strict=True))
        for name, (base, _) in COMPARED.items()
    }
    if options.json:
        print(json.dumps({"microseconds": found, "ratios": ratios}, indent=1))
    else:
        for name, times in found.items():
            print(f"{name:<15} {median(times):10.1f} µs{_beside(name, ratios)}")
    return int(any(limit and ratios[name] >= limit for name, (_, limit) in COMPARED.items()))


def _beside(name: str, ratios: dict[str, float]) -> str:
    if name not in COMPARED:
        return ""
    base, limit = COMPARED[name]
    return f"  {ratios[name]:5.2f} times {base}" + (f" (limit {limit:g})" if limit else "")


if __name__ == "__main__":
    sys.exit(main())
