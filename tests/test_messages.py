"""What an error says, word for word: what happened, where, and what to do.

One line for each refusal that a call can bring about; those of commands, migrations and disks are
in the tests of these. The last test holds that no message of the package is left out.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import cwstore
from cwstore import ConflictError, CwstoreError, Extension, rehearse, restore
from cwstore.core.drivers import engine_for
from cwstore.entities.tasks import _CREATE_DEPENDENCY

# What is refused here is refused by type checkers, too.
Store: Any = cwstore.Store
Database: Any = cwstore.Database
migrate: Any = cwstore.migrate


@pytest.fixture
def s(store: cwstore.Store) -> Any:
    """A store with a little of everything."""
    for initiative in ("I", "J"):
        store.initiatives.create(id=initiative, name=initiative)
    store.phases.create(id="P", initiative_id="I", name="P", status="in_progress")
    store.phases.create(id="Q", initiative_id="J", name="Q")
    for task in ("T", "late", "held"):
        store.tasks.create(id=task, name=task, phase_id="P")
    store.tasks.create_dependency("late", "T")
    store.agents.create(id="A", name="fox", worktree_id="/")
    store.agents.create(id="B", name="owl", worktree_id="/")
    store.tasks.claim("held", agent_id="B")
    store.pages.create(id="page", initiative_id="I", title="x")
    asked = store.messages.create(
        id="answered", sender_type="agent", sender_id="A", recipient_type="user", content="x"
    )
    store.messages.respond(asked.id, "yes", "user")
    store.conversations.create(id="talk", from_agent_id="A", to_agent_id="B", question="x")
    store.conversations.answer("talk", "yes")
    store.change_sets.create(id="changes", initiative_id="I", entries=[])
    store.change_sets.mark_reverted("changes")
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "empty.db").touch()
    (tmp_path / "text.db").write_text("no database " * 100)
    (tmp_path / "two names.db").touch()
    (tmp_path / "second name.db").hardlink_to(tmp_path / "two names.db")
    return tmp_path


def inside(s: Any, act: Callable[[], object]) -> None:
    with s.transaction():
        act()


def backup_in_memory(target: Path) -> None:
    with Store.open(":memory:") as store:
        inside(store, lambda: store.backup(target))


entry = {"entity_type": "task", "entity_id": "T", "action": "delete", "previous_state": "{}"}


REFUSALS: list[tuple[Callable[[Any, Path], object], str]] = [
    (
        lambda s, folder: s.tasks.find_all(limit=1, last=1),
        ("last: goes with neither limit nor after: leave those out"),
    ),
    (
        lambda s, folder: s.tasks.find_all(after="A", before="B"),
        ("before: goes with neither limit nor after: leave those out"),
    ),
    (
        lambda s, folder: s.tasks.find_all(first=1),
        ("first: pages take: limit, after, last, before"),
    ),
    (
        lambda s, folder: s.tasks.find_all(after="gone"),
        (
            "tasks: no row has the id 'gone' that `after` names: it never did, or was"
            " deleted; begin again from an end of the list"
        ),
    ),
    (
        lambda s, folder: s.tasks.create_many("abc"),
        ("tasks: expected several, got str"),
    ),
    (
        lambda s, folder: s.tasks.create_many([7]),
        ("item 0: tasks: expected a mapping, got int"),
    ),
    (
        lambda s, folder: s.tasks.create_many([{"nam": "x"}]),
        (
            "item 0: nam: unknown; what can be given: name, phase_id, initiative_id,"
            " parent_task_id, description, type, category, priority, status,"
            " requires_approval, sort_order, summary, id"
        ),
    ),
    (
        lambda s, folder: s.tasks.create_many([{}]),
        ("item 0: name: is missing"),
    ),
    (
        lambda s, folder: s.tasks.create(name="x", phase_id="P", initiative_id="J"),
        ("initiative_id: the task, its phase and its parent must be of one initiative"),
    ),
    (
        lambda s, folder: s.tasks.move("T", initiative_id="J", phase_id="P"),
        ("initiative_id: the task, its phase and its parent must be of one initiative"),
    ),
    (
        lambda s, folder: s.tasks.move("T", name="x"),
        ("name: a move takes: initiative_id, phase_id, parent_task_id"),
    ),
    (
        lambda s, folder: s.tasks.topological_order(),
        ("phase_id: give either phase_id or initiative_id"),
    ),
    (
        lambda s, folder: s.tasks.create_dependencies(["ab", 7]),
        ("item 0: edges: expected pairs of task_id and depends_on_task_id"),
    ),
    (
        lambda s, folder: s.tasks.claim("late"),
        ("tasks: 'late' is not ready: task_dependency 'T' is pending"),
    ),
    (
        lambda s, folder: s.tasks.claim("T", lease=7),
        ("lease: expected timedelta or None, got int"),
    ),
    (
        lambda s, folder: s.tasks.claim("T", lease=timedelta(0)),
        ("lease: must be longer than 0 and at most 36,500 days"),
    ),
    (
        lambda s, folder: s.tasks.claim("held", agent_id="A"),
        ("tasks: 'held' is held by agent 'owl' (B); wait for its report"),
    ),
    (
        lambda s, folder: s.tasks.claim("T", agent_id="B"),
        ("agents: 'B' holds task 'held'; complete, fail or release that first"),
    ),
    (
        lambda s, folder: s.tasks.complete("T", agent_id="A"),
        (
            "tasks: 'T' is not held by agent 'A': it is pending and held by nobody;"
            " nothing was changed. find_attempts tells what became of it"
        ),
    ),
    (
        lambda s, folder: s.tasks.get("gone"),
        ("tasks: no row has the id 'gone'"),
    ),
    (
        lambda s, folder: s.tasks.update("T", if_updated_at=datetime(2020, 1, 1, tzinfo=UTC)),
        (
            "tasks: row 'T' was updated since 2020-01-01T00:00:00+00:00; read it again and"
            " decide anew"
        ),
    ),
    (
        lambda s, folder: s.tasks.create(id="T", name="x"),
        ("tasks.id: this value is taken by another row; choose another"),
    ),
    (
        lambda s, folder: s.tasks.create(name=""),
        ("name: must not be empty"),
    ),
    (
        lambda s, folder: s.tasks.create(name="a\0b"),
        ("name: contains U+0000, which SQLite text cannot hold"),
    ),
    (
        lambda s, folder: s.tasks.create(name="\ud800"),
        ("name: contains a lone surrogate, which is not text"),
    ),
    (
        lambda s, folder: s.tasks.create(name="x", status="done"),
        (
            "status: 'done' is not one of: pending_approval, pending, in_progress,"
            " completed, blocked"
        ),
    ),
    (
        lambda s, folder: s.tasks.create(name="x", sort_order=2**63),
        ("sort_order: does not fit into 64 bits"),
    ),
    (
        lambda s, folder: s.tasks.create(name="x", sort_order=True),
        ("sort_order: expected int, got bool"),
    ),
    (
        lambda s, folder: s.phases.create(initiative_id="I", name="x", content="{"),
        ("content: not JSON: it goes wrong at line 1, column 2 (character 1)"),
    ),
    (
        lambda s, folder: s.phases.create(
            initiative_id="I", name="x", content="[" * 2_000 + "]" * 2_000
        ),
        ("content: not JSON: nested too deep, or NaN or an infinity in it"),
    ),
    (
        lambda s, folder: s.phases.create_dependency("P", "Q"),
        ("depends_on_phase_id: is of another initiative than the phase itself"),
    ),
    (
        lambda s, folder: s.phases.create_dependency("P", "gone"),
        ("phases: no row has the id 'gone'"),
    ),
    (
        lambda s, folder: s.pages.create(initiative_id="J", title="x", parent_page_id="page"),
        ("parent_page_id: a page and its parent must be of one initiative"),
    ),
    (
        lambda s, folder: s.projects.set_initiative_projects("I", "abc"),
        ("project_ids: expected several ids, got str"),
    ),
    (
        lambda s, folder: s.projects.set_initiative_projects("I", ["gone"]),
        ("projects: no row has the id 'gone'"),
    ),
    (
        lambda s, folder: s.messages.mark_read("abc"),
        ("ids: expected several ids, got str"),
    ),
    (
        lambda s, folder: s.messages.create(
            sender_type="agent", recipient_type="user", content="x"
        ),
        ("sender_id: an agent has an id: give it"),
    ),
    (
        lambda s, folder: s.messages.create(
            sender_type="user", sender_id="A", recipient_type="user", content="x"
        ),
        ("sender_id: the user has no id: leave it out"),
    ),
    (
        lambda s, folder: s.messages.respond("answered", "again", "user"),
        ("messages: 'answered' has a response already; read it with find_replies"),
    ),
    (
        lambda s, folder: s.conversations.answer("talk", "again"),
        ("conversations: 'talk' is answered already; read the answer with find_by_id"),
    ),
    (
        lambda s, folder: s.chat_sessions.create_session("task", "gone", initiative_id="I"),
        ("chat_sessions: there is no task 'gone'; create it first"),
    ),
    (
        lambda s, folder: s.chat_sessions.create_session("task", "T", initiative_id="J"),
        ("initiative_id: the target is of another initiative"),
    ),
    (
        lambda s, folder: s.change_sets.create(initiative_id="I", entries="abc"),
        ("entries: expected several mappings, got str"),
    ),
    (
        lambda s, folder: s.change_sets.create(initiative_id="I", entries=[7]),
        ("item 0: entries: expected mappings, got one int"),
    ),
    (
        lambda s, folder: s.change_sets.create(
            initiative_id="I", entries=[{"entity_type": "task"}]
        ),
        ("item 0: entity_id: is missing in an entry"),
    ),
    (
        lambda s, folder: s.change_sets.create(initiative_id="I", entries=[entry | {"by": 1}]),
        ("item 0: by: is no key of an entry"),
    ),
    (
        lambda s, folder: s.change_sets.create(
            initiative_id="I", entries=[entry | {"action": "create", "previous_state": "{}"}]
        ),
        ("item 0: previous_state: must be None: a create has none"),
    ),
    (
        lambda s, folder: s.change_sets.mark_reverted("changes"),
        ("change_sets: 'changes' is reverted already; leave it so"),
    ),
    (
        lambda s, folder: s.log_chunks.insert_chunks(7),
        ("chunks: expected several, got int"),
    ),
    (
        lambda s, folder: s.log_chunks.insert_chunks([7]),
        (
            "item 0: chunks: expected mappings of agent_id, agent_name, session_number,"
            " content and maybe id, or tuples of these four"
        ),
    ),
    (
        lambda s, folder: s.log_chunks.insert_chunk(
            "A", agent_name="fox", session_number=0, content="x"
        ),
        (
            "session_number: refused by the rule agent_log_chunks_session_number_ck of table"
            " agent_log_chunks"
        ),
    ),
    (
        lambda s, folder: s.log_chunks.iter_by_agent_id("A", page=0),
        ("page: must be from 1 to 2**63 - 1"),
    ),
    (
        lambda s, folder: s.log_chunks.prune(),
        ("before: give before, keep_sessions or max_bytes"),
    ),
    (
        lambda s, folder: s.agents.reconcile(7),
        ("is_alive: expected a callable that takes an Agent"),
    ),
    (
        lambda s, folder: s.agents.reconcile(lambda agent: None),
        ("is_alive: must return True or False, and it returned NoneType"),
    ),
    (
        lambda s, folder: s.accounts.create(email="x", credentials=7),
        ("credentials: expected Secret or str, got int"),
    ),
    (
        lambda s, folder: s.initiatives.purge("I", on_progress=7),
        ("on_progress: expected a callable that takes a number of rows"),
    ),
    (
        lambda s, folder: s.on_statement(7),
        ("on_statement: expected a callable that takes a StatementRun"),
    ),
    (
        lambda s, folder: s.changes(capacity=0),
        ("capacity: must be a number of changes, at least 1"),
    ),
    (
        lambda s, folder: s.query("DELETE FROM tasks"),
        ("sql: expected a query: SELECT, WITH, VALUES, EXPLAIN"),
    ),
    (
        lambda s, folder: s.import_initiative("abc"),
        ("lines: expected lines, as of an open file, and got one text"),
    ),
    (
        lambda s, folder: s.import_initiative([], on_conflict="merge"),
        ("on_conflict: 'merge' is not one of: error, skip"),
    ),
    (
        lambda s, folder: s.import_initiative([]),
        ("lines: the file ends after line 0, before its end: export it again"),
    ),
    (
        lambda s, folder: s.export_initiative(""),
        ("initiative_id: must not be empty"),
    ),
    (
        lambda s, folder: s.backup(s.path),
        ("FOLDER/store.db exists; choose another name for the backup, or remove it"),
    ),
    (
        lambda s, folder: setattr(s.tasks.get("T"), "name", "x"),
        ("field 'name' of a row that was read cannot be changed"),
    ),
    (
        lambda s, folder: Store.open(""),
        ("path: must be a non-empty path without U+0000"),
    ),
    (
        lambda s, folder: Store.open(7),
        ("path: expected str or os.PathLike[str], got int"),
    ),
    (
        lambda s, folder: Store.open("a\0b"),
        ("path: must be a non-empty path without U+0000"),
    ),
    (
        lambda s, folder: Store.open(folder),
        ("FOLDER is a directory; give the path of a file in it"),
    ),
    (
        lambda s, folder: Store.open(folder / "no" / "file.db"),
        ("cannot create FOLDER/no/file.db: No such file or directory; check the directory"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", busy_timeout=-1),
        ("busy_timeout: must be a finite number of seconds, at least 0"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", busy_timeout="1"),
        ("busy_timeout: expected seconds as a number, got str"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", durable=1),
        ("durable: expected bool, got int"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", on_progress=7),
        ("on_progress: expected a callable that takes a Progress"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", clock=7),
        ("clock: expected a callable that returns an aware datetime"),
    ),
    (
        lambda s, folder: Store.open(folder / "new.db", secrets=7),
        ("secrets: expected an object with encode(str) -> str and decode(str) -> str, got int"),
    ),
    (
        lambda s, folder: Store.open(":memory:", read_only=True),
        ("read_only: a database in memory is new and empty: nothing to read"),
    ),
    (
        lambda s, folder: Store.open(folder / "gone.db", read_only=True),
        ("cannot look at FOLDER/gone.db: No such file or directory; check the path"),
    ),
    (
        lambda s, folder: Store.open(folder / "empty.db"),
        (
            "FOLDER/empty.db is empty: it is not a database; remove it to have a new one"
            " made, or give another path"
        ),
    ),
    (
        lambda s, folder: Store.open(folder / "text.db"),
        ("opening FOLDER/text.db: not an SQLite database; give another path"),
    ),
    (
        lambda s, folder: Database.open(folder / "new.db", migrations=folder, application_id=0),
        ("application_id: must be from 1 to 0x7fffffff: four ASCII letters make a good one"),
    ),
    (
        lambda s, folder: Database.open(folder / "new.db", migrations=folder, application_id="7"),
        ("application_id: expected int, got str"),
    ),
    (
        lambda s, folder: Database.open(folder / "new.db", migrations=folder, application_id=2**31),
        ("application_id: must be from 1 to 0x7fffffff: four ASCII letters make a good one"),
    ),
    (
        lambda s, folder: Database.open(folder / "new.db", migrations=folder, application_id=7),
        ("FOLDER holds no migration; give the directory with 0001_<name>.sql"),
    ),
    (
        lambda s, folder: Extension("Bad Name", migrations=folder),
        ("name: 'Bad Name': an extension is named by a to z and 0 to 9, at most 30"),
    ),
    (
        lambda s, folder: restore(":memory:", s.path),
        ("backup: what is in memory cannot be restored"),
    ),
    (
        lambda s, folder: restore(folder / "gone.db", s.path),
        ("FOLDER/gone.db is not there; give the path of a backup"),
    ),
    (
        lambda s, folder: restore(s.path, s.path),
        ("backup: is the very file that it shall replace"),
    ),
    (
        lambda s, folder: restore(folder, s.path),
        ("FOLDER is a directory; give the path of a file in it"),
    ),
    (
        lambda s, folder: migrate(s.path, target="1"),
        ("target: expected int or None, got str"),
    ),
    (
        lambda s, folder: migrate(s.path, target=99),
        ("target: must be a version from 0 to NEWEST"),
    ),
    (
        lambda s, folder: inside(s, s.close),
        ("close() inside of a transaction: leave it first"),
    ),
    (
        lambda s, folder: backup_in_memory(folder / "copy.db"),
        ("backup() inside of a transaction of this database: leave it first"),
    ),
    (
        lambda s, folder: inside(s, s.compact),
        ("compact() inside of a transaction: leave it first"),
    ),
    (
        lambda s, folder: inside(s, lambda: s.initiatives.purge("I")),
        ("purge() inside of a transaction: leave it first, or use delete()"),
    ),
    (
        lambda s, folder: inside(s, lambda: s.agents.reconcile(bool)),
        ("reconcile() inside of a transaction: leave it first"),
    ),
    (
        lambda s, folder: s.change_sets.create(
            initiative_id="I", entries=[entry | {"action": "update"}]
        ),
        ("item 0: new_state: is missing: only a delete has none"),
    ),
    (
        lambda s, folder: s.tasks._db.insert_many(
            _CREATE_DEPENDENCY, [{"task_id": "T", "depends_on_task_id": "late"}]
        ),
        ("task_dependencies: this would close a cycle; remove the opposite edge first"),
    ),
    (
        lambda s, folder: Store.open(folder / "two names.db"),
        (
            "FOLDER/two names.db has 2 hard links; two names would mean two write-ahead logs and a"
            " corrupt database: keep one name"
        ),
    ),
    (
        lambda s, folder: Store.open("mysql://h/d"),
        ("path: take the path of a file, or postgresql://user@host/database"),
    ),
    (
        lambda s, folder: engine_for("postgresql://h/d", "shell"),
        ("postgresql://h/d: PostgreSQL has tools for that: psql"),
    ),
    (
        lambda s, folder: engine_for("postgresql://h/d", "nothing"),
        ("what takes `nothing` of an engine is not there for PostgreSQL yet"),
    ),
    (
        lambda s, folder: rehearse(folder / "gone.db"),
        ("FOLDER/gone.db is not there: nothing to rehearse on; give the path of a file"),
    ),
]


@pytest.mark.parametrize(("act", "text"), REFUSALS, ids=[text[:50] for _, text in REFUSALS])
def test_an_error_says_what_where_and_what_to_do(
    act: Callable[[Any, Path], object], text: str, s: Any, folder: Path
) -> None:
    with pytest.raises((CwstoreError, FrozenInstanceError)) as refused:
        act(s, folder)
    told = str(refused.value).replace(str(folder), "FOLDER")
    assert told == text.replace("NEWEST", str(s.version))
    if isinstance(refused.value, ConflictError):
        assert (refused.value.reason == "transaction") == ("inside of a transaction" in text)


# None is left out

_SAYS = {"say", "complain", "error", "say_if_possible"}  # what prints; `error` is the parser's
_NOT_FOR_USERS = {"AssertionError"}
_SHORTEST = 8  # characters: less is no sentence


def pieces_of(node: ast.expr) -> list[str]:
    """The text that stands there, cut at each value that is put in; [] if it is no text."""
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.JoinedStr():
            texts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
            return [text for text in texts if isinstance(text, str)]
        case _:
            return []


def messages_of(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Line and pieces of each text that an error is made of, or that is printed."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name in _SAYS or (name.endswith("Error") and name not in _NOT_FOR_USERS):
            for argument in node.args[:2]:
                pieces = [piece.strip(" ,;:") for piece in pieces_of(argument)]
                if sum(map(len, pieces)) >= _SHORTEST and " " in "".join(pieces_of(argument)):
                    yield node.lineno, pieces


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Each text that stands there, and as what it matches if it is a regular expression."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr):
            text = "\0".join(pieces_of(node))
            if len(text) >= _SHORTEST:
                yield text
                if "\\" in text:
                    yield re.sub(r"\\(.)", r"\1", text)


def stands_in(pieces: list[str], text: str) -> bool:
    place = 0
    for piece in pieces:
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True


def test_every_message_is_in_a_test_with_its_full_text() -> None:
    tests = Path(__file__).parent
    told = {
        text
        for file in tests.rglob("*.py")
        for text in texts_of(ast.parse(file.read_text("utf-8")))
    }
    package = Path(cwstore.__file__).parent
    missing = [
        f"{file.relative_to(package)}:{line}: {' … '.join(pieces)}"
        for file in sorted(package.rglob("*.py"))
        for line, pieces in messages_of(ast.parse(file.read_text("utf-8")))
        if not any(stands_in(pieces, text) for text in told)
    ]
    assert missing == []
