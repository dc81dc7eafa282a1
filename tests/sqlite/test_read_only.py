"""Store.open(..., read_only=True): by users who may only read, on mounts that take no writes."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from cwstore import (
    AsyncStore,
    Change,
    ChangeOperation,
    CheckReport,
    CorruptDatabaseError,
    ForeignDatabaseError,
    InvalidValueError,
    MigrationError,
    SchemaTooNewError,
    StorageError,
    StoreClosedError,
    migrate,
    status,
)
from cwstore._sqlite.fork import ALIVE
from cwstore.entities.tasks import _FIND_ALL
from cwstore.store import Store
from tests.kits.database import contents, tamper

NEWEST = status(":memory:").newest
REFUSED = "was opened with read_only=True, so nothing is written; open it without"


@pytest.fixture
def reader(store: Store, file: Path) -> Iterator[Store]:
    """A store that only reads, beside one that writes."""
    with Store.open(file, read_only=True) as opened:
        yield opened


# Reading


def test_it_reads_what_others_commit(store: Store, reader: Store) -> None:
    task = store.tasks.create(name="a")
    assert reader.tasks.get(task.id) == task
    assert reader.tasks.find_ready() == [task]
    store.accounts.create(email="e")
    assert reader.accounts.find_next_available() == store.accounts.find_next_available()
    assert reader.version == store.version
    assert reader._db.state_token() is None
    assert reader.tasks.expire_leases() == []  # there is nothing to write
    task = store.tasks.update(task.id, name="b")
    assert reader.tasks.find_all() == [task]


def test_a_transaction_is_one_moment_of_the_file(store: Store, reader: Store) -> None:
    with reader.transaction():
        assert reader.tasks.find_all() == []
        task = store.tasks.create(name="a")
        with reader.transaction():
            assert reader.tasks.find_all() == []
            elsewhere: list[object] = []
            thread = threading.Thread(target=lambda: elsewhere.append(reader.tasks.find_all()))
            thread.start()
            thread.join()
            assert elsewhere == [[task]]
        assert reader.tasks.find_by_id(task.id) is None
    assert reader.tasks.find_all() == [task]
    initiative = store.initiatives.create(name="i")
    assert reader.initiatives.check_plan(initiative.id) == []


def test_it_tells_its_health(file: Path, reader: Store) -> None:
    assert reader.health().ok
    assert reader.health().disk_free_bytes
    reader.close()
    assert reader.health().problems == (f"the store of {file} is closed; open a new one",)


def test_threads_read_at_once(store: Store, reader: Store) -> None:
    tasks = [store.tasks.create(name=name) for name in "ab"]
    met = threading.Barrier(12)
    found: list[object] = []

    def read() -> None:
        with reader.transaction():
            met.wait(30)
            found.append(reader.tasks.find_all())
            met.wait(30)
        found.append(reader.tasks.find_all())

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tasks] * 24
    assert len(reader._db._idle) == 8  # type: ignore[attr-defined]


def test_it_is_checked_counted_and_copied(store: Store, reader: Store, tmp_path: Path) -> None:
    store.tasks.create(name="a")
    assert reader.check() == CheckReport((), (), ())
    assert reader.query("SELECT name FROM tasks") == [{"name": "a"}]
    with reader.transaction():
        found = reader.stats()
    assert found.tables == store.stats().tables
    assert [one.what for one in found.readers] == ["transaction"]
    reader.backup(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        assert copy.tasks.find_all() == store.tasks.find_all()


def test_a_snapshot_is_one_moment_too(store: Store, reader: Store) -> None:
    ours = reader._db
    with ours.snapshot("export") as snapshot:
        assert snapshot.fetch_all(_FIND_ALL) == []
        task = store.tasks.create(name="a")
        assert snapshot.fetch_all(_FIND_ALL) == []
        assert [one.what for one in reader.stats().readers] == ["export"]
    assert reader.tasks.find_all() == [task]


def test_a_feed_tells_that_others_have_committed(store: Store, reader: Store) -> None:
    before = reader.data_version()
    with reader.changes() as feed:
        assert feed.get(timeout=0) == []
        store.tasks.create(name="a")
        assert feed.get(timeout=30) == [Change(ChangeOperation.ELSEWHERE)]
    assert reader.data_version() != before


def test_a_feed_goes_on_when_the_file_cannot_be_asked(store: Store, file: Path) -> None:
    with Store.open(file, read_only=True) as reader:
        away = file.rename(file.with_name("away"))
        feed = reader.changes()  # nobody knows yet what others do
        away.rename(file)
        assert feed.get(timeout=30) == [Change(ChangeOperation.ELSEWHERE)]
        reader._db._watch.close()  # type: ignore[attr-defined]
        with pytest.raises(StoreClosedError, match="data_version"):
            reader.data_version()
        assert feed.get(timeout=0) == []


def test_it_is_awaited_too(store: Store, file: Path) -> None:
    task = store.tasks.create(name="a")

    async def scene() -> None:
        async with await AsyncStore.open(file, read_only=True) as reader:
            assert await reader.tasks.find_all() == [task]
            assert await reader.transaction(lambda tx: tx.tasks.get(task.id)) == task
            with pytest.raises(StorageError, match=REFUSED):
                await reader.tasks.create(name="b")

    asyncio.run(scene())


# Writing is refused

WRITES: dict[str, Callable[[Store], Any]] = {
    "create": lambda store: store.tasks.create(name="b"),
    "create_many": lambda store: store.tasks.create_many([{"name": "b"}]),
    "update": lambda store: store.tasks.update("a", name="b"),
    "delete": lambda store: store.tasks.delete("a"),
    "claim": lambda store: store.tasks.claim("a"),
    "claim_next_ready": lambda store: store.tasks.claim_next_ready(),
    "claim_next_available": lambda store: store.accounts.claim_next_available(),
    "insert_chunks": lambda store: store.log_chunks.insert_chunks([("a", "n", 1, "c")]),
    "clear_expired_exhaustion": lambda store: store.accounts.clear_expired_exhaustion(),
    "create_dependencies": lambda store: store.tasks.create_dependencies([("a", "b")]),
    "delete an initiative": lambda store: store.initiatives.delete("i"),
    "prune": lambda store: store.log_chunks.prune(keep_sessions=0),
    "vacuum": lambda store: store._db.vacuum(),
    "update_many": lambda store: store.proposals.update_many_by_agent_id("a", title="t"),
    "compact": lambda store: store.compact(),
}


@pytest.mark.parametrize("name", WRITES)
def test_what_would_write_is_refused(store: Store, file: Path, reader: Store, name: str) -> None:
    store.tasks.create(id="a", name="a")
    before = contents(file)
    with pytest.raises(StorageError, match=REFUSED):
        WRITES[name](reader)
    with reader.transaction(), pytest.raises(StorageError, match=REFUSED):
        WRITES[name](reader)
    assert contents(file) == before
    assert reader.tasks.claim_next_ready(categories=["review"]) is None


def test_long_deletions_are_refused_too(store: Store, reader: Store) -> None:
    initiative = store.initiatives.create(name="i")
    with pytest.raises(StorageError, match=REFUSED):
        reader.initiatives.purge(initiative.id)
    assert store.initiatives.get(initiative.id) == initiative


def test_a_bad_value_is_refused_as_such(reader: Store) -> None:
    with pytest.raises(InvalidValueError, match="name: must not be empty"):
        reader.tasks.create(name="")
    with pytest.raises(InvalidValueError, match="id: contains a lone surrogate"):
        reader.tasks.find_by_id("\ud800")
    with pytest.raises(InvalidValueError, match="read_only: expected bool"):
        Store.open(":memory:", read_only=1)  # type: ignore[arg-type]


# Which files


def test_no_file_is_made_and_none_is_migrated(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot look at .*new\.db: No such file"):
        Store.open(tmp_path / "new.db", read_only=True)
    with pytest.raises(InvalidValueError, match="read_only: a database in memory"):
        Store.open(":memory:", read_only=True)
    old = tmp_path / "old.db"
    migrate(old, target=9)
    before = old.read_bytes()
    with pytest.raises(MigrationError) as caught:
        Store.open(old, read_only=True)
    assert str(caught.value) == (
        f"{old} has version 9 of cwstore, this program works on {NEWEST}, and a store that only"
        f" reads"
        " does not migrate: open it once as a user who may write, or run `cwstore migrate`"
    )
    assert old.read_bytes() == before


def test_files_that_a_store_refuses_are_refused(store: Store, file: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"x" * 1024)
    with pytest.raises(ForeignDatabaseError, match="not an SQLite database"):
        Store.open(foreign, read_only=True)
    store.tasks.create(name="a")
    tamper(file, "CREATE TABLE mine (x)")
    tamper(file, "PRAGMA user_version = 99")
    with pytest.raises((SchemaTooNewError, MigrationError, CorruptDatabaseError)):
        Store.open(file, read_only=True)
    Path(f"{foreign}-wal").write_bytes(b"x" * 100)
    with pytest.raises(ForeignDatabaseError):
        Store.open(foreign, read_only=True)


# The end


def test_a_store_that_is_closed_reads_no_more(store: Store, file: Path) -> None:
    reader = Store.open(file, read_only=True)
    feed = reader.changes()
    reader.tasks.find_all()
    with reader.transaction():
        reader.close()
        assert reader.tasks.find_all() == []  # what has begun is ended
    reader.close()
    for call in (reader.tasks.find_all, reader.data_version, feed.get):
        with pytest.raises(StoreClosedError):
            call()


def test_a_forked_child_opens_its_own(store: Store, file: Path, reader: Store) -> None:
    task = store.tasks.create(name="a")
    reader.data_version()
    assert reader.tasks.find_all() == [task]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ALIVE[0] = 0  # as if C code had forked it, which calls no hook
            with pytest.raises(StoreClosedError, match="before this process was forked"):
                reader.tasks.find_all()
            with Store.open(file, read_only=True) as own:
                code = 0 if own.tasks.find_all() == [task] else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.tasks.find_all() == [task]


# Users who may only read

COMMANDS = """
import sys
from cwstore.cli import main
from tests.kits.processes import give_up_rights

give_up_rights()
for command in sys.argv[2].split(","):
    name, *others = command.split()
    print(command, main([name, sys.argv[1], *others]))
"""

LOOK = """
import sys
from pathlib import Path
from cwstore import CwstoreError, Store
from tests.kits.processes import give_up_rights

give_up_rights()
print("ready", flush=True)
for line in sys.stdin:
    try:
        with Store.open(sys.argv[1], read_only=True) as store:
            print(*(task.name for task in store.tasks.find_all()), store.check().ok, flush=True)
    except CwstoreError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
"""


@contextmanager
def place_to_read() -> Generator[Path]:
    """A store that everybody may read, and nobody write who has no right of root's."""
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        directory = Path(place) / "stores"
        directory.mkdir()
        file = directory / "store.db"
        Store.open(file).close()
        file.chmod(0o444)
        directory.chmod(0o555)
        yield file


def looked_at(file: Path) -> str:
    """What a user sees who may only read."""
    done = run(
        [sys.executable, "-c", LOOK, file],
        input="\n",
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.removeprefix("ready\n").strip()


@pytest.mark.slow
def test_who_may_only_read_sees_what_is_there_while_others_write_and_when_nobody_does() -> None:
    with place_to_read() as file:
        assert looked_at(file) == "True"
        with Store.open(file) as store:
            store.tasks.create(name="one")
            assert looked_at(file) == "one True"
            store.tasks.create(name="two")
            assert looked_at(file) == "one two True"
        before = sorted(path.name for path in file.parent.iterdir())
        assert looked_at(file) == "one two True"
        assert sorted(path.name for path in file.parent.iterdir()) == before == ["store.db"]


def test_a_log_that_nobody_moved_in_is_refused_where_it_cannot_be_read(tmp_path: Path) -> None:
    with place_to_read() as file:
        leave = (
            "import os, sys; from cwstore import Store; store = Store.open(sys.argv[1]);"
            " store.tasks.create(name='one'); os._exit(0)"
        )
        run([sys.executable, "-c", leave, file], check=True)
        assert looked_at(file) == "one True"  # the index was left behind, too
        Path(f"{file}-shm").unlink()
        said = looked_at(file)
        assert said == (
            f"StorageError: {file}-wal holds what nobody has moved into {file} yet, and {file}-shm,"
            " which that takes, is missing; open the store once as a user who may write"
        )


def test_commands_that_only_read_serve_who_may_only_read(tmp_path: Path) -> None:
    with place_to_read() as file:
        with Store.open(file) as store:
            store.initiatives.create(id="I", name="Search")
        commands = "check,status,stats,show,export I,shell,backup,compact,migrate"
        done = run(
            [sys.executable, "-c", COMMANDS, file, commands],
            input="",
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        codes = [
            line
            for line in done.stdout.splitlines()
            if line.rpartition(" ")[0] in commands.split(",")
        ]
        assert codes == [
            "check 0",
            "status 0",
            "stats 0",
            "show 0",
            "export I 0",
            "shell 0",
            "backup 1",
            "compact 1",
            "migrate 1",
        ]
        refused = f"cwstore: {file} cannot be read and written by this user; "
        assert all(line.startswith(refused) for line in done.stderr.splitlines()[-2:])


def test_a_file_that_may_not_even_be_read_is_refused() -> None:
    with place_to_read() as file:
        file.chmod(0o000)
        said = f"StorageError: {file} cannot be read by this user; mend its permissions"
        assert looked_at(file) == said
