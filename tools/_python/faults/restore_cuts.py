"""Power cuts while a backup is put in the place of a database, or after that.

The file that was there is whole and on disk, log and all; the last of its work is in the log alone.
After a cut it has its name, or the copy has. Or nobody knows whose the log is that lies there: then
the file is refused until the restore is done again. Nothing of the old file is ever lost.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cwstore
from cwstore.errors import CwstoreError
from cwstore.store import Store
from tools._python.faults.disk_model import WAYS, Disk, rebuild
from tools._python.faults.power_cuts import Case, Outcome, Run, record, state_of
from tools._python.faults.work import damage_of

_OLD, _NEW = {"kept", "logged"}, {"copied"}  # what is in the file that was there, and in the copy


def _copied(directory: Path) -> None:
    with Store.open(directory / "store.db") as store:
        store.initiatives.create(id="copied", name="copied")
        store.backup(directory / "copy.bak")
    (directory / "store.db").unlink()


def _over_a_closed_file(directory: Path) -> None:
    _copied(directory)
    with Store.open(directory / "store.db") as store:
        for name in sorted(_OLD):
            store.initiatives.create(id=name, name=name)


def _over_a_killed_one(directory: Path, *endings: str) -> None:
    """As a process that is killed leaves it: with its log, and what else has one of the endings."""
    _copied(directory)
    with Store.open(directory / "store.db") as store:
        store.initiatives.create(id="kept", name="kept")
    with Store.open(directory / "store.db") as store:
        store.initiatives.create(id="logged", name="logged")
        names = [f"store.db{ending}" for ending in ("", *endings)]
        left = {directory / name: (directory / name).read_bytes() for name in names}
    for path, data in left.items():
        path.write_bytes(data)


def _restored(run: Run) -> None:
    cwstore.restore(run.directory / "copy.bak", run.file)
    run.told("restored")


CASES = (
    Case("restore to a new place", True, _copied, _restored),
    Case("restore", True, _over_a_closed_file, _restored),
    Case(
        "restore after a kill",
        True,
        lambda directory: _over_a_killed_one(directory, "-wal", "-shm", "-turn"),
        _restored,
    ),
    # As `cp` and `mv` leave it, and version 0.1.0: nobody has noted whose log it is.
    Case(
        "restore without a note",
        True,
        lambda directory: _over_a_killed_one(directory, "-wal"),
        _restored,
    ),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a disk came to."""

    shown: set[str] | None  #: in the file; None: it was refused, or is not there
    faults: list[str]


def sweep(
    case: Case,
    place: Path,
    *,
    ways: tuple[str, ...] = WAYS,
    every: int = 1,
    until: int | None = None,
) -> Outcome:
    """Record the restore in a new directory and cut the power everywhere (`until` that step)."""
    directory = place / "recorded"
    directory.mkdir()
    run = record(case, directory)
    disk, outcome = Disk(run.recorder.there), Outcome()
    known: dict[bytes, _Found] = {}
    was_old = case.name != "restore to a new place"
    owed = False
    for number, event in enumerate(run.recorder.events[:until], 1):
        disk.happen(event)
        owed = owed or event.kind == "told"
        outcome.operations += event.kind != "told"
        if number % every:
            continue
        for way in ways:
            files = disk.after_cut(way, Random(f"{number} {way}"))
            state = state_of(files)
            if state not in known:
                known[state] = _examine(_on(files, directory, place / "disk"), was_old=was_old)
            outcome.cuts += 1
            outcome.faults += [
                f"{case.name}, cut after {number} ({event.kind} {Path(event.path).name}), {way}:"
                f" {fault}"
                for fault in _judged(known[state], owed=owed, was_old=was_old)
            ]
    outcome.disks = len(known)
    return outcome


def _judged(found: _Found, *, owed: bool, was_old: bool) -> list[str]:
    expected: list[set[str] | None] = [_NEW] if owed else [_NEW, _OLD if was_old else set(), None]
    if found.shown in expected:
        return found.faults
    return [*found.faults, f"the file shows {sorted(found.shown or ['nothing'])}"]


def _on(files: dict[str, bytes], recorded: Path, place: Path) -> Callable[[], Path]:
    """Lays the disk out, each time anew: the path of the file."""

    def lay_out() -> Path:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        rebuild(files, recorded, place)
        return place / "store.db"

    return lay_out


def _examine(lay_out: Callable[[], Path], *, was_old: bool) -> _Found:
    faults: list[str] = []
    shown = _look(lay_out(), faults)
    _restore_again(lay_out(), faults, was_old=was_old)
    return _Found(shown, faults)


def _look(file: Path, faults: list[str]) -> set[str] | None:
    if not file.exists() and not file.with_name("store.db-wal").exists():
        return None  # what is not there is made; where files have one name only, for a moment
    try:
        with Store.open(file) as store:
            shown = {one.id for one in store.initiatives.find_all()}
            faults += [] if store.check().ok else [f"check: {store.check()}"]
    except CwstoreError as error:
        if "cwstore restore" not in str(error):
            faults.append(f"no remedy: {type(error).__name__}: {error}")
        return None
    faults += damage_of(file)
    return shown


def _restore_again(file: Path, faults: list[str], *, was_old: bool) -> None:
    """It brings the copy, and beside it lies all that was there before the first one."""
    try:
        cwstore.restore(file.with_name("copy.bak"), file)
        with Store.open(file) as store:
            shown = {one.id for one in store.initiatives.find_all()}
    except CwstoreError as error:
        faults.append(f"cannot be done again: {type(error).__name__}: {error}")
        return
    if shown != _NEW:
        faults.append(f"done again, the file shows {sorted(shown)}")
    kept: set[str] = set()
    for one in file.parent.glob("store.db.replaced-*"):
        if not one.name.endswith(("-wal", "-shm")):
            with Store.open(one) as store:
                kept |= {row.id for row in store.initiatives.find_all()}
    if was_old and not kept >= _OLD:
        faults.append(f"of the old file only {sorted(kept)} is kept")
