"""The demo: real worker processes finish the work, and its look at the outcome can fail."""

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from multiprocessing import Pipe, active_children
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import cast
from zlib import crc32

import pytest

from cwstore._demo import run as _demo
from cwstore._demo import supervisor as _supervisor
from cwstore._demo import worker as _demo_worker
from cwstore._demo.plan import PHASES, TASKS, store_plan
from cwstore._demo.report import DemoReport
from cwstore._demo.run import run_demo
from cwstore._demo.worker import Job, work
from cwstore.errors import BusyError, ConflictError, InvalidValueError
from cwstore.store import Store
from tests.kits.engine import PATIENCE

ROOT = Path(__file__).parents[2]
BACKLOG = Path(__file__).parents[1] / "data" / "backlog.jsonl"


def zeros(report: DemoReport) -> tuple[object, ...]:
    return (
        report.claims_made_twice,
        report.tasks_run_too_early,
        report.tasks_left,
        report.tasks_stuck,
        report.results_overwritten,
        report.busy_errors,
        report.worker_errors,
    )


ZEROS = (0, 0, 0, 0, 0, 0, ())


# The plan


def test_the_plan_has_five_phases_and_forty_tasks(store: Store) -> None:
    initiative_id = store_plan(store)
    phases = store.phases.topological_order(initiative_id)
    assert [phase.name for phase in phases] == list(PHASES)
    assert [phase.status for phase in phases] == ["approved"] * 5
    tasks = store.tasks.find_by_initiative_id(initiative_id)
    assert [task.name for task in tasks] == [planned.name for planned in TASKS]
    assert len(tasks) == 40
    ready = store.tasks.find_ready(initiative_id=initiative_id)
    assert [task.name for task in ready] == [planned.name for planned in TASKS[:3]]


# A run


FAILURES = sum(crc32(planned.name.encode()) % 7 == 0 for planned in TASKS)


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_two_workers_are_killed_on_the_way_and_nothing_is_lost(file: Path, workers: int) -> None:
    report = run_demo(str(file), workers=workers, pace=0)
    assert zeros(report) == ZEROS
    assert (report.workers, report.workers_killed, report.workers_ended_early) == (
        workers + 2,
        2,
        2,
    )
    assert report.tasks == {"completed": 40}
    assert (report.attempts_lost, report.attempts_recovered) == (2, 2)
    assert report.attempts_failed == FAILURES > 0
    assert report.claims == report.attempts == 40 + FAILURES + 2
    with Store.open(file) as store:
        agents = Counter(str(agent.status) for agent in store.agents.find_all())
        assert agents == {"stopped": workers, "crashed": 2}
        assert store.tasks.find_open_attempts() == []
        attempts = [a for t in store.tasks.find_all() for a in store.tasks.find_attempts(t.id)]
        assert [a.detail for a in attempts if a.outcome == "lost"] == ["the agent crashed"] * 2
        assert all(attempt.lease_until is not None for attempt in attempts)


def test_two_workers_carry_out_the_plan(file: Path) -> None:
    report = run_demo(str(file), workers=2, kills=0, pace=0)
    assert zeros(report) == ZEROS
    assert (report.ok, report.path, report.workers) == (True, str(file), 2)
    assert (report.tasks, report.claims) == ({"completed": 40}, 40 + FAILURES)
    assert (report.attempts, report.attempts_failed) == (40 + FAILURES, FAILURES)
    assert (report.attempts_lost, report.attempts_recovered, report.workers_killed) == (0, 0, 0)
    assert report.conversations_answered == report.conversations
    assert report.accounts_exhausted > 0
    with Store.open(file) as store:
        assert {phase.status for phase in store.phases.find_all()} == {"completed"}
        agents = sorted(store.agents.find_all(), key=lambda agent: agent.name)
        assert [(a.name, a.status, a.exit_code, a.task_id) for a in agents] == [
            ("amber-badger", "stopped", 0, None),
            ("brave-crane", "stopped", 0, None),
        ]
        tasks = store.tasks.find_all()
        assert all(f"{task.name}: done by " in (task.summary or "") for task in tasks)
        failed = [a for t in tasks for a in store.tasks.find_attempts(t.id) if a.detail]
        assert {(a.outcome, a.detail, a.number) for a in failed} == {
            ("failed", "the tests were red", 1)
        }
        chunks = [c for a in agents for c in store.log_chunks.find_by_agent_id(a.id)]
        assert len(chunks) == report.log_chunks
        assert sum(len(chunk.content.encode()) for chunk in chunks) == report.log_bytes
        messages = store.messages.find_all()
        assert len(messages) == report.messages > 0
        assert store.messages.find_requiring_response() == []
        assert len(store.accounts.find_by_provider("demo")) == 3


@pytest.mark.slow
def test_a_second_run_on_the_file_leaves_what_is_there_alone(file: Path) -> None:
    with Store.open(file) as store:
        other = store.initiatives.create(name="Real work")
        store.tasks.create(name="Not for the demo", initiative_id=other.id)
        store.accounts.create(email="real@example.org")
        agent = store.agents.create(name="amber-badger", worktree_id="w", status="running")
        store.messages.create(
            sender_type="agent",
            sender_id=agent.id,
            recipient_type="user",
            content="Shall I?",
            requires_response=True,
        )
        before = (
            store.tasks.find_all(),
            store.accounts.find_all(),
            store.agents.find_all(),
            store.messages.find_all(),
        )
    for _ in range(2):
        assert zeros(run_demo(str(file), workers=1, kills=0, pace=0)) == ZEROS
    with Store.open(file) as store:
        assert (
            store.tasks.find_by_initiative_id(other.id),
            store.accounts.find_by_provider("claude"),
            store.agents.find_all()[:1],
            store.messages.find_all()[:1],
        ) == before
        names = sorted(agent.name for agent in store.agents.find_all())
        assert names == ["amber-badger", "brave-crane", "calm-dolphin"]
        assert len(store.initiatives.find_all()) == 3


@pytest.mark.slow
def test_a_backlog_is_worked_on(file: Path) -> None:
    seen: list[str] = []
    report = run_demo(
        str(file),
        backlog=str(BACKLOG),
        workers=2,
        kills=0,
        pace=0,
        on_progress=lambda done, total, note: seen.append(f"{done}/{total} {note}"),
    )
    assert zeros(report) == ZEROS
    assert report.tasks == {"completed": 17}
    assert report.claims == 16 + report.attempts_failed
    assert report.imported is not None
    assert report.imported.adds_up
    assert seen[0] == f"21/31 importing {BACKLOG}"
    # One of the two may have ended before the other says so.
    assert re.fullmatch(r"16/16 16 of 16 tasks, 0 running on [12] workers", seen[-1])


def test_a_backlog_of_which_nothing_can_be_stored_is_refused(file: Path) -> None:
    run_demo(str(file), backlog=str(BACKLOG), workers=1, pace=0)
    with pytest.raises(
        ConflictError,
        match=r"^no issue of .* could be stored; line 1: e-1: .*; give a new path, or none$",
    ):
        run_demo(str(file), backlog=str(BACKLOG))
    with pytest.raises(
        ConflictError, match=f"^no issue of {os.devnull} could be stored; give a new path, or none$"
    ):
        run_demo(str(file), backlog=os.devnull)


def test_memory_is_refused_because_processes_cannot_share_it() -> None:
    with pytest.raises(
        InvalidValueError, match=r"^path: the workers are processes of their own; give a file$"
    ):
        run_demo(":memory:")


@pytest.mark.slow
def test_without_a_path_a_new_file_is_made_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_demo.tempfile, "tempdir", str(tmp_path))
    report = run_demo(workers=1, pace=0)
    assert Path(report.path).parent.parent == tmp_path
    with Store.open(report.path) as store:
        assert len(store.tasks.find_all()) == 40


# Workers that end early


def few_quick_tasks(file: Path) -> str:
    """A backlog of three tasks, each of one step that succeeds."""
    names = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q")
    quick = [n for n in names if crc32(n.encode()) % 4 == 0 and crc32(n.encode()) % 7][:3]
    issues = [{"id": name, "title": name, "status": "open", "priority": 2} for name in quick]
    file.write_text("".join(json.dumps(issue) + "\n" for issue in issues))
    return str(file)


@pytest.mark.slow
def test_what_a_killed_worker_was_at_is_given_to_another(file: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_one(done: float, total: float, note: str) -> None:
        with Store.open(file) as store:
            for agent in store.agents.find_by_status("running")[: 1 - len(killed)]:
                assert agent.pid is not None
                killed.append(agent.pid)
                os.kill(agent.pid, signal.SIGKILL)

    backlog = few_quick_tasks(tmp_path / "few.jsonl")
    report = run_demo(
        str(file), backlog=backlog, workers=2, kills=0, pace=0.4, on_progress=kill_one
    )
    assert zeros(report) == ZEROS
    assert (report.ok, report.workers_ended_early, report.attempts_lost) == (True, 1, 1)
    assert (report.tasks, report.claims) == ({"completed": 3}, 4)
    with Store.open(file) as store:
        agents = {agent.pid: (agent.status, agent.task_id) for agent in store.agents.find_all()}
        status, task_id = agents.pop(killed[0])
        assert status == "crashed"
        assert list(agents.values()) == [("stopped", None)]
        task = store.tasks.find_by_id(task_id or "")
        assert task is not None
        assert task.status == "completed"


def test_when_all_workers_are_killed_the_demo_ends_and_says_what_is_left(file: Path) -> None:
    def kill_all(done: float, total: float, note: str) -> None:
        if " 0 running" not in note:
            for process in active_children():
                process.kill()

    report = run_demo(str(file), workers=2, kills=0, pace=0.5, on_progress=kill_all)
    assert not report.ok
    assert report.workers_ended_early == 2
    assert report.tasks == {"pending": 40}
    assert report.problems == ("3 tasks left that could run",)


def test_an_error_in_a_worker_is_reported(file: Path) -> None:
    def break_lock(done: float, total: float, note: str) -> None:
        with Store.open(file) as store:
            for task in store.tasks.find_all():
                if task.status == "in_progress":
                    store.tasks.delete(task.id)

    report = run_demo(str(file), workers=1, kills=0, pace=0.3, on_progress=break_lock)
    assert not report.ok
    (error,) = report.problems[-1:]
    assert error.startswith("NotFoundError: tasks: no row has the id ")
    assert report.workers_ended_early == 1


@pytest.mark.parametrize(
    ("error", "kind"), [(BusyError("locked"), "busy"), (ConflictError("taken"), "error")]
)
def test_a_worker_tells_its_error_and_ends_with_1(
    error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(_demo_worker.Store, "open", fail)
    ours, theirs = Pipe()
    with pytest.raises(SystemExit) as ended:
        work(Job("x.db", "i", 0, "token", 0), theirs)
    assert ended.value.code == 1
    assert ours.recv() == (kind, f"{type(error).__name__}: {error}", "")


def test_a_worker_whose_parent_has_left_ends_quietly(file: Path) -> None:
    with Store.open(file) as store:
        initiative_id = store_plan(store)
        ours, theirs = Pipe()
        ours.close()
        work(Job(str(file), initiative_id, 0, "token", 0), theirs)
        assert [agent.status for agent in store.agents.find_all()] == ["idle"]


def test_an_error_in_the_parent_ends_every_worker_even_one_that_hangs(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_supervisor, "TERMINATE_SECONDS", 0.05)

    def fail(done: float, total: float, note: str) -> None:
        if "2 running" in note:
            for process in active_children():
                os.kill(process.pid or 0, signal.SIGSTOP)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_demo(str(file), workers=2, kills=0, pace=0.5, on_progress=fail)
    assert active_children() == []
    with Store.open(file) as store:
        assert {task.status for task in store.tasks.find_all()} == {"pending"}
        assert {agent.status for agent in store.agents.find_all()} == {"crashed"}


def test_ctrl_c_in_the_parent_ends_every_worker_and_says_what_became_of_its_work(
    file: Path,
) -> None:
    def press(done: float, total: float, note: str) -> None:
        if "2 running" in note:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"what was begun is pending again in .*store\.db"):
        run_demo(str(file), workers=2, kills=0, pace=0.5, on_progress=press)
    assert active_children() == []
    with Store.open(file) as store:
        assert {task.status for task in store.tasks.find_all()} == {"pending"}
        assert {agent.status for agent in store.agents.find_all()} == {"crashed"}


@pytest.mark.slow
def test_it_may_run_in_a_thread(file: Path) -> None:
    reports: list[DemoReport] = []
    thread = Thread(target=lambda: reports.append(run_demo(str(file), workers=1, pace=0)))
    thread.start()
    thread.join()
    assert [zeros(report) for report in reports] == [ZEROS]


def test_a_worker_notices_that_it_runs_too_early(file: Path) -> None:
    with Store.open(file) as store:
        initiative_id = store_plan(store)
        store.accounts.create(email="demo@example.org", provider="demo")
        ours, theirs = Pipe()
        job = Job(str(file), initiative_id, 0, "token", 0)
        worker = _demo_worker._Worker(store, job, theirs)
        task = store.tasks.claim_next_ready(initiative_id=initiative_id, agent_id=worker._agent.id)
        assert task is not None
        needed = store.tasks.create(name="Late", initiative_id=initiative_id)
        store.tasks.create_dependency(task.id, needed.id)
        worker._carry_out(task)
        done = store.tasks.find_by_id(task.id)
        assert done is not None
    events: list[tuple[str, str, str | None]] = []
    while ours.poll():
        events.append(ours.recv())
    assert events[0] == ("early", task.id, "")
    assert events[-1] == ("finished", task.id, done.summary)


def test_a_worker_leaves_only_when_nobody_runs_what_could_make_a_task_ready(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    initiative_id = store.initiatives.create(name="Nothing to do").id
    other = store.agents.create(
        name="other", worktree_id="x", initiative_id=initiative_id, status="running"
    )
    ours, theirs = Pipe()
    worker = _demo_worker._Worker(store, Job(str(file), initiative_id, 0, "token", 0), theirs)
    versions = iter([1, 1, 2])
    monkeypatch.setattr(store, "data_version", lambda: next(versions))
    waited: list[float] = []

    def end_the_other(seconds: float) -> None:
        waited.append(seconds)
        store.agents.update(other.id, status="idle")

    monkeypatch.setattr(worker, "_pause", end_the_other)
    ours.send("begin")
    worker.run()
    assert (len(waited), list(versions)) == (1, [])
    assert [ours.recv().kind for _ in range(2)] == ["ready", "left"]


def test_a_worker_asks_again_though_it_heard_of_no_change(store: Store, file: Path) -> None:
    initiative_id = store.initiatives.create(name="Nothing to do").id
    _, theirs = Pipe()
    worker = _demo_worker._Worker(store, Job(str(file), initiative_id, 0, "token", 0), theirs)
    store.tasks.create(name="Ready", initiative_id=initiative_id)
    worker._wait_for_change()
    assert not worker._is_over()


def test_a_worker_that_waits_notices_that_its_parent_has_left(store: Store, file: Path) -> None:
    initiative_id = store.initiatives.create(name="Nothing to do").id
    ours, theirs = Pipe()
    worker = _demo_worker._Worker(store, Job(str(file), initiative_id, 0, "token", 0), theirs)
    ours.close()
    with pytest.raises(EOFError):
        worker._pause(PATIENCE)


def test_the_supervisor_notes_what_runs_too_early_and_who_ends_with_an_error(store: Store) -> None:
    initiative_id = store.initiatives.create(name="i").id
    supervisor = _supervisor.Supervisor(store, initiative_id, None)
    ours, theirs = Pipe()
    theirs.close()
    process = SimpleNamespace(exitcode=3, join=lambda: None)
    member = _supervisor.WorkerProcess(
        cast("SpawnProcess", process), ours, Job("x.db", "i", 0, "token", 0), agent_id="a"
    )
    supervisor._running.append(member)
    supervisor._start_work()  # does not mind that it has just ended
    supervisor._handle(member, _demo_worker.Event("early", "task"))
    supervisor._reap(member)
    assert (supervisor._early, supervisor._errors) == (
        {"task"},
        ["a worker ended with exit code 3"],
    )


def test_ctrl_c_gives_back_what_was_begun(file: Path, tmp_path: Path) -> None:
    backlog = tmp_path / "many.jsonl"
    issue = {"title": "One of many", "status": "open", "priority": 2}
    backlog.write_text("".join(json.dumps({"id": f"i-{n}", **issue}) + "\n" for n in range(900)))
    command = [sys.executable, "-m", "cwstore", "demo", str(file), "--workers", "2"]
    demo = subprocess.Popen(
        [*command, "--backlog", str(backlog)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    with demo, Store.open(file) as store:
        while not store.agents.find_by_status("running"):
            assert demo.poll() is None
            Event().wait(0.01)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        out, err = demo.communicate()
        assert (demo.returncode, out) == (130, "")
        assert err == f"cwstore: stopped; what was begun is pending again in {file}\n"
        tasks = Counter(str(task.status) for task in store.tasks.find_all())
        assert tasks["in_progress"] == 0
        assert tasks["pending"] > 0
        assert {agent.status for agent in store.agents.find_all()} <= {"crashed", "idle"}
