"""What idle dispatchers cost a writer: `tools/overhead --pollers 8`.

Each poller is a process that asks ten times a second for a task, where 10,000 wait and none is
ready. Rounds of appends with and without them take turns.
"""

import select
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from threading import Event

from cwstore import Store

_PAUSE = 0.1  # seconds between two polls of a process
_WRITES = 500  # in a round
_APART = 0.001  # seconds between two of them
_WAITING = 10_000  # tasks

_NEVER = Event()
_ROOT = Path(__file__).resolve().parents[2]


def poll(file: str) -> None:
    """The process: rests until it reads "p", polls until it reads "r"; ends with its input."""
    with Store.open(file) as store:
        polls = False
        print("ready", flush=True)
        while True:
            heard, _, _ = select.select([sys.stdin], [], [], _PAUSE if polls else None)
            if heard:
                word = sys.stdin.readline().strip()
                if not word:
                    return
                polls = word == "p"
            if polls and store.tasks.claim_next_ready() is not None:
                raise SystemExit("a task was ready")


class Pollers:
    """The processes, each of which runs a module of ours."""

    def __init__(self, file: Path, number: int, module: str = "tools._python.pollers") -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, str(file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=_ROOT,
            )
            for _ in range(number)
        ]
        self.answers()

    def answers(self) -> list[bytes]:
        """The next line of each."""
        lines: list[bytes] = []
        for process in self._processes:
            assert process.stdout is not None
            lines.append(process.stdout.readline())
        return lines

    def tell(self, word: str) -> None:
        """Let all go on ("p") or rest ("r")."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{word}\n".encode())
            process.stdin.flush()

    def end(self) -> None:
        """They end with their input."""
        for process in self._processes:
            process.communicate()


def _append(store: Store) -> list[float]:
    """Seconds of each of some appends: an agent that writes its log."""
    spent: list[float] = []
    for _ in range(_WRITES):
        _NEVER.wait(_APART)
        started = time.perf_counter()
        store.log_chunks.insert_chunk(
            "agent", agent_name="agent", session_number=1, content="x" * 1000
        )
        spent.append(time.perf_counter() - started)
    return spent


def measure(folder: Path, number: int, rounds: int) -> None:
    """Print the medians of an append alone and beside the pollers."""
    file = folder / "pollers.db"
    alone: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    with Store.open(file) as store:
        initiative = store.initiatives.create(name="idle")
        phase = store.phases.create(initiative_id=initiative.id, name="not approved")
        with store.transaction():
            for _ in range(_WAITING):
                store.tasks.create(name="waits", phase_id=phase.id)
        pollers = Pollers(file, number)
        _append(store)
        for _ in range(rounds):
            pollers.tell("r")
            without = _append(store)
            pollers.tell("p")
            among = _append(store)
            alone += without
            beside += among
            ratios.append(median(among) / median(without))
        pollers.end()
    print(
        f"append, alone {median(alone) * 1e6:.1f} µs, beside {number} pollers"
        f" {median(beside) * 1e6:.1f} µs; median of the rounds' ratios {median(ratios):.2f}"
    )


if __name__ == "__main__":
    poll(sys.argv[1])
