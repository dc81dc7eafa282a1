"""Logs, and indexes of logs, that somebody removes or empties under an open store."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import apsw
import pytest

from cwstore import status
from cwstore._sqlite import (
    connection,
    file_names,
    look,
    nameless_log,
    reader_pool,
    rescue,
)
from cwstore.cli import main
from cwstore.errors import StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of
from tests.kits.disk import connections_to, faulty_disk, no_descriptors, remove, replace
from tests.kits.engine import PATIENCE, Other, Task, names
from tests.kits.migrations import names_in


@pytest.mark.parametrize("part", ["-wal", "-shm"])
@pytest.mark.parametrize("happen", [remove, replace])
def test_a_log_that_is_removed_is_noticed_and_closing_loses_nothing_of_what_was_acknowledged(
    store: Store, file: Path, part: str, happen: Callable[[Path, str], None]
) -> None:
    store.initiatives.create(name="acknowledged")
    assert names(store) == ["acknowledged"]
    happen(file, part)
    with pytest.raises(StorageError, match=f"store.db{part} was removed or replaced"):
        store.initiatives.create(name="lost")
    assert names(store) == ["acknowledged"]
    store.close()
    with Store.open(file) as again:
        assert names(again) == ["acknowledged"]
        assert again.check().ok


_OTHER = """
import sys
from cwstore.errors import CwstoreError
from cwstore.store import Store
try:
    with Store.open(sys.argv[1]) as store:
        for number in range(int(sys.argv[2])):
            store.initiatives.create(name=f"other {number}")
        store.initiatives.find_all()
        print("open", flush=True)
        sys.stdin.readline()
    print("closed", flush=True)
except CwstoreError as error:
    print(error, flush=True)
sys.stdin.readline()
"""
_OTHERS = ["other 0", "other 1", "other 2"]


@pytest.mark.parametrize("closed_first", ["the store", "the other"])
def test_of_a_log_whose_index_is_removed_nothing_is_lost_though_others_write_on(
    store: Store, file: Path, closed_first: str
) -> None:
    """The index that is open here ends before what they have added."""
    store.initiatives.create(name="acknowledged")
    assert names(store) == ["acknowledged"]  # a connection that reads is open, too
    remove(file, "-shm")
    with Other(_FOREIGN, file, 3) as other:
        assert other.hear() == "open"
        if closed_first == "the other":
            assert other.end() == []
        with pytest.raises(StorageError, match="leaves the log to whoever opens the file next"):
            store.initiatives.create(name="lost")
        store.close()
        if closed_first == "the store":
            assert other.end() == []
    with Store.open(file) as again:
        assert names(again) == ["acknowledged", *_OTHERS]
        assert again.check().ok
    assert names_in(file.parent) == ["store.db"]


@pytest.mark.parametrize("part", ["-shm", "-wal"])
def test_what_others_write_past_a_store_is_no_reason_to_read_on(
    store: Store, file: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_pool, "_LOOK_INTERVAL", 0.0)
    store.initiatives.create(name="acknowledged")
    assert names(store) == ["acknowledged"]
    remove(file, part)
    assert names(store) == ["acknowledged"]
    file.with_name(f"store.db{part}").touch()  # as whoever opens the file does
    said = f"store.db{part} was removed or replaced"
    with pytest.raises(StorageError, match=said):
        names(store)
    with pytest.raises(StorageError, match=said):
        store.tasks.claim_next_ready()


def test_a_commit_that_fails_as_its_log_is_removed_tells_of_that(
    file: Path, open_store: OpenStore
) -> None:
    def remove_and_fail(operation: str, path: str) -> int:
        if operation != "write" or not path.endswith("-wal"):
            return 0
        remove(file, "-wal")
        disk.fail = lambda operation, path: 0
        return apsw.SQLITE_IOERR_WRITE

    with faulty_disk() as disk, open_store() as store:
        store.initiatives.create(name="acknowledged")
        disk.fail = remove_and_fail
        with pytest.raises(StorageError, match=r"store\.db-wal was removed or replaced"):
            store.initiatives.create(name="refused")
        store.close()
    with open_store() as again:
        assert names(again) == ["acknowledged"]


def test_a_log_that_is_removed_is_moved_into_the_file_though_somebody_could_not_open_that(
    store: Store, file: Path
) -> None:
    """Who tries leaves an empty log."""
    store.initiatives.create(name="acknowledged")
    remove(file, "-wal")
    with Other(_OTHER, file, 3) as other:
        assert other.hear() == (
            f"{file}-wal was removed or emptied while others have the file open, and what it held"
            " is not there: close the file where it is open, which saves what is seen there, and"
            " open it anew"
        )
    assert file.with_name("store.db-wal").stat().st_size == 0
    store.close()
    with Store.open(file) as again:
        assert names(again) == ["acknowledged"]
    assert names_in(file.parent) == ["store.db"]


def test_who_opens_a_file_whose_log_is_emptied_is_told_so(store: Store, file: Path) -> None:
    store.initiatives.create(name="x" * 5_000)  # takes a page, so page 1 is in the log, too
    os.truncate(f"{file}-wal", 0)
    told = (
        f"opening {file}: the disk failed, or {file}-wal was removed or emptied while others have"
        " the file open (SQLITE_IOERR_SHORT_READ): then close it there, which saves what they see,"
        " and reopen; else check the disk, its room and quotas"
    )
    for act in (Store.open, status):
        with pytest.raises(StorageError) as refused:
            act(file)
        assert str(refused.value) == told


@pytest.mark.parametrize("act", ["open", "open read_only", "check", "backup", "migrate"])
def test_nobody_opens_a_file_whose_log_is_without_a_name_in_another_process(
    store: Store, file: Path, tmp_path: Path, act: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it holds is nowhere else, and two logs cannot be moved into one file."""
    store.close()
    with Other(_HOLDS, file) as process:
        assert process.hear() == "removed"
        said = (
            f"process {process.process.pid} (python) has {file} open with a write-ahead log, or an"
            " index of it, that was removed: it may hold the only copy of what was written last,"
            " which is kept when the store is closed there; do that first"
        )
        for _ in range(2):
            if act.startswith("open"):
                with pytest.raises(StorageError) as refused:
                    Store.open(file, read_only=act == "open read_only")
                assert str(refused.value) == said
            else:
                assert main([act, str(file), *[str(tmp_path / "copy")][: act == "backup"]]) == 1
                assert capsys.readouterr().err == f"cwstore: {said}\n"
        process.tell()
        assert process.end() == ["closed"]
    with Store.open(file) as again:
        assert names(again) == ["in the file", "in the log"]
    assert names_in(file.parent) == ["store.db"]


_HOLDS = """
import os, sys
from cwstore.store import Store
with Store.open(sys.argv[1]) as store:
    store.initiatives.create(name="in the file")
    store.compact()
    store.initiatives.create(name="in the log")
    for part in ["-wal", "-shm"][: 2 * (len(sys.argv) == 2)]:
        os.unlink(sys.argv[1] + part)
    print("removed", flush=True)
    sys.stdin.readline()
print("closed")
"""


@pytest.mark.parametrize("module", [connection, look], ids=["to write", "to read"])
def test_a_log_that_is_removed_just_when_a_store_is_opened_is_noticed_too(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType
) -> None:
    store.close()
    with Other(_HOLDS, file, "removes nothing") as process:
        assert process.hear() == "removed"
        find_index = connection.find_index

        def find_and_remove(path: str) -> tuple[int, int] | None:
            found = find_index(path)
            remove(file, "-wal")
            remove(file, "-shm")
            return found

        monkeypatch.setattr(module, "find_index", find_and_remove)
        with pytest.raises(StorageError, match="or an index of it, that was removed"):
            Store.open(file, read_only=module is look)
        monkeypatch.undo()
        process.tell()
        assert process.end() == ["closed"]
    with Store.open(file) as again:
        assert names(again) == ["in the file", "in the log"]


#: As SQLite does in the midst of opening a file.
_LOCKS = """
import fcntl, sys
with open(sys.argv[1], "rb") as file:
    fcntl.lockf(file, fcntl.LOCK_SH, 510, 0x40000002)
    print("locked", flush=True)
    sys.stdin.readline()
print("ended", flush=True)
sys.stdin.readline()
"""


def test_who_is_just_opening_the_file_is_waited_for(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initiatives.create(name="in the file")
    store.close()
    file.with_name("store.db-turn").touch()  # as a process that was killed leaves it
    with Other(_LOCKS, file) as process:
        assert process.hear() == "locked"

        def end(_: float) -> None:
            process.tell()
            assert process.hear() == "ended"

        monkeypatch.setattr(nameless_log, "time", SimpleNamespace(sleep=end))
        with Store.open(file) as opened:
            assert names(opened) == ["in the file"]


def test_a_log_without_a_name_is_moved_though_somebody_is_just_opening_the_file(
    store: Store, file: Path
) -> None:
    store.initiatives.create(name="in the log")
    remove(file, "-wal")
    remove(file, "-shm")
    with Other(_LOCKS, file) as process:
        assert process.hear() == "locked"
        store.close()
    with Store.open(file) as again:
        assert names(again) == ["in the log"]


def empty(file: Path) -> None:
    """Zeros instead of a log, as if that had been emptied and written on behind the hole."""
    log = file.with_name("store.db-wal")
    size = log.stat().st_size
    os.truncate(log, 0)
    os.truncate(log, size)


def test_a_writer_that_is_connected_anew_takes_no_log_that_was_emptied(
    store: Store, file: Path
) -> None:
    engine_of(store)._writer.drop()
    with Other(_HOLDS, file, "removes nothing") as process:
        assert process.hear() == "removed"
        empty(file)
        for _ in range(2):
            with pytest.raises(StorageError) as refused:
                store.initiatives.create(name="refused")
            assert connections_to(file) == []  # while somebody has the error
            assert "was removed or emptied while others have" in str(refused.value)
        process.tell()
        assert process.end() == ["closed"]
    store.initiatives.create(name="after")
    assert names(store) == ["in the file", "after"]


def test_a_log_that_was_emptied_is_not_moved_though_the_last_who_knew_it_dies(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    with Other(_HOLDS, file, "removes nothing") as process:
        assert process.hear() == "removed"
        empty(file)
        is_cut = file_names._is_cut

        def look_and_kill(opened: Any) -> bool:
            found = is_cut(opened)
            process.process.kill()
            process.process.wait(PATIENCE)
            return found

        monkeypatch.setattr(file_names, "_is_cut", look_and_kill)
        with pytest.raises(StorageError, match="was removed or emptied while others have"):
            Store.open(file)
        monkeypatch.undo()
    with Store.open(file) as again:
        assert names(again) == ["in the file"]
        assert again.check().ok


#: A program that is not ours, and so opens the file all the same.
_FOREIGN = """
import apsw, sys
db = apsw.Connection(sys.argv[1])
db.execute("SELECT count(*) FROM initiatives").fetchall()
for number in range(int(sys.argv[2])):
    db.execute(
        "INSERT INTO initiatives (id, name, created_at, updated_at) VALUES (?1, ?1, ?2, ?2)",
        (f"other {number}", 4_000_000_000_000_000 + number),
    )
print("open", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=[3, 0], ids=["written to", "only read"])
def others(request: pytest.FixtureRequest) -> list[str]:
    """What a program that is not ours has added to a file."""
    added: int = request.param
    return _OTHERS[:added]


@pytest.fixture
def taken_over(store: Store, file: Path, others: list[str]) -> Iterator[Store]:
    """A store whose log was removed with its index; another program has the file open since."""
    store.initiatives.create(name="in the file")
    store.compact()
    store.initiatives.create(name="in the log")
    remove(file, "-wal")
    remove(file, "-shm")
    with Other(_FOREIGN, file, len(others)) as other:
        assert other.hear() == "open"
        yield store


def test_what_lies_in_a_log_without_a_name_is_copied_to_a_file_as_the_store_is_closed(
    taken_over: Store, file: Path, others: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    taken_over.close()
    (rescued,) = file.parent.glob("store.db.rescued-*")
    assert stat.S_IMODE(rescued.stat().st_mode) == 0o600
    (told,) = (one.getMessage() for one in caplog.records)
    assert told == (
        f"{file}: its log was removed and another lies in its place; what this store saw is in"
        f" {rescued} now: take from there what the file lacks, or `cwstore restore {rescued}"
        f" {file}`"
    )
    with Store.open(rescued) as copy:
        assert names(copy) == ["in the file", "in the log"]
        assert copy.check().ok
    with Store.open(file) as again:
        assert names(again) == ["in the file", *others]
        assert again.check().ok


@pytest.mark.parametrize("others", [3], indirect=True)
def test_a_store_that_cannot_copy_what_it_sees_is_closed_and_says_so(
    taken_over: Store, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with no_descriptors():
        taken_over.close()
    (told,) = (one.getMessage() for one in caplog.records)
    assert told.startswith(
        f"{file}: its log was removed and another lies in its place; what this store had committed"
        " since the last checkpoint is lost with it, since it could not be copied: cannot write"
    )
    assert list(file.parent.glob("store.db.rescued-*")) == []


_ENDS = """
import os, subprocess, sys
from cwstore.store import Store
store = Store.open(sys.argv[1])
store.initiatives.create(name="in the file")
store.compact()
store.initiatives.create(name="in the log")
os.unlink(sys.argv[1] + "-wal")
os.unlink(sys.argv[1] + "-shm")
subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1], "3"], stdin=subprocess.DEVNULL)
"""


@pytest.mark.parametrize("others", [3], indirect=True)
def test_where_nothing_can_be_imported_any_more_a_log_is_not_moved_over_that_of_others(
    taken_over: Store, file: Path, monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    """As the interpreter ends, and nobody has closed the store."""
    monkeypatch.setitem(sys.modules, "cwstore._sqlite.nameless_log", None)
    taken_over.close()
    monkeypatch.undo()
    with Store.open(file) as again:
        assert names(again) == ["in the file", *others]


def test_where_nothing_can_be_imported_any_more_a_log_without_a_name_is_moved(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.initiatives.create(name="in the log")
    remove(file, "-wal")
    monkeypatch.setitem(sys.modules, "cwstore._sqlite.nameless_log", None)
    store.close()
    monkeypatch.undo()
    with Store.open(file) as again:
        assert names(again) == ["in the log"]


def test_whatever_goes_wrong_with_its_log_a_store_that_is_closed_has_nothing_open(
    taken_over: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody could open the file as long as it had."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rescue, "rescue", interrupt)
    with pytest.raises(KeyboardInterrupt):
        taken_over.close()
    assert connections_to(file) == []


def test_where_nobody_closes_such_a_store_its_process_ends_quietly(file: Path) -> None:
    with Other(_ENDS, file, _FOREIGN, stderr=subprocess.STDOUT) as process:
        assert process.end() == ["open"]
    with Store.open(file) as again:
        assert names(again) == ["in the file", *_OTHERS]


def test_a_store_that_wrote_nothing_since_its_log_was_moved_leaves_no_copy(
    store: Store, file: Path
) -> None:
    store.initiatives.create(name="in the file")
    store.compact()
    remove(file, "-wal")
    remove(file, "-shm")
    with Other(_FOREIGN, file, 3) as other:
        assert other.hear() == "open"
        store.close()
    assert list(file.parent.glob("store.db.rescued-*")) == []
    with Store.open(file) as again:
        assert names(again) == ["in the file", *_OTHERS]


_WRITES = """
import os, sys
from cwstore.errors import CwstoreError
from cwstore.store import Store
file, me, number = sys.argv[1], sys.argv[2], 0
while not os.path.exists(file + ".stop"):
    try:
        with Store.open(file, backup=False) as store:
            while not os.path.exists(file + ".stop"):
                name = f"{me}-{number}"
                number += 1
                store.initiatives.create(name=name)
                print(name, flush=True)
    except CwstoreError:
        pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("parts", [["-shm"], ["-wal"], ["-wal", "-shm"]], ids=" ".join)
def test_nothing_is_lost_of_what_processes_write_while_logs_are_removed_again_and_again(
    store: Store, file: Path, parts: list[str]
) -> None:
    """They close the file and open it anew each time, while others still have it open."""
    store.close()
    acknowledged: SimpleQueue[str] = SimpleQueue()
    owed: set[str] = set()
    with ExitStack() as open_processes:
        writers = [open_processes.enter_context(Other(_WRITES, file, me)) for me in "abcd"]

        def listen(writer: Other) -> None:
            while name := writer.hear():
                acknowledged.put(name)
            acknowledged.put("ended")

        listening = [Task(partial(listen, writer)) for writer in writers]
        for _ in range(10):
            waited_for = dict.fromkeys("abcd", 50)  # all have the file open again
            while any(left > 0 for left in waited_for.values()):
                name = acknowledged.get(timeout=PATIENCE)
                assert name != "ended"
                owed.add(name)
                waited_for[name[0]] -= 1
            for part in parts:
                file.with_name(f"store.db{part}").unlink(missing_ok=True)
        file.with_name("store.db.stop").touch()
        for task in listening:
            task.finish()
        for writer in writers:
            assert writer.process.wait(PATIENCE) == 0
    while not acknowledged.empty():
        owed.add(acknowledged.get())
    owed.remove("ended")
    for found in (file, *file.parent.glob("store.db.rescued-*")):
        with Store.open(found) as again:
            owed -= set(names(again))
            assert again.check().ok
    assert owed == set()


@pytest.fixture
def log_emptied(file: Path, open_store: OpenStore) -> Iterator[Store]:
    """A store whose log somebody has emptied, as `> store.db-wal` does for want of room."""
    with open_store() as store:
        store.initiatives.create(name="in the file")
    with open_store() as store:
        store.initiatives.create(name="in the log")
        os.truncate(file.with_name("store.db-wal"), 0)
        yield store


def test_a_log_that_somebody_empties_is_not_moved_into_the_file(
    file: Path, open_store: OpenStore, log_emptied: Store
) -> None:
    """SQLite reads zeros where pages were."""
    with log_emptied as store:

        def write() -> None:
            for number in range(5):
                store.initiatives.create(name=f"just then {number}")

        with pytest.raises(StorageError) as refused:
            write()
        assert str(refused.value).startswith(
            f"{file}-wal was cut while this store had it open: what it held is lost, and what was"
            " committed just then."
        )
        assert store.health().problems == (str(refused.value),)
        with pytest.raises(StorageError, match="was cut"):
            store.compact()
    with open_store() as again:
        assert names(again) == ["in the file"]
        assert again.check().ok


@pytest.mark.parametrize("act", [Store.close, Store.compact])
def test_whoever_shortens_the_log_looks_first_whether_it_is_whole(
    open_store: OpenStore, log_emptied: Store, act: Callable[[Store], object]
) -> None:
    with log_emptied as store:
        store.initiatives.create(name="just then")
        with suppress(StorageError):
            act(store)
    with open_store() as again:
        assert names(again) == ["in the file"]
        assert again.check().ok
