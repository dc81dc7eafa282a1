"""Broken and hostile files: a typed error that says what to do, or the right answer; nothing else.

Each file is looked at by `status`, `check`, the command line and `Store.open`, in a process of its
own that has some seconds: one that hangs, crashes or shows a traceback is found. A file that is
refused must be as it was before.
"""

import contextlib
import io
import os
import pickle
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

import cwstore
from cwstore import cli
from cwstore.errors import CwstoreError
from cwstore.store import Store
from tools._python.faults.work import Picture, connect, furnish, picture_of

_SECONDS = 180  # after which a look hangs

Break = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Broken:
    """A way to break a file, given as its path; what lies beside it may be changed too."""

    name: str
    damage: Break
    #: What it may show afterwards is one of its moments; else it was changed on purpose.
    is_damage: bool = True


@dataclass(slots=True)
class Outcome:
    """Of a sweep."""

    trials: int = 0
    refused: int = 0
    reported: int = 0  #: that opened, and that check() reported
    faults: list[str] = field(default_factory=list[str])


# Damage of pages

_PAGE = 4096


def _write_at(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(data)


def _read_page(file: Path, page: int) -> bytes:
    return file.read_bytes()[page * _PAGE : (page + 1) * _PAGE]


def _swapped(file: Path, page: int) -> None:
    other = page + 1 if (page + 2) * _PAGE <= file.stat().st_size else page - 1
    one, two = _read_page(file, page), _read_page(file, other)
    _write_at(file, page * _PAGE, two)
    _write_at(file, other * _PAGE, one)


def _flipped(file: Path, page: int, bits: int) -> None:
    data, random = bytearray(_read_page(file, page)), Random(page)
    for _ in range(bits):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    _write_at(file, page * _PAGE, bytes(data))


def _writing(at: int, data: bytes, *, log: bool = False) -> Break:
    return lambda file: _write_at(_log_of(file) if log else file, at, data)


def _cutting(size: int, *, log: bool = False) -> Break:
    return lambda file: os.truncate(_log_of(file) if log else file, size)


def _flipping(page: int, bits: int) -> Break:
    return lambda file: _flipped(file, page, bits)


def _swapping(page: int) -> Break:
    return lambda file: _swapped(file, page)


def page_damages(pages: int) -> Iterator[Broken]:
    """Everything that can become of each page."""
    for page in range(pages):
        at = page * _PAGE
        yield Broken(f"cut before page {page}", _cutting(at))
        yield Broken(f"cut inside of page {page}", _cutting(at + 1_000))
        yield Broken(f"page {page} zero", _writing(at, bytes(_PAGE)))
        yield Broken(f"page {page} noise", _writing(at, _noise(at)))
        yield Broken(f"page {page} swapped", _swapping(page))
        yield Broken(f"page {page} head", _writing(at, b"\xff" * 8))
        for bits in (1, 8, 64):
            yield Broken(f"page {page}, {bits} bits", _flipping(page, bits))


def _noise(seed: int) -> bytes:
    return Random(seed).randbytes(_PAGE)


# The write-ahead log and what else lies beside the file


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _older_shm(file: Path) -> Path:
    return file.with_name("older")


def _foreign_log(file: Path) -> None:
    other = file.with_name("other.db")
    connection = connect(other)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE t (id); INSERT INTO t VALUES (1)")
    shutil.copyfile(_log_of(other), _log_of(file))
    connection.close()


def _hot_journal(file: Path, data: bytes) -> None:
    _log_of(file).unlink()
    file.with_name(f"{file.name}-journal").write_bytes(data)


_JOURNAL = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"  # how a journal begins


def log_damages(size: int) -> Iterator[Broken]:
    """Of a file beside which a log lies that holds work; `size` is that of the log."""
    for at in range(32, size, _PAGE + 24):
        yield Broken(f"log cut at {at}", _cutting(at, log=True))
        yield Broken(f"log cut inside {at}", _cutting(at + 700, log=True))
        yield Broken(f"log frame {at}", _writing(at + 100, b"\xff" * 50, log=True))
        yield Broken(f"log head {at}", _writing(at, b"\xff" * 8, log=True))
    yield Broken("log empty", _cutting(0, log=True))
    yield Broken("log short", _cutting(20, log=True))
    yield Broken("log version", _writing(4, b"\x00\x00\x00\x63", log=True))
    yield Broken("log noise", lambda file: _log_of(file).write_bytes(_noise(1) * 9))
    yield Broken("log is a directory", _log_is_a_directory)
    for name, data in (("empty", b""), ("short", b"123"), ("noise", _noise(3) * 8)):
        yield Broken(f"shm {name}", _beside("-shm", data))
        yield Broken(f"turn {name}", _beside("-turn", data))
    yield Broken("shm of zeros", _beside("-shm", bytes(32_768)))
    yield Broken("shm of an earlier moment", lambda file: _older_shm(file).rename(f"{file}-shm"))
    yield Broken("turn is a directory", lambda file: file.with_name(f"{file.name}-turn").mkdir())
    yield Broken("turn is a pipe", lambda file: os.mkfifo(f"{file}-turn"))
    yield Broken("journal noise", lambda file: _hot_journal(file, _noise(4)))
    yield Broken("journal head", lambda file: _hot_journal(file, _JOURNAL + bytes(504)))
    yield Broken("foreign log", _foreign_log, is_damage=False)


def _beside(ending: str, data: bytes) -> Break:
    return lambda file: file.with_name(f"{file.name}{ending}").write_bytes(data)


def _log_is_a_directory(file: Path) -> None:
    _log_of(file).unlink()
    _log_of(file).mkdir()


# A crafted schema


def _run(file: Path, *texts: str) -> None:
    """With every guard of SQLite's off."""
    connection = connect(file)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
        connection.pragma("writable_schema", True)
        for text in texts:
            with contextlib.suppress(apsw.Error):
                connection.execute(text).fetchall()
    finally:
        connection.close()


def _rewrite(change: str, where: str) -> str:
    return f"UPDATE sqlite_schema SET {change} WHERE {where}"


def _entry(type: str, name: str, table: str, sql: str, rootpage: int = 0) -> str:
    text = sql.replace("'", "''")
    return f"INSERT INTO sqlite_schema VALUES ('{type}', '{name}', '{table}', {rootpage}, '{text}')"


_LONG_COMMENT = "CREATE VIEW bulk AS SELECT 1 /* ' || printf('%.*c', 100000000, 'x') || ' */"

CRAFTED: dict[str, tuple[str, ...]] = {
    "a trigger that raises": (
        "CREATE TRIGGER bad BEFORE INSERT ON initiatives BEGIN SELECT RAISE(ABORT, 'no'); END",
    ),
    "a trigger that rolls back": (
        "CREATE TRIGGER bad BEFORE INSERT ON initiatives BEGIN SELECT RAISE(ROLLBACK, 'no'); END",
    ),
    "a trigger that never ends": (
        """CREATE TRIGGER bad AFTER INSERT ON initiatives BEGIN
            INSERT INTO initiatives (id, name, created_at, updated_at)
            VALUES (NEW.id || 'x', 'x', 1, 1); END""",
    ),
    "a trigger that loads code": (
        "CREATE TRIGGER bad AFTER INSERT ON initiatives BEGIN SELECT load_extension('x'); END",
    ),
    "a trigger that deletes": (
        "CREATE TRIGGER bad AFTER INSERT ON initiatives BEGIN DELETE FROM tasks; END",
    ),
    "a view of itself": ("CREATE VIEW bad AS SELECT * FROM bad",),
    "a view of nothing": ("CREATE VIEW bad AS SELECT * FROM nowhere",),
    "a virtual table of a strange module": (
        _entry("table", "bad", "bad", "CREATE VIRTUAL TABLE bad USING strange(x)"),
    ),
    "a virtual table that is there": ("CREATE VIRTUAL TABLE bad USING fts5(x)",),
    "tasks is a virtual table": (
        _rewrite("sql = 'CREATE VIRTUAL TABLE tasks USING fts5(x)'", "name = 'tasks'"),
    ),
    "a generated column": ("ALTER TABLE tasks ADD COLUMN twice AS (name || name)",),
    "a column more": ("ALTER TABLE tasks ADD COLUMN more",),
    "an index of an expression": ("CREATE INDEX bad ON tasks (abs(name))",),
    "a table less": ("PRAGMA foreign_keys = OFF", "DROP TABLE review_comments"),
    "a table renamed": ("ALTER TABLE tasks RENAME TO jobs",),
    "no schema": ("DELETE FROM sqlite_schema",),
    "no sql": (_rewrite("sql = NULL", "name = 'tasks'"),),
    "sql of noise": (_rewrite("sql = 'CREATE TABLE tasks (((('", "name = 'tasks'"),),
    "sql of another table": (_rewrite("sql = 'CREATE TABLE x (y)'", "name = 'tasks'"),),
    "sql of a select": (_rewrite("sql = 'SELECT 1'", "name = 'tasks'"),),
    "a view instead of a table": (
        _rewrite("type = 'view', sql = 'CREATE VIEW tasks AS SELECT 1'", "name = 'tasks'"),
    ),
    "checks left out": (_rewrite("sql = replace(sql, 'CHECK', '--')", "name = 'accounts'"),),
    "a strange type": (_rewrite("type = 'thing'", "name = 'tasks'"),),
    "a root page of another": (
        _rewrite(
            "rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'phases')",
            "name = 'tasks'",
        ),
    ),
    "a root page that is not there": (_rewrite("rootpage = 99999", "name = 'tasks'"),),
    "a root page of nothing": (_rewrite("rootpage = 0", "name = 'tasks'"),),
    "two of one name": (
        "INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'tasks'",
    ),
    "a name of bytes": (_rewrite("name = x'ff00fe'", "name = 'tasks'"),),
    "a huge schema": (
        f"INSERT INTO sqlite_schema VALUES ('view', 'bulk', 'bulk', 0, '{_LONG_COMMENT}')",
    ),
    "a thousand tables": tuple(f"CREATE TABLE more{n} (id)" for n in range(1_000)),
    "version -1": ("PRAGMA user_version = -1",),
    "version 0": ("PRAGMA user_version = 0",),
    "version 7": ("PRAGMA user_version = 7",),
    "version 17": ("PRAGMA user_version = 17",),
    "version of the end": ("PRAGMA user_version = 2147483647",),
    "another application": ("PRAGMA application_id = 1",),
    "no application": ("PRAGMA application_id = 0",),
    "no ledger": ("DROP TABLE schema_migrations",),
    "an empty ledger": ("DELETE FROM schema_migrations",),
    "a ledger of noise": ("UPDATE schema_migrations SET checksum = 'x', text_sum = 0",),
    "a ledger without the last": ("DELETE FROM schema_migrations WHERE version = 16",),
    "a ledger with one more": ("INSERT INTO schema_migrations VALUES (99, 'x', 'x', 0, 1, 0, 0)",),
    "a ledger of another form": (
        "DROP TABLE schema_migrations",
        "CREATE TABLE schema_migrations (version)",
        "INSERT INTO schema_migrations VALUES (16)",
    ),
    "a ledger of other types": (
        "DROP TABLE schema_migrations",
        """CREATE TABLE schema_migrations (
            version, name, checksum, text_sum, compatible_with, structure, applied_at
        )""",
        "INSERT INTO schema_migrations VALUES ('one', 1, 1, 'x', 'y', 'z', 0)",
    ),
    "values that no check allows": (
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE tasks SET status = 'strange', created_at = 9223372036854775807",
    ),
    "rows that lead nowhere": (
        "PRAGMA foreign_keys = OFF",
        "UPDATE tasks SET phase_id = 'nowhere' WHERE phase_id IS NOT NULL",
    ),
    "stamps at the end of time": ("UPDATE initiatives SET created_at = 9223372036854775807",),
    "json that is none": (
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE pages SET content = 'not json'",
    ),
    "a journal of the old kind": ("PRAGMA journal_mode = DELETE",),
}


def _running(texts: tuple[str, ...]) -> Break:
    return lambda file: _run(file, *texts)


def crafted() -> Iterator[Broken]:
    """Files whose structure, ledger or header somebody has made up."""
    for name, texts in CRAFTED.items():
        yield Broken(name, _running(texts), is_damage=False)
    for name, offset, data in (
        ("page size 1", 16, b"\x00\x01"),
        ("page size 3", 16, b"\x00\x03"),
        ("page size 512", 16, b"\x02\x00"),
        ("write version 9", 18, b"\x09\x09"),
        ("reserved bytes", 20, b"\xff"),
        ("fractions", 21, b"\x00\x00\x00"),
        ("pages in the header", 28, b"\xff\xff\xff\xff"),
        ("free pages", 32, b"\x00\x00\x00\x05\x00\x00\x00\x09"),
        ("schema format", 44, b"\x00\x00\x00\x63"),
        ("encoding UTF-16", 56, b"\x00\x00\x00\x02"),
        ("encoding 7", 56, b"\x00\x00\x00\x07"),
        ("magic", 0, b"not SQLite"),
    ):
        yield Broken(name, _writing(offset, data), is_damage=False)
    for name, whole in (
        *(("empty", b""), ("one byte", b"S"), ("text", b"hello\n" * 999)),
        ("noise", _noise(5) * 20),
    ):
        yield Broken(name, _being(whole), is_damage=False)


def _being(data: bytes) -> Break:
    return lambda file: file.write_bytes(data)


# Things that are no files, and names


def _instead(make: Callable[[Path], object]) -> Break:
    def damage(file: Path) -> None:
        file.unlink()
        make(file)

    return damage


def _link_to(target: str) -> Break:
    return lambda file: file.symlink_to(target)


def _socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(file.parent)
        made.bind(file.name)
        os.chdir(here)


def strange_places() -> Iterator[Broken]:
    """What stands where the file should be."""
    makers: dict[str, Break] = {
        "a pipe": os.mkfifo,
        "a socket": _socket,
        "a directory": os.mkdir,
        "a link to itself": lambda file: file.symlink_to(file),
    }
    for target in ("nowhere", "/dev/null", "/dev/zero", "/dev/full", "/dev/tty"):
        makers[f"a link to {target}"] = _link_to(target)
    for name, make in makers.items():
        yield Broken(name, _instead(make), is_damage=False)
    yield Broken(
        "a second name", lambda file: os.link(file, file.with_name("second")), is_damage=False
    )


NAMES = (
    *("a?b.db", "a%20b.db", "a#b.db", "file:a.db", "file:a.db?mode=memory", "a\nb.db", "a b.db"),
    *("-a.db", "a;b'\".db", ".db", "x" * 200, "ä€😀.db", "%", "?", "a:b", "\\", ":memory:.db"),
)


def try_names(place: Path) -> Outcome:
    """A store at each of these names keeps what it is told, there and nowhere else."""
    outcome = Outcome()
    for number, name in enumerate(NAMES):
        directory = place / str(number)
        directory.mkdir()
        outcome.trials += 1
        with Store.open(directory / name) as store:
            store.initiatives.create(id="one", name="one")
            store.backup(directory / f"{name}.bak")
        with Store.open(directory / name) as store:
            if [one.id for one in store.initiatives.find_all()] != ["one"]:
                outcome.faults.append(f"{name!r}: what was told is not there")
        found = {one.name for one in directory.iterdir()}
        if found != {name, f"{name}.bak"}:
            outcome.faults.append(f"{name!r}: there are {sorted(found)}")
    for path in (f"{place}/{os.fsdecode(b'x' + bytes([255]))}", f"{place}/a\0b", "", "\ud800.db"):
        outcome.trials += 1
        try:
            Store.open(path).close()
            outcome.faults.append(f"{path!r}: it was not refused")
        except CwstoreError:
            outcome.refused += 1
    return outcome


# How each is tried


@dataclass(slots=True)
class _Seen:
    """What a process saw of a broken file."""

    errors: list[str] = field(default_factory=list[str])
    faults: list[str] = field(default_factory=list[str])
    ok: bool | None = None  #: what check() found; None: it raised


def make_base(place: Path, *, with_log: bool) -> Path:
    """A furnished file, with or without a log that holds the last of its work."""
    file = place / "store.db"
    with Store.open(file) as store:
        furnish(store)
    if with_log:
        with Store.open(file) as store:
            for number in range(3):
                store.initiatives.create(id=f"logged-{number}", name="logged")
                if not number:
                    shutil.copyfile(f"{file}-shm", _older_shm(file))
            kept = {one: one.read_bytes() for one in (file, _log_of(file))}
        for path, data in kept.items():
            path.write_bytes(data)
    return file


class Sweep:
    """Breaks copies of one file."""

    def __init__(self, base: Path, place: Path, moments: list[Picture]) -> None:
        self._base = base
        self._place = place
        self._moments = moments
        self.outcome = Outcome()

    def run(self, ways: Iterator[Broken], every: int = 1) -> Outcome:
        """Break it in each of these ways (or in every so many)."""
        for number, broken in enumerate(ways):
            if number % every == 0:
                self._try(broken)
        return self.outcome

    def _try(self, broken: Broken) -> None:
        directory = self._place / "broken"
        shutil.copytree(self._base.parent, directory)
        file = directory / self._base.name
        broken.damage(file)
        self.outcome.trials += 1
        before = _bytes_of(file)
        seen = _in_a_child(lambda: _look(file, self._moments if broken.is_damage else []))
        self.outcome.refused += bool(seen.errors)
        self.outcome.reported += seen.ok is False
        faults = seen.faults
        if seen.errors and "open" in seen.errors[-1] and _bytes_of(file) != before:
            faults = [*faults, "it was refused, and changed"]
        self.outcome.faults += [f"{broken.name}: {fault}" for fault in faults]
        shutil.rmtree(directory)


def _bytes_of(file: Path) -> bytes:
    return file.read_bytes() if file.is_file() else b""


def _look(file: Path, moments: list[Picture]) -> _Seen:
    """Status, check, the command line, then open, read, write and close."""
    seen = _Seen()
    _typed(seen, "status", lambda: cwstore.status(file))
    for command in ("status", "check"):
        _command(seen, command, file)
    _typed(seen, "open", lambda: _use(seen, file, moments))
    return seen


def _typed(seen: _Seen, what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except CwstoreError as error:
        seen.errors.append(f"{what}: {type(error).__name__}: {error}")
        if type(error) is CwstoreError or len(str(error)) < 20:
            seen.faults.append(f"{what}: no type of its own, or no remedy: {error}")
    except Exception as error:  # noqa: BLE001 whatever it is, it is told
        seen.faults.append(f"{what}: {type(error).__name__}: {error}")


def _command(seen: _Seen, command: str, file: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: Any = cli.main([command, str(file), "--json"])
    except SystemExit as end:
        code = end.code
    except Exception as error:  # noqa: BLE001 whatever it is, it is told
        seen.faults.append(f"cwstore {command}: {type(error).__name__}: {error}")
        return
    if code not in {0, 1} or "Traceback" in err.getvalue() or len(err.getvalue()) > 3_000:
        seen.faults.append(f"cwstore {command}: exit {code}: {err.getvalue()[-300:]}")


def _use(seen: _Seen, file: Path, moments: list[Picture]) -> None:
    with Store.open(file, busy_timeout=1) as store:
        errors: list[CwstoreError] = []
        for attribute in ("initiatives", "phases", "accounts", "agents", "tasks", "pages"):
            try:
                getattr(store, attribute).find_all()
            except CwstoreError as error:
                errors.append(error)
        try:
            seen.ok = store.check().ok
        except CwstoreError as error:
            errors.append(error)
        if moments and seen.ok and not errors:
            picture = picture_of(file)
            if picture not in moments and _rows(picture) not in [_rows(one) for one in moments]:
                seen.faults.append("it shows what it never showed, and check() finds nothing")
        try:
            store.initiatives.create(id="written", name="written")
        except CwstoreError as error:
            errors.append(error)
        seen.errors += [f"{type(error).__name__}: {error}" for error in errors]


def _rows(picture: Picture) -> dict[str, int]:
    """Bits that flip in a text leave rows and their number; nobody can find them."""
    return {table: len(rows) for table, rows in picture.items()}


def _in_a_child(look: Callable[[], _Seen]) -> _Seen:
    """What it saw; that it hung or crashed, if it did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(_SECONDS)
            data = pickle.dumps(look())
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(data)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return _Seen(faults=["it hung" if name == "SIGALRM" else f"it crashed by {name}"])
    return pickle.loads(data) if data else _Seen(faults=["it ended without a word"])


def moments_of(base: Path) -> list[Picture]:
    """What the file shows with all of its log, with part of it, and with none."""
    log, moments = _log_of(base), [picture_of_copy(base, None)]
    if log.exists():
        size = log.stat().st_size
        moments += [picture_of_copy(base, at) for at in range(32, size + 1, _PAGE + 24)]
    return moments


def picture_of_copy(base: Path, log_size: int | None) -> Picture:
    """Of a copy whose log has that many bytes; None: no log."""
    copy = base.with_name("look")
    copy.mkdir()
    try:
        shutil.copyfile(base, copy / base.name)
        if log_size is not None:
            (copy / _log_of(base).name).write_bytes(_log_of(base).read_bytes()[:log_size])
        return picture_of(copy / base.name)
    finally:
        shutil.rmtree(copy)


KINDS = ("pages", "logs", "schemas", "places", "names")


def sweep(kind: str, place: Path, every: int = 1) -> Outcome:
    """All breaks of a kind: pages, logs, schemas, places or names."""
    if kind == "names":
        return try_names(place)
    (place / "base").mkdir()
    base = make_base(place / "base", with_log=kind == "logs")
    ways = {
        "pages": lambda: page_damages(base.stat().st_size // _PAGE),
        "logs": lambda: log_damages(_log_of(base).stat().st_size),
        "schemas": crafted,
        "places": strange_places,
    }[kind]()
    return Sweep(base, place, moments_of(base)).run(ways, every)
