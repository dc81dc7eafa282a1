"""Find every statement of a package, with its source, and expand patches and lists."""

import ast
import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast, get_args

from cwstore.core.checks import hints_of
from cwstore.core.statement import Listing, PageKind, Patch, Statement
from cwstore.testing.checker.lists import unknown_fields

AnyStatement = Statement[Any]
AnyPatch = Patch[Any]


@dataclass(frozen=True, slots=True)
class Source:
    """A module and its syntax tree."""

    module: ModuleType
    #: The path below the package that is checked: `tasks`, `billing.queries`.
    name: str
    path: str
    lines: list[str]
    tree: ast.Module


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A statement or patch that a module's constant holds."""

    source: Source
    constant: str
    #: Where in the constant: "" or such as `.find` or `[0]`.
    inside: str
    line: int
    value: AnyStatement | AnyPatch

    @property
    def subject(self) -> str:
        """Its name in reports: `tasks._FIND_ALL`."""
        return f"{self.source.name}.{self.constant}{self.inside}"

    @property
    def place(self) -> str:
        """Its place in reports."""
        return f"{self.source.path}:{self.line}"

    def variants(self) -> dict[str, AnyStatement]:
        """The statements that it stands for, by label.

        Of a patch no key, each key, all keys; of a list the whole, and each kind of page.
        """
        patch = self.value
        if isinstance(patch, Listing):
            kinds: tuple[PageKind, ...] = get_args(PageKind)
            if not patch.ranked:
                kinds = tuple(kind for kind in kinds if not kind.endswith(" in rank"))
            return {"": patch, **{f"({kind})": patch.page(kind) for kind in kinds}}
        if isinstance(patch, Statement):
            return {"": patch}
        made: dict[str, AnyStatement] = {}
        keys_of = known_keys(patch)
        subsets = [(), *((column,) for column in keys_of), keys_of]
        for columns in subsets:
            for checked in (False, True):
                keys = dict.fromkeys(columns)
                label = f"({', '.join(columns)}{' if unchanged' if checked else ''})"
                made[label] = patch.statement(keys, checked)
        return {label: one for label, one in made.items() if _is_first(label, one, made)}


def known_keys(patch: AnyPatch) -> tuple[str, ...]:
    """The keys that are fields of the entity; others are reported and lead no further."""
    return tuple(key for key in patch.columns if key in hints_of(patch.entity))


def unreadable(value: AnyStatement | AnyPatch) -> str:
    """Why row type or keys tell nothing of the statement; "" if they do."""
    try:
        hints_of(value.entity)
        if not isinstance(value, Statement):
            hints_of(value.keys)
        if isinstance(value, Listing) and (unknown := unknown_fields(value)):
            return f"it is ordered by {', '.join(unknown)}: no field of {value.entity.__name__}"
    except NameError as error:
        return f"the annotations cannot be read: {error}; import it at run time too"
    return ""


def _is_first(label: str, statement: AnyStatement, made: Mapping[str, AnyStatement]) -> bool:
    """Without the marker of the optimistic lock both ways have the same text."""
    return next(key for key, one in made.items() if one.text == statement.text) == label


def sources_of(target: ModuleType) -> list[Source]:
    """The module, or the package with all modules below it but `__main__`."""
    modules = [target]
    if hasattr(target, "__path__"):
        names = [one.name for one in pkgutil.walk_packages(target.__path__, f"{target.__name__}.")]
        wanted = (name for name in names if name.rpartition(".")[2] != "__main__")
        modules += map(importlib.import_module, wanted)
    prefix = f"{target.__name__}."
    root = target.__name__.rpartition(".")[2]
    return [
        _source(module, root if module is target else module.__name__.removeprefix(prefix))
        for module in modules
    ]


def _source(module: ModuleType, name: str) -> Source:
    text = inspect.getsource(module) if _has_text(module) else ""
    path = os.path.relpath(module.__file__) if module.__file__ else name
    return Source(module, name, path, text.splitlines(), ast.parse(text))


def _has_text(module: ModuleType) -> bool:
    # inspect takes an empty file for one that it cannot read.
    return module.__file__ is not None and os.path.getsize(module.__file__) > 0


def find_statements(sources: Iterable[Source]) -> list[Found]:
    """Every Statement and Patch in the constants that the modules themselves assign."""
    return [found for source in sources for found in _of_module(source)]


def _of_module(source: Source) -> Iterator[Found]:
    for name, line in assigned(source.tree).items():
        for inside, value in _within(getattr(source.module, name, None), ""):
            yield Found(source, name, inside, line, value)


def assigned(tree: ast.Module) -> dict[str, int]:
    """The names that a module assigns at its top level, with the line of each."""
    names: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for name in (part for target in targets for part in ast.walk(target)):
                if isinstance(name, ast.Name) and node in tree.body:
                    names[name.id] = node.lineno
    return names


def _within(value: object, inside: str) -> Iterator[tuple[str, AnyStatement | AnyPatch]]:
    if isinstance(value, Statement | Patch):
        yield inside, value
    elif isinstance(value, dict):
        for key, item in cast("dict[object, object]", value).items():
            yield from _within(item, f"{inside}[{str(key)!r}]")
    elif isinstance(value, tuple | list):
        items = cast("tuple[object, ...]", value)
        names: tuple[str, ...] = getattr(items, "_fields", ())
        for position, item in enumerate(items):
            name = f".{names[position]}" if names else f"[{position}]"
            yield from _within(item, inside + name)
