"""Initiatives of any size go a little at a time."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cwstore.entities import bulk_delete
from cwstore.errors import ConflictError, ConflictReason, InvalidValueError
from cwstore.store import Store
from tests.kits.database import contents, open_at, rows_of_each_commit
from tests.kits.entities import refused


def fill(store: Store, key: str) -> None:
    """An initiative that owns some of everything, and an agent that has to do with it."""
    store.initiatives.create(name=key, id=key)
    phases = [store.phases.create(initiative_id=key, name="p", id=f"{key}-{n}").id for n in "pq"]
    store.phases.create_dependency(*phases)
    tasks = [
        {"name": "t", "id": f"{key}-t{number}", "phase_id": phases[number % 2]}
        for number in range(30)
    ]
    for number in range(1, 20):  # a chain
        tasks[number] |= {"parent_task_id": f"{key}-t{number - 1}", "phase_id": phases[0]}
    tasks[0]["phase_id"] = phases[0]
    store.tasks.create_many(tasks)  # type: ignore[arg-type]
    store.tasks.create_dependencies((f"{key}-t{n}", f"{key}-t0") for n in range(1, 30))
    agent = store.agents.create(name=key, worktree_id="w", id=f"{key}-a", initiative_id=key)
    store.phases.update(phases[1], status="completed")
    store.phases.update(phases[0], status="approved")
    store.tasks.claim(f"{key}-t0", agent_id=agent.id)
    page = store.pages.get_or_create_root_page(key)
    store.pages.create(initiative_id=key, title="x", parent_page_id=page.id)
    store.proposals.create(agent_id=agent.id, initiative_id=key, target_type="page", title="x")
    store.review_comments.create(
        phase_id=phases[0], file_path="f", line_number=1, line_type="added", body="b"
    )
    chat = store.chat_sessions.create_session(
        target_type="task", target_id=f"{key}-t3", initiative_id=key
    )
    for _ in range(3):
        store.chat_sessions.create_message(chat.id, role="user", content="c")
    entry: Any = {"entity_type": "task", "entity_id": "x", "action": "create", "new_state": "{}"}
    store.change_sets.create(initiative_id=key, entries=[entry, entry])
    for where in ({"task_id": f"{key}-t1"}, {"phase_id": phases[1]}, {"initiative_id": key}):
        store.conversations.create(
            from_agent_id=agent.id, to_agent_id=agent.id, question="q", **where
        )
    project = store.projects.create(name=key, url=key)
    store.projects.add_to_initiative(key, project.id)


def test_a_purge_leaves_what_a_delete_leaves(tmp_path: Path) -> None:
    left: list[object] = []
    for name in ("deleted", "purged"):
        with open_at(tmp_path / name) as store:
            for key in ("kept", "i"):
                fill(store, key)
            if name == "deleted":
                assert store.initiatives.delete("i") is True
            else:
                assert store.initiatives.purge("i") > 0
            assert store.initiatives.find_by_id("i") is None
            agent = store.agents.find_by_name("i")
            assert agent is not None
            assert (agent.initiative_id, agent.task_id) == (None, None)
            assert [c.task_id for c in store.conversations.find_pending_for_agent("i-a")] == [
                None
            ] * 3
        found = contents(tmp_path / name)
        found.pop("stamps")  # of the clock, not of the plan
        left.append({table: len(rows) for table, rows in found.items()})
    assert left[0] == left[1]


def test_every_row_is_counted_and_told_as_it_goes(store: Store, file: Path) -> None:
    fill(store, "kept")
    before = sum(map(len, contents(file).values()))
    fill(store, "i")
    rest = 1 + 1 + 3  # the project, the agent and its conversations stay
    told: list[int] = []
    owned = sum(map(len, contents(file).values())) - before - rest
    assert store.initiatives.purge("i", on_progress=told.append) == owned
    assert told == sorted(told)
    assert told[-1] == owned
    assert sum(map(len, contents(file).values())) == before + rest


@pytest.mark.only_sqlite("looks inside of it")
def test_each_transaction_of_a_purge_is_bounded(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_delete, "monotonic", lambda: 0.0)
    fill(store, "i")
    store.tasks.create_many(
        {"name": "t", "id": f"m{n}", "initiative_id": "i"} for n in range(2_000)
    )
    hub = store.tasks.create(name="hub", initiative_id="i")
    store.tasks.create_dependencies((f"m{n}", hub.id) for n in range(2_000))
    store.tasks.create_dependencies((f"m{n + 1}", f"m{n}") for n in range(1_999))
    rows = rows_of_each_commit(store)
    assert store.initiatives.purge("i") > 6_000
    assert max(rows) <= 2_400  # a thousand edges, and what they tell of readiness
    assert len(rows) > 6


@pytest.mark.only_sqlite("looks inside of it")
def test_a_purge_on_a_slow_disk_does_one_statement_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_delete, "SECONDS_AT_A_TIME", -1.0)
    fill(store, "i")
    rows = rows_of_each_commit(store)
    assert store.initiatives.purge("i") > 0
    assert store.tasks.find_all() == []
    assert max(rows) <= 100


def test_begun_again_it_goes_on(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_delete, "SECONDS_AT_A_TIME", -1.0)
    fill(store, "i")
    all_rows = sum(map(len, contents(file).values()))

    def stop(done: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.initiatives.purge("i", on_progress=stop)
    left = store.initiatives.find_by_id("i")
    assert left is not None
    assert left.status == "archived"
    assert store.tasks.find_ready() == []
    assert sum(map(len, contents(file).values())) < all_rows
    assert store.initiatives.purge("i") > 0
    assert store.initiatives.purge("i") == 0
    assert store.tasks.find_all() == store.pages.find_all() == store.phases.find_all() == []


PURGE = """
import sys
from cwstore import Store
from cwstore.entities import bulk_delete

bulk_delete.SECONDS_AT_A_TIME = -1.0

def told(done):
    if done > 30:
        print(done, flush=True)
        sys.stdin.readline()

with Store.open(sys.argv[1]) as store:
    store.initiatives.purge("i", on_progress=told)
"""


def test_a_purge_that_was_killed_goes_on(store: Store, file: Path) -> None:
    fill(store, "kept")
    kept = sum(map(len, contents(file).values()))
    fill(store, "i")
    with subprocess.Popen(
        [sys.executable, "-c", PURGE, store.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        done = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    assert done > 30
    assert store.initiatives.purge("i") > 0
    assert sum(map(len, contents(file).values())) == kept + 5
    assert store.check().ok


def test_what_comes_in_meanwhile_goes_too(store: Store) -> None:
    fill(store, "i")
    late: list[str] = []

    def write(done: int) -> None:
        if not late and store.tasks.find_by_id("i-t29") is None:
            late.append(store.tasks.create(name="late", initiative_id="i").id)

    assert store.initiatives.purge("i", on_progress=write) > 0
    assert late
    assert store.tasks.find_all() == []


def test_a_purge_is_refused_in_a_transaction_and_for_bad_arguments(
    store: Store, file: Path
) -> None:
    fill(store, "i")
    purge: Any = store.initiatives.purge
    with refused(file, ConflictError) as _, store.transaction():
        with pytest.raises(ConflictError) as caught:
            purge("i")
        assert caught.value.reason is ConflictReason.TRANSACTION
        raise caught.value
    with refused(file, InvalidValueError, "on_progress"):
        purge("i", on_progress=5)
    with refused(file, InvalidValueError, "initiative_id"):
        purge("")
    assert purge("nobody") == 0
