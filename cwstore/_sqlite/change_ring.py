"""The changes that were committed, from process to process: `<file>-changes`.

The file is a ring with room for the newest changes. Who commits appends one entry while it holds
the lock of the ring: it takes that before the COMMIT, when it has SQLite's write lock, and lets go
of it afterwards. So the entries come in the order of the commits. A killed process leaves no lock
behind.

Each entry begins with its place, the number of bytes that were appended before it, so that what is
not written yet is told from what is. A hint tells where some newer entry begins: who comes new goes
on from there.

The ring protects nothing, and may be lost: whoever cannot read it, or finds that a commit is not in
it, says that something was committed elsewhere (see change_sharing.py). It is read and written by
system calls, not mapped: whoever cuts a mapped file kills those who look at it (SIGBUS).
"""

import os
from binascii import crc32
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from cwstore._sqlite.log_end import UNKNOWN, LogEnd
from cwstore._sqlite.side_files import open_side_file
from cwstore.core.changes import NOTE_OF_ELSEWHERE, ChangeNote, ChangeOperation
from cwstore.core.clock import real_time as time

ROOM = 1 << 20  # bytes for entries
_HINT = Struct("=Q8s")  # the place of an entry, and a mark
_ENTRY = Struct("=Q8sQI")  # place, the state of the file after it, bytes that follow
_CHECKSUM = 4  # bytes, behind those
_MARK = b"cwring2\n"  # another layout gets another mark
_START = 64  # where the entries begin
_HINT_EVERY = 4096  # bytes of entries
_LOCK = LOCK_EX | LOCK_NB
_GLANCE = 1024  # bytes that are read of an entry at once
_LONGEST = ROOM // 4  # bytes; of a greater transaction nobody is told what it changed
_PATIENCE = 0.05  # seconds for another process, between its COMMIT and its entry, on a busy machine
_YIELDS = 0.001  # seconds of them without a sleep
_IMPATIENCE = 1.0  # seconds after one that did not come to its entry, or was stopped before it

_BEYOND: list[ChangeNote] = [NOTE_OF_ELSEWHERE]  # which has no table
_OPERATIONS = {one[0]: one for one in ChangeOperation}


#: How far somebody has read the ring, or it has come: where the next entry begins, and the state of
#: the file after the last one.
Head: TypeAlias = tuple[int, LogEnd]


class Entry(NamedTuple):
    """What one commit changed."""

    follows: bool  # False: something was committed before it that is not in the ring
    notes: list[ChangeNote] | None  # None: too much, or nobody knows what


class ChangeRing:
    """The ring of one file, as one store has it open. Methods raise OSError."""

    def __init__(self, file: str) -> None:
        self._descriptor = open_side_file(f"{file}-changes", file)
        self._waits_from = 0.0  # when one may be waited for again

    def is_there(self) -> bool:
        """Whether the file has its name still. Who removes it loses changes, no more."""
        return os.fstat(self._descriptor).st_nlink > 0

    def try_lock(self, *, patiently: bool = True) -> bool:
        """Take the lock, if nobody has it; or, if `patiently`, if nobody has it for long."""
        try:
            flock(self._descriptor, _LOCK)
            return True
        except BlockingIOError:
            return patiently and self._wait_for_lock()

    def _wait_for_lock(self) -> bool:
        began = now = time.monotonic()
        if now < self._waits_from:
            return False
        while now < began + _PATIENCE:
            if now < began + _YIELDS:
                os.sched_yield()
            else:
                time.sleep(_YIELDS)
            if self.try_lock(patiently=False):
                return True
            now = time.monotonic()
        self._waits_from = now + _IMPATIENCE
        return False

    def unlock(self) -> None:
        """Let go of the lock; does nothing without it."""
        try:  # not `suppress`, which takes 1,000 instructions
            flock(self._descriptor, LOCK_UN)
        except OSError:
            pass

    def hint(self) -> int:
        """The place of a newer entry, or of one that was the newest some time ago."""
        data = os.pread(self._descriptor, _HINT.size, 0)
        if data[8:] != _MARK:
            return 0  # it is new, or somebody has cut it
        return int.from_bytes(data[:8], "little")

    def find_head(self) -> Head:
        """How far it has come."""
        place = self.hint()
        found = self._entry_at(place)
        if found is None:
            return place, UNKNOWN
        _, head = self.read((place, UNKNOWN))
        return head

    def read(self, head: Head) -> tuple[list[Entry] | None, Head]:
        """The entries from there on, and how far it has come.

        None instead of entries: some of them were written over.
        """
        hint = self.hint()
        entries: list[Entry] = []
        while found := self._entry_at(head[0]):
            entry, head = found
            entries.append(entry)
        if head[0] < hint:
            return None, self.find_head()
        return entries, head

    def has_news(self, head: Head) -> bool:
        """Whether an entry follows there. It may say no if so much followed that it is gone."""
        noted = os.pread(self._descriptor, 8, _START + head[0] % ROOM)
        return int.from_bytes(noted, "little") == head[0]

    def append(self, place: int, follows: bool, notes: list[ChangeNote] | None, end: LogEnd) -> int:
        """Add an entry at the place of the head; returns the place of the next one."""
        body = _encoded(follows, notes)
        salts, frames = end
        data = _ENTRY.pack(place, salts, frames, len(body)) + body
        data += crc32(data).to_bytes(_CHECKSUM, "little")
        at, size = place % ROOM, len(data)
        following = place + size
        if at + size <= ROOM:
            os.pwrite(self._descriptor, data, _START + at)
        else:
            os.pwrite(self._descriptor, data[: ROOM - at], _START + at)
            os.pwrite(self._descriptor, data[ROOM - at :], _START)
        if following % _HINT_EVERY < size:
            self.set_hint(place)
        return following

    def set_hint(self, place: int) -> None:
        """Let those who come new begin at the entry there."""
        os.pwrite(self._descriptor, _HINT.pack(place, _MARK), 0)

    def _entry_at(self, place: int) -> tuple[Entry, Head] | None:
        """The entry, and the head after it; None if it is not there: not yet, or no more."""
        data = self._read(place, _GLANCE)
        noted, salts, frames, length = _ENTRY.unpack_from(data)
        if noted != place or length > _LONGEST:
            return None
        end = _ENTRY.size + length
        size = end + _CHECKSUM
        if size > len(data):
            data = self._read(place, size)
        if crc32(data[:end]).to_bytes(_CHECKSUM, "little") != data[end:size]:
            return None
        return _decoded(data[_ENTRY.size : end]), (place + size, (salts, frames))

    def _read(self, place: int, count: int) -> bytes:
        at = place % ROOM
        data = os.pread(self._descriptor, min(count, ROOM - at), _START + at)
        if count > ROOM - at:
            data += os.pread(self._descriptor, count - (ROOM - at), _START)
        return data.ljust(count, b"\0")

    def close(self) -> None:
        """Close what this process has open of it; a second call does nothing."""
        descriptor = getattr(self, "_descriptor", -1)  # not there: it could not be opened
        self._descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close  # of a store that nobody closed


# An entry as bytes: whether it follows, then fields with U+0000 between them. A change is its
# letter with the number of its keys, the table, and the keys, each with a letter for its type.


def _encoded(follows: bool, notes: list[ChangeNote] | None) -> bytes:
    first = "f" if follows else "g"
    fields = [first]
    body = b""
    notes = _BEYOND if notes is None else notes
    try:
        if len(notes) == 1 and isinstance(key := notes[0][2], str) and "\0" not in key:
            operation, table, _ = notes[0]  # as nearly all: a statement of one row
            body = f"{first}\0{operation[0]}1\0{table}\0s{key}".encode()
            if len(body) <= _LONGEST:
                return body
        for operation, table, key in notes:
            if table is None:
                break  # nobody knows what
            # By its first letter: an enum hashes, and so looks itself up, in Python.
            if isinstance(key, str) and "\0" not in key:
                fields.append(f"{operation[0]}1\0{table}\0s{key}")
            elif isinstance(key, tuple):
                fields += (f"{operation[0]}{len(key)}", table, *map(_key, key))
            else:
                fields += (f"{operation[0]}1", table, _key(key))
        else:
            body = "\0".join(fields).encode()
    except ValueError:  # a key of another type
        pass
    if not body or len(body) > _LONGEST:
        body = first.upper().encode()
    return body


def _key(key: object) -> str:
    if isinstance(key, str) and "\0" not in key:
        return f"s{key}"
    if isinstance(key, int):
        return f"i{key}"
    if key is None:
        return "n"
    raise ValueError  # a number with a point, or bytes


def _decoded(body: bytes) -> Entry:
    first, *fields = body.decode().split("\0")
    if first.isupper():
        return Entry(first == "F", None)
    notes: list[ChangeNote] = []
    rest = iter(fields)
    for kind in rest:
        table = next(rest)
        keys: Any = tuple([_key_in(next(rest)) for _ in range(int(kind[1:]))])
        notes.append((_OPERATIONS[kind[0]], table, keys[0] if len(keys) == 1 else keys))
    return Entry(first == "f", notes)


def _key_in(text: str) -> object:
    return text[1:] if text[0] == "s" else int(text[1:]) if text[0] == "i" else None
