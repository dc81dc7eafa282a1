"""Read the items of a batch; an error says which item it is about."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from cwstore.core.faults import of_item
from cwstore.errors import ConflictError, InvalidValueError, MissingReferenceError

T = TypeVar("T")


def several(field: str, items: object) -> list[object]:
    """The items of a batch, read to the end. Raises InvalidValueError if they are none."""
    kind = type(items).__name__
    if isinstance(items, str | Mapping) or not isinstance(items, Iterable):
        raise InvalidValueError(field, f"expected several, got {kind}")
    return list(cast(Iterable[object], items))


def act_on(index: int, function: Callable[[Any], T], item: object) -> T:
    """What the function returns for the item; an error about it then says which item it was."""
    try:
        return function(item)
    except InvalidValueError as error:
        fault = of_item(error, index)
    except (ConflictError, MissingReferenceError) as error:
        error.args = (f"item {index}: {error}",)
        raise
    raise fault
