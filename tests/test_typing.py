"""What type checkers must accept and refuse: tests/typing is checked by pyright and mypy, strictly.

A comment names each error that must be there; one that is not there makes its comment an error.
"""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import pytest

import cwstore
from tests.kits.checker import repositories

ROOT = Path(__file__).resolve().parents[1]
FILES = ROOT / "tests" / "typing"
PYRIGHT = ("-m", "pyright", "--pythonpath", sys.executable)
MYPY = ("-m", "mypy", "--strict", "--python-version", "3.11")

# Each checker takes half a minute; in one worker, so that they do not outvote the other tests.
pytestmark = pytest.mark.xdist_group("typing")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("checker", [PYRIGHT, MYPY], ids=["pyright", "mypy"])
def test_types_are_what_the_signatures_say_and_misuse_is_refused(checker: tuple[str, ...]) -> None:
    done = run(*checker, FILES)
    assert done.returncode == 0, done.stdout + done.stderr


def public_methods() -> set[str]:
    return {
        f"{attribute}.{name}("
        for attribute, kind in repositories().items()
        for name in vars(kind)
        if not name.startswith("_")
    }


@pytest.mark.parametrize("face", ["sync", "async"])
def test_every_public_method_is_among_them(face: str) -> None:
    text = (FILES / f"faces_{face}.py").read_text(encoding="utf-8")
    assert {method for method in public_methods() if method not in text} == set()


def enums_in(annotation: Any) -> Iterator[tuple[type[StrEnum], list[Any]]]:
    """Each enum that a parameter takes, also in a patch or a sequence, and the plain strings."""
    if is_typeddict(annotation):
        for key in get_type_hints(annotation).values():
            yield from enums_in(key)
    arms = get_args(annotation) or [annotation]
    literals = [value for arm in arms if get_origin(arm) is Literal for value in get_args(arm)]
    for arm in arms:
        if isinstance(arm, type) and issubclass(arm, StrEnum):
            yield arm, literals
        elif get_origin(arm) is not Literal and arm is not annotation:
            yield from enums_in(arm)


def public_functions() -> Iterator[tuple[str, Any]]:
    """Each function that `cwstore` hands out, and each public method of its classes."""
    for name in dir(cwstore):
        value = getattr(cwstore, name)
        if inspect.isroutine(value):
            yield name, value
        for attribute, member in inspect.getmembers(value):
            if not attribute.startswith("_") and inspect.isroutine(member):
                yield f"{name}.{attribute}", member


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(function, id=name)
        for name, function in public_functions()
        if inspect.isroutine(function)
        and str(getattr(function, "__module__", "")).startswith("cwstore")
    ],
)
def test_the_hints_of_what_is_public_can_be_read_at_run_time(function: Any) -> None:
    """For frameworks that read them: dependency injection, validation, command lines."""
    assert "return" in get_type_hints(function)


def test_what_takes_a_member_takes_exactly_the_values_of_its_enum() -> None:
    found = [
        (f"{attribute}.{name}", enum, strings)
        for attribute, kind in repositories().items()
        for name, method in vars(kind).items()
        if not name.startswith("_")
        for parameter, hint in get_type_hints(method).items()
        if parameter != "return"
        for enum, strings in enums_in(hint)
    ]
    assert len(found) > 40
    assert [one for one in found if one[2] != [member.value for member in one[1]]] == []


def bare_copy(folder: Path, marker: str) -> tuple[Path, set[int]]:
    """The misuses without comments, and the lines that have that marker."""
    lines = (FILES / "misuse.py").read_text(encoding="utf-8").splitlines()
    copy = folder / "misuse.py"
    copy.write_text("\n".join(line.partition("  # ")[0] for line in lines), encoding="utf-8")
    return copy, {number for number, line in enumerate(lines, 1) if marker in line}


@pytest.mark.slow
def test_mypy_finds_each_misuse_where_it_is_expected(tmp_path: Path) -> None:
    copy, expected = bare_copy(tmp_path, "# type: ignore[")
    found = {int(line) for line in re.findall(r"misuse\.py:(\d+): error", run(*MYPY, copy).stdout)}
    assert found == expected
    assert len(found) > 20


@pytest.mark.slow
def test_pyright_finds_each_misuse_where_it_is_expected(tmp_path: Path) -> None:
    copy, expected = bare_copy(tmp_path, "# pyright: ignore[")
    settings = {"extraPaths": [str(ROOT)], "pythonVersion": "3.11", "include": [copy.name]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    report: dict[str, Any] = json.loads(run(*PYRIGHT, "-p", tmp_path, "--outputjson").stdout)
    found = {
        one["range"]["start"]["line"] + 1
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    }
    assert found == expected
    assert len(found) > 20
