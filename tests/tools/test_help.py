"""Every tool answers `--help` at once: with any Python, and without making an environment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cwstore import cli
from tools._python.arguments import TOOLS

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path.name
    for path in (ROOT / "tools").iterdir()
    if path.is_file() and not path.name.startswith("_") and not path.suffix
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that nobody has used, with tools alone: no cwstore to import, no environment."""
    root = tmp_path_factory.mktemp("checkout")
    left_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tools", root / "tools", ignore=left_out)
    return root


def names_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_tool_explains_itself_and_makes_nothing(bare: Path, command: str, flag: str) -> None:
    before = names_in(bare)
    done = subprocess.run(
        [bare / "tools" / command, flag],
        cwd=bare,
        # Isolated and without site-packages: apsw and cwstore cannot be imported.
        env={"PATH": os.environ["PATH"], "PYTHON": str(without_packages(bare.parent))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: tools/{command} ")
    assert names_in(bare) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_that_cannot_be_written_is_no_reason_to_go_on(bare: Path, command: str) -> None:
    before = names_in(bare)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [bare / "tools" / command, "--help"],
            env={"PATH": os.environ["PATH"], "PYTHON": str(without_packages(bare.parent))},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode
    assert "No space left on device" in done.stderr
    assert names_in(bare) == before


def without_packages(folder: Path) -> Path:
    """This Python, with its own library alone."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return python


def test_the_parser_of_a_tool_has_its_name() -> None:
    assert {name: tool().prog for name, tool in TOOLS.items()} == {
        name: f"tools/{name}" for name in TOOLS
    }
    assert set(COMMANDS) - TOOLS.keys() == {"check", "demo", "docs", "mutate", "test"}


def test_the_demo_tool_names_every_option_of_the_command(
    bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["demo", "--help"])
    command = set(re.findall(r"--[a-z]+", capsys.readouterr().out))
    told = subprocess.check_output([bare / "tools" / "demo", "-h"], text=True)
    assert set(re.findall(r"--[a-z]+", told)) == command - {"--help"}
