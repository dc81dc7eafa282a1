"""Checks that need no search: counting what was told and comparing it with the file."""

from collections import defaultdict
from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from cwstore.store import Store
from tools._python.soak.history import Op
from tools._python.soak.models import ACCOUNTS

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
    """A worker surely held a task from its successful claim to its report; no two at once."""
    final = ops[-1].outcome
    held: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
    claimed: dict[tuple[int | None, str], int] = {}  # None: there was no task
    for op in sorted((op for op in ops if op.known), key=lambda op: op.end):
        match op.kind:
            case "next" if op.args[0] is not None:
                claimed[op.outcome, op.args[0]] = op.end
            case "claim" if op.outcome == "ok" and op.args[1] is not None:
                claimed[op.args[0], op.args[1]] = op.end
            case "finish" | "release" | "retry" | "block" if op.outcome == "ok":
                task, who = op.args
                if op.kind == "finish" and final[task] != "completed":
                    add("lost writes", f"{key}: {task} was finished by {who}")
                if (since := claimed.get((task, who))) is not None:
                    held[task].append((since, op.begin, who))
            case _:
                pass
    for task, times in held.items():
        for (_, until, one), (since, _, other) in pairwise(sorted(times)):
            if since < until and one != other:
                add("claimed twice", f"{key}: {task} was held by {one} and {other} at once")


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
