"""The look at a demo's outcome: each finding can fail, each number is shown."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cwstore._demo.report import (
    AttemptFindings,
    DemoReport,
    claimed_twice,
    look_at_attempts,
    overwritten,
    read_logs,
    run_too_early,
)
from cwstore.cli import demo_command, main
from cwstore.store import Store
from tests.kits.terminal import attach, let_time_pass

BACKLOG = Path(__file__).parents[1] / "data" / "backlog.jsonl"

GOOD = DemoReport(
    path="demo.db",
    initiative_id="i",
    workers=2,
    imported=None,
    tasks={"completed": 2_000, "in_progress": 0},
    claims=2_000,
    claims_made_twice=0,
    tasks_run_too_early=0,
    tasks_left=0,
    tasks_stuck=0,
    results_overwritten=0,
    busy_errors=0,
    worker_errors=(),
    workers_ended_early=2,
    workers_killed=2,
    attempts=2_003,
    attempts_failed=1,
    attempts_lost=2,
    attempts_recovered=2,
    log_chunks=3,
    log_bytes=400,
    messages=5,
    conversations=6,
    conversations_answered=6,
    accounts_exhausted=7,
    seconds=1.234,
)


# The look at the outcome


def planted(store: Store, *starts_and_ends: str) -> Any:
    """The findings of logs that one agent wrote in this order: "+task" begins, "-task" ends."""
    for mark in starts_and_ends:
        kind = "system" if mark[0] == "+" else "result"
        store.log_chunks.insert_chunk(
            "agent",
            agent_name="amber-badger",
            session_number=1,
            content=json.dumps({"type": kind, "task_id": mark[1:]}) + "\n",
        )
    return read_logs(store, ["agent"])


def two_tasks(store: Store) -> str:
    """b waits for a, and d for all of a phase with c in it."""
    initiative = store.initiatives.create(name="Order")
    first = store.phases.create(initiative_id=initiative.id, name="First")
    second = store.phases.create(initiative_id=initiative.id, name="Second")
    store.phases.create_dependency(second.id, first.id)
    store.tasks.create(id="a", name="a", initiative_id=initiative.id)
    store.tasks.create(id="b", name="b", initiative_id=initiative.id)
    store.tasks.create_dependency("b", "a")
    store.tasks.create(id="c", name="c", phase_id=first.id)
    store.tasks.create(id="d", name="d", phase_id=second.id)
    return initiative.id


@pytest.mark.parametrize(
    ("log", "early"),
    [
        ("+a -a +b -b +c -c +d -d", set()),
        ("+b -b", set()),  # a did not run here: it was complete before
        ("+a +b -a -b", {"b"}),
        ("+a +b -b", {"b"}),
        ("+b -b +a -a", {"b"}),
        ("+a +a -a +b -b", set()),  # begun again after its first worker was killed
        ("+a -a +a +b -a -b", {"b"}),
        ("+c +d -c -d", {"d"}),
        ("+d +b +a +c", {"b", "d"}),
    ],
)
def test_the_order_of_the_logs_tells_what_ran_too_early(
    store: Store, log: str, early: set[str]
) -> None:
    initiative_id = two_tasks(store)
    assert run_too_early(store, initiative_id, planted(store, *log.split())) == early


def test_logs_are_counted_in_bytes(store: Store) -> None:
    found = planted(store, "+é", "-é")
    assert (found.chunks, found.starts, found.ends) == (2, {"é": [1]}, {"é": [2]})
    assert found.bytes == sum(
        len(chunk.content.encode()) for chunk in store.log_chunks.find_by_agent_id("agent")
    )


def test_a_claim_too_many_is_seen_in_either_record() -> None:
    none: Counter[str] = Counter()
    assert claimed_twice({"a": 1, "b": 1}, {"a": 1}, none) == 0
    assert claimed_twice({"a": 2, "b": 1}, {"a": 1}, none) == 1
    assert claimed_twice({"a": 1, "b": 1}, {"b": 3}, none) == 2
    assert claimed_twice({"a": 2}, {"a": 2}, Counter(a=1)) == 0
    assert claimed_twice({"a": 3}, {}, Counter(a=1)) == 1


def test_attempts_are_counted_by_what_became_of_them(store: Store) -> None:
    """a: lost, then completed; b: failed, then lost; c: held by nobody who lives; d: untouched."""
    initiative_id = two_tasks(store)
    store.phases.update(store.phases.find_all()[0].id, status="approved")
    for number in range(2):
        store.agents.create(name=f"agent {number}", worktree_id="w", id=f"agent {number}")
    store.tasks.claim("a", agent_id="agent 0")
    store.agents.reconcile(lambda _: False)
    store.tasks.claim("a", agent_id="agent 1")
    store.tasks.complete("a", agent_id="agent 1", summary="done")
    store.tasks.claim("b", agent_id="agent 1")
    store.tasks.fail("b", agent_id="agent 1", detail="red")
    store.tasks.claim("b", agent_id="agent 1")
    store.agents.delete("agent 1")
    store.tasks.claim("c")
    tasks = store.tasks.find_by_initiative_id(initiative_id)
    assert look_at_attempts(store, tasks) == AttemptFindings(
        all=5, failed=1, lost=2, recovered=1, stuck=1
    )
    assert overwritten(tasks, {"a": ["done"]}) == 0
    assert overwritten(tasks, {"a": ["early", "done"], "b": ["lost"]}) == 2


def test_each_number_that_must_be_zero_is_a_problem() -> None:
    assert (GOOD.ok, GOOD.problems) == (True, ())
    bad = replace(
        GOOD,
        claims_made_twice=1,
        tasks_run_too_early=2,
        tasks_left=3,
        tasks_stuck=5,
        results_overwritten=6,
        busy_errors=4,
        worker_errors=("CycleError: no",),
    )
    assert bad.problems == (
        "1 claims made twice",
        "2 tasks run before a dependency was complete",
        "3 tasks left that could run",
        "5 tasks stuck",
        "6 results overwritten",
        "4 busy errors",
        "CycleError: no",
    )


# The command


def test_the_table_has_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    demo_command.show(GOOD)
    assert capsys.readouterr().out == (
        "All tasks are done\n"
        "  tasks completed                             2,000\n"
        "  tasks in progress                               0\n"
        "  claims                                      2,000\n"
        "  claims made twice                               0\n"
        "  tasks run before a dependency was complete      0\n"
        "  tasks left that could run                       0\n"
        "  tasks stuck                                     0\n"
        "  results overwritten                             0\n"
        "  busy errors                                     0\n"
        "  attempts                                    2,003\n"
        "  attempts that failed and were tried again       1\n"
        "  attempts lost with their worker                 2\n"
        "  lost attempts recovered                         2\n"
        "  log chunks                                      3\n"
        "  log bytes                                     400\n"
        "  messages                                        5\n"
        "  conversations                                   6\n"
        "  conversations answered                          6\n"
        "  accounts exhausted                              7\n"
        "  workers                                         2\n"
        "  workers killed by the demo                      2\n"
        "  seconds                                      1.23\n"
        "The file is demo.db\n"
    )


def test_the_command_runs_it_with_a_backlog(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", str(file), "--workers", "1", "--backlog", str(BACKLOG)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{BACKLOG}: of 32 issues 17 stored")
    assert lines[1] == "  refused: line 6: t-5 -> parent-child t-4: that issue is a tombstone"
    assert "All tasks are done" in lines
    assert lines[-1] == f"The file is {file}"


@pytest.mark.slow
def test_the_command_shows_progress_on_a_terminal(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = attach(monkeypatch)
    let_time_pass(monkeypatch, a_second=True)
    assert main(["demo", str(file), "--workers", "1"]) == 0
    assert "40 of 40 tasks" in err.getvalue()
    assert "tasks completed" in out.getvalue()


def test_the_command_fails_when_a_number_is_not_zero(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = replace(GOOD, busy_errors=1, workers_ended_early=3)
    monkeypatch.setattr(demo_command, "run_demo", lambda *_, **__: bad)
    complaint = "cwstore: the demo found what must not be: 1 busy errors\n"
    assert main(["demo"]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "Not as it must be"
    assert "  workers that ended early                        3\n" in out
    assert err == complaint
    assert main(["demo", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False
    assert json.loads(out)["busy_errors"] == 1
    assert err == complaint
