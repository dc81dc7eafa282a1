"""A service with tables of its own on a database of its own, from the first line to the last."""

import asyncio
import contextlib
import inspect
import json
import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, cast

import pytest

import cwstore
from cwstore import AsyncDatabase, ChangeOperation, Database, Store
from cwstore.cli import main
from cwstore.errors import (
    ConflictError,
    ForeignDatabaseError,
    InvalidValueError,
    MigrationError,
    NotFoundError,
    SchemaTooNewError,
    StorageError,
)
from cwstore.testing import check_statements
from tests.examples import wishes
from tests.examples.wishes import APPLICATION_ID, MIGRATIONS, Wish, WishRepository, WishStatus
from tests.kits.engine import DeliberateError
from tests.kits.migrations import run


def open_wishes(file: Path) -> Database:
    return Database.open(file, migrations=MIGRATIONS, application_id=APPLICATION_ID)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "wishes.db"


@pytest.fixture
def database(file: Path) -> Iterator[Database]:
    with open_wishes(file) as database:
        yield database


def test_its_statements_are_checked() -> None:
    reason = "it is read to its end on purpose, in pages"
    check_statements(
        wishes, MIGRATIONS, allow={"scan": {"wishes._FIND_ALL": reason}}
    ).expect_no_faults()


def test_its_repository_does_what_ours_do(database: Database) -> None:
    repository = database.repository(WishRepository)
    pony = repository.create(wisher="Ann", text="a pony", details='{"colour": "grey"}')
    assert pony == Wish(
        pony.id, "Ann", "a pony", WishStatus.OPEN, pony.details, pony.created_at, pony.created_at
    )
    bike = repository.create(wisher="Ann", text="a bike")
    assert repository.find_by_wisher("Ann", limit=1, after=pony.id) == [bike]
    assert list(repository.iter_all()) == [pony, bike]
    granted = repository.update(pony.id, status="granted", if_updated_at=pony.updated_at)
    assert (granted.status, granted.updated_at > pony.updated_at) == (WishStatus.GRANTED, True)
    with pytest.raises(ConflictError):
        repository.update(pony.id, text="two", if_updated_at=pony.updated_at)
    with pytest.raises(InvalidValueError, match="text"):
        repository.create(wisher="Ann", text="")
    with pytest.raises(InvalidValueError, match="not JSON"):
        repository.create(wisher="Ann", text="a cat", details="{")
    assert (repository.delete(bike.id), repository.delete(bike.id)) == (True, False)
    with pytest.raises(NotFoundError, match="wishes: no row has the id"):
        repository.get(bike.id)


def test_it_joins_in_the_transaction(database: Database) -> None:
    repository = database.repository(WishRepository)
    with contextlib.suppress(DeliberateError), database.transaction():
        repository.create(wisher="Ann", text="a pony")
        raise DeliberateError
    assert repository.find_by_wisher("Ann") == []


def test_it_can_be_awaited(file: Path) -> None:
    async def wish() -> None:
        async with await AsyncDatabase.open(
            file, migrations=MIGRATIONS, application_id=APPLICATION_ID
        ) as database:
            repository = database.repository(WishRepository)
            assert isinstance(repository, WishRepository)
            assert inspect.iscoroutinefunction(repository.create)
            pony = await repository.create(wisher="Ann", text="a pony")
            assert await repository.get(pony.id) == pony
            assert [one async for one in repository.iter_all()] == [pony]

            def both(tx: Database) -> list[Wish]:
                mine = tx.repository(WishRepository)
                return [mine.create(wisher="Bob", text=text) for text in ("a", "b")]

            assert len(await database.transaction(both)) == 2
            assert await database.query("SELECT count(*) AS n FROM wishes") == [{"n": 3}]
        async with await AsyncDatabase.open(
            file, migrations=MIGRATIONS, application_id=APPLICATION_ID, read_only=True
        ) as database:
            assert await database.repository(WishRepository).get(pony.id) == pony
            with pytest.raises(StorageError, match="read_only=True"):
                await database.repository(WishRepository).create(wisher="Ann", text="a dog")

    asyncio.run(wish())


def test_all_that_is_done_with_a_store_is_done_with_it(database: Database, tmp_path: Path) -> None:
    with database.changes() as changes:
        made = database.repository(WishRepository).create(wisher="Ann", text="a pony")
        (change,) = changes.get(1)
    assert (change.operation, change.table, change.id) == (
        ChangeOperation.INSERT,
        "wishes",
        made.id,
    )
    assert database.version == 1
    assert database.check().ok
    assert {table.name for table in database.stats().tables} == {"schema_migrations", "wishes"}
    database.backup(tmp_path / "copy.db")
    with open_wishes(tmp_path / "copy.db") as copy:
        assert copy.repository(WishRepository).get(made.id) == made
    assert database.compact() > 0  # of the log


def make_wishes(file: str, start: Event, count: int) -> None:
    start.wait()
    with open_wishes(Path(file)) as database:
        for number in range(count):
            database.repository(WishRepository).create(wisher="all", text=str(number))


def test_processes_start_at_once_on_a_file_that_is_not_there(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    workers = [context.Process(target=make_wishes, args=(str(file), start, 5)) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with open_wishes(file) as database:
        assert len(database.repository(WishRepository).find_by_wisher("all")) == 15


def test_its_files_and_those_of_others_are_told_apart(file: Path, tmp_path: Path) -> None:
    open_wishes(file).close()
    with pytest.raises(ForeignDatabaseError, match="application_id 0x57495348"):
        Store.open(file)
    Store.open(tmp_path / "ours.db").close()
    with pytest.raises(ForeignDatabaseError, match="application_id 0x43575354"):
        open_wishes(tmp_path / "ours.db")
    for bad in (0, 2**31, -1):
        with pytest.raises(InvalidValueError, match="application_id: must be from 1"):
            Database.open(file, migrations=MIGRATIONS, application_id=bad)
    with pytest.raises(InvalidValueError, match="expected int, got bool"):
        Database.open(file, migrations=MIGRATIONS, application_id=True)
    unset = cast(Any, None)
    with pytest.raises(InvalidValueError, match="application_id: expected int, got NoneType"):
        Database.open(tmp_path / "new.db", migrations=MIGRATIONS, application_id=unset)
    with pytest.raises(InvalidValueError, match="migrations: expected a path"):
        Database.open(tmp_path / "new.db", migrations=unset, application_id=APPLICATION_ID)
    assert not (tmp_path / "new.db").exists()


def test_messages_speak_of_its_versions(file: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "0001_wishes.sql").write_text((MIGRATIONS / "0001_wishes.sql").read_text())
    (newer / "0002_more.sql").write_text("CREATE TABLE more (a);")
    Database.open(file, migrations=newer, application_id=APPLICATION_ID).close()
    with pytest.raises(SchemaTooNewError) as refusal:
        open_wishes(file)
    assert str(refusal.value) == (
        f"{file} has schema version 2, this program knows 1; it can be used by the program with"
        " schema version 2 and up: update the program, or restore a backup: `cwstore restore"
        f" BACKUP {file} --directory {MIGRATIONS} --application-id 0x57495348`"
    )
    with pytest.raises(MigrationError, match="no migration; give the directory"):
        Database.open(file, migrations=tmp_path, application_id=APPLICATION_ID)


def test_the_functions_and_the_command_line_work_on_it(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cwstore.migrate(file, directory=MIGRATIONS, application_id=APPLICATION_ID).version == 1
    assert cwstore.status(file, directory=MIGRATIONS, application_id=APPLICATION_ID).newest == 1
    assert cwstore.rehearse(file, directory=MIGRATIONS, application_id=APPLICATION_ID).version == 1
    given = ["--directory", str(MIGRATIONS), "--application-id", "WISH", "--json"]
    told = {}
    for command in ("migrate", "status", "rehearse", "check", "stats"):
        assert main([command, str(file), *given]) == 0
        told[command] = json.loads(capsys.readouterr().out)
    assert (told["status"]["newest"], told["check"]["ok"]) == (1, True)
    assert main(["backup", str(file), str(tmp_path / "copy.db"), *given]) == 0
    assert main(["restore", str(tmp_path / "copy.db"), str(file), *given]) == 0
    with pytest.raises(ForeignDatabaseError, match="application_id 0x57495348"):
        cwstore.restore(tmp_path / "copy.db", file)
    with pytest.raises(ForeignDatabaseError, match="application_id 0x57495348"):
        cwstore.restore(tmp_path / "copy.db", tmp_path / "new.db")
    with pytest.raises(InvalidValueError, match=r"^directory: a program with an"):
        cwstore.restore(tmp_path / "copy.db", file, application_id=APPLICATION_ID)
    run(file, "CREATE INDEX mine ON wishes (text)")
    assert main(["check", str(file), *given[:-3], "--application-id", "0x57495348"]) == 0
    assert "index mine on wishes" in capsys.readouterr().out
    assert main(["check", str(file)]) == 1
    assert "belongs to another application" in capsys.readouterr().err
