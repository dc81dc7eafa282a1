"""Which tasks are ready, in which order they go, and that each is claimed once."""

from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from cwstore.entities.initiatives import InitiativeStatus
from cwstore.entities.phases import PhaseStatus
from cwstore.entities.tasks import Task, TaskCategory, TaskStatus, TaskType
from cwstore.errors import ConflictError, InvalidValueError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import assert_refused_calls, assert_updated, at, moment, refused


def make(store: Store, *ids: str, **given: Any) -> list[Task]:
    """Tasks whose names are their ids, in this order of creation."""
    return [store.tasks.create(name=key, id=key, **given) for key in ids]


def ready(store: Store, **given: Any) -> str:
    return "".join(task.id for task in store.tasks.find_ready(**given))


def claimed(store: Store, **given: Any) -> str:
    """The ids of all that can be claimed, in the order of the claims."""
    ids: list[str] = []
    while (task := store.tasks.claim_next_ready(**given)) is not None:
        ids.append(task.id)
    return "".join(ids)


def test_a_task_alone_is_ready_while_it_is_pending(store: Store) -> None:
    (made,) = make(store, "a")
    assert store.tasks.find_ready() == [made]
    for status in TaskStatus:
        store.tasks.update("a", status=status)
        assert ready(store) == ("a" if status is TaskStatus.PENDING else "")


def test_a_task_waits_for_all_that_it_depends_on(store: Store) -> None:
    make(store, *"abc")
    store.tasks.create_dependency("a", "b")
    store.tasks.create_dependency("a", "c")
    assert ready(store) == "bc"
    for status in TaskStatus:
        store.tasks.update("b", status=status)
        store.tasks.update("c", status="completed")
        assert ("a" in ready(store)) is (status is TaskStatus.COMPLETED)
    store.tasks.update("b", status="blocked")
    assert ready(store) == ""
    store.tasks.delete("b")
    assert ready(store) == "a"


def test_a_task_waits_for_its_initiative_and_phase_and_the_phases_before_that(
    store: Store,
) -> None:
    store.initiatives.create(name="x", id="i")
    for key in "pq":
        store.phases.create(initiative_id="i", name="x", id=key)
    store.phases.create_dependency("p", "q")
    make(store, "a", phase_id="p")
    store.phases.update("p", status="approved")
    for status in PhaseStatus:
        store.phases.update("q", status=status)
        assert ready(store) == ("a" if status is PhaseStatus.COMPLETED else "")
    store.phases.delete_dependency("p", "q")
    for status in PhaseStatus:
        store.phases.update("p", status=status)
        assert ready(store) == ("a" if status in {"approved", "in_progress"} else "")
    store.phases.update("p", status="in_progress")
    for status in InitiativeStatus:
        store.initiatives.update("i", status=status)
        assert ready(store) == ("a" if status is InitiativeStatus.ACTIVE else "")


def test_parents_and_children_hold_nothing_back(store: Store) -> None:
    make(store, "a")
    make(store, "b", parent_task_id="a")
    make(store, "c", parent_task_id="b")
    assert ready(store) == "abc"


def test_ready_ones_come_by_priority_sort_order_age_and_id(store: Store, file: Path) -> None:
    for key, second, priority, sort_order in (
        ("c", 2, "medium", 0),
        ("b", 1, "medium", 0),
        ("a", 2, "medium", 0),
        ("d", 1, "medium", 1),
        ("e", 3, "medium", -1),
        ("l", 0, "low", -9),
        ("h", 4, "high", 9),
    ):
        given = {"priority": priority, "sort_order": sort_order}
        at(file, moment(second), lambda one, key=key, given=given: make(one, key, **given))
    assert ready(store) == "hebacdl"
    assert ready(store, categories=TaskCategory) == "hebacdl"
    assert ready(store, limit=3) == "heb"
    assert ready(store, limit=0) == ""
    assert claimed(store) == "hebacdl"


def test_filters_choose_by_initiative_category_and_type(store: Store) -> None:
    store.initiatives.create(name="x", id="i")
    make(store, "a", initiative_id="i")
    make(store, "b", initiative_id="i", category="plan")
    make(store, "c", category="plan")
    make(store, "d", category="review", type="checkpoint:decision")
    make(store, "e", initiative_id="i", category="plan", type="checkpoint:decision")
    both = [TaskType.AUTO, "checkpoint:decision"]
    for given, expected in (
        ({}, "abc"),
        ({"initiative_id": "i"}, "ab"),
        ({"initiative_id": "nobody"}, ""),
        ({"categories": ["plan"]}, "bc"),
        ({"categories": (TaskCategory.PLAN, "execute", "plan")}, "abc"),
        ({"categories": []}, ""),
        ({"initiative_id": "i", "categories": ["plan"]}, "b"),
        ({"types": ["checkpoint:decision"]}, "de"),
        ({"types": {"checkpoint:decision"}, "initiative_id": "i"}, "e"),
        ({"types": both}, "abcde"),
        ({"types": both, "categories": ["plan"]}, "bce"),
        ({"types": both, "categories": ["plan"], "initiative_id": "i"}, "be"),
        ({"types": []}, ""),
    ):
        filters: dict[str, Any] = given
        assert ready(store, **filters) == expected
        assert claimed(store, **filters) == expected
        for key in expected:
            store.tasks.update(key, status="pending")


def test_a_bad_filter_is_refused(store: Store, file: Path) -> None:
    make(store, "a")
    tasks: Any = store.tasks
    bad: tuple[tuple[str, dict[str, Any]], ...] = (
        ("types", {"types": "auto"}),
        ("types", {"types": None}),
        ("types", {"types": ["automatic"]}),
        ("types", {"types": [1]}),
        ("categories", {"categories": "plan"}),
        ("categories", {"categories": ["nothing"]}),
        ("categories", {"categories": 5}),
        ("initiative_id", {"initiative_id": ""}),
        ("initiative_id", {"initiative_id": 5}),
    )
    for field, given in bad:
        with refused(file, InvalidValueError, field):
            tasks.find_ready(**given)
        with refused(file, InvalidValueError, field):
            tasks.claim_next_ready(**given)
    assert_refused_calls(
        file,
        ("limit", lambda: tasks.find_ready(limit=-1), ()),
        ("limit", lambda: tasks.find_ready(limit=True), ()),
        ("task_id", tasks.claim, (None,)),
        ("agent_id", lambda: tasks.claim("a", agent_id=5), ()),
        ("agent_id", lambda: tasks.claim_next_ready(agent_id=""), ()),
    )


@pytest.mark.parametrize("agent_id", [5, "", "a\0b", "\udfff"])
def test_what_is_no_id_of_an_agent_is_refused_though_nothing_is_ready(
    store: Store, file: Path, agent_id: Any
) -> None:
    assert_refused_calls(
        file,
        ("agent_id", lambda: store.tasks.claim("nobody", agent_id=agent_id), ()),
        ("agent_id", lambda: store.tasks.claim_next_ready(agent_id=agent_id), ()),
    )


# Pages


def test_a_page_goes_on_after_a_task_that_is_ready_no_longer(store: Store) -> None:
    make(store, *"abcd")
    assert ready(store, limit=2) == "ab"
    store.tasks.claim("b")
    assert ready(store, after="b", limit=1) == "c"
    store.tasks.complete("b")
    assert ready(store, after="b") == "cd"
    assert ready(store, before="b") == "a"
    store.tasks.delete("b")
    with pytest.raises(NotFoundError, match="'b'"):
        ready(store, after="b")


def test_the_place_of_a_task_is_where_its_priority_puts_it_now(store: Store) -> None:
    make(store, *"abcdef")
    store.tasks.update("a", priority="low")
    store.tasks.update("c", priority="high")
    store.tasks.update("e", priority="high")
    assert ready(store) == "cebdfa"
    assert ready(store, after="c", limit=3) == "ebd"  # on into the next priority
    assert ready(store, after="e", limit=3) == "bdf"
    assert ready(store, last=3, before="d") == "ceb"
    store.tasks.update("c", priority="low")
    assert ready(store, after="c") == ""
    assert ready(store, before="c") == "ebdfa"
    store.tasks.update("c", sort_order=-1)
    assert ready(store, after="c") == "a"


# Claims


@pytest.mark.parametrize("agent_id", [None, "agent"])
@pytest.mark.parametrize("named", [True, False])
def test_a_claim_sets_the_task_in_progress_and_hands_it_over(
    store: Store, agent_id: str | None, named: bool
) -> None:
    before, other = make(store, "a", "b")
    agent = store.agents.create(name="x", worktree_id="w", id="agent")
    bystander = store.agents.create(name="y", worktree_id="w")
    if named:
        after = store.tasks.claim("a", agent_id=agent_id)
    else:
        found = store.tasks.claim_next_ready(agent_id=agent_id)
        assert found is not None
        after = found
    assert_updated(before, after, status=TaskStatus.IN_PROGRESS)
    assert store.tasks.find_all() == [after, other]
    now, unchanged = store.agents.find_all()
    assert unchanged == bystander
    if agent_id is None:
        assert now == agent
    else:
        assert_updated(agent, now, task_id="a")


def test_a_claim_of_what_is_not_ready_is_refused(store: Store, file: Path) -> None:
    make(store, "a", "b")
    store.tasks.create_dependency("a", "b")
    store.tasks.claim("b")
    for key in "ab":
        with refused(file, ConflictError, match=f"'{key}'"):
            store.tasks.claim(key)
    with refused(file, NotFoundError, match="'nobody'"):
        store.tasks.claim("nobody")


def test_a_claim_for_an_unknown_agent_claims_nothing(store: Store, file: Path) -> None:
    make(store, "a")
    with refused(file, NotFoundError, match="'nobody'"):
        store.tasks.claim("a", agent_id="nobody")
    with refused(file, NotFoundError, match="'nobody'"):
        store.tasks.claim_next_ready(agent_id="nobody")


def test_without_a_ready_task_there_is_nothing_to_claim(store: Store, file: Path) -> None:
    store.agents.create(name="x", worktree_id="w", id="agent")
    before = contents(file)
    assert store.tasks.claim_next_ready() is None
    assert store.tasks.claim_next_ready(agent_id="agent") is None
    assert contents(file) == before


def test_of_many_that_claim_at_once_each_gets_other_tasks(
    store: Store, open_store: OpenStore
) -> None:
    store.initiatives.create(name="x", id="i")
    for number in range(60):
        make(store, f"t{number:02}", initiative_id="i", sort_order=number % 7)
    barrier = Barrier(4)
    got: list[Task] = []

    def work(number: int) -> None:
        with open_store() as own:
            agent = own.agents.create(name=f"agent {number}", worktree_id="w")
            barrier.wait()
            filters: Any = ({}, {"initiative_id": "i"}, {"categories": ["execute"]})[number % 3]
            while True:
                task = own.tasks.claim_next_ready(**filters, agent_id=agent.id)
                if task is None:
                    return
                got.append(own.tasks.complete(task.id, agent_id=agent.id))

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=lambda task: task.id) == store.tasks.find_all()
    assert {task.status for task in got} == {TaskStatus.COMPLETED}
    assert {len(store.tasks.find_attempts(task.id)) for task in got} == {1}


def test_of_many_that_claim_the_same_task_one_gets_it(store: Store, open_store: OpenStore) -> None:
    make(store, *(f"t{number}" for number in range(10)))
    barrier = Barrier(4)
    got: list[str] = []
    refusals: list[str] = []

    def work() -> None:
        with open_store() as own:
            for number in range(10):
                barrier.wait()
                try:
                    got.append(own.tasks.claim(f"t{number}").id)
                except ConflictError:
                    refusals.append(f"t{number}")

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [f"t{number}" for number in range(10)]
    assert len(refusals) == 30
