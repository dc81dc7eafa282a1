"""What agents.reconcile finds after a restart, and what it leaves alone."""

import gc
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, Literal

import pytest

from cwstore.entities.agents import Agent, AgentStatus
from cwstore.entities.claims import AttemptOutcome
from cwstore.entities.task import TaskStatus
from cwstore.errors import ConflictError, InvalidValueError
from cwstore.store import Store
from tests.kits.database import OpenStore, contents
from tests.kits.entities import assert_updated, at, moment, refused


def make(store: Store, name: str, **given: Any) -> Agent:
    """An agent whose id is its name."""
    return store.agents.create(name=name, worktree_id=f"/trees/{name}", id=name, **given)


def test_the_dead_crash_and_give_their_tasks_back(store: Store) -> None:
    for status in ("in_progress", "completed", "blocked"):
        store.tasks.create(name="x", id=status, status=status)
    store.tasks.create(name="x", id="of-alive", status="in_progress")
    waiting = make(store, "waiting", status="waiting_for_input", task_id="in_progress", pid=1)
    done = make(store, "done", status="running", task_id="completed", process_token="p")
    blocked = make(store, "blocked", status="running", task_id="blocked")
    lone = make(store, "lone", status="running")
    make(store, "alive", status="running", task_id="of-alive")
    for status in ("idle", "stopped", "crashed"):
        make(store, status, status=status, task_id="of-alive")
    asked: list[Agent] = []
    before = {agent.id: agent for agent in store.agents.find_all()}
    tasks = {task.id: task for task in store.tasks.find_all()}

    def is_alive(agent: Agent) -> bool:
        asked.append(agent)
        return agent.id == "alive"

    crashed = store.agents.reconcile(is_alive)

    assert asked == [waiting, done, blocked, lone, before["alive"]]
    for was, now in zip((waiting, done, blocked, lone), crashed, strict=True):
        assert_updated(was, now, status=AgentStatus.CRASHED)
        before[now.id] = now
    assert store.agents.find_all() == list(before.values())
    given_back = store.tasks.find_by_id("in_progress")
    assert given_back is not None
    assert_updated(tasks["in_progress"], given_back, status=TaskStatus.PENDING)
    tasks["in_progress"] = given_back
    assert store.tasks.find_all() == list(tasks.values())
    assert store.agents.reconcile(lambda agent: agent.id == "alive") == []


def test_the_dead_come_oldest_first_and_ties_by_id(store: Store, file: Path) -> None:
    for key, second, status in (
        ("c", 2, "running"),
        ("b", 1, "running"),
        ("a", 2, "waiting_for_input"),
        ("d", 1, "waiting_for_input"),
    ):
        given = {"status": status}
        at(file, moment(second), lambda one, key=key, given=given: make(one, key, **given))
    dead = store.agents.reconcile(lambda agent: False)
    assert [agent.id for agent in dead] == ["b", "d", "a", "c"]
    assert dead == store.agents.find_all()


@pytest.mark.parametrize(
    "patch",
    [
        {"status": "stopped"},
        {"status": "waiting_for_input"},
        {"pid": 2},
        {"pid": None},
        {"process_token": "q"},
        {"process_token": None},
    ],
)
def test_an_agent_that_changed_while_it_was_looked_at_is_left_alone(
    store: Store, patch: dict[str, Any], open_store: OpenStore
) -> None:
    store.tasks.create(name="x", id="t", status="in_progress")
    make(store, "a", status="running", task_id="t", pid=1, process_token="p")
    tasks = store.tasks.find_all()
    changed: list[Agent] = []

    def is_alive(agent: Agent) -> bool:
        # By another store with no patience: nothing may hold the write lock now.
        with open_store(busy_timeout=0) as other:
            changed.append(other.agents.update("a", **patch))
        return False

    assert store.agents.reconcile(is_alive) == []
    assert store.agents.find_all() == changed
    assert store.tasks.find_all() == tasks


def test_what_else_changed_meanwhile_is_kept(store: Store, file: Path) -> None:
    store.tasks.create(name="x", id="t", status="in_progress")
    make(store, "a", status="running")
    make(store, "gone", status="running")
    changed: list[Agent] = []

    def is_alive(agent: Agent) -> bool:
        if agent.id == "a":
            changed.append(store.agents.update("a", name="b", task_id="t"))
        else:
            store.agents.delete(agent.id)
        return False

    (crashed,) = store.agents.reconcile(is_alive)
    assert_updated(changed[0], crashed, status=AgentStatus.CRASHED)
    assert [task.status for task in store.tasks.find_all()] == [TaskStatus.PENDING]


@pytest.mark.parametrize("status", ["running", "waiting_for_input"])
def test_a_task_that_another_agent_runs_is_not_given_back(
    store: Store, status: Literal["running", "waiting_for_input"]
) -> None:
    task = store.tasks.create(name="x", id="t", status="in_progress")
    make(store, "dead", status="running", task_id="t")
    make(store, "alive", status=status, task_id="t")
    store.agents.reconcile(lambda agent: agent.id == "alive")
    assert store.tasks.find_all() == [task]
    store.agents.reconcile(lambda agent: False)
    (given_back,) = store.tasks.find_all()
    assert_updated(task, given_back, status=TaskStatus.PENDING)


def test_if_looking_fails_nobody_crashes(store: Store, file: Path) -> None:
    make(store, "a", status="running")
    make(store, "b", status="running")
    before = contents(file)

    def is_alive(agent: Agent) -> bool:
        if agent.id == "b":
            raise PermissionError("cannot look")
        return False

    with pytest.raises(PermissionError):
        store.agents.reconcile(is_alive)
    assert contents(file) == before


def test_inside_of_a_transaction_nobody_is_looked_at(store: Store, file: Path) -> None:
    make(store, "a", status="running")
    asked: list[Agent] = []

    def is_alive(agent: Agent) -> bool:
        asked.append(agent)
        return False

    with store.transaction(), refused(file, ConflictError, match="leave it first"):
        store.agents.reconcile(is_alive)
    assert asked == []
    assert [agent.id for agent in store.agents.reconcile(is_alive)] == ["a"]


def test_a_transaction_of_another_thread_does_not_keep_from_looking(store: Store) -> None:
    make(store, "a", status="running")
    asked: list[Agent] = []

    def is_alive(agent: Agent) -> bool:
        asked.append(agent)
        return True

    with store.transaction():
        thread = Thread(target=lambda: store.agents.reconcile(is_alive))
        thread.start()
        thread.join()
    assert asked == store.agents.find_all()


def test_of_two_that_reconcile_at_once_one_crashes_each_agent(
    store: Store, open_store: OpenStore
) -> None:
    for number in range(20):
        make(store, f"a{number:02}", status="running")
    barrier = Barrier(2)
    crashed: list[Agent] = []

    def reconcile() -> None:
        with open_store() as own:

            def is_alive(agent: Agent) -> bool:
                if agent.id == "a19":
                    barrier.wait()
                return False

            crashed.extend(own.agents.reconcile(is_alive))

    threads = [Thread(target=reconcile) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(crashed, key=lambda agent: agent.id) == store.agents.find_all()


# Agents that hold a task


@pytest.mark.parametrize("status", AgentStatus)
def test_an_agent_of_any_status_that_holds_a_task_is_asked_and_loses_it(
    store: Store, status: AgentStatus
) -> None:
    """It was killed between claim and start, or it crashed and claims go on in its name."""
    store.tasks.create(name="x", id="t")
    make(store, "a", status=status)
    claimed = store.tasks.claim("t", agent_id="a")
    (holder,) = store.agents.find_all()
    asked: list[Agent] = []

    def is_alive(agent: Agent) -> bool:
        asked.append(agent)
        return False

    (crashed,) = store.agents.reconcile(is_alive)
    assert asked == [holder]
    assert_updated(holder, crashed, status=AgentStatus.CRASHED)
    (task,) = store.tasks.find_all()
    assert_updated(claimed, task, status=TaskStatus.PENDING)
    (attempt,) = store.tasks.find_attempts("t")
    assert (attempt.outcome, attempt.detail) == (AttemptOutcome.LOST, "the agent crashed")
    assert (attempt.agent_id, attempt.agent_name) == ("a", "a")
    asked.clear()
    store.agents.reconcile(is_alive)
    assert asked == []


def test_who_is_alive_keeps_its_task_and_who_holds_nothing_and_does_not_run_is_not_asked(
    store: Store, file: Path
) -> None:
    for key in "tu":
        store.tasks.create(name="x", id=key)
    for status in AgentStatus:
        make(store, status, status=status)
    store.tasks.claim("t", agent_id="idle")
    store.tasks.claim("u", agent_id="stopped")
    store.tasks.complete("u", agent_id="stopped")
    asked: list[str] = []
    before = contents(file)

    def is_alive(agent: Agent) -> bool:
        asked.append(agent.id)
        return True

    assert store.agents.reconcile(is_alive) == []
    assert asked == ["idle", "running", "waiting_for_input"]
    assert contents(file) == before


def test_what_nobody_named_holds_is_left_to_its_lease(store: Store, file: Path) -> None:
    store.tasks.create(name="x", id="t")
    store.tasks.claim("t")
    before = contents(file)
    assert store.agents.reconcile(lambda agent: False) == []
    assert contents(file) == before


def test_an_agent_that_gets_another_task_while_it_is_looked_at_is_left_alone(
    store: Store,
) -> None:
    for key in "tu":
        store.tasks.create(name="x", id=key)
    make(store, "a", status="running")
    make(store, "b", status="running")
    store.tasks.claim("t", agent_id="a")

    def is_alive(agent: Agent) -> bool:
        if agent.id == "a":
            store.tasks.complete("t", agent_id="a")
            store.tasks.claim("u", agent_id="a")
        return False

    assert [agent.id for agent in store.agents.reconcile(is_alive)] == ["b"]
    (held,) = store.tasks.find_open_attempts("a")
    assert held.task_id == "u"
    assert [agent.id for agent in store.agents.reconcile(lambda agent: False)] == ["a"]
    assert store.tasks.find_open_attempts() == []


def test_an_agent_whose_task_ended_while_it_was_looked_at_crashes_and_the_result_stays(
    store: Store,
) -> None:
    store.tasks.create(name="x", id="t")
    make(store, "a", status="running")
    store.tasks.claim("t", agent_id="a")

    def is_alive(agent: Agent) -> bool:
        store.tasks.complete("t", agent_id="a", summary="done")
        return False

    assert [agent.id for agent in store.agents.reconcile(is_alive)] == ["a"]
    (task,) = store.tasks.find_all()
    assert (task.status, task.summary) == (TaskStatus.COMPLETED, "done")


def test_a_task_set_in_progress_without_a_claim_stays_if_somebody_claimed_it_since(
    store: Store,
) -> None:
    store.tasks.create(name="x", id="t", status="in_progress")
    make(store, "a", status="running", task_id="t")
    make(store, "b", status="idle")

    def is_alive(agent: Agent) -> bool:
        store.tasks.update("t", status="pending")
        store.tasks.claim("t", agent_id="b")
        return False

    store.agents.reconcile(is_alive)
    assert [one.agent_id for one in store.tasks.find_open_attempts()] == ["b"]
    assert store.tasks.find_all()[0].status is TaskStatus.IN_PROGRESS


# What the callback returns


def nothing(agent: Agent) -> None:
    """Forgot to return."""


async def later(agent: Agent) -> bool:
    return True


@pytest.mark.parametrize(
    ("is_alive", "kind"),
    [
        (nothing, "NoneType"),
        (later, "coroutine"),
        (lambda agent: 1, "int"),
        (lambda agent: "no", "str"),
        (lambda agent: agent, "Agent"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_anything_but_true_or_false_is_refused_and_nobody_crashes(
    store: Store, file: Path, is_alive: Any, kind: str
) -> None:
    make(store, "dead", status="running")
    make(store, "a", status="running")

    def answer(agent: Agent) -> Any:
        return False if agent.id == "dead" else is_alive(agent)

    with refused(file, InvalidValueError, "is_alive", match=f"it returned {kind}$"):
        store.agents.reconcile(answer)
    gc.collect()  # a coroutine that was dropped without an end would warn now


@pytest.mark.parametrize("is_alive", [None, True, "yes"])
def test_what_cannot_be_called_is_refused(store: Store, file: Path, is_alive: Any) -> None:
    make(store, "a", status="running")
    with refused(file, InvalidValueError, "is_alive"):
        store.agents.reconcile(is_alive)


def test_an_agent_that_was_stopped_with_a_task_in_hand_is_asked_and_gives_it_back(
    store: Store,
) -> None:
    """Whoever stops an agent by its status may forget the task."""
    store.tasks.create(name="x", id="t")
    agent = store.agents.create(name="a", worktree_id="w", id="a")
    store.tasks.claim("t", agent_id="a")
    store.agents.update(agent.id, status="stopped")
    assert [one.id for one in store.agents.reconcile(lambda agent: False)] == ["a"]
    assert store.tasks.get("t").status == "pending"


def test_the_attempts_tell_how_many_agents_a_task_has_killed(store: Store) -> None:
    """So a dispatcher can set aside a task on which every worker dies."""
    store.tasks.create(name="x", id="t")
    for name in "abc":
        store.agents.create(name=name, worktree_id="w", id=name, status="running")
        assert store.tasks.claim_next_ready(agent_id=name) is not None
        store.agents.reconcile(lambda agent: False)
    last = store.tasks.find_attempts("t", last=3)
    assert [(one.agent_name, one.outcome) for one in last] == [
        ("a", "lost"),
        ("b", "lost"),
        ("c", "lost"),
    ]
    store.tasks.update("t", status="blocked")
    assert store.tasks.claim_next_ready(agent_id="a") is None
