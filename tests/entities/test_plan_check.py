"""What can never become ready is found: rings of every kind, and what waits for the blocked."""

from itertools import pairwise
from typing import Any, Literal

import pytest

from cwstore.entities.plan_check import PlanProblem, PlanProblemKind
from cwstore.store import Store

RING, BLOCKED = PlanProblemKind.RING, PlanProblemKind.BLOCKED


def plan(store: Store, initiative: str, *phases: str) -> None:
    store.initiatives.create(name="x", id=initiative)
    for key in phases:
        store.phases.create(initiative_id=initiative, name="x", id=key)


def task(store: Store, key: str, phase: str | None = None, *needs: str, **given: Any) -> None:
    """A task that waits for those tasks."""
    store.tasks.create(name="x", id=key, phase_id=phase, **given)
    for needed in needs:
        store.tasks.create_dependency(key, needed)


def found(store: Store, initiative: str = "i") -> list[tuple[PlanProblemKind, list[str]]]:
    return [(one.kind, list(one.ids)) for one in store.initiatives.check_plan(initiative)]


def assert_ring(store: Store, *ids: str, initiative: str = "i") -> None:
    """Exactly one problem: this ring, begun anywhere."""
    ((kind, ring),) = found(store, initiative)
    assert kind is RING
    turns = [[*ids[start:], *ids[:start]] for start in range(len(ids))]
    assert ring in turns


def test_a_plan_that_can_be_carried_out_has_no_problem(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "a", "one")
    task(store, "b", "one", "a")
    task(store, "c", "two", "a", "b")
    task(store, "d", None, "c", initiative_id="i")
    assert store.initiatives.check_plan("i") == []
    assert store.initiatives.check_plan("nobody") == []


def test_a_ring_between_two_phases_and_the_tasks_of_them_is_told_in_words(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two")
    task(store, "a", "one", "b")
    assert_ring(store, "a", "b", "one")
    (problem,) = store.initiatives.check_plan("i")
    names = {"a": "task 'a'", "b": "task 'b'", "one": "phase 'one'"}
    shown = [names[key] for key in problem.ids]
    assert problem == PlanProblem(RING, problem.ids, " waits for ".join([*shown, shown[0]]))


def test_a_task_with_the_id_of_its_blocked_phase_waits_for_it(store: Store) -> None:
    plan(store, "i", "same")
    task(store, "same", "same")
    store.phases.update("same", status="blocked")
    assert store.initiatives.check_plan("i") == [
        PlanProblem(
            BLOCKED,
            ("same", "same"),
            "phase 'same' is blocked, and these wait for it: task 'same'",
        )
    ]


def test_a_ring_through_three_phases_is_found(store: Store) -> None:
    plan(store, "i", *"pqr")
    store.phases.create_dependency("q", "p")
    store.phases.create_dependency("r", "q")
    task(store, "t1", "r")
    task(store, "t2", "q")
    task(store, "t3", "p", "t1")
    assert_ring(store, "t3", "t1", "q", "t2", "p")


def test_a_ring_through_the_phases_of_two_initiatives_is_found_from_either(store: Store) -> None:
    plan(store, "i", "i1", "i2")
    plan(store, "j", "j1", "j2")
    store.phases.create_dependency("i2", "i1")
    store.phases.create_dependency("j2", "j1")
    task(store, "b", "i2")
    task(store, "d", "j2")
    task(store, "a", "i1", "d")
    task(store, "c", "j1", "b")
    for key in "ij":
        assert_ring(store, "a", "d", "j1", "c", "b", "i1", initiative=key)


def test_a_ring_through_a_task_of_no_initiative_is_found(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two")
    task(store, "free", None, "b")
    task(store, "a", "one", "free")
    assert_ring(store, "a", "free", "b", "one")


def test_a_ring_of_another_initiative_is_its_own_affair(store: Store) -> None:
    plan(store, "i", "p")
    plan(store, "j", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two")
    task(store, "a", "one", "b")
    task(store, "mine", "p", "a")
    assert found(store, "i") == []
    assert_ring(store, "a", "b", "one", initiative="j")


def test_two_rings_apart_are_two_problems(store: Store) -> None:
    plan(store, "i", *"pqrs")
    for late, early in ("qp", "sr"):
        store.phases.create_dependency(late, early)
        task(store, f"t{late}", late)
        task(store, f"t{early}", early, f"t{late}")
    assert sorted(sorted(ids) for _, ids in found(store)) == [
        ["p", "tp", "tq"],
        ["r", "tr", "ts"],
    ]


def test_a_task_and_a_phase_of_one_id_are_told_apart(store: Store) -> None:
    plan(store, "i", "x", "y")
    store.phases.create_dependency("y", "x")
    task(store, "y", "x")
    task(store, "x", "y", "y")
    assert found(store) == []
    store.tasks.delete_dependency("x", "y")
    store.tasks.create_dependency("y", "x")
    ((kind, ids),) = found(store)
    assert (kind, sorted(ids)) == (RING, ["x", "x", "y"])


@pytest.mark.parametrize("status", ["completed", "in_progress"])
def test_a_task_that_was_begun_waits_for_nothing_any_more(store: Store, status: str) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two", status=status)
    task(store, "a", "one", "b")
    assert found(store) == []


def test_a_completed_phase_holds_up_nobody_and_waits_for_nobody(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two")
    task(store, "a", "one", "b")
    task(store, "stuck", "one", status="blocked")
    store.phases.update("one", status="completed")
    assert found(store) == []


def test_all_that_waits_for_a_blocked_task_is_told_nearest_first(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    task(store, "stuck", "one", status="blocked")
    task(store, "next", "one", "stuck")
    task(store, "far", "two")
    task(store, "free", "one")
    ((kind, ids),) = found(store)
    assert kind is BLOCKED
    assert ids[0] == "stuck"
    assert set(ids[1:3]) == {"next", "one"}
    assert ids[3:] == ["far", "two"]
    (problem,) = store.initiatives.check_plan("i")
    assert problem.detail.startswith("task 'stuck' is blocked, and these wait for it: ")


def test_a_blocked_phase_holds_its_own_tasks_and_later_phases(store: Store) -> None:
    plan(store, "i", "one", "two")
    store.phases.create_dependency("two", "one")
    store.phases.update("one", status="blocked")
    task(store, "a", "one")
    task(store, "done", "one", status="completed")
    task(store, "b", "two")
    task(store, "c", "two", "a")
    ((kind, ids),) = found(store)
    assert (kind, ids[0]) == (BLOCKED, "one")
    assert {"a", "b", "c"} <= set(ids)
    assert "done" not in ids


def test_what_is_blocked_and_keeps_nobody_waiting_is_no_problem(store: Store) -> None:
    plan(store, "i")
    task(store, "stuck", None, status="blocked", initiative_id="i")
    task(store, "other", None, initiative_id="i")
    assert found(store) == []


def test_something_blocked_in_another_initiative_is_told_to_who_waits_for_it(store: Store) -> None:
    plan(store, "i")
    plan(store, "j")
    task(store, "stuck", None, status="blocked", initiative_id="j")
    task(store, "mine", None, "stuck", initiative_id="i")
    assert found(store) == [(BLOCKED, ["stuck", "mine"])]
    assert found(store, "j") == []


@pytest.mark.parametrize("status", ["archived", "completed"])
def test_an_initiative_that_is_over_is_told_to_who_waits_for_work_left_in_it(
    store: Store, status: Literal["archived", "completed"]
) -> None:
    plan(store, "i")
    plan(store, "j")
    task(store, "left", None, initiative_id="j")
    task(store, "nobody's", None, initiative_id="j")
    task(store, "done", None, status="completed", initiative_id="j")
    task(store, "mine", None, "left", "done", initiative_id="i")
    task(store, "later", None, "mine", initiative_id="i")
    assert found(store) == []
    store.initiatives.update("j", status=status)
    assert store.initiatives.check_plan("i") == [
        PlanProblem(
            PlanProblemKind.BLOCKED,
            ("j", "left", "mine", "later"),
            f"initiative 'j' is {status}, and these wait for it:"
            " task 'left', task 'mine', task 'later'",
        )
    ]
    assert found(store, "j") == []  # its own state is known to who asks


def test_an_initiative_under_review_goes_on_and_holds_up_nobody_for_ever(store: Store) -> None:
    plan(store, "i")
    plan(store, "j")
    task(store, "left", None, initiative_id="j")
    task(store, "mine", None, "left", initiative_id="i")
    store.initiatives.update("j", status="pending_review")
    assert found(store) == []


def test_each_of_a_chain_of_blocked_tasks_is_told_with_what_waits_for_it(store: Store) -> None:
    plan(store, "i")
    task(store, "a", None, status="blocked", initiative_id="i")
    task(store, "b", None, "a", status="blocked", initiative_id="i")
    task(store, "c", None, "b", initiative_id="i")
    assert found(store) == [(BLOCKED, ["a", "b", "c"]), (BLOCKED, ["b", "c"])]


def test_rings_come_before_what_is_blocked(store: Store) -> None:
    plan(store, "i", "one", "two")
    task(store, "stuck", None, status="blocked", initiative_id="i")
    task(store, "waits", None, "stuck", initiative_id="i")
    store.phases.create_dependency("two", "one")
    task(store, "b", "two")
    task(store, "a", "one", "b")
    assert [kind for kind, _ in found(store)] == [RING, BLOCKED]


@pytest.mark.slow
def test_a_plan_of_20_000_tasks_is_read_with_a_few_steps_for_each(store: Store) -> None:
    plan(store, "i", *(f"p{number}" for number in range(20)))
    for early, late in pairwise(range(20)):
        store.phases.create_dependency(f"p{late}", f"p{early}")
    with store.transaction():
        for number in range(20_000):
            store.tasks.create(name="x", id=f"t{number}", phase_id=f"p{number // 1000}")
            if number % 1000:
                store.tasks.create_dependency(f"t{number}", f"t{number - 1}")
    assert found(store) == []
    # The first task of the first phase waits for the last one of all.
    store.tasks.create_dependency("t0", "t19999")
    ((kind, ids),) = found(store)
    assert kind is RING
    assert {"t0", "t19999"} <= set(ids)
    store.tasks.delete_dependency("t0", "t19999")
    store.tasks.update("t0", status="blocked")
    ((kind, ids),) = found(store)
    assert (kind, ids[0]) == (BLOCKED, "t0")
    assert len(ids) >= 20_000


def test_a_task_that_its_own_blocked_phase_holds_does_not_wait_for_what_blocks_beside_it(
    store: Store,
) -> None:
    plan(store, "i", "one")
    store.phases.update("one", status="blocked")
    task(store, "stuck", "one", status="blocked")
    task(store, "held", "one")
    behind = {one.ids[0]: one.ids[1:] for one in store.initiatives.check_plan("i")}
    assert "held" in behind["one"]
    assert "held" not in behind["stuck"]
