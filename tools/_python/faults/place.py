"""Where disks are laid out: in memory if there is room, since thousands of them are made."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def scratch() -> Generator[Path, None, None]:
    """A new directory, removed afterwards."""
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="cwstore-faults-", dir=place) as made:
        yield Path(made).resolve()
