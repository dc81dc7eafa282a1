"""Views, query plans, comments and the two real migrations, on raw apsw."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from typing import Any

import apsw
import pytest

from tests.kits.schema import (
    HEAD,
    MIGRATIONS,
    TABLES,
    add,
    column_name,
    contents,
    database,
    inventory,
    migrate,
    populate,
    rows,
)

ORDER = """
    CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END, sort_order, created_at, id
"""


@pytest.fixture
def db() -> apsw.Connection:
    return database()


# -- views -----------------------------------------------------------------------------------------

INITIATIVE = [None, "active", "pending_review", "completed", "archived"]
PHASE = [None, "pending", "approved", "in_progress", "completed", "blocked"]
TASK = ["pending_approval", "pending", "in_progress", "completed", "blocked"]


def test_a_task_is_ready_exactly_when_nothing_holds_it(db: apsw.Connection) -> None:
    """All 5,400 combinations of states around a task, in one database."""
    add(db, "initiatives", id="owner")
    add(db, "tasks", id="parent", status="blocked")
    for status in INITIATIVE[1:]:
        add(db, "initiatives", id=f"i-{status}", status=status)
    for phase, needed in itertools.product(PHASE[1:], PHASE):
        name = f"p-{phase}-{needed}"
        add(db, "phases", id=name, status=phase, initiative_id="owner")
        # A second dependency, which is met, must not hide the first.
        for other in {needed, "completed"} - {None}:
            add(db, "phases", id=f"{name}-{other}", status=other, initiative_id="owner")
            add(db, "phase_dependencies", phase_id=name, depends_on_phase_id=f"{name}-{other}")
    for status in TASK:
        add(db, "tasks", id=f"needed-{status}", status=status, category="merge")
    db.execute("BEGIN")
    expected: set[str] = set()
    for own, initiative, phase, before, needed in itertools.product(
        TASK, INITIATIVE, PHASE, PHASE, [None, *TASK]
    ):
        task = add(
            db, "tasks", status=own, parent_task_id="parent",
            initiative_id=initiative and f"i-{initiative}",
            phase_id=phase and f"p-{phase}-{before}",
        )  # fmt: skip
        for other in {needed, "completed"} - {None} if needed else ():
            add(db, "task_dependencies", task_id=task, depends_on_task_id=f"needed-{other}")
        if (
            own == "pending"
            and initiative in {None, "active"}
            and (phase is None or phase in {"approved", "in_progress"})
            and (phase is None or before in {None, "completed"})
            and needed in {None, "completed"}
        ):
            expected.add(task)
    found = rows(db, "SELECT id FROM ready_tasks WHERE category <> 'merge'")
    assert len(found) == len(expected) == 2 * (6 + 2 * 2) * 2
    assert set(found) == expected


def test_ready_tasks_are_whole_rows(db: apsw.Connection) -> None:
    add(db, "tasks")
    assert rows(db, "SELECT name FROM pragma_table_info('ready_tasks')") == [
        column_name(token) for token in TABLES["tasks"]
    ]
    assert rows(db, "SELECT * FROM ready_tasks") == rows(db, "SELECT * FROM tasks")


def test_approval_is_the_tasks_then_the_initiatives_then_required(db: apsw.Connection) -> None:
    expected: dict[str, int] = {}
    for own, inherited in itertools.product([None, 0, 1], [None, 0, 1]):
        given: dict[str, Any] = {"requires_approval": own}
        if inherited is not None:
            given["initiative_id"] = add(db, "initiatives", merge_requires_approval=inherited)
        task = add(db, "tasks", **given)
        expected[task] = next(value for value in (own, inherited, 1) if value is not None)
    assert dict(rows(db, "SELECT task_id, requires_approval FROM task_approvals")) == expected
    assert sorted(expected.values()) == [0, 0, 0, 0, 1, 1, 1, 1, 1]


# -- indexes and comments --------------------------------------------------------------------------

PLANS = {
    f"""ready_tasks WHERE initiative_id = :x ORDER BY {ORDER} LIMIT 1
    """: "tasks_ready_of_initiative_ix",
    f"ready_tasks ORDER BY {ORDER} LIMIT 1": "tasks_ready_ix",
    f"ready_tasks WHERE type = :x ORDER BY {ORDER} LIMIT 1": "tasks_ready_ix",
    "task_attempts WHERE task_id = :x ORDER BY number": "task_attempts_task_ix",
    "task_attempts WHERE task_id = :x AND outcome IS NULL": "task_attempts_open_task_ix",
    "task_attempts WHERE agent_id = :x AND outcome IS NULL": "task_attempts_open_agent_ix",
    "task_attempts WHERE lease_until <= :x AND lease_until IS NOT NULL AND outcome IS NULL": (
        "task_attempts_lease_ix"
    ),
    "task_approvals WHERE task_id = :x": "sqlite_autoindex_tasks_1",
    "initiatives WHERE status = :x ORDER BY created_at, id": "initiatives_status_ix",
    "phases WHERE initiative_id = :x ORDER BY created_at, id": "phases_initiative_ix",
    "phase_dependencies WHERE depends_on_phase_id = :x": "phase_dependencies_depends_on_phase_ix",
    "task_dependencies WHERE depends_on_task_id = :x": "task_dependencies_depends_on_task_ix",
    "tasks WHERE phase_id = :x ORDER BY sort_order, created_at, id": "tasks_phase_ix",
    "tasks WHERE initiative_id = :x ORDER BY sort_order, created_at, id": "tasks_initiative_ix",
    "tasks WHERE parent_task_id = :x ORDER BY sort_order, created_at, id": "tasks_parent_task_ix",
    "tasks WHERE status = 'pending_approval' ORDER BY created_at, id": "tasks_pending_approval_ix",
    "agents WHERE task_id = :x ORDER BY created_at, id": "agents_task_ix",
    "agents WHERE session_id = :x ORDER BY created_at DESC, id DESC LIMIT 1": "agents_session_ix",
    "agents WHERE status = :x ORDER BY created_at, id": "agents_status_ix",
    """accounts WHERE provider = :x AND (is_exhausted = 0 OR exhausted_until <= :y)
       ORDER BY last_used_at NULLS FIRST, sort_order, created_at, id LIMIT 1
    """: "accounts_rotation_ix",
    "accounts WHERE provider = :x ORDER BY sort_order, created_at, id": "accounts_provider_ix",
    "accounts WHERE exhausted_until <= :x": "accounts_exhausted_until_ix",
    """messages WHERE recipient_type = 'user' AND status = 'pending' ORDER BY created_at, id
    """: "messages_pending_for_user_ix",
    """messages WHERE requires_response = 1 AND status <> 'responded' ORDER BY created_at, id
    """: "messages_requiring_response_ix",
    """messages WHERE requires_response = 1 AND status <> 'responded' AND recipient_type = :x
       ORDER BY created_at, id
    """: "messages_requiring_response_ix",
    """messages WHERE requires_response = 1 AND status <> 'responded'
       AND recipient_type = 'agent' AND recipient_id = :x ORDER BY created_at, id
    """: "messages_recipient_ix",
    "messages WHERE parent_message_id = :x ORDER BY created_at, id": "messages_parent_message_ix",
    """conversations WHERE to_agent_id = :x AND status = 'pending' ORDER BY created_at, id
    """: "conversations_to_agent_ix",
    """proposals WHERE agent_id = :x AND status = :y ORDER BY sort_order, created_at, id
    """: "proposals_agent_ix",
    """proposals WHERE initiative_id = :x ORDER BY sort_order, created_at, id
    """: "proposals_initiative_ix",
    "pages WHERE initiative_id = :x ORDER BY sort_order, created_at, id": "pages_initiative_ix",
    "pages WHERE parent_page_id = :x ORDER BY sort_order, created_at, id": "pages_parent_page_ix",
    "pages WHERE initiative_id = :x AND parent_page_id IS NULL": "pages_root_ix",
    "change_sets WHERE initiative_id = :x ORDER BY created_at, id": "change_sets_initiative_ix",
    """change_set_entries WHERE change_set_id = :x ORDER BY sort_order, created_at, id
    """: "change_set_entries_change_set_ix",
    """chat_sessions WHERE target_type = :x AND target_id = :y AND status = 'active'
    """: "chat_sessions_active_ix",
    "chat_sessions WHERE target_type = :x AND target_id = :y": "chat_sessions_target_ix",
    """chat_sessions WHERE agent_id = :x AND status = 'active'
       ORDER BY created_at DESC, id DESC LIMIT 1
    """: "chat_sessions_agent_ix",
    """chat_messages WHERE chat_session_id = :x ORDER BY created_at, id
    """: "chat_messages_chat_session_ix",
    """review_comments WHERE phase_id = :x ORDER BY file_path, line_number, created_at, id
    """: "review_comments_phase_ix",
    "agent_log_chunks WHERE agent_id = :x AND seq > :y ORDER BY seq": "agent_log_chunks_agent_ix",
    """agent_log_chunks WHERE agent_id = :x AND session_number = :y AND seq > :z ORDER BY seq
    """: "agent_log_chunks_session_ix",
    """messages WHERE recipient_id IS NOT DISTINCT FROM :x AND recipient_type = :y
       ORDER BY created_at, id
    """: "messages_recipient_ix",
    """messages WHERE sender_id IS NOT DISTINCT FROM :x AND sender_type = :y
       ORDER BY created_at, id
    """: "messages_sender_ix",
    """conversations WHERE from_agent_id = :x ORDER BY created_at, id
    """: "conversations_from_agent_ix",
    "conversations WHERE task_id = :x ORDER BY created_at, id": "conversations_task_ix",
    """tasks WHERE status = :x AND status <> 'pending' ORDER BY sort_order, created_at, id
    """: "tasks_status_ix",
    """tasks WHERE status = :x AND initiative_id = :y ORDER BY sort_order, created_at, id
    """: "tasks_initiative_ix",
    **{f"{table} ORDER BY created_at, id": f"{table}_created_ix" for table in (
        "initiatives", "phases", "tasks", "agents", "messages", "pages", "proposals",
    )},
    "accounts ORDER BY sort_order, created_at, id": "accounts_order_ix",
    "projects ORDER BY name": "sqlite_autoindex_projects_2",
}  # fmt: skip


def plan(db: apsw.Connection, sql: str) -> list[str]:
    binds: defaultdict[str, None] = defaultdict(lambda: None)
    return [str(row[3]) for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", binds).fetchall()]


@pytest.mark.parametrize("query", PLANS)
def test_a_hot_list_walks_its_index(db: apsw.Connection, query: str) -> None:
    steps = plan(db, f"SELECT * FROM {query}")
    assert f"INDEX {PLANS[query]}" in steps[0]
    assert [step for step in steps if "TEMP B-TREE" in step or "MATERIALIZE" in step] == []
    assert [step for step in steps if step.startswith("SCAN") and "INDEX" not in step] == []


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("max(last_used_at) FROM accounts WHERE provider = :x", "accounts_rotation_ix"),
        ("max(session_number) FROM agent_log_chunks WHERE agent_id = :x",
         "agent_log_chunks_session_ix"),
    ],
)  # fmt: skip
def test_a_maximum_is_one_seek(db: apsw.Connection, query: str, index: str) -> None:
    (step,) = plan(db, f"SELECT {query}")
    assert "SEARCH" in step
    assert f"COVERING INDEX {index}" in step


def test_every_foreign_key_is_found_by_an_index(db: apsw.Connection) -> None:
    keys = [
        (table, child)
        for table in TABLES
        for child in rows(db, 'SELECT "from" FROM pragma_foreign_key_list(:t)', t=table)
    ]
    assert len(keys) == 38
    for table, child in keys:
        (step,) = plan(db, f"SELECT 1 FROM {table} WHERE {child} = :x")
        assert step.startswith("SEARCH"), step
        assert f"({child}=?)" in step


def test_every_index_says_whom_it_serves() -> None:
    index = re.compile(r"((?:^--.*\n)*)^CREATE (?:UNIQUE )?INDEX (\w+)", re.MULTILINE)
    found = {
        name: comment for path in MIGRATIONS for comment, name in index.findall(path.read_text())
    }
    assert set(found) == {
        name for name, sql in inventory(database()).items() if re.match(r"CREATE.* INDEX", sql)
    }
    assert [name for name in found if not re.search(r"Serves [a-z_]+\.[a-z_]+", found[name])] == []


def test_every_nullable_column_says_what_null_means(db: apsw.Connection) -> None:
    for table, tokens in TABLES.items():
        # A comment may go on in the lines below its column.
        text = re.sub(r"\n +-- ", " ", inventory(db)[table])
        for token in tokens:
            name = column_name(token)
            line = next(line for line in text.splitlines() if line.strip().startswith(name + " "))
            assert ("NULL: " in line) == ("?" in token and name != "seq"), (table, line)


# -- the real migrations ---------------------------------------------------------------------------


def test_rebuilding_tasks_loses_nothing() -> None:
    db = database(9)
    populate(db)
    rows_before, texts_before = contents(db), inventory(db)
    migrate(db, 10, 10)
    assert contents(db) == rows_before
    texts = inventory(db)
    assert {name for name in texts | texts_before if texts.get(name) != texts_before.get(name)} == {
        "tasks"
    }
    assert texts["tasks"] == texts_before["tasks"].replace(
        "CREATE TABLE tasks", 'CREATE TABLE "tasks"'
    ).replace("ON DELETE SET NULL,       --", "ON DELETE CASCADE,        --")
    assert "tasks_rebuilt" not in "".join(texts.values())
    assert rows(db, "PRAGMA integrity_check") == ["ok"]


def test_subtasks_go_with_their_task_only_since_the_rebuild() -> None:
    db = database(9)
    for name, parent in [("a", None), ("b", "a"), ("c", "b")]:
        add(db, "tasks", id=name, parent_task_id=parent)
    db.execute("DELETE FROM tasks WHERE id = 'a'")
    assert rows(db, "SELECT id, parent_task_id FROM tasks ORDER BY id") == [
        ("b", None),
        ("c", "b"),
    ]
    migrate(db, 10, HEAD)
    db.execute("DELETE FROM tasks WHERE id = 'b'")
    assert rows(db, "SELECT id FROM tasks") == []


def test_refine_is_known_since_the_last_migration() -> None:
    db = database(10)
    populate(db)
    before = contents(db)
    for table, column in [("tasks", "category"), ("agents", "mode")]:
        with pytest.raises(apsw.ConstraintError, match=f"{table}_{column}_ck"):
            add(db, table, **{column: "refine"})
    migrate(db, 11, 11)
    assert contents(db) == before
    for table, column in [("tasks", "category"), ("agents", "mode")]:
        stored = add(db, table, **{column: "refine"})
        assert rows(db, f"SELECT {column} FROM {table} WHERE id = :id", id=stored) == ["refine"]
        with pytest.raises(apsw.ConstraintError, match=f"{table}_{column}_ck"):
            add(db, table, **{column: "polish"})


def test_only_those_that_older_code_can_live_with_claim_to_be_compatible() -> None:
    claims = {
        path.name[:4]: path.read_text().splitlines()[0]
        for path in MIGRATIONS
        if "compatible-with:" in path.read_text()
    }
    assert claims == {"0010": "-- compatible-with: 9", "0017": "-- compatible-with: 16"}
