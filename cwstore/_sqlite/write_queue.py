"""The queue in which the writers of all processes wait for the write lock of a file.

SQLite's lock goes to whoever asks at the right moment, nearly always the process that has just
released it: with 8 busy writers some waited 2,000 times the median. Here a writer that finds the
lock taken asks again for a moment. Then it takes a ticket from `<file>-turn`, a few bytes that all
processes share. Of the writers in the queue only the head asks SQLite, so it notices a free lock
within some 0.1 ms. A newcomer may barge: ask SQLite ahead of those who wait. It may not, and goes
to the end of the queue, if many wait or the head has waited for too long. `tools/fairness` measures
what that gives.

The queue protects nothing: SQLite's lock alone decides who writes. Two equal tickets, a head that
was killed, or bytes that make no sense cost a few ms and nothing else. The bytes are read and
written by system calls of some 0.4 µs. To map them into memory would be faster, but whoever cuts
the file then kills every process that looks (SIGBUS).

The file also notes of which database the log is that lies beside it: see identity.py.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from struct import Struct
from typing import TYPE_CHECKING, Any

from cwstore._sqlite.busy_handler import LONG
from cwstore._sqlite.database_file import MEMORY, find_leftover_log, inode_of
from cwstore._sqlite.identity import TURN_BYTES, note_number
from cwstore._sqlite.side_files import open_side_file
from cwstore.core.clock import real_time as time
from cwstore.errors import StorageError

if TYPE_CHECKING:
    from typing import Protocol

    class _Bytes(Protocol):
        """Bytes at places that are known."""

        def read(self, count: int, place: int) -> bytes: ...
        def read_surely(self, count: int, place: int) -> bytes: ...
        def write(self, data: bytes, place: int) -> None: ...


# Measured: four busy processes that read and write do 1.2 times as much if a writer barges for some
# ms before it queues. If it may overtake fewer than 3 they do a third; if more, eight processes are
# no longer served in order.
BARGE_SECONDS = 0.003  # for which a writer asks SQLite again before it takes a ticket
MAX_BARGED = 3  # waiting writers that a newcomer may overtake; never more
HEAD_STARVING = 0.001  # seconds at the head after which no newcomer may overtake
HEAD_LEASE = 0.02  # seconds without a look after which the head counts as gone
NEXT_HEAD_LEASE = 0.002  # seconds until the one behind a head that is gone counts as gone as well

_MAX_WAITING = 10_000  # writers; a ticket further from the head makes no sense
_MAX_TICKET = 1 << 62  # nor does a larger one
_SPINS = 20  # looks without a pause: some 50 µs
_TRIES = 50  # 2 ms apart: how long to wait for the process that removes the file

# What `<file>-turn` holds: two numbers, two times, and the last stamp of the file. Then follow the
# note of identity.py, until when somebody listens to changes, and who has a `with` block open: its
# process, when that began, and the last stamp then. It holds as long as that is the last stamp.
_NEXT_TICKET, _HEAD_TICKET = 0, 1
_HEAD_SEEN, _HEAD_SINCE = 0, 1  # when the head last looked, and when it became the head
_TIMES, _STAMP, _LISTENED, _HOLDER = 16, 32, 48, 56  # where they begin; the numbers are the first
LISTENED = 30.0  # seconds for which a listener counts who does not look again
_NUMBER, _TIME, _SIGNED = Struct("=Q"), Struct("=d"), Struct("=q")
_FIRST_LOOK = Struct("=QQ32xd")  # the numbers, and until when somebody listens
_HOLDING = Struct("=qdq")


class _File:
    """The bytes of a file. What lies beyond its end, or cannot be read, is 0."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self, count: int, place: int) -> bytes:
        try:
            return self.read_surely(count, place)
        except OSError:  # the disk fails; SQLite's lock still decides who writes
            return bytes(count)

    def read_surely(self, count: int, place: int) -> bytes:
        """As `read`. Raises OSError."""
        return os.pread(self._descriptor, count, place).ljust(count, b"\0")

    def write(self, data: bytes, place: int) -> None:
        try:
            os.pwrite(self._descriptor, data, place)
        except OSError:  # somebody has cut the file, and the disk is full
            pass


class _OwnBytes:
    """Bytes that nobody else sees."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = bytearray(TURN_BYTES)

    def read(self, count: int, place: int) -> bytes:
        return bytes(self._bytes[place : place + count])

    read_surely = read

    def write(self, data: bytes, place: int) -> None:
        self._bytes[place : place + len(data)] = data


class _Cells:
    """Some of the bytes as a list of numbers. Each is read and written whole: 8 bytes, aligned."""

    __slots__ = ("_bytes", "_place", "_struct")

    def __init__(self, shared: "_Bytes", place: int, struct: Struct) -> None:
        self._bytes = shared
        self._place = place
        self._struct = struct

    def __getitem__(self, index: int) -> Any:
        return self._struct.unpack(self._bytes.read(8, self._place + 8 * index))[0]

    def __setitem__(self, index: int, value: float) -> None:
        self._bytes.write(self._struct.pack(value), self._place + 8 * index)


class WriteQueue:
    """One writer's place in the queue. Its process lets one thread at a time use it."""

    __slots__ = (
        "_bytes",
        "_descriptor",
        "_file",
        "_listened",
        "_listens_until",
        "_numbers",
        "_process",
        "_times",
        "holder",
        "holder_began",
        "listened_until",
        "queued_at",
        "seconds_spent",
        "ticket",
    )

    def __init__(self, descriptor: int, file: str) -> None:
        self._descriptor = descriptor
        self._file = file
        self._process = os.getpid()
        self._bytes: _Bytes = _File(descriptor) if descriptor >= 0 else _OwnBytes()
        self._numbers = _Cells(self._bytes, 0, _NUMBER)
        # By the clock that all processes of a machine share.
        self._times = _Cells(self._bytes, _TIMES, _TIME)
        self._listened = _Cells(self._bytes, _LISTENED, _TIME)
        self._listens_until = 0.0  # as this store has said
        self.listened_until = 0.0  # as others have said, when `may_barge` looked
        self.ticket: int | None = None  # None: this writer is not in the queue
        self.queued_at = 0.0  # when the ticket was taken
        self.seconds_spent = 0.0  # of the busy timeout, before SQLite was asked
        self.holder: str | None = None  # who had the write lock when the wait became long
        self.holder_began: float | None = None  # when its transaction did

    def is_listened(self, now: float) -> bool:
        """Whether somebody listens to changes, as far as `may_barge` has seen."""
        return 0 < self.listened_until - now <= 2 * LISTENED  # it may be said anew after `now`

    def keep_listening(self) -> None:
        """Let writers know that somebody listens to changes, for some time from now."""
        until = time.monotonic() + LISTENED
        if not until - LISTENED / 2 < self._listened[0] <= until:
            self._listened[0] = self._listens_until = until
            self.listened_until = until

    def stop_listening(self) -> None:
        """Take it back. Others who listen say it again when they look the next time."""
        self.listened_until = self._listened[0]
        if self.listened_until == self._listens_until:  # nobody else has said so since
            self._listened[0] = self._listens_until = self.listened_until = 0.0

    @property
    def last_stamp(self) -> int:
        """The newest stamp that a writer of the file has given out; 0: none since it was opened.

        Only the holder of SQLite's write lock reads or sets it: so stamps rise in commit order,
        though the clocks of processes differ. Raises StorageError if it cannot be read.
        """
        try:
            data = self._bytes.read_surely(8, _STAMP)
        except OSError as error:
            raise StorageError(
                f"{self._file}-turn, which has the last stamp, cannot be read: {error.strerror};"
                " nothing was changed: check the disk"
            ) from None
        (stamp,) = _SIGNED.unpack(data)
        return int(stamp)

    @last_stamp.setter
    def last_stamp(self, stamp: int) -> None:
        self._bytes.write(_SIGNED.pack(stamp), _STAMP)

    def note_holder(self, began: float, stamp: int) -> None:
        """Note that this process has the write lock, for a `with` block: others may ask."""
        self._bytes.write(_HOLDING.pack(self._process, began, stamp), _HOLDER)

    def forget_holder(self) -> None:
        """Take it back. Needless once a later stamp is handed on."""
        self._bytes.write(bytes(_HOLDING.size), _HOLDER)

    def began(self, process: int) -> float | None:
        """When the process that has the write lock began its block; None if it has noted none."""
        noted, began, stamp = _HOLDING.unpack(self._bytes.read(_HOLDING.size, _HOLDER))
        known = noted == process and stamp == _SIGNED.unpack(self._bytes.read(8, _STAMP))[0]
        return float(began) if known and process else None

    def may_barge(self) -> bool:
        """Whether a newcomer may ask SQLite ahead of those who wait."""
        following, head, self.listened_until = _FIRST_LOOK.unpack(self._bytes.read(_HOLDER, 0))
        waiting = following - head
        return waiting <= 0 or not (
            waiting > MAX_BARGED or time.monotonic() - self._times[_HEAD_SINCE] > HEAD_STARVING
        )

    def wait_for_head(self, deadline: float) -> bool:
        """Take a ticket if this writer has none, and wait to be the head. False at the deadline."""
        if self.ticket is None:
            self._take_ticket()
        looks = 0
        while (ahead := self._count_ahead()) > 0:
            now = time.monotonic()
            if now >= deadline:
                return False
            if not 0.0 <= now - self._times[_HEAD_SEEN] < HEAD_LEASE:
                self._skip_head(now)
            elif ahead == 1 and looks < _SPINS:
                os.sched_yield()
            else:
                self.look_for_holder(now)
                time.sleep(min(ahead * 0.00005, 0.001))
            looks += 1
        self._times[_HEAD_SEEN] = time.monotonic()
        return True

    def look_for_holder(self, now: float) -> None:
        """Once the wait has become long: who has the write lock. It is told when the wait ends."""
        if self.holder is None and now - self.queued_at > LONG:
            holder = None
            with suppress(OSError):  # it cannot be imported: no descriptors are left
                from cwstore._sqlite.lock_holders import who_writes

                holder, process = who_writes(self._file)
                self.holder_began = self.began(process)
            self.holder = holder or "unknown"

    def wait_at_most(self, seconds: float) -> float:
        """As `wait_for_head`, for that long at most. Returns the seconds it took."""
        started = time.monotonic()
        self.wait_for_head(started + seconds)
        return time.monotonic() - started

    def leave(self) -> None:
        """Give the ticket back, if this writer has one: the next in the queue becomes the head."""
        ticket = self.ticket
        if ticket is None:
            return
        self.ticket = None
        if self._numbers[_HEAD_TICKET] <= ticket:
            self._numbers[_HEAD_TICKET] = ticket + 1
            self._times[_HEAD_SEEN] = self._times[_HEAD_SINCE] = time.monotonic()

    def _take_ticket(self) -> None:
        head = self._numbers[_HEAD_TICKET]
        ticket = max(self._numbers[_NEXT_TICKET], head)
        if ticket > _MAX_TICKET:
            ticket = head = self._numbers[_HEAD_TICKET] = 0
        self.ticket = ticket
        self.holder = self.holder_began = None
        self.queued_at = time.monotonic()
        self._numbers[_NEXT_TICKET] = ticket + 1
        if ticket == head:
            self._times[_HEAD_SEEN] = self._times[_HEAD_SINCE] = time.monotonic()

    def _count_ahead(self) -> int:
        ticket = self.ticket
        assert ticket is not None
        ahead = ticket - int(self._numbers[_HEAD_TICKET])
        if ahead > _MAX_WAITING:
            self._numbers[_HEAD_TICKET] = ticket
            return 0
        return ahead

    def _skip_head(self, now: float) -> None:
        """Move on to the next ticket: the head was killed or stopped, or gave up."""
        self._numbers[_HEAD_TICKET] = min(self._numbers[_HEAD_TICKET], _MAX_TICKET) + 1
        self._times[_HEAD_SEEN] = now - HEAD_LEASE + NEXT_HEAD_LEASE
        self._times[_HEAD_SINCE] = now

    def note(self, number: int) -> None:
        """Note whose log comes into being, before the first write: see identity.py."""
        if self._descriptor >= 0:
            with suppress(OSError):  # then nobody can tell, as where there is no queue
                note_number(self._descriptor, number)

    def detach(self) -> None:
        """Close what this process has open of it, and change nothing that others see."""
        descriptor = getattr(self, "_descriptor", -1)  # not there: Ctrl-C came before it was set
        self._descriptor = -1
        if descriptor >= 0:
            os.close(descriptor)

    # Of a store that was dropped in a transaction, which nobody can close.
    __del__ = detach

    def close(self, file: str) -> None:
        """Leave and detach. The last process to do so removes `<file>-turn`.

        Not while a log lies there that nobody could move into the file: its note tells whose it is.
        """
        self.leave()
        # Made, but then the disk failed, and it could not be used.
        if self._descriptor < 0 and os.path.lexists(f"{file}-turn"):
            with suppress(OSError):
                self._descriptor = _open(file)
        if self._descriptor >= 0:
            with suppress(OSError, StorageError):  # not the last; or removed by hand
                flock(self._descriptor, LOCK_EX | LOCK_NB)
                status = os.fstat(self._descriptor)
                ours = inode_of(f"{file}-turn") == (status.st_dev, status.st_ino)
                if ours and not find_leftover_log(file):
                    os.unlink(f"{file}-turn")
                    os.unlink(f"{file}-changes")
        self.detach()


def open_write_queue(file: str) -> WriteQueue:
    """The queue of a database; where its file cannot be made, one for this store alone."""
    if file == MEMORY:
        return WriteQueue(-1, file)
    try:
        descriptor = _open(file)
    except OSError:
        return WriteQueue(-1, file)
    try:
        _fill(descriptor)
    except OSError:
        os.close(descriptor)
        return WriteQueue(-1, file)
    return WriteQueue(descriptor, file)


def _open(file: str) -> int:
    """Open or make `<file>-turn`, and hold a shared lock on it, so that others see it in use."""
    while True:
        descriptor = open_side_file(f"{file}-turn", file)
        try:
            _share(descriptor)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was removed before it was locked


def _fill(descriptor: int) -> None:
    """Give it all its bytes. What is there is kept: an older version may be using it."""
    size = os.fstat(descriptor).st_size
    if size < TURN_BYTES:  # written, so that a full disk says so now
        os.pwrite(descriptor, bytes(TURN_BYTES - size), size)


def _share(descriptor: int) -> None:
    """Take the shared lock. Raises OSError if the process that removes the file takes too long."""
    for _ in range(_TRIES):
        with suppress(BlockingIOError):
            flock(descriptor, LOCK_SH | LOCK_NB)
            return
        time.sleep(0.002)
    flock(descriptor, LOCK_SH | LOCK_NB)


def queueing_busy_handler(queue: WriteQueue, busy_timeout: float) -> Callable[[int], bool]:
    """A busy handler that barges for a moment, then waits in the queue.

    It gives up after `busy_timeout` seconds less `queue.seconds_spent`.

    The connection holds this function. So it must not hold the writer: a store that nobody closed
    shall be freed when its last reference goes.
    """
    barge_until = deadline = 0.0

    def wait(earlier_calls: int) -> bool:
        nonlocal barge_until, deadline
        now = time.monotonic()
        if earlier_calls == 0:
            barge_until, deadline = now + BARGE_SECONDS, now + busy_timeout - queue.seconds_spent
        if queue.ticket is None and now < min(barge_until, deadline) and queue.may_barge():
            time.sleep(0.0001)
            return True
        if not queue.wait_for_head(deadline) or time.monotonic() >= deadline:
            return False
        if earlier_calls < _SPINS:
            os.sched_yield()
        elif earlier_calls < 200:
            time.sleep(0.00005)
        else:
            queue.look_for_holder(now)
            time.sleep(0.0005 if earlier_calls < 2000 else 0.002)
        return True

    return wait
