"""Rules: chat sessions, change sets, review comments and logs."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from cwstore import PruneReport
from cwstore.entities.change_sets import ChangeSetRepository
from cwstore.entities.chat_sessions import ChatSessionRepository
from cwstore.entities.log_chunks import LogChunkRepository
from cwstore.entities.review_comments import ReviewCommentRepository
from cwstore.errors import ConflictError, NotFoundError
from cwstore.testing.strategies import Arguments, arguments, ids, integers, patches, texts, times
from tests.engine.model.answers import session_count, to_prune
from tests.engine.model.data import Errors, by_order
from tests.engine.model.machine import LOCK, OPTIONAL_REF, REF, REFUSED, Machine, step

SESSION = st.integers(1, 3) | integers(least=1)
SEQ = st.none() | st.integers(-1, 9) | integers()


class History(Machine):
    """What was said, changed and logged."""

    # Chat

    @step(
        given=arguments(
            ChatSessionRepository,
            "create_session",
            target_id=REF,
            initiative_id=REF,
            agent_id=OPTIONAL_REF,
        ),
        fitting=st.integers(0, 3),
    )
    def create_chat_session(self, given: Arguments, fitting: int) -> None:
        target, tables = f"{given['target_type']}s", self.view()[1].tables
        given = self.fill("chat_sessions", given)
        given["target_id"] = self.pick(target, given["target_id"])
        owner = tables[target].get(given["target_id"])
        if fitting and owner is not None and owner.initiative_id is not None:
            given["initiative_id"] = owner.initiative_id
        self.create(
            "chat_sessions", lambda store: store.chat_sessions.create_session(**given), given
        )

    @step(
        one=REF,
        lock=LOCK,
        patch=patches(ChatSessionRepository, "update_session", agent_id=OPTIONAL_REF),
    )
    def update_chat_session(self, one: int, lock: int | None, patch: Arguments) -> None:
        key, patch = self.pick("chat_sessions", one), self.fill("chat_sessions", patch)
        self.update(
            "chat_sessions", lambda store: store.chat_sessions.update_session, key, patch, lock
        )

    @step(one=REF)
    def delete_chat_session(self, one: int) -> None:
        key = self.pick("chat_sessions", one)
        self.delete("chat_sessions", lambda store: store.chat_sessions.delete_session(key), key)

    @step(
        given=arguments(
            ChatSessionRepository,
            "create_message",
            chat_session_id=REF,
            change_set_id=OPTIONAL_REF,
        )
    )
    def create_chat_message(self, given: Arguments) -> None:
        given = self.fill("chat_messages", given)
        self.create(
            "chat_messages", lambda store: store.chat_sessions.create_message(**given), given
        )

    # Change sets

    @step(given=arguments(ChangeSetRepository, initiative_id=REF, agent_id=OPTIONAL_REF))
    def create_change_set(self, given: Arguments) -> None:
        given = self.fill("change_sets", given)
        agent = self.view()[1].tables["agents"].get(given.get("agent_id"))
        row = {key: value for key, value in given.items() if key != "entries"}
        if agent is not None and row.get("agent_name") is None:
            row["agent_name"] = agent.name
        made = self.create("change_sets", lambda store: store.change_sets.create(**given), row)
        if made is REFUSED:
            return
        # Those of the same number keep their order.
        expected = sorted(given["entries"], key=lambda entry: entry.get("sort_order", 0))
        entries = self.stores[self.by].change_sets.find_entries(made.id)
        assert len(entries) == len(expected)
        for entry, values in sorted(
            zip(entries, expected, strict=True), key=lambda pair: pair[0].created_at
        ):
            given_entry = values | {"change_set_id": made.id}
            self.check_made("change_set_entries", entry, given_entry)

    @step(one=REF)
    def mark_reverted(self, one: int) -> None:
        key = self.pick("change_sets", one)
        row = self.view()[1].tables["change_sets"].get(key)
        errors: Errors = {NotFoundError} if row is None else set()
        if row is not None and row.status == "reverted":
            errors.add(ConflictError)
        reverted = self.call(lambda store: store.change_sets.mark_reverted(key), errors)
        if reverted is not REFUSED:
            self.check_updated("change_sets", reverted, status="reverted")

    @step(one=REF)
    def delete_change_set(self, one: int) -> None:
        key = self.pick("change_sets", one)
        self.delete("change_sets", lambda store: store.change_sets.delete(key), key)

    # Review comments

    @step(given=arguments(ReviewCommentRepository, phase_id=REF))
    def create_comment(self, given: Arguments) -> None:
        given = self.fill("review_comments", given)
        self.create("review_comments", lambda store: store.review_comments.create(**given), given)

    @step(one=REF, resolved=st.booleans())
    def resolve(self, one: int, resolved: bool) -> None:
        key = self.pick("review_comments", one)
        before = self.view()[1].tables["review_comments"].get(key)
        errors: Errors = {NotFoundError} if before is None else set()
        if resolved:
            row = self.call(lambda store: store.review_comments.resolve(key), errors)
        else:
            row = self.call(lambda store: store.review_comments.unresolve(key), errors)
        if row is REFUSED or before is None:
            return
        if before.resolved is resolved:
            assert row == before
        else:
            self.check_updated("review_comments", row, resolved=resolved)

    @step(one=REF)
    def delete_comment(self, one: int) -> None:
        key = self.pick("review_comments", one)
        self.delete("review_comments", lambda store: store.review_comments.delete(key), key)

    # Logs

    def pick_logger(self, number: int) -> str:
        """An agent, or one that was deleted since and has left its log."""
        model = self.view()[1]
        loggers = [chunk.agent_id for chunk in model.tables["agent_log_chunks"].values()]
        known = list(dict.fromkeys([*loggers, *model.tables["agents"]]))
        return known[number % len(known)] if known else "unknown"

    @step(
        given=arguments(
            LogChunkRepository, "insert_chunk", agent_id=ids() | REF, session_number=SESSION
        )
    )
    def insert_chunk(self, given: Arguments) -> None:
        if isinstance(given["agent_id"], int):
            given["agent_id"] = self.pick_logger(given["agent_id"])
        taken = given.get("id") in self.view()[1].tables["agent_log_chunks"]
        errors: Errors = {ConflictError} if taken else set()
        chunk = self.call(lambda store: store.log_chunks.insert_chunk(**given), errors)
        if chunk is not REFUSED:
            self.check_chunk(chunk, given)

    def check_chunk(self, chunk: Any, given: Arguments) -> None:
        """A number of `seq` never comes back."""
        assert chunk.seq > self.model.last_seq
        self.model.last_seq = chunk.seq
        self.check_made("agent_log_chunks", chunk, given | {"seq": chunk.seq})

    @step(
        chunks=st.lists(st.tuples(REF, ids(), SESSION, texts()), max_size=4),
        as_tuples=st.booleans(),
    )
    def insert_chunks(self, chunks: list[tuple[int, str, int, str]], as_tuples: bool) -> None:
        names = ("agent_id", "agent_name", "session_number", "content")
        given: list[Any] = [
            dict(zip(names, (self.pick_logger(one), *values), strict=True))
            for one, *values in chunks
        ]
        many = [tuple(one.values()) for one in given] if as_tuples else given
        count = self.call(lambda store: store.log_chunks.insert_chunks(many))
        if count is REFUSED:
            return
        assert count == len(given)
        agents = {one["agent_id"] for one in given}
        store, last = self.stores[self.by], self.model.last_seq
        made = [row for one in agents for row in store.log_chunks.find_by_agent_id(one, after=last)]
        made.sort(key=lambda chunk: chunk.seq)
        assert len(made) == len(given)
        for chunk, values in zip(made, given, strict=True):
            self.check_chunk(chunk, values)

    @step(one=REF)
    def delete_log(self, one: int) -> None:
        key = self.pick_logger(one)
        count = self.call(lambda store: store.log_chunks.delete_by_agent_id(key))
        if count is REFUSED:
            return
        chunks = self.model.rows("agent_log_chunks", agent_id=key)
        assert count == len(chunks)
        for chunk in chunks:
            self.model.delete("agent_log_chunks", chunk.id)

    @step(
        before=st.none() | times() | st.integers(-3, 3),
        keep_sessions=st.none() | st.integers(0, 3),
        max_bytes=st.none() | st.integers(0, 100) | integers(least=0),
    )
    def prune(
        self, before: datetime | int | None, keep_sessions: int | None, max_bytes: int | None
    ) -> None:
        if self.held and self.by != self.holder:
            return
        if isinstance(before, int):
            stamp = max(self.model.floor, datetime(2, 1, 1, tzinfo=self.low.tzinfo))
            before = stamp + timedelta(microseconds=before)
        if before is None and keep_sessions is None and max_bytes is None:
            keep_sessions = 1
        criteria: Any = {
            "before": before,
            "keep_sessions": keep_sessions,
            "max_bytes": max_bytes,
        }
        report = self.call(lambda store: store.log_chunks.prune(**criteria))
        gone = to_prune(self.model, **criteria)
        chunks = [chunk for session in gone for chunk in session.chunks]
        size = sum(session.bytes for session in gone)
        assert report == PruneReport(sessions=len(gone), chunks=len(chunks), bytes=size)
        for chunk in chunks:
            self.model.delete("agent_log_chunks", chunk.id)

    @step(
        one=REF,
        session=st.none() | SESSION,
        places=st.tuples(SEQ, SEQ),
        limit=st.none() | st.integers(0, 4),
        page=st.integers(1, 4),
    )
    def read_log(
        self,
        one: int,
        session: int | None,
        places: tuple[int | None, int | None],
        limit: int | None,
        page: int,
    ) -> None:
        after, before = places
        store, model = self.view()
        key = self.pick_logger(one)
        chosen: Any = {"session_number": session, "after": after}
        chunks = [
            chunk
            for chunk in sorted(
                model.tables["agent_log_chunks"].values(), key=lambda chunk: chunk.seq
            )
            if chunk.agent_id == key and session in {None, chunk.session_number}
        ]
        expected = [chunk for chunk in chunks if chunk.seq > (after or 0)]
        earlier = [chunk for chunk in chunks if before is None or chunk.seq < before]
        assert (
            store.log_chunks.find_by_agent_id(
                key, session_number=session, last=limit, before=before
            )
            == earlier[max(0, len(earlier) - limit) if limit is not None else 0 :]
        )
        assert store.log_chunks.find_by_agent_id(key, **chosen, limit=limit) == expected[:limit]
        assert list(store.log_chunks.iter_by_agent_id(key, **chosen, page=page)) == expected
        assert store.log_chunks.get_session_count(key) == session_count(model, key)

    @step(one=REF, other=REF)
    def read_history(self, one: int, other: int) -> None:
        store, model = self.view()
        for key in (self.pick("phases", one), self.pick("tasks", other)):
            kind = "phase" if key in model.tables["phases"] else "task"
            active = model.rows("chat_sessions", target_type=kind, target_id=key, status="active")
            about = model.rows("chat_sessions", target_type=kind, target_id=key)
            assert store.chat_sessions.find_sessions(kind, key) == about
            found = store.chat_sessions.find_active_session(kind, key)
            assert found == (active[0] if active else None)
        key = self.pick("chat_sessions", one)
        assert store.chat_sessions.find_session_by_id(key) == model.tables["chat_sessions"].get(key)
        assert store.chat_sessions.find_messages_by_session_id(key) == model.rows(
            "chat_messages", chat_session_id=key
        )
        key = self.pick("agents", one)
        active = model.rows("chat_sessions", agent_id=key, status="active")
        found = store.chat_sessions.find_active_session_by_agent_id(key)
        assert found == (active[-1] if active else None)
        key = self.pick("change_sets", one)
        assert store.change_sets.find_by_id(key) == model.tables["change_sets"].get(key)
        entries = sorted(model.rows("change_set_entries", change_set_id=key), key=by_order)
        assert store.change_sets.find_entries(key) == entries
        key = self.pick("initiatives", one)
        assert store.change_sets.find_by_initiative_id(key) == model.rows(
            "change_sets", initiative_id=key
        )
        key = self.pick("review_comments", other)
        assert store.review_comments.find_by_id(key) == model.tables["review_comments"].get(key)
        key = self.pick("phases", other)
        comments = model.rows("review_comments", phase_id=key)
        comments.sort(key=lambda row: (row.file_path, row.line_number, row.created_at, row.id))
        assert store.review_comments.find_by_phase_id(key) == comments
