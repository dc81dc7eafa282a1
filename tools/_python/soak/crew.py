"""The parent: starts the workers of a round at once, kills some, starts others in their place."""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from time import monotonic_ns

from cwstore.store import Store
from tools._python.soak.actions import prune, reconcile
from tools._python.soak.actor import Actor, Step
from tools._python.soak.history import Journal, Op, read_journal
from tools._python.soak.worker import Job, drive

_ROOT = Path(__file__).resolve().parents[3]
_NEVER = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Plan:
    """A round."""

    directory: Path  #: of the file and the journals
    name: str  #: of the round, which seeds what is random
    processes: int
    threads: int = 2
    tasks: int = 3
    steps: int = 2**31  #: that each actor does at most
    seconds: float | None = None  #: None: until the steps are done
    kills: int = 0  #: at most
    calm: int = 20  #: marks of progress between two kills, on average
    busy_timeout: float = 5.0
    address: str | None = None  #: of a database of PostgreSQL; None: a file

    @property
    def season_ns(self) -> int:
        """How long all meet at the same things: the more there are, the longer each waits."""
        return 25_000_000 * self.processes

    @property
    def file(self) -> Path:
        """The store, which the rounds of a soak share."""
        return self.directory / "soak.db"

    @property
    def fresh(self) -> Path:
        """A store that is new in each round."""
        return self.directory / f"{self.name}.fresh.db"

    @property
    def place(self) -> str:
        """The file; or a schema of the round's own."""
        return self._schema(self.name) if self.address else str(self.file)

    @property
    def fresh_place(self) -> str:
        """The same of `fresh`."""
        return self._schema(f"{self.name}.fresh") if self.address else str(self.fresh)

    def _schema(self, name: str) -> str:
        return f"{self.address}{'&' if '?' in str(self.address) else '?'}schema={name}"


@dataclass(slots=True)
class Round:
    """What came of it."""

    plan: Plan
    ops: list[Op] = field(default_factory=list[Op])
    kills: int = 0
    failures: list[str] = field(default_factory=list[str])  #: of workers that nobody killed
    largest_wal: int = 0  #: bytes
    seconds: float = 0.0


@dataclass(eq=False, slots=True)
class _Member:
    process: "subprocess.Popen[bytes]"
    job: Job
    killed: bool = False


def run_round(plan: Plan) -> Round:
    """Let the workers run to their end; the record of all they did.

    Afterwards no agent of a killed worker is left that runs.
    """
    began = monotonic_ns()
    crew = _Crew(plan, began)
    try:
        crew.watch()
    finally:
        crew.dismiss()
    crew.gather()
    crew.outcome.seconds = (monotonic_ns() - began) / 1e9
    return crew.outcome


class _Crew:
    def __init__(self, plan: Plan, began: int) -> None:
        self.outcome = Round(plan)
        self._plan = plan
        self._rng = Random(plan.name)
        seconds = plan.seconds
        self._until = _NEVER if seconds is None else began + int(seconds * 1e9)
        self._calm = self._rng.randint(0, plan.calm)  # marks until the next one is killed
        self._selector = selectors.DefaultSelector()
        self._graveyard = plan.directory / f"{plan.name}.graves"
        self._graveyard.write_text("")
        self._members: list[_Member] = []
        self._dead_at: dict[Path, int | None] = {}
        for number in range(plan.processes):
            self._start(number, 0)

    def _start(self, number: int, life: int) -> None:
        plan = self._plan
        token = f"{plan.name}.w{number}l{life}"
        journal = plan.directory / f"{token}.journal"
        job = Job(
            file=plan.place,
            fresh=plan.fresh_place,
            journal=str(journal),
            graveyard=str(self._graveyard),
            round=plan.name,
            token=token,
            threads=plan.threads,
            tasks=plan.tasks,
            steps=plan.steps,
            until=self._until,
            busy_timeout=plan.busy_timeout,
            season_ns=plan.season_ns,
        )
        with journal.with_suffix(".stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tools._python.soak.worker", json.dumps(asdict(job))],
                cwd=_ROOT,
                env={**os.environ, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
        member = _Member(process, job)
        self._members.append(member)
        assert process.stdout is not None
        self._selector.register(process.stdout, selectors.EVENT_READ, member)

    def watch(self) -> None:
        """Listen to all until the last has ended."""
        waiting: list[_Member] = []
        begun = False
        while self._selector.get_map():
            for member, said in self._heard():
                if b"r" in said:
                    waiting.append(member)
                if not said:
                    self._see_off(member)
                for _ in range(said.count(b".")):
                    self._mark()
            if begun or len(waiting) == self._plan.processes:
                self._say_go(waiting)
                if not begun and self._rng.random() < 0.5:
                    self._kill_one()  # while they migrate
                begun = True

    def _heard(self) -> Iterator[tuple[_Member, bytes]]:
        for key, _ in self._selector.select():
            yield key.data, os.read(key.fd, 1 << 16)

    def _say_go(self, waiting: list[_Member]) -> None:
        while waiting:
            stdin = waiting.pop().process.stdin
            assert stdin is not None
            stdin.write(b"go\n")
            stdin.flush()

    def _mark(self) -> None:
        """Some worker has got on."""
        wal = self._plan.file.with_name(f"{self._plan.file.name}-wal")
        if wal.exists():
            self.outcome.largest_wal = max(self.outcome.largest_wal, wal.stat().st_size)
        self._calm -= 1
        if self._calm < 0:
            self._calm = self._rng.randint(0, 2 * self._plan.calm)
            self._kill_one()

    def _kill_one(self) -> None:
        alive = [member for member in self._members if member.process.poll() is None]
        if alive and self.outcome.kills < self._plan.kills and monotonic_ns() < self._until:
            self.outcome.kills += 1
            victim = self._rng.choice(alive)
            victim.killed = True
            victim.process.kill()

    def _see_off(self, member: _Member) -> None:
        """It has ended. In the place of a killed one another starts, which must find it dead."""
        assert member.process.stdout is not None
        self._selector.unregister(member.process.stdout)
        code = member.process.wait()
        died = member.killed and code != 0
        self._dead_at[Path(member.job.journal)] = monotonic_ns() if died else None
        if died:
            with self._graveyard.open("a") as graves:
                graves.write(f"{member.job.token}\n")
            number, life = member.job.token.rpartition(".w")[2].split("l")
            self._start(int(number), int(life) + 1)
        elif code != 0:
            said = Path(member.job.journal).with_suffix(".stderr").read_text()
            self.outcome.failures.append(f"{member.job.token} ended with {code}: {said}")

    def dismiss(self) -> None:
        """End those that are left, which is none unless something went wrong here."""
        for member in self._members:
            member.process.kill()
            member.process.communicate()
        self._selector.close()

    def gather(self) -> None:
        """Find the dead that nobody has found, then read what everybody wrote."""
        path = self._plan.directory / f"{self._plan.name}.parent.journal"
        self._dead_at[path] = None
        journal = Journal(path)
        name = f"{self._plan.name}.parent"
        me = Actor(
            id=name,
            token=name,
            round=self._plan.name,
            rng=self._rng,
            journal=journal,
            graveyard=self._graveyard,
            season_ns=self._plan.season_ns,
        )
        with Store.open(self._plan.place, busy_timeout=self._plan.busy_timeout) as store:
            drive(me, store, self._last(me))
        journal.close()
        for journal_path, dead_at in self._dead_at.items():
            if journal_path.exists():
                self.outcome.ops += self._read(journal_path, dead_at)

    def _last(self, me: Actor) -> Step:
        yield from reconcile(me, me.season())
        yield from prune(me, me.season())

    def _read(self, path: Path, dead_at: int | None) -> list[Op]:
        try:
            return list(read_journal(path, dead_at))
        except ValueError as error:
            self.outcome.failures.append(str(error))
            return list(read_journal(path, _NEVER))
