"""A disk that remembers what was synced: what may be on it after a power cut at any operation.

The rules are those of POSIX and no kinder: data is safe once its file is synced, a name (made,
removed or renamed) once its directory is. Until then each write is there, not there or torn, in any
order, and so is each change of a name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tools._python.faults.system_calls import Guard, Operation

SECTOR = 512  # bytes that a disk writes whole or not at all

#: In memory: written anew by every process that finds nobody at work.
_VOLATILE = ("-shm",)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. A file is told by its number, since its names change."""

    #: create (a file and its name), name, unname, rename, write, truncate, sync, sync-names, told
    kind: str
    file: int = -1
    path: str = ""
    other: str = ""
    offset: int = 0
    data: bytes = b""
    size: int = 0


class Recorder(Guard):
    """Writes down what is done below a directory, and what was acknowledged to the caller."""

    def __init__(self, root: Path) -> None:
        self.events: list[Event] = []
        self.there: dict[str, bytes] = {}  # files that were there before, safe on disk
        self._names: dict[str, int] = {}
        self._by_descriptor: dict[int, int] = {}
        self._root = root
        for place in sorted(root.rglob("*")):
            if place.is_file():
                self.there[str(place)] = place.read_bytes()
                self._names[str(place)] = len(self._names)
        self._made = len(self._names)

    def told(self, what: str) -> None:
        """The caller was told that it is done."""
        self.events.append(Event("told", path=what))

    def after(self, operation: Operation) -> None:
        """See Guard."""
        path = operation.path
        if path.endswith(_VOLATILE):
            return
        match operation.kind:
            case "open":
                self._opened(operation)
            case "write" | "truncate":
                file = self._file(operation)
                if operation.kind == "write":
                    event = Event("write", file, path, "", operation.offset, operation.data)
                else:
                    event = Event("truncate", file, path, size=operation.size)
                self.events.append(event)
            case "sync":
                if path in self._names:
                    self.events.append(Event("sync", self._file(operation), path))
                else:
                    self.events.append(Event("sync-names", path=path))
            case "delete":
                self._names.pop(path, None)
                self.events.append(Event("unname", path=path))
            case "link":
                self._names[operation.other] = self._names[path]
                self.events.append(Event("name", self._names[path], operation.other))
            case "rename":
                self._names[operation.other] = self._names.pop(path)
                self.events.append(
                    Event("rename", self._names[operation.other], path, operation.other)
                )
            case _:
                pass

    def _opened(self, operation: Operation) -> None:
        path = operation.path
        if path not in self._names:
            if not operation.creates:
                return  # a directory
            self._names[path] = self._made
            self._made += 1
            self.events.append(Event("create", self._names[path], path))
        self._by_descriptor[operation.descriptor] = self._names[path]

    def _file(self, operation: Operation) -> int:
        if operation.descriptor >= 0:
            return self._by_descriptor[operation.descriptor]
        return self._names[operation.path]


@dataclass(slots=True)
class _File:
    safe: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list[Event])


#: How to rebuild the disk after a cut; see `Disk.after_cut`.
WAYS = (
    *("kept", "lost", "torn", "names lost", "data lost"),
    *(f"reordered {number}" for number in range(1, 7)),
)


class Disk:
    """The disk while the events happen, one after another."""

    def __init__(self, before: dict[str, bytes]) -> None:
        self._files = {
            number: _File(bytearray(data)) for number, data in enumerate(before.values())
        }
        self._names = {path: number for number, path in enumerate(before)}
        self._pending: list[Event] = []  # changes of names

    def happen(self, event: Event) -> None:
        """Go on by one event."""
        match event.kind:
            case "create":
                self._files[event.file] = _File()
                self._pending.append(event)
            case "write" | "truncate":
                self._files[event.file].pending.append(event)
            case "sync":
                file = self._files[event.file]
                for change in file.pending:
                    _apply(file.safe, change)
                file.pending.clear()
            case "sync-names":
                left: list[Event] = []
                for change in self._pending:
                    if str(Path(change.other or change.path).parent) == event.path:
                        _rename(self._names, change)
                    else:
                        left.append(change)
                self._pending = left
            case "told":
                pass
            case _:
                self._pending.append(event)

    def now(self) -> dict[str, bytes]:
        """Files by path as a process sees them, were it killed now."""
        return self.after_cut("kept", Random(0))

    def after_cut(self, way: str, random: Random) -> dict[str, bytes]:
        """Files by path, as they may be found after the power has come back."""
        names = dict(self._names)
        shuffled = way.startswith("reordered")
        for change in self._pending:
            if way in {"lost", "names lost"} or (shuffled and random.random() < 0.5):
                continue
            _rename(names, change)
        data = {
            number: self._data(self._files[number], way, random) for number in set(names.values())
        }
        return {path: data[number] for path, number in names.items()}

    def _data(self, file: _File, way: str, random: Random) -> bytes:
        if way in {"lost", "data lost"} or not file.pending:
            return bytes(file.safe)
        found = bytearray(file.safe)
        shuffled = way.startswith("reordered")
        for change in file.pending[:-1] if way == "torn" else file.pending:
            if shuffled:
                for part in _shuffled(change, random):
                    _apply(found, part)
            else:
                _apply(found, change)
        if way == "torn":
            for part in _torn(file.pending[-1], random):
                _apply(found, part)
        return bytes(found)


def _apply(found: bytearray, change: Event) -> None:
    if change.kind == "truncate":
        del found[change.size :]
        found.extend(bytes(change.size - len(found)))
        return
    end = change.offset + len(change.data)
    if end > len(found):
        found.extend(bytes(end - len(found)))
    found[change.offset : end] = change.data


def _rename(names: dict[str, int], change: Event) -> None:
    if change.kind == "unname":
        names.pop(change.path, None)
    elif change.kind == "rename":
        names.pop(change.path, None)
        names[change.other] = change.file
    else:
        names[change.path] = change.file


def _shuffled(change: Event, random: Random) -> Iterator[Event]:
    """All of it, nothing of it, or some of its sectors."""
    chance = random.random()
    if chance < 0.4:
        yield change
    elif chance < 0.6:
        yield from _torn(change, random)


def _torn(change: Event, random: Random) -> Iterator[Event]:
    """Some of its sectors, or bytes if it is shorter than one."""
    if change.kind == "truncate":
        return
    size = len(change.data)
    parts = range(0, size, SECTOR) if size > SECTOR else range(0, size, max(1, size // 2))
    step = SECTOR if size > SECTOR else max(1, size // 2)
    for start in parts:
        if random.random() < 0.5:
            yield Event(
                "write",
                change.file,
                change.path,
                offset=change.offset + start,
                data=change.data[start : start + step],
            )


def rebuild(files: dict[str, bytes], old: Path, new: Path) -> None:
    """Lay the files out below `new`, as they were found below `old`."""
    for path, data in files.items():
        place = new / Path(path).relative_to(old)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
