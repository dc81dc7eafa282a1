"""Power cuts: work is recorded, the disk rebuilt for a cut after every operation, and opened again.

With `durable=True` nothing that was acknowledged may be missing; with the default the file must be
whole and show a moment of its history. A backup is safe in either case once `backup` has returned.
"""

import pickle
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, cast

import apsw

import cwstore
from cwstore.errors import CwstoreError
from cwstore.store import Store
from tools._python.faults.disk_model import WAYS, Disk, Event, Recorder, rebuild
from tools._python.faults.system_calls import watched
from tools._python.faults.work import (
    ACTIONS,
    BY_NAME,
    connect,
    damage_of,
    furnish,
    make_old,
    picture_of,
)

NOTHING = b"nothing"  # the picture of a file that is not there
_THOROUGH = 40  # of so many different disks one is migrated if need be, and its structure compared


@dataclass(frozen=True, slots=True)
class Case:
    """A run that is recorded: what is there before, and the work."""

    name: str
    durable: bool
    before: Callable[[Path], None]  # given the directory, before anything is recorded
    work: Callable[["Run"], None]


class Run:
    """For the work of a case: the store's directory, and whom to tell what was acknowledged."""

    def __init__(self, directory: Path, recorder: Recorder, durable: bool) -> None:
        self.directory = directory
        self.file = directory / "store.db"
        self.durable = durable
        self.recorder = recorder
        self.seen: dict[int, bytes] = {}  #: event -> what the file showed when it was told

    def open(self, durable: bool | None = None) -> Store:
        """Opening is acknowledged too: the file has the newest version."""
        store = Store.open(self.file, durable=self.durable if durable is None else durable)
        self.told("open")
        return store

    def told(self, what: str) -> None:
        """It was acknowledged."""
        self.recorder.told(what)
        number = len(self.recorder.events)
        self.seen[number] = digest(self.file)


def digest(file: Path) -> bytes:
    """What the file shows, by SQLite alone; NOTHING if it is not there."""
    if not file.exists():
        return NOTHING
    return blake2b(pickle.dumps(picture_of(file, exact=True)), digest_size=16).digest()


def often_checkpointed(store: Store) -> Store:
    """Pages go from the log to the file every few commits, not at every thousandth page."""
    cast("Any", store)._db._writer.connection.pragma("wal_autocheckpoint", 12)
    return store


# The cases


def _nothing(_: Path) -> None:
    pass


def _furnished(directory: Path) -> None:
    with Store.open(directory / "store.db") as store:
        furnish(store)


def _first_release(directory: Path) -> None:
    make_old(directory / "store.db", 11)


def _one_from_the_newest(directory: Path) -> None:
    make_old(directory / "store.db", 15)


def _new(run: Run) -> None:
    with run.open() as store:
        store.initiatives.create(id="first", name="first")
        run.told("first")
        store.initiatives.create(id="second", name="second")
        run.told("second")
    run.told("closed")


def _all_actions(run: Run) -> None:
    with often_checkpointed(run.open()) as store:
        for action in ACTIONS:
            if action.name not in {"delete", "claim next", "check", "stats", "read"}:
                action.act(store, run.directory)
                run.told(action.name)
    run.told("closed")
    with run.open() as store:
        BY_NAME["claim next"].act(store, run.directory)
        run.told("after")


def _many_writes(run: Run) -> None:
    with often_checkpointed(run.open()) as store:
        for number in range(12):
            store.initiatives.create(id=f"one-{number}", name="x" * 50 * (number + 1))
            run.told(f"one {number}")
            with store.transaction():
                store.tasks.update(f"kept-0-{number % 3}", description="y" * 400 * number)
                store.log_chunks.insert_chunk(
                    "agent-0", agent_name="z", session_number=1, content="{}"
                )
            run.told(f"both {number}")


def _two_stores(run: Run) -> None:
    """One that is durable on the log that one which is not has made."""
    with (
        often_checkpointed(run.open(durable=False)) as fast,
        often_checkpointed(run.open()) as store,
    ):
        for number in range(12):
            fast.initiatives.create(id=f"fast-{number}", name="fast")
            store.initiatives.create(id=f"safe-{number}", name="safe")
            run.told(f"both {number}")
    run.told("closed")


def _migrated(run: Run) -> None:
    run.open().close()
    run.told("closed")


CASES = (
    Case("new file, durable", True, _nothing, _new),
    Case("new file", False, _nothing, _new),
    Case("every action, durable", True, _furnished, _all_actions),
    Case("every action", False, _furnished, _all_actions),
    Case("many writes, durable", True, _furnished, _many_writes),
    Case("many writes", False, _furnished, _many_writes),
    Case("two stores, one durable", True, _furnished, _two_stores),
    Case("two stores", False, _furnished, _two_stores),
    Case("migration of 0.1.0, durable", True, _first_release, _migrated),
    Case("migration of 0.1.0", False, _first_release, _migrated),
    Case("migration of one version, durable", True, _one_from_the_newest, _migrated),
)


# What comes out


@dataclass(slots=True)
class Outcome:
    """Of a case: how many cuts, how many different disks they left, and what was wrong."""

    cuts: int = 0
    disks: int = 0
    operations: int = 0
    faults: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class _Found:
    """What opening a disk came to."""

    shown: bytes
    faults: tuple[str, ...]
    backups: tuple[tuple[str, bytes], ...]


def record(case: Case, directory: Path) -> Run:
    """Do the work once, with everything written down."""
    case.before(directory)
    recorder = Recorder(directory)
    run = Run(directory, recorder, case.durable)
    with watched(str(directory), recorder):
        case.work(run)
    return run


#: Of what lies beside it, SQLite reads these: whoever opens the file first makes `-shm` anew.
_TELLING = ("store.db", "store.db-wal", "store.db-journal")


class Sweep:
    """The cuts of one recorded run."""

    def __init__(self, run: Run, case: Case, place: Path) -> None:
        self._run = run
        self._case = case
        self._place = place
        self._known: dict[bytes, _Found] = {}
        self._noted: set[bytes] = set()
        self._history: list[bytes] = []  # what the file showed, in order, where nothing is lost
        self._owed = -1  # the moment of the history that was acknowledged
        self._backups: dict[str, bytes] = {}  # that were acknowledged
        self.outcome = Outcome()

    def run(self, ways: tuple[str, ...], every: int, until: int | None) -> Outcome:
        """Cut after every operation (or every so many), in each of these ways."""
        disk = Disk(self._run.recorder.there)
        self._note(disk)
        for number, event in enumerate(self._run.recorder.events[:until], 1):
            disk.happen(event)
            if event.kind == "told":
                self._acknowledge(number, event, disk)
            else:
                self.outcome.operations += 1
                self._note(disk)
            if number % every:
                continue
            for way in ways:
                found = self._look(disk.after_cut(way, Random(f"{number} {way}")))
                self.outcome.cuts += 1
                for fault in self._judge(found):
                    self.outcome.faults.append(
                        f"{self._case.name}, cut after {number} ({event.kind}"
                        f" {Path(event.path).name}), {way}: {fault}"
                    )
        return self.outcome

    def _note(self, disk: Disk) -> None:
        """Write down what the file shows, if that is something new."""
        files = {path: data for path, data in disk.now().items() if Path(path).name in _TELLING}
        state = state_of(files)
        if state in self._noted:
            return
        self._noted.add(state)
        with self._rebuilt(files) as place:
            shown = digest(place / "store.db")
        if not self._history or self._history[-1] != shown:
            self._history.append(shown)

    def _acknowledge(self, number: int, event: Event, disk: Disk) -> None:
        kept = self._look(disk.now())
        if self._run.seen[number] != kept.shown:
            self.outcome.faults.append(
                f"{self._case.name}: after {event.path!r} the store showed what is not on its disk"
            )
        self._owed = len(self._history) - 1
        self._backups.update(kept.backups)

    def _judge(self, found: _Found) -> Iterator[str]:
        yield from found.faults
        owed = max(self._owed, 0) if self._case.durable else 0
        moments = [at for at, shown in enumerate(self._history) if shown == found.shown]
        if not moments and found.shown == NOTHING and not owed:
            moments = [0]
        if not moments:
            yield "the file shows what it never showed before"
        elif max(moments) < owed:
            yield f"{owed - max(moments)} transactions that were acknowledged are lost"
        there = dict(found.backups)
        for name, shown in self._backups.items():
            if there.get(name) != shown:
                yield f"the backup {name} is lost"

    def _look(self, files: dict[str, bytes]) -> _Found:
        key = state_of(files)
        if key not in self._known:
            self.outcome.disks += 1
            with self._rebuilt(files) as place:
                thorough = self.outcome.disks % _THOROUGH == 1
                self._known[key] = _examine(place, thorough=thorough)
        return self._known[key]

    @contextmanager
    def _rebuilt(self, files: dict[str, bytes]) -> Generator[Path, None, None]:
        place = self._place / "disk"
        place.mkdir()
        try:
            rebuild(files, self._run.directory, place)
            yield place
        finally:
            shutil.rmtree(place)


def state_of(files: dict[str, bytes]) -> bytes:
    """Two disks of one state need to be looked at once."""
    state = blake2b(digest_size=16)
    for path, data in sorted(files.items()):
        state.update(path.encode() + len(data).to_bytes(8) + data)
    return state.digest()


def _examine(place: Path, *, thorough: bool) -> _Found:
    """Look at the rebuilt disk as SQLite sees it, then as cwstore does."""
    file = place / "store.db"
    faults: list[str] = []
    backups: list[tuple[str, bytes]] = []
    for copy in sorted(place.glob("*.bak")):
        try:
            faults += [f"{copy.name}: {line}" for line in damage_of(copy)]
            backups.append((copy.name, digest(copy)))
        except apsw.Error as error:
            faults.append(f"the backup {copy.name} cannot be read: {error}")
    shown = NOTHING
    try:
        shown = digest(file)
        current = shown != NOTHING and _version(file) == _newest()
    except apsw.Error as error:
        faults.append(f"SQLite cannot read it: {error}")
        current = True
    if current or thorough:
        faults += _use(file, thorough)
    else:
        faults += _look_only(file)
    return _Found(shown, tuple(faults), tuple(backups))


def _use(file: Path, thorough: bool) -> list[str]:
    """Whatever was lost, the store opens, is whole, and can be written to."""
    try:
        with Store.open(file) as store:
            report = store.check() if thorough else None
            store.initiatives.create(id="after the cut", name="after the cut")
        with Store.open(file) as store:
            store.initiatives.get("after the cut")
    except CwstoreError as error:
        return [f"{type(error).__name__}: {str(error).replace(str(file.parent), '')}"]
    return damage_of(file) if report is None or report.ok else [f"check: {report}"]


def _look_only(file: Path) -> list[str]:
    """What keeps it from being migrated, which takes long."""
    try:
        cwstore.status(file)
    except CwstoreError as error:
        return [f"{type(error).__name__}: {str(error).replace(str(file.parent), '')}"]
    return damage_of(file) if file.exists() else []


def _version(file: Path) -> int:
    connection = connect(file)
    try:
        return int(connection.pragma("user_version"))
    finally:
        connection.close()


def _newest() -> int:
    from cwstore.migrations.scripts import load

    return len(load())


def sweep(
    case: Case,
    place: Path,
    *,
    ways: tuple[str, ...] = WAYS,
    every: int = 1,
    until: int | None = None,
) -> Outcome:
    """Record the case in a new directory and cut the power everywhere (`until` that operation)."""
    directory = place / "recorded"
    directory.mkdir()
    run = record(case, directory)
    return Sweep(run, case, place).run(ways, every, until)
