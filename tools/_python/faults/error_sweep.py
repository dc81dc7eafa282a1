"""The n-th file operation fails, for every n: what is then told, kept and possible.

For each thing that a user can do, and for each kind of operation in it, the first operation of that
kind fails, then the second and so on: once, and from then on. Whatever happens, the caller gets a
CwstoreError that names the true cause, or a result that holds; what failed is wholly there or not
at all; and the store can be used as soon as the disk can.
"""

import errno
import gc
import os
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

import cwstore
from cwstore.entities import bulk_delete, log_retention
from cwstore.errors import CwstoreError, OutcomeUnknownError
from cwstore.store import Store
from tools._python.faults.disk_model import Disk, Recorder, rebuild
from tools._python.faults.system_calls import SHORT, Guard, Operation, SystemCalls
from tools._python.faults.work import (
    ACTIONS,
    BY_NAME,
    FURTHER,
    Picture,
    damage_of,
    differences,
    furnish,
    make_old,
    picture_of,
)

#: Which operations fail together, and how.
KINDS: dict[str, tuple[int, ...]] = {
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT, SHORT),
    "sync": (errno.EIO,),
    "truncate": (errno.EIO,),
    "open": (errno.EMFILE, errno.EIO, errno.ENOSPC),
    "delete": (errno.EIO,),
    "link": (errno.EIO, errno.ENOSPC),
    "rename": (errno.EIO, errno.ENOSPC),
    "read": (errno.EIO, SHORT),
    "lock": (errno.ENOLCK, errno.EIO),
    "map": (errno.ENOMEM,),
    "stat": (errno.EIO,),
    "list": (errno.EMFILE,),
    "mkdir": (errno.ENOSPC,),
    "rmdir": (errno.EIO,),
    "mode": (errno.EPERM,),
}

_DISK = r"disk failed|Input/output error|check the disk"
_OPEN = "cannot be opened|can only be read"
#: What a message must say, by what had happened.
_CAUSES: dict[int, str] = {
    errno.EIO: _DISK,
    SHORT: "the disk is full|No space|its room|no room",
    errno.ENOSPC: "the disk is full|No space|its room|no room",
    errno.EDQUOT: "quota",
    errno.EMFILE: "open files",
    errno.ENOLCK: "lock",
    errno.ENOMEM: f"memory|{_DISK}",
    errno.EPERM: "not permitted",
}
_CAUSES_OF_KIND = {
    "open": f"open files|Input/output|No space|{_OPEN}",
    "lock": "lock|Input/output",
}


_ID = r"[A-Za-z0-9_-]{21}"
_KEPT = ".replaced-"  # and the time, which differs from run to run


class FailingDisk(Guard):
    """Fails at one operation of a kind, or from that one on."""

    def __init__(self, kind: str, at: int, code: int, *, lasting: bool) -> None:
        self.kind = kind
        self.code = code
        self.lasting = lasting
        self.failed = 0
        self._left = at

    def before(self, operation: Operation) -> int:
        """See Guard."""
        if operation.kind != self.kind:
            return 0
        self._left -= 1
        if self._left > 0 or (self._left < 0 and not self.lasting and not self._is_rest()):
            return 0
        self.failed += 1
        # A disk that took half of a write is full at the other half.
        return errno.ENOSPC if self.code == SHORT and self._left < 0 else self.code

    @property
    def cause(self) -> str:
        """A pattern of what a message must say."""
        if self.code == errno.EMFILE:
            return _CAUSES[self.code]
        return _CAUSES_OF_KIND.get(self.kind, _CAUSES[self.code])

    def _is_rest(self) -> bool:
        return self._left == -1 and self.code == SHORT and self.kind == "write"

    def __str__(self) -> str:
        name = "short" if self.code == SHORT else errno.errorcode[self.code]
        return f"{self.kind} {name}{' from then on' if self.lasting else ''}"


class _Learning(Recorder):
    """Counts operations once told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kinds: Counter[str] = Counter()
        self.changes = 0
        self.counts = False

    def before(self, operation: Operation) -> int:
        """See Guard."""
        if self.counts:
            self.kinds[operation.kind] += 1
            self.changes += operation.changes
        return 0


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing to do while the disk fails."""

    name: str
    prepare: Callable[[Path], None]  #: in a new directory
    begin: Callable[[Path], Store | None]
    act: Callable[[Store | None, Path], object]
    #: Do it again on a good disk, where a half may be there that only doing it again ends.
    again: Callable[[Path], None] | None = None


def _open(directory: Path) -> Store:
    return Store.open(directory / "store.db", busy_timeout=0.05)


def _open_durable(directory: Path) -> Store:
    return Store.open(directory / "store.db", busy_timeout=0.05, durable=True)


def _furnished(directory: Path) -> None:
    with _open(directory) as store:
        furnish(store, chunks=1_100)


def _left_by_a_killed_process(directory: Path) -> None:
    """The log is still there, and holds work."""
    _furnished(directory)
    with _open(directory) as store:
        store.initiatives.create(id="logged", name="logged")
        kept = {one.name: one.read_bytes() for one in directory.iterdir()}
    for name, data in kept.items():
        if not name.endswith(("-shm", "-turn")):
            (directory / name).write_bytes(data)


def _with_backup(prepare: Callable[[Path], None]) -> Callable[[Path], None]:
    def prepared(directory: Path) -> None:
        with _open(directory) as store:
            store.initiatives.create(id="copied", name="copied")
            store.backup(directory / "copy.bak")
        shutil.move(directory / "store.db", directory / "other")
        prepare(directory)

    return prepared


def _restore(_: Store | None, directory: Path) -> None:
    cwstore.restore(directory / "copy.bak", directory / "store.db")


def _restore_again(directory: Path) -> None:
    """Whatever became of the first one, nothing of the old file, or of its log, is lost."""
    _restore(None, directory)
    kept = [
        row[0]
        for one in directory.glob(f"store.db{_KEPT}*")
        if not one.name.endswith(("-wal", "-shm"))
        for row in picture_of(one)["initiatives"]
    ]
    if "'logged'" not in kept:
        raise AssertionError(f"of the old file only {sorted(set(kept))} is kept")


def _old(version: int) -> Callable[[Path], None]:
    return lambda directory: make_old(directory / "store.db", version)


def _no_store(_: Path) -> None:
    return None


def _open_and_close(_: Store | None, directory: Path) -> None:
    _open(directory).close()


def _migrate(_: Store | None, directory: Path) -> None:
    cwstore.migrate(directory / "store.db")


def _close(store: Store | None, _: Path) -> None:
    assert store
    store.close()


def _with_store(act: Callable[[Store, Path], object]) -> Callable[[Store | None, Path], object]:
    def run(store: Store | None, directory: Path) -> object:
        assert store
        return act(store, directory)

    return run


ON_STORES = tuple(
    Subject(action.name, _furnished, _open, _with_store(action.act))
    for action in (*ACTIONS, *FURTHER)
)
ON_FILES = (
    Subject("durable write", _furnished, _open_durable, _with_store(BY_NAME["messages"].act)),
    Subject("durable claim", _furnished, _open_durable, _with_store(BY_NAME["claim"].act)),
    Subject("open", _furnished, _no_store, _open_and_close),
    Subject("open after a kill", _left_by_a_killed_process, _no_store, _open_and_close),
    Subject("status", _old(15), _no_store, lambda _, d: cwstore.status(d / "store.db")),
    Subject("close", _furnished, _open, _close),
    Subject("rehearse", _old(14), _no_store, lambda _, d: cwstore.rehearse(d / "store.db")),
    Subject("restore", _with_backup(_furnished), _no_store, _restore),
    Subject("restore to a new place", _with_backup(lambda _: None), _no_store, _restore),
    Subject(
        "restore after a kill",
        _with_backup(_left_by_a_killed_process),
        _no_store,
        _restore,
        _restore_again,
    ),
    Subject("new file", lambda _: None, _no_store, _open_and_close),
    *(Subject(f"migrate {version}", _old(version), _no_store, _migrate) for version in range(17)),
)
SUBJECTS = (*ON_STORES, *ON_FILES)


@dataclass(slots=True)
class Outcome:
    """Of a sweep."""

    trials: int = 0
    failed: int = 0  #: calls that raised
    unknown: int = 0  #: of these, with an unknown outcome
    faults: list[str] = field(default_factory=list[str])


class Sweep:
    """All failures of one subject."""

    def __init__(self, subject: Subject, place: Path, calls: SystemCalls) -> None:
        self._subject = subject
        self._place = place
        self._calls = calls
        self._quiet = calls.guard
        self._base = place / "base"
        self._base.mkdir()
        subject.prepare(self._base)
        self.outcome = Outcome()
        self.store: Store | None = None  # of the trial that runs
        with _whole_steps():
            self._learn()

    def _learn(self) -> None:
        """Do it once on a good disk: count operations, and look at every moment of the file."""
        directory = self._new_directory()
        recorder = self._calls.guard = _Learning(directory)
        store = self._subject.begin(directory)
        recorder.counts = True
        self._subject.act(store, directory)
        self._calls.guard = self._quiet
        if store:
            store.close()
        self.kinds = recorder.kinds
        self.changes = recorder.changes
        self._after = picture_of(directory / "store.db")
        self._files = _names_in(directory)
        self._moments = self._moments_of(recorder, directory)
        shutil.rmtree(directory)

    def _moments_of(self, recorder: Recorder, directory: Path) -> list[Picture]:
        """What the file shows before, between its transactions, and after."""
        disk, looked = Disk(recorder.there), self._place / "moment"
        moments: list[Picture] = []
        for event in (None, *recorder.events):
            if event is not None:
                disk.happen(event)
            looked.mkdir()
            rebuild(disk.now(), directory, looked)
            picture = _picture(looked / "store.db")
            shutil.rmtree(looked)
            if picture not in moments:
                moments.append(picture)
        return moments

    def _new_directory(self) -> Path:
        directory = self._place / "disk"
        shutil.copytree(self._base, directory)
        return directory

    def run(self, every: int = 1, kinds: Iterable[str] = KINDS) -> Outcome:
        """Each operation of these kinds (or every so many) fails in each way."""
        for kind in kinds:
            for code in KINDS[kind]:
                # A disk on which no read gets further is no disk: SQLite takes it for shorter.
                for lasting in (False, True)[: 1 if (kind, code) == ("read", SHORT) else 2]:
                    for at in range(1, self.kinds[kind] + 1, every):
                        self._try(at, FailingDisk(kind, at, code, lasting=lasting))
        return self.outcome

    def _try(self, at: int, disk: FailingDisk) -> None:
        directory = self._new_directory()
        self.outcome.trials += 1
        try:
            with _whole_steps():
                faults = list(self._trial(directory, disk))
        finally:
            self._calls.guard = self._quiet
        where = f"{self._subject.name}, {disk}, at {at} of {self.kinds[disk.kind]}"
        self.outcome.faults += [f"{where}: {fault}" for fault in faults]
        shutil.rmtree(directory)

    def _trial(self, directory: Path, disk: FailingDisk) -> Iterator[str]:
        store = self._subject.begin(directory)
        self._calls.guard = disk
        error = _error_of(lambda: self._subject.act(store, directory))
        more = [_error_of(lambda: _mark(store, "during"))] if store and disk.lasting else []
        self._calls.guard = self._quiet
        # Whose log it is that nobody could move into the file stays noted; to look applies it.
        noted = {"store.db-turn"} if (directory / "store.db-wal").exists() else set[str]()
        yield from self._judge_errors(disk, [error, *more])
        owed = ["'during'"] if more and more[0] is None and self._subject.name != "close" else []
        if store is None and self._subject.again is not None:
            yield from self._do_again(directory)
        elif store is None:  # opening it again would migrate it
            yield from self._judge_file(directory, error, owed)
            yield from self._judge_leftovers(directory, error, disk, noted)
            yield from _open_again(directory)
        else:
            yield from _use_again(store, directory)
            yield from self._judge_file(directory, error, [*owed, "'again'"])
            yield from self._judge_leftovers(directory, error, disk, set())

    def kill(self, at: int, killer: Guard) -> None:
        """Let a process do it that dies meanwhile; then the file is whole, and used at once."""
        directory = self._new_directory()
        self.outcome.trials += 1
        faults: list[str] = []
        if self._killed(directory, killer):
            self.outcome.failed += 1
        else:
            faults.append("it did not die")
        if self._subject.again is None:
            faults += self._judge_file(directory, CwstoreError("killed"), [])
            faults += _open_again(directory)
        else:
            faults += self._do_again(directory)
        where = f"{self._subject.name}, killed at {at} of {self.changes}"
        self.outcome.faults += [f"{where}: {fault}" for fault in faults]
        shutil.rmtree(directory)

    def once(self, around: Callable[[], AbstractContextManager[None]]) -> None:
        """Do it on a good disk, with something around it."""
        directory = self._new_directory()
        self.store = self._subject.begin(directory)
        with _whole_steps(), around():
            self._subject.act(self.store, directory)
        if self.store is not None:
            self.store.close()
        shutil.rmtree(directory)

    def disturb(
        self,
        how: str,
        around: Callable[[], AbstractContextManager[None]],
        expected: tuple[type[BaseException], ...],
    ) -> None:
        """Do it with something around it that may raise; then the store, if there is one, goes on.

        Only an error of ours may come out, or one of those that are expected.
        """
        with warnings.catch_warnings():
            # A store that was opened just before, and given to nobody.
            warnings.simplefilter("ignore", ResourceWarning)
            self._disturb(how, around, expected)
            gc.collect()

    def _disturb(
        self,
        how: str,
        around: Callable[[], AbstractContextManager[None]],
        expected: tuple[type[BaseException], ...],
    ) -> None:
        directory = self._new_directory()
        self.outcome.trials += 1
        store = self.store = self._subject.begin(directory)
        error: BaseException | None = None
        try:
            with _whole_steps(), around():
                self._subject.act(store, directory)
        except BaseException as raised:  # noqa: BLE001 whatever it is, it is told
            error = raised
        faults: list[str] = []
        if error is not None and not isinstance(error, (CwstoreError, *expected)):
            faults.append(f"{type(error).__name__}: {error}")
        self.outcome.failed += error is not None
        if store is None and self._subject.again is not None:
            faults += self._do_again(directory)
        elif store is None:
            faults += self._judge_file(directory, error or CwstoreError("perhaps"), [])
            faults += _open_again(directory)
        else:
            faults += _use_again(store, directory)
            faults += self._judge_file(directory, error or CwstoreError("perhaps"), ["'again'"])
        # A draft that Ctrl-C has left is cleared by whoever makes the next one.
        left = {
            name
            for name in _names_in(directory) - self._files
            if name.startswith(".") and not name.endswith(".tmp")
        }
        if left:
            faults.append(f"left behind: {sorted(re.sub(_ID, 'ID', one) for one in left)}")
        self.outcome.faults += [f"{self._subject.name}, {how}: {fault}" for fault in faults]
        shutil.rmtree(directory)

    def _do_again(self, directory: Path) -> Iterator[str]:
        """What is half done is refused until it is done again, and then it is done."""
        assert self._subject.again is not None
        error = _error_of(lambda: self._subject.again and self._subject.again(directory))
        if error is not None:
            yield f"cannot be done again: {type(error).__name__}: {_without_places(error)}"
        yield from self._judge_file(directory, None, [])
        yield from _open_again(directory)

    def _killed(self, directory: Path, killer: Guard) -> bool:
        child = os.fork()
        if child == 0:
            try:
                with _whole_steps():
                    store = self._subject.begin(directory)
                    self._calls.guard = killer
                    self._subject.act(store, directory)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)

    def _judge_errors(self, disk: FailingDisk, errors: list[BaseException | None]) -> Iterator[str]:
        self.outcome.failed += errors[0] is not None
        self.outcome.unknown += isinstance(errors[0], OutcomeUnknownError)
        for error in errors:
            if error is None:
                continue
            if not isinstance(error, CwstoreError):
                yield f"{type(error).__name__}: {error}"
            elif self._subject.name == "close" and "closed" in str(error):
                continue
            elif not re.search(disk.cause, str(error)):
                yield f"not the cause: {type(error).__name__}: {_without_places(error)}"

    def _judge_file(
        self, directory: Path, error: BaseException | None, owed: list[str]
    ) -> Iterator[str]:
        file = directory / "store.db"
        picture = _picture(file)
        marks = {row[0] for row in picture.get("initiatives", [])}
        for name in owed:
            if name not in marks:
                yield f"what was acknowledged is not there: {name}"
        expected = [self._after] if error is None else self._moments
        plain = _without_marks(picture)
        if all(_without_marks(one) != plain for one in expected):
            shown = "; ".join(differences(_without_marks(expected[-1]), plain))
            yield f"{'done' if error is None else 'failed'}, but the file shows {shown}"
        yield from damage_of(file) if file.exists() else []
        for copy in directory.glob("*.bak"):
            yield from damage_of(copy)

    def _judge_leftovers(
        self, directory: Path, error: BaseException | None, disk: FailingDisk, noted: set[str]
    ) -> Iterator[str]:
        left = _names_in(directory) - self._files - noted
        if error is None:
            missing = self._files - _names_in(directory)
            if missing:
                yield f"done, but {sorted(missing)} is missing"
        # Who cannot lock it, or look at it, cannot know that nobody else has it open.
        if disk.kind in {"lock", "stat"}:
            left.discard("store.db-turn")
        if left and disk.kind not in {"delete", "rmdir", "list"}:
            yield f"left behind: {sorted(re.sub(_ID, 'ID', one) for one in left)}"


def _error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except Exception as error:  # noqa: BLE001 whatever it is, it is told
        return error
    return None


def _names_in(directory: Path) -> set[str]:
    return {re.sub(rf"{_KEPT}[\dTZ]+(-\d+)?", _KEPT, one.name) for one in directory.iterdir()}


def _mark(store: Store | None, name: str) -> None:
    assert store
    store.initiatives.create(id=name, name=name)


def _use_again(store: Store, directory: Path) -> Iterator[str]:
    """The disk is good again, and so must be the store."""
    error = _error_of(lambda: _mark(store, "again"))
    if isinstance(error, cwstore.StoreClosedError):
        with _open(directory) as another:
            error = _error_of(lambda: _mark(another, "again"))
    if error is not None:
        yield f"not usable again: {type(error).__name__}: {_without_places(error)}"
    error = _error_of(store.close)
    if error is not None:
        yield f"cannot be closed: {type(error).__name__}: {_without_places(error)}"


def _open_again(directory: Path) -> Iterator[str]:
    """The disk is good again, and the file can be opened and brought up to date."""
    try:
        with _open(directory) as opened:
            _mark(opened, "again")
        marks = {row[0] for row in picture_of(directory / "store.db")["initiatives"]}
        if "'again'" not in marks:
            yield "what was written afterwards is not there"
    except CwstoreError as refusal:
        yield f"cannot be opened again: {type(refusal).__name__}: {_without_places(refusal)}"


def _picture(file: Path) -> Picture:
    if not file.exists():
        return {}
    try:
        return picture_of(file)
    except apsw.Error as error:
        return {"unreadable": [(str(error),)]}


def _without_marks(picture: Picture) -> Picture:
    marks = {"'again'", "'during'"}
    return {table: [row for row in rows if row[0] not in marks] for table, rows in picture.items()}


def _without_places(error: BaseException) -> str:
    return re.sub(r"/\S*/", "", re.sub(_ID, "ID", str(error)))


@contextmanager
def _whole_steps() -> Generator[None, None, None]:
    """Long deletions end their transactions by rows alone, never by time."""
    places: list[Any] = [bulk_delete, log_retention]
    seconds = [one.SECONDS_AT_A_TIME for one in places]
    for one in places:
        one.SECONDS_AT_A_TIME = 600.0
    try:
        yield
    finally:
        for one, before in zip(places, seconds, strict=True):
            one.SECONDS_AT_A_TIME = before
