"""Where only a backup helps, the message has the command, with the backup that lies beside it."""

import os
from pathlib import Path

import pytest

from cwstore.migrations.advice import how_to_restore
from cwstore.migrations.scripts import OURS, Program


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A name with a space, beside three backups and what only looks like one."""
    file = tmp_path / "my store.db"
    for age, end in enumerate(("v15.bak", "20260101T000000Z.bak", "v12.bak", "v16.bak.old", "bak")):
        backup = tmp_path / f"my store.db.{end}"
        backup.touch()
        os.utime(backup, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "other.db.v9.bak").touch()
    return file


@pytest.mark.parametrize(
    ("newest", "backup"),
    [(None, "v15.bak"), (15, "v15.bak"), (14, "v12.bak"), (11, None)],
)
def test_the_newest_backup_that_serves_is_named(
    file: Path, newest: int | None, backup: str | None
) -> None:
    named = "BACKUP" if backup is None else f"'{file}.{backup}'"
    wanted = f"restore a backup: `cwstore restore {named} '{file}'`"
    assert how_to_restore(OURS, str(file), newest) == wanted


def test_an_extension_counts_its_own_versions(file: Path) -> None:
    billing = Program(extension="billing")
    wanted = f"restore a backup: `cwstore restore '{file}.{{}}' '{file}'`"
    assert how_to_restore(billing, str(file), 1) == wanted.format("v15.bak")
    for age, end in enumerate(("v17-billing-2.bak", "v17-other-1.bak", "v17-billing-1.bak"), 10):
        backup = Path(f"{file}.{end}")
        backup.touch()
        os.utime(backup, (1_000_000 - age, 1_000_000 - age))
    assert how_to_restore(billing, str(file), 1) == wanted.format("v17-billing-1.bak")
    assert how_to_restore(billing, str(file), 2) == wanted.format("v17-billing-2.bak")
    assert how_to_restore(billing, str(file), 0) == wanted.format("v15.bak")  # who knows
    assert how_to_restore(OURS, str(file), 17) == wanted.format("v15.bak")
    Path(f"{file}.v15.bak").unlink()
    Path(f"{file}.v12.bak").unlink()
    assert how_to_restore(OURS, str(file), 17) == wanted.format("v17-billing-2.bak")


def test_the_command_names_the_program_whose_file_it_is(file: Path) -> None:
    wanted = f"restore a backup: `cwstore restore '{file}.v12.bak' '{file}'"
    own = Program(file.parent / "my sql", 7)
    given = f" --directory '{file.parent}/my sql' --application-id 0x7`"
    assert how_to_restore(own, str(file), 14) == wanted + given
    of_own = Program("elsewhere", 7, extension="billing", host=own.directory)
    assert how_to_restore(of_own, str(file)).endswith(f"'{file}'{given}")


def test_no_command_is_named_that_would_not_take_it(tmp_path: Path) -> None:
    assert how_to_restore(OURS, ":memory:") == "restore a backup"
    gone = tmp_path / "gone" / "store.db"
    assert how_to_restore(OURS, str(gone)) == (f"restore a backup: `cwstore restore BACKUP {gone}`")
