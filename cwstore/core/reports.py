"""What migrations, checks and counts report to the caller."""

from dataclasses import dataclass

from cwstore.core import publish

__all__ = [
    "CheckReport",
    "ExtensionStatus",
    "ImportReport",
    "MigrationReport",
    "MigrationStatus",
    "Progress",
    "ReaderStats",
    "RehearsalReport",
    "RestoreReport",
    "Step",
    "StoreStats",
    "TableStats",
]


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported before a script's first statement (`statement` = 0) and after each one."""

    migration: int  #: 1 for the first that this run applies; each extension begins anew
    of_migrations: int
    name: str  #: of an extension, with its name: billing/0001_invoices
    statement: int  #: statements that are done
    of_statements: int
    seconds: float  #: since this migration began


@dataclass(frozen=True, slots=True)
class Step:
    """One migration that was applied."""

    name: str
    statements: int
    rows_changed: int  #: inserted, updated or deleted, by triggers too
    seconds: float


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What a run did; `applied` is empty if the file was up to date or another process did it."""

    applied: tuple[str, ...]
    version_before: int
    version: int  #: of the file now; greater than the code's if newer, compatible code wrote it
    backup: str | None  #: its path; None: none was asked for, or there was nothing to lose
    seconds: float
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class ExtensionStatus:
    """An extension of a file, or one that it is to get."""

    name: str
    version: int  #: 0: the file does not have it yet
    newest: int | None  #: that its migrations lead to; None: this program does not know it
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """What a run would find and do."""

    path: str
    version: int  #: of the file; 0: empty, or not there yet
    newest: int  #: that the migrations lead to
    pending: tuple[str, ...]
    compatible_from: int  #: oldest schema version of code that may use the file as it is
    size: int  #: bytes, without the write-ahead log
    backup: str | None  #: that a run would make first; None: nothing pending, or nothing to lose
    #: Files that every user of the system may read or write, each with the command that mends it.
    exposed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()  #: what somebody else made in the file: "index mine on tasks"
    extensions: tuple[ExtensionStatus, ...] = ()  #: by name


@dataclass(frozen=True, slots=True)
class RehearsalReport:
    """What the pending migrations did to a copy."""

    path: str  #: of the file, which was not touched
    steps: tuple[Step, ...]
    version_before: int
    version: int
    size_before: int  #: bytes
    size: int  #: bytes after it, the write-ahead log moved in
    violations: tuple[str, ...]  #: foreign keys that led nowhere before and still do
    seconds: float


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What `restore` did."""

    path: str  #: of the file, which is a copy of the backup now
    version: int  #: its newest migration; older than this cwstore: it is migrated when opened
    size: int  #: bytes
    kept: str | None  #: where the file that was there is now, its log beside it; None: none was


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found; every list but `added` is empty when all is well."""

    integrity: tuple[str, ...]  #: damage, as SQLite's integrity_check words it
    foreign_keys: tuple[str, ...]  #: "table: n rows refer to rows of parent that do not exist"
    drift: tuple[str, ...]  #: how the structure differs from what the migrations make
    #: Files that every user of the system may read or write, each with the command that mends it.
    exposed: tuple[str, ...] = ()
    #: What somebody else made in the file, as "index mine on tasks". It is left alone.
    added: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the file is as it should be, whoever may read it."""
        return not (self.integrity or self.foreign_keys or self.drift)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of an exported initiative, by table."""

    initiative_id: str
    name: str
    rows: dict[str, int]  #: that were stored
    skipped: dict[str, int]  #: that the store had already
    #: Of rows that are neither in the file nor in the store: they are NULL now, and edges left out.
    references_dropped: int
    agents_renamed: dict[str, str]  #: the new name by id, where another agent had the name


@dataclass(frozen=True, slots=True)
class TableStats:
    """One table of the file."""

    name: str
    rows: int
    bytes: int  #: pages of the table itself
    index_bytes: int  #: pages of all its indexes


@dataclass(frozen=True, slots=True)
class ReaderStats:
    """Somebody who reads, or has a transaction open."""

    pid: int
    process: str | None  #: its name; None where the system does not tell
    thread: str | None  #: by name; None if not of this store
    #: A table, "backup", "check", "stats" or "transaction"; None if not of this store.
    what: str | None
    seconds: float | None  #: since it began; None where nobody knows


@dataclass(frozen=True, slots=True)
class StoreStats:
    """How large a store is."""

    version: int  #: the newest migration that the file has
    file_bytes: int
    wal_bytes: int  #: 0 while there is no write-ahead log
    #: Of the log, what is not in the file yet. Beyond some 4 MB it waits for a reader to end.
    wal_pending_bytes: int
    free_bytes: int  #: in the file, to be used again or given back
    tables: tuple[TableStats, ...]  #: by name
    readers: tuple[ReaderStats, ...]  #: when the counting began; longest first, unknown last


publish(globals())
