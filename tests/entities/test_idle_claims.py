"""A dispatcher that finds nothing to claim waits for nobody and notices at once what changes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.initiatives import InitiativeStatus
from cwstore.entities.phases import PhaseStatus
from cwstore.entities.task import TaskPatch
from cwstore.store import Store
from tests.kits.database import (
    OpenStore,
    engine_of,
    open_at,
    open_raw,
    rows_written,
    run_raw,
    steps_of_reading,
)
from tests.kits.engine import locked
from tests.kits.entities import SetClock, moment

FILTERS: list[dict[str, Any]] = [
    {},
    {"initiative_id": "i"},
    {"categories": ["execute", "plan"]},
    {"initiative_id": "i", "types": ["auto", "checkpoint:decision"]},
    {"types": ["auto"]},
]


def claimed(store: Store, **filters: Any) -> str | None:
    task = store.tasks.claim_next_ready(**filters)
    return None if task is None else task.id


def held_back(store: Store, count: int = 3, start: int = 0, **given: Any) -> None:
    """Pending tasks of a phase that nobody has approved, of initiative i."""
    if store.initiatives.find_by_id("i") is None:
        store.initiatives.create(name="x", id="i")
        store.phases.create(initiative_id="i", name="x", id="closed")
    new: list[Any] = [
        {"name": "x", "id": f"t{number:05}", "phase_id": "closed", **given}
        for number in range(start, start + count)
    ]
    store.tasks.create_many(new)


@pytest.mark.only_sqlite("looks inside of it")
@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("agent_id", [None, "a"])
def test_an_empty_claim_takes_no_lock_and_waits_for_no_writer(
    store: Store, file: Path, filters: dict[str, Any], agent_id: str | None, open_store: OpenStore
) -> None:
    held_back(store)
    store.agents.create(name="x", worktree_id="w", id="a")
    with open_store(busy_timeout=0) as other, locked(file):
        for _ in range(3):
            assert claimed(other, agent_id=agent_id, **filters) is None
        assert rows_written(other) == 0


@pytest.mark.parametrize("filters", FILTERS)
def test_empty_claims_commit_nothing(store: Store, file: Path, filters: dict[str, Any]) -> None:
    held_back(store)
    raw = open_raw(file)
    before = raw.commits()
    for _ in range(5):
        assert claimed(store, **filters) is None
    assert raw.commits() == before
    raw.close()


def approve(store: Store) -> None:
    store.phases.update("closed", status="approved")


def by_another_store(file: Path) -> None:
    with open_at(file) as other:
        approve(other)


def by_another_program(file: Path) -> None:
    run_raw(file, "UPDATE phases SET status = 'approved', updated_at = updated_at + 1")


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("who", ["this store", by_another_store, by_another_program])
def test_what_becomes_ready_is_noticed_at_once_whoever_changed_it(
    store: Store, file: Path, filters: dict[str, Any], who: str | Callable[[Path], None]
) -> None:
    held_back(store)
    for _ in range(3):
        assert claimed(store, **filters) is None
    if callable(who):
        who(file)
    else:
        approve(store)
    assert [claimed(store, **filters) for _ in range(4)] == ["t00000", "t00001", "t00002", None]


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.tasks.update("needed", status="completed"),
        lambda store: store.tasks.delete("needed"),
        lambda store: store.tasks.delete_dependency("t", "needed"),
        lambda store: store.tasks.create(name="x", id="new"),
        lambda store: store.tasks.update("blocked", status="pending"),
        lambda store: store.initiatives.update("archived", status="active"),
    ],
)
def test_every_way_of_becoming_ready_is_noticed(
    store: Store, change: Callable[[Store], object]
) -> None:
    store.tasks.create(name="x", id="needed", status="in_progress")
    store.tasks.create(name="x", id="t")
    store.tasks.create_dependency("t", "needed")
    store.tasks.create(name="x", id="blocked", status="blocked")
    store.initiatives.create(name="x", id="archived", status="archived")
    store.tasks.create(name="x", id="resting", initiative_id="archived")
    for _ in range(3):
        assert claimed(store) is None
    change(store)
    assert claimed(store) is not None
    assert claimed(store) is None


def test_a_lease_that_passes_is_noticed_though_nobody_committed(open_store: OpenStore) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store, open_store(clock=clock) as other:
        store.tasks.create(name="x", id="t")
        store.tasks.claim("t", lease=timedelta(minutes=1))
        for second in range(0, 60, 10):
            clock.now = moment(second)
            assert claimed(other) is None
        clock.now = moment(61)
        assert claimed(other) == "t"
        assert claimed(other) is None


def test_a_lease_that_passed_does_not_help_who_asks_for_something_else(
    open_store: OpenStore,
) -> None:
    clock = SetClock(moment(0))
    with open_store(clock=clock) as store:
        store.tasks.create(name="x", id="t")
        store.tasks.claim("t", lease=timedelta(minutes=1))
        assert claimed(store, categories=["plan"]) is None
        assert claimed(store, categories=["plan"]) is None
        clock.now = moment(61)
        assert claimed(store, categories=["plan"]) is None
        assert claimed(store) == "t"


def test_answers_about_other_filters_are_kept_apart(store: Store) -> None:
    held_back(store)
    store.tasks.create(name="x", id="p", category="plan")
    for _ in range(2):
        assert claimed(store, initiative_id="i") is None
        assert claimed(store, categories=["review"]) is None
    assert claimed(store, categories=["plan"]) == "p"
    assert claimed(store, categories=["plan"]) is None


def test_more_filters_than_are_remembered_do_no_harm(store: Store) -> None:
    for _ in range(2):
        for number in range(150):
            assert claimed(store, initiative_id=f"i{number}") is None
    store.initiatives.create(name="x", id="i7")
    store.tasks.create(name="x", id="t", initiative_id="i7")
    assert claimed(store, initiative_id="i7") == "t"


RANKED: list[tuple[str, TaskPatch]] = [
    ("late", {"priority": "low"}),
    ("soon", {}),
    ("later", {"priority": "low"}),
]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize("in_phase", [True, False])
def test_many_that_are_held_back_in_front_of_a_ready_one_are_passed(
    store: Store, filters: dict[str, Any], in_phase: bool
) -> None:
    held_back(store, 1_020, priority="high")
    store.tasks.create(name="x", id="needed", status="blocked")
    for number in range(30):
        store.tasks.create(name="x", id=f"w{number}", initiative_id="i")
        store.tasks.create_dependency(f"w{number}", "needed")
    store.phases.create(initiative_id="i", name="x", id="open", status="in_progress")
    where: dict[str, Any] = {"phase_id": "open"} if in_phase else {"initiative_id": "i"}
    for key, priority in RANKED:
        store.tasks.create(name="x", id=key, **where)
        store.tasks.update(key, **priority)
    found = [task.id for task in store.tasks.find_ready(**filters)]
    assert found == ["soon", "late", "later"]
    assert [claimed(store, **filters) for _ in range(4)] == [*found, None]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "filters"), [(5_020, FILTERS[3]), (10_020, FILTERS[0])])
def test_thousands_of_open_phases_that_wait_in_front_of_a_ready_one_are_passed(
    store: Store, count: int, filters: dict[str, Any]
) -> None:
    held_back(store, count, priority="high")
    store.tasks.create(name="x", id="needed", status="blocked")
    store.phases.update("closed", status="in_progress")
    store.tasks.create_dependencies([(f"t{number:05}", "needed") for number in range(count)])
    assert claimed(store, **filters) is None
    for key, priority in RANKED:
        store.tasks.create(name="x", id=key, phase_id="closed")
        store.tasks.update(key, **priority)
    found = [task.id for task in store.tasks.find_ready(**filters)]
    assert found == ["soon", "late", "later"]
    assert [claimed(store, **filters) for _ in range(4)] == [*found, None]


@pytest.mark.only_sqlite("looks inside of it")
@pytest.mark.parametrize("filters", FILTERS)
def test_tasks_behind_an_unapproved_phase_are_not_looked_through(
    store: Store, filters: dict[str, Any]
) -> None:
    def look() -> int:
        assert claimed(store, **filters) is None
        store.tasks.update("t00000", name="y")  # so that the answer is not the remembered one
        return steps_of_reading(store, lambda: claimed(store, **filters))

    held_back(store, 1_050)
    few = look()
    held_back(store, 1_500, start=1_050)
    assert few > 100
    assert look() < 1.2 * few


@pytest.mark.only_sqlite("looks inside of it")
def test_a_remembered_answer_costs_no_look_at_the_tasks(store: Store) -> None:
    held_back(store, 500)
    looked = steps_of_reading(store, lambda: claimed(store))
    claimed(store)
    assert steps_of_reading(store, lambda: claimed(store)) < looked / 10


@pytest.mark.only_sqlite("looks inside of it")
def test_a_claim_looks_again_when_the_connection_that_knew_the_state_is_gone(store: Store) -> None:
    held_back(store)
    for _ in range(3):
        assert claimed(store) is None
    engine_of(store)._writer.drop()  # as if the disk had failed under it
    assert claimed(store) is None
    store.phases.update("closed", status="in_progress")
    assert claimed(store) == "t00000"


def test_an_answer_from_a_transaction_that_is_undone_is_not_kept(store: Store) -> None:
    waiting(store)
    for _ in range(3):
        assert claimed(store) is None
    with suppress(ZeroDivisionError), store.transaction():
        store.tasks.update("needed", status="completed")
        assert [claimed(store) for _ in range(3)] == ["t", None, None]
        raise ZeroDivisionError
    assert claimed(store) is None
    store.tasks.update("needed", status="completed")
    assert claimed(store) == "t"


@pytest.mark.only_sqlite("looks inside of it")
def test_a_claim_looks_again_if_somebody_committed_since_its_look(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task that was first in line has been claimed by another, or one more urgent has come."""
    store.tasks.create(name="x", id="t")
    engine = engine_of(store)
    begin = engine.transaction

    def urgent_one_comes() -> AbstractContextManager[None]:
        monkeypatch.setattr(engine, "transaction", begin)
        run_raw(
            file,
            "INSERT INTO tasks (id, name, priority, created_at, updated_at)"
            " VALUES ('urgent', 'x', 'high', 9, 9)",
        )
        return begin()

    monkeypatch.setattr(engine, "transaction", urgent_one_comes)
    assert [claimed(store) for _ in range(3)] == ["urgent", "t", None]


# What the database keeps of readiness, so that commits of anything else cost an idle dispatcher
# next to nothing

NEW = "INSERT INTO tasks (id, name, created_at, updated_at) VALUES"


def waiting(store: Store, count: int = 0) -> None:
    """The task t, and some more, wait for one that is in progress."""
    store.tasks.create(name="x", id="needed", status="in_progress")
    with store.transaction():
        for key in ("t", *(f"w{number:04}" for number in range(count))):
            store.tasks.create(name="x", id=key)
            store.tasks.create_dependency(key, "needed")


@pytest.mark.only_sqlite("looks inside of it")
@pytest.mark.parametrize("filters", FILTERS[:3:2])
@pytest.mark.parametrize("own", [True, False])
def test_what_concerns_no_task_costs_no_look_at_those_that_wait(
    store: Store, open_store: OpenStore, filters: dict[str, Any], own: bool
) -> None:
    waiting(store, 500)
    done = store.tasks.create(name="x", status="blocked")
    looked = steps_of_reading(store, lambda: claimed(store, **filters))
    for _ in range(2):
        assert claimed(store, **filters) is None
    with open_store() as second:
        other = store if own else second
        irrelevant: list[Callable[[], object]] = [
            lambda: other.agents.create(name="a", worktree_id="w"),
            lambda: other.log_chunks.insert_chunk(
                "a", agent_name="a", session_number=1, content="x"
            ),
            lambda: other.tasks.update("t", name="y"),
            lambda: other.tasks.create(name="x", status="blocked"),
            lambda: other.tasks.update(done.id, status="completed"),
            lambda: other.tasks.create_dependency("w0001", "t"),
        ]
        for act in irrelevant:
            act()
            assert steps_of_reading(store, lambda: claimed(store, **filters)) < looked / 20
        other.tasks.update("needed", status="completed")
        assert claimed(store, **filters) == "t"


#: By a program in any language: what makes a task ready, and which one.
RAW = {
    "completed": "UPDATE tasks SET status = 'completed' WHERE id = 'needed'",
    "an edge is deleted": "DELETE FROM task_dependencies WHERE task_id = 't'",
    "an edge is turned": ("UPDATE task_dependencies SET task_id = 'phased' WHERE task_id = 't'"),
    "its needed task is deleted": "DELETE FROM tasks WHERE id = 'needed'",
    "pending": "UPDATE tasks SET status = 'pending' WHERE id = 'blocked'",
    "another type": "UPDATE tasks SET type = 'auto' WHERE id = 'by hand'",
    "another phase": "UPDATE tasks SET phase_id = NULL WHERE id = 'phased'",
    "another initiative": "UPDATE tasks SET initiative_id = NULL WHERE id = 'resting'",
    "a phase is approved": "UPDATE phases SET status = 'approved' WHERE id = 'closed'",
    "a needed phase is completed": "UPDATE phases SET status = 'completed' WHERE id = 'before'",
    "an edge of phases is deleted": "DELETE FROM phase_dependencies",
    "an edge of phases is turned": ("UPDATE phase_dependencies SET depends_on_phase_id = 'over'"),
    "an initiative is active": "UPDATE initiatives SET status = 'active' WHERE id = 'archived'",
    "new": f"{NEW} ('new', 'x', -9, -9)",
    "the last one is replaced": f"REPLACE INTO {NEW[12:]} ('zz', 'x', 9, 9)",
    "the last ones are gone": (
        "DELETE FROM tasks WHERE id IN ('z', 'zz');"
        " INSERT INTO tasks (id, name, status, created_at, updated_at)"
        " VALUES ('new', 'x', 'pending', 9, 9), ('z', 'x', 'blocked', 8, 8)"
    ),
}


@pytest.mark.parametrize("change", RAW)
@pytest.mark.parametrize("filters", [{}, {"categories": ["execute"]}])
def test_every_way_of_becoming_ready_is_noticed_whatever_program_writes(
    store: Store, file: Path, change: str, filters: dict[str, Any]
) -> None:
    waiting(store)
    store.tasks.create(name="x", id="blocked", status="blocked")
    store.tasks.create(name="x", id="by hand", type="checkpoint:decision")
    for key, status in (("i", "active"), ("archived", "archived")):
        store.initiatives.create(name="x", id=key, status=InitiativeStatus(status))
    for key, status in (
        ("closed", "pending"),
        ("open", "approved"),
        ("before", "approved"),
        ("over", "completed"),
    ):
        store.phases.create(initiative_id="i", name="x", id=key, status=PhaseStatus(status))
    store.phases.create_dependency("open", "before")
    store.tasks.create(name="x", id="phased", phase_id="closed")
    store.tasks.create(name="x", id="of two", phase_id="open")
    store.tasks.create(name="x", id="resting", initiative_id="archived")
    store.tasks.create(name="x", id="z", status="blocked")
    store.tasks.create(name="x", id="zz", status="blocked")
    for _ in range(3):
        assert claimed(store, **filters) is None
    run_raw(file, RAW[change])
    found = [task.id for task in store.tasks.find_ready(**filters)]
    assert found
    assert [claimed(store, **filters) for _ in (*found, None)] == [*found, None]


def test_without_the_row_that_tells_of_readiness_a_claim_looks_at_the_tasks(
    store: Store, file: Path
) -> None:
    waiting(store)
    for _ in range(2):
        assert claimed(store) is None
    run_raw(file, "DELETE FROM readiness")
    for _ in range(3):
        assert claimed(store) is None
    store.tasks.update("needed", status="completed")
    assert claimed(store) == "t"
