"""What the README says holds: its examples run, its names exist."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

import cwstore
from cwstore import cli, errors
from cwstore.cli.parser import _FUNCTIONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ARCHITECTURE = (ROOT / "cwstore" / "ARCHITECTURE.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_first_example_runs_and_prints_what_the_readme_says(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", BLOCKS[0]],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout == "Callback route knows: Table `tokens`.\n"
    assert "It prints ``Callback route knows: Table `tokens`.``" in README
    assert len(BLOCKS[0].splitlines()) <= 15


def test_the_second_example_claims_an_account_and_ships_a_transaction(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(BLOCKS[1], names)
    path = str(tmp_path / "walk.db")
    with cwstore.Store.open(path) as store:
        store.accounts.create(email="a@example.org")
    assert asyncio.run(names["next_account"](path)) == "a@example.org"

    async def ship() -> None:
        async with await cwstore.AsyncStore.open(path) as store:
            await store.transaction(names["two_phases"])
            assert [phase.name for phase in await store.phases.find_all()] == ["Index", "Ranking"]

    asyncio.run(ship())


def test_the_example_of_a_codec_encodes_what_is_there_and_changes_keys(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(next(block for block in BLOCKS if "MultiFernet" in block), names)
    old, new = Fernet.generate_key(), Fernet.generate_key()
    path = str(tmp_path / "walk.db")
    with cwstore.Store.open(path) as store:
        plain = store.accounts.create(email="a", credentials='"c"', config_json="{}")
    names["change_keys"](path, old, old)
    with cwstore.Store.open(path) as store, pytest.raises(cwstore.SecretError):
        store.accounts.get(plain.id)
    names["change_keys"](path, new, old)
    with cwstore.Store.open(path, secrets=names["Keys"](new)) as store:
        account = store.accounts.get(plain.id)
    assert account == replace(plain, updated_at=account.updated_at)


def test_the_table_of_errors_is_the_error_tree() -> None:
    listed = set(re.findall(r"^\| `(\w+Error)` \|", README, re.MULTILINE))
    assert listed == {
        name for name in vars(errors) if name.endswith("Error") and name != "CwstoreError"
    }


def test_every_public_name_can_be_imported() -> None:
    for name in dir(cwstore):
        assert getattr(cwstore, name) is not None


def test_every_tool_that_the_readme_names_is_there() -> None:
    for tool in set(re.findall(r"\btools/(\w+)", README)):
        assert os.access(ROOT / "tools" / tool, os.X_OK), tool


def test_every_command_that_the_readme_shows_is_one_and_takes_these_options() -> None:
    shown = re.findall(r"`cwstore ([a-z]+)([^`]*)`", README)
    assert {name for name, _ in shown} == _FUNCTIONS.keys()
    for name, rest in shown:
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help_of(name), f"{name} {option}"


def help_of(command: str) -> str:
    with pytest.raises(SystemExit), redirect_stdout(StringIO()) as out:
        cli.main([command, "--help"])
    return out.getvalue()


def test_the_architecture_names_files_and_tools_that_exist() -> None:
    files = re.findall(r"`([a-z_/]+\.py)`", ARCHITECTURE)
    assert len(files) >= 10
    for name in files:
        assert (ROOT / "cwstore" / name).is_file(), name
    for tool in re.findall(r"`tools/(\w+)", ARCHITECTURE):
        assert (ROOT / "tools" / tool).is_file(), tool


def test_the_architecture_draws_every_room() -> None:
    picture = ARCHITECTURE.split("```")[1]
    rooms = {one.parent.name for one in (ROOT / "cwstore").glob("*/__init__.py")}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", picture)} == set()


def test_the_example_with_tables_of_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: dict[str, Any] = {}
    monkeypatch.chdir(tmp_path)
    (block,) = (block for block in BLOCKS if "WishRepository" in block)
    exec(block, names)
    bills = tmp_path / "bills"
    bills.mkdir()
    (bills / "0001_bills.sql").write_text("CREATE TABLE billing_bills (id TEXT) STRICT;")
    with names["open_with_bills"]("walk.db", bills) as store:
        assert store.query("SELECT id FROM billing_bills") == []
