"""A snapshot reads one moment, whatever is committed meanwhile, and blocks nobody."""

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from cwstore._sqlite import engine
from cwstore.core.mapping import compile_row_mapper
from cwstore.core.port import OpenDatabase
from cwstore.core.statement import rows_of
from cwstore.entities.phases import Phase
from cwstore.entities.registry import repository_class
from cwstore.errors import ConflictError, CorruptDatabaseError, InvalidValueError

_COLUMNS = "id, initiative_id, name, content, status, created_at, updated_at"
ALL = rows_of(Phase)(f"SELECT {_COLUMNS} FROM phases ORDER BY id")
ONE = rows_of(Phase)(f"SELECT {_COLUMNS} FROM phases WHERE id = :id")
OLDER = rows_of(Phase)(f"SELECT {_COLUMNS} FROM phases WHERE created_at <= :now ORDER BY id")


def opened(path: object) -> OpenDatabase:
    return cast(
        "OpenDatabase",
        engine.open_database(
            str(path), clock=None, busy_timeout=1.0, durable=False, backup=True, on_progress=None
        ),
    )


def add_phase(db: OpenDatabase, id: str) -> Phase:
    return cast(Phase, repository_class("phases")(db).create(id=id, initiative_id="I", name=id))


@pytest.mark.parametrize("place", ["file", ":memory:"])
def test_it_sees_what_was_there_when_it_was_first_asked(place: str, file: Path) -> None:
    with closing(opened(file if place == "file" else place)) as db:
        repository_class("initiatives")(db).create(id="I", name="I")
        first = add_phase(db, "a")
        with db.snapshot("show") as snapshot:
            assert snapshot.fetch_one(ONE, id="a") == first
            add_phase(db, "b")  # nobody waits for it
            assert snapshot.fetch_all(ALL) == [first]
            assert list(snapshot.iterate(ALL)) == [first]
            assert snapshot.fetch_all(OLDER) == [first]
            assert snapshot.fetch_one(ONE, id="b") is None
        with db.snapshot("show") as snapshot:
            assert [phase.id for phase in snapshot.fetch_all(ALL)] == ["a", "b"]


def test_the_stats_tell_who_holds_one(file: Path) -> None:
    with closing(opened(file)) as db:
        with db.snapshot("export") as snapshot:
            snapshot.fetch_all(ALL)
            assert [reader.what for reader in db.stats().readers] == ["export"]
        assert db.stats().readers == ()


def test_it_is_refused_inside_of_a_transaction_whose_changes_it_would_not_see(file: Path) -> None:
    with closing(opened(file)) as db, db.transaction():
        with pytest.raises(ConflictError) as refused, db.snapshot("export"):
            pass
        assert refused.value.reason == "transaction"
        assert str(refused.value) == (
            "export inside of a transaction, whose changes it would not see: leave it first"
        )


def test_a_file_that_was_removed_can_still_be_read_and_written(file: Path) -> None:
    with closing(opened(file)) as db:
        repository_class("initiatives")(db).create(id="I", name="I")
        add_phase(db, "a")
        file.unlink()
        with db.snapshot("export") as snapshot:
            assert [phase.id for phase in snapshot.fetch_all(ALL)] == ["a"]
        assert not db.in_transaction()


def test_its_errors_are_those_of_the_store(file: Path) -> None:
    with (
        closing(opened(file)) as db,
        db.snapshot("show") as snapshot,
        pytest.raises(InvalidValueError, match="id: "),
    ):
        snapshot.fetch_one(ONE, id="\ud800")


def test_a_structure_that_was_changed_under_it_is_told(file: Path) -> None:
    with closing(opened(file)) as db:
        with closing(apsw.Connection(str(file))) as other:
            other.execute("ALTER TABLE phases RENAME COLUMN content TO text")
        with db.snapshot("show") as snapshot, pytest.raises(CorruptDatabaseError) as told:
            snapshot.fetch_all(ALL)
        assert str(told.value) == (
            "phases: no such column: content; the structure of the file is not what its version"
            f" says: run `cwstore check {file}`"
        )


def test_rows_that_come_one_by_one_are_mapped_by_a_function_that_is_compiled_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []

    def compile_counted(*arguments: Any) -> Any:
        compiled.append(arguments)
        return compile_row_mapper(*arguments)

    monkeypatch.setattr("cwstore.core.statement.compile_row_mapper", compile_counted)
    fresh = rows_of(Phase)(f"SELECT {_COLUMNS} FROM phases ORDER BY id")
    with closing(opened(file)) as db:
        repository_class("initiatives")(db).create(id="I", name="I")
        phases = [add_phase(db, one) for one in ("a", "b", "c")]
        compiled.clear()
        with db.snapshot("export") as snapshot:
            assert list(snapshot.iterate(fresh)) == phases
    assert len(compiled) == 1
