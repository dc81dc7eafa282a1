"""Here the database of a test lies on PostgreSQL."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.kits.postgres import address_of


@pytest.fixture(scope="session")
def engine() -> str:
    """See `tests/conftest.py`."""
    return "postgresql"


@pytest.fixture
def address(file: object) -> str:
    """Of the database of the test."""
    found = address_of(file)
    assert found is not None
    return found


@pytest.fixture
def superuser(address: str) -> "Iterator[psycopg.Connection[tuple[Any, ...]]]":
    """A connection to the database of the test that commits each statement."""
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection
