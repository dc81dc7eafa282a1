"""The changes that mutmut would make: `python changes.py FROM EVERY FILE...` prints some as JSON.

It is run by a Python that has mutmut, and needs nothing of cwstore. A change is named by the lines
that it takes away and those that it puts in their place.
"""

import ast
import json
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

mutmut: Any = import_module("mutmut.mutation.file_mutation")
settings: Any = import_module("mutmut.configuration")
cst: Any = import_module("libcst")

# It asks which folders to change before it changes the text that it is given.
settings._guess_source_paths = lambda: ["."]


def functions_of(source: str) -> list[tuple[int, int, str]]:
    """First and last line of each function and method, and its name in the module."""
    tree = ast.parse(source)
    owners: list[tuple[str, ast.Module | ast.ClassDef]] = [("", tree)]
    owners += [(f"{node.name}.", node) for node in tree.body if isinstance(node, ast.ClassDef)]
    return [
        (node.lineno, node.end_lineno or 0, owner + node.name)
        for owner, body in owners
        for node in body.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def changes_of(path: str, chosen: Callable[[], bool]) -> Iterator[dict[str, object]]:
    """Each change of a file, in functions and methods, that is chosen."""
    source = Path(path).read_text(encoding="utf-8")
    functions = functions_of(source)
    module, mutations, *_ = mutmut.create_mutations(path, source)
    parts = list(parts_of(module))
    for one in mutations:
        if not isinstance(one.contained_by_top_level_function, cst.FunctionDef) or not chosen():
            continue
        # Of the part alone: the whole module is read and written anew for seconds.
        start, part, _ = next(part for part in parts if id(one.original_node) in part[2])
        changed = mutmut.deep_replace(part, one.original_node, one.mutated_node)
        before = module.code_for_node(part).splitlines(keepends=True)
        after = module.code_for_node(changed).splitlines(keepends=True)
        first, last = _unlike(before, after)
        old, new = before[first : len(before) - last], after[first : len(after) - last]
        first += start
        inside = [name for start, end, name in functions if start <= first + 1 <= end]
        yield {"file": path, "first": first, "old": old, "new": new, "function": inside[0]}


def parts_of(module: Any) -> Iterator[tuple[int, Any, set[int]]]:
    """Each statement of a module: how many lines come before it, and the ids of all its nodes."""
    start = len(module.header)
    for part in module.body:
        nodes: set[int] = set()
        left = [part]
        while left:
            node = left.pop()
            nodes.add(id(node))
            left += node.children
        yield start, part, nodes
        start += module.code_for_node(part).count("\n")


def _unlike(one: list[str], other: list[str]) -> tuple[int, int]:
    """How many lines at the beginning, and at the end, are the same."""
    most = min(len(one), len(other))
    first = next((n for n in range(most) if one[n] != other[n]), most)
    rest = most - first
    return first, next((n for n in range(rest) if one[-1 - n] != other[-1 - n]), rest)


if __name__ == "__main__":
    first, every = map(int, sys.argv[1:3])
    numbers = count()
    for file in sys.argv[3:]:
        for change in changes_of(
            file, lambda: (number := next(numbers)) >= first and (number - first) % every == 0
        ):
            print(json.dumps(change))
