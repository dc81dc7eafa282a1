"""The shell: apsw's own, on a file that it only reads unless it is told otherwise."""

import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cwstore.cli import main
from cwstore.migrations import api as migrations
from cwstore.store import Store

ROOT = Path(__file__).parents[2]


def shell(file: Path, text: str, *options: str) -> tuple[int, str, str]:
    """What the shell answers to these lines from a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "cwstore", "shell", str(file), *options],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def current(file: Path) -> Path:
    with Store.open(file) as store:
        store.accounts.create(id="a", email="a@example.org", credentials='{"key": "hush"}')
    return file


def test_it_answers_in_sql_and_shows_no_credentials(current: Path) -> None:
    asked = "SELECT id, email, credentials FROM accounts;\nPRAGMA query_only;\n"
    assert shell(current, asked) == (0, "a|a@example.org|\n1\n", "")
    # A NULL that is read might be written back: who may write is refused instead.
    code, out, err = shell(current, "SELECT * FROM accounts;", "--write")
    assert (code, out) == (1, "")
    assert "access to accounts.credentials is prohibited" in err


def test_all_but_the_credentials_can_be_dumped_while_somebody_writes(current: Path) -> None:
    with Store.open(current) as store, store.transaction():
        store.tasks.create(name="not committed")
        code, out, err = shell(current, ".dump\nSELECT count(*) FROM tasks;\n")
    assert (code, err) == (0, "")
    assert "CREATE TABLE accounts" in out
    assert "INSERT INTO accounts VALUES('a','a@example.org'" in out
    assert "hush" not in out
    assert out.endswith("COMMIT TRANSACTION;\n0\n")


@pytest.mark.parametrize(
    "text",
    [
        "DELETE FROM accounts;",
        "PRAGMA query_only = OFF;",
        "PRAGMA journal_mode = DELETE;",
        "PRAGMA user_version = 3;",
        "VACUUM;",
        "ATTACH 'other.db' AS other;",
        "SELECT 1",  # no semicolon: it never ends
        "nonsense;",
    ],
)
def test_it_writes_nothing_and_an_error_ends_it(current: Path, text: str) -> None:
    before = current.read_bytes()
    code, out, err = shell(current, f"{text}\nSELECT 'on';\n" if ";" in text else text)
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert current.read_bytes() == before


def test_it_changes_the_file_if_it_may(current: Path) -> None:
    done = shell(current, "UPDATE accounts SET email = 'b@example.org';", "--write")
    assert done == (0, "", "")
    with Store.open(current) as store:
        (account,) = store.accounts.find_all()
        assert account.email == "b@example.org"


def test_it_ends_as_it_is_told(current: Path) -> None:
    assert shell(current, ".exit 4\n")[0] == 4
    assert shell(current, ".exit\n")[0] == 0


def test_it_also_opens_a_file_that_is_older_than_the_code(file: Path) -> None:
    migrations.migrate(file, target=3)
    assert shell(file, "PRAGMA user_version;") == (0, "3\n", "")


def test_it_makes_no_file(file: Path) -> None:
    said = f"cwstore: {file} is not there; give the path of a cwstore file\n"
    assert shell(file, "SELECT 1;") == (1, "", said)
    assert not file.exists()


def test_without_docstrings_it_says_what_it_lacks(
    current: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of `python -OO`, and of programs that are frozen with that."""
    monkeypatch.setattr("apsw.shell.Shell.__doc__", None)
    assert main(["shell", str(current)]) == 1
    assert capsys.readouterr().err == (
        "cwstore: apsw's shell needs the docstrings that -OO leaves out: run it without that, and"
        " without PYTHONOPTIMIZE=2\n"
    )


def test_on_a_terminal_it_says_what_it_may_do(current: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "cwstore", "shell", str(current)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": str(current.parent), "TERM": "dumb"},
    ) as process:
        os.close(theirs)
        os.write(ours, b".exit\n")
        shown = b""
        with suppress(OSError):  # its end has closed
            while part := os.read(ours, 4096):
                shown += part
        assert process.wait(60) == 0
    os.close(ours)
    assert f"{current}: read only; --write lets you change it.".encode() in shown
