"""Puts a changed function into a module that is loaded already."""

import ast
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from tools._python.mutation.reasons import Change


class CannotPutInError(Exception):
    """Only who imports the module anew has the change."""


def put_in(change: Change) -> None:
    """Make a function as its file has it by now; what is not imported yet will be so by itself.

    Raises CannotPutInError.
    """
    module = sys.modules.get(f"cwstore.{change.module}")
    if module is None:
        return
    owner, _, name = change.function.rpartition(".")
    node = _wanted(ast.parse(Path(change.file).read_text(encoding="utf-8")), owner, name)
    old = _function(vars(vars(module)[owner] if owner else module)[name])
    if old.__name__ != name:
        raise CannotPutInError
    new = _made(node, owner, dict(vars(module)), change)
    try:
        old.__code__ = new.__code__
    except ValueError as error:  # it uses another number of names of the function around it
        raise CannotPutInError from error
    old.__defaults__ = new.__defaults__
    old.__kwdefaults__ = new.__kwdefaults__


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _wanted(tree: ast.Module, owner: str, name: str) -> _Function:
    body: list[ast.stmt] = tree.body
    if owner:
        (body,) = (n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner)
    found = [node for node in body if isinstance(node, _Function) and node.name == name]
    if len(found) != 1:  # overloads, or the setter of a property
        raise CannotPutInError
    return found[0]


def _function(value: Any) -> FunctionType:
    """What a decorator has made of it is looked through."""
    for attribute in ("fget", "func", "__func__", "__wrapped__"):
        value = getattr(value, attribute, value)
    if not isinstance(value, FunctionType):
        raise CannotPutInError
    return value


def _made(node: _Function, owner: str, names: dict[str, Any], change: Change) -> FunctionType:
    node.decorator_list = []
    node.returns = None
    arguments = node.args
    for one in [
        *(*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs),
        *(one for one in (arguments.vararg, arguments.kwarg) if one),
    ]:
        one.annotation = None
    inside: ast.stmt = node
    if owner:  # it may say `super()`
        inside = ast.ClassDef(owner, bases=[], keywords=[], body=[node], decorator_list=[])
    tree = ast.fix_missing_locations(ast.Module([inside], type_ignores=[]))
    make: Callable[[Any, dict[str, Any]], None] = exec
    try:
        make(compile(tree, str(Path(change.file).resolve()), "exec"), names)
    except Exception as error:
        raise CannotPutInError from error
    return _function(vars(names[owner])[node.name] if owner else names[node.name])
