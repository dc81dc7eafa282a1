"""The engine has what the port asks for."""

import inspect
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

import pytest

from cwstore._sqlite.engine import SqliteDatabase, open_database
from cwstore.core.mapping import compile_mapper, compile_row_mapper
from cwstore.core.port import Database, Engine, OpenDatabase
from cwstore.errors import CorruptDatabaseError


def as_port(database: SqliteDatabase) -> Database:
    """That this is right is for the type checker to say."""
    return database


METHODS = [
    (port, name)
    for port in (Database, OpenDatabase)
    for name, member in vars(port).items()
    if inspect.isfunction(member) and not name.startswith("_")
]


@pytest.mark.parametrize(("port", "name"), METHODS)
def test_a_method_of_the_port_takes_the_same_arguments_in_the_engine(port: type, name: str) -> None:
    asked = inspect.signature(getattr(port, name)).parameters.values()
    given = inspect.signature(getattr(SqliteDatabase, name)).parameters.values()
    assert [(one.name, one.kind) for one in given] == [(one.name, one.kind) for one in asked]


def test_an_engine_opens_with_the_arguments_that_the_store_gives() -> None:
    _, *asked = inspect.signature(Engine.open_database).parameters.values()
    given = inspect.signature(open_database).parameters.values()
    assert [(one.name, one.kind) for one in given] == [(one.name, one.kind) for one in asked]


class Colour(StrEnum):
    """Of a dot."""

    RED = "red"


class Dot(NamedTuple):
    """A row type that is a tuple."""

    name: str
    colour: Colour
    seen_at: datetime | None
    shown: bool


def test_rows_can_be_named_tuples() -> None:
    rows = [("a", "red", 1, 0), ("b", "red", None, 1)]
    dots = [
        Dot("a", Colour.RED, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), False),
        Dot("b", Colour.RED, None, True),
    ]
    made = compile_mapper(Dot, written=False)(rows)
    assert made == dots
    assert {type(one) for one in made} == {Dot}
    assert [compile_row_mapper(Dot)(row) for row in rows] == dots
    with pytest.raises(CorruptDatabaseError, match="a row does not fit Dot"):
        compile_row_mapper(Dot)(("a", "blue", 1, 0))
