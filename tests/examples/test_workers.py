"""The pool of threads and the dispatcher of processes, at work for real."""

import threading
from pathlib import Path

from cwstore import AgentStatus, Store, Task, TaskStatus
from tests.examples import dispatcher, worker_pool


def plan(file: Path, tasks: int) -> list[str]:
    """Tasks of which the last waits for all others; their names."""
    names = [f"t{number}" for number in range(tasks)]
    with Store.open(file) as store:
        made = store.tasks.create_many({"name": name} for name in names)
        store.tasks.create_dependencies((made[-1].id, one.id) for one in made[:-1])
    return names


def test_a_pool_of_threads_does_every_task_once(tmp_path: Path) -> None:
    file = tmp_path / "walk.db"
    names = plan(file, 12)
    met = threading.Barrier(4)  # all four threads hold a task at once
    at_first = iter(range(4))

    def do(task: Task) -> str:
        if next(at_first, None) is not None:
            met.wait(60)
        if task.name == "t3":
            raise OSError("no network")
        return f"did {task.name}"

    done = worker_pool.work_through(str(file), do)
    assert sorted(done) == sorted({*names} - {"t3", "t11"})
    with Store.open(file) as store:
        left = {one.name: one.status for one in store.tasks.find_all() if one.name not in done}
        assert left == {"t3": TaskStatus.BLOCKED, "t11": TaskStatus.PENDING}
        assert store.tasks.find_open_attempts() == []


def test_a_dispatcher_gives_what_a_killed_process_held_to_another(tmp_path: Path) -> None:
    file = tmp_path / "walk.db"
    names = plan(file, 6)
    (died,) = dispatcher.dispatch(str(file), doomed="t2")
    with Store.open(file) as store:
        tasks = store.tasks.find_all()
        assert [(one.name, one.status) for one in tasks] == [
            (name, TaskStatus.COMPLETED) for name in names
        ]
        agents = {one.name: one.status for one in store.agents.find_all()}
        assert agents.pop(died) == AgentStatus.CRASHED
        assert set(agents.values()) == {AgentStatus.STOPPED}
        (t2,) = (one for one in tasks if one.name == "t2")
        attempts = store.tasks.find_attempts(t2.id)
        assert [(one.agent_name, one.outcome) for one in attempts] == [
            (died, "lost"),
            ("agent-2", "completed"),
        ]
