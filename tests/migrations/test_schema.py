"""Tables, columns, checks and owners: what all migrations together leave behind, on raw apsw."""

from __future__ import annotations

import re
from typing import Any

import apsw
import pytest

from tests.kits.schema import (
    INTERNAL,
    JUNCTIONS,
    KEPT_BY_TRIGGERS,
    SPECIFIED,
    TABLES,
    WITHOUT_ROWID,
    add,
    code,
    column_name,
    contents,
    database,
    inventory,
    populate,
    rows,
)

ENUMS = {
    "initiatives.status": "active pending_review completed archived",
    "phases.status": "pending approved in_progress completed blocked",
    "tasks.type": "auto checkpoint:human-verify checkpoint:decision checkpoint:human-action",
    "tasks.category": "execute research discuss plan detail refine verify merge review",
    "tasks.priority": "low medium high",
    "tasks.status": "pending_approval pending in_progress completed blocked",
    "task_attempts.outcome": "completed released failed lost",
    "agents.status": "idle running waiting_for_input stopped crashed",
    "agents.mode": "execute discuss plan detail refine",
    "proposals.target_type": "page phase task",
    "proposals.status": "pending accepted dismissed",
    "messages.sender_type": "agent user",
    "messages.recipient_type": "agent user",
    "messages.type": "question info error response",
    "messages.status": "pending read responded",
    "conversations.status": "pending answered",
    "change_sets.status": "applied reverted",
    "change_set_entries.entity_type": "page phase task phase_dependency task_dependency",
    "change_set_entries.action": "create update delete",
    "chat_sessions.target_type": "phase task",
    "chat_sessions.status": "active closed",
    "chat_messages.role": "user assistant system",
    "review_comments.line_type": "added removed context",
}


@pytest.fixture
def db() -> apsw.Connection:
    return database()


def stored_checks(db: apsw.Connection) -> list[tuple[str, str]]:
    """(table, name of a CHECK) of all tables; the name is empty if it has none."""
    return [
        (table, name)
        for table in TABLES
        for name in re.findall(r"(?:CONSTRAINT (\w+)\s+)?CHECK\b", inventory(db)[table])
    ]


# -- the tables ------------------------------------------------------------------------------------


def test_the_tables_are_those_of_the_specification_and_those_that_the_store_has_for_itself(
    db: apsw.Connection,
) -> None:
    found = rows(db, "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    stored = {name for name in found if not name.startswith("sqlite_")}
    assert stored - INTERNAL.keys() == set(SPECIFIED)
    assert stored - SPECIFIED.keys() == set(INTERNAL)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_columns_that_are_listed(db: apsw.Connection, table: str) -> None:
    parents = {
        child: (parent, action)
        for child, parent, action in rows(
            db, 'SELECT "from", "table", on_delete FROM pragma_foreign_key_list(:t)', t=table
        )
    }
    found: list[str] = []
    for name, kind, notnull, default in rows(
        db, 'SELECT name, type, "notnull", dflt_value FROM pragma_table_info(:t)', t=table
    ):
        token = name + {"TEXT": "", "INTEGER": "#"}[kind] + ("" if notnull else "?")
        token += "" if default is None else f"={default}"
        if name in parents:
            token += ">{}:{}".format(parents[name][0], parents[name][1].replace(" ", "_"))
        found.append(token)
    assert found == TABLES[table]


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_strict_and_has_the_right_key(db: apsw.Connection, table: str) -> None:
    keys = rows(db, "SELECT name FROM pragma_table_info(:t) WHERE pk > 0 ORDER BY pk", t=table)
    names = [column_name(token) for token in TABLES[table]]
    if table in JUNCTIONS:
        assert keys == names
    elif table in KEPT_BY_TRIGGERS:
        assert keys == names[:1]
    else:
        assert keys == (["seq"] if table == "agent_log_chunks" else ["id"])
    assert rows(db, "SELECT strict, wr FROM pragma_table_list WHERE name = :t", t=table) == [
        (1, int(table in WITHOUT_ROWID))
    ]


def test_log_cursors_are_never_used_twice(db: apsw.Connection) -> None:
    add(db, "agent_log_chunks", id="one")
    db.execute("DELETE FROM agent_log_chunks")
    add(db, "agent_log_chunks", id="two")
    assert rows(db, "SELECT seq FROM agent_log_chunks") == [2]


@pytest.mark.parametrize(
    ("table", "same"),
    [
        ("projects", {"name": "x"}),
        ("projects", {"url": "x"}),
        ("agents", {"name": "x"}),
        ("agent_log_chunks", {"id": "x"}),
        ("pages", {"initiative_id": "i", "parent_page_id": None}),
        ("chat_sessions", {"target_type": "task", "target_id": "t"}),
        ("task_attempts", {"task_id": "t", "number": 1, "outcome": "lost", "ended_at": 9}),
        ("task_attempts", {"task_id": "t"}),
        ("task_attempts", {"agent_id": "a"}),
    ],
)
def test_a_second_of_what_is_unique_is_refused(
    db: apsw.Connection, table: str, same: dict[str, Any]
) -> None:
    add(db, "initiatives", id="i")
    add(db, "agents", id="a")
    for task in ("t", "t2", "t3") if table == "task_attempts" else ():
        add(db, "tasks", id=task)
    # Of the open attempts of one agent each is at another task.
    other = {"task_id": "t2"} if "agent_id" in same else {}
    add(db, table, **other, **same)
    with pytest.raises(apsw.ConstraintError, match=f"UNIQUE constraint failed: {table}.") as error:
        add(db, table, **same)
    assert code(error.value) == apsw.SQLITE_CONSTRAINT_UNIQUE


def test_closed_sessions_and_other_pages_do_not_count_as_a_second(db: apsw.Connection) -> None:
    add(db, "initiatives", id="i")
    for status in ("closed", "closed", "active"):
        add(db, "chat_sessions", target_id="t", status=status)
    add(db, "chat_sessions", target_id="t", target_type="phase")
    root = add(db, "pages")
    add(db, "pages", parent_page_id=root)
    add(db, "pages", parent_page_id=root)


def test_attempts_that_ended_and_those_of_nobody_named_do_not_count_as_a_second(
    db: apsw.Connection,
) -> None:
    add(db, "agents", id="a")
    for task in ("t", "t2", "t3"):
        add(db, "tasks", id=task)
    for outcome in ("lost", "failed"):
        add(db, "task_attempts", agent_id="a", outcome=outcome, ended_at=1)
    add(db, "task_attempts", agent_id="a")
    add(db, "task_attempts", task_id="t2")
    add(db, "task_attempts", task_id="t3")


# -- checks ----------------------------------------------------------------------------------------


def test_every_check_is_named_after_its_table(db: apsw.Connection) -> None:
    found = stored_checks(db)
    assert [
        pair for pair in found if not (pair[1].startswith(pair[0] + "_") and pair[1][-3:] == "_ck")
    ] == []
    assert len(found) == len(set(found)) > 60


SHAPES: list[tuple[str, dict[str, Any]]] = [
    ("phase_dependencies_itself_ck", {"phase_id": "p", "depends_on_phase_id": "p"}),
    ("task_dependencies_itself_ck", {"task_id": "t", "depends_on_task_id": "t"}),
    ("tasks_itself_ck", {"id": "x", "parent_task_id": "x"}),
    ("pages_itself_ck", {"id": "x", "parent_page_id": "x"}),
    ("task_attempts_number_ck", {"number": 0}),
    ("task_attempts_outcome_ck", {"outcome": "done", "ended_at": 1}),
    ("task_attempts_ended_at_ck", {"outcome": "lost"}),
    ("task_attempts_ended_at_ck", {"ended_at": 1}),
    ("accounts_exhausted_until_ck", {"exhausted_until": 9}),
    ("messages_sender_ck", {"sender_type": "user", "sender_id": "a"}),
    ("messages_recipient_ck", {"recipient_type": "user", "recipient_id": "a"}),
    ("conversations_answered_ck", {"status": "answered"}),
    ("conversations_answered_ck", {"answer": "yes"}),
    ("change_set_entries_states_ck", {"previous_state": "{}"}),
    ("change_set_entries_states_ck", {"new_state": None}),
    ("change_set_entries_states_ck", {"action": "delete", "previous_state": "{}"}),
    ("change_set_entries_states_ck", {"action": "delete", "new_state": None}),
    ("change_set_entries_states_ck", {"action": "update"}),
    ("change_set_entries_states_ck", {"action": "update", "new_state": None}),
    ("review_comments_line_number_ck", {"line_number": 0}),
    ("agent_log_chunks_session_number_ck", {"session_number": 0}),
    ("task_levels_level_ck", {"level": 0}),
    ("phase_levels_level_ck", {"level": 0}),
    ("agent_log_sessions_last_session_number_ck", {"last_session_number": 0}),
]  # fmt: skip


def wrong_values(db: apsw.Connection) -> list[tuple[str, str, dict[str, Any]]]:
    """(table, CHECK, what it must refuse): SHAPES, and '' or -1 for a check of one column."""
    shapes = {name for name, _ in SHAPES}
    owner = {name: table for table, name in stored_checks(db)}
    found = [(owner[name], name, given) for name, given in SHAPES]
    for table, name in stored_checks(db):
        column = name.removeprefix(table + "_").removesuffix("_ck")
        tokens = {column_name(token): token for token in TABLES[table]}
        if name not in shapes:
            found.append((table, name, {column: -1 if "#" in tokens[column] else ""}))
            if column in {"content", "metadata", "result", "config_json", "credentials"}:
                found.append((table, name, {column: "{'a': 1}"}))
            elif "#" in tokens[column]:
                found.append((table, name, {column: 2}))
    return found


def test_every_check_refuses_what_it_is_for(db: apsw.Connection) -> None:
    db.pragma("foreign_keys", False)
    seen: set[str] = set()
    for table, name, given in wrong_values(db):
        with pytest.raises(apsw.ConstraintError) as error:
            add(db, table, **given)
        assert str(error.value) == f"CHECK constraint failed: {name}", (table, given)
        seen.add(name)
    assert seen == {name for _, name in stored_checks(db)}


@pytest.mark.parametrize("field", ENUMS)
def test_an_enum_has_the_values_of_the_specification(db: apsw.Connection, field: str) -> None:
    table, column = field.split(".")
    values = rf"{column} = [^)]*|{column} IN \([^)]*\)"
    check = rf"CONSTRAINT {table}_{column}_ck\s+CHECK \(\s*({values})\s*\)"
    listed = re.search(check, inventory(db)[table])
    assert listed
    assert re.findall(r"'([^']*)'", listed[1]) == ENUMS[field].split()


@pytest.mark.parametrize(
    ("table", "given"),
    [
        ("accounts", {"is_exhausted": 1, "exhausted_until": 9}),
        ("accounts", {"is_exhausted": 1}),
        ("messages", {"sender_type": "agent", "recipient_type": "agent"}),
        ("conversations", {"status": "answered", "answer": ""}),
        ("task_attempts", {"outcome": "lost", "ended_at": 9, "detail": ""}),
        ("task_attempts", {"task_id": "t2", "lease_until": None}),
        ("change_set_entries", {"action": "delete", "previous_state": "1", "new_state": None}),
        ("change_set_entries", {"action": "update", "previous_state": "1", "new_state": "null"}),
    ],
)
def test_the_other_shapes_of_a_row_are_accepted(
    db: apsw.Connection, table: str, given: dict[str, Any]
) -> None:
    populate(db)
    stored = add(db, table, **given)
    names = ", ".join(given)
    assert db.execute(f"SELECT {names} FROM {table} WHERE id = ?", (stored,)).fetchall() == [
        tuple(given.values())
    ]


# -- owners and orphans ----------------------------------------------------------------------------


def test_agents_can_be_deleted_with_mail_and_change_sets(db: apsw.Connection) -> None:
    populate(db)
    db.execute("DELETE FROM agents")
    assert rows(db, "SELECT sender_type, sender_id, recipient_id FROM messages ORDER BY 1") == [
        ("agent", None, None),
        ("user", None, None),
    ]
    assert rows(db, "SELECT agent_id FROM change_sets") == [None]
    assert rows(db, "SELECT count(*) FROM agent_log_chunks") == [1]
    assert rows(db, "SELECT count(*) FROM conversations") == [0]


def test_an_initiative_takes_along_all_that_it_owns(db: apsw.Connection) -> None:
    populate(db)
    db.execute("DELETE FROM initiatives")
    left = {table for table, found in contents(db).items() if found}
    assert left == {
        "projects",
        "accounts",
        "agents",
        "messages",
        "conversations",
        "agent_log_chunks",
        "agent_log_sessions",
        "readiness",
        "stamps",
    }
    assert rows(db, "SELECT initiative_id, phase_id, task_id FROM conversations") == [
        (None, None, None)
    ]


@pytest.mark.parametrize(
    ("target_type", "target_id", "delete"),
    [
        ("task", "t3", "tasks WHERE id = 't3'"),
        ("task", "t3", "tasks WHERE id = 't'"),
        ("task", "t3", "phases WHERE id = 'p'"),
        ("task", "t3", "initiatives"),
        ("phase", "p2", "phases WHERE id = 'p2'"),
        ("phase", "p2", "initiatives WHERE id = 'i'"),
    ],
)
def test_chat_sessions_go_with_their_target(
    db: apsw.Connection, target_type: str, target_id: str, delete: str
) -> None:
    populate(db)
    db.execute("DELETE FROM chat_sessions")
    # The sessions belong to another initiative, so that only their target can take them along.
    add(db, "initiatives", id="other")
    add(db, "tasks", id="kept")
    for status in ("active", "closed"):
        session = add(db, "chat_sessions", target_type=target_type, target_id=target_id,
                      status=status, initiative_id="other")  # fmt: skip
        add(db, "chat_messages", chat_session_id=session)
    kept = add(db, "chat_sessions", target_id="kept", initiative_id="other")
    twin = add(db, "chat_sessions", target_id=target_id, initiative_id="other",
               target_type="phase" if target_type == "task" else "task")  # fmt: skip
    db.execute(
        f"DELETE FROM {delete}" if "WHERE" in delete else "DELETE FROM initiatives WHERE id = 'i'"
    )
    assert rows(db, "SELECT id FROM chat_sessions ORDER BY id") == sorted([kept, twin])
    assert rows(db, "SELECT id FROM chat_messages") == []
