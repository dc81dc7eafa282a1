"""What services get for their tests: the checker on their schema, strategies, the fixture."""

import inspect
import os
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Unpack, get_args, get_type_hints

import apsw
import pytest
import typing_extensions
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import cwstore
from cwstore import testing
from cwstore.core.checks import to_micros
from cwstore.core.mapping import compile_mapper
from cwstore.core.repository import command
from cwstore.core.secret import Secret
from cwstore.core.statement import Paging
from cwstore.entities.agents import AgentRepository
from cwstore.entities.change_sets import ChangeSetRepository
from cwstore.entities.messages import MessageRepository
from cwstore.entities.phases import PhaseRepository
from cwstore.entities.proposals import ProposalRepository
from cwstore.entities.review_comments import ReviewCommentRepository
from cwstore.entities.tasks import Task, TaskRepository, TaskStatus
from cwstore.errors import CwstoreError, InvalidValueError
from cwstore.store import Store
from cwstore.testing import Report, check_statements
from cwstore.testing import strategies as given_by
from cwstore.testing.checker.schema import Schema, open_schema
from tests.examples.wishes import Wish, WishPatch, WishRepository
from tests.kits.checker import SCHEMA, Service, repositories
from tests.kits.contract import Method, World, every_method, returned_by
from tests.kits.entities import undone

ROOT = Path(__file__).resolve().parents[2]


def methods(prefixes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Attribute and method name of every method that returns a row and begins so."""
    return [
        (attribute, name)
        for attribute, kind in repositories().items()
        for name, function in vars(kind).items()
        if name.startswith(prefixes) and is_dataclass(returned_by(function))
    ]


# The schema, in each of its forms


def test_a_schema_is_sql_text_or_a_file_or_a_folder_of_migrations_or_a_database(
    tmp_path: Path,
) -> None:
    module = Service(tmp_path).module()
    script = tmp_path / "schema.sql"
    script.write_text(SCHEMA, encoding="utf-8")
    folder = tmp_path / "migrations"
    folder.mkdir()
    tables, _, indexes = SCHEMA.partition("CREATE INDEX")
    (folder / "0001_tables.sql").write_text(tables, encoding="utf-8")
    (folder / "0002_indexes.sql").write_text("CREATE INDEX" + indexes, encoding="utf-8")
    database = apsw.Connection(str(tmp_path / "notes.db"))
    database.execute(SCHEMA)
    database.close()
    reports = {
        check_statements(module, schema)
        for schema in (SCHEMA, script, folder, tmp_path / "notes.db")
    }
    assert len(reports) == 1
    assert reports.pop().faults == ()


@pytest.mark.parametrize("schema", ["/not/sql", "CREATE TABLE t (x", "CREATE VIEW v AS SELECT '"])
def test_a_schema_that_cannot_be_built_is_refused(tmp_path: Path, schema: str) -> None:
    with pytest.raises(
        ValueError, match=r"^the schema cannot be built \(.+\); give SQL text or a Path$"
    ):
        check_statements(Service(tmp_path).module(), schema)


def test_a_database_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    database = apsw.Connection(str(file))
    database.execute(SCHEMA)
    database.execute("INSERT INTO owners (id) VALUES ('o')")
    database.close()
    before = file.read_bytes()
    check_statements(Service(tmp_path).module(), file)
    assert file.read_bytes() == before


def test_a_report_raises_with_every_fault_in_its_message(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.report().expect_no_faults()
    service.plant("SELECT count(*) FROM notes", "SELECT count(*) FORM notes")
    service.plant("limit=int", "limit=str")
    report = service.report()
    with pytest.raises(AssertionError) as caught:
        report.expect_no_faults()
    assert str(caught.value) == str(report)
    lines = str(report).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == ["[type]", "[sql]", "faults"]
    assert all("notes.py:" in line for line in lines[:-1])
    assert lines[-1] == "6 statements, 2 faults"


def test_a_report_without_faults_says_so() -> None:
    assert str(Report((), ())) == "0 statements, 0 faults"


def test_a_report_of_one_statement_speaks_of_one(tmp_path: Path) -> None:
    (line, *_) = Service(tmp_path).report().lines
    assert str(Report((), (line,))) == "1 statement, 0 faults"


# Strategies


def parents(store: Store) -> dict[str, str]:
    """One row of each table, and what refers to it."""
    initiative = store.initiatives.create(name="i").id
    agent = store.agents.create(name="a", worktree_id="w").id
    change_set = store.change_sets.create(initiative_id=initiative, entries=[]).id
    phase = store.phases.create(initiative_id=initiative, name="p").id
    session = store.chat_sessions.create_session("phase", phase, initiative_id=initiative).id
    store.chat_sessions.update_session(session, status="closed")
    return {
        "initiative_id": initiative,
        "phase_id": phase,
        "task_id": store.tasks.create(name="t").id,
        "account_id": store.accounts.create(email="e").id,
        "agent_id": agent,
        "from_agent_id": agent,
        "to_agent_id": agent,
        "sender_id": agent,
        "recipient_id": agent,
        "parent_page_id": store.pages.create(initiative_id=initiative, title="root").id,
        "change_set_id": change_set,
        "chat_session_id": session,
    }


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[Store, dict[str, str]]]:
    """A store with `parents`, for tests that undo what they do."""
    with Store.open(":memory:") as store:
        yield store, parents(store)


def rows_equal(row: Any, arguments: dict[str, Any]) -> bool:
    """Whether the row has what was given; None may have been filled in (an agent's name)."""
    return all(
        shown(getattr(row, name)) == value
        for name, value in arguments.items()
        if hasattr(row, name) and value is not None
    )


def shown(value: object) -> object:
    return value.reveal() if isinstance(value, Secret) else value


@pytest.mark.parametrize(("attribute", "name"), methods(("create", "insert")))
@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_what_a_strategy_makes_is_accepted_and_comes_back_as_it_was(
    filled: tuple[Store, dict[str, str]], attribute: str, name: str, data: st.DataObject
) -> None:
    store, rows = filled
    with undone(store):
        known = {key: st.just(value) for key, value in rows.items()}
        if attribute == "chat_sessions" and name == "create_session":
            known |= {"target_type": st.just("phase"), "target_id": known["phase_id"]}
        repository = getattr(store, attribute)
        arguments = data.draw(given_by.arguments(type(repository), name, **known))
        if attribute == "pages":
            arguments["parent_page_id"] = store.pages.find_all()[0].id
        assert rows_equal(getattr(repository, name)(**arguments), arguments)


@pytest.fixture(scope="module")
def populated() -> Iterator[tuple[Store, World]]:
    """A store with work to do for every method; tests undo what they do."""
    with Store.open(":memory:") as store:
        yield store, World(store)


@pytest.mark.parametrize("method", every_method(), ids=str)
@given(data=st.data())
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_what_is_made_for_a_method_is_never_an_invalid_value(
    populated: tuple[Store, World], method: Method, data: st.DataObject
) -> None:
    store, world = populated
    kind = type(getattr(store, method.attribute))
    function = getattr(kind, method.name)
    known = {one.name: one for one in method.arguments if world.table(method, one)}
    rows = {name: st.just(world.good(method, one)) for name, one in known.items()}
    made = data.draw(
        given_by.arguments(kind, method.name, **data.draw(st.sampled_from((rows, {}))))
    )
    parameters = inspect.signature(function).parameters
    keys = [one for one in parameters.values() if one.kind is one.VAR_KEYWORD]
    if keys and get_args(keys[0].annotation) == (Paging,):
        places = {name: value for name, value in rows.items() if known[name].is_place}
        made |= data.draw(given_by.paging(**data.draw(st.sampled_from((places, {})))))
    elif keys:
        made |= data.draw(given_by.patches(kind, method.name))
    needed = {
        name
        for name, one in parameters.items()
        if one.default is one.empty and one.kind is not one.VAR_KEYWORD
    }
    assert needed - {"self"} <= made.keys()
    assert made.keys() <= {one.name for one in method.arguments}
    with undone(store):
        try:
            method(store, made)
        except InvalidValueError:
            raise
        except CwstoreError:
            pass  # no such row, another state


def test_a_callable_that_is_made_judges_rows() -> None:
    @given(given_by.arguments(AgentRepository, "reconcile"))
    def check(made: dict[str, Any]) -> None:
        assert made["is_alive"](object()) in {True, False}

    check()


@pytest.mark.parametrize("name", ["phase_id", "initiative_id"])
def test_of_two_references_the_one_that_is_given_is_taken(name: str) -> None:
    made = given_by.arguments(TaskRepository, "topological_order", **{name: st.just("x")})
    assert find(made, bool) == {name: "x"}


def row_types() -> list[type[Any]]:
    """Of everything that a repository returns and that is a row of a table."""
    found = (
        arm
        for kind in repositories().values()
        for name, function in vars(kind).items()
        if not name.startswith("_")
        for returned in [returned_by(function)]
        for arm in (returned, *get_args(returned))
        if is_dataclass(arm) and {"id", "created_at"} <= get_type_hints(arm).keys()
    )
    return sorted({arm for arm in found if isinstance(arm, type)}, key=lambda one: one.__name__)


@pytest.fixture(scope="module")
def tables() -> Iterator[Schema]:
    """The tables alone: no triggers, no foreign keys."""
    schema = open_schema(ROOT / "sql" / "migrations")
    for name in schema.triggers:
        schema.connection.execute(f"DROP TRIGGER {name}")
    schema.connection.pragma("foreign_keys", False)
    yield schema
    schema.connection.close()


def as_stored(value: object) -> object:
    return to_micros("", value) if isinstance(value, datetime) else shown(value)


@pytest.mark.parametrize("entity", row_types(), ids=lambda entity: entity.__name__)
@given(data=st.data())
@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.generate],  # as texts are huge, making a failure small takes minutes
)
def test_an_entity_that_is_made_is_a_row_that_its_table_takes_and_gives_back(
    tables: Schema, entity: type[Any], data: st.DataObject
) -> None:
    row = data.draw(given_by.entities(entity))
    values = {name: as_stored(getattr(row, name)) for name in get_type_hints(entity)}
    (table,) = (name for name, columns in tables.tables.items() if columns.keys() == values.keys())
    names = ", ".join(values)
    binds = ", ".join(f":{name}" for name in values)
    tables.connection.execute(f"DELETE FROM {table}")
    tables.connection.execute(f"INSERT INTO {table} ({names}) VALUES ({binds})", values)
    stored = tables.connection.execute(f"SELECT {names} FROM {table}").fetchall()
    (read,) = compile_mapper(entity, written=False)(stored)
    assert read == row
    assert repr(read) == repr(row)


def test_there_is_an_entity_for_every_repository() -> None:
    assert (
        len(row_types()) == len(repositories()) + 3
    )  # chat messages, entries of change sets, attempts


def test_fields_of_an_entity_can_be_given() -> None:
    @settings(max_examples=3)
    @given(given_by.entities(Task, id=st.just("t"), parent_task_id=st.just("t")))
    def check(task: Task) -> None:
        assert (type(task), task.id, task.parent_task_id) == (Task, "t", "t")

    check()


@pytest.mark.parametrize(("attribute", "name"), methods(("update",)))
@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_patch_that_a_strategy_makes_is_accepted(
    filled: tuple[Store, dict[str, str]], attribute: str, name: str, data: st.DataObject
) -> None:
    store, known = filled
    with undone(store):
        store.messages.create(sender_type="user", recipient_type="user", content="c")
        store.projects.create(name="p", url="u")
        repository = getattr(store, attribute)
        if attribute == "proposals":
            store.proposals.create(
                agent_id=store.agents.find_all()[0].id,
                initiative_id=store.initiatives.find_all()[0].id,
                target_type="task",
                title="t",
            )
        patch = data.draw(given_by.patches(type(repository), name))
        is_session = attribute == "chat_sessions"
        row = known["chat_session_id"] if is_session else repository.find_all()[0].id
        changed = getattr(repository, name)(row, **patch)
        assert {key: shown(getattr(changed, key)) for key in patch} == patch


@pytest.mark.parametrize(("attribute", "name"), methods(("update",)))
def test_every_key_of_every_patch_comes_up(attribute: str, name: str) -> None:
    kind = repositories()[attribute]
    parameters = inspect.signature(getattr(kind, name)).parameters.values()
    (patch,) = (one for one in parameters if one.kind is one.VAR_KEYWORD)
    seen: set[str] = set()

    @given(given_by.patches(kind, name))
    def collect(made: dict[str, Any]) -> None:
        seen.update(made)

    collect()
    assert seen == get_args(patch.annotation)[0].__annotations__.keys()


@pytest.mark.parametrize(
    ("what", "strategy", "wanted"),
    [
        ("empty text", given_by.texts(), lambda text: text == ""),
        ("huge text", given_by.texts(), lambda text: len(text) > 16_384),
        ("the last plane", given_by.texts(), lambda text: any(c > "\U000fffff" for c in text)),
        ("the least number", given_by.integers(), lambda number: number == -(2**63)),
        ("the greatest number", given_by.integers(), lambda number: number == 2**63 - 1),
        ("year 1", given_by.times(), lambda time: time.astimezone(UTC).year == 1),
        ("year 9999", given_by.times(), lambda time: time.astimezone(UTC).year == 9999),
        ("another zone", given_by.times(), lambda time: bool(time.utcoffset())),
        ("deep JSON", given_by.json_texts(), lambda text: text.startswith("[" * 500)),
        ("a plain member", given_by.members(TaskStatus), lambda one: type(one) is str),
    ],
)
def test_the_nasty_values_come_up(what: str, strategy: st.SearchStrategy[Any], wanted: Any) -> None:
    find(strategy, wanted, settings=settings(max_examples=5_000, database=None))


@given(given_by.texts(), given_by.ids(), given_by.times(), given_by.json_texts())
def test_nothing_that_cannot_be_stored_comes_up(
    text: str, id: str, time: datetime, json: str
) -> None:
    assert id
    assert not {"\0"} & set(text + id + json)
    (text + id + json).encode()
    assert 1 <= time.astimezone(UTC).year <= 9999


def test_references_that_are_not_given_are_left_out_or_unknown() -> None:
    @given(given_by.arguments(TaskRepository), given_by.arguments(PhaseRepository))
    def check(task: dict[str, Any], phase: dict[str, Any]) -> None:
        assert not {"phase_id", "initiative_id", "parent_task_id"} & task.keys()
        assert phase["initiative_id"]

    check()


def test_a_number_of_a_line_counts_from_one() -> None:
    @given(given_by.arguments(ReviewCommentRepository))
    def check(comment: dict[str, Any]) -> None:
        assert comment["line_number"] >= 1

    check()


PATCHES = [name for name in dir(cwstore) if name.endswith("Patch")]


@pytest.mark.parametrize("name", PATCHES)
def test_a_patch_of_ours_has_strategies_by_its_name(name: str) -> None:
    patch = getattr(cwstore, name)
    seen: set[str] = set()

    @given(given_by.patches(patch))
    def collect(made: dict[str, Any]) -> None:
        seen.update(made)

    collect()
    assert seen == patch.__annotations__.keys()


def test_a_patch_of_a_service_has_strategies_by_its_repository() -> None:
    made = find(given_by.patches(WishRepository), lambda one: "text" in one)
    assert made["text"]  # the row says that it is not empty
    with pytest.raises(
        TypeError, match=r"^WishPatch is no patch of cwstore: give your repository class instead$"
    ):
        given_by.patches(WishPatch)


class _Patch(typing_extensions.TypedDict, total=False):
    text: str


class _Wishes(WishRepository):
    @command
    def rewrite(self, id: str, **patch: Unpack[_Patch]) -> Wish:
        raise NotImplementedError


def test_a_patch_of_typing_extensions_has_strategies_too() -> None:
    """Which pydantic wants on Python 3.11 of who takes a patch as a body."""
    assert find(given_by.patches(_Wishes, "rewrite"), bool).keys() == {"text"}


def test_what_the_strategies_hand_out_is_listed() -> None:
    made_here = {
        name
        for name, value in vars(given_by).items()
        if inspect.isfunction(value) and value.__module__ == given_by.__name__
    }
    assert {name for name in made_here if not name.startswith("_")} == set(given_by.__all__)


def test_a_method_without_a_patch_is_told() -> None:
    with pytest.raises(
        TypeError, match=r"^the method takes no patch; give one that does, such as `update`$"
    ):
        given_by.patches(MessageRepository, "find_all")


def test_a_patch_of_many_rows_has_strategies_too() -> None:
    made = given_by.patches(ProposalRepository, "update_many_by_agent_id")
    assert len(find(made, bool)) == 1


@given(given_by.arguments(ChangeSetRepository))
def test_entries_of_a_change_set_fit_their_action(made: dict[str, Any]) -> None:
    for entry in made["entries"]:
        assert ("previous_state" in entry) == (entry["action"] != "create")
        assert ("new_state" in entry) == (entry["action"] != "delete")


# The pytest plugin


def test_the_fixture_is_an_empty_store_of_its_own(cwstore_store: Store, tmp_path: Path) -> None:
    assert cwstore_store.initiatives.find_all() == []
    cwstore_store.initiatives.create(name="only here")
    file = tmp_path / "cwstore.db"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Store.open(file) as again:
        assert [one.name for one in again.initiatives.find_all()] == ["only here"]


def test_what_another_test_wrote_is_not_there(cwstore_store: Store) -> None:
    assert cwstore_store.initiatives.find_all() == []
    cwstore_store.initiatives.create(name="only here")


@pytest.mark.parametrize(
    "named",
    [pytest.param("", marks=pytest.mark.slow), 'pytest_plugins = ["cwstore.testing.plugin"]\n'],
)
def test_the_plugin_serves_a_service_whether_it_names_it_or_not(tmp_path: Path, named: str) -> None:
    (tmp_path / "conftest.py").write_text(named, encoding="utf-8")
    (tmp_path / "test_it.py").write_text(
        "def test_it(cwstore_store):\n    cwstore_store.tasks.create(name='t')\n", encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_plugin_is_announced_to_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = "cwstore.testing.plugin"
    assert project["entry-points"]["pytest11"] == {name: name}


def test_the_plugin_loads_no_more_of_the_package_than_it_must() -> None:
    script = (
        "import sys, cwstore.testing.plugin\n"
        "print(sorted(name for name in sys.modules if name.startswith('cwstore')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['cwstore', 'cwstore.testing', 'cwstore.testing.plugin']\n"


def test_a_name_that_the_package_does_not_have_is_no_attribute() -> None:
    assert not hasattr(testing, "check_statement")
    assert {name for name in testing.__all__ if hasattr(testing, name)} == set(testing.__all__)


def test_the_checker_needs_neither_pytest_nor_hypothesis() -> None:
    script = (
        "import sys; from cwstore.testing import check_statements\n"
        "print({'pytest', 'hypothesis'} & {name.partition('.')[0] for name in sys.modules})"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_table_shows_what_each_statement_reads_writes_and_uses(tmp_path: Path) -> None:
    table = Service(tmp_path).report().table()
    assert (
        "notes._DUE\n"
        "    SEARCH notes USING INDEX notes_due_ix (due_at<?)\n"
        "    reads: notes | writes: - | indexes: notes_due_ix\n"
    ) in table
    assert "reads: notes, owners | writes: notes | indexes: -" in table


def test_methods_that_return_no_row_have_arguments_too() -> None:
    @given(given_by.arguments(PhaseRepository, "create_dependency"))
    def check(edge: dict[str, Any]) -> None:
        assert edge.keys() == {"phase_id", "depends_on_phase_id"}

    check()


def test_a_patch_is_no_part_of_the_arguments() -> None:
    assert find(given_by.arguments(TaskRepository, "update"), bool).keys() == {"id"}
