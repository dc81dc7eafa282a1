"""The command `show`: what is going on in a file."""

from argparse import Namespace
from collections.abc import Callable, Generator, Iterable
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any

from cwstore._overview import graph
from cwstore._overview.board import Waits, state_of, states_of
from cwstore._overview.reading import (
    Board,
    Summary,
    find_subject,
    read_board,
    read_summary,
    read_task,
)
from cwstore.cli import board_text, terminal
from cwstore.cli.stores import open_database
from cwstore.cli.terminal import Line
from cwstore.core.drivers import shown
from cwstore.entities.agents import Agent
from cwstore.entities.initiatives import Initiative, InitiativeRepository
from cwstore.entities.phases import Phase
from cwstore.entities.task import Task
from cwstore.errors import InvalidValueError, NotFoundError, StorageError

if TYPE_CHECKING:
    from cwstore.core.port import OpenDatabase, Snapshot

_LOOK_AGAIN = 5.0  # seconds: ages and leases go on though nobody commits

#: What is shown: its lines for people, and what makes plain data of it for programs.
Shown = tuple[Iterable[Line], Callable[[], Any]]


def show(options: Namespace) -> int:
    """Show all initiatives, or what has the given id; with `--watch` again after each commit."""
    with closing(open_database(options.path)) as database:
        if not options.watch:
            _print(_look(database, options), options)
            return 0
        with _until_next(database) as wait:
            while True:
                shown = _look(database, options)
                if not options.json:
                    terminal.clear()
                _print(shown, options)
                wait(_LOOK_AGAIN)


@contextmanager
def _until_next(database: "OpenDatabase") -> Generator[Callable[[float], object]]:
    """What waits for the next commit, up to some seconds; on a standby, which tells none, those."""
    try:
        feed = database.changes(1_000)
    except StorageError:  # if it was for another reason, the next look says so
        feed = None
    if feed is None:
        yield Event().wait
    else:
        with feed:
            yield feed.get


def _print(shown: Shown, options: Namespace) -> None:
    lines, data = shown
    if not options.json:
        terminal.print_lines(lines)
    elif options.watch:
        terminal.say(terminal.to_json(data()))
    else:
        terminal.print_json(data())


def _look(database: "OpenDatabase", options: Namespace) -> Shown:
    with database.snapshot("show") as db:
        return _of_all(db, options) if options.id is None else _of_one(db, options)


def _of_all(db: "Snapshot", options: Namespace) -> Shown:
    if options.graph:
        raise InvalidValueError("graph", "needs the id of an initiative: `cwstore show PATH ID`")
    summary = read_summary(db)
    return board_text.summary_lines(summary, _now()), lambda: _summary_data(summary)


def _of_one(db: "Snapshot", options: Namespace) -> Shown:
    subject = find_subject(db, options.id)
    now = _now()
    match subject:
        case Initiative():
            return _of_board(read_board(db, subject), None, options, now)
        case Phase():
            owner = InitiativeRepository(_any(db)).get(subject.initiative_id)
            return _of_board(read_board(db, owner), subject, options, now)
        case Task():
            sheet = read_task(db, subject)
            return board_text.task_lines(sheet, now), lambda: asdict(sheet)
        case Agent():
            work = {one.agent_id: one for one in read_summary(db).work}.get(subject.id)
            data = {"agent": asdict(subject), "work": asdict(work) if work else None}
            return board_text.agent_lines(subject, work, now), lambda: data
        case _:
            raise NotFoundError(
                f"no initiative, phase, task or agent has the id {options.id!r};"
                f" `cwstore show {shown(options.path)}` lists the initiatives",
                id=options.id,
            )


def _of_board(board: Board, only: Phase | None, options: Namespace, now: datetime) -> Shown:
    draw: dict[str, Callable[[Board], str]] = {"mermaid": graph.mermaid, "dot": graph.dot}
    if options.graph:
        text = draw[options.graph](board)
        return ([(line, "")] for line in text.splitlines()), lambda: {"graph": text}
    return board_text.board_lines(board, only, now), lambda: _board_data(board)


def _summary_data(summary: Summary) -> Any:
    return {
        "initiatives": [
            {**asdict(one), "tasks": states_of(summary, one.id)} for one in summary.initiatives
        ],
        "work": [asdict(one) for one in summary.work],
        "agents": [asdict(one) for one in summary.agents],
        "messages": [asdict(one) for one in summary.messages],
        "conversations": [asdict(one) for one in summary.conversations],
        "accounts": [asdict(one) for one in summary.accounts],
    }


def _board_data(board: Board) -> Any:
    waits = Waits(board)
    return {
        "initiative": asdict(board.initiative),
        "phases": [
            {**asdict(one), "depends_on": board.phase_needs.get(one.id, [])} for one in board.phases
        ],
        "tasks": [
            {
                **_fields(one),
                "state": state_of(board, one),
                "depends_on": board.task_needs.get(one.id, []),
                "waits_for": [asdict(wait) for wait in waits.of(one)],
                "attempts": [asdict(attempt) for attempt in board.attempts.get(one.id, [])],
            }
            for one in board.tasks
        ],
    }


def _fields(task: Task) -> dict[str, Any]:
    """As `asdict`, which copies each value, and takes ten times as long."""
    return {name: getattr(task, name) for name in task.__dataclass_fields__}


def _now() -> datetime:
    return datetime.now(UTC)


def _any(db: "Snapshot") -> Any:
    return db
