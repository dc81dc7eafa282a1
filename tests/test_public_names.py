"""The names that the package hands out: each listed once, each at home in `cwstore`."""

import ast
import asyncio
import base64
import copy
import inspect
import pickle
import pkgutil
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest

import cwstore
import cwstore.aio
from cwstore import entities, errors
from cwstore.core.repository import Repository
from cwstore.entities import registry
from cwstore.entities.registry import ENTITIES, repository_class
from cwstore.store import Store
from tests.kits.database import OpenStore, open_async
from tests.kits.entities import SetClock

NAMES = [name for name in dir(cwstore) if name != "__version__"]
CLASSES = [name for name in NAMES if isinstance(getattr(cwstore, name), type)]
#: Rows of tables that no method returns.
EDGES = {"TaskDependency", "PhaseDependency", "InitiativeProject"}


def tree_of(file: str | None) -> ast.Module:
    assert file
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def seen_by_type_checkers(tree: ast.Module) -> list[ast.stmt]:
    """What stands under the first `if TYPE_CHECKING`."""
    return next(
        node.body
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )


def said(program: str, *options: str) -> str:
    """What a new process prints. It must succeed."""
    command = [sys.executable, *options, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# The registry


@pytest.mark.parametrize("attribute", ENTITIES)
def test_the_registry_names_what_the_module_of_an_entity_defines(attribute: str) -> None:
    module = import_module(f"cwstore.entities.{attribute}")
    repository, *others = ENTITIES[attribute].split()
    assert sorted([repository, *others]) == sorted(module.__all__)
    assert repository_class(attribute) is getattr(module, repository)
    assert issubclass(repository_class(attribute), Repository)
    defined = {
        node.name
        for node in tree_of(module.__file__).body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    }
    assert defined - EDGES <= set(module.__all__)


def test_every_module_with_a_repository_is_in_the_registry() -> None:
    modules = {
        name
        for _, name, _ in pkgutil.iter_modules(entities.__path__)
        if any(
            isinstance(value, type) and issubclass(value, Repository) and value is not Repository
            for value in vars(import_module(f"cwstore.entities.{name}")).values()
        )
    }
    assert modules == set(ENTITIES)


def test_type_checkers_see_each_repository_as_an_attribute_of_a_store() -> None:
    (seen,) = [
        node
        for node in seen_by_type_checkers(tree_of(registry.__file__))
        if isinstance(node, ast.ClassDef)
    ]
    declared = {
        ast.unparse(node.target): ast.unparse(node.annotation)
        for node in seen.body
        if isinstance(node, ast.AnnAssign)
    }
    assert declared == {
        attribute: f"{names.split()[0]}[Mode]" for attribute, names in ENTITIES.items()
    }


def test_a_store_lists_its_repositories_and_makes_each_once(store: Store) -> None:
    assert set(ENTITIES) <= set(dir(store))
    for attribute in ENTITIES:
        repository = getattr(store, attribute)
        assert type(repository) is repository_class(attribute)
        assert getattr(store, attribute) is repository


# The package


def names_seen_by_type_checkers() -> Iterator[str]:
    for node in seen_by_type_checkers(tree_of(cwstore.__file__)):
        assert isinstance(node, ast.ImportFrom)
        assert node.module
        module = import_module(node.module)
        for alias in node.names:
            if alias.name != "*":
                yield alias.name
            elif module is errors:
                yield from (name for name in vars(errors) if name.endswith(("Error", "Reason")))
            else:
                yield from module.__all__


def test_type_checkers_see_the_names_that_can_be_imported() -> None:
    assert sorted(names_seen_by_type_checkers()) == NAMES


def test_help_begins_with_what_to_use() -> None:
    text = pydoc.plain(pydoc.render_doc(cwstore))
    begin = text.index("Begin with `Store.open(path)`, or `await AsyncStore.open(path)`")
    assert begin < text.index("PACKAGE CONTENTS")


def test_a_star_import_brings_every_public_name() -> None:
    names: dict[str, Any] = {}
    exec("from cwstore import *", names)
    assert sorted(names.keys() - {"__builtins__"}) == dir(cwstore)


def test_a_name_that_is_not_public_cannot_be_imported() -> None:
    with pytest.raises(AttributeError, match="module 'cwstore' has no attribute 'Tasks'"):
        getattr(cwstore, "Tasks")  # noqa: B009
    with pytest.raises(AttributeError, match=r"module 'cwstore\.aio' has no attribute 'Tasks'"):
        getattr(cwstore.aio, "Tasks")  # noqa: B009


def test_the_async_store_has_two_public_places() -> None:
    assert cwstore.aio.AsyncStore is cwstore.AsyncStore


@pytest.mark.parametrize("room", ["aio", "core", "errors"])
def test_a_public_module_is_there_before_anybody_imports_it(room: str) -> None:
    """Type checkers see it, too: `except cwstore.errors.BusyError`."""
    assert said(f"import cwstore; print(cwstore.{room}.__name__)") == f"cwstore.{room}"


def test_no_package_imports_its_own_modules_when_it_is_imported() -> None:
    """Else a thread that imports such a module, and one that imports the package, get half of it.

    The command line is begun by one thread.
    """
    root = Path(cwstore.__path__[0])
    for file in {*root.rglob("__init__.py")} - {root / "cli" / "__init__.py"}:
        package = ".".join(("cwstore", *file.parent.relative_to(root).parts))
        body = ast.parse(file.read_text(encoding="utf-8")).body
        named = {node.module for node in body if isinstance(node, ast.ImportFrom) and node.module}
        assert not {name for name in named if name.startswith(f"{package}.")}, file


def test_a_name_that_is_patched_before_it_is_used_comes_back() -> None:
    program = """
import cwstore
from unittest import mock

with mock.patch("cwstore.Store") as patched:
    assert cwstore.Store is patched
with mock.patch("cwstore.restore", autospec=True):
    try:
        cwstore.restore("backup")
    except TypeError as error:
        print(cwstore.Store.__name__, error)
"""
    assert said(program) == "Store missing a required argument: 'path'"


def test_after_a_reload_each_class_is_still_the_same() -> None:
    program = """
import cwstore
from importlib import reload

before = {name: getattr(cwstore, name) for name in dir(cwstore)}
reload(cwstore)
print(before == {name: getattr(cwstore, name) for name in dir(cwstore)})
"""
    assert said(program) == "True"


@pytest.mark.slow
def test_every_module_can_be_imported_without_docstrings_and_warns_of_nothing() -> None:
    program = """
import pkgutil, sys
from importlib import import_module
import cwstore

names = [one.name for one in pkgutil.walk_packages(cwstore.__path__, "cwstore.")]
for name in names:
    if not name.endswith(("__main__", "hook-cwstore")):
        import_module(name)
"""
    assert said(program, "-OO", "-W", "error") == ""


# The home of a class


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_says_its_public_home(name: str) -> None:
    kind = getattr(cwstore, name)
    home = "cwstore.errors" if hasattr(errors, name) else "cwstore"
    assert (kind.__module__, kind.__qualname__) == (home, name)
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert f"class {name} in module {home}" in pydoc.render_doc(kind)
    if not issubclass(kind, StrEnum):  # whose repr names no module
        assert repr(kind) == f"<class '{home}.{name}'>"


@pytest.mark.parametrize("name", ["migrate", "rehearse", "restore", "status"])
def test_a_function_says_its_public_home_and_its_source_is_found(name: str) -> None:
    function = getattr(cwstore, name)
    assert (function.__module__, function.__qualname__) == ("cwstore", name)
    assert pickled(function) is function
    assert f"function {name} in module cwstore\n" in pydoc.plain(pydoc.render_doc(function))
    assert f"def {name}(" in inspect.getsource(function)
    assert get_type_hints(function)


@pytest.mark.parametrize("name", CLASSES)
def test_the_source_of_a_class_is_its_own_or_is_not_found(name: str) -> None:
    """`inspect` looks in the file of the public home, which has none: never another's lines."""
    kind = getattr(cwstore, name)
    try:
        source = inspect.getsource(kind)
    except OSError:
        assert not hasattr(errors, name)
    else:
        assert f"class {name}" in source.partition("\n    ")[0]


def test_the_source_of_a_method_is_found() -> None:
    assert "def claim(" in inspect.getsource(vars(cwstore.TaskRepository)["claim"])
    assert "def transaction(" in inspect.getsource(cwstore.Store.transaction)


def pickled(value: object) -> object:
    """What comes back; the pickle must name no private module."""
    text = pickle.dumps(value)
    for private in (b"cwstore.entities", b"cwstore.core", b"cwstore._"):
        assert private not in text
    return pickle.loads(text)


@pytest.mark.parametrize("name", [name for name in CLASSES if is_dataclass(getattr(cwstore, name))])
def test_a_row_and_a_report_come_back_from_a_pickle_and_a_copy(name: str) -> None:
    kind = getattr(cwstore, name)
    made = kind(**{field.name: field.name for field in fields(kind)})
    for back in (pickled(made), copy.copy(made), copy.deepcopy(made), replace(made)):
        assert back == made
        assert type(back) is kind


@pytest.mark.parametrize(
    "name", [name for name in CLASSES if issubclass(getattr(cwstore, name), StrEnum)]
)
def test_the_members_of_an_enum_come_back_from_a_pickle_as_themselves(name: str) -> None:
    for member in getattr(cwstore, name):
        assert pickled(member) is member


@pytest.mark.parametrize("name", [name for name in CLASSES if name.endswith("Error")])
def test_an_error_comes_back_from_a_pickle_with_its_message(name: str) -> None:
    kind = getattr(cwstore, name)
    error = kind("sort_order", "too: large") if name == "InvalidValueError" else kind("a: b")
    error.add_note("cwstore: cancelled")
    back = pickled(error)
    assert type(back) is kind
    assert (str(back), vars(back)) == (str(error), vars(error))


def test_a_process_that_has_imported_nothing_can_read_a_pickled_row(store: Store) -> None:
    task = store.tasks.create(name="shipped")
    done = subprocess.run(
        [sys.executable, "-c", "import pickle, sys; print(pickle.load(sys.stdin.buffer))"],
        input=pickle.dumps(task),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.decode().strip() == repr(task)


#: A task, as it was pickled when this package was laid out as it is now. It lies in caches and
#: queues of services, which outlive an upgrade: it shall be read whatever moves.
_KEPT = (
    "gASV+gAAAAAAAACMB2N3c3RvcmWUjARUYXNrlJOUKYGUXZQojAF0lE5OTmgFTmgAjAhUYXNrVHlwZZSTlIwEYXV0b5SF"
    "lFKUaACMDFRhc2tDYXRlZ29yeZSTlIwHZXhlY3V0ZZSFlFKUaACMDFRhc2tQcmlvcml0eZSTlIwEaGlnaJSFlFKUaACM"
    "ClRhc2tTdGF0dXOUk5SMB3BlbmRpbmeUhZRSlE5LAE6MCGRhdGV0aW1llIwIZGF0ZXRpbWWUk5RDCgfqAQIDBAUAAAaU"
    "aBqMCHRpbWV6b25llJOUaBqMCXRpbWVkZWx0YZSTlEsASwBLAIeUUpSFlFKUhpRSlGgnZWIu"
)


def test_a_row_that_an_earlier_release_pickled_can_be_read(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC))) as store:
        task = store.tasks.create(name="t", id="t", priority="high")
    assert pickle.loads(base64.b64decode(_KEPT)) == task


def test_what_is_open_is_neither_pickled_nor_copied_and_says_what_to_do(store: Store) -> None:
    async def refused() -> list[str]:
        async with await open_async(":memory:") as awaited:
            feeds = [store.changes(), await awaited.changes()]
            return [why_not(one) for one in (store, store.tasks, awaited, awaited.tasks, *feeds)]

    kinds = "Store TaskRepository AsyncStore AsyncTaskRepository ChangeFeed AsyncChangeFeed"
    assert asyncio.run(refused()) == [
        f"cannot pickle or copy '{kind}' object: it belongs to this process; give the other one the"
        " path, and let it open a store of its own"
        for kind in kinds.split()
    ]


def why_not(one: object) -> str:
    told: set[str] = set()
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            leave(one)
        told.add(str(caught.value))
    (reason,) = told
    return reason


@pytest.mark.parametrize("module", ["cwstore", "cwstore.aio", "cwstore.testing"])
def test_names_are_listed_before_they_are_first_used(module: str) -> None:
    """For completion and for documentation: `help`, `inspect.getmembers`, `dir`."""
    program = f"import {module} as one; print(set(one.__all__) - set(dir(one)) or 'all')"
    assert said(program) == "all"


# What a process pays for


OPEN_AND_FIND = """
import sys

before = {*sys.modules}  # coverage has its own
from cwstore import Store

with Store.open(sys.argv[1]) as store:
    assert store.tasks.find_by_id(sys.argv[2]).name == "found"
loaded = sys.modules.keys() - before
print(*sorted(name for name in loaded if name.partition(".")[0] == "cwstore"))
assert not loaded & {"ast", "dataclasses", "inspect", "logging"}, loaded
"""


def test_a_process_that_opens_a_store_and_finds_one_row_loads_only_these_modules(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path / "cold.db") as store:
        task = store.tasks.create(name="found")
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_FIND, tmp_path / "cold.db", task.id],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [
        "cwstore",
        "cwstore._sqlite",
        "cwstore._sqlite.apsw_types",
        "cwstore._sqlite.busy_handler",
        "cwstore._sqlite.connection",
        "cwstore._sqlite.database_file",
        "cwstore._sqlite.engine",
        "cwstore._sqlite.error_map",
        "cwstore._sqlite.file_names",
        "cwstore._sqlite.fork",
        "cwstore._sqlite.network_disk",
        "cwstore._sqlite.reader_pool",
        "cwstore._sqlite.transaction",
        "cwstore._sqlite.version",
        "cwstore._sqlite.writer",
        "cwstore.core",
        "cwstore.core.blocks",
        "cwstore.core.checks",
        "cwstore.core.clock",
        "cwstore.core.database",
        "cwstore.core.drivers",
        "cwstore.core.entity",
        "cwstore.core.faults",
        "cwstore.core.health_report",
        "cwstore.core.ids",
        "cwstore.core.mapping",
        "cwstore.core.repository",
        "cwstore.core.statement",
        "cwstore.core.writer_lock",
        "cwstore.entities",
        "cwstore.entities.registry",
        "cwstore.entities.task",
        "cwstore.entities.tasks",
        "cwstore.errors",
        "cwstore.migrations",
        "cwstore.migrations.ledger",
        "cwstore.migrations.scripts",
        "cwstore.store",
    ]
