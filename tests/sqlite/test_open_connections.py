"""What this process has open: kept by cwstore itself, whatever others have, and across any fork."""

import ctypes
import gc
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import apsw
import pytest

from cwstore._sqlite import fork
from cwstore._sqlite.engine import SqliteDatabase
from cwstore._sqlite.fork import BookedConnection
from cwstore.errors import StoreClosedError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of
from tests.kits.disk import faulty_disk
from tests.kits.engine import Other, Task, in_child, names, reached


def announced(work: Callable[[], str]) -> str:
    return in_child(work)()


def unannounced(work: Callable[[], str]) -> str:
    """As `announced`, by a fork that Python does not know of.

    If a thread asks for Python's lock just then, as that of xdist may, the child waits for ever
    until that thread has had it. So each has it before, and asks no more.
    """
    reading, writing = os.pipe()
    interval = sys.getswitchinterval()  # seconds until a thread that waits asks
    sys.setswitchinterval(1_000)
    until = time.perf_counter() + 4 * interval
    while time.perf_counter() < until:
        pass
    child = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(interval)
    if child == 0:
        said = "died"
        try:
            said = work()
        except Exception as error:  # noqa: BLE001 it is the answer
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


def by_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system that wipes no memory at a fork."""

    class Page:
        def madvise(self, advice: int) -> None:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(fork, "mmap", lambda *_, **__: Page())
    mark = fork._wiped_at_fork()
    for module in ("fork", "engine", "writer", "transaction"):
        monkeypatch.setattr(f"cwstore._sqlite.{module}.ALIVE", mark)


BUSY_APPLICATION = """
import sys, threading, apsw
from pathlib import Path
from cwstore.store import Store

def busy(path):
    db = apsw.Connection(path)
    inside, over = threading.Event(), threading.Event()
    db.create_scalar_function("rest", lambda: inside.set() or over.wait() or 1)
    thread = threading.Thread(target=lambda: db.execute("SELECT rest()").fetchall())
    thread.start()
    inside.wait()
    return over, thread

over, thread = busy(sys.argv[1] + ".application")
failed = []
def open_one(path, barrier):
    barrier.wait()
    try:
        with Store.open(path) as store:
            store.initiatives.create(name="x")
    except BaseException as error:
        failed.append(repr(error))
for number in range(int(sys.argv[2])):
    barrier = threading.Barrier(8)
    path = f"{sys.argv[1]}.{number}"
    threads = [threading.Thread(target=open_one, args=(path, barrier)) for _ in range(8)]
    for one in threads: one.start()
    for one in threads: one.join()
    with Store.open(path) as store:
        assert len(store.initiatives.find_all()) == 8 or failed
over.set()
thread.join()
print(len(failed), *failed[:3])
"""


@pytest.mark.parametrize("rounds", [2, pytest.param(100, marks=pytest.mark.slow)])
def test_eight_threads_open_one_new_file_beside_a_busy_connection_of_the_application(
    file: Path, rounds: int
) -> None:
    with Other(BUSY_APPLICATION, file, rounds) as other:
        assert other.process.communicate()[0] == "0\n"


@pytest.mark.parametrize("forked", [announced, unannounced])
def test_beside_a_busy_connection_of_the_application_a_child_goes_on_with_a_store_of_its_own(
    store: Store, tmp_path: Path, open_store: OpenStore, forked: Callable[[Callable[[], str]], str]
) -> None:
    store.initiatives.create(name="by the parent")
    assert names(store) == ["by the parent"]
    theirs = apsw.Connection(str(tmp_path / "theirs.db"))
    inside, over = Event(), Event()

    def rest(*_: object) -> int:
        inside.set()
        reached(over)
        return 1

    theirs.create_scalar_function("rest", rest, 0)
    resting = Task(lambda: theirs.execute("SELECT rest()").fetchall())
    reached(inside)

    def work() -> str:
        with pytest.raises(StoreClosedError, match="forked; open a store of its own"):
            store.initiatives.create(name="lost")
        with open_store() as own:
            own.initiatives.create(name="by the child")
            return ", ".join(names(own))

    assert forked(work) == "by the parent, by the child"
    over.set()
    resting.finish()
    theirs.close()
    store.initiatives.create(name="after")
    assert names(store) == ["by the parent", "by the child", "after"]


@pytest.mark.parametrize("forked", [announced, unannounced])
def test_a_child_refuses_a_file_that_the_application_itself_had_open(
    store: Store, file: Path, open_store: OpenStore, forked: Callable[[Callable[[], str]], str]
) -> None:
    """SQLite in the child would believe that it holds the locks of the parent."""
    theirs = apsw.Connection(str(file))
    theirs.execute("SELECT count(*) FROM tasks").fetchall()
    assert forked(lambda: str(open_store())) == (
        f"StoreClosedError: {file} was in use by a connection that is not cwstore's when this"
        " process was forked, and cannot be opened here; fork while the store rests, or start"
        " processes by 'spawn'"
    )
    theirs.close()


@pytest.mark.parametrize("look", ["page", "pid"])
@pytest.mark.parametrize("place", ["file", "memory"])
def test_every_way_into_a_store_is_refused_in_a_child_that_nobody_announced(
    file: Path, monkeypatch: pytest.MonkeyPatch, look: str, place: str, open_store: OpenStore
) -> None:
    if look == "pid":
        by_pid(monkeypatch)
    with Store.open(file if place == "file" else ":memory:") as store:
        task = store.tasks.create(name="x")
        ways: list[Callable[[], object]] = [
            lambda: store.tasks.find_by_id(task.id),
            store.tasks.claim_next_ready,
            lambda: store.tasks.claim(task.id),
            lambda: store.log_chunks.insert_chunks([("a", "a", 1, "x")]),
            lambda: store.transaction().__enter__(),
            store.data_version,
            store.check,
            store.stats,
            store.compact,
            store.changes,
            lambda: store.backup(file.with_name("copy.db")),
        ]
        for way in ways:

            def refused(way: Callable[[], object] = way) -> str:
                with pytest.raises(StoreClosedError, match="forked; open a store of its own"):
                    way()
                store.close()
                return "refused"

            if place == "file" or way != store.compact:  # which has nothing to do in memory
                assert unannounced(refused) == "refused"
        assert store.tasks.claim(task.id).status == "in_progress"


def test_a_list_is_the_first_thing_that_a_child_asks_for_that_nobody_announced(
    store: Store,
) -> None:
    store.initiatives.find_all()

    def ask() -> str:
        fork.ALIVE[0] = 0  # as if C code had forked it, which calls no hook
        try:
            store.initiatives.find_all()
        except StoreClosedError as error:
            return str(error)
        return "it answered"

    assert "before this process was forked" in announced(ask)


def test_a_child_that_nobody_announced_neither_goes_on_with_a_transaction_nor_ends_it(
    store: Store, file: Path
) -> None:
    with store.transaction():
        store.initiatives.create(name="by the parent")

        def go_on() -> str:
            said: list[str] = []
            for way in (
                lambda: store.initiatives.create(name="by the child"),
                lambda: names(store),
                lambda: store.transaction().__enter__(),
            ):
                with pytest.raises(StoreClosedError, match="forked"):
                    way()
                said.append("refused")
            return " ".join(said)

        assert unannounced(go_on) == "refused refused refused"
        store.initiatives.create(name="by the parent, too")
    assert names(store) == ["by the parent", "by the parent, too"]


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_child_that_nobody_announced_leaves_the_block_of_its_parent(
    store: Store, *, succeeds: bool
) -> None:
    within = store.transaction()
    within.__enter__()
    store.initiatives.create(name="by the parent")

    def leave() -> str:
        if not succeeds:
            within.__exit__(ValueError, None, None)
            return "undone here alone"
        with pytest.raises(StoreClosedError, match="forked"):
            within.__exit__(None, None, None)
        return "refused"

    assert unannounced(leave) == ("refused" if succeeds else "undone here alone")
    within.__exit__(None, None, None)
    assert names(store) == ["by the parent"]
    assert store.check().ok


def test_closing_first_of_all_in_a_child_that_nobody_announced_ends_nothing_of_the_parents(
    store: Store, file: Path
) -> None:
    store.initiatives.create(name="x")

    def close() -> str:
        store.close()
        return "closed"

    assert unannounced(close) == "closed"
    assert file.with_name("store.db-wal").exists()
    store.initiatives.create(name="y")
    assert names(store) == ["x", "y"]


def test_where_no_system_tells_which_files_are_open_a_child_opens_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch, open_store: OpenStore
) -> None:
    def none(path: str) -> list[str]:
        raise FileNotFoundError(path)

    def work() -> str:
        with open_store() as own:
            return ", ".join(names(own))

    store.initiatives.create(name="x")
    monkeypatch.setattr(os, "listdir", none)
    assert announced(work) == "x"


_END = """
import ctypes, os, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="before")
store.initiatives.find_all()
child = ctypes.PyDLL(None).fork()
if child == 0:
    if sys.argv[2] == "dropped":
        del store
    sys.exit(0)      # the interpreter frees what it can on the way out
assert os.waitpid(child, 0)[1] == 0
store.initiatives.create(name="after")
assert os.path.exists(sys.argv[1] + "-wal") and os.path.exists(sys.argv[1] + "-turn")
print(*(one.name for one in store.initiatives.find_all()))
store.close()
"""


@pytest.mark.parametrize("how", ["dropped", "kept"])
def test_a_child_that_nobody_announced_takes_nothing_along_when_it_ends(
    file: Path, how: str
) -> None:
    with Other(_END, file, how) as other:
        assert other.end() == ["before after"]


_LATE = """
import ctypes, os, subprocess, sys
from cwstore.errors import StoreClosedError
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="before")
store.initiatives.find_all()
reading, writing = os.pipe()
child = ctypes.PyDLL(None).fork()
if child == 0:
    os.read(reading, 1)
    try:
        store.initiatives.find_all()
    except StoreClosedError:
        os._exit(0)
    os._exit(1)
store.close()
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]])
os.write(writing, b"!")
assert os.waitpid(child, 0)[1] == 0
with Store.open(sys.argv[1]) as again:
    print(*(one.name for one in again.initiatives.find_all()), again.check().ok)
"""


_IS_KILLED = """
import os, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="after")
os._exit(0)
"""


def test_a_child_that_finds_out_late_removes_no_log_of_a_process_that_was_killed(
    file: Path,
) -> None:
    with Other(_LATE, file, _IS_KILLED) as other:
        assert other.end() == ["before after True"]


@pytest.mark.parametrize("forked", [announced, unannounced])
def test_a_file_that_a_thread_was_just_opening_is_refused_in_a_child(
    file: Path, open_store: OpenStore, forked: Callable[[Callable[[], str]], str]
) -> None:
    """SQLite has half a record of it there."""
    open_store().close()
    inside, over = Event(), Event()

    def rest(operation: str, path: str) -> int:
        if operation == "open" and path == str(file) and not inside.is_set():
            inside.set()
            reached(over)
        return 0

    with faulty_disk() as disk:
        disk.fail = rest
        opening = Task(lambda: open_store().close())
        reached(inside)
        said = forked(lambda: str(open_store()))
        over.set()
        opening.finish()
    assert said == (
        f"StoreClosedError: {file} was in use by a thread of the parent when this process was"
        " forked, and cannot be opened here; fork while the store rests, or start processes by"
        " 'spawn'"
    )


def test_a_connection_that_cannot_be_closed_in_a_child_is_kept_and_its_file_refused(
    store: Store, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(store)

    def fail(self: object, force: bool = False) -> None:
        raise apsw.BusyError

    def work() -> str:
        monkeypatch.undo()
        return str(open_store())

    monkeypatch.setattr(BookedConnection, "close", fail)
    said = announced(work)
    monkeypatch.undo()
    assert "was in use by a thread of the parent" in said


def test_what_is_closed_or_freed_leaves_the_book(store: Store, file: Path) -> None:
    def known() -> int:
        return [name for _, name in fork._book.values()].count(str(file))

    names(store)
    assert known() == 2
    freed = BookedConnection(str(file), apsw.SQLITE_OPEN_READONLY, statementcachesize=1)
    assert known() == 3
    del freed
    assert known() == 2
    engine_of(store).close()
    assert known() == 0


def test_ctrl_c_as_opening_ends_leaves_nothing_open(
    file: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(_: object) -> None:
        raise KeyboardInterrupt

    store.close()
    monkeypatch.setattr(SqliteDatabase, "do_without_statistics", press)
    with pytest.raises(KeyboardInterrupt):
        Store.open(file)
    assert str(file) not in [name for _, name in fork._book.values()]
    monkeypatch.undo()
    with Store.open(file) as again:
        assert names(again) == []


@pytest.mark.filterwarnings("ignore:the store of")
@pytest.mark.parametrize("within", ["rest", "a transaction"])
def test_a_store_that_is_dropped_keeps_no_descriptor(
    file: Path, migrated: Path, within: str
) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    shutil.copyfile(migrated, file)
    gc.collect()  # what tests before this one have left
    before = descriptors()
    dropped = Store.open(file)
    dropped.initiatives.create(name="x")
    assert names(dropped) == ["x"]
    if within == "a transaction":
        block = dropped.transaction()
        block.__enter__()
        dropped.initiatives.create(name="undone")
        del block
    assert descriptors() > before
    del dropped
    gc.collect()
    assert descriptors() == before
    with Store.open(file) as store:
        assert names(store) == ["x"]
