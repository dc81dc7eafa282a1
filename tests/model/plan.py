"""Something to begin with: a few rows of every table, equals beside each other."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cwstore._task_edges import TaskDependency
from cwstore.phases import PhaseDependency
from cwstore.projects import InitiativeProject
from cwstore.store import Store
from tests.model.data import TABLES, Model


@cache
def planned() -> tuple[Path, Model]:
    """A file, made once and to be copied, and what is in it."""
    place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, place)
    file = Path(place) / "template.db"
    model = Model({name: {} for name in TABLES}, 0)
    with Store.open(file, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC)) as store:
        _work(store, model)
        _agents(store, model)
        _talk(store, model)
    return file, model


def _work(store: Store, model: Model) -> None:
    """Ids fall while stamps rise, so that an order by id alone shows."""
    for key in ("i-2", "i-1", "i-5", "i-4", "i-3"):
        model.put("initiatives", store.initiatives.create(name=key, id=key))
    for number in range(5):
        owner = "i-1" if number == 2 else "i-2"
        phase = store.phases.create(
            initiative_id=owner, name="phase", status="approved", id=f"p-{5 - number}"
        )
        model.put("phases", phase)
    store.phases.create_dependency("p-2", "p-1")
    model.put("phase_dependencies", PhaseDependency("p-2", "p-1"))
    for number in range(9):
        task = store.tasks.create(
            name="task",
            phase_id=[None, "p-5", "p-5", "p-4"][number % 4],
            initiative_id="i-2" if number == 4 else None,
            parent_task_id="t-9" if number in {4, 8} else None,
            priority=["medium", "medium", "high"][number % 3],
            sort_order=[0, 0, 1, -1, 0][number % 5],
            id=f"t-{9 - number}",
        )
        model.put("tasks", task)
    for dependent in ("t-8", "t-7", "t-4"):
        store.tasks.create_dependency(dependent, "t-5")
        model.put("task_dependencies", TaskDependency(dependent, "t-5"))
    for key in ("r-2", "r-1"):
        model.put("projects", store.projects.create(name=key, url=key, id=key))
    store.projects.add_to_initiative("i-2", "r-2")
    model.put("initiative_projects", InitiativeProject("i-2", "r-2"))
    root = store.pages.create(initiative_id="i-2", title="root", id="page-4")
    model.put("pages", root)
    for key, parent in {"page-3": "page-4", "page-2": "page-4", "page-1": "page-2"}.items():
        page = store.pages.create(initiative_id="i-2", title="", parent_page_id=parent, id=key)
        model.put("pages", page)


def _agents(store: Store, model: Model) -> None:
    for number in range(3):
        account = store.accounts.create(email="one for all", id=f"account-{3 - number}")
        model.put("accounts", account)
    running: Mapping[str, Any] = {"status": "running", "pid": 7, "task_id": "t-6"}
    stopped: Mapping[str, Any] = {"session_id": "s", "task_id": "t-6"}
    for number, more in enumerate([{}, running, running, stopped]):
        agent = store.agents.create(
            name=f"agent-{number}", worktree_id="w", id=f"agent-{4 - number}", **more
        )
        model.put("agents", agent)
    model.put("tasks", store.tasks.update("t-6", status="in_progress"))
    for number in range(2):
        proposal = store.proposals.create(
            agent_id="agent-4", initiative_id="i-2", target_type="task", title="", id=f"o-{number}"
        )
        model.put("proposals", proposal)


def _talk(store: Store, model: Model) -> None:
    question = store.messages.create(
        sender_type="agent",
        sender_id="agent-4",
        recipient_type="user",
        content="",
        requires_response=True,
        id="m-1",
    )
    model.put("messages", question)
    asked = store.conversations.create(
        from_agent_id="agent-4", to_agent_id="agent-3", question="", task_id="t-9", id="c-1"
    )
    model.put("conversations", asked)
    made = store.change_sets.create(initiative_id="i-2", entries=[], agent_id="agent-4", id="h-1")
    model.put("change_sets", made)
    session = store.chat_sessions.create_session(
        "task", "t-9", initiative_id="i-2", agent_id="agent-4", id="session-1"
    )
    model.put("chat_sessions", session)
    said = store.chat_sessions.create_message(
        "session-1", role="user", content="", change_set_id="h-1"
    )
    model.put("chat_messages", said)
    comment = store.review_comments.create(
        phase_id="p-5", file_path="a", line_number=1, line_type="added", body="", id="b-1"
    )
    model.put("review_comments", comment)
    for agent, number in (("agent-4", 1), ("gone", 1), ("agent-4", 2), ("gone", 2)):
        chunk = store.log_chunks.insert_chunk(
            agent, agent_name="name", session_number=number, content="{}\n"
        )
        model.put("agent_log_chunks", chunk)
        model.last_seq = chunk.seq
