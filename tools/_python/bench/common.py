"""What the adapters share: ids, stamps, and the SQL that a user would write by hand.

Binds are positional. An adapter's process imports no more than it needs, since W10 times that; so
this file imports next to nothing.
"""

from binascii import b2a_base64
from os import urandom
from time import time_ns
from typing import Any

URL_SAFE = bytes.maketrans(b"+/", b"-_")

TASK_COLUMNS = (
    "id, phase_id, initiative_id, parent_task_id, name, description, type, category, priority,"
    " status, requires_approval, sort_order, summary, created_at, updated_at"
)
_TASK_NAMES = TASK_COLUMNS.split(", ")[:-2]  # but for the two stamps
ACCOUNT_COLUMNS = (
    "id, email, provider, config_json, credentials, is_exhausted, exhausted_until, last_used_at,"
    " sort_order, created_at, updated_at"
)
CONVERSATION_COLUMNS = (
    "id, from_agent_id, to_agent_id, initiative_id, phase_id, task_id, question, answer, status,"
    " created_at, updated_at"
)

#: One connection's settings, as cwstore has them, that every SQLite since 3.40 has. (With
#: trusted_schema off, 3.40 refuses json_valid() in a CHECK.)
PRAGMAS = (
    "PRAGMA cache_size = -16000",
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA secure_delete = FAST",
    "PRAGMA synchronous = NORMAL",
)

BEGIN = "BEGIN IMMEDIATE"

INSERT_TASK = f"INSERT INTO tasks ({TASK_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
CREATE_TASK = f"{INSERT_TASK} RETURNING {TASK_COLUMNS}"
FIND_TASK = f"SELECT {TASK_COLUMNS} FROM tasks WHERE id = ?"
PHASE_TASKS = (
    f"SELECT {TASK_COLUMNS} FROM tasks WHERE phase_id = ? ORDER BY sort_order, created_at, id"
)
ALL_TASKS = f"SELECT {TASK_COLUMNS} FROM tasks ORDER BY created_at, id"
PAGE = 50
NEXT_TASKS = (
    f"SELECT {TASK_COLUMNS} FROM tasks"
    " WHERE (created_at, id) > (SELECT created_at, id FROM tasks WHERE id = ?)"
    f" ORDER BY created_at, id LIMIT {PAGE}"
)
SET_STATUS = f"UPDATE tasks SET status = ?, updated_at = ? WHERE id = ? RETURNING {TASK_COLUMNS}"
#: Which tasks are ready, as it is written where there is no view.
READY = (
    "status = 'pending' AND type = 'auto'"
    " AND NOT EXISTS (SELECT 1 FROM initiatives"
    " WHERE initiatives.id = tasks.initiative_id AND initiatives.status <> 'active')"
    " AND NOT EXISTS (SELECT 1 FROM phases WHERE phases.id = tasks.phase_id"
    " AND phases.status <> 'approved' AND phases.status <> 'in_progress')"
    " AND NOT EXISTS (SELECT 1 FROM phase_dependencies AS edge"
    " JOIN phases AS needed ON needed.id = edge.depends_on_phase_id"
    " WHERE edge.phase_id = tasks.phase_id AND needed.status <> 'completed')"
    " AND NOT EXISTS (SELECT 1 FROM task_dependencies AS edge"
    " JOIN tasks AS needed ON needed.id = edge.depends_on_task_id"
    " WHERE edge.task_id = tasks.id AND needed.status <> 'completed')"
)
MOST_URGENT = (
    "ORDER BY CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,"
    " sort_order, created_at, id"
)
READY_TASKS = f"SELECT {TASK_COLUMNS} FROM tasks WHERE initiative_id = ? AND {READY} {MOST_URGENT}"
APPEND = (
    "INSERT INTO agent_log_chunks (id, agent_id, agent_name, session_number, content, created_at)"
    " VALUES (?,?,?,?,?,?)"
)
POLL = (
    f"SELECT {CONVERSATION_COLUMNS} FROM conversations"
    " WHERE to_agent_id = ? AND status = 'pending' ORDER BY created_at, id"
)
CLAIM_ACCOUNT = (
    "UPDATE accounts SET last_used_at = ?1, updated_at = ?1 WHERE id ="
    " (SELECT id FROM accounts WHERE provider = ?2 AND (is_exhausted = 0 OR exhausted_until <= ?1)"
    " ORDER BY last_used_at NULLS FIRST, sort_order, created_at, id LIMIT 1)"
    f" RETURNING {ACCOUNT_COLUMNS}"
)
#: A claim as people write it: the agent's column says who holds the task.
CLAIM_TASK = (
    "UPDATE tasks SET status = 'in_progress', updated_at = ?1 WHERE id ="
    f" (SELECT id FROM tasks WHERE initiative_id = ?2 AND {READY} {MOST_URGENT} LIMIT 1)"
    f" RETURNING {TASK_COLUMNS}"
)
GIVE_TASK = "UPDATE agents SET task_id = ?1, updated_at = ?2 WHERE id = ?3"
COMPLETE_TASK = (
    "UPDATE tasks SET status = 'completed', summary = ?1, updated_at = ?2"
    " WHERE id = ?3 AND status = 'in_progress'"
    " AND EXISTS (SELECT 1 FROM agents WHERE id = ?4 AND task_id = tasks.id)"
    f" RETURNING {TASK_COLUMNS}"
)
SUMMARY = "Moved the check before the write; the old message is kept."
INSERT_INITIATIVE = (
    "INSERT INTO initiatives (id, name, status, merge_requires_approval, branch, created_at,"
    " updated_at) VALUES (?,?,?,?,?,?,?)"
)
INSERT_PHASE = (
    "INSERT INTO phases (id, initiative_id, name, content, status, created_at, updated_at)"
    " VALUES (?,?,?,?,?,?,?)"
)
INSERT_EDGE = "INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (?,?)"


def now() -> int:
    """Microseconds since 1970."""
    return time_ns() // 1000


def make_id() -> str:
    """21 URL-safe characters of 126 random bits, in the cheapest way known."""
    return b2a_base64(urandom(16)).translate(URL_SAFE)[:21].decode()


def task_values(id: str, name: str, phase_id: str, initiative_id: str, text: str) -> list[object]:
    """The binds of INSERT_TASK but for the two stamps."""
    return [
        *(id, phase_id, initiative_id, None, name, text),
        *("auto", "execute", "medium", "pending", None, 0, None),
    ]


def task_row(name: str, phase_id: str, initiative_id: str, text: str) -> dict[str, Any]:
    """A new row of `tasks` but for the two stamps."""
    values = task_values(make_id(), name, phase_id, initiative_id, text)
    return dict(zip(_TASK_NAMES, values, strict=True))


def chunk_row(agent_id: str, name: str, session: int, content: str) -> dict[str, Any]:
    """A new row of `agent_log_chunks` but for the stamp."""
    return {
        "id": make_id(),
        "agent_id": agent_id,
        "agent_name": name,
        "session_number": session,
        "content": content,
    }
