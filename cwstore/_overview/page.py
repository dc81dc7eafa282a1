"""One page of HTML that shows what is in a store: no network, no secret, all texts escaped."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from html import escape
from pkgutil import get_data

from cwstore._overview.board import STATES, Waits, state_of, states_of, tree_of
from cwstore._overview.layout import HEIGHT, WIDTH, layers_of
from cwstore._overview.reading import AccountLine, Board, LogVolume, Summary
from cwstore.entities.claims import TaskAttempt
from cwstore.entities.task import Task

#: The first line of every report: so it can be told from a file that must not be replaced.
FIRST_LINE = "<!DOCTYPE html><!-- cwstore report -->\n"

_LABEL = 26  # characters that fit into a node
_CHART = (960, 120)  # pixels
_FEWEST = 20  # bars that the width is made for
_ROW = 22  # pixels of an agent in the time line
_NAMES = 160  # pixels for their names
_ROWS = 100  # tasks of one table
_LINE = 31  # pixels of a row, as a rule


def page(
    title: str,
    summary: Summary,
    boards: Sequence[Board],
    volume: Sequence[LogVolume],
    now: datetime,
) -> Iterator[str]:
    """The parts of the page, in order."""
    style, script = _text_of("page.css"), _text_of("page.js")
    # Should a text ever get through unescaped, no browser runs it or loads anything for it.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {_hash(script)}"
    yield FIRST_LINE
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(title)}</title><style>{style}</style></head><body>"
    yield f'<h1>{escape(title)}</h1><div class="dim">as it was at {_moment(now)}</div>'
    yield from _overview(summary)
    yield from _people(summary)
    yield from _accounts(summary.accounts, now)
    yield from _log_volume(volume)
    yield '<nav><input id="find" type="search" placeholder="find a task" aria-label="find a task">'
    for state in STATES:
        yield f'<button data-state="{_slug(state)}" aria-pressed="false">{state}</button>'
    yield "</nav>"
    for number, board in enumerate(boards):
        yield from _initiative(number, board, now)
    yield f"<script>{script}</script></body></html>\n"


def _text_of(name: str) -> str:
    data = get_data(__name__, name)  # from an archive, too
    assert data is not None
    return data.decode("ascii")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _overview(summary: Summary) -> Iterator[str]:
    number = len(summary.initiatives)
    yield f"<section><h2>{number:,} initiative{'' if number == 1 else 's'}</h2>"
    yield "<table><tr><th>initiative<th>status<th>progress<th>tasks</tr>"
    for number, initiative in enumerate(summary.initiatives):
        states = states_of(summary, initiative.id)
        total = sum(states.values())
        told = ", ".join(f"{count:,} {state}" for state, count in states.items() if count)
        yield f'<tr><td><a href="#i{number}">{escape(initiative.name)}</a>'
        yield f"<td class=word>{_words(initiative.status)}<td class=progress>{_bar(states, total)}"
        yield f"<td>{told or 'none'}</tr>"
    yield "</table></section>"


def _bar(states: dict[str, int], total: int) -> str:
    parts = "".join(
        f'<i style="width:{100 * count / total:.2f}%;background:var(--{_slug(state)})"></i>'
        for state, count in states.items()
        if count
    )
    return f'<div class="bar">{parts}</div>'


def _people(summary: Summary) -> Iterator[str]:
    work = {one.agent_id: one for one in summary.work}
    yield "<section><h2>Agents</h2>"
    yield "<table><tr><th>agent<th>status<th>works on<th>since<th>lease until</tr>"
    for agent in summary.agents:
        held = work.get(agent.id)
        yield f"<tr><td>{escape(agent.name)}<td class=word>{_words(agent.status)}"
        if held is None:
            yield "<td><td><td></tr>"
        else:
            lease = _moment(held.lease_until) if held.lease_until else "no lease"
            yield f"<td>{escape(held.task_name)}<td class=word>{_moment(held.created_at)}"
            yield f"<td class=word>{lease}</tr>"
    yield "</table></section>"
    if not (summary.messages or summary.conversations):
        return
    names = summary.names
    yield "<section><h2>Open questions</h2><table><tr><th>from<th>to<th>text<th>since</tr>"
    for one in summary.messages:
        sender = escape(names.get(one.sender_id or "", "a deleted agent"))
        yield f"<tr><td>{sender}<td>the user<td>{escape(one.content)}"
        yield f"<td>{_moment(one.created_at)}</tr>"
    for asked in summary.conversations:
        yield f"<tr><td>{escape(names[asked.from_agent_id])}<td>{escape(names[asked.to_agent_id])}"
        yield f"<td>{escape(asked.question)}<td>{_moment(asked.created_at)}</tr>"
    yield "</table></section>"


def _accounts(accounts: Sequence[AccountLine], now: datetime) -> Iterator[str]:
    if not accounts:
        return
    yield "<section><h2>Accounts</h2>"
    yield "<table><tr><th>account<th>provider<th>state<th>last used</tr>"
    for one in accounts:
        until = one.exhausted_until
        if not one.is_exhausted or (until is not None and until <= now):
            state, colour = "available", "completed"
        else:
            state = f"exhausted until {_moment(until) if until else 'somebody clears it'}"
            colour = "blocked"
        used = _moment(one.last_used_at) if one.last_used_at else "never"
        yield f"<tr><td>{escape(one.email)}<td>{escape(one.provider)}"
        yield f'<td class="state" style="color:var(--{colour})">{state}<td>{used}</tr>'
    yield "</table></section>"


def _log_volume(volume: Sequence[LogVolume]) -> Iterator[str]:
    if not volume:
        return
    width, height = _CHART
    greatest = max(one.bytes for one in volume) or 1
    first, last = volume[0].bucket, volume[-1].bucket
    step = width / max(last - first + 1, _FEWEST)
    yield f"<section><h2>Logs</h2><div class=dim>{sum(v.bytes for v in volume):,} bytes of text"
    yield f" in {sum(v.chunks for v in volume):,} chunks</div>"
    yield f'<div class="scroll"><svg width="{width}" height="{height + 20}" role="img">'
    for one in volume:
        tall = height * one.bytes / greatest
        x = (one.bucket - first) * step
        yield (
            f'<rect x="{x:.1f}" y="{height - tall:.1f}" width="{max(step - 1, 1):.1f}"'
            f' height="{tall:.1f}" fill="var(--in-progress)">'
            f"<title>{_moment(one.begins)}: {one.bytes:,} bytes, {one.chunks:,} chunks</title>"
            "</rect>"
        )
    yield f'<text x="0" y="{height + 15}">{_moment(volume[0].begins)}</text>'
    yield (
        f'<text x="{width}" y="{height + 15}" text-anchor="end">'
        f"{_moment(volume[-1].begins)}</text></svg></div></section>"
    )


def _initiative(number: int, board: Board, now: datetime) -> Iterator[str]:
    initiative = board.initiative
    branch = f", branch {escape(initiative.branch)}" if initiative.branch else ""
    yield f'<section><h2 id="i{number}">{escape(initiative.name)}</h2>'
    yield f'<div class="dim">{_words(initiative.status)}{branch}, {escape(initiative.id)}</div>'
    yield from _tasks(board)
    yield "</section>"
    if board.task_needs:
        yield "<section><h3>What waits for what</h3>"
        yield from _plan(number, board)
        yield "</section>"
    if board.attempts:
        yield "<section><h3>Attempts</h3>"
        yield from _time_line(board, now)
        yield "</section>"


def _tasks(board: Board) -> Iterator[str]:
    waits = Waits(board)
    groups = [(phase, [t for t in board.tasks if t.phase_id == phase.id]) for phase in board.phases]
    for phase, tasks in groups:
        yield f'<h3>{escape(phase.name)} <span class="dim">{_words(phase.status)}</span></h3>'
        yield from _task_rows(board, waits, tasks)
    rest = [task for task in board.tasks if task.phase_id is None]
    if rest and board.phases:
        yield "<h3>Without a phase</h3>"
    yield from _task_rows(board, waits, rest)


def _task_rows(board: Board, waits: Waits, tasks: list[Task]) -> Iterator[str]:
    """Tables of some rows each: a browser lays out those alone that are in sight."""
    tree = list(tree_of(tasks))
    for start in range(0, len(tree), _ROWS):
        some = tree[start : start + _ROWS]
        yield f'<div class="rows" style="contain-intrinsic-height:{_LINE * len(some)}px">'
        yield '<table class="tasks">'
        for depth, task in some:
            yield _task_row(board, waits, depth, task)
        yield "</table></div>"


def _task_row(board: Board, waits: Waits, depth: int, task: Task) -> str:
    state = state_of(board, task)
    held = ", ".join(map(str, waits.of(task)))
    told = f"waits for {escape(held)}" if held else ""
    deeper = f' style="padding-left:{depth * 1.5}rem"' if depth else ""
    return (
        f'<tr data-state="{_slug(state)}"><td class="state">{state}<td{deeper}>{escape(task.name)}'
        f"<td>{told}<td>{_last(state, board.attempts.get(task.id, []))}</tr>"
    )


def _last(state: str, attempts: list[TaskAttempt]) -> str:
    if state == "in progress" and (not attempts or attempts[-1].outcome is not None):
        return "held by nobody"
    if not attempts:
        return ""
    last = attempts[-1]
    detail = f": {escape(last.detail)}" if last.detail else ""
    who = escape(last.agent_name or "nobody named")
    return f"attempt {last.number} by {who}, {last.outcome or 'open'}{detail}"


def _plan(number: int, board: Board) -> Iterator[str]:
    layout = layers_of(board)
    tasks = {task.id: task for task in board.tasks}
    names = {one: f"n{number}-{place}" for place, one in enumerate(layout.places)}
    waits = Waits(board)
    size = f'width="{layout.width + 8}" height="{layout.height + 8}"'
    yield f'<div class="scroll"><svg class="plan" {size}><g transform="translate(4,4)">'
    for waiting, needs in board.task_needs.items():
        x, y = layout.places[waiting]
        aim = y + HEIGHT / 2
        for needed in needs:
            from_x, from_y = layout.places[needed]
            start, end = from_x + WIDTH, from_y + HEIGHT / 2
            middle = (start + x) / 2
            yield (
                f'<path class="edge to-{names[waiting]}" data-from="{names[needed]}"'
                f' d="M{start},{end}C{middle},{end} {middle},{aim} {x},{aim}"/>'
            )
    for one, (x, y) in layout.places.items():
        task = tasks.get(one)
        name, state = (task.name, state_of(board, task)) if task else (board.outside[one].name, "")
        held = [str(wait) for wait in waits.of(task)] if task else []
        about = f"{name}: {state or 'of another initiative'}"
        about += f"; waits for {', '.join(held)}" if held else ""
        label = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
        colour = _slug(state) if state else "line"
        yield (
            f'<g class="node" id="{names[one]}" transform="translate({x},{y})">'
            f"<title>{escape(about)}</title>"
            f'<rect width="{WIDTH}" height="{HEIGHT}" rx="5" stroke="var(--{colour})"/>'
            f'<text x="8" y="17">{escape(label)}</text></g>'
        )
    yield "</g></svg></div>"


def _time_line(board: Board, now: datetime) -> Iterator[str]:
    every = sorted(
        (attempt for some in board.attempts.values() for attempt in some),
        key=lambda attempt: attempt.created_at,
    )
    agents = list(dict.fromkeys(attempt.agent_name or "nobody named" for attempt in every))
    names = {task.id: task.name for task in board.tasks}
    first = every[0].created_at
    last = max(*(one.ended_at or now for one in every), first + timedelta(seconds=1))
    width = _CHART[0]
    scale = width / (last - first).total_seconds()
    yield f'<div class="scroll"><svg width="{_NAMES + width}" height="{_ROW * len(agents) + 20}">'
    for row, agent in enumerate(agents):
        yield f'<text x="0" y="{row * _ROW + 15}">{escape(agent)}</text>'
        y = row * _ROW + 20
        yield f'<line class="grid" x1="0" x2="{_NAMES + width}" y1="{y}" y2="{y}"/>'
    for attempt in every:
        row = agents.index(attempt.agent_name or "nobody named")
        x = _NAMES + (attempt.created_at - first).total_seconds() * scale
        took = max((attempt.ended_at or now) - attempt.created_at, timedelta())
        outcome = str(attempt.outcome or "open")
        about = f"{names[attempt.task_id]}, attempt {attempt.number}: {outcome}"
        about += f": {attempt.detail}" if attempt.detail else ""
        yield (
            f'<rect x="{x:.1f}" y="{row * _ROW + 3}" rx="3" height="{_ROW - 6}"'
            f' width="{max(took.total_seconds() * scale, 2):.1f}" fill="var(--{outcome})">'
            f"<title>{escape(about)}, {_moment(attempt.created_at)}</title></rect>"
        )
    bottom = _ROW * len(agents) + 15
    yield f'<text x="{_NAMES}" y="{bottom}">{_moment(first)}</text>'
    yield f'<text x="{_NAMES + width}" y="{bottom}" text-anchor="end">{_moment(last)}</text>'
    yield "</svg></div>"


def _slug(state: str) -> str:
    return state.replace(" ", "-")


def _words(value: str) -> str:
    return escape(value.replace("_", " "))


def _moment(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
