"""Checks that need no search: counting what was told and comparing it with the file."""

from collections import Counter
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

from cwstore.store import Store
from tools._python.soak.history import Op
from tools._python.soak.models import ACCOUNTS, GHOST_TASK

#: Takes the kind of a fault, and a line about it.
Add = Callable[[str, str], None]


def judge_directly(add: Add, store: Store, key: str, ops: list[Op]) -> None:
    """The history of one key, the last call of which is a look at the file."""
    match key.partition("/")[0]:
        case "pool":
            _judge_claims(add, key, ops)
        case "conversation" | "message":
            _judge_answers(add, key, ops)
        case "edges":
            _judge_edges(add, key, ops)
        case "root":
            told = {op.outcome for op in ops if op.known and op.outcome is not None}
            if len(told) > 1:
                add("second root pages", f"{key}: {sorted(told)}")
        case "chat":
            _judge_sessions(add, store, key, ops)
        case "accounts":
            _judge_rotation(add, key, ops)
        case _:
            pass


def _judge_answers(add: Add, key: str, ops: list[Op]) -> None:
    kept = ops[-1].outcome
    answers = [op.args[0] for op in ops if op.kind == "answer" and op.outcome == "ok"]
    if len(answers) > 1:
        add("claimed twice", f"{key}: answered by {answers}")
    if any(answer != kept for answer in answers):
        add("lost writes", f"{key}: told {answers}, kept {kept!r}")


def _judge_edges(add: Add, key: str, ops: list[Op]) -> None:
    kept = ops[-1].outcome
    lost = {op.args for op in ops if op.kind == "depend" and op.outcome == "ok"} - {*kept}
    if lost:
        add("lost writes", f"{key}: edges {sorted(lost)}")
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for task, other in kept:
        sorter.add(task, other)
    try:
        sorter.prepare()
    except CycleError as error:
        add("cycles", f"{key}: {error.args[1]}")


def _judge_sessions(add: Add, store: Store, key: str, ops: list[Op]) -> None:
    opened = {op.args[0] for op in ops if op.kind == "open" and op.outcome == "ok"}
    closes = [op for op in ops if op.kind == "close" and (op.outcome == "ok" or not op.known)]
    if len(opened) > 1 + len(closes):
        add("second active sessions", f"{key}: {len(opened)} opened, {len(closes)} closed")
    closed = {op.args[0] for op in closes if op.known}
    for session_id in opened:
        session = store.chat_sessions.find_session_by_id(session_id)
        if session is None or (session_id in closed and session.status != "closed"):
            add("lost writes", f"{key}: session {session_id} is {session}")


def _judge_claims(add: Add, key: str, ops: list[Op]) -> None:
    claims: Counter[int] = Counter()
    given_up: Counter[int] = Counter()
    claims[GHOST_TASK] += 1  # in the beginning
    final = ops[-1].outcome
    for op in ops:
        match op.kind:
            case "next" if op.known and op.outcome is not None:
                claims[op.outcome] += 1
            case "claim" if op.outcome == "ok":
                claims[op.args[0]] += 1
            case "release" | "crash" if op.outcome in {"ok", "crashed"} or not op.known:
                given_up[op.args[0]] += 1
            case "finish" if op.outcome == "ok" and final[op.args[0]] != "completed":
                add("lost writes", f"{key}: {op.args[0]} was finished by {op.args[1]}")
            case _:
                pass
    for task, times in claims.items():
        if times > 1 + given_up[task]:
            add(
                "claimed twice",
                f"{key}: {task} was claimed {times} times, given up {given_up[task]} times",
            )


def _judge_rotation(add: Add, key: str, ops: list[Op]) -> None:
    """By `last_used_at` the accounts follow each other in one order, over and over.

    A claim that nobody heard of leaves a gap, so there may be as many gaps as such claims.
    """
    if any(op.kind == "exhaust" for op in ops):
        return  # then the order is not one; the model judges it
    taken = [op for op in ops if op.kind == "take"]
    told = sorted((op.extra, op.outcome) for op in taken if op.known and op.outcome is not None)
    if len({stamp for stamp, _ in told}) < len(told):
        add("rotation broken", f"{key}: one last_used_at for two claims")
    gaps, expected = 0, 0
    for _, account in told:
        gaps += (account - expected) % ACCOUNTS
        expected = (account + 1) % ACCOUNTS
    unheard = sum(not op.known for op in taken)
    if gaps > unheard:
        add("rotation broken", f"{key}: {gaps} gaps for {unheard} claims nobody heard of")
