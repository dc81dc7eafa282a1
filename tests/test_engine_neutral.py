"""What every engine must pass reaches the database through `tests/kits/database.py` alone.

`disk` in the same folder makes its disk fail. For a second engine these two are written again.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
OF_THE_ENGINE = {"tests.kits.database", "tests.kits.disk"}
DRIVERS = {"apsw", "sqlite3", "cwstore._sqlite"}


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within_reach() -> list[Path]:
    """The modules of tests/entities and tests/engine, and what they import of the tests."""
    waiting = [*TESTS.glob("entities/**/*.py"), *TESTS.glob("engine/**/*.py")]
    found: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            other = TESTS.parent / f"{name.replace('.', '/')}.py"
            if name.startswith("tests.") and name not in OF_THE_ENGINE and other.exists():
                waiting.append(other)
    assert TESTS / "kits" / "contract.py" in found
    return sorted(found)


@pytest.mark.parametrize("path", within_reach(), ids=lambda path: str(path.relative_to(TESTS)))
def test_what_every_engine_must_pass_names_no_engine_and_opens_no_store_itself(path: Path) -> None:
    """Programs that such a test starts open a store by its address, as a user does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set(imported(tree))
    assert not {name for name in names for driver in DRIVERS if f"{name}.".startswith(f"{driver}.")}
    opens = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"Store.open", "AsyncStore.open", "cwstore.Store.open"}
    ]
    assert opens == []
