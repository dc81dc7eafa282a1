"""Repositories as they are awaited: for each class one whose methods are coroutine functions.

An object of it is an instance of the repository too, and its methods have their names, signatures
and docstrings. The class is made once; the calls run on the threads of a store: see `lanes`.
"""

import inspect
from collections.abc import AsyncIterator, Callable
from functools import cache, wraps
from types import FunctionType, GenericAlias
from typing import TYPE_CHECKING, Any, cast, get_args

from cwstore.aio.own_ways import OWN_WAYS
from cwstore.aio.workers import Call

if TYPE_CHECKING:
    from cwstore.aio.lanes import Lanes


def awaited(repository: Any, lanes: "Lanes") -> Any:
    """The repository, awaited."""
    one = awaited_class(cast(Any, type(repository)))()
    one._repository, one._lanes = repository, lanes
    return one


@cache
def awaited_class(kind: Any) -> Any:
    """The class for the awaited repositories of this class."""
    methods = {
        name: _method(function)
        for name in dir(kind)
        if not name.startswith("_")
        and isinstance(function := inspect.getattr_static(kind, name), FunctionType)
    }
    names = {
        "__slots__": ("_lanes", "_repository"),
        "__init__": _made_by_a_store,
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
    }
    return type(f"Async{kind.__name__}", (kind,), names | methods)


def _made_by_a_store(_self: Any) -> None:
    """What it needs is given to it by `awaited`."""


def _method(function: Any) -> Any:
    """How a method is awaited: by what it does, and by whether its rows may be many."""
    own = OWN_WAYS.get(f"{function.__module__}.{function.__qualname__}")
    if own is not None:
        return _in_its_own_way(function, own)
    if hasattr(function, "streams"):
        return _stream(function)
    if hasattr(function, "lengthy"):
        return _aside(function)
    if not hasattr(function, "reads"):
        return _write(function)
    if str(function.__annotations__.get("return")).startswith("list["):
        return _list(function)
    return _point(function)


def _write(function: Any) -> Any:
    @wraps(function)
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._lanes.writes.run_call(Call(function, (self._repository, *args), kwargs))

    return method


def _point(function: Any) -> Any:
    @wraps(function)
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._lanes.points.run_call(Call(function, (self._repository, *args), kwargs))

    return method


def _list(function: Any) -> Any:
    @wraps(function)
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._lanes.read_many(function, self._repository, *args, **kwargs)

    return method


def _aside(function: Any) -> Any:
    @wraps(function)
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await self._lanes.aside(function, self._repository, *args, **kwargs)

    return method


def _in_its_own_way(function: Any, own: Callable[..., Any]) -> Any:
    @wraps(function)
    async def method(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return await own(self._lanes, self._repository, *args, **kwargs)

    return method


def _stream(function: Any) -> Any:
    @wraps(function)
    def method(self: Any, /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        items: AsyncIterator[Any] = self._lanes.stream(function, self._repository, *args, **kwargs)
        return items

    plain = inspect.signature(function)
    made: Any = method
    items: Any = get_args(plain.return_annotation)
    made.__signature__ = plain.replace(return_annotation=GenericAlias(AsyncIterator, items))
    return made
