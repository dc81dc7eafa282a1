"""A canary in what accounts keep secret: it comes out nowhere but where it is asked for."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cwstore
from cwstore.cli import main
from cwstore.core.observed import StatementRun
from cwstore.store import Store
from tests.kits.canary import CANARY
from tests.kits.database import OpenStore

SECRET = f'{{"token": "{CANARY}"}}'


@pytest.fixture
def guarded(file: Path, open_store: OpenStore) -> Iterator[Store]:
    """A store at work, with an account that an agent of an initiative uses."""
    with open_store() as store:
        owner = store.initiatives.create(id="owner", name="owner")
        phase = store.phases.create(initiative_id=owner.id, name="p", status="in_progress")
        task = store.tasks.create(id="task", name="t", phase_id=phase.id)
        store.accounts.create(id="account", email="e", credentials=SECRET, config_json=SECRET)
        store.agents.create(
            id="agent", name="a", worktree_id="w", account_id="account", initiative_id=owner.id
        )
        store.tasks.claim(task.id, agent_id="agent")
        yield store


def test_no_command_shows_a_secret(
    guarded: Store, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    for command in (
        *(["show", file, *more] for more in (["owner"], ["agent"], ["task"], ["account"], [])),
        *(["show", file, *more, "--json"] for more in (["owner"], ["agent"], ["task"], [])),
        *(["show", file, "owner", "--graph", kind] for kind in ("mermaid", "dot")),
        *([name, file] for name in ("status", "check", "stats", "rehearse", "compact")),
        *([name, file, "--json"] for name in ("status", "check", "stats")),
        ["export", file, "owner", "--logs"],
        ["prune", file, "--older-than", "1d"],
        ["report", file, "-o", page],
    ):
        main([str(one) for one in command])
        shown = capsys.readouterr()
        assert len(shown.out + shown.err) > 10
        assert CANARY not in shown.out + shown.err
    assert CANARY not in page.read_text(encoding="utf-8")


def test_no_hook_feed_log_record_or_report_tells_a_secret(
    guarded: Store, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    runs: list[StatementRun] = []
    guarded.on_statement(runs.append)
    feed = guarded.changes()
    changed = guarded.accounts.update("account", credentials=SECRET + " ", config_json=SECRET)
    guarded.accounts.claim_next_available()
    guarded.backup(file.with_name("copy"))
    kept = [cwstore.status(file), guarded.stats(), guarded.check(), guarded.health()]
    told = [changed, runs, feed.get(), guarded, guarded.accounts.find_all(), kept]
    rows = guarded.query("SELECT id, email, credentials FROM accounts")
    lines = list(guarded.export_initiative("owner", logs=True))
    assert runs
    assert caplog.records
    assert rows == [{"id": "account", "email": "e", "credentials": None}]
    assert CANARY not in f"{told!r} {told} {lines} {caplog.text}"
    assert CANARY not in "".join(repr(vars(record)) for record in caplog.records)


CRASHES = """
import sys, rich.traceback
from cwstore.store import Store

rich.traceback.install(show_locals=True)
with Store.open(sys.argv[1]) as store:
    account = store.accounts.get("account")
    with store.transaction():
        store.accounts.update(account.id, {0})
"""


@pytest.mark.parametrize(
    "wrong",
    [
        "email=None",
        "credentials='{', id_='x'",
        "credentials=account.credentials.reveal()[:-1]",
        "config_json=account.credentials.reveal()[:-1]",
        "sort_order='x'",
    ],
)
def test_a_crash_shows_no_secret_though_all_variables_are_shown(
    wrong: str, guarded: Store, file: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CRASHES.replace("{0}", wrong), file],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"COLUMNS": "200", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 1
    assert "Error" in done.stderr
    assert "account" in done.stderr
    assert CANARY not in done.stdout + done.stderr
