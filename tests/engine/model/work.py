"""Rules: initiatives, phases, tasks, pages and projects."""

from dataclasses import replace
from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import rule

from cwstore.core.ids import make_id
from cwstore.entities.initiatives import InitiativeRepository
from cwstore.entities.pages import PageRepository
from cwstore.entities.phases import PhaseDependency, PhaseRepository
from cwstore.entities.projects import InitiativeProject, ProjectRepository
from cwstore.entities.task import NewTask, Task
from cwstore.entities.tasks import TaskDependency, TaskRepository
from cwstore.errors import (
    ConflictError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.testing.strategies import Arguments, arguments, patches
from tests.engine.model.answers import below, edges_of, holder_of
from tests.engine.model.claims import OPEN, Claims
from tests.engine.model.data import DEFAULTS, Errors, Model
from tests.engine.model.machine import LOCK, OPTIONAL_REF, REF, REFUSED, Steps, some_of, step

#: Those that phases and tasks have in common.
PLAN_STATUS = st.sampled_from(["blocked", "blocked", "completed", "pending", "in_progress"])


class Work(Claims):
    """What is to be done, and where."""

    # Initiatives

    @step(given=arguments(InitiativeRepository))
    def create_initiative(self, given: Arguments) -> None:
        self.create("initiatives", lambda store: store.initiatives.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(InitiativeRepository))
    def update_initiative(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("initiatives", one)
        self.update("initiatives", lambda store: store.initiatives.update, key, patch, lock)

    @step(one=REF)
    def delete_initiative(self, one: int) -> None:
        key = self.pick("initiatives", one)
        self.delete("initiatives", lambda store: store.initiatives.delete(key), key)

    @step(one=REF)
    def purge(self, one: int) -> None:
        """What `delete` does; rows that are let go are told so by their `updated_at`."""
        key = self.pick("initiatives", one)
        told: list[int] = []
        errors: Errors = {ConflictError} if self.held and self.by == self.holder else set()
        count = self.call(
            lambda store: store.initiatives.purge(key, on_progress=told.append), errors
        )
        if count is REFUSED:
            return
        before = self.model.copy()
        if key in before.tables["initiatives"]:
            self.model.delete("initiatives", key)
        assert count == _size(before) - _size(self.model)
        assert told == sorted(told)
        assert told[-1] == count
        store = self.stores[self.by]
        for table, find, columns in (
            ("agents", store.agents.find_by_id, ("initiative_id",)),
            (
                "conversations",
                store.conversations.find_by_id,
                ("initiative_id", "phase_id", "task_id"),
            ),
        ):
            for row in self.model.rows(table):
                old = before.tables[table][row.id]
                if any(getattr(row, column) != getattr(old, column) for column in columns):
                    now = find(row.id)
                    assert now is not None
                    assert now == replace(row, updated_at=now.updated_at)
                    assert now.updated_at > old.updated_at
                    self.model.put(table, now)
                    self.saw(now.updated_at)

    # Phases

    @step(given=arguments(PhaseRepository, initiative_id=REF))
    def create_phase(self, given: Arguments) -> None:
        given = self.fill("phases", given)
        self.create("phases", lambda store: store.phases.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(PhaseRepository))
    def update_phase(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("phases", one)
        self.update("phases", lambda store: store.phases.update, key, patch, lock)

    @step(one=REF, table=st.sampled_from(["phases", "tasks"]), status=PLAN_STATUS)
    def set_status(self, one: int, table: str, status: str) -> None:
        key = self.pick(table, one)
        if table == "tasks":
            self.update_a_task(key, {"status": status}, None)
        else:
            self.update("phases", lambda store: store.phases.update, key, {"status": status}, None)

    @step(one=REF)
    def delete_phase(self, one: int) -> None:
        key = self.pick("phases", one)
        self.delete("phases", lambda store: store.phases.delete(key), key)

    @step(one=REF, other=REF)
    def let_a_phase_wait(self, one: int, other: int) -> None:
        edge = self.pick("phases", one), self.pick("phases", other)
        model = self.view()[1]
        phases = model.tables["phases"]
        errors: Errors = set()
        if not phases.keys() >= set(edge):
            errors.add(MissingReferenceError)
        elif phases[edge[0]].initiative_id != phases[edge[1]].initiative_id:
            errors.add(InvalidValueError)
        elif edge[0] in {edge[1], *below(edges_of(model, "phases"), edge[1])}:
            errors.add(CycleError)
        if self.call(lambda store: store.phases.create_dependency(*edge), errors) is None:
            self.model.put("phase_dependencies", PhaseDependency(*edge))
        else:
            self.check_ring(edges_of(model, "phases") | {edge})

    @step(one=REF, other=REF, edge=st.none() | REF)
    def let_a_phase_wait_no_more(self, one: int, other: int, edge: int | None) -> None:
        ends = self.edge("phases", one, other, edge)
        self.delete("phase_dependencies", lambda store: store.phases.delete_dependency(*ends), ends)

    def edge(self, table: str, one: int, other: int, edge: int | None) -> tuple[str, str]:
        """One that is there, or what may be none."""
        edges = list(edges_of(self.view()[1], table))
        if edges and edge is not None:
            return sorted(edges)[edge % len(edges)]
        return self.pick(table, one), self.pick(table, other)

    # Tasks

    @step(
        given=arguments(
            TaskRepository, phase_id=OPTIONAL_REF, initiative_id=OPTIONAL_REF, parent_task_id=REF
        )
    )
    def create_task(self, given: Arguments) -> None:
        given, expected = self.new_task(given)
        self.create("tasks", lambda store: store.tasks.create(**given), expected)

    def new_task(self, given: Arguments) -> tuple[Arguments, Arguments]:
        """What to give, and what it should become."""
        given = self.fill("tasks", given)
        tables = self.view()[1].tables
        owners = (
            tables["phases"].get(given.get("phase_id")),
            tables["tasks"].get(given.get("parent_task_id")),
        )
        initiative = given.get("initiative_id")
        for owner in owners:
            if initiative is None and owner is not None:
                initiative = owner.initiative_id
        return given, given | {"initiative_id": initiative}

    @step(
        several=st.lists(
            arguments(
                TaskRepository,
                phase_id=OPTIONAL_REF,
                initiative_id=OPTIONAL_REF,
                parent_task_id=OPTIONAL_REF,
            ),
            max_size=3,
        )
    )
    def create_tasks(self, several: list[Arguments]) -> None:
        """All or none; refused for what is wrong with the first that is."""
        both = [self.new_task(given) for given in several]
        errors: Errors = set()
        seen: set[str] = set()
        for _, expected in both:
            values: Any = dict.fromkeys(Task.__annotations__) | DEFAULTS["tasks"] | expected
            errors = self.view()[1].refusals("tasks", Task(**values), new=True)
            if expected.get("id") in seen:
                errors.add(ConflictError)
            if errors:
                break
            seen |= {expected["id"]} if expected.get("id") else set()
        many: list[NewTask] = [cast("NewTask", given) for given, _ in both]
        made = self.call(lambda store: store.tasks.create_many(many), errors)
        if made is REFUSED:
            return
        assert len(made) == len(both)
        for task, (_, expected) in zip(made, both, strict=True):
            self.check_made("tasks", task, {"id": None} | expected)

    @step(one=st.none() | REF, size=st.integers(1, 4), backwards=st.booleans())
    def create_nested_tasks(self, one: int | None, size: int, backwards: bool) -> None:
        """Each is the parent of the next; the other way round the first parent does not exist."""
        key = None if one is None else self.pick("initiatives", one)
        ids = [make_id() for _ in range(size)]
        parents = [None, *ids[:-1]]
        many: list[NewTask] = [
            {"name": "nested", "id": own, "parent_task_id": parent, "initiative_id": key}
            for own, parent in zip(ids, parents, strict=True)
        ]
        errors: Errors = set()
        if (backwards and size > 1) or (
            key is not None and key not in self.view()[1].tables["initiatives"]
        ):
            errors.add(MissingReferenceError)
        given = many[::-1] if backwards else many
        made = self.call(lambda store: store.tasks.create_many(given), errors)
        if made is not REFUSED:
            for task, expected in zip(made, given, strict=True):
                self.check_made("tasks", task, dict(expected))

    @step(
        one=st.integers(0, 3) | REF,
        place=st.fixed_dictionaries(
            {},
            optional={
                "initiative_id": OPTIONAL_REF,
                "phase_id": OPTIONAL_REF,
                "parent_task_id": OPTIONAL_REF,
            },
        ),
        fitting=st.booleans(),
    )
    def move_task(self, one: int, place: Arguments, fitting: bool) -> None:
        key, place = self.pick("tasks", one), self.fill("tasks", place)
        model = self.view()[1]
        phase = model.tables["phases"].get(place.get("phase_id"))
        parent = model.tables["tasks"].get(place.get("parent_task_id"))
        owner = parent if phase is None else phase
        if fitting and owner is not None:
            place["initiative_id"] = owner.initiative_id
        self.move(key, place)

    @step(of=st.integers(0, 3), one=st.integers(0, 4))
    def move_what_is_talked_about(self, of: int, one: int) -> None:
        """The chat goes with it."""
        sessions = self.view()[1].rows("chat_sessions", target_type="task")
        if sessions:
            key = sessions[of % len(sessions)].target_id
            place = {"initiative_id": self.pick("initiatives", one)}
            self.move(key, place | {"phase_id": None, "parent_task_id": None})

    def move(self, key: str, place: Arguments) -> None:
        model = self.view()[1]
        errors = refused_move(model, key, place)
        task = self.call(lambda store: store.tasks.move(key, **place), errors)
        if task is REFUSED:
            nested = {(row.id, row.parent_task_id) for row in model.rows("tasks")}
            self.check_ring(nested | {(key, place.get("parent_task_id"))})
            return
        self.check_updated("tasks", task, **place)
        store = self.stores[self.by]
        followed = {name: place[name] for name in ("initiative_id", "phase_id") if name in place}
        for child in self.model.below(key):
            row = self.model.tables["tasks"][child]
            if row != replace(row, **followed):
                self.check_updated("tasks", store.tasks.find_by_id(child), **followed)
        initiative = place.get("initiative_id")
        for session in self.model.rows("chat_sessions", target_type="task"):
            is_about = session.target_id in {key, *self.model.below(key)}
            if initiative is not None and is_about and session.initiative_id != initiative:
                row = store.chat_sessions.find_session_by_id(session.id)
                self.check_updated("chat_sessions", row, initiative_id=initiative)

    @step(one=REF, lock=LOCK, patch=patches(TaskRepository))
    def update_task(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("tasks", one)
        self.update_a_task(key, patch, lock)

    @step(one=REF, status=st.sampled_from(["completed", "completed", "pending"]), of=OPEN)
    def finish_a_task(self, one: int, status: str, of: int | None) -> None:
        self.update_a_task(self.reporter(of, one, None)[0], {"status": status}, 0)

    def update_a_task(self, key: str, patch: Arguments, lock: int | None) -> None:
        """One that is in progress no more has no open attempt."""
        attempt = holder_of(self.view()[1], key)
        task = self.update("tasks", lambda store: store.tasks.update, key, patch, lock)
        if task is not REFUSED and attempt is not None and task.status != "in_progress":
            outcome = "completed" if task.status == "completed" else "released"
            self.check_ended(attempt, outcome, detail=None)
            row = self.attempt_now(attempt)
            assert row.ended_at == task.updated_at

    @step(one=REF)
    def delete_task(self, one: int) -> None:
        key = self.pick("tasks", one)
        self.delete("tasks", lambda store: store.tasks.delete(key), key)

    @step(one=REF, other=REF)
    def let_a_task_wait(self, one: int, other: int) -> None:
        self.let_wait((self.pick("tasks", one), self.pick("tasks", other)))

    @step(edge=st.integers(0, 7), one=st.integers(0, 3), other=st.integers(0, 3))
    def let_phases_wait_for_each_other(self, edge: int, one: int, other: int) -> None:
        """A phase waits for another, a task of that one for a task of the first."""
        model = self.view()[1]
        edges = sorted(edges_of(model, "phases"))
        if edges:
            dependent, needed = edges[edge % len(edges)]
            late = model.rows("tasks", phase_id=dependent)
            early = model.rows("tasks", phase_id=needed)
            if late and early:
                self.let_wait((early[one % len(early)].id, late[other % len(late)].id))

    @rule(
        steps=some_of(
            *("let_phases_wait_for_each_other", "let_a_task_wait", "let_a_phase_wait"),
            *("set_status", "set_status", "check_plan", "check_plan", "why_not_ready"),
            *("let_a_task_wait_no_more", "claim_next_ready"),
        )
    )
    def shape_the_plan(self, steps: Steps) -> None:
        self.go_on(steps)

    @rule(
        steps=some_of(
            *("move_task", "move_task", "move_what_is_talked_about", "create_tasks"),
            "create_nested_tasks",
            *("create_chat_session", "create_task"),
            *("let_tasks_wait", "let_tasks_wait", "read_a_page", "read_a_page", "read_a_page"),
            *("purge", "update_agent", "read_statuses", "read_mail", "mark_read"),
        )
    )
    def rearrange_the_plan(self, steps: Steps) -> None:
        self.go_on(steps)

    def let_wait(self, edge: tuple[str, str]) -> None:
        model = self.view()[1]
        errors: Errors = set()
        if edge[0] in {edge[1], *below(edges_of(model, "tasks"), edge[1])}:
            errors.add(CycleError)
        if not model.tables["tasks"].keys() >= set(edge):
            errors.add(MissingReferenceError)
        if self.call(lambda store: store.tasks.create_dependency(*edge), errors) is None:
            self.model.put("task_dependencies", TaskDependency(*edge))
        else:
            self.check_ring(edges_of(model, "tasks") | {edge})

    @step(pairs=st.lists(st.tuples(REF, REF), max_size=5))
    def let_tasks_wait(self, pairs: list[tuple[int, int]]) -> None:
        """All edges or none, in any order."""
        edges = [(self.pick("tasks", one), self.pick("tasks", other)) for one, other in pairs]
        model = self.view()[1]
        known = edges_of(model, "tasks")
        errors: Errors = set()
        if any(one in {other, *below(known | {*edges}, other)} for one, other in edges):
            errors.add(CycleError)
        if not model.tables["tasks"].keys() >= {key for edge in edges for key in edge}:
            errors.add(MissingReferenceError)
        count = self.call(lambda store: store.tasks.create_dependencies(edges), errors)
        if count is REFUSED:
            self.check_ring(known | {*edges})
            return
        assert count == len({*edges} - known)
        for edge in edges:
            self.model.put("task_dependencies", TaskDependency(*edge))

    def check_ring(self, edges: set[tuple[Any, Any]]) -> None:
        """Each of the path waits for the next one, the last for the first; none comes twice."""
        if isinstance(self.refusal, CycleError):
            path = self.refusal.path
            assert path
            assert len({*path}) == len(path)
            assert edges >= {*zip(path, (*path[1:], path[0]), strict=True)}

    @step(one=REF, other=REF, edge=st.none() | REF)
    def let_a_task_wait_no_more(self, one: int, other: int, edge: int | None) -> None:
        ends = self.edge("tasks", one, other, edge)
        self.delete("task_dependencies", lambda store: store.tasks.delete_dependency(*ends), ends)

    # Pages

    @step(given=arguments(PageRepository, initiative_id=REF, parent_page_id=OPTIONAL_REF))
    def create_page(self, given: Arguments) -> None:
        given = self.fill("pages", given)
        self.create("pages", lambda store: store.pages.create(**given), given)

    @step(id=st.sampled_from(["own", "self"]), one=REF, table=st.sampled_from(["pages", "tasks"]))
    def nothing_contains_itself(self, id: str, one: int, table: str) -> None:
        key = self.pick("initiatives", one)
        if table == "tasks":
            task: Arguments = {"name": "own", "parent_task_id": id, "id": id}
            self.create("tasks", lambda store: store.tasks.create(**task), task)
        else:
            page: Arguments = {"title": "", "initiative_id": key, "parent_page_id": id, "id": id}
            self.create("pages", lambda store: store.pages.create(**page), page)

    @step(one=REF)
    def get_or_create_root_page(self, one: int) -> None:
        key = self.pick("initiatives", one)
        store, model = self.view()
        roots = model.rows("pages", initiative_id=key, parent_page_id=None)
        if roots:  # a look, which waits for nobody
            assert store.pages.get_or_create_root_page(key) == roots[0]
            return
        initiative = model.tables["initiatives"].get(key)
        errors: Errors = {NotFoundError} if initiative is None else set()
        page = self.call(lambda store: store.pages.get_or_create_root_page(key), errors)
        if page is not REFUSED and initiative is not None:
            self.check_made("pages", page, {"initiative_id": key, "title": initiative.name})

    @step(one=REF, lock=LOCK, patch=patches(PageRepository, parent_page_id=OPTIONAL_REF))
    def update_page(self, one: int, lock: int | None, patch: Arguments) -> None:
        key, patch = self.pick("pages", one), self.fill("pages", patch)
        self.update("pages", lambda store: store.pages.update, key, patch, lock)

    @step(one=REF)
    def delete_page(self, one: int) -> None:
        key = self.pick("pages", one)
        self.delete("pages", lambda store: store.pages.delete(key), key)

    # Projects

    @step(given=arguments(ProjectRepository))
    def create_project(self, given: Arguments) -> None:
        self.create("projects", lambda store: store.projects.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(ProjectRepository))
    def update_project(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("projects", one)
        self.update("projects", lambda store: store.projects.update, key, patch, lock)

    @step(one=REF)
    def delete_project(self, one: int) -> None:
        key = self.pick("projects", one)
        self.delete("projects", lambda store: store.projects.delete(key), key)

    @step(one=REF, others=st.lists(REF, max_size=4))
    def set_initiative_projects(self, one: int, others: list[int]) -> None:
        key = self.pick("initiatives", one)
        wanted = [self.pick("projects", other) for other in others]
        tables = self.view()[1].tables
        errors: Errors = set()
        if key not in tables["initiatives"]:
            errors.add(NotFoundError)
        if not tables["projects"].keys() >= set(wanted):
            errors.add(MissingReferenceError)
        projects = self.call(
            lambda store: store.projects.set_initiative_projects(key, wanted), errors
        )
        if projects is REFUSED:
            return
        for pair in [one for one in self.model.tables["initiative_projects"] if one[0] == key]:
            self.model.delete("initiative_projects", pair)
        for project in wanted:
            self.model.put("initiative_projects", InitiativeProject(key, project))
        expected = [self.model.tables["projects"][project] for project in set(wanted)]
        assert projects == sorted(expected, key=lambda project: project.name)

    @step(one=REF, other=REF)
    def add_to_initiative(self, one: int, other: int) -> None:
        pair = self.pick("initiatives", one), self.pick("projects", other)
        errors: Errors = {MissingReferenceError} if "unknown" in pair else set()
        if self.call(lambda store: store.projects.add_to_initiative(*pair), errors) is None:
            self.model.put("initiative_projects", InitiativeProject(*pair))

    @step(one=REF, other=REF)
    def remove_from_initiative(self, one: int, other: int) -> None:
        pair = self.pick("initiatives", one), self.pick("projects", other)
        self.delete(
            "initiative_projects", lambda store: store.projects.remove_from_initiative(*pair), pair
        )


def _size(model: Model) -> int:
    return sum(map(len, model.tables.values()))


def refused_move(model: Model, key: str, place: Arguments) -> Errors:
    """Why a task cannot be moved there; empty if it can."""
    tables = model.tables
    errors: Errors = set()
    task = tables["tasks"].get(key)
    if task is None:
        return {NotFoundError}
    moved = replace(task, **place)
    phase = tables["phases"].get(moved.phase_id)
    parent = tables["tasks"].get(moved.parent_task_id)
    for column, target in (
        ("initiative_id", "initiatives"),
        ("phase_id", "phases"),
        ("parent_task_id", "tasks"),
    ):
        if getattr(moved, column) not in {None, *tables[target]}:
            errors.add(MissingReferenceError)
    if moved.parent_task_id in {key, *model.below(key)}:
        errors.add(CycleError)
    owners = {one.initiative_id for one in (phase, parent) if one is not None} - {None}
    if not owners <= {moved.initiative_id}:
        errors.add(InvalidValueError)
    followed = {name: place[name] for name in ("initiative_id", "phase_id") if name in place}
    for child in model.below(key):
        row = replace(tables["tasks"][child], **followed)
        owner = tables["phases"].get(row.phase_id)
        if followed and owner is not None and owner.initiative_id != row.initiative_id:
            errors.add(InvalidValueError)
    return errors
