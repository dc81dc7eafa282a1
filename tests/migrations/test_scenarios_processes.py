"""The scenarios D, I, N and O: processes at once, killed, interrupted, on a disk that fails.

D, I and O by a call are in test_migration_processes.py.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cwstore._sqlite.schema.lock import migration_lock
from cwstore.migrations.api import migrate
from tests.kits.migrations import ROOT, command, content, run
from tests.kits.processes import (
    FIRST,
    add,
    check_between_nothing,
    child,
    filling,
    left_beside,
    slow_scripts,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "sql"
    directory.mkdir()
    add(directory, FIRST)
    return directory


@pytest.mark.parametrize("old", [True, False])
def test_d_of_six_commands_at_once_one_migrates_and_five_wait(
    file: Path, directory: Path, old: bool
) -> None:
    if old:
        migrate(file, directory=directory)
    add(directory, *(filling(number, 10_000) for number in range(3)))
    with migration_lock(str(file)):  # nobody begins before all have started
        processes = [command(file, directory) for _ in range(6)]
    ends = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, ends
    assert [err for _, err in ends] == [""] * 6
    applied = sorted(out.count('"statements"') for out, _ in ends)
    assert applied == [0, 0, 0, 0, 0, 3 if old else 4]
    assert run(file, "SELECT count(*) FROM rows") == [(30_000,)]
    migrate(file, directory=directory)  # alone: see left_beside
    assert left_beside(file) == ["store.db", *["store.db.v1.bak"] * old]


@pytest.mark.slow
def test_i_a_command_killed_at_any_of_twenty_moments_leaves_a_whole_file_that_migrates_on(
    tmp_path: Path, file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    moment, longest = random.Random(9), 0.0
    for number in range(21):
        killed = tmp_path / f"killed{number}" / "store.db"
        killed.parent.mkdir()
        shutil.copy(file, killed)
        began = time.monotonic()
        process = command(killed, directory)
        try:
            process.communicate(timeout=moment.random() * longest if number else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        longest = longest or time.monotonic() - began  # the first one is let alone
        version = check_between_nothing(killed, directory)
        assert migrate(killed, directory=directory).version_before == version
        assert check_between_nothing(killed, directory) == 4


# What befalls a process, and the two ways to migrate in it.

FULL = """
from cwstore._sqlite import connection as _connect
connect = _connect.connect
def on_a_small_disk(*arguments, **options):
    connection = connect(*arguments, **options)
    connection.pragma("max_page_count", 50)
    return connection
_connect.connect = on_a_small_disk
"""
FAILING = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
"""
# Whoever runs the tests: root may write anywhere.
WITHOUT_RIGHTS = """
from tests.kits.processes import give_up_rights
give_up_rights()
"""
BY_CALL = """
try:
    print("version", migrations.{verb}(sys.argv[1], directory=sys.argv[2]).version)
except errors.CwstoreError as error:
    print(type(error).__name__, error)
"""
BY_COMMAND = """
with contextlib.redirect_stderr(sys.stdout):
    code = cli.main(["{verb}", sys.argv[1], "--directory", sys.argv[2]])
sys.exit(code)
"""
befallen = pytest.mark.parametrize("face", [BY_CALL, BY_COMMAND], ids=["call", "command"])


def told_by(before: str, face: str, *arguments: object, verb: str = "migrate") -> str:
    """What a process says that migrates after it ran `before`, without the error's kind."""
    program = (
        "import contextlib, sys\nfrom cwstore import cli, errors\n"
        "from cwstore.migrations import api as migrations\n" + before
    )
    with child(*arguments, program=program + face.format(verb=verb)) as process:
        told, _ = process.communicate()
    assert "Traceback" not in told
    assert process.returncode == (1 if face is BY_COMMAND and "version" not in told else 0)
    return told.removeprefix("StorageError ").removeprefix("cwstore: ")


@befallen
def test_n_a_full_disk_in_mid_migration_leaves_the_file_as_it_was(
    file: Path, directory: Path, face: str
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    before = content(file)
    assert told_by(FULL, face, file, directory).startswith(
        "0002_step.sql, statement 2, line 3: the disk is full; make room and try again"
    )
    assert content(file) == before
    assert migrate(file, directory=directory).version == 4


@befallen
def test_n_a_disk_that_fails_in_mid_migration_leaves_the_file_as_it_was(
    file: Path, directory: Path, face: str
) -> None:
    migrate(file, directory=directory)
    slow_scripts(directory)
    before = content(file)
    told = told_by(FAILING, face, file, directory)
    assert told.startswith(f"COMMIT ({file}, 0002_step.sql): the disk failed"), told
    assert content(file) == before
    assert migrate(file, directory=directory).version == 4


@befallen
def test_n_a_read_only_directory_is_refused_with_a_remedy(
    tmp_path: Path, directory: Path, face: str
) -> None:
    file = tmp_path / "place" / "store.db"
    file.parent.mkdir()
    migrate(file, directory=directory)
    add(directory, "SELECT 1;")
    file.parent.chmod(0o555)
    before = file.read_bytes()
    for verb in ("migrate", "rehearse"):
        told = told_by(WITHOUT_RIGHTS, face, file, directory, verb=verb)
        assert str(file) in told
        assert "let this user write to" in told or "may write to" in told, told
        assert file.read_bytes() == before
    file.parent.chmod(0o755)
    assert left_beside(file) == ["store.db"]
    assert "version 2" in told_by(WITHOUT_RIGHTS, face, file, directory)


@befallen
def test_n_a_new_file_in_a_read_only_directory_is_refused(
    tmp_path: Path, directory: Path, face: str
) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o555)
    told = told_by(WITHOUT_RIGHTS, face, place / "a.db", directory)
    assert told.startswith(f"cannot create {place}/a.db: Permission denied")
    assert list(place.iterdir()) == []


ENDLESS = """
CREATE TABLE made (id INTEGER PRIMARY KEY);
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n;
"""


def test_o_ctrl_c_ends_a_command_in_mid_migration_which_shows_how_far_it_is(
    file: Path, directory: Path
) -> None:
    migrate(file, directory=directory)
    before = file.read_bytes()
    add(directory, ENDLESS)
    screen, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cwstore", "migrate", file, "--directory", directory],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    while b"migration 1 of 1: 0002_step, statement 1 of 2, 0." not in shown:
        shown += os.read(screen, 1000)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    shown += os.read(screen, 100_000)
    os.close(screen)
    assert (out, process.returncode) == (b"", 130)
    assert b"cwstore: stopped; what was not finished was rolled back" in shown
    assert b"Traceback" not in shown
    assert file.read_bytes() == before
    assert left_beside(file) == ["store.db", "store.db.v1.bak"]
