"""Files that are removed, replaced or given a second name underneath, and logs of other files."""

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import apsw
import pytest

from cwstore import restore, status
from cwstore._sqlite import (
    connection,
    file_names,
    look,
    nameless_log,
    read_only,
    reader_pool,
    rescue,
)
from cwstore._sqlite.identity import _NOTE
from cwstore.cli import main
from cwstore.errors import StorageError
from cwstore.store import Store
from tests.kits.database import OpenStore, engine_of, run_raw
from tests.kits.disk import connections_to, faulty_disk, no_descriptors
from tests.kits.engine import PATIENCE, Other, Task, in_child, names
from tests.kits.migrations import names_in

_left_open: list[Store] = []


def write_and_be_killed(file: Path, *made: str) -> None:
    """As a process does that ends without closing anything."""

    def work() -> str:
        store = Store.open(file)
        _left_open.append(store)
        for name in made:
            store.initiatives.create(name=name)
        return "written"

    assert in_child(work)() == "written"


# Under an open store


def remove(file: Path, part: str = "") -> None:
    file.with_name(f"store.db{part}").unlink()


def replace(file: Path, part: str = "") -> None:
    other = file.with_name("other")
    shutil.copyfile(file.with_name(f"store.db{part}"), other)
    other.rename(file.with_name(f"store.db{part}"))


def rename(file: Path) -> None:
    file.rename(file.with_name("other.db"))


def move_the_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))
    file.parent.mkdir()


def move_all(file: Path) -> None:
    file.parent.rename(file.parent.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (move_all, "store.db was removed or renamed while this store had it open"),
        (remove, "store.db was removed or renamed while this store had it open"),
        (rename, "store.db was removed or renamed while this store had it open"),
        (replace, "store.db was replaced by another file while this store had it open"),
        (move_the_directory, "store.db was removed or renamed while this store had it open"),
    ],
)
@pytest.mark.parametrize("settled", [True, False], ids=["settled", "just changed"])
def test_nothing_is_acknowledged_into_a_file_that_lost_its_name(
    tmp_path: Path,
    migrated: Path,
    monkeypatch: pytest.MonkeyPatch,
    happen: Callable[[Path], None],
    said: str,
    *,
    settled: bool,
) -> None:
    file = tmp_path / "place" / "store.db"
    file.parent.mkdir()
    shutil.copyfile(migrated, file)
    if settled:
        monkeypatch.setattr(file_names, "_SETTLED", 0)
    with Store.open(file) as store:
        made = store.initiatives.create(name="acknowledged")
        store.initiatives.update(made.id, name="there")
        assert names(store) == ["there"]
        happen(file)
        writes: list[Callable[[], object]] = [
            lambda: store.initiatives.create(name="lost"),
            lambda: store.initiatives.update(made.id, name="lost"),
            lambda: store.initiatives.delete(made.id),
            lambda: store.log_chunks.insert_chunks([("a", "a", 1, "lost")]),
        ]
        for act in writes:
            with pytest.raises(StorageError, match=said):
                act()
        with pytest.raises(StorageError, match=said), store.transaction():
            store.initiatives.create(name="lost")
        store.backup(tmp_path / "rescued.db")
        assert names(store) == ["there"]
    with Store.open(tmp_path / "rescued.db") as rescued:
        assert names(rescued) == ["there"]
        assert rescued.check().ok


def test_a_probe_raises_nothing_where_the_directory_is_gone(tmp_path: Path, migrated: Path) -> None:
    file = tmp_path / "place" / "store.db"
    file.parent.mkdir()
    shutil.copyfile(migrated, file)
    with Store.open(file) as store:
        move_all(file)
        report = store.health()
        assert report.disk_free_bytes is None
        assert report.problems[-1] == (
            f"{file}: its directory cannot be looked at; see whether it is there"
        )
        (tmp_path / "elsewhere").rename(file.parent)


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


@pytest.mark.parametrize("happen", [remove, replace])
def test_who_looks_for_work_in_a_file_that_lost_its_name_is_told_instead_of_finding_none_for_good(
    store: Store,
    file: Path,
    happen: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader_pool, "_LOOK_INTERVAL", 0.0)
    assert store.tasks.claim_next_ready() is None
    happen(file)
    with pytest.raises(StorageError, match="while this store had it open; nothing was changed"):
        store.tasks.claim_next_ready()


@pytest.fixture
def dashboard(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that only reads, and looks each time whether its file is there."""
    monkeypatch.setattr(read_only, "_LOOK_INTERVAL", 0.0)
    store.initiatives.create(name="acknowledged")
    with Store.open(file, read_only=True) as opened:
        assert names(opened) == ["acknowledged"]
        yield opened


@pytest.mark.parametrize(("happen", "part"), [(remove, ""), (replace, ""), (replace, "-shm")])
def test_a_store_that_only_reads_does_not_show_an_old_file_for_good(
    dashboard: Store, file: Path, tmp_path: Path, happen: Callable[[Path, str], None], part: str
) -> None:
    feed = dashboard.changes()
    happen(file, part)
    told = (
        f"{file}{part} was removed or replaced while this store had it open, which reads what was"
        " there; close the store and open it anew"
    )
    for ask in (dashboard.initiatives.find_all, dashboard.data_version, dashboard.check):
        with pytest.raises(StorageError) as refused:
            ask()
        assert str(refused.value) == told
    assert dashboard.health().problems == (told,)
    assert [one.operation for one in feed.get(0)] == ["elsewhere"]  # so that whoever waits asks
    assert feed.get(0) == []
    dashboard.backup(tmp_path / "saved.db")
    with Store.open(tmp_path / "saved.db") as saved:
        assert names(saved) == ["acknowledged"]


def test_a_store_that_only_reads_takes_no_further_connection_to_another_file(
    dashboard: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made,) = dashboard.initiatives.find_all()
    monkeypatch.setattr(read_only, "_LOOK_INTERVAL", 3600.0)
    assert names(dashboard) == ["acknowledged"]  # the last look for an hour
    replace(file)
    with pytest.raises(StorageError, match=f"{file} was removed or replaced"):
        list(dashboard.export_initiative(made.id))


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


def test_a_file_that_is_overwritten_with_a_backup_takes_nothing_of_the_log(
    store: Store, file: Path, tmp_path: Path
) -> None:
    """As `cp store.bak store.db` does beside a running service."""
    store.initiatives.create(name="of old")
    store.backup(tmp_path / "store.bak")
    for number in range(50):
        store.tasks.create(name=f"{number}", description="x" * 4000)
    store.compact()
    shutil.copyfile(tmp_path / "store.bak", file)
    said = f"^{file} was overwritten with another file while this store had it open"

    def write() -> None:
        for number in range(5):
            store.initiatives.create(name=f"just then {number}")

    with pytest.raises(StorageError, match=said):
        write()
    assert re.match(said, store.health().problems[0])
    store.close()
    with pytest.raises(StorageError, match="is not the log of"):
        Store.open(file)
    restore(tmp_path / "store.bak", file)
    with Store.open(file) as again:
        assert names(again) == ["of old"]
        assert again.check().ok


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


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_no_new_reader_mixes_another_file_with_the_one_that_is_open(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    store.initiatives.create(name="acknowledged")
    if when == "before":
        replace(file)
    else:
        replace_during_access(file, monkeypatch)
    with pytest.raises(StorageError, match="was replaced"):
        names(store)


def replace_during_access(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, just before the file is looked at to be opened."""
    stat = os.stat
    looks = 0

    def late(path: str, **options: object) -> os.stat_result:
        nonlocal looks
        looks += path == str(file)
        if looks == 2:
            monkeypatch.undo()
            replace(file)
        return stat(path)

    monkeypatch.setattr(os, "stat", late)


def test_a_writer_that_is_connected_anew_meets_the_other_file(store: Store, file: Path) -> None:
    store.initiatives.create(name="acknowledged")
    engine_of(store)._writer.drop()
    replace(file)
    with pytest.raises(StorageError, match="was replaced by another file"):
        store.initiatives.create(name="lost")


def test_a_file_that_is_replaced_just_when_it_is_opened_is_not_taken(
    file: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(migrated, file)
    access = os.access

    def late(path: str, mode: int, **_: bool) -> bool:
        monkeypatch.undo()
        replace(file)
        return access(path, mode)

    monkeypatch.setattr(os, "access", late)
    with pytest.raises(StorageError, match="was replaced just when it was opened; open it again"):
        Store.open(file)


def test_a_hard_link_made_meanwhile_stops_nobody_who_has_the_file_open(
    store: Store, file: Path, tmp_path: Path, open_store: OpenStore
) -> None:
    store.initiatives.create(name="before")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "store.db").hardlink_to(file)
    store.initiatives.create(name="after")
    assert names(store) == ["before", "after"]
    assert store.check().ok
    assert store.stats().file_bytes > 0
    store.backup(tmp_path / "copy.db")
    with pytest.raises(StorageError, match="has 2 hard links"):
        open_store()


# Logs


@pytest.fixture
def backup(file: Path, tmp_path: Path, migrated: Path) -> Path:
    """A copy that cwstore made of `file`, before a process was killed on that."""
    shutil.copyfile(migrated, file)
    (tmp_path / "backups").mkdir()
    made = tmp_path / "backups" / "copy.db"
    with Store.open(file) as store:
        store.initiatives.create(name="first")
        store.backup(made)
    write_and_be_killed(file, "second")
    return made


def test_the_log_of_another_file_is_not_applied(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    shutil.copyfile(backup, file)
    log = file.with_name("store.db-wal").read_bytes()
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            open_store()
        assert str(caught.value) == (
            f"{file}-wal is not the log of {file}, but of another file that was in its place: to"
            " apply it would mix two databases; nothing was changed. If the file is a copy that was"
            f" put there, use `cwstore restore COPY {file}`, which keeps file and log under another"
            " name; or put the old file back beside its log. If both were brought here together,"
            f" remove {file}-turn"
        )
    assert file.read_bytes() == backup.read_bytes()
    assert file.with_name("store.db-wal").read_bytes() == log


def test_a_file_and_its_log_go_on_together_wherever_they_are_moved(
    file: Path, backup: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    for part in ("", "-wal", "-shm", "-turn"):
        shutil.copyfile(f"{file}{part}", tmp_path / "elsewhere" / f"moved.db{part}")
    with Store.open(tmp_path / "elsewhere" / "moved.db") as store:
        assert names(store) == ["first", "second"]
        store.initiatives.create(name="third")
    assert names_in(tmp_path / "elsewhere") == ["moved.db"]


def test_without_the_log_the_copy_is_opened_and_its_own_log_is_its_own(
    file: Path, backup: Path
) -> None:
    shutil.copyfile(backup, file)
    file.with_name("store.db-wal").unlink()
    write_and_be_killed(file, "of the copy")
    with Store.open(file) as store:
        assert names(store) == ["first", "of the copy"]


def test_nobody_knows_whose_a_log_is_beside_which_there_is_no_note(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    """As version 0.1.0 left it: no refusal of what may be right."""
    with file.with_name("store.db-turn").open("r+b") as turn:
        turn.truncate(40)
    with open_store() as store:
        assert names(store) == ["first", "second"]


def link_to_note(turn: Path) -> None:
    note = turn.with_name("note")
    note.write_bytes(bytes(_NOTE) + (1).to_bytes(8, "little"))  # of another file
    turn.symlink_to(note)


@pytest.mark.parametrize("make", [os.mkfifo, link_to_note])
def test_a_note_in_a_thing_of_another_kind_tells_nothing(
    make: Callable[[Path], None], file: Path
) -> None:
    write_and_be_killed(file, "first")
    turn = file.with_name("store.db-turn")
    turn.unlink()
    make(turn)
    with Store.open(file, read_only=True) as store:
        assert names(store) == ["first"]


@pytest.mark.parametrize(
    ("noted", "told"),
    [(1, True), (1 << 32, True), (0, False), ((1 << 32) + 1, False), ((1 << 64) - 1, False)],
)
def test_a_note_that_holds_no_number_of_a_file_tells_nothing(
    file: Path, noted: int, told: bool
) -> None:
    """A number has 32 bits, and is noted plus one."""
    write_and_be_killed(file, "first")
    with file.with_name("store.db-turn").open("r+b") as turn:
        turn.seek(_NOTE)
        turn.write(noted.to_bytes(8, "little"))
    if told:
        with pytest.raises(StorageError, match="is not the log of"):
            Store.open(file)
    else:
        with Store.open(file) as store:
            assert names(store) == ["first"]


def test_a_second_store_of_the_process_meets_the_copy_as_well(
    file: Path, backup: Path, open_store: OpenStore
) -> None:
    with open_store() as store:
        store.initiatives.create(name="third")
        file.unlink()
        shutil.copyfile(backup, file)
        with pytest.raises(StorageError, match="is not the log of"):
            open_store()


def test_each_copy_and_each_new_file_is_a_file_of_its_own(tmp_path: Path, backup: Path) -> None:
    numbers: set[int] = set()
    with Store.open(backup) as store:
        for name in ("a", "b"):
            store.backup(tmp_path / name)
            Store.open(tmp_path / f"new {name}").close()
    for path in (backup, tmp_path / "a", tmp_path / "b", tmp_path / "new a", tmp_path / "new b"):
        connection = apsw.Connection(str(path))
        numbers.add(connection.pragma("schema_version"))
        connection.close()
    assert len(numbers) == 5


def test_a_schema_that_changes_much_stays_the_same_file(file: Path, migrated: Path) -> None:
    shutil.copyfile(migrated, file)
    write_and_be_killed(file, "first")
    texts = ["CREATE TABLE x (y)", "DROP TABLE x"] * 200
    run_raw(file, *texts)
    write_and_be_killed(file, "second")
    with Store.open(file) as store:
        assert names(store) == ["first", "second"]


def test_a_file_that_goes_within_a_tick_of_the_clock_of_its_directory_is_noticed(
    file: Path,
) -> None:
    """A file system counts time in steps of some ms: two changes may leave one time."""
    tick = time.time_ns() + 10_000_000_000
    with Store.open(file) as store:
        store.initiatives.create(name="first")
        os.utime(file.parent, ns=(tick, tick))
        store.initiatives.create(name="second")
        file.rename(file.with_name("away.db"))
        os.utime(file.parent, ns=(tick, tick))
        with pytest.raises(StorageError, match="was removed or renamed"):
            store.initiatives.create(name="third")


# The queue of the writers


def test_the_note_stays_as_long_as_a_log_lies_there(file: Path, tmp_path: Path) -> None:
    with Store.open(file, checkpoints="external") as store:
        store.initiatives.create(name="first")
        store.backup(tmp_path / "copy")
        store.initiatives.create(name="in the log")
    assert Path(f"{file}-wal").stat().st_size > 0
    shutil.copyfile(tmp_path / "copy", file)
    with pytest.raises(StorageError, match="is not the log of"):
        Store.open(file)


def test_who_closes_removes_no_queue_but_its_own(file: Path) -> None:
    queue = Path(f"{file}-turn")
    with Store.open(file) as other, Store.open(file) as store:
        store.initiatives.create(name="first")
        store.compact()  # no log is left that would keep it
        queue.unlink()
        feed = other.changes()
        store.close()
        assert queue.exists()
        feed.close()


def test_whose_log_it_is_lies_on_disk_before_the_log_of_another_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the note of the old file would refuse the log of the new one."""
    queue = Path(f"{file}-turn")
    with Store.open(file) as store:
        store.initiatives.create(name="old")
        store.backup(tmp_path / "copy")
        noted = queue.read_bytes()
    queue.write_bytes(noted)  # as a killed process leaves it
    shutil.copyfile(tmp_path / "copy", file)
    synced: list[Path] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    with Store.open(file) as store:
        store.initiatives.create(name="new")
        assert queue in synced
        assert queue.read_bytes() != noted


@pytest.mark.parametrize("size", [0, 1, 31, 40, 100_000])
def test_a_queue_that_is_cut_kills_nobody_and_stamps_go_on_rising(
    store: Store, file: Path, size: int, open_store: OpenStore
) -> None:
    first = store.initiatives.create(name="first")
    os.truncate(f"{file}-turn", size)
    second = store.initiatives.create(name="second")
    with open_store() as other:
        third = other.initiatives.create(name="third")
    fourth = store.initiatives.create(name="fourth")
    stamps = [one.created_at for one in (first, second, third, fourth)]
    assert stamps == sorted(set(stamps))
