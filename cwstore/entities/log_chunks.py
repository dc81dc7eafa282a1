"""Log chunks: what agents write while they run, raw JSONL in the order of arrival."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import LiteralString, NotRequired, TypedDict, cast

from cwstore.core import publish
from cwstore.core.checks import NonEmpty, for_each, is_integer, to_micros
from cwstore.core.entity import dataclass
from cwstore.core.repository import Mode, Repository, command, fetch_page, lengthy, query, stream
from cwstore.core.statement import Listing, lists_of, rows_of, values_of
from cwstore.entities.log_retention import PruneReport, delete_chunks_of, prune_sessions
from cwstore.errors import InvalidValueError

__all__ = ["LogChunk", "LogChunkRepository", "NewLogChunk", "PruneReport"]


@dataclass(frozen=True, slots=True)
class LogChunk:
    """One row of `agent_log_chunks`, as it was when read."""

    #: Order of arrival, over all agents; a number never comes back.
    seq: int
    id: NonEmpty
    #: Logs survive their agent: there may be none of this id any more.
    agent_id: NonEmpty
    #: The agent's name at the time.
    agent_name: NonEmpty
    #: From 1: the agent's first run, each resumption the next number.
    session_number: int
    content: str
    created_at: datetime


class NewLogChunk(TypedDict):
    """What `insert_chunks` takes; or a tuple of the first four, in this order."""

    agent_id: str
    agent_name: str
    session_number: int
    content: str
    #: None, or left out: one is made.
    id: NotRequired[str | None]


_COLUMNS = "seq, id, agent_id, agent_name, session_number, content, created_at"
_chunk = rows_of(LogChunk)
_list = lists_of(LogChunk)
_number = values_of(int, LogChunk)

_INSERT: LiteralString = """
    INSERT INTO agent_log_chunks (id, agent_id, agent_name, session_number, content, created_at)
    VALUES (
        coalesce(:id, :rising_id), :agent_id, :agent_name, :session_number, :content, :now
    )
"""

_INSERT_CHUNK = _chunk(f"{_INSERT} RETURNING {_COLUMNS}", id=NonEmpty | None)

_INSERT_ONE_OF_MANY = _chunk(_INSERT, id=NonEmpty | None)

_FIND_BY_AGENT = _list(f"""
    SELECT {_COLUMNS}
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
    ORDER BY seq
""")

_FIND_BY_AGENT_AND_SESSION = _list(f"""
    SELECT {_COLUMNS}
    FROM agent_log_chunks
    WHERE agent_id = :agent_id
      AND session_number = :session_number
    ORDER BY seq
""")

# Of the chunks that are there, and of those that were deleted while the agent existed.
_GET_SESSION_COUNT = _number("""
    SELECT coalesce(max(number), 0)
    FROM (
        SELECT max(session_number) AS number
        FROM agent_log_chunks
        WHERE agent_id = :agent_id
        UNION ALL
        SELECT last_session_number
        FROM agent_log_sessions
        WHERE agent_id = :agent_id
    ) AS numbers
""")


def _at_least(least: int, field: str, value: object) -> int:
    if not is_integer(value):
        raise InvalidValueError(field, f"expected int, got {type(value).__name__}")
    if not least <= value < 2**63:
        raise InvalidValueError(field, f"must be from {least} to 2**63 - 1")
    return value


_KEYS = NewLogChunk.__annotations__.keys()
_NEW_CHUNK = tuple(key for key in _KEYS if key != "id")


def _binds_of(chunk: object) -> dict[str, object]:
    if isinstance(chunk, tuple):
        values = cast(tuple[object, ...], chunk)
        if len(values) == len(_NEW_CHUNK):
            agent_id, agent_name, session_number, content = values
            return {
                "id": None,
                "agent_id": agent_id,
                "agent_name": agent_name,
                "session_number": session_number,
                "content": content,
            }
    elif isinstance(chunk, Mapping):
        given = dict(cast(Mapping[str, object], chunk))
        given.setdefault("id", None)
        if given.keys() == _KEYS:
            return given
    raise InvalidValueError(
        "chunks",
        f"expected mappings of {', '.join(_NEW_CHUNK)} and maybe id, or tuples of these four",
    )


def _choose(
    agent_id: str, session_number: int | None
) -> tuple[Listing[LogChunk], dict[str, object]]:
    if session_number is None:
        return _FIND_BY_AGENT, {"agent_id": agent_id}
    return _FIND_BY_AGENT_AND_SESSION, {"agent_id": agent_id, "session_number": session_number}


class LogChunkRepository(Repository[Mode]):
    """Append log chunks, follow them, and let go of old ones."""

    @command
    def insert_chunk(
        self,
        agent_id: str,
        *,
        agent_name: str,
        session_number: int,
        content: str,
        id: str | None = None,
    ) -> LogChunk:
        """Append one chunk; the agent need not exist. Raises ConflictError if the id is taken."""
        return self._db.insert(
            _INSERT_CHUNK,
            id=id,
            agent_id=agent_id,
            agent_name=agent_name,
            session_number=session_number,
            content=content,
        )

    @command
    def insert_chunks(self, chunks: Iterable[NewLogChunk | tuple[str, str, int, str]]) -> int:
        """Append all of them in their order, or none; how many they were.

        The iterable is read to its end before the transaction begins. Raises ConflictError if an
        id is taken.
        """
        if not isinstance(cast(object, chunks), Iterable):
            raise InvalidValueError("chunks", f"expected several, got {type(chunks).__name__}")
        rows = for_each(chunks, _binds_of)
        self._db.insert_many(_INSERT_ONE_OF_MANY, rows)
        return len(rows)

    @query
    def find_by_agent_id(
        self,
        agent_id: str,
        *,
        session_number: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        last: int | None = None,
        before: int | None = None,
    ) -> list[LogChunk]:
        """Chunks of the agent by `seq`: of one session or of all.

        `limit` chunks, from the first or from the first whose `seq` is greater than `after`. Or the
        `last` chunks, of all or of those whose `seq` is less than `before`. None of these: all. A
        `seq` stays a place in the log when its chunk is gone. To follow a log, pass the last `seq`
        that was seen as `after`: no chunk is missed and none comes twice. Raises InvalidValueError
        if `limit` or `after` is mixed with `last` or `before`.
        """
        listing, binds = _choose(agent_id, session_number)
        part = {"limit": limit, "after": after, "last": last, "before": before}
        return fetch_page(self._db, listing, part, **binds)

    @stream
    def iter_by_agent_id(
        self,
        agent_id: str,
        *,
        session_number: int | None = None,
        after: int | None = None,
        page: int = 500,
    ) -> Iterator[LogChunk]:
        """As `find_by_agent_id`, but `page` chunks are read at a time.

        Between pages nothing is held: writers go on, chunks that they append meanwhile come too.
        """
        listing, binds = _choose(agent_id, session_number)
        start = 0 if after is None else after
        # This refuses a bad argument now, not when the first chunk is asked for.
        listing.page("after").bind({**binds, "after": start, "limit": _at_least(1, "page", page)})
        return self._iter_by_agent_id(agent_id, session_number, start, page)

    def _iter_by_agent_id(
        self, agent_id: str, session_number: int | None, after: int, page: int
    ) -> Iterator[LogChunk]:
        listing, binds = _choose(agent_id, session_number)
        while True:
            chunks = fetch_page(self._db, listing, {"after": after, "limit": page}, **binds)
            yield from chunks
            if len(chunks) != page:
                return
            after = chunks[-1].seq

    @lengthy
    def delete_by_agent_id(self, agent_id: str) -> int:
        """Delete all chunks of the agent, the oldest first; how many they were.

        At most some thousand in a transaction, so that others can write between; inside a
        transaction of the caller all are deleted as one. If the process dies in between, the newest
        are left.
        """
        return delete_chunks_of(self._db, agent_id)

    @query
    def get_session_count(self, agent_id: str) -> int:
        """The greatest session number that the agent has had, 0 if none: the next is one more.

        It counts though its chunks were deleted, as long as the agent exists.
        """
        return self._db.fetch_one(_GET_SESSION_COUNT, agent_id=agent_id) or 0

    @lengthy
    def prune(
        self,
        *,
        before: datetime | None = None,
        keep_sessions: int | None = None,
        max_bytes: int | None = None,
    ) -> PruneReport:
        """Delete old sessions as wholes and give their space back; what went.

        A session goes if its newest chunk was made before `before`; or if it is not among the
        newest `keep_sessions` of its agent; or, the one first that was written to least recently,
        as long as the content of what is left exceeds `max_bytes`. Never the newest session of an
        agent that may still write (idle, running or waiting for input), nor one that is written to
        meanwhile.

        A session goes from its oldest chunk on, at most some thousand chunks in a transaction, so
        that others can write between; who reads meanwhile sees what is left of it, and what is left
        if the process dies in between goes next time. Inside a transaction of the caller all goes
        as one, and space is given back by the next call only.
        `before` and `keep_sessions` cost a lookup for each session, `max_bytes` reads what stays.
        Raises InvalidValueError if nothing is given.
        """
        if before is None and keep_sessions is None and max_bytes is None:
            raise InvalidValueError("before", "give before, keep_sessions or max_bytes")
        if before is not None:
            to_micros("before", before)
        if keep_sessions is not None:
            _at_least(0, "keep_sessions", keep_sessions)
        if max_bytes is not None:
            _at_least(0, "max_bytes", max_bytes)
        report = prune_sessions(self._db, before, keep_sessions, max_bytes)
        self._db.vacuum()
        return report


publish(globals())
