"""Rules that only look: every finder of initiatives, phases, tasks, pages, projects, agents, ..."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st

from cwstore.entities.agents import AgentStatus, AgentStatusLike
from cwstore.entities.initiatives import InitiativeStatus, InitiativeStatusLike
from cwstore.entities.messages import MessageStatus, MessageStatusLike, PartyType, PartyTypeLike
from cwstore.entities.proposals import ProposalStatus, ProposalStatusLike
from cwstore.entities.tasks import (
    TaskCategory,
    TaskCategoryLike,
    TaskStatus,
    TaskStatusLike,
    TaskType,
    TaskTypeLike,
)
from cwstore.errors import NotFoundError
from cwstore.testing.strategies import members
from tests.engine.model.answers import (
    Node,
    blocked,
    by_urgency,
    edges_of,
    knots,
    neighbours,
    obstacles,
    ready,
    requires_approval,
    summaries,
    topological,
    waits,
)
from tests.engine.model.data import by_order, std
from tests.engine.model.machine import REF, UNKNOWN, Machine, step


def _by_name(project: Any) -> Any:
    return project.name


def _by_place(comment: Any) -> Any:
    return comment.file_path, comment.line_number, comment.created_at, comment.id


def _by_number(attempt: Any) -> Any:
    return attempt.number, attempt.id


#: Lists that are read by page: where, which, of what, in which order.
LISTS: list[tuple[str, str, dict[str, str], Callable[[Any], Any]]] = [
    *(
        (name, "find_all", {}, std)
        for name in ("initiatives", "phases", "tasks", "agents", "messages", "pages", "proposals")
    ),
    ("accounts", "find_all", {}, by_order),
    ("projects", "find_all", {}, _by_name),
    ("phases", "find_by_initiative_id", {"initiative_id": "initiatives"}, std),
    ("tasks", "find_by_initiative_id", {"initiative_id": "initiatives"}, by_order),
    ("tasks", "find_by_phase_id", {"phase_id": "phases"}, by_order),
    ("tasks", "find_by_parent_task_id", {"parent_task_id": "tasks"}, by_order),
    ("tasks", "find_attempts", {"task_id": "tasks"}, _by_number),
    ("agents", "find_by_task_id", {"task_id": "tasks"}, std),
    ("pages", "find_by_initiative_id", {"initiative_id": "initiatives"}, by_order),
    ("pages", "find_by_parent_page_id", {"parent_page_id": "pages"}, by_order),
    ("proposals", "find_by_agent_id", {"agent_id": "agents"}, by_order),
    ("proposals", "find_by_initiative_id", {"initiative_id": "initiatives"}, by_order),
    ("conversations", "find_by_from_agent_id", {"from_agent_id": "agents"}, std),
    ("conversations", "find_by_task_id", {"task_id": "tasks"}, std),
    ("change_sets", "find_by_initiative_id", {"initiative_id": "initiatives"}, std),
    ("review_comments", "find_by_phase_id", {"phase_id": "phases"}, _by_place),
    (
        "chat_sessions",
        "find_messages_by_session_id",
        {"chat_session_id": "chat_sessions"},
        std,
    ),
]


#: Lists of rows of a table that is not called as the repository.
_OTHER_TABLES = {"find_messages_by_session_id": "chat_messages", "find_attempts": "task_attempts"}

#: A part of a list: how many rows, from which place on, or back from there.
Drawn = tuple[int | None, int | None, bool]
PARTS: st.SearchStrategy[Drawn] = st.tuples(
    st.none() | st.integers(0, 3) | st.just(2**63 - 1), st.none() | REF, st.booleans()
)


class Reading(Machine):
    """What is found, in which order."""

    @step(one=REF, status=members(InitiativeStatus))
    def read_plans(self, one: int, status: InitiativeStatusLike) -> None:
        store, model = self.view()
        assert store.initiatives.find_all() == model.rows("initiatives")
        assert store.initiatives.find_by_status(status) == model.rows("initiatives", status=status)
        key = self.pick("initiatives", one)
        assert store.initiatives.find_by_id(key) == model.tables["initiatives"].get(key)
        phases = model.rows("phases", initiative_id=key)
        assert store.phases.find_by_initiative_id(key) == phases
        edges = edges_of(model, "phases")
        assert store.phases.topological_order(key) == topological(phases, edges)
        assert store.phases.find_all() == model.rows("phases")
        key = self.pick("phases", one)
        assert store.phases.find_by_id(key) == model.tables["phases"].get(key)
        before, after = neighbours(model, "phases", key)
        assert store.phases.get_dependencies(key) == before
        assert store.phases.get_dependents(key) == after

    @step(one=st.sampled_from([3, 3, 3, 0, 1, UNKNOWN]))
    def check_plan(self, one: int) -> None:
        """A ring for each knot of the initiative, and what waits for each thing that is blocked."""
        store, model = self.view()
        key = self.pick("initiatives", one)
        graph = waits(model)
        own = {("task", row.id) for row in model.rows("tasks", initiative_id=key)}
        own |= {("phase", row.id) for row in model.rows("phases", initiative_id=key)}
        left = {knot for knot in knots(graph) if knot & own}
        problems = store.initiatives.check_plan(key)
        for ring in [one for one in problems if one.kind == "ring"]:
            (knot,) = (one for one in left if set(ring.ids) <= ids(one))
            left.remove(knot)
            assert len(set(ring.ids)) == len(ring.ids)
            for waiting, needed in zip(ring.ids, (*ring.ids[1:], ring.ids[0]), strict=True):
                assert any(one[1] == waiting and needed in ids(graph[one]) for one in knot)
        assert not left
        expected = {
            node[1]: {one[1]: distance for one, distance in far.items()}
            for node, far in blocked(model, graph).items()
            if far.keys() & own
        }
        found = [one for one in problems if one.kind == "blocked"]
        assert sorted(one.ids[0] for one in found) == sorted(expected)
        for problem in found:
            first, *behind = problem.ids
            far = [expected[first][one] for one in behind]
            assert far == sorted(far)
            assert set(behind) & ids(own) == expected[first].keys() & ids(own)

    @step(one=REF)
    def why_not_ready(self, one: int) -> None:
        store, model = self.view()
        key = self.pick("tasks", one)
        task = model.tables["tasks"].get(key)
        if task is None:
            with pytest.raises(NotFoundError):
                store.tasks.why_not_ready(key)
            return
        found = [(row.kind, row.id, row.status) for row in store.tasks.why_not_ready(key)]
        assert found == obstacles(model, task)

    @step(one=REF, which=st.integers(0, 11))
    def get_one(self, one: int, which: int) -> None:
        store, model = self.view()
        getters: list[tuple[str, Callable[[str], object]]] = [
            ("initiatives", store.initiatives.get),
            ("phases", store.phases.get),
            ("tasks", store.tasks.get),
            ("agents", store.agents.get),
            ("messages", store.messages.get),
            ("pages", store.pages.get),
            ("projects", store.projects.get),
            ("accounts", store.accounts.get),
            ("proposals", store.proposals.get),
            ("conversations", store.conversations.get),
            ("review_comments", store.review_comments.get),
            ("change_sets", store.change_sets.get),
        ]
        table, get = getters[which]
        key = self.pick(table, one)
        if key in model.tables[table]:
            assert get(key) == model.tables[table][key]
            return
        with pytest.raises(NotFoundError) as caught:
            get(key)
        assert (caught.value.table, caught.value.id) == (table, key)

    @step(
        which=st.integers(0, len(LISTS) - 1),
        one=REF,
        part=PARTS,
    )
    def read_a_page(self, which: int, one: int, part: Drawn) -> None:
        store, model = self.view()
        attribute, name, owned, order = LISTS[which]
        table = _OTHER_TABLES.get(name, attribute)
        wanted = {column: self.pick(owner, one) for column, owner in owned.items()}
        rows = sorted(model.rows(table, **wanted), key=order)
        find = partial(getattr(getattr(store, attribute), name), **wanted)
        self.read_part(find, rows, order, table, part)

    def read_part(
        self,
        find: Callable[..., Any],
        rows: list[Any],
        order: Callable[[Any], Any],
        table: str,
        part: Drawn,
    ) -> None:
        """`find` gives that part of the rows, which are in that order."""
        number, place, backward = part
        key = None if place is None else self.pick(table, place)
        page = {"last": number, "before": key} if backward else {"limit": number, "after": key}
        known = self.view()[1].tables[table]
        if key is not None and key not in known:
            with pytest.raises(NotFoundError):
                find(**page)
            return
        if key is not None:  # any row of the table is a place
            at = order(known[key])
            rows = [row for row in rows if (order(row) < at if backward else order(row) > at)]
        if number is not None:
            rows = rows[max(0, len(rows) - number) :] if backward else rows[:number]
        assert find(**page) == rows

    @step(one=REF, phase=REF, status=members(TaskStatus))
    def read_statuses(self, one: int, phase: int, status: TaskStatusLike) -> None:
        store, model = self.view()
        initiative, phase_id = self.pick("initiatives", one), self.pick("phases", phase)
        rows = sorted(model.rows("tasks", status=status), key=by_order)
        assert store.tasks.find_by_status(status) == rows
        rows = [row for row in rows if row.initiative_id == initiative]
        assert store.tasks.find_by_status(status, initiative) == rows
        for wanted in (
            {},
            {"initiative_id": initiative},
            {"phase_id": phase_id},
            {"initiative_id": initiative, "phase_id": phase_id},
        ):
            assert store.tasks.count_by_status(**wanted) == {
                one: len(model.rows("tasks", status=one, **wanted)) for one in TaskStatus
            }

    @step(
        party=members(PartyType), agent=st.none() | REF, status=st.none() | members(MessageStatus)
    )
    def read_mail(
        self, party: PartyTypeLike, agent: int | None, status: MessageStatusLike | None
    ) -> None:
        """An agent that is not named is any, also one that is gone."""
        store, model = self.view()
        key = None if agent is None else self.pick("agents", agent)
        rows = [
            row
            for row in model.rows("messages", recipient_type=party)
            if (key == row.recipient_id or (key is None and party == "agent"))
            and status in {None, row.status}
        ]
        assert store.messages.find_for_recipient(party, key, status=status) == rows
        sent = [
            row
            for row in model.rows("messages", sender_type=party)
            if key == row.sender_id or (key is None and party == "agent")
        ]
        assert store.messages.find_by_sender(party, key) == sent

    @step(one=REF, initiative=REF, phase=REF)
    def read_tasks(self, one: int, initiative: int, phase: int) -> None:
        store, model = self.view()
        assert store.tasks.find_all() == model.rows("tasks")
        assert store.tasks.find_pending_approval() == model.rows("tasks", status="pending_approval")
        edges = edges_of(model, "tasks")
        key = self.pick("initiatives", initiative)
        rows = model.rows("tasks", initiative_id=key)
        assert store.tasks.find_by_initiative_id(key) == sorted(rows, key=by_order)
        assert store.tasks.topological_order(initiative_id=key) == topological(rows, edges)
        key = self.pick("phases", phase)
        rows = model.rows("tasks", phase_id=key)
        assert store.tasks.find_by_phase_id(key) == sorted(rows, key=by_order)
        assert store.tasks.topological_order(phase_id=key) == topological(rows, edges)
        key = self.pick("tasks", one)
        rows = model.rows("tasks", parent_task_id=key)
        assert store.tasks.find_by_parent_task_id(key) == sorted(rows, key=by_order)
        before, after = neighbours(model, "tasks", key)
        assert store.tasks.get_dependencies(key) == before
        assert store.tasks.get_dependents(key) == after
        assert store.tasks.dependency_summaries(key) == summaries(model, key)
        task = model.tables["tasks"].get(key)
        assert store.tasks.find_by_id(key) == task
        if task is not None:
            assert store.tasks.requires_approval(key) is requires_approval(model, task)
            return
        with pytest.raises(NotFoundError):
            store.tasks.requires_approval(key)

    @step(
        one=st.none() | REF,
        categories=st.none() | st.lists(members(TaskCategory), max_size=6),
        types=st.just(["auto"]) | st.lists(members(TaskType), max_size=3),
        part=PARTS,
    )
    def find_ready(
        self,
        one: int | None,
        categories: list[TaskCategoryLike] | None,
        types: list[TaskTypeLike],
        part: Drawn,
    ) -> None:
        store, model = self.view()
        key = None if one is None else self.pick("initiatives", one)
        assert store.tasks.find_ready() == ready(model, None, None, ["auto"])
        rows = ready(model, key, categories, types)
        wanted = {"initiative_id": key, "categories": categories, "types": types}
        find = partial(store.tasks.find_ready, **wanted)
        self.read_part(find, rows, by_urgency, "tasks", part)

    @step(one=REF, other=REF)
    def read_pages_and_projects(self, one: int, other: int) -> None:
        store, model = self.view()
        assert store.pages.find_all() == model.rows("pages")
        key = self.pick("initiatives", one)
        rows = model.rows("pages", initiative_id=key)
        assert store.pages.find_by_initiative_id(key) == sorted(rows, key=by_order)
        roots = [row for row in rows if row.parent_page_id is None]
        assert store.pages.find_root_page(key) == (roots[0] if roots else None)
        projects = sorted(model.rows("projects"), key=lambda project: project.name)
        assert store.projects.find_all() == projects
        mine = [row for row in projects if (key, row.id) in model.tables["initiative_projects"]]
        assert store.projects.find_projects_by_initiative_id(key) == mine
        key = self.pick("pages", other)
        assert store.pages.find_by_id(key) == model.tables["pages"].get(key)
        rows = model.rows("pages", parent_page_id=key)
        assert store.pages.find_by_parent_page_id(key) == sorted(rows, key=by_order)
        key = self.pick("projects", other)
        assert store.projects.find_by_id(key) == model.tables["projects"].get(key)

    @step(one=REF, status=members(AgentStatus), task=REF)
    def read_agents(self, one: int, status: AgentStatusLike, task: int) -> None:
        store, model = self.view()
        assert store.agents.find_all() == model.rows("agents")
        assert store.agents.find_by_status(status) == model.rows("agents", status=status)
        key = self.pick("agents", one)
        agent = model.tables["agents"].get(key)
        assert store.agents.find_by_id(key) == agent
        name, session = ("nobody", "s") if agent is None else (agent.name, agent.session_id or "s")
        assert store.agents.find_by_name(name) == agent
        same = model.rows("agents", session_id=session)
        assert store.agents.find_by_session_id(session) == (same[-1] if same else None)
        key = self.pick("tasks", task)
        assert store.agents.find_by_task_id(key) == model.rows("agents", task_id=key)
        accounts = sorted(model.rows("accounts"), key=by_order)
        assert store.accounts.find_all() == accounts
        key = self.pick("accounts", one)
        account = model.tables["accounts"].get(key)
        assert store.accounts.find_by_id(key) == account
        provider = "claude" if account is None else account.provider
        assert store.accounts.find_by_provider(provider) == [
            row for row in accounts if row.provider == provider
        ]

    @step(one=REF, party=st.none() | members(PartyType), agent=st.none() | REF)
    def read_messages(self, one: int, party: PartyTypeLike | None, agent: int | None) -> None:
        store, model = self.view()
        assert store.messages.find_all() == model.rows("messages")
        assert store.messages.find_pending_for_user() == model.rows(
            "messages", recipient_type="user", status="pending"
        )
        key = self.pick("messages", one)
        assert store.messages.find_by_id(key) == model.tables["messages"].get(key)
        assert store.messages.find_replies(key) == model.rows("messages", parent_message_id=key)
        recipient = None if agent is None else self.pick("agents", agent)
        found = store.messages.find_requiring_response(recipient_type=party, recipient_id=recipient)
        assert found == [
            row
            for row in model.rows("messages", requires_response=True)
            if row.status != "responded"
            and party in {None, row.recipient_type}
            and recipient in {None, row.recipient_id}
        ]

    @step(one=REF, agent=REF, status=members(ProposalStatus))
    def read_proposals_and_conversations(
        self, one: int, agent: int, status: ProposalStatusLike
    ) -> None:
        store, model = self.view()
        assert store.proposals.find_all() == model.rows("proposals")
        key = self.pick("proposals", one)
        assert store.proposals.find_by_id(key) == model.tables["proposals"].get(key)
        key = self.pick("initiatives", one)
        rows = model.rows("proposals", initiative_id=key)
        assert store.proposals.find_by_initiative_id(key) == sorted(rows, key=by_order)
        key = self.pick("agents", agent)
        rows = sorted(model.rows("proposals", agent_id=key), key=by_order)
        assert store.proposals.find_by_agent_id(key) == rows
        rows = [row for row in rows if row.status == status]
        assert store.proposals.find_by_agent_id_and_status(key, status) == rows
        assert store.proposals.count_by_agent_id_and_status(key, status) == len(rows)
        assert store.conversations.find_pending_for_agent(key) == model.rows(
            "conversations", to_agent_id=key, status="pending"
        )
        asked = model.rows("conversations", from_agent_id=key)
        assert store.conversations.find_by_from_agent_id(key) == asked
        key = self.pick("tasks", agent)
        asked = model.rows("conversations", task_id=key)
        assert store.conversations.find_by_task_id(key) == asked
        key = self.pick("conversations", one)
        assert store.conversations.find_by_id(key) == model.tables["conversations"].get(key)


def ids(nodes: Iterable[Node]) -> set[str]:
    """Of tasks and phases alike."""
    return {key for _, key in nodes}
