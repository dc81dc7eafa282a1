"""A file that this process has found up to date is looked at anew only once somebody changed it."""

from pathlib import Path

import apsw
import pytest

from cwstore._sqlite import version
from cwstore.errors import ForeignDatabaseError, MigrationError, SchemaTooNewError
from cwstore.migrations.api import migrate
from cwstore.store import Store
from tests.kits.engine import names
from tests.kits.migrations import run

LONG_AGO = -1e9


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a store leaves behind."""
    file = tmp_path_factory.mktemp("made") / "store.db"
    with Store.open(file) as store:
        store.initiatives.create(name="there")
    return file.read_bytes()


@pytest.fixture
def seen(made: bytes, file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written long ago, opened and closed."""
    monkeypatch.setattr(version, "_SETTLED", LONG_AGO)
    file.write_bytes(made)
    Store.open(file).close()
    return file


class Looks(list[object]):
    """One for each time that the catalogue of a file is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = version.read_catalogue
        monkeypatch.setattr(version, "read_catalogue", lambda db: self.append(db) or read(db))


def test_a_file_that_nobody_has_changed_is_not_read_again(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Looks(monkeypatch)
    with Store.open(seen) as store:
        assert names(store) == ["there"]
    with Store.open(seen) as store:
        store.initiatives.create(name="one more")
    assert len(looks) == 0
    Store.open(seen).close()
    assert len(looks) == 1


def test_a_file_that_was_changed_a_moment_ago_is_read_again(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its times may stay if it is changed once more."""
    monkeypatch.setattr(version, "_SETTLED", -LONG_AGO)
    looks = Looks(monkeypatch)
    for _ in range(2):
        Store.open(seen).close()
    assert len(looks) == 2


def test_what_somebody_did_to_it_is_refused(made: bytes, seen: Path) -> None:
    for sql, error in (
        ("DROP INDEX tasks_phase_ix", MigrationError),
        ("UPDATE schema_migrations SET checksum = 'edited', text_sum = 1", MigrationError),
        ("DELETE FROM schema_migrations", MigrationError),
        ("PRAGMA user_version = 99", SchemaTooNewError),
        ("PRAGMA application_id = 1", ForeignDatabaseError),
    ):
        seen.write_bytes(made)
        Store.open(seen).close()
        run(seen, sql)
        with pytest.raises(error):
            Store.open(seen)


def test_what_the_log_alone_holds_is_refused_as_well(seen: Path) -> None:
    connection = apsw.Connection(str(seen))
    connection.execute("DROP INDEX tasks_phase_ix")
    with pytest.raises(MigrationError):
        Store.open(seen)
    connection.close()


def test_an_older_backup_in_its_place_is_brought_up_to_date(seen: Path) -> None:
    older = seen.with_name("older")
    migrate(older, target=16)
    older.rename(seen)
    with Store.open(seen) as store:
        assert names(store) == []
        assert store.check().ok


def test_of_many_files_those_are_remembered_that_were_opened_last(
    seen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "_MOST", 1)
    other = seen.with_name("other")
    other.write_bytes(seen.read_bytes())
    Store.open(other).close()
    looks = Looks(monkeypatch)
    Store.open(other).close()
    assert len(looks) == 0
    Store.open(seen).close()
    assert len(looks) == 1
