"""An entity is a dataclass in every respect, whatever is asked of it first."""

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from cwstore.core import entity
from cwstore.core.mapping import compile_row_mapper


def point_made_by(decorator: Any) -> Any:
    """A class of two fields and a method, that nobody has used yet."""

    @decorator(frozen=True, slots=True)
    class Point:
        """A place."""

        x: int
        label: str | None

        def moved(self, by: int) -> "Point":
            return Point(self.x + by, self.label)

    return Point


def outcome(ask: Callable[[Any, Any], Any], decorator: Any) -> object:
    """What is answered about a row that was just read, or how it is refused."""
    point = point_made_by(decorator)
    row = compile_row_mapper(point)((1, "a"))
    try:
        return ask(point, row)
    except (AttributeError, TypeError) as error:
        return type(error)


def by_pattern(point: Any, row: Any) -> object:
    match row:
        case point(x, label):
            return x, label
        case _:
            return None


def assign(_: Any, row: Any) -> None:
    row.x = 2


def delete(_: Any, row: Any) -> None:
    del row.x


QUESTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "repr": lambda _, row: repr(row),
    "equal": lambda point, row: row == point(1, "a"),
    "not equal": lambda point, row: row == point(1, "b"),
    "of another class": lambda _, row: row == (1, "a"),
    "hash": lambda point, row: hash(row) == hash(point(1, "a")),
    "constructor": lambda point, _: repr(point(x=3, label=None)),
    "too few arguments": lambda point, _: point(3),
    "signature": lambda point, _: str(inspect.signature(point)),
    "docstring": lambda point, _: point.__doc__,
    "its method": lambda _, row: repr(row.moved(1)),
    "pattern": by_pattern,
    "assign": assign,
    "delete": delete,
    "copy": lambda _, row: copy.copy(row) == row,
    "deep copy": lambda _, row: copy.deepcopy(row) == row,
    "state": lambda _, row: row.__getstate__(),
    "is a dataclass": lambda point, row: (
        dataclasses.is_dataclass(point),
        dataclasses.is_dataclass(row),
    ),
    "fields": lambda point, _: [(one.name, one.type) for one in dataclasses.fields(point)],
    "parameters": lambda point, _: repr(point.__dataclass_params__),
    "replace": lambda _, row: repr(dataclasses.replace(row, x=5)),
    "asdict": lambda _, row: dataclasses.asdict(row),
    "astuple": lambda _, row: dataclasses.astuple(row),
    "no other attribute": lambda _, row: hasattr(row, "__dict__"),
    "a field of its own": lambda _, row: (row.x, row.label),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_what_is_asked_of_an_entity_first_is_answered_as_by_a_dataclass(question: str) -> None:
    ask = QUESTIONS[question]
    assert outcome(ask, entity.dataclass) == outcome(ask, dataclasses.dataclass)


def test_a_row_that_was_read_tells_that_it_cannot_be_changed() -> None:
    row = compile_row_mapper(point_made_by(entity.dataclass))((1, "a"))
    with pytest.raises(dataclasses.FrozenInstanceError, match="field 'x' of a row"):
        row.x = 2
