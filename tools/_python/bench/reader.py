"""Reads every log chunk of a store; prints how many, and the kilobytes by which it grew."""

import resource
import sys

from cwstore import Store
from tools._python.bench.world import AGENTS, identity


def main() -> None:
    """The first agent's chunks make the process as big as it has to be."""
    with Store.open(sys.argv[1]) as store:
        chunks = sum(1 for _ in store.log_chunks.iter_by_agent_id(identity("agent", 0)))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(1, AGENTS):
            agent = identity("agent", number)
            chunks += sum(1 for _ in store.log_chunks.iter_by_agent_id(agent))
        print(chunks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


if __name__ == "__main__":
    main()
