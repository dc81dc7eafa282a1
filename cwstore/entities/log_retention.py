"""Which sessions of log chunks go when `LogChunkRepository.prune` is called, and their deletion."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from cwstore.core.checks import NonEmpty
from cwstore.core.statement import rows_of, values_of

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


_session = rows_of(_Session)
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

_FIND_AGENT = _id("""
    SELECT id
    FROM agents
    WHERE id = :agent_id
""")

_BYTES_OF_SESSION = _number("""
    SELECT coalesce(sum(octet_length(content)), 0)
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
      AND session_number = :session_number
""")

# Nothing, if a chunk came after :seq or the session has become the newest of an agent that exists.
_DELETE_SESSION = _number("""
    DELETE FROM agent_log_chunks
    WHERE agent_id = :agent_id
      AND session_number = :session_number
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
              AND :session_number = (
                    SELECT max(session_number)
                    FROM agent_log_chunks
                    WHERE agent_id = :agent_id
                  )
          )
""")


def prune_sessions(
    db: "Database", before: datetime | None, keep_sessions: int | None, max_bytes: int | None
) -> PruneReport:
    """Delete the sessions that meet one of the criteria, least recently written to first."""
    doomed, others = _judge(db, before, keep_sessions)
    if max_bytes is not None:
        doomed += _beyond(db, max_bytes, others)
    return _delete_sessions(db, sorted(doomed, key=lambda session: session.seq))


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
        must_stay = newer == 0 and db.fetch_one(_FIND_AGENT, agent_id=agent_id) is not None
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


def _delete_sessions(db: "Database", sessions: list[_Session]) -> PruneReport:
    gone = chunks = size = 0
    for session in sessions:
        with db.transaction():
            held = _bytes_of(db, session)
            deleted = db.execute(
                _DELETE_SESSION,
                agent_id=session.agent_id,
                session_number=session.session_number,
                seq=session.seq,
            )
        if deleted:
            gone += 1
            chunks += deleted
            size += held
    return PruneReport(sessions=gone, chunks=chunks, bytes=size)
