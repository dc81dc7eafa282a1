"""A standby of the server that writes can be read: by stores, and by commands."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import NamedTuple

import psycopg
import pytest

from cwstore.cli import main
from cwstore.core.drivers import shown
from cwstore.errors import StorageError
from cwstore.store import Store
from tests.kits.postgres_server import running_server
from tools._python.postgres import REPLICATED, Server, running_standby

pytestmark = pytest.mark.slow  # two servers; test_read_only pretends one


class Pair(NamedTuple):
    primary: Server
    standby: Server

    def follow(self) -> None:
        """Wait until the standby has what the primary has committed."""
        with (
            psycopg.connect(self.primary.address("postgres")) as there,
            psycopg.connect(self.standby.address("postgres"), autocommit=True) as here,
        ):
            ((place,),) = there.execute("SELECT pg_current_wal_flush_lsn()::text").fetchall()
            replayed = "SELECT pg_last_wal_replay_lsn() >= %s::text::pg_lsn"
            while here.execute(replayed, [place]).fetchall() != [(True,)]:
                Event().wait(0.01)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_server(**REPLICATED) as primary, running_standby(primary) as standby:
        yield Pair(primary, standby)


class Reading(NamedTuple):
    """A database: where it is written, and where it is read."""

    pair: Pair
    store: Store
    written: str
    read: str


@pytest.fixture
def reading(pair: Pair) -> Iterator[Reading]:
    name = pair.primary.new_database()
    written = pair.primary.address(name)
    with Store.open(written) as store:
        yield Reading(pair, store, written, pair.standby.address(name))
    pair.primary.drop(name)


def said(capsys: pytest.CaptureFixture[str], code: int, *arguments: str) -> str:
    found = main([*arguments])
    out, err = capsys.readouterr()
    assert found == code, out + err
    return out + err


def test_every_command_that_only_reads_works_on_a_standby(
    reading: Reading, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = reading.store
    initiative = store.initiatives.create(name="Search")
    task = store.tasks.create(name="Index", initiative_id=initiative.id)
    for session in (1, 2):
        store.log_chunks.insert_chunk("a", agent_name="fox", session_number=session, content="x")
    reading.pair.follow()
    address, name = reading.read, shown(reading.read)

    assert said(capsys, 0, "status", address).startswith(f"{name}\n")
    assert said(capsys, 0, "check", address) == (
        f"{name}: OK: no damage, no broken references, schema as expected.\n"
    )
    assert "fox" in said(capsys, 0, "stats", address)
    assert "Search" in said(capsys, 0, "show", address)
    assert "Index" in said(capsys, 0, "show", address, task.id)
    assert "Search" in said(capsys, 0, "report", address, "-o", "-")
    prune = said(capsys, 0, "prune", address, "--keep-sessions", "1", "--dry-run")
    assert prune.startswith("Would delete 1 sessions")
    lines = tmp_path / "search.jsonl"
    said(capsys, 0, "export", address, initiative.id, "-o", str(lines))
    assert "Index" in lines.read_text()

    for command in ("prune --keep-sessions 1", f"import {lines}", "migrate"):
        first, *others = command.split()
        assert said(capsys, 1, first, address, *others) == (
            f"cwstore: {name}: the server is a standby, which cannot be written: name all servers"
            " in the address, and target_session_attrs=read-write; or open the store with"
            " read_only\n"
        )


def test_watching_a_standby_looks_again_and_again(
    reading: Reading, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waited:
        def wait(self, seconds: float) -> None:
            if reading.store.initiatives.find_all():
                raise KeyboardInterrupt
            reading.store.initiatives.create(name="Search")
            reading.pair.follow()
            assert seconds == 5

    monkeypatch.setattr("cwstore.cli.show_command.Event", Waited)
    reading.pair.follow()
    first, second, _ = said(capsys, 130, "show", reading.read, "--watch", "--json").splitlines()
    assert "Search" not in first
    assert "Search" in second


def test_a_store_reads_on_a_standby_and_says_what_it_cannot(reading: Reading) -> None:
    reading.store.initiatives.create(name="there", id="i")
    reading.pair.follow()
    with Store.open(reading.read, read_only=True) as store:
        assert store.initiatives.get("i").name == "there"
        assert store.check().ok
        before = store.data_version()
        reading.store.initiatives.update("i", name="changed")
        reading.pair.follow()
        assert store.initiatives.get("i").name == "changed"
        assert store.data_version() > before
        with store.transaction():
            assert store.initiatives.get("i").name == "changed"
        with pytest.raises(StorageError) as refused:
            store.changes()
        assert str(refused.value) == (
            f"listening to {reading.read}: the server is a standby, which tells no changes; give"
            " the address of the one that writes"
        )
        assert store.initiatives.get("i").name == "changed"


def test_what_somebody_added_is_told_on_a_standby_and_what_was_changed_is_refused(
    reading: Reading, capsys: pytest.CaptureFixture[str]
) -> None:
    name = shown(reading.read)
    with psycopg.connect(reading.written, autocommit=True) as owner:
        owner.execute("CREATE TABLE of_somebody_else (x bigint)")
        reading.pair.follow()
        assert "table of_somebody_else" in said(capsys, 0, "status", reading.read)
        assert said(capsys, 0, "check", reading.read) == (
            "Somebody added, and it is left alone: table of_somebody_else\n"
            f"{name}: OK: no damage, no broken references, schema as expected.\n"
        )
        owner.execute("DROP INDEX tasks_parent_task_ix")
        reading.pair.follow()
    for command in ("status", "check"):
        assert said(capsys, 1, command, reading.read) == (
            f"cwstore: {name}: its structure was changed after version 17 was applied; run"
            " `cwstore check` as a user who may make a schema, on a server that can be written:"
            " that tells where\n"
        )


def test_a_user_who_may_make_no_schema_is_told_what_was_added(
    reading: Reading, capsys: pytest.CaptureFixture[str]
) -> None:
    reading.store.initiatives.create(name="Search")
    with psycopg.connect(reading.written, autocommit=True) as owner:
        owner.execute("CREATE ROLE looker LOGIN")
        owner.execute("GRANT pg_read_all_data TO looker")
        owner.execute("CREATE VIEW of_somebody_else AS SELECT 1 AS x")
        looker = reading.written.replace("user=cwstore", "user=looker")
        try:
            assert "Search" in said(capsys, 0, "show", looker)
            assert "view of_somebody_else" in said(capsys, 0, "check", looker)
        finally:
            owner.execute("DROP OWNED BY looker")
            owner.execute("DROP ROLE looker")
