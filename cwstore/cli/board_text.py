"""The lines that `show` prints: of all initiatives, of one, of one task, of one agent."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from cwstore._overview.board import Wait, Waits, state_of, states_of, tree_of
from cwstore._overview.reading import AccountLine, Board, Summary, TaskSheet, Work
from cwstore.cli.terminal import Line
from cwstore.entities.agents import Agent
from cwstore.entities.claims import TaskAttempt
from cwstore.entities.phases import Phase
from cwstore.entities.task import Task

_STYLES = {
    "completed": "green",
    "in progress": "blue",
    "ready": "yellow",
    "blocked": "red",
    "needs approval": "magenta",
    "waiting": "dim",  # last: what does not fit into a line is cut there
}
_BAR = 10  # characters
_MOST = 50  # lines of one kind
_WORD = 14  # the longest state


def summary_lines(summary: Summary, now: datetime) -> Iterator[Line]:
    """Every initiative with its progress; who works; who waits for an answer; accounts."""
    if not summary.initiatives:
        yield [("No initiatives yet.", "")]
    for initiative in summary.initiatives:
        yield [
            (initiative.name, "bold"),
            (f"  {_words(initiative.status)}  {initiative.id}", "dim"),
        ]
        yield from _progress(states_of(summary, initiative.id))
    yield from _section("Agents", [*_agents(summary, now)])
    yield from _section("Questions", [*_questions(summary, now)])
    yield from _section("Accounts", [_account(one, now) for one in summary.accounts])


def board_lines(board: Board, only: Phase | None, now: datetime) -> Iterator[Line]:
    """The tree of phases and tasks with their states, what they wait for, and who has them."""
    initiative = board.initiative
    branch = f"  branch {initiative.branch}" if initiative.branch else ""
    about = f"  {_words(initiative.status)}{branch}  {initiative.id}"
    yield [(initiative.name, "bold"), (about, "dim")]
    states = dict.fromkeys(_STYLES, 0)
    for task in board.tasks:
        states[state_of(board, task)] += 1
    yield from _progress(states)
    waits = Waits(board)
    for phase in board.phases if only is None else [only]:
        yield []
        yield [
            (f"Phase {phase.name}", "bold"),
            (f"  {_words(phase.status)}{_waiting(waits.of_phase(phase))}  {phase.id}", "dim"),
        ]
        tasks = [task for task in board.tasks if task.phase_id == phase.id]
        yield from _tree(board, waits, tasks, now)
    rest = [task for task in board.tasks if task.phase_id is None and only is None]
    if rest:
        yield []
        yield [("Without a phase", "bold")]
        yield from _tree(board, waits, rest, now)


def task_lines(sheet: TaskSheet, now: datetime) -> Iterator[Line]:
    """One task: why it is not ready, what it needs, who needs it, its attempts."""
    task = sheet.task
    yield [(task.name, "bold"), (f"  {_words(task.status)}  {task.id}", "dim")]
    if task.initiative_id is not None:
        yield [(f"initiative {task.initiative_id}", "dim")]
    if sheet.phase is not None:
        yield [(f"phase {sheet.phase.name} ({_words(sheet.phase.status)})", "dim")]
    yield [(f"{task.type}, {task.category}, priority {task.priority}", "dim")]
    if task.description:
        yield [(task.description, "")]
    if task.summary:
        yield [("result: ", "bold"), (task.summary, "")]
    named = {one.id: one.name for one in sheet.needs}
    held = [
        f"{_words(one.kind)} {named.get(one.id, one.id)} ({_words(one.status)})"
        for one in sheet.obstacles
    ]
    yield (
        [("ready", _STYLES["ready"])]
        if not held
        else [("held back by ", ""), ("; ".join(held), "")]
    )
    yield from _section("Depends on", [_named(one) for one in sheet.needs])
    yield from _section("Needed by", [_named(one) for one in sheet.needed_by])
    yield from _section("Attempts", [_attempt(one, now) for one in sheet.attempts])
    yield from _section(
        "Agents", [[(f"{one.name}  {_words(one.status)}", "")] for one in sheet.agents]
    )


def agent_lines(agent: Agent, work: Work | None, now: datetime) -> Iterator[Line]:
    """One agent and what it does."""
    yield _agent(agent, work, now)
    yield [(f"{agent.provider}, {agent.mode}, worktree {agent.worktree_id}", "dim")]
    if agent.pid is not None:
        yield [(f"process {agent.pid}", "dim")]
    if agent.exit_code is not None:
        yield [(f"exit code {agent.exit_code}", "dim")]


def _progress(states: dict[str, int]) -> Iterator[Line]:
    total = sum(states.values())
    if not total:
        yield [("  no tasks", "dim")]
        return
    done = states["completed"]
    filled = _BAR * done // total
    rest = [
        (f", {number:,} {state}", _STYLES[state])
        for state, number in states.items()
        if number and state != "completed"
    ]
    yield [
        (f"  [{'#' * filled}{'-' * (_BAR - filled)}] ", "green"),
        (f"{done:,} of {total:,} tasks completed", ""),
        *rest,
    ]


def _tree(board: Board, waits: Waits, tasks: list[Task], now: datetime) -> Iterator[Line]:
    for depth, task in tree_of(tasks):
        state = state_of(board, task)
        line: Line = [(f"  {state:{_WORD}}  ", _STYLES[state]), (f"{'  ' * depth}{task.name}", "")]
        attempts = board.attempts.get(task.id, [])
        if attempts and attempts[-1].outcome is None:
            line.append((f"  {_holder(attempts[-1], now)}", _STYLES["in progress"]))
        elif state == "in progress":  # set so, and not claimed: nothing takes it back
            line.append(("  held by nobody", "red"))
        elif attempts and state != "completed":
            last = attempts[-1]
            detail = f": {last.detail}" if last.detail else ""
            line.append((f"  attempt {last.number} {last.outcome}{detail}", "red"))
        line += [(_waiting(waits.of(task)), "dim"), (f"  {task.id}", "dim")]
        yield line


def _waiting(waits: Sequence[Wait]) -> str:
    if not waits:
        return ""
    more = f" and {len(waits) - 3} more" if len(waits) > 3 else ""
    return f"  waits for {', '.join(map(str, waits[:3]))}{more}"


def _holder(attempt: TaskAttempt | Work, now: datetime) -> str:
    who = attempt.agent_name or "nobody named"
    tries = f", attempt {attempt.number}" if attempt.number > 1 else ""
    return f"{who} for {_span(now - attempt.created_at)}{tries}{_lease(attempt.lease_until, now)}"


def _lease(until: datetime | None, now: datetime) -> str:
    if until is None:
        return ", no lease"
    left = until - now
    if left < timedelta(0):
        return f", lease passed {_span(-left)} ago"
    return f", lease for {_span(left)} more"


def _attempt(attempt: TaskAttempt, now: datetime) -> Line:
    who = attempt.agent_name or "nobody named"
    began = f"{attempt.number}  {_moment(attempt.created_at)}  {who}  "
    if attempt.ended_at is None:
        return [(began, ""), (f"open{_lease(attempt.lease_until, now)}", _STYLES["in progress"])]
    detail = f": {attempt.detail}" if attempt.detail else ""
    took = _span(attempt.ended_at - attempt.created_at)
    return [(began, ""), (f"{attempt.outcome} after {took}{detail}", "")]


def _agents(summary: Summary, now: datetime) -> Iterator[Line]:
    work = {one.agent_id: one for one in summary.work}
    for agent in summary.agents:
        yield _agent(agent, work.get(agent.id), now)
    for one in summary.work:
        if one.agent_id is None:
            yield [(f"{one.agent_name or 'nobody named'}  on {one.task_name}", "")]


def _agent(agent: Agent, work: Work | None, now: datetime) -> Line:
    line: Line = [(agent.name, "bold"), (f"  {_words(agent.status)}", "")]
    if work is not None:
        held = _holder(work, now).removeprefix(f"{agent.name} ")
        line.append((f"  on {work.task_name} {held}", _STYLES["in progress"]))
    if agent.pending_questions is not None:
        line.append(("  asks the user", "magenta"))
    return [*line, (f"  {agent.id}", "dim")]


def _questions(summary: Summary, now: datetime) -> Iterator[Line]:
    names = summary.names
    for one in summary.messages:
        sender = names.get(one.sender_id or "", "a deleted agent")
        asks = "asks the user" if one.requires_response else "tells the user"
        age = _span(now - one.created_at)
        yield [(f"{sender} {asks}, {age} ago: ", ""), (one.content, "bold"), (f"  {one.id}", "dim")]
    for open_one in summary.conversations:
        asked = f"{names[open_one.from_agent_id]} asks {names[open_one.to_agent_id]}"
        age = _span(now - open_one.created_at)
        question = (open_one.question, "bold")
        yield [(f"{asked}, {age} ago: ", ""), question, (f"  {open_one.id}", "dim")]


def _account(account: AccountLine, now: datetime) -> Line:
    until = account.exhausted_until
    if not account.is_exhausted or (until is not None and until <= now):
        state, style = "available", "green"
    elif until is None:
        state, style = "exhausted until somebody clears it", "red"
    else:
        state, style = f"exhausted for {_span(until - now)} more, until {_moment(until)}", "red"
    used = account.last_used_at
    last = "never used" if used is None else f"last used {_span(now - used)} ago"
    return [(f"{account.email}  {account.provider}  ", ""), (state, style), (f"  {last}", "dim")]


def _named(task: Task) -> Line:
    return [(f"{_words(task.status):{_WORD}}  {task.name}", ""), (f"  {task.id}", "dim")]


def _section(title: str, lines: list[Line]) -> Iterator[Line]:
    if not lines:
        return
    yield []
    yield [(title, "bold")]
    for line in lines[:_MOST]:
        yield [("  ", ""), *line]
    if len(lines) > _MOST:
        yield [(f"  … and {len(lines) - _MOST:,} more", "dim")]


def _words(value: str) -> str:
    return value.replace("_", " ")


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def _span(span: timedelta) -> str:
    """As `3 min`, in the largest unit that fits twice; a clock that was behind gives 0 s."""
    seconds = max(0, round(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
