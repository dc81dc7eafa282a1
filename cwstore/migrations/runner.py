"""Bring a database up to the newest schema: one lock for the run, one transaction a script."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from cwstore.core.checks import is_integer
from cwstore.core.lexer import lowered
from cwstore.core.log import INFO, log
from cwstore.core.reports import MigrationReport, Progress, Step
from cwstore.errors import CwstoreError, InvalidValueError, MigrationError, StorageError
from cwstore.migrations.ledger import Drift, Row, State, check_history, fingerprint
from cwstore.migrations.scripts import MigrationFile, Program, newest, scripts_of

OnProgress = Callable[[Progress], None]

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Protocol

    from cwstore.migrations.headers import Script

    class Target(Protocol):
        """A database as the runner sees it. It raises only errors of ours."""

        @property
        def name(self) -> str:
            """What messages call it: its path."""
            ...

        def read_state(self) -> State:
            """In the open transaction, or in a look of its own."""
            ...

        def drift(self, files: list[MigrationFile]) -> Drift:
            """How the structure differs from the one that these scripts make."""
            ...

        def leave_alone(self) -> None:
            """See to it that closing the database changes nothing in it."""
            ...

        def prepare(self) -> None:
            """Bring it into the mode that stores work in, once it may be used."""
            ...

        def lock(self) -> AbstractContextManager[None]:
            """For a whole run: other migrators wait, and foreign keys do not act."""
            ...

        def begin(self) -> None:
            """Begin a transaction that keeps other writers out."""
            ...

        def commit(self, file_name: str) -> None:
            """Commit what the script `file_name` did."""
            ...

        def rollback(self) -> None:
            """Undo the open transaction, if one is open."""
            ...

        def back_up(self, version: int) -> str | None:
            """Copy it as it was before the open transaction; the path. None: nothing to lose."""
            ...

        def apply(
            self, script: "Script", earlier: list[MigrationFile], notify: Callable[[int], None]
        ) -> int:
            """Run the statements, refuse harm; the rows changed. `notify` gets statements done."""
            ...

        def with_program(self, program: Program) -> "Target":
            """The same database as that program, or that extension, sees it."""
            ...

        def record(self, row: Row, applied_at: int) -> None:
            """Add to the ledger, which the first row makes, and set the version."""
            ...


def upgrade(
    database: "Target",
    files: list[MigrationFile],
    *,
    target: int | None = None,
    backup: bool = True,
    on_progress: OnProgress | None = None,
) -> MigrationReport:
    """Apply the scripts that are pending, up to version `target` (None: all of them).

    Afterwards, whatever happened, no transaction is open and foreign keys are on.
    """
    began = time.monotonic()
    goal = goal_of(target, files)
    try:
        state = read_checked_state(database, files)
        before = state.version
        if target is not None:
            refuse_to_go_down(state.program, database.name, before, goal)
    except CwstoreError:
        database.leave_alone()
        raise
    run = _Run(database, files, goal, on_progress, before)
    database.prepare()
    if before < goal:
        with database.lock():
            run.apply_all(backup)
    return MigrationReport(
        applied=tuple(step.name for step in run.steps),
        version_before=before,
        version=run.version,
        backup=run.backup,
        seconds=time.monotonic() - began,
        steps=tuple(run.steps),
    )


def parse_all(program: Program, goal: int) -> None:
    """Read the scripts up to a version, and those of extensions. Raises MigrationError."""
    for file in up_to(goal, scripts_of(program)):
        file.parse()
    for extension in program.extensions:
        parse_all(extension, newest(scripts_of(extension)))


def upgrade_all(
    database: "Target",
    program: Program,
    *,
    target: int | None = None,
    backup: bool,
    on_progress: OnProgress | None,
) -> MigrationReport:
    """As `upgrade`, for a program and then its extensions.

    Those wait until the program's tables are the newest: what they refer to may come last.
    """
    files = scripts_of(program)
    report = upgrade(database, files, target=target, backup=backup, on_progress=on_progress)
    if report.version < newest(files):
        return report
    for extension in program.extensions:
        # Of a new file nothing can be lost, and one copy of what was there is enough.
        needed = backup and report.version_before > 0 and report.backup is None
        more = upgrade(
            database.with_program(extension),
            scripts_of(extension),
            backup=needed,
            on_progress=on_progress,
        )
        report = replace(
            report,
            applied=report.applied + more.applied,
            backup=report.backup or more.backup,
            seconds=report.seconds + more.seconds,
            steps=report.steps + more.steps,
        )
    return report


def read_checked_state(database: "Target", files: list[MigrationFile]) -> State:
    """The state of a database to which these migrations may be applied; raises if they may not."""
    state = database.read_state()
    check_history(state, files, database.name, database.drift)
    return state


def readable_version(database: "Target", program: Program) -> int:
    """The version, for a store that only reads. Raises MigrationError if it is an older one."""
    found: list[int] = []
    for one in (program, *program.extensions):
        files = scripts_of(one)
        found.append(read_checked_state(database.with_program(one), files).version)
        if found[-1] < newest(files):
            raise MigrationError(
                f"{database.name} has version {found[-1]} of {one.name}, this program works on"
                f" {newest(files)}, and a store that only reads does not migrate: open it once as a"
                " user who may write, or run `cwstore migrate`"
            )
    return found[0]


def goal_of(target: object, files: list[MigrationFile]) -> int:
    """The version to stop at. Raises InvalidValueError if `target` is none of the scripts'."""
    if target is None:
        return newest(files)
    if not is_integer(target):
        raise InvalidValueError("target", f"expected int or None, got {type(target).__name__}")
    if target != 0 and not files[0].version <= target <= newest(files):
        first = "0" if files[0].version == 1 else f"{files[0].version}"
        raise InvalidValueError("target", f"must be a version from {first} to {newest(files)}")
    return target


def up_to(version: int, files: list[MigrationFile]) -> list[MigrationFile]:
    """The scripts that lead to a version, and those before them."""
    return [file for file in files if file.version <= version]


def refuse_to_go_down(program: Program, name: str, version: int, goal: int) -> None:
    """Raise MigrationError if the database is newer than the goal."""
    if version > goal:
        from cwstore.migrations.advice import how_to_restore  # what most processes do not need

        raise MigrationError(
            f"{name} has version {version}; there is no way down to {goal}:"
            f" {how_to_restore(program, name, goal)}"
        )


@dataclass(slots=True)
class _Run:
    """One run over the pending scripts."""

    database: "Target"
    files: list[MigrationFile]
    goal: int
    on_progress: OnProgress | None
    version: int  #: that the database had when it was looked at last
    backup: str | None = None
    steps: list[Step] = field(default_factory=list[Step])

    def apply_all(self, backup: bool) -> None:
        """Apply script after script until the goal is reached."""
        while self._apply_next(backup and not self.steps):
            pass

    def _apply_next(self, backup: bool) -> bool:
        """Under one writer lock: read the version, apply the next script. False: none is left."""
        database = self.database
        try:
            database.begin()
            before = read_checked_state(database, self.files)
            self.version = before.version
            if self.version >= self.goal:
                return False
            if backup:
                self._back_up()
            following = self.files[len(up_to(self.version, self.files))]
            self.steps.append(self._apply(following, before))
            database.commit(following.file_name)
            self._tell()
            return True
        finally:
            database.rollback()

    def _tell(self) -> None:
        step = self.steps[-1]
        log(
            INFO,
            "%s: migration %s applied: %d statements, %d rows changed, %.2f s",
            self.database.name,
            step.name,
            step.statements,
            step.rows_changed,
            step.seconds,
        )

    def _back_up(self) -> None:
        try:
            self.backup = self.database.back_up(self.version)
            if self.backup is not None:
                log(INFO, "%s: copied to %s before it is migrated", self.database.name, self.backup)
        except StorageError as error:
            raise StorageError(
                f"{error}; nothing was migrated: mend that, or do without a backup (backup=False,"
                " on the command line --no-backup)"
            ) from None

    def _apply(self, file: MigrationFile, before: State) -> Step:
        began = time.monotonic()
        script = file.parse()
        of_statements = len(script.statements)
        earlier = up_to(self.version, self.files)
        pending = len(up_to(self.goal, self.files)) - len(earlier)

        def notify(statement: int) -> None:
            if self.on_progress:
                self.on_progress(
                    Progress(
                        migration=len(self.steps) + 1,
                        of_migrations=len(self.steps) + pending,
                        name=file.label,
                        statement=statement,
                        of_statements=of_statements,
                        seconds=time.monotonic() - began,
                    )
                )

        rows_changed = self.database.apply(script, earlier, notify)
        row = Row(
            version=file.version,
            name=file.name,
            checksum=script.checksum,
            text_sum=file.text_sum,
            compatible_with=script.compatible_with,
            structure=self._structure(before, [*earlier, file]),
        )
        self.database.record(row, applied_at=time.time_ns() // 1000)
        return Step(file.label, of_statements, rows_changed, time.monotonic() - began)

    def _structure(self, before: State, applied: list[MigrationFile]) -> int:
        """The fingerprint of what the scripts made; what somebody added does not count."""
        after = self.database.read_state()
        if before.structure == (before.rows[-1].structure if before.rows else fingerprint([])):
            return after.structure  # nothing had been added
        added = {one.name for one in self.database.drift(applied).added}
        return fingerprint(sql for sql, name in after.objects if lowered(name) not in added)
