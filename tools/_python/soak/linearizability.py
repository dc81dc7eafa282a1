"""Is there an order in which one caller alone would have seen what many callers saw?

The search of Wing and Gong: of the calls that may come next (no other call had ended before they
began) one is taken whose outcome the model agrees with, and so on; a set of taken calls that was
met before, with the same state, is not searched again. A call whose outcome nobody knows may be
taken as long as nothing that began after its end was taken, or be left out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from tools._python.soak.history import Op

#: Kinds of calls that change nothing, and outcomes of calls that have changed nothing.
LOOKS = {"exists", "ready", "read", "replies", "below", "final"}
REFUSALS = {None, "conflict", "missing", "cycle", "left"}

#: What the call should return in that state, and the state after it; states are hashable. It may
#: look at `op.outcome` where the store is free to choose. Where nobody knows the outcome and the
#: store was free, the state after it is `Several`.
Model = Callable[[Any, Op], tuple[object, Any]]


class Several:
    """The states that a call may have left behind."""

    def __init__(self, states: Iterable[Any]) -> None:
        self.states = tuple(dict.fromkeys(states))


class UndecidedError(Exception):
    """The search was given up: the history is too entangled."""


class _Place(NamedTuple):
    """How far a search has come."""

    first: int  #: every earlier call is taken or left out
    taken: int  #: a bit for each later one
    state: Any
    newest: int  #: the latest beginning of a call that was taken


def explain(ops: Sequence[Op], state: Any, model: Model, *, limit: int = 300_000) -> str | None:
    """None if the history can be put in order, else how far one gets at best.

    Raises UndecidedError after `limit` places.
    """
    calls = sorted(ops, key=lambda op: op.begin)
    start = best = _Place(0, 0, state, 0)
    stack, seen = [start], {start}
    while stack:
        place, candidates = _settle(calls, stack.pop(), model)
        if not any(calls[index].known for index in candidates):
            return None
        best = max(best, place, key=lambda one: (one.first, one.taken.bit_count()))
        for index, after in reversed(_choices(calls, place, candidates, model)):
            there = _take(calls, place, index, after)
            if there not in seen:
                seen.add(there)
                stack.append(there)
        if len(seen) > limit:
            raise UndecidedError(f"{len(calls)} calls: gave up after {limit} places")
    return _report(calls, best)


def _only_looks(op: Op) -> bool:
    """Whether it changes nothing in whatever state it has this outcome.

    One that changes nothing in this state might in a later one, and be needed there. (A look may
    tell which of two things a state is. That rules something out, so no other call needs it.)
    """
    return op.known and (op.kind in LOOKS or op.outcome in REFUSALS)


def _candidates(calls: list[Op], place: _Place) -> list[int]:
    """The calls that may come next: no other one that is left had ended before they began."""
    found: list[int] = []
    ends = 2**63
    for index in range(place.first, len(calls)):
        op = calls[index]
        if op.begin > ends:
            break
        if place.taken >> (index - place.first) & 1:
            continue
        if op.known:
            ends = min(ends, op.end)
        elif op.end < place.newest:
            continue
        found.append(index)
    return [index for index in found if calls[index].begin <= ends]


def _take(calls: list[Op], place: _Place, index: int, state: Any) -> _Place:
    first, taken = place.first, place.taken | 1 << (index - place.first)
    newest = max(place.newest, calls[index].begin)
    while first < len(calls) and (
        taken & 1 or (not calls[first].known and calls[first].end < newest)
    ):
        first, taken = first + 1, taken >> 1
    return _Place(first, taken, state, newest)


def _settle(calls: list[Op], place: _Place, model: Model) -> tuple[_Place, list[int]]:
    """Take each call that may come next, agrees and never changes anything: why should it wait?

    Unless it would leave out for good one with unknown outcome. Also what may come after that.
    """
    while True:
        candidates = _candidates(calls, place)
        lost = [calls[index].end for index in candidates if not calls[index].known]
        oldest = min(lost, default=2**63)
        for index in candidates:
            op = calls[index]
            if not _only_looks(op) or op.begin > oldest:
                continue
            if model(place.state, op) == (op.outcome, place.state):
                place = _take(calls, place, index, place.state)
                break
        else:
            return place, candidates


def _choices(
    calls: list[Op], place: _Place, candidates: list[int], model: Model
) -> list[tuple[int, Any]]:
    """The calls to try next with the state after each, the most promising first."""
    known: list[tuple[int, Any]] = []
    lost: list[tuple[int, Any]] = []
    said: set[object] = set()
    all_known = all(calls[index].known for index in candidates)
    for index in sorted(candidates, key=lambda index: calls[index].end):
        op = calls[index]
        expected, after = model(place.state, op)
        if not op.known:
            states = after.states if isinstance(after, Several) else (after,)
            lost += [(index, state) for state in states if state != place.state]
        elif expected == op.outcome:
            # Of calls that say the same the first to end will do: it can stand for the others.
            same = (op.kind, op.args, op.outcome)
            if not (all_known and same in said):
                known.append((index, after))
            said.add(same)
    return known + lost


def _report(calls: list[Op], place: _Place) -> str:
    stuck = [calls[index] for index in _candidates(calls, place)]
    lines = [
        f"{op.who}: {op.kind}{op.args} -> {op.outcome}  [{op.begin} .. {op.end}]" for op in stuck
    ]
    return f"in the state {place.state} none of these can come next:\n  " + "\n  ".join(lines)
