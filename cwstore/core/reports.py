"""What a run of migrations tells: while it works, and afterwards."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Reported before a script's first statement (`statement` = 0) and after each one."""

    migration: int  #: 1 for the first that this run applies
    of_migrations: int
    name: str
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
class MigrationStatus:
    """What a run would find and do."""

    path: str
    version: int  #: of the file; 0: empty, or not there yet
    newest: int  #: that the migrations lead to
    pending: tuple[str, ...]
    compatible_from: int  #: oldest schema version of code that may use the file as it is
    size: int  #: bytes, without the write-ahead log
    backup: str | None  #: that a run would make first; None: nothing pending, or nothing to lose


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
