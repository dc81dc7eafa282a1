"""Read the lines of an exported initiative into a store: see `format`."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

from cwstore._transfer.format import (
    FIELDS,
    at_line,
    read_head,
    read_line,
    read_row,
    read_time,
    times_of,
)
from cwstore._transfer.inserts import FIND_AGENT_CALLED, FIND_PROJECT_LIKE, FINDS, INSERTS
from cwstore.core.reports import ImportReport
from cwstore.entities.ordering import ring_error
from cwstore.entities.phases import PhaseRepository
from cwstore.entities.tasks import TaskRepository
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CwstoreError,
    CycleError,
    InvalidValueError,
    with_note,
)

if TYPE_CHECKING:
    from cwstore.core.port import Database

#: Columns that may be NULL and refer to what need not be in the file, by table. Of an edge the row
#: goes with its end.
_REFERENCES = {
    "tasks": {"parent_task_id": "tasks"},
    "task_dependencies": {"task_id": "tasks", "depends_on_task_id": "tasks"},
    "agents": {"task_id": "tasks", "initiative_id": "initiatives", "account_id": "accounts"},
    "task_attempts": {"agent_id": "agents"},
    "change_sets": {"agent_id": "agents"},
    "chat_sessions": {"agent_id": "agents"},
    "chat_messages": {"change_set_id": "change_sets"},
    "messages": {
        "sender_id": "agents",
        "recipient_id": "agents",
        "parent_message_id": "messages",
    },
    "conversations": {"initiative_id": "initiatives", "phase_id": "phases", "task_id": "tasks"},
}
_SKIPPING = 'with on_conflict="skip" (`--on-conflict skip`)'
_EDGES = {"task_dependencies"}
_TIMES = {table: times_of(INSERTS[table].entity, fields) for table, fields in FIELDS.items()}


def import_lines(
    db: "Database", lines: Iterable[str], on_conflict: str, version: int
) -> ImportReport:
    """See `Store.import_initiative`; `version` is that of the schema here."""
    if on_conflict not in ("error", "skip"):
        raise InvalidValueError("on_conflict", f"{on_conflict!r} is not one of: error, skip")
    if isinstance(lines, str):
        raise InvalidValueError("lines", "expected lines, as of an open file, and got one text")
    if not hasattr(lines, "__iter__"):
        kind = type(lines).__name__
        raise InvalidValueError("lines", f"expected lines, as of an open file, got {kind}")
    load = _Import(db, skips=on_conflict == "skip")
    with db.transaction():
        number = 0
        for number, text in enumerate(lines, start=1):
            try:
                line = read_line(text)
                if line is not None:
                    load.take(line)
            except CwstoreError as error:
                failed = error
                if isinstance(error, InvalidValueError) and load.schema > version:
                    failed = with_note(
                        error,
                        f"(the file has schema version {load.schema}, this cwstore {version}:"
                        " upgrade cwstore)",
                    )
            else:
                continue
            raise at_line(failed, number)
        return load.finish(number)


class _Import:
    """What has become of the rows so far."""

    def __init__(self, db: "Database", *, skips: bool) -> None:
        self._db = db
        self._skips = skips
        self._initiative_id: str | None = None
        self.schema = 0  # of who wrote the file
        self._name = ""
        self._ended = False
        self._read = 0
        self._rows = Counter[str]()
        self._skipped = Counter[str]()
        self._dropped = 0
        self._renamed: dict[str, str] = {}
        self._projects: dict[str, str] = {}  # the id here of one that is here under another id

    def take(self, line: dict[str, Any]) -> None:
        """One line of the file. Raises what is wrong with it."""
        if self._initiative_id is None:
            self._initiative_id, self.schema = read_head(line)
        elif self._ended:
            raise InvalidValueError("lines", "the file goes on after its end")
        elif "end" in line:
            self._ended = True
            if line["end"] != self._read:
                raise InvalidValueError(
                    "end", f"the file says it has {line['end']!r} rows and has {self._read}"
                )
        else:
            table, row = read_row(line)
            self._read += 1
            self._store(table, row)

    def finish(self, lines: int) -> ImportReport:
        """The report. Raises InvalidValueError if the end is missing."""
        if self._initiative_id is None or not self._ended:
            raise InvalidValueError(
                "lines", f"the file ends after line {lines}, before its end: export it again"
            )
        return ImportReport(
            initiative_id=self._initiative_id,
            name=self._name,
            rows=dict(self._rows),
            skipped=dict(self._skipped),
            references_dropped=self._dropped,
            agents_renamed=self._renamed,
        )

    def _store(self, table: str, row: dict[str, Any]) -> None:
        for field in _TIMES[table]:
            row[field] = read_time(field, row[field])
        if table == "initiatives":
            self._name = str(row["name"])
        if not self._fit_references(table, row) or self._is_known_project(table, row):
            return
        if table == "agents":
            self._find_name(row)
        try:
            stored = self._db.execute(INSERTS[table], **row)
        except CycleError:
            stored = None
        if stored is None:
            self._refuse_ring(table, row)
        elif stored:
            self._rows[table] += 1
        else:
            self._skip(table, str(row.get("id", "this row")))

    def _refuse_ring(self, table: str, row: dict[str, Any]) -> NoReturn:
        """Raise the error that tells the whole ring: the one of the repository."""
        db: Any = self._db
        match table:
            case "task_dependencies":
                TaskRepository(db).create_dependency(**row)
            case "phase_dependencies":
                PhaseRepository(db).create_dependency(**row)
            case _:  # its parent has to be there before it: so it is its own
                pass
        raise ring_error(table, [], row["id"], row["id"])

    def _skip(self, table: str, what: str) -> None:
        if not self._skips:
            raise ConflictError(
                f"{table}: the store has {what} already; to keep what is there and add the rest,"
                f" import {_SKIPPING}",
                reason=ConflictReason.TAKEN,
                table=table,
                id=what,
            )
        self._skipped[table] += 1

    def _fit_references(self, table: str, row: dict[str, Any]) -> bool:
        """Empty the references that lead nowhere here; False for an edge that has one."""
        for field, target in _REFERENCES.get(table, {}).items():
            other = row[field]
            if isinstance(other, str) and self._db.fetch_one(FINDS[target], id=other) is None:
                self._dropped += 1
                if table in _EDGES:
                    return False
                row[field] = None
        if table == "initiative_projects":
            row["project_id"] = self._projects.get(row["project_id"], row["project_id"])
        return True

    def _is_known_project(self, table: str, row: dict[str, Any]) -> bool:
        """Whether the store has the project under another id, which is then used."""
        if table != "projects":
            return False
        like = self._db.fetch_one(FIND_PROJECT_LIKE, name=row["name"], url=row["url"])
        if like is None or like == row["id"]:
            return False
        self._skip(table, f"the project {row['name']} ({row['url']})")
        self._projects[row["id"]] = like
        return True

    def _find_name(self, row: dict[str, Any]) -> None:
        """Another agent may have the name: names are unique."""
        name = row["name"]
        holder = self._db.fetch_one(FIND_AGENT_CALLED, name=name)
        if holder is None or holder == row["id"]:
            return
        if self._db.fetch_one(FINDS["agents"], id=row["id"]) is not None:
            return  # it is there under a name of its own
        if not self._skips:
            raise ConflictError(
                f"agents: another agent is called {name} here; to give this one another name,"
                f" import {_SKIPPING}",
                reason=ConflictReason.TAKEN,
                table="agents",
                id=row["id"],
            )
        number = 2
        while self._db.fetch_one(FIND_AGENT_CALLED, name=f"{name}-{number}") is not None:
            number += 1
        row["name"] = self._renamed[row["id"]] = f"{name}-{number}"
