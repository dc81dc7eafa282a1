"""Output that cannot be written: exit code 1, and one line where there is a place for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cwstore.cli import main
from cwstore.store import Store

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "cwstore"]
ADVICE = "send it to a file that can be written\n"
FULL = f"cwstore: cannot write to standard output: No space left on device; {ADVICE}"
CLOSED = f"cwstore: cannot write to standard output: Bad file descriptor; {ADVICE}"


@pytest.fixture
def current(file: Path) -> Path:
    """A file of the newest version."""
    Store.open(file).close()
    return file


def shell(line: str, file: Path, *, unbuffered: bool = False) -> tuple[int, str]:
    """The exit code of a line of shell, and what it wrote to standard error."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND],
        env=environment
        | {"PYTHONPATH": str(ROOT), "CWSTORE_PATH": str(file)}
        | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command", ["status", "status --json", "stats --json", "--help", "--version"]
)
def test_a_full_disk_under_the_output(current: Path, command: str) -> None:
    assert shell(f'"$@" {command} > /dev/full', current) == (1, FULL)


@pytest.mark.parametrize(
    "command", ["status", "status --json", "--version", "--help", "check --help", "show -h"]
)
def test_a_full_disk_under_output_that_is_not_buffered(current: Path, command: str) -> None:
    assert shell(f'"$@" {command} > /dev/full', current, unbuffered=True) == (1, FULL)


@pytest.mark.parametrize("command", ["status", "status --json", "check --json", "--version"])
def test_a_standard_output_that_is_closed(current: Path, command: str) -> None:
    assert shell(f'"$@" {command} >&-', current) == (1, CLOSED)


@pytest.mark.parametrize("reads", [True, False])
def test_a_reader_that_has_gone_away_is_told_nothing(
    current: Path,
    reads: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    read, write = os.pipe()
    if not reads:
        os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["status", str(current), "--json"]) == (0 if reads else 1)
        monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_a_closed_output_is_not_the_next_file_that_is_opened(current: Path, tmp_path: Path) -> None:
    code, _ = shell(f'"$@" backup "$CWSTORE_PATH" {tmp_path / "copy"} <&- >&- 2>&-', current)
    assert code == 1
    Store.open(tmp_path / "copy").close()


@pytest.mark.parametrize("command", ["stats", "stats --json", "status --json", "stats --help"])
def test_a_pipe_that_nobody_reads(current: Path, command: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, *command.split(), current],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("options", ["", "--json"])
@pytest.mark.parametrize("away", ["2>&-", "2> /dev/full", "> /dev/full 2>&1", ">&- 2>&-"])
def test_a_failure_that_can_be_told_nowhere_is_told_by_the_exit_code(
    tmp_path: Path, options: str, away: str
) -> None:
    assert shell(f'"$@" check {options} {away}', tmp_path / "missing") == (1, "")


def test_a_failure_is_one_line_though_its_json_cannot_be_written(tmp_path: Path) -> None:
    code, said = shell('"$@" check --json > /dev/full', tmp_path / "missing")
    assert (code, said.count("\n")) == (1, 1)
    assert said.endswith("is not there; give the path of a cwstore file\n")


@pytest.mark.parametrize("command", ["stats --nonsense", ""])
@pytest.mark.parametrize("unbuffered", [True, False])
def test_wrong_usage_is_wrong_usage_wherever_it_is_told(
    current: Path, command: str, unbuffered: bool
) -> None:
    line = f'"$@" {command} > /dev/full 2>&1'
    assert shell(line, current, unbuffered=unbuffered) == (2, "")
