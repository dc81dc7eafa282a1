"""Every list of every repository, on a file in which each has several rows and many ties."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cwstore.store import Store
from tests.kits.database import open_at, tamper

#: A list of the world, with the arguments of a page.
List = Callable[..., list[Any]]

LISTS: dict[str, Callable[[Store], List]] = {
    "accounts.find_all": lambda s: s.accounts.find_all,
    "accounts.find_by_provider": lambda s: lambda **p: s.accounts.find_by_provider("claude", **p),
    "agents.find_all": lambda s: s.agents.find_all,
    "agents.find_by_status": lambda s: lambda **p: s.agents.find_by_status("idle", **p),
    "agents.find_by_task_id": lambda s: lambda **p: s.agents.find_by_task_id("t0", **p),
    "change_sets.find_by_initiative_id": (
        lambda s: lambda **p: s.change_sets.find_by_initiative_id("i0", **p)
    ),
    "change_sets.find_entries": lambda s: lambda **p: s.change_sets.find_entries("c0", **p),
    "chat_sessions.find_messages_by_session_id": (
        lambda s: lambda **p: s.chat_sessions.find_messages_by_session_id("s0", **p)
    ),
    "chat_sessions.find_sessions": (
        lambda s: lambda **p: s.chat_sessions.find_sessions("task", "t0", **p)
    ),
    "conversations.find_by_from_agent_id": (
        lambda s: lambda **p: s.conversations.find_by_from_agent_id("a0", **p)
    ),
    "conversations.find_by_task_id": (
        lambda s: lambda **p: s.conversations.find_by_task_id("t0", **p)
    ),
    "conversations.find_pending_for_agent": (
        lambda s: lambda **p: s.conversations.find_pending_for_agent("a1", **p)
    ),
    "initiatives.find_all": lambda s: s.initiatives.find_all,
    "initiatives.find_by_status": lambda s: lambda **p: s.initiatives.find_by_status("active", **p),
    "log_chunks.find_by_agent_id": lambda s: lambda **p: s.log_chunks.find_by_agent_id("a0", **p),
    "log_chunks.find_by_agent_id, a session": (
        lambda s: lambda **p: s.log_chunks.find_by_agent_id("a0", session_number=2, **p)
    ),
    "messages.find_all": lambda s: s.messages.find_all,
    "messages.find_by_sender": lambda s: lambda **p: s.messages.find_by_sender("user", **p),
    "messages.find_by_sender, an agent": (
        lambda s: lambda **p: s.messages.find_by_sender("agent", "a0", **p)
    ),
    "messages.find_by_sender, agents": lambda s: (
        lambda **p: s.messages.find_by_sender("agent", **p)
    ),
    "messages.find_for_recipient": lambda s: lambda **p: s.messages.find_for_recipient("user", **p),
    "messages.find_for_recipient, pending": (
        lambda s: lambda **p: s.messages.find_for_recipient("user", status="pending", **p)
    ),
    "messages.find_for_recipient, an agent": (
        lambda s: lambda **p: s.messages.find_for_recipient("agent", "a0", **p)
    ),
    "messages.find_for_recipient, agents": (
        lambda s: lambda **p: s.messages.find_for_recipient("agent", **p)
    ),
    "messages.find_for_recipient, agents, pending": (
        lambda s: lambda **p: s.messages.find_for_recipient("agent", status="pending", **p)
    ),
    "messages.find_pending_for_user": lambda s: s.messages.find_pending_for_user,
    "messages.find_replies": lambda s: lambda **p: s.messages.find_replies("m0", **p),
    "messages.find_requiring_response": lambda s: s.messages.find_requiring_response,
    "messages.find_requiring_response, user": (
        lambda s: lambda **p: s.messages.find_requiring_response(recipient_type="user", **p)
    ),
    "messages.find_requiring_response, id": (
        lambda s: lambda **p: s.messages.find_requiring_response(recipient_id="a0", **p)
    ),
    "messages.find_requiring_response, both": (
        lambda s: (
            lambda **p: s.messages.find_requiring_response(
                recipient_type="agent", recipient_id="a0", **p
            )
        )
    ),
    "pages.find_all": lambda s: s.pages.find_all,
    "pages.find_by_initiative_id": lambda s: lambda **p: s.pages.find_by_initiative_id("i0", **p),
    "pages.find_by_parent_page_id": (
        lambda s: lambda **p: s.pages.find_by_parent_page_id("root", **p)
    ),
    "phases.find_all": lambda s: s.phases.find_all,
    "phases.find_by_initiative_id": lambda s: lambda **p: s.phases.find_by_initiative_id("i0", **p),
    "projects.find_all": lambda s: s.projects.find_all,
    "projects.find_projects_by_initiative_id": (
        lambda s: lambda **p: s.projects.find_projects_by_initiative_id("i0", **p)
    ),
    "proposals.find_all": lambda s: s.proposals.find_all,
    "proposals.find_by_agent_id": lambda s: lambda **p: s.proposals.find_by_agent_id("a0", **p),
    "proposals.find_by_agent_id_and_status": (
        lambda s: lambda **p: s.proposals.find_by_agent_id_and_status("a0", "pending", **p)
    ),
    "proposals.find_by_initiative_id": (
        lambda s: lambda **p: s.proposals.find_by_initiative_id("i0", **p)
    ),
    "review_comments.find_by_phase_id": (
        lambda s: lambda **p: s.review_comments.find_by_phase_id("p0", **p)
    ),
    "tasks.find_all": lambda s: s.tasks.find_all,
    "tasks.find_attempts": lambda s: lambda **p: s.tasks.find_attempts("tried", **p),
    "tasks.find_by_initiative_id": lambda s: lambda **p: s.tasks.find_by_initiative_id("i0", **p),
    "tasks.find_by_parent_task_id": lambda s: lambda **p: s.tasks.find_by_parent_task_id("t0", **p),
    "tasks.find_by_phase_id": lambda s: lambda **p: s.tasks.find_by_phase_id("p0", **p),
    "tasks.find_by_status": lambda s: lambda **p: s.tasks.find_by_status("pending", **p),
    "tasks.find_by_status, an initiative": (
        lambda s: lambda **p: s.tasks.find_by_status("pending", "i0", **p)
    ),
    "tasks.find_open_attempts": lambda s: s.tasks.find_open_attempts,
    "tasks.find_pending_approval": lambda s: s.tasks.find_pending_approval,
    "tasks.find_ready": lambda s: s.tasks.find_ready,
    "tasks.find_ready, an initiative": (
        lambda s: lambda **p: s.tasks.find_ready(initiative_id="i0", **p)
    ),
    "tasks.find_ready, some": lambda s: lambda **p: s.tasks.find_ready(**_SOME, **p),
    "tasks.find_ready, some of an initiative": (
        lambda s: lambda **p: s.tasks.find_ready(initiative_id="i0", **_SOME, **p)
    ),
}

_SOME: Any = {"types": ["auto", "checkpoint:decision"], "categories": ["execute", "plan"]}

_TIED = (
    *("accounts", "agents", "change_set_entries", "change_sets", "chat_messages", "chat_sessions"),
    *("conversations", "initiatives", "messages", "pages", "phases", "proposals"),
    *("review_comments", "task_attempts", "tasks"),
)


def fill_lists(file: Path) -> None:
    """Make rows of every table. Of each table a good part has the same `created_at`."""
    with open_at(file) as store, store.transaction():
        _plan(store)
        for number in range(8):
            _people(store, number)
            _talk(store, number)
    for table in _TIED:
        tamper(
            file,
            f"UPDATE {table} SET created_at = 5 WHERE id IN"
            f" (SELECT id FROM {table} ORDER BY created_at LIMIT 1000000 OFFSET 2)",
        )


def _plan(store: Store) -> None:
    for number in range(8):
        store.initiatives.create(name="x", id=f"i{number}", status=_other(number, "active"))
        store.phases.create(initiative_id=f"i{number // 6}", name="x", id=f"p{number}")
    for number in range(16):
        store.tasks.create(
            name="x",
            id=f"t{number}",
            phase_id="p0" if number % 3 else None,
            initiative_id="i0",
            parent_task_id="t0" if number % 5 > 1 else None,
            status="pending" if number % 2 else "pending_approval",
            sort_order=number % 4 - 1,
        )
    for number in range(24):
        _make_ready(store, number)
    store.tasks.create(name="x", id="tried", initiative_id="i3")
    for _ in range(8):
        store.tasks.claim("tried")
        store.tasks.fail("tried", detail="x")
        store.tasks.claim(store.tasks.create(name="x", initiative_id="i3").id)
    store.pages.create(initiative_id="i0", title="root", id="root")
    for number in range(8):
        place = {"parent_page_id": "root"} if number < 6 else {}
        initiative_id = f"i{max(0, number - 5)}"
        store.pages.create(
            initiative_id=initiative_id, title="x", sort_order=number % 3, id=f"g{number}", **place
        )
        store.projects.create(name=f"n{number * 7 % 5}{number}", url=f"u{number}", id=f"j{number}")
        store.review_comments.create(
            phase_id="p0",
            file_path=f"f{number % 2}",
            line_number=number % 3 + 1,
            line_type="added",
            body="x",
            id=f"r{number}",
        )
    store.projects.set_initiative_projects("i0", [f"j{number}" for number in range(1, 7)])


def _make_ready(store: Store, number: int) -> None:
    priorities: list[Any] = ["medium", "low", "high"]
    store.tasks.create(
        name="x",
        initiative_id=f"i{number % 2 * 2}",
        priority=priorities[number % 3],
        sort_order=number // 3 % 2,
        category="plan" if number % 5 else "research",
        type="checkpoint:decision" if number % 7 == 3 else "auto",
    )


def _other(number: int, status: Any) -> Any:
    return "completed" if number % 3 == 1 else status


def _people(store: Store, number: int) -> None:
    store.accounts.create(email="x", provider="claude" if number else "x", sort_order=number % 3)
    # Each is one more of the same account's name.
    store.agents.create(
        name=f"a{number}",
        id=f"a{number}",
        worktree_id="w",
        task_id="t0" if number % 4 else None,
        status="idle" if number % 4 != 3 else "stopped",
    )
    store.proposals.create(
        agent_id=f"a{number // 7}",
        initiative_id="i0",
        target_type="page",
        title="x",
        status="pending" if number % 4 else "accepted",
        sort_order=number % 3,
    )
    store.log_chunks.insert_chunk("a0", agent_name="x", session_number=1 + number % 2, content="x")
    store.log_chunks.insert_chunk("a0", agent_name="x", session_number=2, content="x")
    store.log_chunks.insert_chunk(f"a{number}", agent_name="x", session_number=2, content="x")
    store.change_sets.create(
        id=f"c{number}",
        initiative_id="i0",
        entries=[
            {
                "entity_type": "task",
                "entity_id": "x",
                "action": "create",
                "new_state": "{}",
                "sort_order": order % 3,
            }
            for order in range(7)
        ],
    )


def _talk(store: Store, number: int) -> None:
    store.chat_sessions.create_session("task", "t0", initiative_id="i0", id=f"s{number}")
    store.chat_sessions.create_message("s0", role="user", content="x")
    store.chat_sessions.update_session(f"s{number}", status="closed")
    if number < 2:
        return
    for _ in range(2):
        store.conversations.create(from_agent_id="a0", to_agent_id="a1", question="x", task_id="t0")
    parent: Any = {"parent_message_id": "m0"} if number > 2 else {"id": "m0"}
    status = "pending" if number % 4 else "read"
    store.messages.create(
        sender_type="user", recipient_type="agent", recipient_id="a0", content="x",
        requires_response=True, status=status, **parent,
    )  # fmt: skip
    store.messages.create(
        sender_type="agent", sender_id=f"a{number // 7}", recipient_type="user", content="x",
        requires_response=True, status=status, parent_message_id="m0",
    )  # fmt: skip
    store.messages.create(
        sender_type="agent", sender_id="a0", recipient_type="agent", recipient_id="a1", content="x",
        status=status,
    )  # fmt: skip
