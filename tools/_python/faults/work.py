"""What a store is asked for while its disk fails, its power is cut or its process is killed.

`furnish` fills a new store; each action then does one thing to it, with ids that are always the
same. So a file tells by its rows what was done to it.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw

import cwstore
from cwstore.store import Store

Picture = dict[str, list[tuple[Any, ...]]]

DAY = timedelta(days=1)


def furnish(store: Store, chunks: int = 30) -> None:
    """A small plan with agents at work and old logs; one that can be purged."""
    with store.transaction():
        for name in ("kept", "doomed"):
            store.initiatives.create(id=name, name=name)
            for number in range(3):
                phase = f"{name}-{number}"
                store.phases.create(id=phase, initiative_id=name, name=phase, status="in_progress")
                for place in range(3):
                    store.tasks.create(id=f"{phase}-{place}", phase_id=phase, name="task")
            store.pages.create(id=f"{name}-root", initiative_id=name, title=name)
        for number in range(4):
            store.agents.create(id=f"agent-{number}", name=f"agent-{number}", worktree_id="w")
            store.accounts.create(id=f"account-{number}", email=f"{number}@example.org")
        store.agents.update("agent-3", status="stopped")
        store.projects.create(id="project", name="project", url="https://example.org/p")
        store.chat_sessions.create_session("task", "kept-0-0", initiative_id="kept", id="chat")
        store.messages.create(
            id="question",
            sender_type="agent",
            sender_id="agent-0",
            recipient_type="user",
            content="?",
            requires_response=True,
        )
    store.log_chunks.insert_chunks(("agent-3", "three", 1, f"chunk {n}") for n in range(chunks))
    # Longer than a machine sleeps here.
    store.tasks.claim("kept-1-0", agent_id="agent-1", lease=30 * DAY)
    store.tasks.claim("kept-2-0", agent_id="agent-2")


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do with the store in a directory, where it may leave files."""

    name: str
    act: Callable[[Store, Path], object]
    #: It consists of several transactions: part of it may be there.
    in_steps: bool = False


def _over_five(store: Store, _: Path) -> None:
    with store.transaction():
        store.initiatives.create(id="five", name="five")
        store.phases.create(id="five-phase", initiative_id="five", name="five")
        store.tasks.create(id="five-task", phase_id="five-phase", name="five")
        store.agents.create(id="five-agent", name="five", worktree_id="w")
        store.log_chunks.insert_chunks(
            [("five-agent", "five", 1, "a"), ("five-agent", "f", 1, "b")]
        )


def _nested(store: Store, _: Path) -> None:
    with store.transaction():
        store.initiatives.create(id="outer", name="outer")
        try:
            with store.transaction():
                store.initiatives.create(id="undone", name="undone")
                raise KeyError
        except KeyError:
            pass
        with store.transaction():
            store.initiatives.create(id="inner", name="inner")


WRITES = (
    Action("initiatives", lambda s, _: s.initiatives.update("kept", name="renamed")),
    Action("phases", lambda s, _: s.phases.create(id="p", initiative_id="kept", name="p")),
    Action("tasks", lambda s, _: s.tasks.create(id="t", initiative_id="kept", name="t")),
    Action("agents", lambda s, _: s.agents.create(id="a", name="a", worktree_id="w")),
    Action("accounts", lambda s, _: s.accounts.claim_next_available()),
    Action("messages", lambda s, _: s.messages.respond("question", "!", sender_type="user")),
    Action("pages", lambda s, _: s.pages.update("kept-root", content="{}")),
    Action("projects", lambda s, _: s.projects.set_initiative_projects("kept", ["project"])),
    Action(
        "proposals",
        lambda s, _: s.proposals.create(
            id="pr", agent_id="agent-0", initiative_id="kept", target_type="task", title="t"
        ),
    ),
    Action(
        "log_chunks",
        lambda s, _: s.log_chunks.insert_chunk(
            "agent-0", agent_name="zero", session_number=1, content="{}" * 3_000
        ),
    ),
    Action(
        "conversations",
        lambda s, _: s.conversations.create(
            id="c", from_agent_id="agent-0", to_agent_id="agent-1", question="why?"
        ),
    ),
    Action(
        "chat_sessions",
        lambda s, _: s.chat_sessions.create_message("chat", role="user", content="hello"),
    ),
    Action(
        "review_comments",
        lambda s, _: s.review_comments.create(
            phase_id="kept-0", file_path="f", line_number=1, line_type="added", body="b"
        ),
    ),
    Action(
        "change_sets",
        lambda s, _: s.change_sets.create(
            id="cs",
            initiative_id="kept",
            entries=[
                {
                    "entity_type": "page",
                    "entity_id": "p",
                    "action": "create",
                    "new_state": "{}",
                }
            ],
        ),
    ),
)

ACTIONS = (
    *WRITES,
    Action("transaction over five", _over_five),
    Action("nested transactions", _nested),
    Action("claim", lambda s, _: s.tasks.claim("kept-0-0", agent_id="agent-0", lease=DAY)),
    Action("claim next", lambda s, _: s.tasks.claim_next_ready(initiative_id="kept")),
    Action("complete", lambda s, _: s.tasks.complete("kept-1-0", agent_id="agent-1")),
    Action("reconcile", lambda s, _: s.agents.reconcile(lambda _: False), in_steps=True),
    Action("backup", lambda s, place: s.backup(place / "copy.bak")),
    Action("prune", lambda s, _: s.log_chunks.prune(keep_sessions=0), in_steps=True),
    Action("purge", lambda s, _: s.initiatives.purge("doomed"), in_steps=True),
    Action("delete", lambda s, _: s.initiatives.delete("doomed")),
    Action("compact", lambda s, _: s.compact()),
    Action("check", lambda s, _: s.check()),
    Action("stats", lambda s, _: s.stats()),
    Action("read", lambda s, _: s.tasks.find_all()),
)


def _while_listening(store: Store, _: Path) -> None:
    with store.changes() as feed:
        store.initiatives.create(id="heard", name="heard")
        heard = {change.id for change in feed.get()}  # None: something, but nobody knows what
    if not heard & {"heard", None}:
        raise AssertionError(f"heard {heard}")


def _imported(store: Store, _: Path) -> None:
    """The plan that can be purged, under other ids."""
    lines = list(store.export_initiative("doomed", logs=True))
    store.import_initiative(line.replace("doomed", "brought") for line in lines)


#: What else a store can be asked for.
FURTHER = (
    Action("write while somebody listens", _while_listening),
    Action("import", _imported),
    Action("create many", lambda s, _: s.tasks.create_many([{"id": "m", "name": "m"}])),
    Action("dependencies", lambda s, _: s.tasks.create_dependencies([("kept-0-0", "kept-0-1")])),
    Action("move", lambda s, _: s.tasks.move("kept-0-2", phase_id="kept-1")),
    Action("fail", lambda s, _: s.tasks.fail("kept-1-0", agent_id="agent-1", detail="no")),
    Action("extend lease", lambda s, _: s.tasks.extend_lease("kept-2-0", DAY, agent_id="agent-2")),
    Action("expire leases", lambda s, _: s.tasks.expire_leases()),
    Action("query", lambda s, _: s.query("SELECT id FROM tasks")),
    Action("check plan", lambda s, _: s.initiatives.check_plan("kept")),
    Action("health", lambda s, _: s.health()),
)

BY_NAME = {action.name: action for action in (*ACTIONS, *FURTHER)}

#: Rows of a file of the first release, which is migrated.
_OLD_ROWS = """
    INSERT INTO initiatives (id, name, created_at, updated_at) VALUES ('old', 'old', 1, 1);
    INSERT INTO phases (id, initiative_id, name, created_at, updated_at)
    VALUES ('old-phase', 'old', 'p', 2, 2);
    INSERT INTO tasks (id, phase_id, name, created_at, updated_at)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20)
    SELECT 'old-' || i, 'old-phase', 'task ' || i, i, i FROM n;
    INSERT INTO agents (id, name, worktree_id, task_id, status, created_at, updated_at)
    VALUES ('old-agent', 'old', 'w', 'old-1', 'running', 3, 3);
    UPDATE tasks SET status = 'in_progress' WHERE id = 'old-1';
"""


def make_old(file: Path, version: int) -> None:
    """A file of that schema version; from 8 on, where all tables are there, it has rows."""
    cwstore.migrate(file, target=version)
    if version >= 8:
        connection = connect(file)
        connection.execute(_OLD_ROWS)
        connection.close()


# What is in a file


def connect(file: Path) -> Any:
    """A connection of apsw's, whose own types are partly unknown."""
    return apsw.Connection(str(file))


_ID = re.compile(r"[A-Za-z0-9_-]{21}")
_STAMP = 10**14  # microseconds: no other number is as large


def picture_of(file: Path, *, exact: bool = False) -> Picture:
    """All rows by table, and what the engine itself says of the file.

    Unless it shall be `exact`, stamps and random ids are left out: they differ from run to run.
    """
    connection = connect(file)
    try:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        picture: Picture = {"version": connection.execute("PRAGMA user_version").fetchall()}
        for (name,) in names:
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            if not exact:
                if name in {"stamps", "schema_migrations"}:
                    continue
                rows = sorted(tuple(map(_plain, row)) for row in rows)
            picture[str(name)] = rows
        return picture
    finally:
        connection.close()


def _plain(value: object) -> str:
    if isinstance(value, int) and abs(value) > _STAMP:
        return "stamp"
    if isinstance(value, str) and _ID.fullmatch(value):
        return "id"
    return repr(value)


def damage_of(file: Path) -> list[str]:
    """What SQLite finds wrong with it."""
    connection = connect(file)
    try:
        return [
            str(row)
            for text in ("PRAGMA integrity_check", "PRAGMA foreign_key_check")
            for row in connection.execute(text)
            if row != ("ok",)
        ]
    finally:
        connection.close()


def differences(one: Picture, other: Picture) -> Iterator[str]:
    """The tables that are not the same, with a row that only one has."""
    for table in sorted({*one, *other}):
        first, second = one.get(table, []), other.get(table, [])
        if first != second:
            some = [row for row in first if row not in second][:1]
            more = [row for row in second if row not in first][:1]
            yield f"{table}: {len(first)} and {len(second)} rows, as {some} and {more}"


def is_part(less: Picture, more: Picture) -> bool:
    """Whether each table has rows of the other alone."""
    return all(set(rows) <= set(more.get(table, [])) for table, rows in less.items())
