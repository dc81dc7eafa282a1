"""Something to begin with: rows of every table, of each two that differ in nothing but the id."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cwstore.entities.phases import PhaseDependency
from cwstore.entities.projects import InitiativeProject
from cwstore.entities.tasks import TaskDependency
from cwstore.store import Store
from tests.engine.model.data import TABLES, Model
from tests.kits.database import copy_database, open_at


class Twins:
    """Two stores on one file whose clock stands still while a pair of rows is made.

    Ids fall from row to row, and times rise by a microsecond at least: wherever a list thinks of
    nothing but the id, it shows.
    """

    def __init__(self, file: Path) -> None:
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._stores = [open_at(file, clock=lambda: self._now) for _ in range(2)]

    def of(self, number: int) -> Store:
        """The one that makes the row of that number in its table."""
        if number % 2 == 0:
            self._now += timedelta(seconds=1)
        return self._stores[number % 2]

    def close(self) -> None:
        for store in self._stores:
            store.close()


@cache
def planned(migrated: Path) -> tuple[Path, Model]:
    """A database, made once and to be copied, and what is in it."""
    place = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, place)
    file = Path(place) / "template.db"
    model = Model({name: {} for name in TABLES}, 0)
    copy_database(migrated, file)
    twins = Twins(file)
    _phases(twins, model)
    _tasks(twins, model)
    _agents(twins, model)
    _pages_and_projects(twins, model)
    _mail(twins, model)
    _history(twins, model)
    twins.close()
    model.floor = max(
        getattr(row, name)
        for rows in model.tables.values()
        for row in rows.values()
        for name in ("created_at", "updated_at")
        if hasattr(row, name)
    )
    return file, model


def _phases(twins: Twins, model: Model) -> None:
    for number in range(5):
        key = f"i-{5 - number}"
        initiative = twins.of(number).initiatives.create(
            name=key, merge_requires_approval=number != 3, id=key
        )
        model.put("initiatives", initiative)
    for number in range(5):
        phase = twins.of(number).phases.create(
            initiative_id="i-1" if number == 4 else "i-2",
            name="phase",
            status="approved",
            id=f"p-{5 - number}",
        )
        model.put("phases", phase)
    for edge in (("p-3", "p-5"), ("p-2", "p-5"), ("p-3", "p-4")):
        twins.of(0).phases.create_dependency(*edge)
        model.put("phase_dependencies", PhaseDependency(*edge))


def _tasks(twins: Twins, model: Model) -> None:
    for number in range(14):
        task = twins.of(number).tasks.create(
            name="task",
            phase_id={2: "p-5", 3: "p-5", 4: "p-5", 5: "p-5", 6: "p-4", 7: "p-4", 8: "p-2"}.get(
                number
            ),
            initiative_id="i-2" if number == 9 else None,
            parent_task_id="t-99" if number in {4, 5} else None,
            status="pending_approval" if number in {10, 11} else "pending",
            priority=("medium", "medium", "high")[number // 2 % 3],
            sort_order=[0, 1, 0, -1, 0, 0, 5][number // 2],
            id=f"t-{99 - number}",
        )
        model.put("tasks", task)
    for edge in (
        ("t-98", "t-95"),
        ("t-97", "t-95"),
        ("t-96", "t-95"),
        ("t-91", "t-93"),
        ("t-91", "t-92"),
    ):
        twins.of(0).tasks.create_dependency(*edge)
        model.put("task_dependencies", TaskDependency(*edge))


def _agents(twins: Twins, model: Model) -> None:
    for number in range(3):
        account = twins.of(number).accounts.create(email="one for all", id=f"account-{3 - number}")
        model.put("accounts", account)
    running: Mapping[str, Any] = {
        "status": "running",
        "pid": 7,
        "task_id": "t-96",
        "initiative_id": "i-2",
    }
    stopped: Mapping[str, Any] = {"status": "stopped", "session_id": "s"}
    for number, more in enumerate([{}, {}, running, running, stopped, stopped]):
        agent = twins.of(number).agents.create(
            name=f"agent-{number}", worktree_id="w", id=f"agent-{6 - number}", **more
        )
        model.put("agents", agent)
    model.put("tasks", twins.of(0).tasks.update("t-96", status="in_progress"))
    for number, (key, holder) in enumerate((("t-86", None), ("t-87", "agent-6"))):
        tasks = twins.of(number).tasks
        model.put("tasks", tasks.claim(key, agent_id=holder, lease=timedelta(hours=1)))
        model.put("task_attempts", tasks.find_attempts(key)[0])
    model.put("agents", twins.of(0).agents.find_by_name("agent-0"))
    for number in range(4):
        proposal = twins.of(number).proposals.create(
            agent_id="agent-4",
            initiative_id="i-2",
            target_type="task",
            title="",
            id=f"o-{4 - number}",
        )
        model.put("proposals", proposal)


def _pages_and_projects(twins: Twins, model: Model) -> None:
    for number in range(2):
        key = f"r-{2 - number}"
        model.put("projects", twins.of(number).projects.create(name=key, url=key, id=key))
    twins.of(0).projects.add_to_initiative("i-2", "r-2")
    model.put("initiative_projects", InitiativeProject("i-2", "r-2"))
    root = twins.of(0).pages.create(initiative_id="i-2", title="root", id="page-5")
    model.put("pages", root)
    for number in range(4):
        page = twins.of(number).pages.create(
            initiative_id="i-2",
            title="",
            parent_page_id="page-5" if number < 2 else "page-3",
            id=f"page-{4 - number}",
        )
        model.put("pages", page)


def _mail(twins: Twins, model: Model) -> None:
    for number in range(4):
        message = twins.of(number).messages.create(
            sender_type="agent",
            sender_id="agent-4",
            recipient_type="user",
            content="",
            requires_response=True,
            parent_message_id="m-4" if number > 1 else None,
            id=f"m-{4 - number}",
        )
        model.put("messages", message)
    for number in range(2):
        asked = twins.of(number).conversations.create(
            from_agent_id="agent-4",
            to_agent_id="agent-3",
            question="",
            initiative_id="i-2",
            phase_id="p-5",
            task_id="t-95",
            id=f"c-{2 - number}",
        )
        model.put("conversations", asked)


def _history(twins: Twins, model: Model) -> None:
    for number in range(3):
        made = twins.of(number).change_sets.create(
            initiative_id="i-3" if number == 2 else "i-2",
            entries=[],
            agent_id="agent-4",
            id=f"h-{3 - number}",
        )
        model.put("change_sets", made)
    for number in range(2):
        session = twins.of(number).chat_sessions.create_session(
            "task",
            f"t-{99 - number}",
            initiative_id="i-2",
            agent_id="agent-4",
            id=f"session-{2 - number}",
        )
        model.put("chat_sessions", session)
    for number in range(2):
        said = twins.of(number).chat_sessions.create_message(
            "session-2", role="user", content="", change_set_id="h-1", id=f"n-{2 - number}"
        )
        model.put("chat_messages", said)
    for number in range(2):
        comment = twins.of(number).review_comments.create(
            phase_id="p-5",
            file_path="a",
            line_number=1,
            line_type="added",
            body="",
            id=f"b-{2 - number}",
        )
        model.put("review_comments", comment)
    for agent, number in (("agent-4", 1), ("gone", 1), ("agent-4", 3), ("gone", 2)):
        chunk = twins.of(0).log_chunks.insert_chunk(
            agent, agent_name="name", session_number=number, content="{}\n"
        )
        model.put("agent_log_chunks", chunk)
        model.last_seq = chunk.seq
