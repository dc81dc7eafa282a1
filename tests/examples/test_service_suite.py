"""A pytest suite of a service: the fixtures of `cwstore[testing]`, called and awaited."""

import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from cwstore import AsyncStore, Store, StoreClosedError

SUITE = '''
import asyncio

import pytest
from cwstore import AsyncStore, Store, Task


def add(store: Store, name: str) -> Task:
    """What the service does."""
    return store.tasks.create(name=name)


def test_it_adds(cwstore_store):
    assert add(cwstore_store, "a").name == "a"
    assert len(cwstore_store.tasks.find_all()) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_adds_under_anyio(cwstore_async_store, anyio_backend):
    assert isinstance(cwstore_async_store, AsyncStore)
    await cwstore_async_store.tasks.create(name="b")
    assert len(await cwstore_async_store.tasks.find_all()) == 1


def test_it_adds_under_asyncio_alone(cwstore_async_store):
    async def run():
        async with cwstore_async_store as store:
            await store.tasks.create(name="c")
            return await store.tasks.find_all()

    assert [task.name for task in asyncio.run(run())] == ["c"]
'''


@pytest.mark.slow
def test_a_suite_of_a_service_runs_without_a_warning(tmp_path: Path) -> None:
    (tmp_path / "test_service.py").write_text(SUITE, encoding="utf-8")
    program = "import cwstore, pytest, sys; sys.exit(pytest.main(['-q', '-W', 'error']))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "4 passed"), done.stdout


CONFTEST = """
import pytest
from cwstore import Store


@pytest.fixture(scope="session")
def cwstore_template(tmp_path_factory):
    file = tmp_path_factory.mktemp("ours") / "template.db"
    with Store.open(file) as store:
        store.projects.create(name="ours", url="u")
    return file
"""
OWN_TEMPLATE = """
import asyncio


def test_it_begins_with_rows_of_its_own(cwstore_store):
    assert [project.name for project in cwstore_store.projects.find_all()] == ["ours"]


def test_it_does_so_awaited(cwstore_async_store):
    async def run():
        async with cwstore_async_store as store:
            return [project.name for project in await store.projects.find_all()]

    assert asyncio.run(run()) == ["ours"]
"""


def test_a_suite_may_begin_with_a_template_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "test_ours.py").write_text(OWN_TEMPLATE, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1][:8]) == (0, "2 passed"), done.stdout


def test_the_async_fixture_opens_under_whatever_runs(
    cwstore_async_store: AsyncStore, cwstore_store: Store
) -> None:
    async def run() -> str:
        async with cwstore_async_store as store:
            name = (await store.tasks.create(name="t")).name
        with pytest.raises(StoreClosedError):
            await store.tasks.find_all()
        return name

    assert anyio.run(run, backend="trio") == "t"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_under_anyio_it_is_open_already(cwstore_async_store: AsyncStore) -> None:
    assert (await cwstore_async_store.tasks.create(name="t")).name == "t"
