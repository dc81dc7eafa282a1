"""For the tests of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tools._python.faults.place import scratch


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in memory where there is room: disks are laid out in it by the hundred."""
    with scratch() as made:
        yield made
