"""`export` and `import`: one initiative goes elsewhere as a file."""

import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from cwstore.cli import main, transfer_commands
from cwstore.store import Store


@pytest.fixture
def source(file: Path) -> Path:
    with Store.open(file) as store:
        store.initiatives.create(id="I", name="Sign-in")
        store.accounts.create(id="K", email="a@example.org", credentials='{"key": "hush"}')
        store.agents.create(id="A", name="fox", worktree_id="/", initiative_id="I", account_id="K")
        store.tasks.create(id="T", name="Table", initiative_id="I")
        store.log_chunks.insert_chunk("A", agent_name="fox", session_number=1, content="{}")
    return file


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.db"
    Store.open(path).close()
    return path


def test_a_dash_prints_an_export(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(source), "I"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("\n") > 2
    assert main(["export", str(source), "I", "-o", "-"]) == 0
    assert capsys.readouterr().out == printed
    assert not (tmp_path / "-").exists()


def test_an_initiative_goes_to_a_file_and_from_there_into_another_store(
    source: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved.jsonl"
    assert main(["export", str(source), "I", "-o", str(moved), "--logs"]) == 0
    assert capsys.readouterr() == (
        f"{moved}: 5 rows. Accounts and credentials are not in it.\n",
        "",
    )
    assert moved.stat().st_mode & 0o777 == 0o600
    assert main(["import", str(target), str(moved)]) == 0
    assert capsys.readouterr() == (
        (
            "Sign-in  I\n"
            "  table               stored  there already\n"
            "  agent_log_chunks         1              0\n"
            "  agent_log_sessions       1              0\n"
            "  agents                   1              0\n"
            "  initiatives              1              0\n"
            "  tasks                    1              0\n"
            "References that lead to what is neither in the file nor here (an account, another"
            " initiative's task) were left out: 1.\n"
        ),
        "",
    )
    with Store.open(target) as store:
        assert store.tasks.get("T").name == "Table"


def test_it_goes_through_a_pipe(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CWSTORE_PATH", str(source))
    assert main(["export", "I"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == 6
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    monkeypatch.setattr(tempfile, "tempdir", "/there/is/none")  # it is kept beside the store
    assert main(["import", str(target), "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "initiative_id": "I",
        "name": "Sign-in",
        "rows": {"initiatives": 1, "tasks": 1, "agents": 1, "agent_log_sessions": 1},
        "skipped": {},
        "references_dropped": 1,
        "agents_renamed": {},
    }


class Slow:
    """Standard input whose sender takes its time: meanwhile others write."""

    def __init__(self, text: str, store: Path) -> None:
        self._lines = text.splitlines(keepends=True)
        self._store = store

    def __iter__(self) -> Iterator[str]:
        with Store.open(self._store, busy_timeout=0) as store:
            for line in self._lines:
                store.tasks.create(name="by another")
                yield line


def test_nobody_waits_for_a_slow_sender(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(source), "I"]) == 0
    monkeypatch.setattr(sys, "stdin", Slow(capsys.readouterr().out, target))
    assert main(["import", str(target), "-"]) == 0
    with Store.open(target) as store:
        assert len(store.tasks.find_all()) == 6 + 1


@pytest.mark.parametrize("when", ["TemporaryFile", "writelines"])
def test_input_that_finds_no_room_is_told_and_nothing_is_imported(
    when: str, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    class Full(io.StringIO):
        writelines = full

    temporary_file = full if when == "TemporaryFile" else Full
    monkeypatch.setattr(transfer_commands, "TemporaryFile", lambda *_, **__: temporary_file())
    assert main(["import", str(target), "-"]) == 1
    assert capsys.readouterr().err == (
        f"cwstore: cannot keep what comes from standard input in {target.parent}: No space left on"
        " device; make room there, or import a file\n"
    )


def test_ctrl_c_ends_the_wait_for_a_sender(
    target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sent() -> Iterator[str]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(sys, "stdin", sent())
    assert main(["import", str(target), "-"]) == 130
    assert [one.name for one in target.parent.iterdir()] == [target.name]


def test_a_taken_name_is_told(
    source: Path, target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved.jsonl"
    assert main(["export", str(source), "I", "-o", str(moved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"path": str(moved), "rows": 4}
    with Store.open(target) as store:
        store.agents.create(id="mine", name="fox", worktree_id="/")
        store.accounts.create(id="K", email="here@example.org")
    assert main(["import", str(target), str(moved), "--on-conflict", "skip"]) == 0
    out = capsys.readouterr().out
    assert out.endswith("agent A is called fox-2 here: its name was taken.\n")


def test_a_damaged_file_is_named_by_its_line(
    target: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jsonl"
    head = '{"format":"cwstore-initiative","version":1,"schema":16,"initiative":"I","name":"n"}'
    broken.write_bytes(head.encode() + b'\n{"table":"phases","row":"\xff"}\n')
    assert main(["import", str(target), str(broken)]) == 1
    assert capsys.readouterr().err == "cwstore: line 2: row: expected a JSON object\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "{source}", "nix"], ("initiatives: no row has the id 'nix'; "
         "`cwstore show {source}` lists the initiatives")),
        (["export", "{source}", "I", "-o", "{target}"], ("cannot write {target}: File exists; "
         "give the name of a new file")),
        (["import", "{target}", "missing.jsonl"], ("cannot read missing.jsonl: No such file or "
         "directory; give another path")),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    arguments: list[str],
    message: str,
    source: Path,
    target: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"source": source, "target": target}
    assert main([argument.format(**places) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"cwstore: {message.format(**places)}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["export", "none.db", "I"], ""),
        (["import", "none.db", "-"], "; `cwstore migrate none.db` makes a new one"),
        (["report", "none.db"], ""),
    ],
)
def test_no_file_is_made_up_where_there_is_none(
    arguments: list[str],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    place = tmp_path / "none.db"
    said = f"cwstore: {place} is not there; give the path of a cwstore file{advice}\n"
    assert capsys.readouterr() == ("", said)
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_is_not_finished_leaves_no_file(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer_commands.terminal, "_ignore", interrupted)
    assert main(["export", str(source), "I", "-o", str(tmp_path / "half")]) == 130
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize(("command", "missing"), [("export", "INITIATIVE"), ("import", "FILE")])
def test_what_is_missing_is_told(
    command: str, missing: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, str(file)])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.endswith(f"cwstore {command}: error: {missing} is missing\n")
