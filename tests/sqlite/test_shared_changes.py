"""The changes of all processes: in the order of the commits, and nothing passed over in silence."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from fcntl import LOCK_UN, flock
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from cwstore import Change, ChangeFeed, ChangeOperation, Store
from cwstore._sqlite import change_recorder, change_ring, change_sharing, write_queue
from cwstore._sqlite.change_ring import ChangeRing, Entry
from cwstore._sqlite.log_end import UNKNOWN
from tests.kits.database import OpenStore, engine_of, records_changes
from tests.kits.engine import DeliberateError, Other, Task
from tests.kits.interrupts import CtrlC
from tests.kits.migrations import run

INSERT, UPDATE, DELETE = ChangeOperation.INSERT, ChangeOperation.UPDATE, ChangeOperation.DELETE
ELSEWHERE = Change(ChangeOperation.ELSEWHERE)
PROJECT = "INSERT INTO projects VALUES ('{0}', '{0}', '{0}', 'main', NULL, 1, 1)"


def task(id: str) -> Change:
    return Change(INSERT, "tasks", id)


@pytest.fixture
def ring_file(file: Path) -> Path:
    return file.with_name(f"{file.name}-changes")


@pytest.fixture
def other(open_store: OpenStore) -> Iterator[Store]:
    """A second store on the file, which has none of the feeds."""
    with open_store() as other:
        yield other


def told(feed: ChangeFeed, last: Change) -> list[Change]:
    """All that a feed tells until this change comes."""
    heard: list[Change] = []
    while last not in heard:
        got = feed.get(timeout=60)
        assert got, heard
        heard += got
    return heard


# What is told


def test_a_search_index_that_somebody_added_blinds_nobody(store: Store, file: Path) -> None:
    run(file, "CREATE VIRTUAL TABLE words USING fts5 (name, content = 'tasks')")
    run(
        file,
        "CREATE TRIGGER words_tg AFTER INSERT ON tasks BEGIN"
        " INSERT INTO words (rowid, name) VALUES (new.rowid, new.name); END",
    )
    with Store.open(file) as other, store.changes() as feed, other.changes() as beside:
        other.tasks.create(name="heard", id="t")
        assert told(feed, task("t")) == told(beside, task("t")) == [task("t")]


def test_an_entry_that_somebody_has_spoilt_is_not_told_as_a_change(
    store: Store, other: Store, ring_file: Path
) -> None:
    with store.changes() as feed:
        other.tasks.create(name="t", id="spoilt")
        data = ring_file.read_bytes()
        ring_file.write_bytes(data.replace(b"spoilt", b"SPOILT"))
        assert feed.get(timeout=60) == [ELSEWHERE]


_WRITE = """
import sys
from cwstore import Store
from cwstore._sqlite import change_ring

change_ring._PATIENCE = 60.0
with Store.open(sys.argv[1]) as store:
    input()
    for one in sys.argv[2:]:
        store.tasks.create(name="t", id=one)
"""


def test_processes_hear_each_other_with_table_and_id(file: Path, store: Store) -> None:
    with Other(_WRITE, file, "a", "b", "c") as other, store.changes() as feed:
        other.tell("\n")
        assert told(feed, task("c")) == [task("a"), task("b"), task("c")]
        other.end()
        # Closing the other store has stored its last stamp: nothing that anybody reads.
        assert feed.get(timeout=0.2) == []


def write(path: str, name: str, count: int) -> None:
    change_ring._PATIENCE = 60.0
    write_queue.LISTENED = 600.0
    with Store.open(path, busy_timeout=60) as store:
        for number in range(count):
            store.tasks.create(name=name, id=f"{name}-{number}")


def test_all_listeners_hear_all_processes_in_the_order_of_their_commits(
    file: Path, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_ring, "_PATIENCE", 60.0)  # whoever has the ring may be kept waiting
    monkeypatch.setattr(write_queue, "LISTENED", 600.0)  # and the writers may take long to begin
    spawn = get_context("spawn")
    writers = [spawn.Process(target=write, args=(str(file), name, 20)) for name in "ab"]
    with store.changes() as here, other.changes() as there:
        for writer in writers:
            writer.start()
        for number in range(20):
            store.tasks.create(name="s", id=f"s-{number}")
            other.tasks.create(name="o", id=f"o-{number}")
        for writer in writers:
            writer.join()
        store.tasks.create(name="last", id="last")
        committed = [one.id for one in store.tasks.find_all()]  # in the order of their stamps
        heard = [told(feed, task("last")) for feed in (here, there)]
    for one in heard:
        assert [change.id for change in one if change != ELSEWHERE] == committed
    assert len(committed) == 81


def test_the_last_stamp_that_a_store_leaves_when_it_closes_is_not_told(
    store: Store, open_store: OpenStore
) -> None:
    with store.changes() as feed:
        with open_store() as other, suppress(DeliberateError), other.transaction():
            other.tasks.create(name="undone")
            raise DeliberateError
        assert feed.get(timeout=0.1) == []
        assert store.query("SELECT id FROM stamps") == [{"id": 1}]


def test_a_transaction_of_another_store_is_told_as_a_whole(store: Store, other: Store) -> None:
    with store.changes() as feed:
        with other.transaction():
            other.tasks.create(name="a", id="a")
            other.tasks.create(name="b", id="b")
            other.tasks.create_dependency("a", "b")
            assert feed.get(timeout=0) == []
        other.tasks.delete("b")
        assert told(feed, Change(DELETE, "task_dependencies", ("a", "b"))) == [
            task("a"),
            task("b"),
            Change(INSERT, "task_dependencies", ("a", "b")),
            Change(DELETE, "tasks", "b"),
            Change(DELETE, "task_dependencies", ("a", "b")),
        ]


def test_a_transaction_that_changes_nothing_appends_nothing(store: Store, other: Store) -> None:
    with store.changes() as feed:
        with other.transaction():
            assert other.tasks.find_all() == []
        assert feed.get(timeout=0.1) == []


def test_a_feed_that_joins_hears_only_what_comes_after_it(store: Store, other: Store) -> None:
    with store.changes() as first:
        other.tasks.create(name="a", id="a")
        with store.changes() as second:
            other.tasks.create(name="b", id="b")
            assert told(second, task("b")) == [task("b")]
        assert told(first, task("b")) == [task("a"), task("b")]


def test_what_is_in_the_ring_is_heard_without_a_look_at_the_log(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_sharing, "_NEXT_LOOK", 3600.0)
    with store.changes() as feed:
        assert feed.get(timeout=0) == []  # the next look is in an hour
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=60) == [task("a")]


def test_keys_of_all_kinds_come_as_they_are(tmp_path: Path) -> None:
    ring = ChangeRing(str(tmp_path / "one.db"))
    notes: list[Any] = [
        (INSERT, "t", "x"),
        (UPDATE, "t", 7),
        (DELETE, "t", None),
        (INSERT, "edges", ("a", 1)),
        (INSERT, "none", ()),
    ]
    place = ring.append(0, True, notes, UNKNOWN)
    place = ring.append(place, False, [], UNKNOWN)
    for key in (1.5, b"x", "a\0b", "\ud800"):
        place = ring.append(place, True, [(INSERT, "t", key)], UNKNOWN)  # type: ignore[list-item]
    entries, end = ring.read((0, UNKNOWN))
    assert (entries, end) == (
        [Entry(True, notes), Entry(False, []), *[Entry(True, None)] * 4],
        (place, UNKNOWN),
    )
    ring.close()
    ring.close()


def test_an_entry_that_goes_over_the_end_of_the_room_is_read_whole(tmp_path: Path) -> None:
    ring = ChangeRing(str(tmp_path / "one.db"))
    head = (change_ring.ROOM - 40, UNKNOWN)
    long: list[Any] = [(INSERT, "t", "x" * 5000)]
    after = (ring.append(head[0], True, long, UNKNOWN), UNKNOWN)
    assert ring.read(head) == ([Entry(True, long)], after)
    assert ring.find_head() == after  # by the hint
    longest: list[Any] = [(INSERT, "t", "x" * (change_ring._LONGEST - len("f_i1_t_s")))]
    longer: list[Any] = [(INSERT, "t", f"x{longest[0][2]}")]
    for notes, heard in ((longest, longest), (longer, None)):
        place = ring.append(after[0], True, notes, UNKNOWN)
        assert ring.read(after) == ([Entry(True, heard)], (place, UNKNOWN))
    assert (tmp_path / "one.db-changes").stat().st_size == change_ring._START + change_ring.ROOM
    ring.close()


def test_an_entry_of_an_earlier_round_is_not_told_again_in_the_place_of_the_next_one(
    tmp_path: Path,
) -> None:
    ring = ChangeRing(str(tmp_path / "one.db"))
    ring.append(0, True, [(INSERT, "t", "x")], UNKNOWN)
    assert ring.read((change_ring.ROOM, UNKNOWN)) == ([], (change_ring.ROOM, UNKNOWN))
    ring.close()


# What is told as elsewhere


def test_a_commit_of_another_program_between_two_of_ours_is_told(
    file: Path, store: Store, other: Store
) -> None:
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        run(file, PROJECT.format("p"))
        other.tasks.create(name="b", id="b")
        assert told(feed, task("b")) == [task("a"), ELSEWHERE, task("b")]
        run(file, PROJECT.format("q"))
        store.tasks.create(name="c", id="c")
        assert told(feed, task("c")) == [ELSEWHERE, task("c")]


_KILLED = """
import os, signal, sys
from cwstore import Store
from cwstore._sqlite.change_sharing import Sharing

store = Store.open(sys.argv[1])
input()
Sharing.after_commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.tasks.create(name="killed", id="killed")
"""


@pytest.mark.parametrize("next_writer", ["nobody", "own", "other"])
def test_a_process_that_is_killed_between_its_commit_and_its_entry_is_told_as_elsewhere(
    file: Path, store: Store, other: Store, next_writer: str
) -> None:
    with (
        store.changes() as feed,
        subprocess.Popen([sys.executable, "-c", _KILLED, file], stdin=subprocess.PIPE) as killed,
    ):
        killed.communicate(b"\n")
        assert killed.returncode == -signal.SIGKILL
        assert store.tasks.find_by_id("killed")
        if next_writer == "nobody":
            assert feed.get(timeout=60) == [ELSEWHERE]
        else:
            {"own": store, "other": other}[next_writer].tasks.create(name="t", id="t")
            assert told(feed, task("t")) == [ELSEWHERE, task("t")]
        assert feed.get(timeout=0.1) == []


def test_a_transaction_that_began_before_anybody_listened_is_told_as_elsewhere(
    store: Store, other: Store
) -> None:
    with other.transaction():
        other.tasks.create(name="a", id="a")
        feed = store.changes()
    assert feed.get(timeout=60) == [ELSEWHERE]
    other.tasks.create(name="b", id="b")
    assert feed.get(timeout=60) == [task("b")]
    feed.close()


def test_after_a_commit_of_another_program_all_is_told_again(
    file: Path, store: Store, other: Store
) -> None:
    with store.changes() as feed:
        run(file, PROJECT.format("p"))
        other.tasks.create(name="a", id="a")
        other.tasks.create(name="b", id="b")
        store.tasks.create(name="c", id="c")
        other.tasks.create(name="d", id="d")
        assert told(feed, task("d")) == [ELSEWHERE, *map(task, "abcd")]
        assert feed.get(timeout=0.1) == []


def test_a_log_that_is_begun_anew_between_two_commits_hides_none(
    store: Store, other: Store, file: Path
) -> None:
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=60) == [task("a")]
        run(file, "PRAGMA wal_checkpoint(RESTART)")
        other.tasks.create(name="b", id="b")
        store.tasks.create(name="c", id="c")
        assert told(feed, task("c")) == [task("b"), task("c")]
        assert feed.get(timeout=0.1) == []


def test_the_log_stays_as_short_as_without_a_listener(
    store: Store, other: Store, file: Path
) -> None:
    log = Path(f"{file}-wal")

    def write_ten() -> None:
        for _ in range(10):
            other.tasks.create(name="long", description="x" * 1_000_000)

    most = 6_000_000  # bytes: from 1,000 pages on the next transaction begins the log anew
    with store.changes():
        write_ten()
        assert records_changes(other)
        assert log.stat().st_size < most
    write_ten()
    assert not records_changes(other)
    assert log.stat().st_size < most


def test_a_program_that_begins_the_log_anew_right_after_a_commit_is_told(
    file: Path, store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = change_sharing.Sharing.after_commit

    def come_between(sharing: change_sharing.Sharing, *given: Any) -> None:
        monkeypatch.undo()
        run(file, "PRAGMA wal_checkpoint(RESTART)")
        run(file, PROJECT.format("p"))
        append(sharing, *given)

    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        monkeypatch.setattr(change_sharing.Sharing, "after_commit", come_between)
        other.tasks.create(name="b", id="b")
        assert told(feed, ELSEWHERE) == [task("a"), task("b"), ELSEWHERE]
        assert store.projects.find_by_id("p")
        other.tasks.create(name="c", id="c")
        assert told(feed, task("c")) == [task("c")]


def test_a_transaction_that_is_too_great_for_the_cache_is_told_as_it_is(
    store: Store, other: Store
) -> None:
    engine_of(other)._writer.connection.pragma("cache_size", 10)  # pages; SQLite writes the rest
    ids = [f"{number}" for number in range(300)]
    with store.changes() as feed:
        other.tasks.create(name="t", id="first")
        other.tasks.create_many({"name": "t", "id": one} for one in ids)
        store.tasks.create(name="t", id="own")
        assert told(feed, task("own")) == [*map(task, ["first", *ids, "own"])]
        assert feed.get(timeout=0.1) == []


def test_a_listener_who_is_too_slow_for_the_ring_is_told(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_ring, "ROOM", 1 << 13)
    with store.changes() as feed:
        for number in range(200):
            other.tasks.create(name="t", id=f"{number}")
        assert feed.get(timeout=60)[0] == ELSEWHERE
        other.tasks.create(name="t", id="last")
        assert told(feed, task("last"))[-1] == task("last")


def test_a_transaction_that_is_too_great_for_the_ring_is_told_as_elsewhere(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_recorder, "MOST_SHARED", 3)
    with store.changes(capacity=1000) as feed:
        other.tasks.create_many({"name": "t"} for _ in range(5))
        assert feed.get(timeout=60) == [ELSEWHERE]
    monkeypatch.setattr(change_ring, "_LONGEST", 60)
    with store.changes() as feed:
        other.tasks.create_many({"name": "t"} for _ in range(5))
        assert feed.get(timeout=60) == [ELSEWHERE]
        other.tasks.create(name="t", id="t" * 60)
        assert feed.get(timeout=60) == [ELSEWHERE]
        other.tasks.create(name="t", id="short")
        assert feed.get(timeout=60) == [task("short")]


# What becomes of the ring


@pytest.mark.parametrize("damage", ["removed", "cut", "garbled", "replaced"])
def test_a_ring_that_somebody_damages_hides_no_commit(
    store: Store,
    other: Store,
    ring_file: Path,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(change_sharing, "_NEXT_LOOK_OF_WRITER", 0.0)
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=60) == [task("a")]
        match damage:
            case "removed":
                ring_file.unlink()
            case "cut":
                os.truncate(ring_file, 0)
            case "garbled":
                ring_file.write_bytes(os.urandom(4096))
            case _:
                ring_file.unlink()
                ring_file.write_bytes(b"")
        other.tasks.create(name="b", id="b")
        heard = told_or_elsewhere(feed, task("b"))
        assert heard[-1] in (ELSEWHERE, task("b"))
        other.tasks.create(name="c", id="c")
        assert told_or_elsewhere(feed, task("c"))
        # Before long all have the same ring again.
        monkeypatch.setattr(change_sharing, "_NEXT_LOOK_OF_WRITER", 0.0)
        heard, number = [ELSEWHERE], 0
        while ELSEWHERE in heard:
            number += 1
            feed.get(timeout=0.1)
            other.tasks.create(name="d", id=f"{number}")
            heard = told_or_elsewhere(feed, task(f"{number}"))


def told_or_elsewhere(feed: ChangeFeed, wanted: Change) -> list[Change]:
    heard: list[Change] = []
    while not {wanted, ELSEWHERE} & {*heard}:
        got = feed.get(timeout=60)
        assert got, heard
        heard += got
    return heard


def test_where_no_ring_can_be_made_others_are_told_as_elsewhere(
    store: Store, other: Store, file: Path, ring_file: Path
) -> None:
    ring_file.mkdir()
    with other.changes():
        store.tasks.create(name="before")
        run(file, PROJECT.format("before"))
        feed = store.changes()
        assert feed.get(timeout=0) == []
    with feed:
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=60) == [ELSEWHERE]
        assert feed.get(timeout=0.1) == []
        other.tasks.create(name="b", id="b")
        store.tasks.create(name="c", id="c")
        assert told(feed, task("c")) == [ELSEWHERE, task("c")]
        store.tasks.create(name="d", id="d")
        assert told(feed, task("d")) == [task("d")]
    ring_file.rmdir()


@pytest.mark.parametrize("what", ["find_head", "read", "append", "is_there"])
def test_a_disk_that_fails_under_the_ring_hides_no_commit(
    store: Store, other: Store, file: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "no disk")

    with monkeypatch.context() as disk:
        disk.setattr(ChangeRing, what, fail)
        feed = store.changes()
        other.tasks.create(name="a", id="a")
        store.tasks.create(name="b", id="b")
        run(file, PROJECT.format("p"))
        feed.get(timeout=0.2)
    assert other.tasks.find_by_id("b")
    other.tasks.create(name="c", id="c")
    assert {ELSEWHERE, task("c")} & {*told_or_elsewhere(feed, task("c"))}
    while feed.get(timeout=0.2):
        pass
    other.tasks.create(name="d", id="d")
    assert told_or_elsewhere(feed, task("d")) == [task("d")]
    feed.close()


def test_the_ring_is_the_owners_alone_and_goes_with_the_last_store(
    store: Store, file: Path, ring_file: Path
) -> None:
    assert not ring_file.exists()
    with store.changes():
        assert ring_file.stat().st_mode & 0o777 == 0o600
    store.close()
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_nothing_is_recorded_once_the_last_listener_of_all_stores_has_gone(
    store: Store, other: Store
) -> None:
    first, second = store.changes(), store.changes()
    other.tasks.create(name="a")
    assert records_changes(other)
    first.close()
    other.tasks.create(name="b")
    assert records_changes(other)
    second.close()
    other.tasks.create(name="c")
    assert not records_changes(other)


def test_a_listener_whom_another_one_has_silenced_says_again_that_it_listens(
    store: Store, other: Store
) -> None:
    with store.changes() as feed:
        other.changes().close()
        feed.get(timeout=0.1)
        other.tasks.create(name="a", id="a")
        assert told_or_elsewhere(feed, task("a")) == [task("a")]


def test_a_listener_that_nobody_asks_does_not_count_for_ever(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_queue, "LISTENED", 0.0)
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        assert not records_changes(other)
        assert feed.get(timeout=60) == [ELSEWHERE]
        monkeypatch.undo()
        store.tasks.create(name="b", id="b")
        other.tasks.create(name="c", id="c")
        assert told(feed, task("c")) == [task("b"), task("c")]


# A process that holds the lock of the ring


@pytest.fixture
def held(ring_file: Path) -> Iterator[Callable[[], ChangeRing]]:
    """Takes the lock of the ring, as a process between its COMMIT and its entry has it."""
    rings: list[ChangeRing] = []

    def hold() -> ChangeRing:
        ring = ChangeRing(str(ring_file).removesuffix("-changes"))
        assert ring.try_lock()
        rings.append(ring)
        return ring

    yield hold
    for ring in rings:
        ring.close()


def test_who_cannot_have_the_ring_commits_without_it_and_that_is_told(
    store: Store, other: Store, held: Callable[[], ChangeRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_sharing, "_REFUSALS", 2)
    with store.changes() as feed:
        held()
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=60) == [ELSEWHERE]
        store.tasks.create(name="b", id="b")
        assert task("b") in told(feed, task("b"))


def test_who_finds_the_ring_taken_has_it_once_it_is_given_back(
    store: Store,
    other: Store,
    held: Callable[[], ChangeRing],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with store.changes() as feed:
        ring = held()
        monkeypatch.setattr(change_ring.time, "sleep", lambda _: ring.unlock())
        monkeypatch.setattr(change_ring, "_YIELDS", 0.0)
        other.tasks.create(name="a", id="a")
        monkeypatch.undo()
        assert told(feed, task("a")) == [task("a")]


def test_a_lock_of_the_ring_that_the_disk_does_not_give_back_fails_no_commit(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_back_badly(descriptor: int, operation: int) -> None:
        flock(descriptor, operation)
        if operation == LOCK_UN:
            raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(change_ring, "flock", give_back_badly)
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        assert told(feed, task("a")) == [task("a")]


def test_who_has_waited_in_vain_for_the_ring_waits_no_more_for_some_time(
    store: Store, other: Store, held: Callable[[], ChangeRing], monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(change_ring.time, "sleep", naps.append)
    monkeypatch.setattr(change_ring, "_YIELDS", 0.0)
    monkeypatch.setattr(change_ring, "_IMPATIENCE", 60.0)
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        ring = held()
        other.tasks.create(name="b")
        assert naps
        naps.clear()
        other.tasks.create(name="c")
        assert naps == []
        ring.unlock()
        store.tasks.create(name="d", id="d")
        assert told(feed, task("d")) == [task("a"), ELSEWHERE, task("d")]


def test_a_listener_waits_for_the_entry_of_who_has_just_committed(
    store: Store, file: Path, held: Callable[[], ChangeRing], ring_file: Path
) -> None:
    with store.changes() as feed:
        held()
        run(file, PROJECT.format("p"))
        assert feed.get(timeout=0.2) == []  # its entry is expected


def test_an_entry_that_comes_just_before_the_ring_is_locked_explains_the_commit(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [False]  # of the first look at the log
    look = change_sharing.is_at
    with store.changes() as feed:
        other.tasks.create(name="a", id="a")
        monkeypatch.setattr(
            change_sharing, "is_at", lambda *given: answers.pop() if answers else look(*given)
        )
        assert told(feed, task("a")) == [task("a")]
        assert feed.get(timeout=0.2) == []
        assert not answers


def test_a_listener_does_not_wait_for_another_one_that_looks(store: Store, other: Store) -> None:
    looks, go = threading.Event(), threading.Event()
    with store.changes() as feed:
        recorder = engine_of(store)._writer.recorder
        assert recorder is not None
        telling = recorder.sharing._told

        def hold() -> None:
            with telling:
                looks.set()
                go.wait(60)

        holding = Task(hold)
        looks.wait(60)
        other.tasks.create(name="a", id="a")
        assert feed.get(timeout=0) == []
        go.set()
        holding.finish()
        assert feed.get(timeout=60) == [task("a")]


# Interrupted, forked


def test_wherever_ctrl_c_comes_in_a_write_the_other_store_hears_of_it(
    store: Store, other: Store
) -> None:
    at, interrupted, known = 0, True, 0
    with store.changes() as feed:
        other.tasks.create(name="t")  # has the ring open from now on
        while interrupted:
            interrupted = CtrlC(at).within(lambda: other.tasks.create(name="t"))
            count = len(store.tasks.find_all())
            if count > known:
                assert feed.get(timeout=60)
            known = count
            feed.get(timeout=0)
            at += 7
    assert known > 1


_FORK = """
import os, sys
from cwstore import Store

store = Store.open(sys.argv[1])
feed = store.changes()
store.tasks.create(name="a", id="a")
child = os.fork()
if child == 0:
    with Store.open(sys.argv[1]) as own:
        own.tasks.create(name="b", id="b")
    os._exit(0)
os.waitpid(child, 0)
heard = []
while "b" not in heard:
    heard += [one.id for one in feed.get(60)]
print(*heard)
store.close()
"""


def test_a_forked_child_tells_the_parent_through_a_store_of_its_own(file: Path) -> None:
    with Other(_FORK, file) as other:
        assert other.end() == ["a b"]
