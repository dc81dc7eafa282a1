"""Broken and hostile files: a typed error with a remedy or the right answer, and no trace."""

import shutil
from pathlib import Path

import apsw
import pytest

import cwstore
from cwstore.errors import CorruptDatabaseError, ForeignDatabaseError
from cwstore.store import Store
from tests.kits.database import tamper
from tools._python.faults import broken_files
from tools._python.faults.broken_files import Broken, Sweep, make_base, moments_of, sweep
from tools._python.faults.work import connect

NOT_UTF_8 = (
    ": a text in the file is not UTF-8; nothing was repaired: restore a backup: `cwstore restore"
    " BACKUP {}`$"
)


@pytest.mark.parametrize(
    ("kind", "every"),
    [
        ("pages", 125),  # no multiple of 9: of each of the nine damages
        pytest.param("logs", 5, marks=pytest.mark.slow),
        pytest.param("schemas", 6, marks=pytest.mark.slow),
        ("places", 1),
        ("names", 1),
    ],
)
def test_a_broken_file_is_refused_or_answers_rightly(kind: str, every: int, place: Path) -> None:
    outcome = sweep(kind, place, every)

    assert outcome.faults == []
    assert outcome.trials >= 10


def test_a_text_that_is_not_utf_8_is_told_as_damage_and_not_shown(store: Store, file: Path) -> None:
    made = store.initiatives.create(name="secret")
    tamper(file, "UPDATE initiatives SET name = CAST(x'736563726574ff' AS TEXT)")
    calls = [
        lambda: store.initiatives.get(made.id),
        lambda: store.initiatives.update(made.id, branch="b"),
    ]
    for call in calls:
        with pytest.raises(CorruptDatabaseError, match=NOT_UTF_8.format(file)) as caught:
            call()
        assert caught.value.__context__ is None
        assert "secret" not in repr(caught.value)


def test_a_structure_that_is_not_utf_8_is_told_as_damage(store: Store, file: Path) -> None:
    tamper(file, "UPDATE schema_migrations SET name = CAST(x'ff' AS TEXT) WHERE version = 1")
    with pytest.raises(CorruptDatabaseError, match="not UTF-8"):
        Store.open(file)


def test_a_check_tells_of_a_structure_that_is_not_utf_8(store: Store, file: Path) -> None:
    connection = apsw.Connection(str(file))
    connection.pragma("writable_schema", True)
    connection.execute(
        "UPDATE sqlite_schema SET sql = sql || CAST(x'0a2d2dff' AS TEXT) WHERE name = 'tasks'"
    )  # a comment
    connection.close()
    report = store.check()
    assert (report.ok, report.integrity) == (False, ("a text in the structure is not UTF-8",))


def test_the_log_of_another_application_is_not_moved_into_the_file_that_is_refused(
    file: Path, store: Store
) -> None:
    store.initiatives.create(name="kept")
    store.close()
    other = file.with_name("other.db")
    connection = connect(other)
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute("CREATE TABLE t (id)")
    log = file.with_name("store.db-wal")
    shutil.copyfile(other.with_name("other.db-wal"), log)
    connection.close()
    before = file.read_bytes(), log.read_bytes()
    for call in (Store.open, cwstore.migrate, cwstore.status):
        with pytest.raises(ForeignDatabaseError):
            call(file)
    assert (file.read_bytes(), log.read_bytes()) == before
    log.unlink()
    with Store.open(file) as opened:
        assert [one.name for one in opened.initiatives.find_all()] == ["kept"]


# The sweep itself can fail


def test_an_error_without_a_type_of_its_own_is_found(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "base").mkdir()
    base = make_base(place / "base", with_log=False)
    monkeypatch.setattr(broken_files.cwstore, "status", _raise)
    whole = Broken("nothing is wrong", lambda file: None)
    outcome = Sweep(base, place, moments_of(base)).run(iter([whole]))

    assert outcome.faults == ["nothing is wrong: status: ZeroDivisionError: planted"]


def _raise(*arguments: object) -> None:
    raise ZeroDivisionError("planted")
