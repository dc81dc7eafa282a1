"""Many processes follow the logs of agents with `after`, while agents write and others prune."""

import json
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import pytest

from cwstore.store import Store
from tests.kits.engine import Other

SESSIONS, CHUNKS = 150, 12

_WRITE = f"""
import sys
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=60) as store:
    agent = sys.argv[2]
    print("ready", flush=True)
    sys.stdin.readline()
    for session in range(1, {SESSIONS} + 1):
        texts = [f"{{session}}.{{number}}" for number in range({CHUNKS})]
        half = {CHUNKS} // 2
        store.log_chunks.insert_chunks([(agent, agent, session, text) for text in texts[:half]])
        for text in texts[half:]:
            store.log_chunks.insert_chunk(
                agent_id=agent, agent_name=agent, session_number=session, content=text
            )
"""

# What a follower has seen is [agent, seq, session, number of the chunk in it].
_FOLLOW = f"""
import json, sys
from cwstore.store import Store
agents, how = sys.argv[2].split(), sys.argv[3]
with Store.open(sys.argv[1], busy_timeout=60) as store, store.changes() as feed:
    print("ready", flush=True)
    sys.stdin.readline()
    last = dict.fromkeys(agents, 0)
    open_ = set(agents)
    while open_:
        found = 0
        for agent in agents:
            if how == "page by page":
                new = list(store.log_chunks.iter_by_agent_id(agent, after=last[agent], page=5))
            else:
                new = store.log_chunks.find_by_agent_id(agent, after=last[agent], limit=7)
            found += len(new)
            for chunk in new:
                session, number = map(int, chunk.content.split("."))
                print(json.dumps([agent, chunk.seq, session, number]))
                last[agent] = chunk.seq
                if (session, number) == ({SESSIONS}, {CHUNKS} - 1):
                    open_.discard(agent)
        if how == "when told" and not found:
            feed.get()
"""

_PRUNE = """
import sys
from cwstore.store import Store
with Store.open(sys.argv[1], busy_timeout=60) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    sessions, agents = 0, sys.argv[2].split()
    while any(store.log_chunks.get_session_count(agent) < int(sys.argv[3]) for agent in agents):
        sessions += store.log_chunks.prune(keep_sessions=2).sessions
    print(sessions)
"""


@pytest.fixture
def agents(store: Store) -> list[str]:
    return [
        store.agents.create(name=name, worktree_id=name).id for name in ("swift-owl", "shy-elk")
    ]


def test_followers_in_processes_miss_nothing_and_see_nothing_twice_while_logs_are_pruned(
    store: Store, file: Path, agents: list[str]
) -> None:
    """Of a session that was pruned before somebody came to its end, only the end is missing."""
    both = " ".join(agents)
    with ExitStack() as stack:

        def start(code: str, *arguments: object) -> Other:
            return stack.enter_context(Other(code, file, *arguments))

        ways = ("at most seven", "page by page", "when told")
        followers = [start(_FOLLOW, both, how) for how in ways]
        others = [start(_PRUNE, both, SESSIONS), *(start(_WRITE, agent) for agent in agents)]
        everybody = followers + others
        assert [one.hear() for one in everybody] == ["ready"] * len(everybody)
        for one in everybody:
            one.tell()
        seen = [[json.loads(line) for line in one.end()] for one in followers]
        pruned = int(others[0].end()[0])
    assert pruned > 0
    for one in seen:
        for agent in agents:
            follow_up(store, agent, [chunk[1:] for chunk in one if chunk[0] == agent])


def follow_up(store: Store, agent: str, seen: list[tuple[int, int, int]]) -> None:
    """Is what one follower saw of one agent all that it had to see?"""
    seqs = [seq for seq, _, _ in seen]
    assert seqs == sorted(set(seqs))
    sessions = {
        session: [number for _, _, number in chunks]
        for session, chunks in groupby(seen, key=lambda chunk: chunk[1])
    }
    for numbers in sessions.values():
        assert numbers == list(range(len(numbers)))
    left = store.log_chunks.find_by_agent_id(agent)
    assert {chunk.seq for chunk in left} <= set(seqs)
    assert len(sessions[SESSIONS]) == CHUNKS
