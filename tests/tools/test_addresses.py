"""Files and functions that settings name as text are there: a rename must not leave one behind."""

import ast
import re
import tomllib
from pathlib import Path

from tools._python.mutation.parts import PARTS, file_of

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tools" / "_data"


def functions_of(module: Path) -> set[str]:
    """As tools/mutate names them: `core.ids.make_id`, `core.lexer.Lexer.next`."""
    prefix = ".".join(module.relative_to(ROOT / "cwstore").with_suffix("").parts)
    tree = ast.parse(module.read_text(encoding="utf-8"))
    owners = [("", tree), *((f"{n.name}.", n) for n in tree.body if isinstance(n, ast.ClassDef))]
    return {
        f"{prefix}.{owner}{node.name}"
        for owner, body in owners
        for node in body.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_reason_for_a_surviving_mutant_names_a_function() -> None:
    reasons = tomllib.loads((DATA / "mutants.toml").read_text(encoding="utf-8"))["survivor"]
    there = {one for file in (ROOT / "cwstore").rglob("*.py") for one in functions_of(file)}
    assert {reason["in"] for reason in reasons} - there == set()


def test_every_module_and_test_that_mutation_runs_on_is_there() -> None:
    for part in PARTS.values():
        for name in part.modules:
            assert (ROOT / f"cwstore/{name}.py").is_file(), name
        for name in part.tests:
            assert (ROOT / "tests" / file_of(name)).is_file(), name


def test_every_plan_that_is_tolerated_is_of_a_statement() -> None:
    allowed = tomllib.loads((DATA / "allowed_plans.toml").read_text(encoding="utf-8"))
    for subject in {subject for kind in allowed.values() for subject in kind}:
        module, constant = subject.split(".", maxsplit=1)
        name = constant.split("[")[0].split(".")[0]
        files = (ROOT / "cwstore").rglob(f"{module}.py")
        assert any(re.search(rf"\b{name}\b", file.read_text()) for file in files), subject


def test_every_file_with_lint_rules_of_its_own_is_there() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for pattern in settings["tool"]["ruff"]["lint"]["per-file-ignores"]:
        assert list(ROOT.glob(pattern)), pattern
