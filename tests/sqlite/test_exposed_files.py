"""Files that hold secrets: who may read them, from the first instant, and what is said of it."""

import sys
from pathlib import Path
from shlex import split
from subprocess import run

import pytest

from cwstore import Store
from cwstore.cli import main
from cwstore.migrations.api import status

SIDES = ("-wal", "-shm", "-turn")
COPIES = (
    ".replaced-20261129T170000Z",
    ".replaced-20261129T170000Z-wal",
    ".rescued-20261129T170000Z",
    ".v3.bak",
)


def test_a_store_that_only_its_owner_may_read_is_not_spoken_of(store: Store, file: Path) -> None:
    assert store.check().exposed == status(file).exposed == ()
    file.chmod(0o660)  # a group may share a store
    assert store.check().exposed == ()


def test_each_file_that_everybody_may_read_is_named_with_the_command_that_mends_it(
    store: Store, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.tasks.create(name="t")
    sides = [Path(f"{file}{side}") for side in (*SIDES, *COPIES)]
    for path in sides[len(SIDES) :]:
        path.write_bytes(b"")
    (tmp_path / "another.db.v3.bak").write_bytes(b"")  # of another store
    for path in (file, *sides):
        path.chmod(0o644)
    said = store.check().exposed
    assert said == tuple(
        f"{path} can be read by every user of this system: chmod o-rwx {path}"
        for path in (file, *sides)
    )
    assert store.check().ok
    assert status(file).exposed == said
    for command in ("check", "status"):
        assert main([command, str(file)]) == 0
        assert set(said) <= set(capsys.readouterr().out.splitlines())
        assert main([command, str(file), "--json"]) == 0
        assert str(sides[0]) in capsys.readouterr().out
    for line in said:
        run(split(line.rpartition(": ")[2]), check=True)
    assert store.check().exposed == status(file).exposed == ()


@pytest.mark.parametrize(
    ("mode", "what"), [(0o604, "read"), (0o602, "written"), (0o666, "read and written")]
)
def test_it_is_said_what_others_may_do(store: Store, file: Path, mode: int, what: str) -> None:
    file.chmod(mode)
    said = store.check().exposed[0]
    assert said.startswith(f"{file} can be {what} by every user")


def test_a_name_with_blanks_is_quoted_and_what_is_no_file_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "my store.db"
    with Store.open(file) as store:
        Path(f"{file}.v1.bak").mkdir(mode=0o777)
        Path(f"{file}.v2.bak").symlink_to("nowhere")
        file.chmod(0o644)
        said = store.check().exposed[0]
        assert said.endswith(f"chmod o-rwx '{file}'")
    with Store.open(":memory:") as memory:
        assert memory.check().exposed == ()


# From the first instant


WATCHED = """
import os, stat, sys
from cwstore import Store, migrate

os.umask(0)
exposed = set()

def watch(event, arguments):
    # Each file of the directory, as it is whenever the process does anything with files.
    if event.startswith(("os.", "open", "shutil.")) and event != "os.scandir":
        for entry in os.scandir(sys.argv[1]):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                exposed.add((entry.name, oct(mode)))

sys.addaudithook(watch)
file = os.path.join(sys.argv[1], "store.db")
migrate(file, target=9)
with Store.open(file) as store:
    store.accounts.create(email="e", credentials='"secret"')
    watch("os.", ())
    store.backup(file + ".copy")
    store.log_chunks.prune(keep_sessions=1)
    store.compact()
    watch("os.", ())
    print(*sorted(os.listdir(sys.argv[1])))
assert not exposed, exposed
"""


def test_every_file_is_the_owners_alone_from_the_first_instant_whatever_the_umask(
    tmp_path: Path,
) -> None:
    done = run(
        [sys.executable, "-c", WATCHED, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    beside = {"store.db", "store.db-shm", "store.db-turn", "store.db-wal"}
    assert set(done.stdout.split()) == {*beside, "store.db.copy", "store.db.v9.bak"}
