"""The model of claims: a few tasks, who holds them, and what becomes of a claim or a report.

A lease that can pass while the soak runs passes when it likes: any call about any pool may take the
task back. So such a task is two things at once, held and pending, until an answer tells which.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from tools._python.soak.history import UNKNOWN, Op
from tools._python.soak.linearizability import Several

POOL_TASKS = 6  # claimed in the order of their numbers
GHOST_TASK = 0  # in the beginning held by an agent whose process is dead
#: The task that waits for the other.
WAITS, FOR = 5, 1


class Held(NamedTuple):
    """A task in progress."""

    by: str | None  #: an agent; None: nobody named
    passing: bool  #: its lease may have passed, so that it may be pending instead


#: "pending", "completed", "blocked", or Held; by task.
State = tuple[Any, ...]
Answer = tuple[object, State]
_REPORTED = {"finish": "completed", "release": "pending", "retry": "pending", "block": "blocked"}


def pool(state: State, op: Op) -> tuple[object, Any]:
    """See `Model`."""
    answers = list(_answers(state, op))
    if op.outcome is UNKNOWN:
        return UNKNOWN, Several(after for _, after in answers)
    for outcome, after in answers:
        if outcome == op.outcome:
            return outcome, after
    return answers[0]


def _answers(state: State, op: Op) -> Iterator[Answer]:
    match op.kind, op.args:
        case "next", (who, lease):
            yield from _next(state, who, lease)
        case "claim", (task, who, lease):
            yield from _claim(state, task, who, lease)
        case "extend", (task, who, lease):
            yield from _report(state, task, who, Held(who, lease == "short"))
        case (("finish" | "release" | "retry" | "block"), (task, who)):
            yield from _report(state, task, who, _REPORTED[op.kind])
        case "dismiss", (who,):
            held = _held_by(state, who)
            yield "ok", state if held is None else _put(state, held, "pending")
        case "crash", (task, who):
            yield from _crash(state, task, who)
        case "expire", (task,):
            passing = isinstance(state[task], Held) and state[task].passing
            yield ("ok", _put(state, task, "pending")) if passing else ("left", state)
        case "ready", ():
            yield _look(state, op.outcome)
        case "final", ():
            yield _last(state, op.outcome), state
        case _:
            raise ValueError(f"no such call: {op}")


def _put(state: State, task: int, value: object) -> State:
    return (*state[:task], value, *state[task + 1 :])


def _held_by(state: State, who: str | None) -> int | None:
    """The task of an agent; who is not named cannot be told from others."""
    held = [n for n, value in enumerate(state) if isinstance(value, Held) and value.by == who]
    return held[0] if held and who is not None else None


def _may_start(state: State, task: int) -> bool:
    return task != WAITS or state[FOR] == "completed"


def _ready(state: State) -> list[int]:
    """Tasks that are certainly ready."""
    return [n for n, value in enumerate(state) if value == "pending" and _may_start(state, n)]


def _passing(state: State) -> list[int]:
    """Tasks that are ready if their lease has passed."""
    return [n for n, value in enumerate(state) if isinstance(value, Held) and value.passing]


def _without(state: State, who: str | None) -> tuple[int | None, list[State]]:
    """The task that an agent may hold, and the state, if possible, in which it holds none."""
    held = _held_by(state, who)
    if held is None:
        return None, [state]
    return held, [_put(state, held, "pending")] if state[held].passing else []


def _renewed(state: State, task: int, lease: str | None) -> State:
    passing = state[task].passing if lease is None else lease == "short"
    return _put(state, task, Held(state[task].by, passing))


def _next(state: State, who: str | None, lease: str | None) -> Iterator[Answer]:
    held, free = _without(state, who)
    if held is not None:
        yield held, _renewed(state, held, lease)
    for base in free:
        ready = _ready(base)
        first = ready[0] if ready else POOL_TASKS
        chosen = [task for task in _passing(base) if task < first] + ready[:1]
        for task in chosen:
            yield task, _put(base, task, Held(who, lease == "short"))
        if not ready:
            yield None, base


def _claim(state: State, task: int, who: str | None, lease: str | None) -> Iterator[Answer]:
    held, free = _without(state, who)
    if held == task:
        yield "ok", _renewed(state, task, lease)
    elif held is not None:
        yield "conflict", state
    for base in free:
        ready = task in _ready(base)
        if ready or task in _passing(base):
            yield "ok", _put(base, task, Held(who, lease == "short"))
        if not ready:
            yield "conflict", base


def _report(state: State, task: int, who: str | None, value: object) -> Iterator[Answer]:
    """For the holder alone; one whose lease has passed may be refused."""
    held = state[task]
    if not isinstance(held, Held) or held.by != who:
        yield "conflict", state
        return
    yield "ok", _put(state, task, value)
    if held.passing:
        yield "conflict", _put(state, task, "pending")


def _crash(state: State, task: int, who: str) -> Iterator[Answer]:
    """Found dead by one who reconciles. It need not hold the task that it was given last."""
    if _held_by(state, who) == task:
        yield "crashed", _put(state, task, "pending")
        return
    yield "crashed", state
    yield "left", state


def _look(state: State, seen: Any) -> Answer:
    """Which passing tasks are seen as ready, is up to the store; those are pending."""
    told = () if seen is UNKNOWN else seen
    passed = [task for task in _passing(state) if task in told]
    for task in passed:
        state = _put(state, task, "pending")
    return tuple(_ready(state)), state


def _last(state: State, seen: Any) -> tuple[object, ...]:
    """What the file should hold."""
    return tuple(
        value
        if not isinstance(value, Held)
        else "pending"
        if value.passing and seen[task] == "pending"
        else ("held", value.by)
        for task, value in enumerate(state)
    )
