"""The dataclass of an entity: its methods are made when somebody needs one.

A process that opens a store and looks up a row needs the slots alone: a mapper fills them. The
module `dataclasses` would cost it a fifth of its time, 9 of 48 ms, for it imports inspect, ast, dis
and tokenize.
"""

import sys
from typing import TYPE_CHECKING, Any, Literal, cast

from cwstore.core.faults import loading

__all__ = ["dataclass", "fields_of"]

# What `dataclasses` makes, besides the two methods that refuse to change a row.
_LATE = (
    *("__init__", "__repr__", "__eq__", "__hash__", "__getstate__", "__setstate__"),
    *("__dataclass_fields__", "__dataclass_params__"),
    *(("__replace__",) if sys.version_info >= (3, 13) else ()),
)

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(**_: Literal[True]):
        """As `dataclasses.dataclass(frozen=True, slots=True)`, for fields without defaults."""
        return _slotted


def fields_of(entity: type[Any]) -> tuple[str, ...] | None:
    """The fields of a class that was made here, in order; None: it was not."""
    return cast("tuple[str, ...] | None", vars(entity).get("_fields_in_order"))


class _Late:
    """An attribute that is not made yet."""

    def __set_name__(self, entity: type[Any], name: str) -> None:
        self.entity, self.name = entity, name

    def __get__(self, instance: object, owner: type[Any]) -> Any:
        _complete(self.entity)
        return getattr(owner if instance is None else instance, self.name)


# What a class without slots has.
_OF_NO_SLOTS = ("__dict__", "__weakref__")


def _slotted(declared: type[Any]) -> type[Any]:
    names = tuple(declared.__annotations__)

    def refuse(_self: object, name: str, *_value: object) -> None:
        with loading("dataclasses"):
            from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"field {name!r} of a row that was read cannot be changed")

    body = {name: value for name, value in vars(declared).items() if name not in _OF_NO_SLOTS}
    body |= {"__slots__": names, "__match_args__": names, "_fields_in_order": names}
    body |= {"__setattr__": refuse, "__delattr__": refuse}
    body |= {name: _Late() for name in _LATE}
    entity = type(declared.__name__, declared.__bases__, body)
    entity.__qualname__ = declared.__qualname__
    return entity


def _complete(entity: type[Any]) -> None:
    """Replace what is late. If two threads do it at once, both make the same."""
    with loading("dataclasses"):
        import dataclasses

    bare = type(entity.__name__, (), {"__annotations__": entity.__annotations__})
    made = vars(dataclasses.dataclass(frozen=True, slots=True)(bare))
    for name in _LATE:
        setattr(entity, name, made[name])
