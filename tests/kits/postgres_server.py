"""The PostgreSQL server of the tests, and the databases that paths stand for."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tools._python import postgres
from tools._python.postgres import Server

__all__ = ["ADDRESSES", "Server", "running_server"]

#: The addresses of databases, by the path that stands for each in tests.
ADDRESSES: dict[str, str] = {}


@contextmanager
def running_server(**changed: str) -> Generator[Server, None, None]:
    """A server whose settings may be `changed`. Skips the test where it cannot be had."""
    try:
        postgres.binaries()
    except postgres.NoServerError as error:
        pytest.skip(str(error))
    with postgres.running_server(**changed) as server:
        yield server
