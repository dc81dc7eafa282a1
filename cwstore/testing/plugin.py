"""The pytest plugin: a fresh store on a file for each test, in about 1 ms, called or awaited."""

import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Imported on use: plugins are loaded before the coverage of a test run is measured.
if TYPE_CHECKING:
    from cwstore.aio import AsyncStore
    from cwstore.store import Store


@pytest.fixture(scope="session")
def cwstore_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database at the newest version without rows, closed: to copy, not to open."""
    from cwstore.store import Store

    file = tmp_path_factory.mktemp("cwstore") / "template.db"
    Store.open(file).close()
    # A live file would have one, and a copy without it might lack rows.
    assert not file.with_name("template.db-wal").exists()
    return file


@pytest.fixture
def cwstore_store(cwstore_template: Path, tmp_path: Path) -> Iterator["Store"]:
    """An empty store of this test's own, on `tmp_path / "cwstore.db"`; closed at the end."""
    from cwstore.store import Store

    file = tmp_path / "cwstore.db"
    shutil.copy(cwstore_template, file)
    with Store.open(file, backup=False) as store:
        yield store


@pytest.fixture
async def cwstore_opened_async_store(
    cwstore_template: Path, tmp_path: Path
) -> "AsyncGenerator[AsyncStore]":
    """What `cwstore_async_store` is in a test that anyio's plugin runs."""
    async with _open_copy(cwstore_template, tmp_path) as store:
        yield store


@pytest.fixture
def cwstore_async_store(
    request: pytest.FixtureRequest, cwstore_template: Path, tmp_path: Path
) -> "AbstractAsyncContextManager[AsyncStore]":
    """An empty AsyncStore: `async with cwstore_async_store as store`, under asyncio or trio.

    In a test that anyio's plugin runs (`@pytest.mark.anyio`) it is open already, and closed at the
    end; there it can be used without `async with` as well.
    """
    if "anyio_backend" in request.fixturenames:
        opened: AsyncStore = request.getfixturevalue("cwstore_opened_async_store")
        return opened
    return _open_copy(cwstore_template, tmp_path)


@asynccontextmanager
async def _open_copy(template: Path, folder: Path) -> "AsyncGenerator[AsyncStore]":
    from cwstore.aio import AsyncStore

    file = folder / "cwstore.db"
    shutil.copy(template, file)
    async with await AsyncStore.open(file, backup=False) as store:
        yield store
