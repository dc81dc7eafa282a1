"""`show`: what a person sees of a store, of one initiative, phase, task and agent."""

import json
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from cwstore.cli import main, show_command
from cwstore.cli.parser import _DASHED_ID, make_parser
from cwstore.migrations import api as migrations
from cwstore.store import Store
from tests.kits.terminal import attach

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


class Filled(NamedTuple):
    """A file with two initiatives, and who works on them."""

    path: str
    clock: Clock


@pytest.fixture
def filled(file: Path, monkeypatch: pytest.MonkeyPatch) -> Filled:
    clock = Clock()
    monkeypatch.setattr(show_command, "_now", lambda: NOW)
    clock.now = NOW - timedelta(hours=3)
    with Store.open(file, clock=clock) as store:
        fill(store, clock)
    return Filled(str(file), clock)


def fill(store: Store, clock: Clock) -> None:
    store.initiatives.create(id="I1", name="Sign-in by e-mail", branch="cw/sign-in")
    store.initiatives.create(id="I2", name="Search", status="archived")
    store.phases.create(id="P1", initiative_id="I1", name="Index", status="in_progress")
    store.phases.create(id="P2", initiative_id="I1", name="Ranking")
    store.phases.create_dependency("P2", "P1")
    store.agents.create(id="A1", name="brave-otter", worktree_id="/w/1", status="running", pid=77)
    store.agents.create(id="A2", name="swift-fox", worktree_id="/w/2")
    store.agents.create(id="A3", name="old-owl", worktree_id="/w/3", status="crashed")
    for one, name in (("T1", "Table"), ("T2", 'Route "x"'), ("T3", "Mail"), ("T4", "Links")):
        store.tasks.create(id=one, name=name, phase_id="P1")
    store.tasks.create(id="T5", name="Subject line", phase_id="P1", parent_task_id="T3")
    store.tasks.create(id="T6", name="Weights", phase_id="P2")
    store.tasks.create(id="T7", name="Loose end", initiative_id="I1", status="blocked")
    store.tasks.create(id="T8", name="Ask", initiative_id="I1", status="pending_approval")
    store.tasks.create(id="T9", name="Elsewhere", initiative_id="I2")
    store.tasks.create_dependencies([("T2", "T1"), ("T3", "T2"), ("T4", "T9")])
    store.tasks.create(id="T0", name="Done", initiative_id="I1", status="completed", summary="ok")
    store.tasks.create_dependency("T4", "T0")  # which it does not wait for any more
    store.tasks.claim("T5", agent_id="A1")
    store.tasks.fail("T5", agent_id="A1", detail="tests were red")
    store.tasks.claim("T1", agent_id="A1")
    clock.now = NOW - timedelta(minutes=30)
    store.tasks.fail("T1", agent_id="A1", detail="no such table")
    clock.now = NOW - timedelta(minutes=10)
    store.tasks.claim("T1", agent_id="A1", lease=timedelta(minutes=15))
    store.messages.create(
        id="M1", sender_type="agent", sender_id="A1", recipient_type="user",
        content="Which provider?", type="question", requires_response=True,
    )  # fmt: skip
    store.messages.create(id="M2", sender_type="user", recipient_type="user", content="note")
    store.conversations.create(id="C1", from_agent_id="A1", to_agent_id="A2", question="Where?")
    store.accounts.create(id="K1", email="a@example.org", credentials='{"key": "hush"}')
    store.accounts.create(id="K2", email="b@example.org")
    store.accounts.create(id="K3", email="c@example.org", provider="codex")
    store.accounts.create(id="K4", email="d@example.org")
    store.accounts.mark_exhausted("K2", NOW + timedelta(hours=3))
    store.accounts.mark_exhausted("K3", None)
    store.accounts.mark_exhausted("K4", NOW - timedelta(minutes=1))
    clock.now = NOW - timedelta(seconds=70)
    store.accounts.update("K1", last_used_at=clock.now)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["show", *arguments]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_a_store_shows_initiatives_agents_questions_and_accounts(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, filled.path) == (
        "Sign-in by e-mail  active  I1\n"
        "  [#---------] 1 of 9 tasks completed, 1 in progress, 1 ready, 1 blocked,"
        " 1 needs approval, 4 waiting\n"
        "Search  archived  I2\n"
        "  [----------] 0 of 1 tasks completed, 1 waiting\n"
        "\n"
        "Agents\n"
        "  brave-otter  running  on Table for 10 min, attempt 2, lease for 5 min more  A1\n"
        "  swift-fox  idle  A2\n"
        "\n"
        "Questions\n"
        "  brave-otter asks the user, 10 min ago: Which provider?  M1\n"
        "  a deleted agent tells the user, 10 min ago: note  M2\n"
        "  brave-otter asks swift-fox, 10 min ago: Where?  C1\n"
        "\n"
        "Accounts\n"
        "  a@example.org  claude  available  last used 70 s ago\n"
        "  b@example.org  claude  exhausted for 3 h more, until 2026-05-04 15:00 UTC  never used\n"
        "  c@example.org  codex  exhausted until somebody clears it  never used\n"
        "  d@example.org  claude  available  never used\n"
    )


TREE = (
    "Sign-in by e-mail  active  branch cw/sign-in  I1\n"
    "  [#---------] 1 of 9 tasks completed, 1 in progress, 1 ready, 1 blocked,"
    " 1 needs approval, 4 waiting\n"
    "\n"
    "Phase Index  in progress  P1\n"
    "  in progress     Table  brave-otter for 10 min, attempt 2, lease for 5 min more  T1\n"
    '  waiting         Route "x"  waits for task Table (in progress)  T2\n'
    '  waiting         Mail  waits for task Route "x" (pending)  T3\n'
    "  ready             Subject line  attempt 1 failed: tests were red  T5\n"
    "  waiting         Links  waits for task Elsewhere (pending)  T4\n"
)


def test_an_initiative_shows_its_phases_and_tasks_and_what_blocks_what(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, filled.path, "I1") == (
        f"{TREE}"
        "\n"
        "Phase Ranking  pending  waits for phase Index (in progress)  P2\n"
        "  waiting         Weights  waits for phase Ranking to be open (pending), phase Index"
        " (in progress)  T6\n"
        "\n"
        "Without a phase\n"
        "  blocked         Loose end  T7\n"
        "  needs approval  Ask  T8\n"
        "  completed       Done  T0\n"
    )
    assert shown(capsys, filled.path, "P1") == TREE
    assert shown(capsys, filled.path, "I2") == (
        "Search  archived  I2\n"
        "  [----------] 0 of 1 tasks completed, 1 waiting\n"
        "\n"
        "Without a phase\n"
        "  waiting         Elsewhere  waits for initiative Search to be active (archived)  T9\n"
    )


def test_a_task_shows_what_holds_it_back_and_what_it_went_through(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, filled.path, "T1") == (
        "Table  in progress  T1\n"
        "initiative I1\n"
        "phase Index (in progress)\n"
        "auto, execute, priority medium\n"
        "held back by task T1 (in progress)\n"
        "\n"
        "Needed by\n"
        '  pending         Route "x"  T2\n'
        "\n"
        "Attempts\n"
        "  1  2026-05-04 09:00 UTC  brave-otter  failed after 2 h: no such table\n"
        "  2  2026-05-04 11:50 UTC  brave-otter  open, lease for 5 min more\n"
        "\n"
        "Agents\n"
        "  brave-otter  running\n"
    )
    assert shown(capsys, filled.path, "T2") == (
        'Route "x"  pending  T2\n'
        "initiative I1\n"
        "phase Index (in progress)\n"
        "auto, execute, priority medium\n"
        "held back by task dependency Table (in progress)\n"
        "\n"
        "Depends on\n"
        "  in progress     Table  T1\n"
        "\n"
        "Needed by\n"
        "  pending         Mail  T3\n"
    )
    with Store.open(filled.path) as store:
        store.tasks.create(id="lone", name="Lone", description="All of it", summary="Found it")
    assert shown(capsys, filled.path, "lone") == (
        "Lone  pending  lone\nauto, execute, priority medium\nAll of it\nresult: Found it\nready\n"
    )


def test_an_agent_shows_what_it_does_by_id_and_by_name(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        "brave-otter  running  on Table for 10 min, attempt 2, lease for 5 min more  A1\n"
        "claude, execute, worktree /w/1\n"
        "process 77\n"
    )
    assert shown(capsys, filled.path, "A1") == text
    assert shown(capsys, filled.path, "brave-otter") == text
    with Store.open(filled.path) as store:
        store.agents.update("A3", exit_code=137, pending_questions="[]")
    assert shown(capsys, filled.path, "A3") == (
        "old-owl  crashed  asks the user  A3\nclaude, execute, worktree /w/3\nexit code 137\n"
    )


def test_no_secret_is_in_what_is_shown(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--json"], ["I1", "--json"], ["A1", "--json"]):
        assert "hush" not in shown(capsys, filled.path, *arguments)


def test_an_empty_store_says_so(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open(file).close()
    assert shown(capsys, str(file)) == "No initiatives yet.\n"
    with Store.open(file) as store:
        store.initiatives.create(id="I", name="Bare")
    assert shown(capsys, str(file)) == "Bare  active  I\n  no tasks\n"


def test_an_id_that_nothing_has_is_refused(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", filled.path, "nix"]) == 1
    assert capsys.readouterr().err == (
        "cwstore: no initiative, phase, task or agent has the id 'nix';"
        f" `cwstore show {filled.path}` lists the initiatives\n"
    )


def test_an_id_that_begins_with_a_dash_is_no_option(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    dashed = "-bcdefghij_klmnop-rst"
    with Store.open(filled.path) as store:
        store.tasks.create(id=dashed, name="Dashed")
    assert shown(capsys, filled.path, dashed).startswith(f"Dashed  pending  {dashed}\n")
    text = make_parser().format_help()
    assert not _DASHED_ID.search(text)


def test_who_holds_a_task_without_a_name_or_lease_is_told(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(filled.path, clock=filled.clock) as store:
        filled.clock.now = NOW - timedelta(days=2)
        store.tasks.create(id="X", name="Nameless")
        store.tasks.claim("X")
        store.tasks.claim("T5", agent_id="A2", lease=timedelta(seconds=1))
    out = shown(capsys, filled.path)
    assert "  nobody named  on Nameless\n" in out
    assert shown(capsys, filled.path, "X").splitlines()[-1].endswith("nobody named  open, no lease")
    assert "lease passed " in out


def test_a_task_in_progress_that_nobody_holds_is_told(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    """Set so without a claim: no lease and no reconciliation takes it back."""
    with Store.open(filled.path) as store:
        store.tasks.create(id="X", name="Orphan", initiative_id="I1", status="in_progress")
    assert "  in progress     Orphan  held by nobody  X\n" in shown(capsys, filled.path, "I1")
    assert main(["report", str(filled.path), "-o", "-"]) == 0
    assert "<td>Orphan<td><td>held by nobody</tr>" in capsys.readouterr().out


def test_only_the_first_of_many_lines_are_shown(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(filled.path) as store:
        for number in range(60):
            store.accounts.create(email=f"{number}@example.org")
        for number in range(5):
            store.tasks.create(id=f"N{number}", name=f"N{number}")
        store.tasks.create(id="many", name="Many", initiative_id="I1")
        store.tasks.create_dependencies([("many", f"N{number}") for number in range(5)])
    assert shown(capsys, filled.path).endswith("  … and 14 more\n")
    assert (
        "waits for task N0 (pending), task N1 (pending), task N2 (pending) and 2 more  many\n"
    ) in shown(capsys, filled.path, "I1")


# Other forms


def test_json_has_what_the_lines_say(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, filled.path, "--json")
    whole = json.loads(text)
    assert text.startswith('{\n  "initiatives": [\n    {\n      "id": "I1",\n')
    assert [one["tasks"]["completed"] for one in whole["initiatives"]] == [1, 0]
    assert [*whole] == [*("initiatives", "work", "agents", "messages", "conversations", "accounts")]
    assert [one["email"] for one in whole["accounts"]] == [f"{c}@example.org" for c in "abcd"]
    board = json.loads(shown(capsys, filled.path, "I1", "--json"))
    tasks = {one["id"]: one for one in board["tasks"]}
    assert tasks["T6"]["waits_for"] == [
        {"kind": "phase", "id": "P2", "name": "Ranking", "status": "pending", "until": "open"},
        {
            "kind": "phase",
            "id": "P1",
            "name": "Index",
            "status": "in_progress",
            "until": "completed",
        },
    ]
    assert [one["outcome"] for one in tasks["T1"]["attempts"]] == ["failed", None]
    assert {key: (one["state"], one["depends_on"]) for key, one in tasks.items()} == {
        "T0": ("completed", []),
        "T1": ("in progress", []),
        "T2": ("waiting", ["T1"]),
        "T3": ("waiting", ["T2"]),
        "T4": ("waiting", ["T0", "T9"]),
        "T5": ("ready", []),
        "T6": ("waiting", []),
        "T7": ("blocked", []),
        "T8": ("needs approval", []),
    }
    assert board["phases"][1]["depends_on"] == ["P1"]
    agent = json.loads(shown(capsys, filled.path, "A1", "--json"))
    assert (agent["agent"]["name"], agent["work"]["task_id"]) == ("brave-otter", "T1")
    assert json.loads(shown(capsys, filled.path, "A2", "--json"))["work"] is None
    assert json.loads(shown(capsys, filled.path, "T2", "--json"))["needs"][0]["id"] == "T1"


def test_a_plan_is_drawn_by_mermaid_and_by_graphviz(
    filled: Filled, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = shown(capsys, filled.path, "I1", "--graph", "mermaid").splitlines()
    assert drawn[:4] == [
        "flowchart LR",
        '    subgraph p0["Index (in progress)"]',
        '    t0["Table"]:::in_progress',
        '    t1["Route #34;x#34;"]:::waiting',
    ]
    assert "    t0 --> t1" in drawn
    assert '    t9(["Elsewhere"]):::elsewhere' in drawn
    drawn = shown(capsys, filled.path, "I1", "--graph", "dot").splitlines()
    assert drawn[0] == "digraph plan {"
    assert '    t1 [label="Route \\"x\\"", tooltip="waiting", fillcolor="#eeeeee"];' in drawn
    assert "    t0 -> t1;" in drawn
    assert drawn[-1] == "}"
    text = shown(capsys, filled.path, "I1", "--graph", "dot", "--json")
    assert json.loads(text)["graph"].splitlines() == drawn


def test_a_label_holds_nothing_that_mermaid_takes_for_its_own(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(file) as store:
        store.initiatives.create(id="I", name="I")
        store.tasks.create(name='`a` "b" [c] {d} #e; <f>|g|', initiative_id="I")
    drawn = shown(capsys, str(file), "I", "--graph", "mermaid").splitlines()
    assert drawn[1] == (
        '    t0["#96;a#96; #34;b#34; #91;c#93; #123;d#125; #35;e#59; #60;f#62;#124;g#124;"]:::ready'
    )


def test_a_graph_needs_an_initiative(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", filled.path, "--graph", "dot"]) == 1
    assert capsys.readouterr().err == (
        "cwstore: graph: needs the id of an initiative: `cwstore show PATH ID`\n"
    )


def test_a_terminal_gets_colours_and_lines_of_its_width(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = attach(monkeypatch)
    with Store.open(filled.path) as store:
        store.tasks.create(id="long", name="[bold]" + "n" * 200, initiative_id="I1")
    assert main(["show", filled.path, "I1"]) == 0
    text = out.getvalue()
    assert "\x1b[34m" in text
    (line,) = (line for line in text.splitlines() if "[bold]nnn" in line)
    assert "…" in line
    assert len(line.split("m", 1)[1]) < 130


@pytest.mark.parametrize(("columns", "alone"), [(40, True), (79, False)])
def test_on_a_narrow_terminal_the_id_that_people_type_stays_whole(
    columns: int, alone: bool, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = attach(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    with Store.open(filled.path) as store:
        long = store.tasks.create(name="n" * 200, initiative_id="I1").id
    assert main(["show", filled.path, "I1"]) == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert max(map(len, lines)) == columns
    (line,) = (line for line in lines if long in line)
    name = lines[lines.index(line) - 1] if alone else line
    assert line == (f"  {long}" if alone else f"{name.partition('…')[0]}…  {long}")
    assert name.startswith("  ready           nnnnn")


def test_a_terminal_that_wants_no_colours_gets_none(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = attach(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["show", filled.path, "I1"]) == 0
    assert "\x1b[3" not in out.getvalue()


def test_an_older_file_is_not_migrated_by_a_look(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    migrations.migrate(file, target=9)
    assert main(["show", str(file)]) == 1
    assert "run `cwstore migrate" in capsys.readouterr().err
    assert migrations.status(file).version == 9


# Watching


def watch(path: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "cwstore", "show", path, "--watch", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_watching_shows_it_again_after_each_commit_of_another_process(filled: Filled) -> None:
    with watch(filled.path, "--json") as process:
        assert process.stdout
        assert process.stderr
        first = json.loads(process.stdout.readline())
        assert len(first["initiatives"]) == 2
        with Store.open(filled.path) as store:
            store.initiatives.create(name="Third")
        second = json.loads(process.stdout.readline())
        assert [one["name"] for one in second["initiatives"]][2:] == ["Third"]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert "Traceback" not in process.stderr.read()


def test_watching_through_a_pipe_has_a_line_between_the_looks(filled: Filled) -> None:
    with watch(filled.path) as process:
        assert process.stdout
        assert process.stdout.readline() == "---\n"
        assert process.stdout.readline() == "Sign-in by e-mail  active  I1\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
