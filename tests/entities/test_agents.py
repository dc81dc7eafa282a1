"""Agents: every method, order and refusal, and what reconcile finds after a restart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities.agents import Agent, AgentMode, AgentStatus
from cwstore.errors import ConflictError, InvalidValueError, MissingReferenceError, NotFoundError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.entities import (
    NANOID,
    SetClock,
    assert_refused_calls,
    assert_updated,
    at,
    moment,
    refused,
)


def make(store: Store, name: str, **given: Any) -> Agent:
    """An agent whose id is its name."""
    return store.agents.create(name=name, worktree_id=f"/trees/{name}", id=name, **given)


def surroundings(store: Store) -> None:
    """A task `t`, an initiative `i` and an account `acc`."""
    store.initiatives.create(name="x", id="i")
    store.tasks.create(name="x", id="t")
    store.accounts.create(email="x", id="acc")


def test_a_new_agent_has_the_defaults_of_the_schema(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(moment(1))) as store:
        made = store.agents.create(name="jolly-penguin", worktree_id="/trees/1")
        assert made == Agent(
            id=made.id,
            name="jolly-penguin",
            task_id=None,
            initiative_id=None,
            session_id=None,
            worktree_id="/trees/1",
            provider="claude",
            account_id=None,
            status=AgentStatus.IDLE,
            mode=AgentMode.EXECUTE,
            pid=None,
            process_token=None,
            exit_code=None,
            output_file_path=None,
            result=None,
            pending_questions=None,
            user_dismissed_at=None,
            created_at=moment(1),
            updated_at=moment(1),
        )
        assert NANOID.fullmatch(made.id)
        assert store.agents.find_by_id(made.id) == made


def test_everything_given_is_kept(store: Store) -> None:
    surroundings(store)
    given: dict[str, Any] = {
        "task_id": "t",
        "initiative_id": "i",
        "session_id": "s",
        "provider": "other",
        "account_id": "acc",
        "pid": 4711,
        "process_token": "12:boot",
        "output_file_path": "/out",
    }
    made = make(store, "a", **given, status="running", mode="refine")
    plain = make(store, "b")
    expected = replace(
        plain,
        **given,
        id="a",
        name="a",
        worktree_id="/trees/a",
        status=AgentStatus.RUNNING,
        mode=AgentMode.REFINE,
        created_at=made.created_at,
        updated_at=made.created_at,
    )
    assert made == expected
    assert store.agents.find_by_id("a") == expected


def test_a_taken_name_or_id_is_refused(store: Store, file: Path) -> None:
    make(store, "a")
    make(store, "b")
    with refused(file, ConflictError, match=r"agents\.name"):
        store.agents.create(name="a", worktree_id="w")
    with refused(file, ConflictError, match=r"agents\.id"):
        store.agents.create(name="c", worktree_id="w", id="a")
    with refused(file, ConflictError, match=r"agents\.name"):
        store.agents.update("b", name="a")


@pytest.mark.parametrize("field", ["task_id", "initiative_id", "account_id"])
def test_what_an_agent_refers_to_must_exist(store: Store, file: Path, field: str) -> None:
    make(store, "a")
    given: dict[str, Any] = {field: "nobody"}
    with refused(file, MissingReferenceError):
        make(store, "b", **given)
    with refused(file, MissingReferenceError):
        store.agents.update("a", **given)


def test_lists_come_oldest_first_and_ties_by_id(store: Store, file: Path) -> None:
    surroundings(store)
    for key, second in (("c", 2), ("b", 1), ("a", 2), ("d", 1)):
        given = {"task_id": "t", "session_id": "s", "status": "running"}
        at(file, moment(second), lambda one, key=key, given=given: make(one, key, **given))
    make(store, "z")
    agents = {agent.id: agent for agent in store.agents.find_all()}
    assert list(agents) == ["b", "d", "a", "c", "z"]
    of_task = [agents[key] for key in "bdac"]
    assert store.agents.find_by_task_id("t") == of_task
    assert store.agents.find_by_status("running") == of_task
    assert store.agents.find_by_status(AgentStatus.IDLE) == [agents["z"]]
    assert store.agents.find_by_session_id("s") == agents["c"]
    assert store.agents.find_by_name("d") == agents["d"]


def test_what_does_not_exist_is_not_found(store: Store) -> None:
    make(store, "a")
    assert store.agents.find_by_id("nobody") is None
    assert store.agents.find_by_name("A") is None
    assert store.agents.find_by_session_id("s") is None
    assert store.agents.find_by_task_id("t") == []
    assert store.agents.find_by_status("crashed") == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "new"),
        ("task_id", "t"),
        ("task_id", None),
        ("initiative_id", "i"),
        ("initiative_id", None),
        ("session_id", "new"),
        ("session_id", None),
        ("worktree_id", "new"),
        ("provider", "new"),
        ("account_id", "acc"),
        ("account_id", None),
        ("status", AgentStatus.STOPPED),
        ("mode", AgentMode.PLAN),
        ("pid", 2**63 - 1),
        ("pid", None),
        ("process_token", "new"),
        ("process_token", None),
        ("exit_code", -9),
        ("exit_code", None),
        ("output_file_path", "new"),
        ("output_file_path", None),
        ("result", '{"new" : 1}'),
        ("result", None),
        ("pending_questions", "[1,  2]"),
        ("pending_questions", None),
        ("user_dismissed_at", moment(5)),
        ("user_dismissed_at", None),
    ],
)
def test_update_changes_what_is_given_and_nothing_else(store: Store, key: str, value: Any) -> None:
    surroundings(store)
    make(store, "other")
    given = {"task_id": "t", "initiative_id": "i", "account_id": "acc", "session_id": "s"}
    created = make(store, "a", **given, pid=1, process_token="p", output_file_path="o")
    before = store.agents.update(
        "a", exit_code=1, result="{}", pending_questions="[]", user_dismissed_at=moment(1)
    )
    assert_updated(
        created,
        before,
        exit_code=1,
        result="{}",
        pending_questions="[]",
        user_dismissed_at=moment(1),
    )
    patch: dict[str, Any] = {key: value}
    after = store.agents.update("a", **patch)
    assert_updated(before, after, **patch)
    assert store.agents.find_by_id("a") == after


def test_an_update_that_was_overtaken_is_refused(store: Store, file: Path) -> None:
    first = make(store, "a")
    second = store.agents.update("a", if_updated_at=first.updated_at)
    assert_updated(first, second)
    with refused(file, ConflictError):
        store.agents.update("a", pid=1, if_updated_at=first.updated_at)
    with refused(file, NotFoundError):
        store.agents.update("nobody", pid=1)


BAD: list[tuple[str, object]] = [
    ("name", ""),
    ("name", None),
    ("task_id", ""),
    ("initiative_id", 1),
    ("session_id", ""),
    ("worktree_id", ""),
    ("worktree_id", None),
    ("provider", None),
    ("account_id", ""),
    ("status", "busy"),
    ("mode", "idle"),
    ("mode", None),
    ("pid", True),
    ("pid", "1"),
    ("pid", 2**63),
    ("process_token", 1),
    ("output_file_path", Path("/out")),
]


@pytest.mark.parametrize(("field", "value"), [*BAD, ("id", "")])
def test_a_bad_value_is_refused_by_create(
    store: Store, file: Path, field: str, value: object
) -> None:
    given: dict[str, Any] = {"name": "good", "worktree_id": "good", field: value}
    with refused(file, InvalidValueError, field):
        store.agents.create(**given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *BAD,
        ("exit_code", 1.0),
        ("result", "{"),
        ("pending_questions", "['no']"),
        ("user_dismissed_at", moment(0).replace(tzinfo=None)),
        ("created_at", moment(0)),
        ("updated_at", moment(0)),
    ],
)
def test_a_bad_value_is_refused_by_update(
    store: Store, file: Path, field: str, value: object
) -> None:
    make(store, "a")
    given: dict[str, Any] = {field: value}
    with refused(file, InvalidValueError, field):
        store.agents.update("a", **given)


def test_a_bad_key_is_refused_by_every_method(store: Store, file: Path) -> None:
    bad: Any = None
    assert_refused_calls(
        file,
        ("id", store.agents.find_by_id, (bad,)),
        ("name", store.agents.find_by_name, (bad,)),
        ("task_id", store.agents.find_by_task_id, (bad,)),
        ("session_id", store.agents.find_by_session_id, (bad,)),
        ("status", store.agents.find_by_status, (bad,)),
        ("status", store.agents.find_by_status, ("busy",)),
        ("id", store.agents.update, (bad,)),
        ("id", store.agents.delete, (bad,)),
        ("is_alive", store.agents.reconcile, (bad,)),
    )


def test_delete_keeps_the_logs(store: Store, file: Path) -> None:
    make(store, "a")
    chunk = store.log_chunks.insert_chunk("a", agent_name="a", session_number=1, content="x")
    assert store.agents.delete("a") is True
    assert store.agents.delete("a") is False
    assert store.agents.find_all() == []
    assert store.log_chunks.find_by_agent_id("a") == [chunk]


def test_an_agent_outlives_its_task_initiative_and_account(store: Store) -> None:
    surroundings(store)
    made = make(store, "a", task_id="t", initiative_id="i", account_id="acc")
    store.tasks.delete("t")
    store.initiatives.delete("i")
    store.accounts.delete("acc")
    alone = replace(made, task_id=None, initiative_id=None, account_id=None)
    assert store.agents.find_all() == [alone]
