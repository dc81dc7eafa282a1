"""tools/new_migration begins a script that does nothing until somebody writes it."""

import shutil
from pathlib import Path

import pytest

from cwstore.core.lexer import split
from cwstore.migrations.scripts import load
from tools._python import new_migration

MIGRATIONS = Path(__file__).parents[2] / "sql" / "migrations"
HEAD = len(load())


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of sql/migrations."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


def test_a_new_migration_takes_the_next_number_and_says_nothing_by_itself(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_migration.main(["labels_on_tasks", "--directory", str(directory)]) == 0
    made_file = directory / f"{HEAD + 1:04}_labels_on_tasks.sql"
    assert capsys.readouterr().out.splitlines()[0] == str(made_file)
    text = made_file.read_text(encoding="utf-8")
    assert f"`-- compatible-with: {HEAD}`" in text
    assert split(text) == []
    made_file.write_text(f"{text}CREATE TABLE labels (id TEXT);\n", encoding="utf-8")
    script = load(directory)[-1]
    assert (script.version, script.name) == (HEAD + 1, made_file.stem)
    parsed = script.parse()
    assert (parsed.compatible_with, parsed.drops, parsed.deletes) == (
        None,
        frozenset(),
        frozenset(),
    )


@pytest.mark.parametrize("name", ["", "Labels", "a b", "../x", "x.sql", "_x", "é", "1x", "a" * 61])
def test_a_bad_name_for_a_migration_is_refused(
    directory: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(directory.iterdir())
    with pytest.raises(SystemExit) as ended:
        new_migration.main([name, "--directory", str(directory)])
    assert ended.value.code == 2
    assert "in snake_case" in capsys.readouterr().err
    assert sorted(directory.iterdir()) == before


def test_no_migration_is_added_after_a_gap_or_in_no_directory(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "0004_messages_and_conversations.sql").unlink()
    for place in (directory, directory / "nothing"):
        assert new_migration.main(["more", "--directory", str(place)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tools/new_migration: migration 0004 is missing")
    assert lines[1].startswith("tools/new_migration: cannot read the migrations in")


def test_the_first_migration_of_a_directory_is_number_one(tmp_path: Path) -> None:
    assert new_migration.main(["start", "--directory", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["0001_start.sql"]
    assert "compatible-with" not in (tmp_path / "0001_start.sql").read_text(encoding="utf-8")
