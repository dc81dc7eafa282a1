"""Rules: initiatives, phases, tasks, pages and projects."""

from hypothesis import strategies as st

from cwstore.entities.initiatives import InitiativeRepository
from cwstore.entities.pages import PageRepository
from cwstore.entities.phases import PhaseDependency, PhaseRepository
from cwstore.entities.projects import InitiativeProject, ProjectRepository
from cwstore.entities.tasks import Task, TaskCategory, TaskDependency, TaskRepository, TaskType
from cwstore.errors import (
    ConflictError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
)
from cwstore.testing.strategies import Arguments, arguments, members, patches
from tests.engine.model.answers import below, edges_of, is_ready, ready
from tests.engine.model.data import Errors
from tests.engine.model.machine import LOCK, OPTIONAL_REF, REF, REFUSED, UNKNOWN, Machine, step


class Work(Machine):
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

    # Phases

    @step(given=arguments(PhaseRepository, initiative_id=REF))
    def create_phase(self, given: Arguments) -> None:
        given = self.fill("phases", given)
        self.create("phases", lambda store: store.phases.create(**given), given)

    @step(one=REF, lock=LOCK, patch=patches(PhaseRepository))
    def update_phase(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("phases", one)
        self.update("phases", lambda store: store.phases.update, key, patch, lock)

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
        expected = given | {"initiative_id": initiative}
        self.create("tasks", lambda store: store.tasks.create(**given), expected)

    @step(one=REF, lock=LOCK, patch=patches(TaskRepository))
    def update_task(self, one: int, lock: int | None, patch: Arguments) -> None:
        key = self.pick("tasks", one)
        self.update("tasks", lambda store: store.tasks.update, key, patch, lock)

    @step(one=REF, status=st.sampled_from(["completed", "completed", "pending"]))
    def finish_a_task(self, one: int, status: str) -> None:
        key = self.pick("tasks", one)
        self.update("tasks", lambda store: store.tasks.update, key, {"status": status}, 0)

    @step(one=REF)
    def delete_task(self, one: int) -> None:
        key = self.pick("tasks", one)
        self.delete("tasks", lambda store: store.tasks.delete(key), key)

    @step(one=REF, other=REF)
    def let_a_task_wait(self, one: int, other: int) -> None:
        edge = self.pick("tasks", one), self.pick("tasks", other)
        model = self.view()[1]
        errors: Errors = set()
        if edge[0] in {edge[1], *below(edges_of(model, "tasks"), edge[1])}:
            errors.add(CycleError)
        if not model.tables["tasks"].keys() >= set(edge):
            errors.add(MissingReferenceError)
        if self.call(lambda store: store.tasks.create_dependency(*edge), errors) is None:
            self.model.put("task_dependencies", TaskDependency(*edge))

    @step(one=REF, other=REF, edge=st.none() | REF)
    def let_a_task_wait_no_more(self, one: int, other: int, edge: int | None) -> None:
        ends = self.edge("tasks", one, other, edge)
        self.delete("task_dependencies", lambda store: store.tasks.delete_dependency(*ends), ends)

    @step(one=REF, agent=st.none() | REF)
    def claim_task(self, one: int, agent: int | None) -> None:
        key = self.pick("tasks", one)
        agent_id = None if agent is None else self.pick("agents", agent)
        model = self.view()[1]
        errors: Errors = set()
        if key not in model.tables["tasks"]:
            errors.add(NotFoundError)
        elif not is_ready(model, model.tables["tasks"][key]):
            errors.add(ConflictError)
        if agent_id is not None and agent_id not in model.tables["agents"]:
            errors.add(NotFoundError)
        task = self.call(lambda store: store.tasks.claim(key, agent_id=agent_id), errors)
        if task is not REFUSED:
            self.check_claimed(task, agent_id)

    @step(
        one=OPTIONAL_REF,
        filters=st.fixed_dictionaries(
            {},
            optional={
                "categories": st.none() | st.lists(members(TaskCategory), max_size=6),
                "types": st.lists(members(TaskType), max_size=3),
            },
        ),
        agent=st.none() | REF,
    )
    def claim_next_ready(self, one: int, filters: Arguments, agent: int | None) -> None:
        model = self.view()[1]
        initiative = None if one > UNKNOWN else self.pick("initiatives", one)
        agent_id = None if agent is None else self.pick("agents", agent)
        filters["initiative_id"] = initiative
        expected = ready(
            model, initiative, filters.get("categories"), filters.get("types", ["auto"])
        )
        errors: Errors = set()
        if expected and agent_id is not None and agent_id not in model.tables["agents"]:
            errors.add(NotFoundError)
        task = self.call(
            lambda store: store.tasks.claim_next_ready(**filters, agent_id=agent_id), errors
        )
        if task is not REFUSED:
            assert (task and task.id) == (expected[0].id if expected else None)
            if task is not None:
                self.check_claimed(task, agent_id)

    def check_claimed(self, task: Task, agent_id: str | None) -> None:
        self.check_updated("tasks", task, status="in_progress")
        if agent_id is not None:
            agent = self.stores[self.by].agents.find_by_id(agent_id)
            self.check_updated("agents", agent, task_id=task.id)

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
