"""Hears what the triggers of a schema tell, for all feeds of a store."""

import json
from threading import Lock
from typing import TYPE_CHECKING
from weakref import ref

import psycopg

from cwstore._postgres.connection import connect, is_stale
from cwstore._postgres.error_map import is_of_standby, map_error
from cwstore._postgres.lane import BEGIN, COMMIT
from cwstore._postgres.telling import LISTENERS
from cwstore.core.changes import (
    NOTE_OF_ELSEWHERE,
    NOTE_OF_OVERFLOW,
    ChangeFeed,
    ChangeNote,
    ChangeOperation,
    open_feeds,
)
from cwstore.core.clock import real_time as time
from cwstore.errors import CwstoreError, StorageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cwstore._postgres.address import Address
    from cwstore._postgres.connection import Connection
    from cwstore._postgres.writer import Writer

_PATIENCE = 0.1  # seconds that a look may take
_RETRY = 1.0  # seconds until a server that is away is asked again
_OPERATIONS = {
    "INSERT": ChangeOperation.INSERT,
    "UPDATE": ChangeOperation.UPDATE,
    "DELETE": ChangeOperation.DELETE,
}
_PLACE = f"SELECT {LISTENERS.format('$1')}"


class Listener:
    """One session that listens, while a feed is open."""

    def __init__(self, address: "Address", busy_timeout: float, writer: "Writer") -> None:
        self._address = address
        self._busy_timeout = busy_timeout
        self._writer = writer
        self._feeds: list[ref[ChangeFeed]] = []
        self._connection: Connection | None = None
        self._lock = Lock()  # held by who uses the connection
        self._heard: list[list[ChangeNote]] = []  # by transaction
        self._ended = 0  # transactions of the store, all of which were heard
        self._retry_at = 0.0  # by the monotonic clock
        self._told = True  # False: something was missed, and no feed knows yet

    @property
    def feeds(self) -> list[ChangeFeed]:
        """Those that are neither closed nor dropped."""
        return open_feeds(self._feeds)

    def add(self, feed: ChangeFeed, *, wait: bool = False) -> None:
        """Let it hear what is committed from now on. For who holds the lane, or may `wait` for it.

        Raises BusyError, StorageError.

        Whoever has begun to write before, outside of the lane, is heard from his next statement on.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._connect(self._busy_timeout if wait else None)
            else:
                self._hear()  # what was committed before is not for it
            self._ended = self._writer.ended
            self._feeds.append(ref(feed, lambda _: self.leave()))

    def _connect(self, wait: float | None = None) -> "Connection":
        """A session that listens. With `wait`, so many seconds at most are left to who writes now.

        He found that nobody listens: what comes is known when he is done.
        """
        seconds = self._busy_timeout if wait is None else wait
        connection = connect(self._address, busy_timeout=seconds, read_only=True)
        try:
            ((place,),) = connection.execute(_PLACE, [self._writer.lane.schema]).fetchall()
            connection.add_notify_handler(self._note)
            connection.execute(f'LISTEN "cwstore {place}"'.encode())
            connection.execute("SELECT pg_advisory_lock_shared($1::bigint)", [place])
            if wait is not None:
                for text, values in (BEGIN, self._writer.lane.take, COMMIT):
                    connection.execute(text, values)
            return connection
        except psycopg.Error as error:
            what = f"listening to {self._address.name}"
            fault: CwstoreError = map_error(error, what, seconds)
            if is_of_standby(error):
                fault = StorageError(
                    f"{what}: the server is a standby, which tells no changes; give the address of"
                    " the one that writes"
                )
        except BaseException:
            connection.close()
            raise
        connection.close()
        raise fault

    def look(self) -> None:
        """Publish what was committed. Who looks at the same time in another thread does it."""
        if self._lock.acquire(blocking=False):
            try:
                if self._feeds:
                    self._hear()
            finally:
                self._lock.release()
            self.leave()

    def _hear(self) -> None:
        try:
            if self._connection is None:
                self._reconnect()
            elif (ended := self._writer.ended) != self._ended or is_stale(self._connection):
                # All that was acknowledged before it comes with the answer.
                self._connection.execute("SELECT 1")
                self._ended = ended
        except (psycopg.Error, CwstoreError):
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                self._told = False
        self._publish()

    def _reconnect(self) -> None:
        if time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + _RETRY
        self._connection = self._connect(_PATIENCE)

    def _publish(self) -> None:
        heard, self._heard = self._heard, []
        if self._connection is not None and not self._told:
            self._told = True
            heard.insert(0, [NOTE_OF_OVERFLOW])
        for notes in heard:
            for feed in self.feeds:
                feed.publish(notes)

    def _note(self, notice: psycopg.Notify) -> None:
        number, *told = json.loads(notice.payload)
        if number == 1:
            self._heard.append([])
        self._heard[-1].extend(_notes(*told))

    def leave(self) -> None:
        """End the session if nobody listens any more. Never waits: who uses it now does it."""
        while not self.feeds and self._feeds and self._lock.acquire(blocking=False):
            try:
                self._feeds.clear()
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                self._told = True
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close all feeds, after what was still to be told."""
        with self._lock:
            if self._feeds:
                self._hear()
        for feed in self.feeds:
            feed.close()


def _notes(
    operation: str, table: str | None = None, ids: "Sequence[str | list[str]]" = ()
) -> list[ChangeNote]:
    if table is None:
        return [NOTE_OF_OVERFLOW if operation == "OVERFLOW" else NOTE_OF_ELSEWHERE]
    what = _OPERATIONS[operation]
    return [(what, table, tuple(one) if isinstance(one, list) else one) for one in ids]
