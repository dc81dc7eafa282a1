"""An initiative moves from store to store: all that hangs on it, or nothing."""

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwstore import ImportReport
from cwstore._transfer.format import FIELDS, end_line, head_line, row_line
from cwstore._transfer.inserts import INSERTS
from cwstore._transfer.selects import LogSession
from cwstore.core.mapping import field_names
from cwstore.entities.agents import Agent
from cwstore.entities.change_sets import ChangeSet, ChangeSetEntry
from cwstore.entities.chat_sessions import ChatMessage, ChatSession
from cwstore.entities.claims import TaskAttempt
from cwstore.entities.conversations import Conversation
from cwstore.entities.initiatives import Initiative
from cwstore.entities.log_chunks import LogChunk
from cwstore.entities.messages import Message, PartyType
from cwstore.entities.pages import Page
from cwstore.entities.phases import Phase, PhaseDependency
from cwstore.entities.projects import InitiativeProject, Project
from cwstore.entities.proposals import Proposal
from cwstore.entities.review_comments import ReviewComment
from cwstore.entities.task import Task
from cwstore.entities.tasks import TaskDependency
from cwstore.errors import (
    ConflictError,
    ConflictReason,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.migrations import api as migrations
from cwstore.store import Store
from cwstore.testing.strategies import entities
from tests.kits.database import copy_database, open_async, open_at, open_private
from tests.kits.entities import undone

FROZEN = Path(__file__).parents[1] / "data" / "initiative_v1.jsonl"


def exported(store: Store, id: str = "I", *, logs: bool = True) -> list[str]:
    return list(store.export_initiative(id, logs=logs))


def rows_in(lines: list[str], table: str) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in lines]
    return [line["row"] for line in told if line.get("table") == table]


def fill(store: Store) -> None:
    """One row at least of everything that hangs on an initiative, and a neighbour."""
    store.initiatives.create(id="I", name="Sign-in", branch="cw/sign-in")
    store.initiatives.create(id="other", name="Other")
    store.projects.create(id="R", name="web", url="https://example.org/web.git")
    store.projects.set_initiative_projects("I", ["R"])
    store.phases.create(id="P1", initiative_id="I", name="One", content='{"a":  1}')
    store.phases.create(id="P2", initiative_id="I", name="Two", status="approved")
    store.phases.create_dependency("P2", "P1")
    store.tasks.create(id="T1", name="First", phase_id="P2", description="é\u2028\U0001f600")
    store.tasks.create(id="T2", name="Second", initiative_id="I")
    store.tasks.create(id="T3", name="Part", initiative_id="I")
    store.tasks.move("T2", parent_task_id="T3")  # the parent is younger than the child
    store.tasks.create_dependency("T2", "T1")
    store.accounts.create(id="K", email="a@example.org", credentials='{"key": "hush"}')
    store.agents.create(id="A1", name="fox", worktree_id="/w/1", initiative_id="I")
    store.agents.create(id="A2", name="owl", worktree_id="/w/2")
    store.agents.create(id="A3", name="elk", worktree_id="/w/3")  # of nothing here
    store.agents.update("A1", account_id="K", result='{"done":true}')
    store.phases.update("P1", status="completed")
    store.tasks.claim("T1", agent_id="A2", lease=timedelta(minutes=5))
    store.tasks.fail("T1", agent_id="A2", detail="red")
    store.tasks.claim("T1", agent_id="A1")
    root = store.pages.get_or_create_root_page("I")
    store.pages.create(id="G2", initiative_id="I", title="Page", parent_page_id=root.id)
    store.proposals.create(
        id="O", agent_id="A1", initiative_id="I", target_type="task", title="Split", metadata="[]"
    )
    store.change_sets.create(
        id="S",
        initiative_id="I",
        agent_id="A1",
        entries=[
            {
                "entity_type": "task",
                "entity_id": "T1",
                "action": "update",
                "previous_state": '{"a":1}',
                "new_state": '{"a":2}',
            }
        ],
    )
    chat = store.chat_sessions.create_session("task", "T1", initiative_id="I", agent_id="A1")
    store.chat_sessions.create_message(chat.id, role="user", content="why", change_set_id="S")
    store.review_comments.create(
        phase_id="P1", file_path="a.py", line_number=3, line_type="added", body="no"
    )
    question = store.messages.create(
        sender_type="agent", sender_id="A1", recipient_type="user", content="which?",
        requires_response=True,
    )  # fmt: skip
    store.messages.respond(question.id, "this", sender_type="user")
    store.messages.create(
        sender_type="agent", sender_id="A1", recipient_type="agent", recipient_id="A3",
        content="to a stranger",
    )  # fmt: skip
    asked = store.conversations.create(from_agent_id="A1", to_agent_id="A2", question="where?")
    store.conversations.answer(asked.id, "here")
    store.conversations.create(from_agent_id="A3", to_agent_id="A1", question="among strangers")
    for agent, session in (("A1", 1), ("A2", 1), ("A1", 2), ("A3", 1)):
        store.log_chunks.insert_chunk(
            agent, agent_name="x", session_number=session, content=f"{{}}\n{agent}\n"
        )


COUNTS = {
    "initiatives": 1,
    "projects": 1,
    "initiative_projects": 1,
    "phases": 2,
    "phase_dependencies": 1,
    "tasks": 3,
    "task_dependencies": 1,
    "agents": 2,
    "agent_log_sessions": 2,
    "task_attempts": 2,
    "pages": 2,
    "proposals": 1,
    "change_sets": 1,
    "change_set_entries": 1,
    "chat_sessions": 1,
    "chat_messages": 1,
    "review_comments": 1,
    "messages": 2,
    "conversations": 1,
    "agent_log_chunks": 3,
}


@pytest.fixture
def filled(store: Store) -> Store:
    fill(store)
    return store


def empty(migrated: Path, path: Path) -> Store:
    """A new store on a file."""
    copy_database(migrated, path)
    return open_at(path)


@pytest.fixture
def elsewhere(migrated: Path, tmp_path: Path) -> Iterator[Store]:
    """Another store, with the account that an agent refers to."""
    with empty(migrated, tmp_path / "elsewhere.db") as opened:
        opened.accounts.create(id="K", email="a@example.org")
        yield opened


def test_all_that_hangs_on_it_arrives_as_it_was(filled: Store, elsewhere: Store) -> None:
    lines = exported(filled)
    report = elsewhere.import_initiative(lines)
    assert report == ImportReport(
        initiative_id="I",
        name="Sign-in",
        rows=COUNTS,
        skipped={},
        references_dropped=0,
        agents_renamed={},
    )
    assert exported(elsewhere) == lines
    for find in (
        lambda s: s.initiatives.get("I"),
        lambda s: s.phases.find_by_initiative_id("I"),
        lambda s: s.tasks.find_by_initiative_id("I"),
        lambda s: s.tasks.find_attempts("T1"),
        lambda s: (s.agents.get("A1"), s.agents.get("A2")),
        lambda s: s.pages.find_by_initiative_id("I"),
        lambda s: s.projects.find_projects_by_initiative_id("I"),
        lambda s: s.proposals.find_by_initiative_id("I"),
        lambda s: (s.change_sets.find_by_initiative_id("I"), s.change_sets.find_entries("S")),
        lambda s: s.chat_sessions.find_sessions("task", "T1"),
        lambda s: s.review_comments.find_by_phase_id("P1"),
        lambda s: s.messages.find_pending_for_user(),
        lambda s: s.conversations.find_by_from_agent_id("A1"),
        lambda s: [c.content for c in s.log_chunks.find_by_agent_id("A1")],
        lambda s: s.log_chunks.get_session_count("A1"),
    ):
        looked = cast("Callable[[Store], Any]", find)
        assert looked(elsewhere) == looked(filled)
    assert elsewhere.agents.find_by_id("A3") is None
    assert elsewhere.initiatives.find_by_id("other") is None


def test_logs_are_left_out_unless_asked_for_and_no_session_number_is_used_twice(
    filled: Store, elsewhere: Store
) -> None:
    lines = exported(filled, logs=False)
    assert rows_in(lines, "agent_log_chunks") == []
    elsewhere.import_initiative(lines)
    assert elsewhere.log_chunks.find_by_agent_id("A1") == []
    assert elsewhere.log_chunks.get_session_count("A1") == 2


def test_no_credentials_and_no_account_are_in_the_file(filled: Store) -> None:
    text = "".join(exported(filled))
    assert "hush" not in text
    assert "a@example.org" not in text
    assert '"account_id":"K"' in text


def test_a_line_ends_where_it_ends_for_everybody(filled: Store) -> None:
    lines = exported(filled)
    text = "".join(lines)
    assert text.isascii()
    assert text.splitlines(keepends=True) == lines


# Any initiative at all


class World:
    """The rows of an initiative, drawn table by table."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rows: list[tuple[str, Any]] = []
        self.own = st.just("I")
        self.add("initiatives", Initiative, id=self.own)
        self.phases = self.some(2)
        self.tasks = self.some(4)
        self.agents = self.some(3)
        self.sets = self.some(2)

    def some(self, most: int) -> range:
        return range(self.draw(st.integers(0, most)))

    def add(self, table: str, kind: type[Any], **given: st.SearchStrategy[Any]) -> Any:
        self.rows.append((table, self.draw(entities(kind, **given))))
        return self.rows[-1][1]

    def add_plan(self) -> None:
        for n in self.some(2):
            names = {"name": st.just(f"r{n}"), "url": st.just(f"u{n}")}
            self.add("projects", Project, id=st.just(f"R{n}"), **names)
            self.rows.append(("initiative_projects", InitiativeProject("I", f"R{n}")))
        for n in self.phases:
            self.add("phases", Phase, id=st.just(f"P{n}"), initiative_id=self.own)
            self.add(
                "review_comments", ReviewComment, id=st.just(f"V{n}"), phase_id=st.just(f"P{n}")
            )
        if len(self.phases) == 2:
            self.rows.append(("phase_dependencies", PhaseDependency("P1", "P0")))
        for n in self.tasks:
            places = {"phase_id": maybe("P", self.phases), "parent_task_id": maybe("T", range(n))}
            self.add("tasks", Task, id=st.just(f"T{n}"), initiative_id=self.own, **places)
            if n and self.draw(st.booleans()):
                self.rows.append(("task_dependencies", TaskDependency(f"T{n}", f"T{n - 1}")))
        for n in self.some(3):
            parent = maybe("G", range(n)).filter(bool) if n else st.none()
            one = st.just(f"G{n}")
            self.add("pages", Page, id=one, initiative_id=self.own, parent_page_id=parent)

    def add_agents(self) -> None:
        for n in self.agents:
            self.add(
                "agents",
                Agent,
                id=st.just(f"A{n}"),
                name=st.just(f"a{n}"),
                initiative_id=self.own,
                task_id=maybe("T", self.tasks),
                account_id=st.none(),
            )
        held = set[str]()
        for n in self.tasks:
            ids = {"id": st.just(f"N{n}"), "task_id": st.just(f"T{n}")}
            who = maybe("A", self.agents)
            attempt = self.add("task_attempts", TaskAttempt, agent_id=who, **ids)
            if attempt.outcome is None and attempt.agent_id in held:
                self.rows.pop()  # an agent holds one task
            elif attempt.outcome is None:
                held.add(attempt.agent_id or "")

    def add_history(self) -> None:
        who = maybe("A", self.agents)
        for n in self.sets:
            one = st.just(f"S{n}")
            self.add("change_sets", ChangeSet, id=one, initiative_id=self.own, agent_id=who)
            self.add("change_set_entries", ChangeSetEntry, id=st.just(f"E{n}"), change_set_id=one)
        for n in self.some(2):
            one = {"id": st.just(f"C{n}"), "target_id": st.just(f"T{n}")}
            self.add("chat_sessions", ChatSession, initiative_id=self.own, agent_id=who, **one)
            change = maybe("S", self.sets)
            session = {"chat_session_id": one["id"], "change_set_id": change}
            self.add("chat_messages", ChatMessage, id=st.just(f"M{n}"), **session)

    def add_talk(self) -> None:
        who, anybody = maybe("A", self.agents).filter(bool), maybe("A", self.agents)
        self.add("proposals", Proposal, agent_id=who, initiative_id=self.own)
        for n in self.some(3):
            is_agent = st.just(PartyType.AGENT)
            parties = {"sender_type": is_agent, "recipient_type": is_agent}
            parties |= {"sender_id": who, "recipient_id": anybody}
            reply = maybe("L", range(n))
            self.add("messages", Message, id=st.just(f"L{n}"), parent_message_id=reply, **parties)
        about = {"phase_id": maybe("P", self.phases), "task_id": maybe("T", self.tasks)}
        about["initiative_id"] = st.sampled_from([None, "I"])
        self.add("conversations", Conversation, from_agent_id=who, to_agent_id=who, **about)
        greatest = dict[str, int]()
        for n in self.some(3):
            ids = {"id": st.just(f"B{n}"), "agent_id": who}
            number = st.integers(1, 5)
            chunk = self.add("agent_log_chunks", LogChunk, session_number=number, **ids)
            before = greatest.get(chunk.agent_id, 0)
            greatest[chunk.agent_id] = max(before, chunk.session_number)
        self.rows += [("agent_log_sessions", LogSession(*item)) for item in greatest.items()]


def maybe(prefix: str, many: range) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *(f"{prefix}{n}" for n in many)])


@st.composite
def worlds(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """The rows of any initiative, in the order of the format."""
    world = World(draw)
    world.add_plan()
    world.add_agents()
    world.add_history()
    if world.agents:
        world.add_talk()
    order = list(FIELDS)
    return sorted(world.rows, key=lambda one: order.index(one[0]))


@settings(max_examples=max(1, settings().max_examples // 6))  # each has some twenty rows
@given(world=worlds())
def test_a_round_trip_is_equal_object_by_object(
    world: list[tuple[str, Any]], migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [row_line(table, entity) for table, entity in world]
    folder = tmp_path_factory.mktemp("worlds")
    with empty(migrated, folder / "first.db") as first, empty(migrated, folder / "b") as second:
        lines = [head_line("I", world[0][1].name, first.version), *rows, end_line(len(rows))]
        assert first.import_initiative(lines).references_dropped == 0
        out = exported(first)
        assert Counter(out) == Counter(lines)
        assert second.import_initiative(out).rows == Counter(table for table, _ in world)
        assert exported(second) == out


# The format


def test_the_format_has_every_column_but_the_cursor_of_logs() -> None:
    for table, names in FIELDS.items():
        columns = field_names(INSERTS[table].entity)
        assert names == tuple(column for column in columns if (table, column) != LOG_CURSOR)


LOG_CURSOR = ("agent_log_chunks", "seq")


def test_a_file_of_version_1_can_be_read_for_ever(elsewhere: Store) -> None:
    """It was written by the first cwstore that could: it must never be written anew."""
    with FROZEN.open(encoding="ascii") as lines:
        report = elsewhere.import_initiative(lines)
    assert report.rows == COUNTS
    assert exported(elsewhere)[1:] == FROZEN.read_text("ascii").splitlines(keepends=True)[1:]


HEAD = '{"format":"cwstore-initiative","version":1,"schema":16,"initiative":"I","name":"n"}'
NEWER = HEAD.replace("16", "999")
UPGRADE = (
    f"(the file has schema version 999, this cwstore {migrations.status(':memory:').newest}:"
    " upgrade cwstore)"
)
PHASE = (
    '{"table":"phases","row":{"id":"P","initiative_id":"I","name":"p","content":null,'
    '"status":"pending","created_at":"2026-01-01T00:00:00+00:00",'
    '"updated_at":"2026-01-01T00:00:00+00:00"}}'
)
BROKEN_JSON = (
    "line 3: lines: not JSON: Expecting property name enclosed in double quotes at character 2"
)
NOT_OURS = "line 1: format: expected a file made by `cwstore export` (cwstore-initiative)"
NO_OWNER = "line 2: phases.initiative_id: no row of initiatives has the id 'I'; create it first"
DAMAGED: list[tuple[list[str], type[CwstoreError], str]] = [
    ([], InvalidValueError, "lines: the file ends after line 0, before its end: export it again"),
    (["", HEAD, "{"], InvalidValueError, BROKEN_JSON),
    ([HEAD, "[" * 100_000], InvalidValueError, "line 2: lines: nested too deeply"),
    ([HEAD, "7"], InvalidValueError, "line 2: lines: not a JSON object"),
    (["{}"], InvalidValueError, NOT_OURS),
    ([HEAD.replace('"version":1', '"version":2')], InvalidValueError,
     "line 1: version: this cwstore reads 1, the file has 2: upgrade cwstore"),
    ([HEAD.replace('"I"', "7")], InvalidValueError,
     "line 1: initiative: expected the id of the initiative"),
    ([HEAD.replace("16", '"16"')], InvalidValueError,
     "line 1: schema: expected the version of the schema, a number"),
    ([NEWER, PHASE.replace('"name"', '"colour":1,"name"')], InvalidValueError,
     f"line 2: colour: unknown in a row of phases {UPGRADE}"),
    ([NEWER, PHASE.replace("pending", "dozing")], InvalidValueError,
     ("line 2: status: 'dozing' is not one of: pending, approved, in_progress, completed, blocked"
     f" {UPGRADE}")),
    ([NEWER, PHASE], MissingReferenceError, NO_OWNER),
    ([HEAD, '{"table":"accounts","row":{}}'], InvalidValueError,
     f"line 2: table: 'accounts' is not one of: {', '.join(FIELDS)}"),
    ([HEAD, '{"table":[]}'], InvalidValueError,
     f"line 2: table: [] is not one of: {', '.join(FIELDS)}"),
    ([HEAD, '{"table":"tasks","row":[]}'], InvalidValueError,
     "line 2: row: expected a JSON object"),
    ([HEAD, PHASE.replace('"status":"pending",', "")], InvalidValueError,
     "line 2: status: missing in a row of phases"),
    ([HEAD, PHASE.replace('"name"', '"colour":1,"name"')], InvalidValueError,
     "line 2: colour: unknown in a row of phases"),
    ([HEAD, PHASE.replace("pending", "lost")], InvalidValueError,
     "line 2: status: 'lost' is not one of: pending, approved, in_progress, completed, blocked"),
    ([HEAD, PHASE.replace("+00:00", "")], InvalidValueError,
     "line 2: created_at: expected a time such as 2026-05-04T12:00:00.000000+00:00"),
    ([HEAD, PHASE.replace('"2026-01-01T00:00:00+00:00"', "12")], InvalidValueError,
     "line 2: created_at: expected a time such as 2026-05-04T12:00:00.000000+00:00"),
    ([HEAD, PHASE.replace('"content":null', '"content":"{"')], InvalidValueError,
     "line 2: content: not JSON"),
    ([HEAD, PHASE], MissingReferenceError, NO_OWNER),
    ([HEAD], InvalidValueError,
     "lines: the file ends after line 1, before its end: export it again"),
    ([HEAD, '{"end":1}'], InvalidValueError, "line 2: end: the file says it has 1 rows and has 0"),
    ([HEAD, '{"end":0}', HEAD], InvalidValueError,
     "line 3: lines: the file goes on after its end"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "error", "message"), DAMAGED)
def test_a_damaged_line_is_named_and_nothing_is_imported(
    lines: list[str], error: type[CwstoreError], message: str, filled: Store
) -> None:
    filled.initiatives.delete("I")
    filled.initiatives.create(id="mine", name="Mine")
    with pytest.raises(error) as told:
        filled.import_initiative(lines)
    assert type(told.value) is error
    assert str(told.value).startswith(message)
    assert [one.id for one in filled.initiatives.find_all()] == ["other", "mine"]
    assert filled.phases.find_all() == []


def test_a_broken_line_in_the_middle_of_a_real_file_leaves_no_trace(
    filled: Store, elsewhere: Store
) -> None:
    lines = exported(filled)
    for place in range(1, len(lines) - 1, 7):
        spoilt = [*lines[:place], lines[place][: len(lines[place]) // 2], *lines[place + 1 :]]
        with pytest.raises(InvalidValueError, match=f"^line {place + 1}: lines: not JSON: "):
            elsewhere.import_initiative(spoilt)
    assert elsewhere.initiatives.find_all() == []
    assert elsewhere.agents.find_all() == []


@pytest.mark.parametrize(
    ("table", "edge", "ring"),
    [
        ("task_dependencies", ("T1", "T2"), ("T1", "T2")),
        ("phase_dependencies", ("P1", "P2"), ("P1", "P2")),
        ("pages", ("own", "own"), ("own",)),
    ],
)
def test_a_plan_that_was_edited_into_a_ring_is_refused_and_the_ring_told(
    table: str, edge: tuple[str, str], ring: tuple[str, ...], filled: Store, elsewhere: Store
) -> None:
    lines = exported(filled)
    place = next(n for n, line in enumerate(lines) if f'"table":"{table}"' in line)
    row = json.loads(lines[place])["row"]
    fields = ("id", "parent_page_id") if table == "pages" else tuple(row)
    closing = json.dumps({"table": table, "row": row | dict(zip(fields, edge, strict=True))})
    with pytest.raises(CycleError, match=f"^line {place + 2}: {table}: ") as refused:
        elsewhere.import_initiative([*lines[: place + 1], closing, *lines[place + 1 :]])
    assert refused.value.path == ring
    assert elsewhere.tasks.find_all() == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"{}"], "line 1: lines: expected str, got bytes"),
        ("text", "lines: expected lines, as of an open file, and got one text"),
        (5, "lines: expected lines, as of an open file, got int"),
        (None, "lines: expected lines, as of an open file, got NoneType"),
    ],
)
def test_what_is_no_line_is_refused(lines: Any, message: str, elsewhere: Store) -> None:
    with pytest.raises(InvalidValueError) as refused:
        elsewhere.import_initiative(lines)
    assert str(refused.value) == message


# What is there already


def test_what_is_there_already_is_refused_or_kept(filled: Store, elsewhere: Store) -> None:
    lines = exported(filled)
    elsewhere.import_initiative(lines)
    with pytest.raises(ConflictError) as refused:
        elsewhere.import_initiative(lines)
    assert str(refused.value) == (
        "line 2: initiatives: the store has I already; to keep what is there and add the rest,"
        ' import with on_conflict="skip" (`--on-conflict skip`)'
    )
    error = refused.value
    assert (error.reason, error.table, error.id) == (ConflictReason.TAKEN, "initiatives", "I")
    elsewhere.tasks.update("T2", summary="done meanwhile")
    elsewhere.tasks.delete("T3")  # and T2 with it
    report = elsewhere.import_initiative(lines, on_conflict="skip")
    assert report.rows == {"tasks": 2, "task_dependencies": 1}
    assert report.skipped["tasks"] == 1
    assert exported(elsewhere) == lines


def test_a_row_without_an_id_that_comes_twice_is_refused(filled: Store, elsewhere: Store) -> None:
    lines = exported(filled)
    edge = next(line for line in lines if '"task_dependencies"' in line)
    with pytest.raises(ConflictError) as refused:
        elsewhere.import_initiative([*lines[:-1], edge, lines[-1]])
    assert "task_dependencies: the store has this row already; " in str(refused.value)


def test_an_unknown_way_with_conflicts_is_refused(elsewhere: Store) -> None:
    with pytest.raises(InvalidValueError) as refused:
        elsewhere.import_initiative([], on_conflict=cast(Any, "merge"))
    assert str(refused.value) == "on_conflict: 'merge' is not one of: error, skip"


def test_an_agent_whose_name_is_taken_gets_another_one(filled: Store, elsewhere: Store) -> None:
    elsewhere.agents.create(id="mine", name="fox", worktree_id="/")
    elsewhere.agents.create(id="mine 2", name="fox-2", worktree_id="/")
    lines = exported(filled)
    with pytest.raises(ConflictError) as refused:
        elsewhere.import_initiative(lines)
    assert str(refused.value).endswith(
        ": agents: another agent is called fox here; to give this one another name,"
        ' import with on_conflict="skip" (`--on-conflict skip`)'
    )
    error = refused.value
    assert (error.reason, error.table, error.id) == (ConflictReason.TAKEN, "agents", "A1")
    report = elsewhere.import_initiative(lines, on_conflict="skip")
    assert report.agents_renamed == {"A1": "fox-3"}
    assert elsewhere.agents.get("A1").name == "fox-3"
    assert elsewhere.agents.get("mine").name == "fox"
    again = elsewhere.import_initiative(lines, on_conflict="skip")
    assert (again.rows, again.agents_renamed) == ({}, {})


@pytest.mark.parametrize(
    ("name", "url"),
    [("web", "https://else.example.org"), ("mine", "https://example.org/web.git")],
)
def test_a_project_that_is_there_under_another_id_is_used(
    name: str, url: str, filled: Store, elsewhere: Store
) -> None:
    mine = elsewhere.projects.create(id="mine", name=name, url=url)
    lines = exported(filled)
    with pytest.raises(ConflictError, match=r"^line 3: projects: the store has the project web"):
        elsewhere.import_initiative(lines)
    report = elsewhere.import_initiative(lines, on_conflict="skip")
    assert report.skipped == {"projects": 1}
    assert elsewhere.projects.find_projects_by_initiative_id("I") == [mine]


def test_references_to_what_is_not_there_are_left_out(filled: Store) -> None:
    filled.tasks.create(id="X", name="Elsewhere", initiative_id="other")
    filled.tasks.create_dependencies([("T3", "X"), ("X", "T1")])
    lines = exported(filled)
    assert len(rows_in(lines, "task_dependencies")) == 3
    with open_private() as bare:
        report = bare.import_initiative(lines)
        assert report.references_dropped == 3
        assert bare.agents.get("A1").account_id is None
        assert bare.tasks.get_dependencies("T3") == []
        # The other initiative comes later, with the edges between the two.
        bare.import_initiative(exported(filled, "other"), on_conflict="skip")
        assert bare.tasks.get_dependencies("T3") == ["X"]
        assert set(bare.tasks.get_dependents("T1")) == {"X", "T2"}


def test_an_agent_of_two_initiatives_keeps_what_is_there(filled: Store) -> None:
    filled.agents.update("A2", initiative_id="other")
    with open_private() as bare:
        bare.import_initiative(exported(filled))
        assert bare.agents.get("A2").initiative_id is None
        assert [one.agent_id for one in bare.tasks.find_attempts("T1")] == ["A2", "A1"]


# Reading and writing beside others


def test_what_is_committed_during_an_export_is_not_in_it(filled: Store) -> None:
    whole = exported(filled)
    lines = filled.export_initiative("I", logs=True)
    begun = [next(lines), next(lines)]
    filled.tasks.create(name="late", initiative_id="I")
    filled.initiatives.update("I", name="renamed")
    assert [*begun, *lines] == whole


def test_an_export_is_refused_where_it_would_not_see_all(filled: Store) -> None:
    with pytest.raises(NotFoundError, match="initiatives"):
        exported(filled, "nix")
    with filled.transaction(), pytest.raises(ConflictError, match="inside of a transaction"):
        exported(filled)
    with pytest.raises(InvalidValueError, match="logs: "):
        filled.export_initiative("I", logs=cast(Any, 1))
    with pytest.raises(InvalidValueError, match="initiative_id: "):
        filled.export_initiative("")


def test_an_import_joins_in_a_transaction(filled: Store, elsewhere: Store) -> None:
    lines = exported(filled)
    with undone(elsewhere):
        elsewhere.import_initiative(lines)
        assert elsewhere.initiatives.find_by_id("I")
    assert elsewhere.initiatives.find_all() == []


def test_logs_of_any_length_take_constant_memory(store: Store) -> None:
    store.initiatives.create(id="I", name="Logs")
    store.agents.create(id="A", name="fox", worktree_id="/", initiative_id="I")
    text = "x" * 4_000
    store.log_chunks.insert_chunks(("A", "fox", 1, text) for _ in range(1_000))
    with open_private() as target:
        lines = store.export_initiative("I", logs=True)
        head = next(lines)
        tracemalloc.start()
        try:
            report = target.import_initiative(line for part in ([head], lines) for line in part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert report.rows["agent_log_chunks"] == 1_000
    assert peak < 1_000_000  # bytes, of 4 MB


def test_the_same_is_awaited(filled: Store, file: Path, tmp_path: Path) -> None:
    async def move() -> list[str]:
        async with (
            await open_async(file) as source,
            await open_async(tmp_path / "target.db") as target,
        ):
            lines = [line async for line in source.export_initiative("I", logs=True)]
            await target.accounts.create(id="K", email="k@example.org")
            report = await target.import_initiative(lines, on_conflict="skip")
            assert report.rows == COUNTS
            again = await target.import_initiative(lines, on_conflict="skip")
            assert again.rows == {}
            return [line async for line in target.export_initiative("I", logs=True)]

    assert asyncio.run(move()) == exported(filled)


def test_stamps_go_on_rising_after_an_import_of_old_rows(filled: Store, elsewhere: Store) -> None:
    before = elsewhere.initiatives.create(name="before")
    elsewhere.import_initiative(exported(filled))
    after = elsewhere.tasks.update("T3", name="after")
    assert after.updated_at > before.created_at
    assert after.created_at < after.updated_at
    assert datetime.now(UTC) - after.updated_at < timedelta(hours=1)
