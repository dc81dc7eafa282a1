"""Hypothesis profiles: `ci` repeats itself exactly, `deep` searches long and anew at each run."""

import faulthandler
import importlib
import os
import pkgutil
import signal
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import cwstore
from cwstore.store import Store
from tests.kits.database import OpenStore, copy_database, open_at
from tests.kits.postgres_server import ADDRESSES, Server, running_server

pytest_plugins = ["cwstore.testing.plugin"]

# A process that a shell starts in the background ignores Ctrl-C, and so do its children. The tests
# interrupt some of theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a slow machine must not fail a test.
settings.register_profile(
    "ci",
    max_examples=60,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep",
    max_examples=3_000,
    stateful_step_count=80,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# pytest reads `--hypothesis-profile` later than this, so that option wins.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(2)  # not yet caught by pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    """Watch the teardown too: pytest stops its watchdog when a test fails; a fixture may hang."""
    seconds = float(item.config.getini("faulthandler_timeout"))
    if seconds:
        faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[_STDERR])
    return (yield)


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Every module, before any test replaces something.

    One that is loaded while a function of another is replaced takes the replacement, for good.
    """
    for module in pkgutil.walk_packages(cwstore.__path__, "cwstore."):
        if module.name.split(".")[1] not in {"__main__", "_pyinstaller", "otel"}:
            importlib.import_module(module.name)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database that nobody has open: to copy, which is 20 times as fast."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_at(path).close()
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The server of this process, started when first asked for."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_on_postgres(postgres_server: Server) -> str:
    """As `migrated`: the name of a database to copy."""
    name = postgres_server.new_database()
    open_at(postgres_server.address(name)).close()
    return name


#: What every engine must pass: it runs once on each. Those here are fast enough for every run of
#: the tests, all others are `slow` on PostgreSQL.
ON_EVERY_ENGINE = (
    "tests/entities/",
    "tests/aio/test_store.py",
    "tests/engine/test_batches.py",
    "tests/engine/test_changes.py",
    "tests/engine/test_order.py",
    "tests/engine/test_query.py",
    "tests/engine/test_tailing.py",
    "tests/engine/test_threads.py",
    "tests/engine/test_reentry.py",
    "tests/engine/test_errors.py",
    "tests/engine/test_transactions.py",
    "tests/engine/test_contract.py",
    "tests/engine/test_fork.py",
    "tests/engine/test_frozen_time.py",
    "tests/engine/test_interrupts.py",
    "tests/engine/test_model.py",
    "tests/engine/test_paging.py",
    "tests/engine/test_processes.py",
    "tests/engine/test_seeing_it_run.py",
    "tests/test_otel.py",
)
FAST_ON_POSTGRESQL = {"test_initiatives", "test_transactions"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a database of the test on both engines, where it is what both must pass."""
    path = metafunc.definition.nodeid
    if "engine" not in metafunc.fixturenames or not path.startswith(ON_EVERY_ENGINE):
        return
    engines: list[object] = [pytest.param("sqlite", id=pytest.HIDDEN_PARAM)]
    if metafunc.definition.get_closest_marker("only_sqlite") is None:
        marks = [pytest.mark.postgresql]
        if metafunc.definition.path.stem not in FAST_ON_POSTGRESQL:
            marks.append(pytest.mark.slow)
        engines.append(pytest.param("postgresql", marks=marks))
    metafunc.parametrize("engine", engines, indirect=True)


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest) -> str:
    """The engine of the database of the test."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="session")
def migrated_here(
    engine: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """As `migrated`, on the engine of the test."""
    if engine == "sqlite":
        return request.getfixturevalue("migrated")
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    server: Server = request.getfixturevalue("postgres_server")
    ADDRESSES[str(path)] = server.address(request.getfixturevalue("migrated_on_postgres"))
    return path


@pytest.fixture
def file(tmp_path: Path, engine: str, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The database of the test; nothing is there unless it asks for `store` or `open_store`.

    On PostgreSQL the path stands for a database: the kit knows its address.
    """
    path = tmp_path / "store.db"
    if engine == "sqlite":
        yield path
        return
    server: Server = request.getfixturevalue("postgres_server")
    database = server.new_database(request.getfixturevalue("migrated_on_postgres"))
    ADDRESSES[str(path)] = server.address(database)
    yield path
    del ADDRESSES[str(path)]
    server.drop(database)


@pytest.fixture
def open_store(file: Path, engine: str, migrated: Path) -> OpenStore:
    """Opens a store on the database of the test, which is migrated; the test closes it."""
    if engine == "sqlite":
        copy_database(migrated, file)
    return partial(open_at, file)


@pytest.fixture
def store(open_store: OpenStore) -> Iterator[Store]:
    """A new, migrated store on the database of the test."""
    with open_store() as opened:
        yield opened
