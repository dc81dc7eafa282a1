"""The file that every adapter gets a copy of, made by cwstore, and what the workloads ask of it.

Twenty initiatives of 10 phases of 50 tasks; 100 agents who asked each other 2,000 questions, of
which 0 to 2 for each are open; ten accounts; 2,000 log chunks. Ids and stamps are the same at every
run, but for the ids of chunks.
"""

import argparse
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import count

from cwstore import PhaseStatus, Store

INITIATIVES, PHASES, TASKS, AGENTS, QUESTIONS = 20, 10, 50, 100, 20
CHUNKS, BATCH = 2000, 5000
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = "Read the handler, move the check before the write, and keep the old message. " * 3
CHUNK = '{"type":"assistant","text":"' + "x" * 970 + '"}'


def identity(kind: str, *numbers: int) -> str:
    """The id of the row of that kind and number: 21 characters that look random."""
    digest = blake2b(f"{kind} {numbers}".encode(), digest_size=16).digest()
    return urlsafe_b64encode(digest)[:21].decode()


def build(file: str, initiatives: int = INITIATIVES, chunks: int = CHUNKS) -> None:
    """Make and fill the file: 500 tasks for each initiative, and that many log chunks."""
    ticks = count()
    with Store.open(file, clock=lambda: EPOCH + timedelta(milliseconds=next(ticks))) as store:
        for number in range(initiatives):
            with store.transaction():
                _initiative(store, number)
        with store.transaction():
            _agents(store)
            for number in range(10):
                store.accounts.create(id=identity("account", number), email=f"a{number}@b.c")
        for _ in range(10):
            store.accounts.claim_next_available()
        store.accounts.mark_exhausted(identity("account", 3), None)
        names = [(identity("agent", number), f"agent-{number}") for number in range(AGENTS)]
        for first in range(0, chunks, BATCH):
            numbers = range(first, min(first + BATCH, chunks))
            store.log_chunks.insert_chunks([(*names[n % AGENTS], 1, CHUNK) for n in numbers])


def build_idle(file: str) -> None:
    """Make a file in which 10,000 tasks wait for a phase that nobody has approved."""
    with Store.open(file) as store, store.transaction():
        _agents(store)
        store.initiatives.create(id=identity("initiative", 0), name="idle")
        phase = store.phases.create(initiative_id=identity("initiative", 0), name="later")
        for number in range(10_000):
            store.tasks.create(name=f"task {number}", phase_id=phase.id)


def _initiative(store: Store, number: int) -> None:
    initiative = store.initiatives.create(id=identity("initiative", number), name=f"i{number}")
    for phase_number in range(PHASES):
        # Two are done, three are worked on, the others wait for the one before.
        status = (PhaseStatus.COMPLETED, PhaseStatus.IN_PROGRESS, PhaseStatus.PENDING)[
            (phase_number > 1) + (phase_number > 4)
        ]
        phase = store.phases.create(
            id=identity("phase", number, phase_number),
            initiative_id=initiative.id,
            name=f"p{phase_number}",
            status=status,
        )
        if phase_number > 4:
            before = identity("phase", number, phase_number - 1)
            store.phases.create_dependency(phase.id, before)
        for task_number in range(TASKS):
            _task(store, number, phase_number, task_number, status)


def _task(store: Store, number: int, phase: int, task: int, phase_status: str) -> None:
    done = phase_status == "completed" or (phase_status == "in_progress" and task < 20)
    made = store.tasks.create(
        id=identity("task", number, phase, task),
        name=f"task {task} of phase {phase}",
        description=TEXT,
        phase_id=identity("phase", number, phase),
        initiative_id=identity("initiative", number),
        priority=("low", "medium", "high")[task % 3],
        status="completed" if done else "pending",
        sort_order=task,
        summary="done" if done else None,
    )
    if task % 5:
        before = identity("task", number, phase, task - 1)
        store.tasks.create_dependency(made.id, before)


def _agents(store: Store) -> None:
    for number in range(AGENTS):
        store.agents.create(
            id=identity("agent", number), name=f"agent-{number}", worktree_id=f"/w/{number}"
        )
    for number in range(AGENTS * QUESTIONS):
        asked = number % AGENTS
        conversation = store.conversations.create(
            id=identity("conversation", number),
            from_agent_id=identity("agent", (asked + 1) % AGENTS),
            to_agent_id=identity("agent", asked),
            question="Which branch holds the fix of the parser?",
        )
        if number // AGENTS >= asked % 3:
            store.conversations.answer(conversation.id, "main, since yesterday")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the file that the benchmarks start from.")
    parser.add_argument("file")
    parser.add_argument("--initiatives", type=int, default=INITIATIVES)
    parser.add_argument("--chunks", type=int, default=CHUNKS)
    parser.add_argument("--idle", action="store_true", help="nothing but tasks that wait")
    options = parser.parse_args()
    if options.idle:
        build_idle(options.file)
    else:
        build(options.file, options.initiatives, options.chunks)
