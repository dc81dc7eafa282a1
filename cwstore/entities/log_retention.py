"""Which sessions of log chunks go when `LogChunkRepository.prune` is called, and their deletion."""

from collections.abc import Callable, Iterator
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from cwstore.core.bounds import ROWS_A_STATEMENT, ROWS_AT_A_TIME, SECONDS_AT_A_TIME
from cwstore.core.checks import NonEmpty
from cwstore.core.entity import dataclass
from cwstore.core.statement import rows_of, values_of
from cwstore.core.watching import tell

if TYPE_CHECKING:
    from cwstore.core.port import Database


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What `prune` deleted; `bytes` of content, in UTF-8."""

    sessions: int
    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class _Session:
    """A session, told by its newest chunk."""

    agent_id: NonEmpty
    session_number: int
    seq: int
    created_at: datetime


class _Gone(NamedTuple):
    """A chunk that was deleted; `bytes` of content."""

    seq: int
    bytes: int


_session = rows_of(_Session)
_gone = rows_of(_Gone)
_number = values_of(int, _Session)
_id = values_of(str, _Session)

# Sessions are walked backward, agent by agent, newest first: one lookup for each session, however
# many chunks it has. (With `<` SQLite would begin at the last session and pass over its chunks.)
_LAST_SESSION = _session("""
    SELECT agent_id, session_number, seq, created_at
    FROM agent_log_chunks
    ORDER BY agent_id DESC, session_number DESC, seq DESC
    LIMIT 1
""")

_SESSION_BEFORE = _session("""
    SELECT agent_id, session_number, seq, created_at
    FROM agent_log_chunks
    WHERE (agent_id, session_number) <= (:agent_id, :session_number - 1)
    ORDER BY agent_id DESC, session_number DESC, seq DESC
    LIMIT 1
""")

# Idle, running or waiting_for_input: such an agent may still write to its newest session.
_FIND_WRITER = _id("""
    SELECT id
    FROM agents
    WHERE id = :agent_id
      AND status <> 'stopped'
      AND status <> 'crashed'
""")

_BYTES_OF_SESSION = _number("""
    SELECT coalesce(sum(octet_length(content)), 0)
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
      AND session_number = :session_number
""")

_CHUNKS_OF_SESSION = _number("""
    SELECT count(*)
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
      AND session_number = :session_number
""")

# The oldest first, so that what is left has the same age, should this be broken off. Nothing, if a
# chunk came after :seq or the session has become the newest of an agent that may still write.
_DELETE_OLDEST = _gone(
    """
    DELETE FROM agent_log_chunks
    WHERE seq IN (
            SELECT seq
            FROM agent_log_chunks
            WHERE agent_id = :agent_id
              AND session_number = :session_number
            ORDER BY seq
            LIMIT :rows
          )
      AND :seq = (
            SELECT max(seq)
            FROM agent_log_chunks
            WHERE agent_id = :agent_id
              AND session_number = :session_number
          )
      AND NOT EXISTS (
            SELECT 1
            FROM agents
            WHERE id = :agent_id
              AND status <> 'stopped'
              AND status <> 'crashed'
              AND :session_number = (
                    SELECT max(session_number)
                    FROM agent_log_chunks
                    WHERE agent_id = :agent_id
                  )
          )
    RETURNING seq, octet_length(content) AS bytes
    """,
    agent_id=NonEmpty,
    session_number=int,
    rows=int,
)

_DELETE_OLDEST_OF_AGENT = _number(
    """
    DELETE FROM agent_log_chunks
    WHERE seq IN (
        SELECT seq
        FROM agent_log_chunks
        WHERE agent_id = :agent_id
        ORDER BY seq
        LIMIT :rows
    )
    """,
    rows=int,
)


def prune_sessions(
    db: "Database", before: datetime | None, keep_sessions: int | None, max_bytes: int | None
) -> PruneReport:
    """Delete the sessions that meet one of the criteria, least recently written to first."""
    doomed = _doomed(db, before, keep_sessions, max_bytes)
    return _delete_sessions(db, sorted(doomed, key=lambda session: session.seq))


def count_prunable(
    db: "Database", before: datetime | None, keep_sessions: int | None, max_bytes: int | None
) -> PruneReport:
    """What `prune_sessions` would delete now. Reads only."""
    doomed = _doomed(db, before, keep_sessions, max_bytes)
    return PruneReport(
        sessions=len(doomed),
        chunks=sum(_chunks_of(db, session) for session in doomed),
        bytes=sum(_bytes_of(db, session) for session in doomed),
    )


def _doomed(
    db: "Database", before: datetime | None, keep_sessions: int | None, max_bytes: int | None
) -> list[_Session]:
    doomed, others = _judge(db, before, keep_sessions)
    return doomed if max_bytes is None else doomed + _beyond(db, max_bytes, others)


def _sessions(db: "Database") -> Iterator[_Session]:
    """Every session, agent by agent, newest first."""
    session = db.fetch_one(_LAST_SESSION)
    while session is not None:
        yield session
        session = db.fetch_one(
            _SESSION_BEFORE,
            agent_id=session.agent_id,
            session_number=session.session_number,
        )


def _judge(
    db: "Database", before: datetime | None, keep_sessions: int | None
) -> tuple[list[_Session], list[tuple[_Session, bool]]]:
    """The sessions that go by age or number; the others, each with whether it must stay."""
    doomed: list[_Session] = []
    others: list[tuple[_Session, bool]] = []
    agent_id, newer = "", 0
    for session in _sessions(db):
        newer = newer + 1 if session.agent_id == agent_id else 0
        agent_id = session.agent_id
        must_stay = newer == 0 and db.fetch_one(_FIND_WRITER, agent_id=agent_id) is not None
        too_old = before is not None and session.created_at < before
        too_many = keep_sessions is not None and newer >= keep_sessions
        if not must_stay and (too_old or too_many):
            doomed.append(session)
        else:
            others.append((session, must_stay))
    return doomed, others


def _beyond(
    db: "Database", max_bytes: int, sessions: list[tuple[_Session, bool]]
) -> list[_Session]:
    """The sessions, least recently written to first, without which the rest fits."""
    room = max_bytes
    free: list[_Session] = []
    for session, must_stay in sessions:
        if must_stay:
            room -= _bytes_of(db, session)
        else:
            free.append(session)
    free.sort(key=lambda session: session.seq)
    while free and (room := room - _bytes_of(db, free[-1])) >= 0:
        free.pop()
    return free


def _bytes_of(db: "Database", session: _Session) -> int:
    return (
        db.fetch_one(
            _BYTES_OF_SESSION,
            agent_id=session.agent_id,
            session_number=session.session_number,
        )
        or 0
    )


def _chunks_of(db: "Database", session: _Session) -> int:
    return (
        db.fetch_one(
            _CHUNKS_OF_SESSION,
            agent_id=session.agent_id,
            session_number=session.session_number,
        )
        or 0
    )


def _delete_sessions(db: "Database", sessions: list[_Session]) -> PruneReport:
    gone = chunks = size = 0
    for number, session in enumerate(sessions):
        while some := _delete_some(db, session):
            gone += any(chunk.seq == session.seq for chunk in some)
            chunks += len(some)
            size += sum(chunk.bytes for chunk in some)
            tell(number, len(sessions), f"{chunks:,} log chunks deleted")
    return PruneReport(sessions=gone, chunks=chunks, bytes=size)


def _delete_some(db: "Database", session: _Session) -> list[_Gone]:
    """Delete its oldest chunks, as many as one transaction may."""
    deleted: list[_Gone] = []

    def delete() -> int:
        some = db.write_all(
            _DELETE_OLDEST,
            agent_id=session.agent_id,
            session_number=session.session_number,
            seq=session.seq,
            rows=ROWS_A_STATEMENT,
        )
        deleted.extend(some)
        return len(some)

    _in_one_transaction(db, delete)
    return deleted


def delete_chunks_of(db: "Database", agent_id: str) -> int:
    """See `LogChunkRepository.delete_by_agent_id`."""
    total = 0
    while some := _delete_some_of(db, agent_id):
        total += some
    return total


def _delete_some_of(db: "Database", agent_id: str) -> int:
    return _in_one_transaction(
        db, lambda: db.execute(_DELETE_OLDEST_OF_AGENT, agent_id=agent_id, rows=ROWS_A_STATEMENT)
    )


def _in_one_transaction(db: "Database", delete: Callable[[], int]) -> int:
    """Delete until nothing is left or the transaction has done enough: how many rows."""
    end = monotonic() + SECONDS_AT_A_TIME
    deleted = 0
    with db.transaction():
        while some := delete():
            deleted += some
            if monotonic() >= end or deleted >= ROWS_AT_A_TIME:
                break
    return deleted
