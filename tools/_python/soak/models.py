"""What each call should return if it were alone: small models, one for each kind of thing.

`MODELS` has for each the state in the beginning and the step.
"""

from typing import Any

from tools._python.soak.history import UNKNOWN, Op
from tools._python.soak.linearizability import Model
from tools._python.soak.pool import POOL_TASKS, Held, pool

ACCOUNTS = 4


def once(state: Any, op: Op) -> tuple[object, Any]:
    """A question, asked once and answered once: None, then "", then the answer."""
    match op.kind:
        case "ask":
            return ("ok", "") if state is None else ("conflict", state)
        case "answer":
            if state == "":
                return "ok", op.args[0]
            return ("missing" if state is None else "conflict"), state
        case "replies":
            return state or "", state
        case _:
            return state, state  # "read", "final"


def created(state: Any, op: Op) -> tuple[object, Any]:
    """Something with an id of its own: the first makes it."""
    if op.kind == "create":
        return ("conflict" if state else "ok"), True
    return state, state


def chat(state: Any, op: Op) -> tuple[object, Any]:
    """The active session of a target, or None."""
    match op.kind:
        case "open":
            return ("ok", op.args[0]) if state is None else ("conflict", state)
        case "close":
            return ("ok", None) if state == op.args[0] else ("not active", state)
        case _:
            return state, state


def root(state: Any, op: Op) -> tuple[object, Any]:
    """The root page: whichever it is, it stays. "some" is one that nobody has seen."""
    if state not in {None, "some"}:
        return state, state
    if op.outcome is UNKNOWN:
        return None, "some"
    return op.outcome, op.outcome


def edges(state: Any, op: Op) -> tuple[object, Any]:
    """Edges between tasks, never in a circle."""
    match op.kind:
        case "depend":
            task, other = op.args
            reached, waiting = {other}, [other]
            while waiting:
                at = waiting.pop()
                beyond = {end for start, end in state if start == at} - reached
                reached |= beyond
                waiting += beyond
            return ("cycle", state) if task in reached else ("ok", state | {op.args})
        case "below":
            return tuple(sorted(end for start, end in state if start == op.args[0])), state
        case _:
            return tuple(sorted(state)), state


def accounts(state: Any, op: Op) -> tuple[object, Any]:
    """The accounts, least recently used first, and those that are exhausted."""
    line, exhausted = state
    match op.kind, op.args:
        case "take", ():
            for account in line:
                if account not in exhausted:
                    rest = tuple(one for one in line if one != account)
                    return account, ((*rest, account), exhausted)
            return None, state
        case "exhaust", (account,):
            return "ok", (line, exhausted | {account})
        case "restore", (account,):
            return "ok", (line, exhausted - {account})
        case _:
            return line, state  # "final"


def agent(state: Any, op: Op) -> tuple[object, Any]:
    """Its status: crashed by exactly one of those who found it dead."""
    match op.kind:
        case "enlist":
            return "ok", "running"
        case "leave":
            return "ok", "stopped"
        case "crash":
            return ("crashed", "crashed") if state == "running" else ("left", state)
        case _:
            return state, state


#: Name of the model in the key of a call: the state in the beginning, the step.
MODELS: dict[str, tuple[Any, Model]] = {
    "conversation": (None, once),
    "message": (None, once),
    "setup": (None, created),
    "chat": (None, chat),
    "root": (None, root),
    "edges": (frozenset(), edges),
    "accounts": ((tuple(range(ACCOUNTS)), frozenset()), accounts),
    "agent": (None, agent),
    "ghost": ("running", agent),
}


def beginning(key: str) -> tuple[Any, Model]:
    """The state in the beginning and the model of what a key is about."""
    model, _, thing = key.partition("/")
    if model == "pool":
        return (Held(f"{thing}.ghost", False), *["pending"] * (POOL_TASKS - 1)), pool
    return MODELS[model]
