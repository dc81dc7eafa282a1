"""`restore`: a backup takes the place of a file."""

import json
import re
from pathlib import Path

import pytest

from cwstore.cli import main
from cwstore.migrations.api import status
from cwstore.store import Store

NEWEST = status(":memory:").newest


@pytest.fixture
def saved(file: Path, tmp_path: Path) -> Path:
    """A backup of the file, which has gone on since."""
    copy = tmp_path / "copy.db"
    with Store.open(file) as store:
        store.initiatives.create(name="kept")
        store.backup(copy)
        store.initiatives.create(name="later")
    return copy


def names(path: object) -> list[str]:
    with Store.open(str(path)) as store:
        return [one.name for one in store.initiatives.find_all()]


def test_a_backup_takes_the_place_of_the_file_and_what_was_there_is_kept(
    saved: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["restore", str(saved), str(file)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    size = file.stat().st_size
    assert first == f"{file} is a copy of {saved} now: version {NEWEST}, {size:,} bytes, verified."
    (kept,) = re.findall(r"^What was there is kept as (.*)\.$", second)
    assert names(file) == ["kept"]
    assert names(kept) == ["kept", "later"]
    assert saved.exists()


def test_the_path_may_come_from_the_environment_and_need_not_be_there(
    saved: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "new.db"
    monkeypatch.setenv("CWSTORE_PATH", str(place))
    assert main(["restore", str(saved), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["path"], report["kept"]) == (str(place), None)
    assert names(place) == ["kept"]
    other = tmp_path / "other.db"
    assert main(["restore", str(saved), str(other)]) == 0
    assert capsys.readouterr().out.startswith(f"{other} is a copy of {saved} now: version ")


def test_a_file_that_somebody_has_open_is_not_replaced(
    saved: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(file):
        assert main(["restore", str(saved), str(file)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cwstore: ")
    assert str(file) in err
    assert err.count("\n") == 1
    assert names(file) == ["kept", "later"]
