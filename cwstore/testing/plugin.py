"""The pytest plugin: `cwstore_store`, a fresh store on a file for each test, in about 1 ms."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Imported on use: plugins are loaded before the coverage of a test run is measured.
if TYPE_CHECKING:
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
