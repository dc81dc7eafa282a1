"""Commands take the address of a server, and none shows its password."""

import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cwstore.cli import main
from cwstore.core.drivers import shown
from cwstore.store import Store

pytestmark = pytest.mark.slow  # test_store and what engines share are the fast part

PASSWORD = "hunter2-do-not-tell"


@pytest.fixture
def secret(address: str) -> str:
    """The address of the database of the test, with a password that the server does not ask for."""
    return f"{address}&password={PASSWORD}"


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> tuple[str, str]:
    assert main([*arguments]) == code
    out, err = capsys.readouterr()
    assert PASSWORD not in out + err
    return out, err


def test_every_command_that_takes_a_path_takes_an_address(
    store: Store,
    secret: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    initiative = store.initiatives.create(name="Search")
    task = store.tasks.create(name="Index", initiative_id=initiative.id)
    for session in (1, 2):
        store.log_chunks.insert_chunk(
            "a", agent_name="fox", session_number=session, content="x" * 100
        )
    address = shown(secret)

    assert f"{address} has version" in said(capsys, 0, "migrate", secret)[0]
    assert said(capsys, 0, "status", secret)[0].startswith(f"{address}\n")
    assert "schema as expected" in said(capsys, 0, "check", secret)[0]
    sizes = r"(?m)^Version \d+; [\d,]+ bytes of tables and indexes\.$"
    assert re.search(sizes, said(capsys, 0, "stats", secret)[0])
    assert "fox" in said(capsys, 0, "stats", secret)[0]
    assert "Search" in said(capsys, 0, "show", secret)[0]
    assert "Index" in said(capsys, 0, "show", secret, task.id)[0]
    assert f"cwstore show {address}`" in said(capsys, 1, "show", secret, "nothing")[1]
    page, _ = said(capsys, 0, "report", secret, "-o", "-")
    assert "Search" in page
    assert f"<title>{address.replace('&', '&amp;')}" in page
    prune = ("prune", secret, "--keep-sessions", "1")
    assert said(capsys, 0, *prune, "--dry-run")[0].startswith("Would delete 1 sessions")
    assert said(capsys, 0, *prune)[0].startswith("Deleted 1 sessions")
    exported = tmp_path / "search.jsonl"
    said(capsys, 0, "export", secret, initiative.id, "-o", str(exported))
    assert "--on-conflict skip" in said(capsys, 1, "import", secret, str(exported))[1]
    monkeypatch.setattr(sys, "stdin", io.StringIO(exported.read_text()))
    report = json.loads(
        said(capsys, 0, "import", secret, "-", "--on-conflict", "skip", "--json")[0]
    )
    assert report["skipped"] == {"initiatives": 1, "tasks": 1}
    monkeypatch.setenv("CWSTORE_PATH", secret)
    assert "Index" in said(capsys, 0, "show", task.id)[0]
    assert "Search" in said(capsys, 0, "show")[0]
    monkeypatch.setenv("CWSTORE_PATH", "elsewhere.db")
    assert "Search" in said(capsys, 0, "show", secret)[0]


def test_a_rehearsal_on_a_server_says_that_it_was_undone(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = f"{address}&schema=empty"
    name = shown(empty)
    out, _ = said(capsys, 0, "rehearse", empty)
    title, *_, sizes = out.splitlines()
    assert re.fullmatch(r"Rehearsed in a transaction that was undone in \d+\.\d\d s", title)
    assert re.match(
        rf"{re.escape(name)} is as it was\. It would go from version 0 to \d+, from [\d,]+ to",
        sizes,
    )
    assert " version 0 of " in " ".join(said(capsys, 0, "status", empty)[0].split())


@pytest.mark.parametrize(
    ("command", "tool"),
    [
        ("backup", "pg_dump"),
        ("restore copy.bak", "pg_restore"),
        ("compact", "VACUUM FULL"),
        ("shell", "psql"),
    ],
)
def test_what_tools_of_postgresql_do_is_refused_and_they_are_named(
    store: Store, secret: str, command: str, tool: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = said(capsys, 1, *command.split(), secret, "--json")
    assert json.loads(out)["error"]["type"] == "StorageError"
    assert err.startswith(f"cwstore: {shown(secret)}: ")
    assert tool in err


def test_a_schema_without_tables_is_not_checked_and_says_what_to_do(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = f"{address}&schema=empty"
    secret = f"{empty}&password={PASSWORD}"
    for command in ("check", "show"):
        _, err = said(capsys, 1, command, secret)
        assert empty in err
        assert "migrate" in err
    assert " version 0 of " in " ".join(said(capsys, 0, "status", secret)[0].split())


def test_what_check_finds_is_told_without_the_password(
    store: Store,
    secret: str,
    superuser: "psycopg.Connection[tuple[Any, ...]]",
    capsys: pytest.CaptureFixture[str],
) -> None:
    superuser.execute("DROP INDEX tasks_parent_task_ix")
    out, err = said(capsys, 1, "check", secret)
    assert out == "index tasks_parent_task_ix is missing\n"
    assert err == f"cwstore: {shown(secret)} has the problems listed; restore a backup\n"


@pytest.mark.parametrize(
    ("compatible_with", "structure", "code", "told"),
    [
        ("version", "structure", 0, "schema as expected"),
        ("version + 1", "structure", 1, "version 18"),
        ("version", "structure + 1", 1, "version 18"),
    ],
    ids=["usable", "not usable", "changed"],
)
def test_check_looks_at_newer_tables_only_if_this_code_may_use_them(
    store: Store,
    secret: str,
    superuser: "psycopg.Connection[tuple[Any, ...]]",
    capsys: pytest.CaptureFixture[str],
    *,
    compatible_with: str,
    structure: str,
    code: int,
    told: str,
) -> None:
    later = (
        "INSERT INTO schema_migrations SELECT version + 1, 'later', checksum, text_sum,"
        f" {compatible_with}, {structure}, applied_at, application_id FROM schema_migrations"
    )
    superuser.execute(later.encode())
    assert told in "".join(said(capsys, code, "check", secret))


NOWHERE = f"postgresql://me:{PASSWORD}@/db?host=/nowhere"
TORN = f"postgresql://me:1/{PASSWORD}@h/db"
OTHERS = f"mysql://me:{PASSWORD}@h/db"
MISSPELT = f"postgress://me:{PASSWORD}@h/db"
TWICE = f"postgresql://me:{PASSWORD}@postgresql://[::1]:1/db"


COMMANDS = """
    status | check --json | show | show x | stats | prune --keep-sessions 1 | report | migrate
    | rehearse | backup | compact | shell | demo | export {} x | import {} x | restore x
    | restore {} x.db | import x.db | show x.db | export x.db x -o | report x.db -o
    | demo x.db --backlog | check x.db --directory | backup x.db
"""


@pytest.mark.parametrize(
    ("given", "commands"),
    [
        (NOWHERE, COMMANDS),
        (TORN, COMMANDS),
        *((one, "status | import x.db | import {} x") for one in (OTHERS, MISSPELT, TWICE)),
    ],
    ids=["nowhere", "torn", "of another", "misspelt", "twice"],
)
def test_no_command_repeats_a_password_wherever_the_address_stands(
    given: str,
    commands: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in commands.split("|"):
        words = [word.format(given) for word in command.split()]
        said(capsys, 1, *(words if given in words else [*words, given]))
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("arguments", [[NOWHERE, "status"], ["status", "x", NOWHERE], [TORN]])
def test_wrong_usage_repeats_no_password_either(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    out, err = capsys.readouterr()
    assert "postgresql://" in err
    assert PASSWORD not in out + err


def test_a_file_may_be_named_like_an_address_if_its_folder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "postgresql:").mkdir()
    said(capsys, 0, "migrate", "./postgresql://walk.db")
    assert (tmp_path / "postgresql:" / "walk.db").exists()


def test_a_password_in_the_environment_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", NOWHERE)
    assert "/nowhere" in said(capsys, 1, "status")[1]


@pytest.mark.slow
def test_the_demo_plays_on_a_server(
    store: Store, address: str, secret: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = said(capsys, 0, "demo", secret, "--workers", "2", "--json")
    assert json.loads(out)["path"] == address
