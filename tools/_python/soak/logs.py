"""Was every log chunk that had to be seen seen, and once; did only whole, old sessions go?"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable

from cwstore.store import Store
from tools._python.soak.actions import KEEP_SESSIONS
from tools._python.soak.history import Op


def judge_logs(add: Callable[[str, str], None], store: Store, agent: str, ops: list[Op]) -> None:
    """The history of one log. `add` takes the kind of a fault, and a line about it."""
    kept = {chunk.seq: chunk.session_number for chunk in store.log_chunks.find_by_agent_id(agent)}
    told: dict[int, int] = {}
    for op in ops:
        if op.kind == "write" and op.known:
            session, seqs = op.outcome
            if told.keys() & {*seqs}:
                add("lost writes", f"{agent}: a seq of {seqs} was used twice")
            told |= dict.fromkeys(seqs, session)
    if any(told.get(seq, session) != session for seq, session in kept.items()):
        add("lost writes", f"{agent}: a chunk is in another session than was told")
    sessions: dict[int, list[int]] = defaultdict(list)  # by number: the seqs known to be in it
    for seq, session in sorted((told | kept).items()):
        sessions[session].append(seq)
    _judge_pruned(add, agent, sessions, kept, told)
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in ops:
        if op.kind == "follow" and op.known:
            readers[op.args[0]].append(op)
    for reader, reads in readers.items():
        _judge_reader(add, f"{agent} read by {reader}", reads, sessions, kept)


def _judge_pruned(
    add: Callable[[str, str], None],
    agent: str,
    sessions: dict[int, list[int]],
    kept: dict[int, int],
    told: dict[int, int],
) -> None:
    """A session is there as a whole, or gone as a whole and not among the newest."""
    newest = sorted(sessions)[-KEEP_SESSIONS:]
    for session, seqs in sessions.items():
        gone = [seq for seq in seqs if seq in told and seq not in kept]
        if not gone:
            continue
        if len(gone) < len(seqs):
            add("sessions pruned in part or too early", f"{agent}/{session}: {gone} of {seqs}")
        elif session in newest:
            add("sessions pruned in part or too early", f"{agent}/{session}, of {newest}")


def _judge_reader(
    add: Callable[[str, str], None],
    reader: str,
    reads: list[Op],
    sessions: dict[int, list[int]],
    kept: dict[int, int],
) -> None:
    """It saw rising numbers, and all of a session up to the last one that it saw of that.

    Of a session that is still there, all up to its cursor.
    """
    seen: dict[int, int] = {}
    cursor = 0
    for op in sorted(reads, key=lambda op: op.begin):
        for seq, session in op.outcome:
            if seq <= cursor:
                add("chunks seen twice", f"{reader}: {seq} after {cursor}")
            cursor = max(cursor, seq)
            seen[seq] = session
    last: dict[int, int] = {}
    for seq, session in seen.items():
        last[session] = max(seq, last.get(session, 0))
    for session, seqs in sessions.items():
        until = cursor if seqs[0] in kept else last.get(session, 0)
        due = seqs[: bisect_right(seqs, until)]
        missed = [seq for seq in due if seq not in seen]
        if missed:
            add("chunks missed", f"{reader}: {missed} of session {session}")
