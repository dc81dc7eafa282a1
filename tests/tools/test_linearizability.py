"""The checker of the soak: what it lets pass, what it must catch."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore.errors import ConflictError
from cwstore.store import Store
from tests.kits.engine import Task
from tools._python.soak.history import UNKNOWN, Journal, Op, read_journal
from tools._python.soak.linearizability import Model, UndecidedError, explain
from tools._python.soak.models import beginning, once, root
from tools._python.soak.pool import Held, pool


def op(kind: str, begin: int, end: int, outcome: Any, *args: Any) -> Op:
    return Op(kind, "x", args, begin, end, outcome)


def test_a_history_one_after_the_other_must_agree_step_by_step() -> None:
    told = [op("ask", 1, 2, "ok"), op("answer", 3, 4, "ok", "a"), op("read", 5, 6, "a")]
    assert explain(told, None, once) is None
    why = explain([*told[:2], op("read", 5, 6, "")], None, once)
    assert why == "in the state a none of these can come next:\n  : read() ->   [5 .. 6]"


def test_calls_at_once_may_have_happened_in_either_order() -> None:
    asked = op("ask", 1, 2, "ok")
    won, lost = op("answer", 3, 9, "ok", "a"), op("answer", 3, 9, "conflict", "b")
    assert explain([asked, lost, won], None, once) is None
    assert explain([asked, won, op("answer", 3, 9, "ok", "b")], None, once)
    # The loser had ended before the winner began.
    too_early = op("answer", 3, 4, "conflict", "b")
    assert explain([asked, too_early, op("answer", 5, 9, "ok", "a")], None, once)


def test_what_nobody_heard_of_may_have_happened_or_not_but_not_after_the_death() -> None:
    asked, killed = op("ask", 1, 2, "ok"), op("answer", 3, 4, UNKNOWN, "k")
    for kept in ("", "k"):
        assert explain([asked, killed, op("read", 5, 6, kept)], None, once) is None
    first, then = op("read", 5, 6, ""), op("read", 7, 8, "k")
    assert explain([asked, killed, first, then], None, once)
    overlapping = op("answer", 3, 6, UNKNOWN, "k")
    assert explain([asked, overlapping, first, then], None, once) is None
    assert explain([asked, overlapping, op("read", 7, 8, "z")], None, once)


def test_an_outcome_that_the_store_chooses_holds_from_then_on() -> None:
    same = [op("get", 1, 9, "p"), op("get", 1, 9, "p"), op("final", 10, 11, "p")]
    assert explain(same, None, root) is None
    assert explain([op("get", 1, 9, UNKNOWN), *same], None, root) is None
    assert explain([*same, op("get", 1, 9, "q")], None, root)


def test_a_search_that_takes_too_long_says_so() -> None:
    many = [op("answer", 1, 99, UNKNOWN, str(number)) for number in range(12)]
    counting: Model = lambda state, one: ("x", (*state, one.args))  # noqa: E731 a model
    with pytest.raises(UndecidedError, match="13 calls: gave up after 50 places"):
        explain([*many, op("read", 100, 101, "never")], (), counting, limit=50)


def lamp(state: Any, one: Op) -> tuple[object, Any]:
    """On or off: a call that changes nothing now may do so later."""
    match one.kind:
        case "on" | "off":
            return "ok", one.kind
        case _:
            return state, state


@given(st.integers(0, 2**32))
def test_it_agrees_with_trying_every_order(seed: int) -> None:
    """Small histories, some of them impossible."""
    rng = Random(seed)
    model = rng.choice((once, lamp))
    calls: list[Op] = []
    for number in range(rng.randint(1, 5)):
        if model is lamp:
            kind = rng.choice(["on", "off", "read"])
            outcomes = {"read": ["on", "off"]}.get(kind, ["ok"])
        else:
            kind = rng.choice(["ask", "answer", "read"])
            outcomes = {"read": [None, "", "0", "1"]}.get(kind, ["ok", "conflict", "missing"])
        begin = rng.randrange(12)
        outcome = rng.choice([*outcomes, UNKNOWN])
        args = (str(number),) if kind == "answer" else ()
        calls.append(op(kind, begin, begin + rng.randint(1, 8), outcome, *args))
    assert (explain(calls, None, model) is None) == _some_order_fits(calls, model)


def _some_order_fits(calls: list[Op], model: Model) -> bool:
    known = [one for one in calls if one.known]
    unheard = [one for one in calls if not one.known]
    for choice in range(1 << len(unheard)):
        happened = known + [one for at, one in enumerate(unheard) if choice >> at & 1]
        if any(_fits(order, model) for order in permutations(happened)):
            return True
    return False


def _fits(order: tuple[Op, ...], model: Model) -> bool:
    state: Any = None
    for at, one in enumerate(order):
        if any(later.end < one.begin for later in order[at:]):
            return False
        expected, state = model(state, one)
        if one.known and expected != one.outcome:
            return False
    return True


def test_a_call_that_could_change_nothing_may_be_the_one_that_did() -> None:
    slow = op("on", 1, 9, "ok")
    seen = [op("on", 2, 3, "ok"), op("off", 4, 5, "ok"), op("read", 6, 7, "on")]
    assert explain([slow, *seen], None, lamp) is None
    assert explain(seen, None, lamp)


# Attempts


PENDING = ("pending",) * 6


def in_turn(*calls: tuple[str, Any, tuple[Any, ...]]) -> str | None:
    """What is said of calls (kind, outcome, args) one after the other, on six pending tasks."""
    ops = [op(kind, 2 * n, 2 * n + 1, said, *args) for n, (kind, said, args) in enumerate(calls)]
    return explain(ops, PENDING, pool)


FIRST = ("next", 0, ("a", None))


@pytest.mark.parametrize(
    "calls",
    [
        [FIRST, ("next", 0, ("a", None)), ("claim", "ok", (0, "a", None))],
        [FIRST, ("claim", "conflict", (1, "a", None)), ("next", 1, ("b", None))],
        [FIRST, ("finish", "conflict", (0, "b")), ("finish", "ok", (0, "a"))],
        [FIRST, ("finish", "ok", (0, "a")), ("finish", "conflict", (0, "a"))],
        [FIRST, ("release", "ok", (0, "a")), ("next", 0, ("b", None))],
        [FIRST, ("retry", "ok", (0, "a")), ("claim", "ok", (0, None, None))],
        [FIRST, ("block", "ok", (0, "a")), ("next", 1, ("a", None))],
        [FIRST, ("crash", "crashed", (0, "a")), ("finish", "conflict", (0, "a"))],
        [FIRST, ("dismiss", "ok", ("a",)), ("ready", (0, 1, 2, 3, 4), ())],
        [FIRST, ("extend", "ok", (0, "a", "short")), ("expire", "ok", (0,))],
        [("next", 0, (None, "long")), ("finish", "ok", (0, None))],
        [("next", 0, ("a", "short")), ("finish", "ok", (0, "a"))],
        [("next", 0, ("a", "short")), ("next", 0, ("b", None)), ("finish", "conflict", (0, "a"))],
        [("next", 0, ("a", "short")), ("next", 1, ("b", None)), ("next", 0, ("c", None))],
        [("claim", "ok", (3, "a", "short")), ("next", 0, ("a", None))],
        [("next", 0, ("a", "short")), ("ready", (0, 1, 2, 3, 4), ())],
        [
            ("next", 0, ("a", "short")),
            ("ready", (1, 2, 3, 4), ()),
            ("extend", "ok", (0, "a", "long")),
        ],
        [("next", 0, ("a", "short")), ("final", ("pending",) * 6, ())],
        [("next", 0, ("a", "short")), ("final", (("held", "a"), *PENDING[1:]), ())],
        [
            ("next", UNKNOWN, ("a", "short")),
            ("next", UNKNOWN, ("b", None)),
            ("finish", "ok", (0, "b")),
        ],
        [
            ("next", UNKNOWN, ("a", "short")),
            ("next", UNKNOWN, ("b", None)),
            ("finish", "ok", (1, "b")),
        ],
    ],
)
def test_a_claim_has_one_holder_who_alone_reports(calls: list[Any]) -> None:
    assert in_turn(*calls) is None


@pytest.mark.parametrize(
    "calls",
    [
        [FIRST, ("next", 1, ("a", None))],  # a second task for one agent
        [FIRST, ("claim", "conflict", (0, "a", None))],  # the holder is refused its own
        [FIRST, ("claim", "ok", (1, "a", None))],
        [FIRST, ("claim", "ok", (0, "b", None))],
        [FIRST, ("finish", "ok", (0, "b"))],  # a report by another
        [FIRST, ("finish", "ok", (0, None))],
        [FIRST, ("finish", "conflict", (0, "a"))],  # the holder is refused
        [FIRST, ("finish", "ok", (0, "a")), ("finish", "ok", (0, "a"))],
        [FIRST, ("release", "ok", (0, "a")), ("finish", "ok", (0, "a"))],
        [FIRST, ("block", "ok", (0, "a")), ("next", 0, ("a", None))],
        [FIRST, ("crash", "crashed", (0, "a")), ("finish", "ok", (0, "a"))],  # a late one
        [FIRST, ("crash", "left", (0, "a"))],  # stuck
        [FIRST, ("dismiss", "ok", ("a",)), ("next", 1, ("b", None))],
        [FIRST, ("expire", "ok", (0,))],  # without a lease
        [("next", 0, ("a", "long")), ("claim", "ok", (0, "b", None))],
        [("next", 0, ("a", "short")), ("extend", "ok", (0, "a", "long")), ("expire", "ok", (0,))],
        [("next", 0, ("a", "short")), ("next", 0, ("b", None)), ("finish", "ok", (0, "a"))],
        # Seen to be lost, or told so, it is lost.
        [("next", 0, ("a", "short")), ("ready", (0, 1, 2, 3, 4), ()), ("finish", "ok", (0, "a"))],
        [
            ("next", 0, ("a", "short")),
            ("extend", "conflict", (0, "a", "long")),
            ("finish", "ok", (0, "a")),
        ],
        [("next", 0, ("a", "short")), ("next", None, ("b", None))],
        [("next", 0, ("a", "long")), ("final", ("pending",) * 6, ())],
        [("claim", "ok", (5, "a", None))],  # it waits for 1
    ],
)
def test_what_a_store_without_holders_would_say_is_caught(calls: list[Any]) -> None:
    assert in_turn(*calls) is not None


def test_a_call_that_there_is_not_is_a_mistake_of_the_soak() -> None:
    with pytest.raises(ValueError, match="no such call"):
        in_turn(("claim", "ok", (1, "a")))


# A claim as people write it at first, and the one of cwstore


def _select_then_update(file: Path, pool: str, both_have_looked: Barrier) -> Callable[[str], Any]:
    def claim(agent: str) -> Any:
        db = apsw.Connection(str(file))
        db.set_busy_timeout(60_000)
        look = "SELECT id FROM ready_tasks WHERE initiative_id = ? ORDER BY sort_order LIMIT 1"
        ((task,),) = db.execute(look, (pool,)).fetchall()
        both_have_looked.wait(60)
        db.execute("UPDATE tasks SET status = 'in_progress' WHERE id = ?", (task,))
        db.close()
        return int(str(task)[-1])

    return claim


def _claims_of_two_threads(journal: Journal, claim: Callable[[str], Any]) -> None:
    def run(agent: str) -> None:
        number = journal.begin("next", "pool/p", (agent, None))
        journal.end(number, claim(agent))

    for thread in [Task(lambda: run("one")), Task(lambda: run("two"))]:
        thread.finish()


def _pool(store: Store) -> None:
    store.initiatives.create(name="p", id="p")
    for number in range(6):
        store.tasks.create(name="x", initiative_id="p", sort_order=number, id=f"p.{number}")
    store.agents.create(name="p.ghost", worktree_id="w", id="p.ghost")
    store.tasks.claim("p.0", agent_id="p.ghost")
    for name in ("one", "two"):
        store.agents.create(name=name, worktree_id="w", id=name)


def _explained(path: Path) -> str | None:
    return explain(list(read_journal(path, None)), *beginning("pool/p"))


def test_select_then_update_is_caught(store: Store, file: Path, tmp_path: Path) -> None:
    _pool(store)
    path = tmp_path / "planted.journal"
    _claims_of_two_threads(Journal(path), _select_then_update(file, "p", Barrier(2)))
    why = _explained(path)
    assert why is not None
    assert "next" in why


def test_the_same_with_claim_next_ready_is_in_order(store: Store, tmp_path: Path) -> None:
    _pool(store)
    path = tmp_path / "honest.journal"

    def claim(agent: str) -> int | None:
        task = store.tasks.claim_next_ready(initiative_id="p", agent_id=agent)
        return task and int(task.id[-1])

    _claims_of_two_threads(Journal(path), claim)
    assert _explained(path) is None
    with pytest.raises(ConflictError):
        store.tasks.claim("p.1")


def test_a_late_report_written_over_its_successors_result_is_caught(
    store: Store, tmp_path: Path
) -> None:
    """As people write it at first: whoever has worked sets the status."""
    _pool(store)
    path = tmp_path / "late.journal"
    journal = Journal(path)

    def told(kind: str, outcome: Any, *args: Any) -> None:
        journal.end(journal.begin(kind, "pool/p", args), outcome)

    store.tasks.claim("p.1", agent_id="one")
    told("claim", "ok", 1, "one", None)
    store.agents.update("one", status="running")
    assert [agent.id for agent in store.agents.reconcile(lambda agent: agent.id != "one")] == [
        "one"
    ]
    told("crash", "crashed", 1, "one")
    store.tasks.claim("p.1", agent_id="two")
    told("claim", "ok", 1, "two", None)
    with pytest.raises(ConflictError):
        store.tasks.complete("p.1", agent_id="one", summary="late")
    told("finish", "conflict", 1, "one")
    assert _explained(path) is None
    store.tasks.update("p.1", status="completed", summary="late")
    told("finish", "ok", 1, "one")
    why = _explained(path)
    assert why is not None
    assert "finish(1, 'one') -> ok" in why
    assert str(Held("two", False)) in why


def test_a_journal_that_breaks_off_leaves_a_call_that_nobody_heard_of(tmp_path: Path) -> None:
    path = tmp_path / "killed.journal"
    journal = Journal(path)
    journal.end(journal.begin("ask", "x", ()), "ok")
    journal.begin("answer", "x", ("a",))
    journal.close()
    with path.open("ab") as half:
        half.write(b'["end", 1, "o')
    asked, answered = read_journal(path, 2**62)
    assert (asked.kind, asked.outcome, asked.known) == ("ask", "ok", True)
    assert (answered.kind, answered.args, answered.known) == ("answer", ("a",), False)
    assert answered.end == 2**62
    with pytest.raises(ValueError, match=r"answer x .* has no end, yet nobody killed it"):
        list(read_journal(path, None))
