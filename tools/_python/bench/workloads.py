"""The workloads: which calls, with which arguments, and how much cwstore may cost."""

import random
from collections.abc import Callable
from typing import NamedTuple

from tools._python.bench.world import (
    AGENTS,
    CHUNK,
    INITIATIVES,
    PHASES,
    TASKS,
    TEXT,
    identity,
)

#: A method of the adapter and its arguments.
Call = tuple[str, tuple[object, ...]]


class Workload(NamedTuple):
    """`calls` is the number of calls in a round; its operations are what the cost is told for."""

    title: str
    plain: float  # how much cwstore may cost where the others have a plain schema
    own: float  # and where they have cwstore's
    calls: int
    make: Callable[[random.Random, int], Call] | None  # None: see BY_AGENT
    operations: int = 1  # in one call


def task(dice: random.Random, size: int) -> str:
    return identity("task", dice.randrange(size), dice.randrange(PHASES), dice.randrange(TASKS))


def create(dice: random.Random, size: int) -> Call:
    initiative, phase = dice.randrange(size), dice.randrange(PHASES)
    return "create", (
        f"a task {dice.random()}",
        identity("phase", initiative, phase),
        identity("initiative", initiative),
        TEXT,
    )


def find(dice: random.Random, size: int) -> Call:
    return "find", (task(dice, size),)


def phase_tasks(dice: random.Random, size: int) -> Call:
    return "phase_tasks", (identity("phase", dice.randrange(size), dice.randrange(PHASES)),)


def set_status(dice: random.Random, size: int) -> Call:
    return "set_status", (task(dice, size), dice.choice(("pending", "in_progress", "completed")))


def _chunk(dice: random.Random) -> tuple[str, str, int, str]:
    agent = dice.randrange(AGENTS)
    return identity("agent", agent), f"agent-{agent}", 1, CHUNK


def append(dice: random.Random, _size: int) -> Call:
    return "append", _chunk(dice)


def append_many(dice: random.Random, _size: int) -> Call:
    return "append_many", ([_chunk(dice) for _ in range(100)],)


def poll(dice: random.Random, _size: int) -> Call:
    return "poll", (identity("agent", dice.randrange(AGENTS)),)


def claim(_dice: random.Random, _size: int) -> Call:
    return "claim", ("claude",)


def all_tasks(_dice: random.Random, _size: int) -> Call:
    return "all_tasks", ()


def next_tasks(dice: random.Random, size: int) -> Call:
    return "next_tasks", (task(dice, size),)


def ready(dice: random.Random, size: int) -> Call:
    return "ready", (identity("initiative", dice.randrange(size)),)


def plan(_dice: random.Random, _size: int) -> Call:
    """Each of 100 tasks waits for two earlier ones, as far as there are any."""
    edges = [(end, start) for end in range(100) for start in (end - 1, end - 2) if start >= 0]
    return "plan", (10, 10, [*edges, (99, 50), (98, 51), (97, 52)])


def mixed(dice: random.Random, size: int) -> Call:
    """70 % reads."""
    makers = (find, phase_tasks, poll, create, set_status, append, claim)
    weights = (40, 8, 22, 8, 10, 10, 2)
    return dice.choices(makers, weights)[0](dice, size)


WORKLOADS = {
    "W1": Workload("create task, full row back", 1.3, 1.25, 400, create),
    "W2": Workload("find task by id", 1.4, 1.5, 4000, find),
    "W3": Workload("the 50 tasks of a phase", 1.3, 1.75, 250, phase_tasks),
    "W4": Workload("update status, full row back", 1.3, 1.25, 600, set_status),
    "W5a": Workload("append a 1 kB chunk", 1.1, 1.2, 600, append),
    "W5b": Workload("the same, 100 a transaction", 1.1, 1.15, 8, append_many, 100),
    "W6": Workload("poll pending conversations", 1.35, 1.5, 4000, poll),
    "W7": Workload("claim the next account", 1.3, 1.4, 600, claim),
    "W8": Workload("10,000 tasks, all typed", 1.6, 1.75, 1, all_tasks),
    "W9": Workload("mixed, 70 % reads", 1.4, 1.5, 500, mixed),
    "W10": Workload("new process, first query", 2.2, 2.9, 1, find),
    "W11": Workload("a plan of 311 rows", 1.3, 1.3, 4, plan),
    "W12": Workload("open, first query, close", 1.6, 1.6, 40, find),
    "W13": Workload("four processes, mixed, rate", 0.85, 0.8, 1000, mixed),
    "W14": Workload("ready tasks of an initiative", 1.3, 1.2, 60, ready),
    "W15": Workload("claim, 10,000 wait, none ready", 0.1, 0.1, 50, None),
    "W16": Workload("claim the next task, by agent", 3.0, 3.0, 50, None),
    "W17": Workload("complete it, with a summary", 3.0, 3.0, 50, None),
    "W18": Workload("a page of 50 of 10,000 tasks", 1.9, 1.9, 250, next_tasks),
}

#: Workloads of which each call is another agent's: the method, and the number of the first agent.
#: An adapter remembers what its agents hold.
BY_AGENT = {"W15": ("claim_task", 0), "W16": ("claim_task", 0), "W17": ("complete_task", 50)}
#: What these agents do before a round, untimed. Without a task `complete_task` does nothing.
BEFORE = {"W16": ("complete_task", 0), "W17": ("claim_task", 50)}
#: The one whose file has nothing but tasks that wait, see `world`.
IDLE = "W15"
#: The one of which each call opens the file anew, and closes it.
OPENING = "W12"


def _by_agent(method: str, first: int, count: int, size: int) -> list[Call]:
    agents = [identity("agent", (first + n) % AGENTS) for n in range(count)]
    if method == "complete_task":
        return [(method, (agent,)) for agent in agents]
    return [(method, (identity("initiative", n % size), agent)) for n, agent in enumerate(agents)]


def calls_of(name: str, round_: int, count: int, size: int = INITIATIVES) -> list[Call]:
    """The calls of a round, the same for every adapter; `size` is the number of initiatives."""
    make = WORKLOADS[name].make
    if make is None:
        return _by_agent(*BY_AGENT[name], count, 1 if name == IDLE else size)
    dice = random.Random(f"{name} {round_}")
    return [make(dice, size) for _ in range(count)]


def calls_before(name: str, count: int, size: int = INITIATIVES) -> list[Call]:
    """The calls that make the file ready for `calls_of`."""
    return _by_agent(*BEFORE[name], count, size) if name in BEFORE else []
