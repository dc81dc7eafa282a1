"""Load a backlog, one issue a line as JSON, into a store; what is not stored is told line by line.

An issue becomes a task with its own id. Its times are kept where the file has them, else they are
left to the store.

=====================  ==========================================================================
title, description     name, description
close_reason           summary: what came of it, for the tasks that depend on it
status                 closed: completed; tombstone: left out; everything else: pending
priority               0 and 1: high; 2: medium; 3 and 4: low
created_at             created_at
closed_at, updated_at  updated_at: the first of the two that is there
parent-child           parent task; the first one that can be stored, the others are refused
blocks                 task dependency, to a task of the file or to one that the store has already
other types            left out: links without order
=====================  ==========================================================================
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

from cwstore._transfer.backlog_lines import Edge, Issue, edges_of, issue_of, parse_object
from cwstore._transfer.format import end_line, head_line, line_of
from cwstore.errors import (
    ConflictError,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    StorageError,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Protocol

    from cwstore.entities.initiatives import InitiativeRepository
    from cwstore.entities.task import NewTask
    from cwstore.entities.tasks import TaskRepository

    class _Store(Protocol):
        """What it needs of a store."""

        @property
        def initiatives(self) -> InitiativeRepository: ...
        @property
        def tasks(self) -> TaskRepository: ...
        def transaction(self) -> AbstractContextManager[None]: ...
        def import_initiative(self, lines: Iterable[str], /) -> object: ...


T = TypeVar("T")

BATCH = 500  # issues or edges in a transaction: other writers get a turn in between
_FIELDS = {"name": "title", "summary": "close_reason"}  # of a task: of the file
#: Of a task of an issue.
_DEFAULTS = {
    "phase_id": None,
    "type": "auto",
    "category": "execute",
    "requires_approval": None,
    "sort_order": 0,
}
_REFUSALS = (ConflictError, CycleError, InvalidValueError, MissingReferenceError)


@dataclass(frozen=True, slots=True)
class Remark:
    """An issue or an edge that was not stored, and why."""

    line: int  #: of the file, from 1
    issue: str | None  #: its id; None: the line does not tell
    edge: str | None  #: type and id of the other end; None: the remark is about the issue
    reason: str

    def __str__(self) -> str:
        about = self.issue or "no id"
        if self.edge is not None:
            about += f" -> {self.edge}"
        return f"line {self.line}: {about}: {self.reason}"


@dataclass(frozen=True, slots=True)
class BacklogReport:
    """What was read, what the store holds of it now, and a remark for all the rest."""

    file: str
    initiative_id: str | None  #: None: nothing could be stored, so none was made
    initiative: str  #: its name
    issues_read: int  #: lines that are not blank
    edges_read: int
    tasks: dict[str, int]  #: by status, counted in the store
    parents: int  #: counted in the store
    dependencies: int  #: counted in the store
    left_out: tuple[Remark, ...]  #: by the rules above
    refused: tuple[Remark, ...]
    seconds: float

    @property
    def adds_up(self) -> bool:
        """Whether all issues and edges that were read are stored, left out or refused, and once."""
        issues, edges = _count(self.left_out + self.refused)
        return (
            self.issues_read == sum(self.tasks.values()) + issues
            and self.edges_read == self.parents + self.dependencies + edges
        )

    @property
    def summary(self) -> str:
        """One line that says all numbers."""
        out, no = _count(self.left_out), _count(self.refused)
        return (
            f"{self.file}: of {self.issues_read:,} issues {sum(self.tasks.values()):,} stored,"
            f" {out[0]:,} left out, {no[0]:,} refused; of {self.edges_read:,} edges"
            f" {self.parents:,} stored as parents, {self.dependencies:,} as dependencies,"
            f" {out[1]:,} left out, {no[1]:,} refused"
        )


def _count(remarks: Sequence[Remark]) -> tuple[int, int]:
    """How many are about issues, and how many about edges."""
    edges = sum(remark.edge is not None for remark in remarks)
    return len(remarks) - edges, edges


def import_backlog(
    store: "_Store",
    backlog: "Backlog",
    *,
    initiative: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> BacklogReport:
    """Store the issues under a new initiative, which is called as their file by default.

    It takes a few transactions; within one, each issue and each edge is kept or refused by itself.
    Ids that the store has already are refused, so a file can be imported again; a backlog that was
    read is for one import. `on_progress` gets how many issues and edges are done, and of how many.
    Raises what the store raises if it cannot be written.
    """
    name = PurePath(backlog.file).stem if initiative is None else initiative
    load = _Import(store, backlog)
    owner = store.initiatives.create(name=name).id
    issues = _parents_first(backlog.issues)
    total = len(issues) + sum(len(issue.blockers) for issue in issues)
    done = 0

    def notify(number: int) -> None:
        nonlocal done
        done += number
        if on_progress:
            on_progress(done, total)

    _in_batches(store, issues, lambda issue: load.store_issue(issue, owner), notify)
    blockers = [edge for issue in issues if issue.id in load.stored for edge in issue.blockers]
    total = len(issues) + len(blockers)  # those of refused issues are settled
    _in_batches(store, blockers, load.store_blocker, notify)
    return _report(store, backlog, owner, name)


def _report(store: "_Store", backlog: "Backlog", owner: str, name: str) -> BacklogReport:
    """What is there afterwards. An initiative that has got no task is deleted."""
    tasks = store.tasks.find_by_initiative_id(owner)
    if not tasks:
        store.initiatives.delete(owner)
    return BacklogReport(
        file=backlog.file,
        initiative_id=owner if tasks else None,
        initiative=name,
        issues_read=backlog.issues_read,
        edges_read=backlog.edges_read,
        tasks=dict(sorted(Counter(str(task.status) for task in tasks).items())),
        parents=sum(task.parent_task_id is not None for task in tasks),
        dependencies=sum(len(store.tasks.get_dependencies(task.id)) for task in tasks),
        left_out=tuple(sorted(backlog.left_out, key=lambda remark: remark.line)),
        refused=tuple(sorted(backlog.refused, key=lambda remark: remark.line)),
        seconds=time.monotonic() - backlog.began,
    )


def read_backlog(file: str) -> "Backlog":
    """The issues of a file, by line. Raises StorageError if it cannot be read."""
    backlog = Backlog(file)
    try:
        with open(file, "rb") as lines:
            for number, raw in enumerate(lines, start=1):
                if raw.strip():
                    backlog.take(number, raw)
    except OSError as error:
        raise StorageError(f"cannot read {file}: {error.strerror}; give another path") from None
    return backlog


def _in_batches(
    store: "_Store", items: Sequence[T], handle: Callable[[T], None], notify: Callable[[int], None]
) -> None:
    for start in range(0, len(items), BATCH):
        batch = items[start : start + BATCH]
        with store.transaction():
            for item in batch:
                handle(item)
        notify(len(batch))


class Backlog:
    """The issues of a file, and what of it was not, or cannot be, stored so far."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.began = time.monotonic()
        self.issues: dict[str, Issue] = {}  # that are to be stored
        self.left_out: list[Remark] = []
        self.refused: list[Remark] = []
        self.issues_read = 0
        self.edges_read = 0
        self.tombstones: set[str] = set()
        self.tried: set[str | None] = set()  # to read or to store, with or without success
        self._first_line: dict[str, int] = {}

    def take(self, line: int, raw: bytes) -> None:
        """Sort out one line of the file."""
        self.issues_read += 1
        known: str | None = None
        edges: list[Edge] = []
        try:
            record = parse_object(raw)
            known = record["id"] if isinstance(record.get("id"), str) else None
            edges = edges_of(line, known, record)
            self.edges_read += len(edges)
            issue = issue_of(line, record)
            if issue.id in self._first_line:
                line_of_first = self._first_line[issue.id]
                raise InvalidValueError("id", f"the issue of line {line_of_first} has it")
        except InvalidValueError as error:
            self.refuse_issue(line, known, str(error), edges)
            self.tried.add(known)
            return
        self._first_line[issue.id] = line
        if issue.status == "tombstone":
            self.tombstones.add(issue.id)
            self.left_out.append(Remark(line, issue.id, None, "a tombstone"))
            for edge in edges:
                self._leave_out(edge, "its issue is a tombstone")
            return
        self.issues[issue.id] = issue
        self._sort_edges(issue, edges)

    def _sort_edges(self, issue: Issue, edges: Iterable[Edge]) -> None:
        seen: set[str] = set()
        for edge in edges:
            if edge.problem:
                self.refuse(edge, edge.problem)
            elif edge.type not in ("blocks", "parent-child"):
                self._leave_out(edge, "a link without order")
            elif str(edge) in seen:
                self.refuse(edge, "the issue has this edge already")
            else:
                seen.add(str(edge))
                (issue.blockers if edge.type == "blocks" else issue.parents).append(edge)

    def refuse_issue(self, line: int, id: str | None, reason: str, edges: Iterable[Edge]) -> None:
        """Note why an issue is not stored, and its edges with it."""
        self.refused.append(Remark(line, id, None, reason))
        for edge in edges:
            self.refuse(edge, "its issue was refused")

    def refuse(self, edge: Edge, reason: str) -> None:
        """Note why an edge is not stored."""
        self.refused.append(Remark(edge.line, edge.issue, str(edge), reason))

    def _leave_out(self, edge: Edge, reason: str) -> None:
        self.left_out.append(Remark(edge.line, edge.issue, str(edge), reason))


class _Import:
    """What has become of each issue and each edge so far."""

    def __init__(self, store: "_Store", backlog: Backlog) -> None:
        self._tasks = store.tasks
        self._transaction = store.transaction
        self._import = store.import_initiative
        self._backlog = backlog
        self.stored: set[str] = set()

    def store_issue(self, issue: Issue, owner: str) -> None:
        """Create the task, below the first parent that is there; comes after those parents."""
        backlog = self._backlog
        backlog.tried.add(issue.id)
        parent = next((edge.target for edge in issue.parents if edge.target in self.stored), None)
        try:
            with self._transaction():
                self._store_task(issue, owner, parent)
        except _REFUSALS as error:
            edges = issue.parents + issue.blockers
            backlog.refuse_issue(issue.line, issue.id, _as_of_file(error), edges)
            return
        self.stored.add(issue.id)
        for edge in issue.parents:
            if edge.target not in self.stored:
                backlog.refuse(edge, self._why_missing(edge.target))
            elif edge.target == issue.id:
                backlog.refuse(edge, "an issue cannot be its own parent")
            elif edge.target != parent:
                backlog.refuse(edge, f"the issue has a parent already, {parent}")

    def _store_task(self, issue: Issue, owner: str, parent: str | None) -> None:
        task: NewTask = {
            "id": issue.id,
            "name": issue.title,
            "description": issue.description,
            "summary": issue.close_reason,
            "initiative_id": owner,
            "parent_task_id": parent,
            "status": "completed" if issue.status == "closed" else "pending",
            "priority": issue.priority,
        }
        if issue.created_at is None or self._tasks.find_by_id(issue.id) is not None:
            self._tasks.create(**task)
            return
        row = {**_DEFAULTS, **task, "created_at": issue.created_at}
        row["updated_at"] = max(issue.changed_at or issue.created_at, issue.created_at)
        try:
            self._import([head_line(owner, issue.title, 0), line_of("tasks", row), end_line(1)])
        except InvalidValueError as error:
            problem = str(error).removeprefix(f"line 2: {error.field}: ")
            raise InvalidValueError(error.field, problem) from None

    def store_blocker(self, edge: Edge) -> None:
        """Create the dependency; comes after all tasks."""
        assert edge.issue is not None
        try:
            with self._transaction():
                self._tasks.create_dependency(edge.issue, edge.target)
        except MissingReferenceError:
            self._backlog.refuse(edge, self._why_missing(edge.target))
        except _REFUSALS as error:
            self._backlog.refuse(edge, str(error))

    def _why_missing(self, target: str) -> str:
        backlog = self._backlog
        if target in backlog.tombstones:
            return "that issue is a tombstone"
        if target in backlog.tried:
            return "that issue was refused"
        return "closes a cycle of parents" if target in backlog.issues else "no issue has that id"


def _as_of_file(error: CwstoreError) -> str:
    """What is wrong, by the field of the file."""
    text = str(error)
    if isinstance(error, InvalidValueError) and error.field in _FIELDS:
        return _FIELDS[error.field] + text.removeprefix(error.field)
    return text


def _parents_first(issues: dict[str, Issue]) -> list[Issue]:
    """All issues in the order of the file, but each one's parents before it; cycles are cut."""
    entered: set[str] = set()
    ordered: dict[str, Issue] = {}
    for first in issues.values():
        todo = [first]
        while todo:
            issue = todo[-1]
            if issue.id in entered:
                todo.pop()
                ordered.setdefault(issue.id, issue)
                continue
            entered.add(issue.id)
            above = reversed([edge.target for edge in issue.parents])
            todo += [issues[one] for one in above if one in issues and one not in entered]
    return list(ordered.values())
