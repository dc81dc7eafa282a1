"""kill -9: at every operation that changes a file, and at any moment under load.

A process that is to die at its n-th changing operation kills itself there: see `system_calls`.
Under load, processes keep journals outside of the store of what they begin and of what they were
told; whatever they were told must be in the store, and nothing may be half there.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cwstore.errors import BusyError, ConflictError
from cwstore.store import Store
from tools._python.faults import error_sweep
from tools._python.faults.system_calls import Guard, Operation, SystemCalls
from tools._python.faults.work import damage_of

# At every operation


class Killer(Guard):
    """Kills its own process before an operation that changes a file."""

    def __init__(self, at: int) -> None:
        self._left = at

    def before(self, operation: Operation) -> int:
        """See Guard."""
        if operation.changes:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return 0


_STEPS = ("new file", "migrate 0", "migrate 11", "migrate 15", "open after a kill", "rehearse")
_ON_STORES = (
    "restore",
    "restore to a new place",
    "restore after a kill",
    "transaction over five",
    "backup",
    "prune",
    "purge",
    "compact",
    "close",
    "claim next",
)
SUBJECTS = tuple(one for one in error_sweep.SUBJECTS if one.name in {*_STEPS, *_ON_STORES})


def kill_everywhere(
    subject: error_sweep.Subject, place: Path, calls: SystemCalls, every: int = 1
) -> error_sweep.Outcome:
    """Do it in processes that die before their first change, before their second, and so on."""
    sweep = error_sweep.Sweep(subject, place, calls)
    for at in range(1, sweep.changes + 1, every):
        sweep.kill(at, Killer(at))
    return sweep.outcome


# Under load

_POOL = 60  # tasks that are claimed
_BUSY = 60.0  # seconds that a write waits: nobody may fail because the machine is slow


@dataclass(slots=True)
class Journal:
    """What one process began and was told."""

    path: Path

    def read(self) -> Iterator[tuple[str, str, bool]]:
        """Each call: its kind, what it was about, and whether it was told to be done."""
        begun: list[str] | None = None
        for line in self.path.read_text(encoding="utf-8").splitlines():
            kind, _, about = line.partition(" ")
            if kind == "done":
                assert begun is not None
                yield begun[0], about or begun[1], True
                begun = None
            elif kind == "refused":
                begun = None
            else:
                begun = [kind, about]
        if begun is not None:
            yield begun[0], begun[1], False


class _Worker:
    """The work of one process, until it is killed."""

    def __init__(self, file: Path, name: str, journal: int, pipe: int, random: Random) -> None:
        self._file = file
        self._name = name
        self._journal = journal
        self._pipe = pipe
        self._random = random
        self._made = 0

    def run(self) -> None:
        """Open the store and work for ever."""
        with Store.open(self._file, busy_timeout=_BUSY) as store:
            self._call("agent", self._name, lambda: self._begin(store))
            self._call("reconcile", "", lambda: store.agents.reconcile(_is_alive))
            acts = (self._task, self._pair, self._chunks, self._claim, self._claim, self._prune)
            while True:
                act = self._check if self._random.random() < 0.01 else self._random.choice(acts)
                act(store)

    def _begin(self, store: Store) -> str:
        agent = store.agents.create(
            id=self._name, name=self._name, worktree_id="w", status="running", pid=os.getpid()
        )
        return agent.id

    def _call(self, kind: str, about: str, act: Callable[[], object]) -> object:
        os.write(self._journal, f"{kind} {about}\n".encode())
        try:
            result = act()
        except ConflictError:
            os.write(self._journal, b"refused\n")
            return None
        told = result if isinstance(result, str) else about
        os.write(self._journal, f"done {told}\n".encode())
        os.write(self._pipe, b".")
        return result

    def _new(self) -> str:
        self._made += 1
        return f"{self._name}-{self._made}"

    def _task(self, store: Store) -> None:
        key = self._new()
        self._call("task", key, lambda: store.tasks.create(id=key, initiative_id="pool", name=key))

    def _pair(self, store: Store) -> None:
        key = self._new()

        def both() -> None:
            with store.transaction():
                store.initiatives.create(id=key, name=key)
                store.phases.create(id=key, initiative_id=key, name=key)

        self._call("pair", key, both)

    def _chunks(self, store: Store) -> None:
        key = self._new()
        rows = [(self._name, self._name, 1, "noise"), (self._name, self._name, 2, key)]
        self._call("chunk", key, lambda: store.log_chunks.insert_chunks(rows))

    def _claim(self, store: Store) -> None:
        def claim() -> str:
            found = store.tasks.claim_next_ready(categories=["execute"], agent_id=self._name)
            return found.id if found else "nothing"

        task = self._call("claim", "", claim)
        if not isinstance(task, str) or task == "nothing":
            return
        if self._random.random() < 0.2:
            self._call("complete", task, lambda: store.tasks.complete(task, agent_id=self._name).id)
        else:
            self._call("release", task, lambda: store.tasks.release(task, agent_id=self._name).id)

    def _prune(self, store: Store) -> None:
        self._call("prune", "", lambda: store.log_chunks.prune(keep_sessions=1))

    def _check(self, store: Store) -> None:
        """A file in use is never called damaged."""

        def check() -> str:
            report = store.check()
            return "ok" if report.ok else repr(report)

        self._call("check", "", check)


def _is_alive(agent: object) -> bool:
    pid = getattr(agent, "pid", None)
    try:
        os.kill(pid or -1, 0)
    except OSError:
        return False
    return pid is not None


@dataclass(slots=True)
class Load:
    """What killing under load came to."""

    kills: int = 0
    told: Counter[str] = field(default_factory=Counter[str])
    unheard: int = 0
    faults: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Child:
    pid: int
    pipe: int


def kill_under_load(place: Path, kills: int, *, workers: int = 4, seed: int = 1) -> Load:
    """Let that many processes work, kill one after another, and start others in their stead."""
    file, random, load = place / "store.db", Random(seed), Load()
    _furnish(file)
    children = [_start(place, file, f"w{number}", seed) for number in range(workers)]
    for number in range(kills):
        chosen = random.randrange(workers)
        child = children[chosen]
        heard = random.choice((0, 1, 1, 5, 20))
        while heard > 0 and (told := os.read(child.pipe, heard)):
            heard -= len(told)
        _kill(child)
        load.kills += 1
        children[chosen] = _start(place, file, f"w{workers + number}", seed)
    for child in children:
        _kill(child)
    _judge(place, file, load)
    return load


def _furnish(file: Path) -> None:
    with Store.open(file) as store, store.transaction():
        store.initiatives.create(id="pool", name="pool")
        for number in range(_POOL):
            store.tasks.create(id=f"pool-{number}", initiative_id="pool", name="task")


def _start(place: Path, file: Path, name: str, seed: int) -> _Child:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
            journal = os.open(place / f"{name}.journal", flags, 0o600)
            _Worker(file, name, journal, writing, Random(f"{seed} {name}")).run()
        except BusyError:
            os.write(2, f"{name}: gave up\n".encode())
        finally:
            os._exit(1)
    os.close(writing)
    return _Child(child, reading)


def _kill(child: _Child) -> None:
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    os.close(child.pipe)


def _judge(place: Path, file: Path, load: Load) -> None:
    load.faults += damage_of(file)
    with Store.open(file) as store:
        load.faults += _missing(store, place, load)
        completed = Counter(
            attempt.task_id
            for number in range(_POOL)
            for attempt in store.tasks.find_attempts(f"pool-{number}")
            if attempt.outcome == "completed"
        )
        for task, times in completed.items():
            if times > 1:
                load.faults.append(f"{task} was completed {times} times")
            if store.tasks.get(task).status != "completed":
                load.faults.append(f"{task} was completed and is {store.tasks.get(task).status}")
        if not store.check().ok:
            load.faults.append(str(store.check()))


def _missing(store: Store, place: Path, load: Load) -> Iterator[str]:
    """What was told to be done and is not there, or is half there."""
    for path in sorted(place.glob("*.journal")):
        name = path.stem
        chunks = {chunk.content for chunk in store.log_chunks.find_by_agent_id(name)}
        for kind, about, told in Journal(path).read():
            load.told[kind] += told
            load.unheard += not told
            if kind == "pair":
                there = [
                    store.initiatives.find_by_id(about) is not None,
                    store.phases.find_by_id(about) is not None,
                ]
                if there[0] != there[1]:
                    yield f"{name}: of pair {about} one half is there"
            if kind == "check" and told and about != "ok":
                yield f"{name}: check found {about}"
            if told and not _is_there(store, kind, about, name, chunks):
                yield f"{name}: {kind} {about} was told to be done and is not there"


def _is_there(store: Store, kind: str, about: str, name: str, chunks: set[str]) -> bool:
    match kind:
        case "task":
            return store.tasks.find_by_id(about) is not None
        case "pair":
            return store.phases.find_by_id(about) is not None
        case "agent":
            return store.agents.find_by_id(about) is not None
        case "chunk":
            return about in chunks
        case "complete":
            return _completed_by(store, about, name)
        case _:
            return True


def _completed_by(store: Store, task: str, agent: str) -> bool:
    return any(
        attempt.agent_id == agent and attempt.outcome == "completed"
        for attempt in store.tasks.find_attempts(task)
    )
