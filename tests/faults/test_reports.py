"""What others have reported of stores like this one, as a user here would meet it."""

import errno
import os
import re
import signal
from pathlib import Path

import pytest

import cwstore
from cwstore.errors import BusyError, CorruptDatabaseError, StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore
from tests.kits.engine import Other, locked, names
from tests.kits.migrations import run
from tools._python.faults.broken_files import make_base
from tools._python.faults.system_calls import Guard, Operation, watched
from tools._python.faults.work import make_old, picture_of

NO_DESCRIPTORS = """
import os, resource, sys
from cwstore.errors import StorageError
from cwstore.store import Store

with Store.open(sys.argv[1]) as store:
    store.initiatives.create(name="before")
    store.check()  # Python loads what it takes
    store.backup(sys.argv[1] + ".first")
    free = os.dup(0)
    os.close(free)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    for call in (store.check, lambda: store.backup(sys.argv[1] + ".bak")):
        try:
            call()
        except StorageError as error:
            print("open files" in str(error))
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    store.backup(sys.argv[1] + ".bak")
    print(len(store.initiatives.find_all()))
"""


def test_a_process_without_descriptors_is_told_so_and_goes_on_when_it_has_some(file: Path) -> None:
    with Other(NO_DESCRIPTORS, file) as other:
        assert other.end() == ["True", "True", "1"]


NO_DESCRIPTORS_FROM_THE_START = """
import os, resource, sys
from cwstore import restore, status
from cwstore._sqlite import engine, transaction, writer
from cwstore.errors import CwstoreError
from cwstore.store import Store

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

def limit():
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))

def unlimit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

def write():
    with store.transaction():
        pass

def told(call):
    limit()
    try:
        call()
        print("done")
    except CwstoreError as error:
        print(type(error).__name__, "open files" in str(error))
    unlimit()

store = Store.open(sys.argv[1], busy_timeout=0.05)
for call in (
    lambda: store.initiatives,
    write,
    store.stats,
    store.check,
    store.changes,
    store.compact,
    lambda: store.backup(sys.argv[1] + ".bak"),
    lambda: store.query("SELECT 1"),
    lambda: store.on_statement(print),
    lambda: store.export_initiative("i"),
    lambda: store.import_initiative([]),
    lambda: Store.open(sys.argv[1], read_only=True),
    lambda: restore(sys.argv[1], sys.argv[1] + ".restored"),
    lambda: status(sys.argv[1]),
):
    told(call)
with store.transaction():
    made = store.initiatives.create(name="kept")
    limit()
unlimit()
engine.LONG = transaction.LONG = writer.LONG = -1.0  # whatever it does is told to the log
told(lambda: store.initiatives.update(made.id, branch="b"))
told(lambda: store.initiatives.get(made.id))
print("hold the lock", flush=True)
input()
told(write)
limit()
store.close()
"""


def test_a_process_that_has_never_had_descriptors_is_told_so_and_what_it_commits_is_kept(
    file: Path,
) -> None:
    """What Python imports on use is a file, too."""
    with Other(NO_DESCRIPTORS_FROM_THE_START, file) as other:
        told = [other.hear() for _ in range(17)]
        with locked(file):
            other.tell()
            told += other.end()
    expected = ["StorageError True"] * 14 + ["done"] * 2 + ["hold the lock", "BusyError False"]
    assert told == expected
    with Store.open(file) as store:
        assert [(one.name, one.branch) for one in store.initiatives.find_all()] == [("kept", "b")]


LITTLE_MEMORY = """
import resource, sys
from cwstore.errors import StorageError
from cwstore.store import Store

hard = resource.getrlimit(resource.RLIMIT_AS)[1]

def write(number):
    with store.transaction():
        for _ in range(2):
            store.log_chunks.insert_chunk(
                "agent", agent_name="a", session_number=number, content="x" * 200_000
            )

def room(size):
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + size, hard))

with Store.open(sys.argv[1]) as store:
    write(1)
    kept = {1}
    for number in range(2, 40):
        room(number * 30_000)
        try:
            write(number)
            kept.add(number)
            store.log_chunks.find_by_agent_id("agent", last=5)
        except (MemoryError, StorageError):
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    write(99)
    numbers = [one.session_number for one in store.log_chunks.find_by_agent_id("agent")]
    assert numbers == sorted([*kept, 99] * 2), (numbers, kept)
    assert store.check().ok
"""


def test_a_process_whose_memory_ends_keeps_what_it_committed_and_goes_on_when_it_has_some(
    file: Path,
) -> None:
    with Other(LITTLE_MEMORY, file) as other:
        assert other.end() == []


class FullForTheLog(Guard):
    """The backup fits on the disk, what the migrations write does not."""

    def before(self, operation: Operation) -> int:
        is_log = operation.kind == "write" and operation.path.endswith("store.db-wal")
        return errno.ENOSPC if is_log else 0


def test_a_disk_that_is_full_in_the_midst_of_a_migration_leaves_file_and_backup(
    place: Path,
) -> None:
    file = place / "store.db"
    make_old(file, 11)
    before = picture_of(file)
    with watched(str(place), FullForTheLog()), pytest.raises(StorageError, match="disk is full"):
        cwstore.migrate(file)
    assert picture_of(file) == before
    assert picture_of(place / "store.db.v11.bak") == before
    assert cwstore.migrate(file).version_before == 11


@pytest.mark.parametrize("version", [0, 11])
def test_a_migration_needs_no_directory_for_temporary_files(
    version: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(place / "store.db", version)
    for variable in ("SQLITE_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(place / "nowhere"))
    cwstore.migrate(place / "store.db")
    with Store.open(place / "store.db") as store:
        assert store.check().ok


def test_side_files_that_a_killed_process_left_are_no_damage(place: Path) -> None:
    file = make_base(place, with_log=True)
    for ending, data in (("-shm", os.urandom(32_768)), ("-turn", os.urandom(48))):
        (place / f"store.db{ending}").write_bytes(data)
    with Store.open(file) as store:
        assert names(store)[-3:] == ["logged"] * 3
        assert store.check().ok


def test_an_index_that_lacks_one_row_is_damage_and_no_backup_is_kept_of_it(file: Path) -> None:
    with Store.open(file) as store:
        store.initiatives.create(name="before")
    ((page,),) = run(
        file, "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_initiatives_1'"
    )
    place = slice((page - 1) * 4096, page * 4096)
    old = file.read_bytes()[place]
    with Store.open(file) as store:
        store.initiatives.create(name="late")
    whole = bytearray(file.read_bytes())
    whole[place] = old
    file.write_bytes(whole)
    with Store.open(file) as store:
        missing = "row 2 missing from index sqlite_autoindex_initiatives_1"
        assert missing in store.check().integrity
        with pytest.raises(CorruptDatabaseError, match="was not kept, its source is damaged"):
            store.backup(file.with_name("copy"))
    assert not file.with_name("copy").exists()


def test_a_backup_of_a_store_at_work_takes_no_side_file_from_it(store: Store, file: Path) -> None:
    store.initiatives.create(name="before")
    there = {one.name for one in file.parent.iterdir()}
    store.backup(file.with_name("copy"))
    assert {one.name for one in file.parent.iterdir()} == there | {"copy"}
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]


def test_a_process_that_is_stopped_in_a_transaction_holds_up_writers_and_nobody_else(
    file: Path, open_store: OpenStore
) -> None:
    with open_store(busy_timeout=0.1) as store:
        store.initiatives.create(name="before")
        with locked(file) as other:
            os.kill(other.process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, other.process.pid, os.WSTOPPED | os.WNOWAIT)
            with pytest.raises(BusyError) as refused:
                store.initiatives.create(name="late")
            pid = other.process.pid
            stopped = rf"process {pid} \(.*, which is stopped: `kill -CONT {pid}` lets it go on\)"
            assert re.fullmatch(stopped, str(refused.value.holder))
            (problem,) = store.health().problems
            assert problem == f"{file}: nobody can write: {refused.value.holder} has the write lock"
            assert names(store) == ["before"]
            assert store.check().ok
            store.backup(file.with_name("copy"))
            os.kill(other.process.pid, signal.SIGCONT)
            other.tell()
            other.end()
        store.initiatives.create(name="after")
        assert names(store) == ["before", "after"]


LESS_AND_LESS_MEMORY = """
import gc, resource, sys
from cwstore.errors import CwstoreError, StorageError
from cwstore.store import Store

hard = resource.getrlimit(resource.RLIMIT_AS)[1]
path, told = sys.argv[1], set()

def within(room, act):
    with open("/proc/self/statm") as pages:
        used = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + room, hard))
    try:
        act()
        told.add("done")
        return True
    except Exception as error:  # Python has errors of its own for it
        if isinstance(error, CwstoreError) and type(error) is not StorageError:
            raise
        told.add("no memory")
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        gc.collect()

claimed = set()

def claim():
    task = store.tasks.claim_next_ready()
    claimed.add(task.id)

def open_another():
    with Store.open(path) as other:
        other.initiatives.find_all()

with Store.open(path) as store:
    for number in range(200):
        store.tasks.create(id=f"t{number}", name="t" * 5000)
    store.check()
    store.backup(f"{path}.first")
    for number, room in enumerate(range(0, 4_000_000, 200_000)):
        within(room, claim)
        within(room, open_another)
        copy = f"{path}.{number}"
        if within(room, lambda: store.backup(copy)):
            with Store.open(copy, read_only=True) as one:
                assert len(one.tasks.find_all()) == 200
        within(room, store.check)
        claim()
    held = {one.task_id for one in store.tasks.find_open_attempts()}
    assert held == claimed, held ^ claimed
    assert store.check().ok
print(*sorted(told))
"""


@pytest.mark.slow
def test_as_memory_ends_at_any_point_each_call_is_done_or_undone(file: Path) -> None:
    with Other(LESS_AND_LESS_MEMORY, file) as other:
        assert other.end() == ["done no memory"]
    assert not [path.name for path in file.parent.iterdir() if path.name.startswith(".cwstore-")]
