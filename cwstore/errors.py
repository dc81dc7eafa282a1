"""The error tree: every failure a caller can meet, each with a message that says what to do.

Errors carry what a program needs as attributes; the message is for people. They can be copied and
pickled, so they come through a process pool as they are.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class CwstoreError(Exception):
    """Base of everything cwstore raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception would call the class with the message alone, whatever its arguments are.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(
    kind: type[CwstoreError], args: tuple[object, ...], attributes: dict[str, object]
) -> CwstoreError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def with_note(error: CwstoreError, note: str) -> CwstoreError:
    """A new error of the same kind and attributes whose message has one more sentence."""
    return _restored(type(error), (f"{error} {note}",), error.__dict__)


def at_place(error: CwstoreError, place: str) -> CwstoreError:
    """A new error of the same kind and attributes whose message begins with a place."""
    return _restored(type(error), (f"{place}: {error}",), error.__dict__)


class NotFoundError(CwstoreError):
    """The row that was to be changed does not exist; nothing was changed."""

    def __init__(self, message: str, *, table: str | None = None, id: str | None = None) -> None:
        super().__init__(message)
        self.table = table  #: None where the error is not about a row
        self.id = id


class ConflictReason(StrEnum):
    """Why a call came into conflict with what is stored."""

    TAKEN = "taken"  #: another row has the unique value or the id
    STALE = "stale"  #: the row was updated since it was read
    HELD = "held"  #: somebody else holds the task, or the agent holds another one
    NOT_HELD = "not_held"  #: the caller does not hold the task, or no longer
    NOT_READY = "not_ready"  #: something has to be done before the task can be claimed
    SETTLED = "settled"  #: it was answered, responded to or reverted already
    TRANSACTION = "transaction"  #: not possible in this transaction, thread or task


class ConflictError(CwstoreError):
    """The row is not in the state the call needs, or a unique value is taken; nothing changed."""

    def __init__(
        self,
        message: str,
        *,
        reason: ConflictReason = ConflictReason.TAKEN,
        table: str | None = None,
        id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.table = table  #: None where the error is not about a row
        self.id = id


class MissingReferenceError(CwstoreError):
    """A row refers to one that does not exist, or that would be deleted; nothing was changed."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field  #: the argument that names the missing row; None where nobody knows


class InvalidValueError(CwstoreError):
    """A value was refused before anything was written."""

    def __init__(self, field: str, problem: str, *, index: int | None = None) -> None:
        place = "" if index is None else f"item {index}: "
        super().__init__(f"{place}{field}: {problem}")
        self.field = field  #: the argument
        self.index = index  #: which item of a batch, from 0; None: it was no batch


def of_item(error: InvalidValueError, index: int) -> InvalidValueError:
    """The same error, about that item of a batch."""
    problem = str(error).removeprefix(f"{error.field}: ")
    return InvalidValueError(error.field, problem, index=index)


class SecretError(CwstoreError):
    """A secret cannot be read or encoded: another key, or no codec. Nothing was changed."""

    def __init__(self, message: str, *, field: str | None = None, id: str | None = None) -> None:
        super().__init__(message)
        self.field = field  #: the column; None where the error is about none
        self.id = id  #: of the row; None where it has none yet


class CycleError(CwstoreError):
    """The edge or parent would close a cycle; nothing was changed."""

    def __init__(self, message: str, *, path: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        #: The ids of the ring: each waits for the next (or lies in it), the last for the first.
        self.path = path


class BusyError(CwstoreError):
    """Another connection held the lock for the whole busy timeout; nothing was changed."""

    def __init__(
        self,
        message: str,
        *,
        waited: float | None = None,
        holder: str | None = None,
        since: "datetime | None" = None,
    ) -> None:
        super().__init__(message)
        self.waited = waited  #: seconds; None where it was not measured
        self.holder = holder  #: process and thread; None where nobody knows
        #: When the transaction of the holder began, by the clock of this store. None where nobody
        #: knows: it is another program, or a write of a process that opened no transaction for it.
        self.since = since


class OutcomeUnknownError(CwstoreError):
    """The disk failed inside COMMIT: read whether the transaction is there before repeating it."""


class StoreClosedError(CwstoreError):
    """The store was closed, or was opened by the process this one was forked from."""


class CorruptDatabaseError(CwstoreError):
    """The file is damaged, or not structured as its version says; nothing was repaired."""


class StorageError(CwstoreError):
    """The path or its disk cannot be used (a directory, unreadable, read-only, full, failing)."""


class ForeignDatabaseError(CwstoreError):
    """The file is not a cwstore database; it was left alone."""


class SchemaTooNewError(CwstoreError):
    """A newer cwstore wrote the file and made no promise that this version can use it."""


class MigrationError(CwstoreError):
    """A migration failed or was refused and left no trace; those applied before it stay."""
