"""The changes that mutmut would make: `python changes.py FILE...` prints each as a line of JSON.

It is run by a Python that has mutmut, and needs nothing of cwstore. A change is named by the lines
that it takes away and those that it puts in their place.
"""

import ast
import json
import sys
from collections.abc import Iterator
from importlib import import_module
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


def changes_of(path: str) -> Iterator[dict[str, object]]:
    """Each change of a file, in functions and methods."""
    source = Path(path).read_text(encoding="utf-8")
    functions = functions_of(source)
    module, mutations, *_ = mutmut.create_mutations(path, source)
    before = source.splitlines(keepends=True)
    for one in mutations:
        if not isinstance(one.contained_by_top_level_function, cst.FunctionDef):
            continue
        changed = mutmut.deep_replace(module, one.original_node, one.mutated_node)
        after = changed.code.splitlines(keepends=True)
        first, last = _unlike(before, after)
        old, new = before[first : len(before) - last], after[first : len(after) - last]
        inside = [name for start, end, name in functions if start <= first + 1 <= end]
        yield {"file": path, "first": first, "old": old, "new": new, "function": inside[0]}


def _unlike(one: list[str], other: list[str]) -> tuple[int, int]:
    """How many lines at the beginning, and at the end, are the same."""
    most = min(len(one), len(other))
    first = next((n for n in range(most) if one[n] != other[n]), most)
    rest = most - first
    return first, next((n for n in range(rest) if one[-1 - n] != other[-1 - n]), rest)


if __name__ == "__main__":
    for file in sys.argv[1:]:
        for change in changes_of(file):
            print(json.dumps(change))
