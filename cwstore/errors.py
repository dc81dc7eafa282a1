"""The error tree: every failure a caller can meet, each with a message that says what to do."""


class CwstoreError(Exception):
    """Base of everything cwstore raises on purpose."""


class NotFoundError(CwstoreError):
    """The row that was to be changed does not exist; nothing was changed."""


class ConflictError(CwstoreError):
    """The row is not in the state the call needs, or a unique value is taken; nothing changed."""


class MissingReferenceError(CwstoreError):
    """A row refers to one that does not exist; nothing was changed."""


class InvalidValueError(CwstoreError):
    """A value was refused before anything was written; `field` names the argument."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        # A process of a pool pickles it; by itself, pickle would call the class with the message.
        problem = str(self).removeprefix(f"{self.field}: ")
        return type(self), (self.field, problem), vars(self)


class CycleError(CwstoreError):
    """The edge or parent would close a cycle; nothing was changed."""


class BusyError(CwstoreError):
    """Another connection held the lock for the whole busy timeout; nothing was changed."""


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
