"""Where a store may lie, and beside whom: disks, users of one group, copies of SQLite."""

import errno
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import apsw
import pytest

import cwstore
from cwstore._sqlite import fork, network_disk
from cwstore._sqlite.identity import TURN_BYTES
from cwstore.errors import StorageError
from cwstore.store import Store, restore
from tests.kits.engine import Other, in_child, names
from tests.kits.migrations import names_in
from tests.kits.processes import give_up_rights
from tools._python.faults.work import make_old

# Network disks


@pytest.fixture
def mounts(file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of mounts that is read, as if disks had no device of their own."""
    table = file.parent / "mounts"
    monkeypatch.setattr(network_disk, "_MOUNTS", str(table))
    monkeypatch.setattr(os, "major", lambda device: 0)
    return table


def mount(table: Path, kind: str, number: str = "", root: str = "ext4") -> None:
    minor = os.minor(table.parent.stat().st_dev)
    table.write_text(
        "22 27 0:1 / /proc rw,relatime - proc proc rw\n"
        f"36 35 {number or f'0:{minor}'} / {table.parent} rw shared:1 -"
        f" {kind} host:/export rw,label=a - b\n"
        f"27 1 0:3 / / rw - {root} /dev/vda rw\n"
    )


@pytest.mark.parametrize(
    "kind", ["nfs4", "cifs", "9p", "virtiofs", "fuse.sshfs", "fuse.s3fs", "fakeowner"]
)
def test_a_network_disk_is_refused_with_the_reason_and_nothing_is_made(
    kind: str, file: Path, mounts: Path
) -> None:
    mount(mounts, kind)
    before = names_in(file.parent)
    for call in (Store.open, cwstore.migrate):
        with pytest.raises(StorageError) as refused:
            call(file)
        assert str(refused.value) == (
            f"{file} lies on a network disk ({kind}, mounted at {file.parent}): what shares a"
            " write-ahead log must share memory, and two machines share none, so the file would be"
            " damaged. Keep it on a local disk; a backup may lie on this one. If this machine alone"
            " uses it and you take the risk, set CWSTORE_NETWORK_DISK=1"
        )
    assert names_in(file.parent) == before


def test_a_file_on_a_network_disk_is_left_alone_by_readers_and_restore(
    file: Path, tmp_path: Path, mounts: Path
) -> None:
    mount(mounts, "ext4")
    with Store.open(file) as store:
        store.backup(tmp_path / "copy")
    mount(mounts, "nfs")
    calls = [
        lambda: Store.open(file, read_only=True),
        lambda: cwstore.status(file),
        lambda: cwstore.rehearse(file),
        lambda: restore(tmp_path / "copy", file),
    ]
    for call in calls:
        with pytest.raises(StorageError, match=f"^{file} lies on a network disk"):
            call()


def test_who_takes_the_risk_may_use_a_network_disk(
    file: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(mounts, "nfs4")
    monkeypatch.setenv("CWSTORE_NETWORK_DISK", "1")
    with Store.open(file) as store:
        store.initiatives.create(name="kept")
    monkeypatch.setenv("CWSTORE_NETWORK_DISK", "0")
    with pytest.raises(StorageError, match="CWSTORE_NETWORK_DISK=1"):
        Store.open(file)


@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "btrfs", "fuse.mergerfs", "fuseblk"])
def test_a_local_disk_without_a_device_is_as_good_as_any(
    kind: str, file: Path, mounts: Path
) -> None:
    mount(mounts, kind)
    Store.open(file).close()


@pytest.mark.parametrize("kind", ["9p", "virtiofs"])
def test_what_a_sandbox_has_its_whole_system_on_is_its_own_disk(
    kind: str, file: Path, mounts: Path
) -> None:
    mount(mounts, kind, root=kind)
    Store.open(file).close()


def test_a_machine_that_has_its_whole_system_on_a_network_disk_is_refused(
    file: Path, mounts: Path
) -> None:
    mount(mounts, "nfs", root="nfs")
    with pytest.raises(StorageError, match="lies on a network disk"):
        Store.open(file)


def test_a_disk_whose_number_is_not_in_the_table_is_told_by_its_place(
    file: Path, mounts: Path
) -> None:
    mount(mounts, "nfs", number="0:9999")
    with pytest.raises(StorageError, match=f"nfs, mounted at {file.parent}"):
        Store.open(file)


@pytest.fixture
def elsewhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has another device than its directory."""

    def look(path: str) -> SimpleNamespace:
        return SimpleNamespace(st_dev=Path(path).stat().st_dev + (path == str(file)))

    own = SimpleNamespace(
        stat=look, major=lambda device: 8, minor=os.minor, path=os.path, environ=os.environ
    )
    monkeypatch.setattr(network_disk, "os", own)


@pytest.fixture
def apart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is mounted from the disk on which its directory lies."""
    told = file.parent / "descriptors"
    told.mkdir()
    monkeypatch.setattr(network_disk, "_DESCRIPTORS", str(told))
    look = os.open

    def open_place(path: str, flags: int) -> int:
        place = look(path, flags)
        (told / str(place)).write_bytes(b"pos:\t0\nmnt_id:\t%d\nino:\t1\n" % (path == str(file)))
        return place

    own = SimpleNamespace(**{**vars(os), "open": open_place})
    monkeypatch.setattr(network_disk, "os", own)


@pytest.mark.parametrize("how", ["elsewhere", "apart"])
def test_a_file_that_is_mounted_without_its_directory_is_refused(
    how: str,
    request: pytest.FixtureRequest,
    file: Path,
    mounts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As by `docker run -v app.db:/data/app.db`: its log goes with the container."""
    request.getfixturevalue(how)
    Store.open(file).close()
    mounts.write_text(f"36 35 8:1 /app.db {file} rw - ext4 /dev/vda rw\n")
    for call in (Store.open, cwstore.migrate, cwstore.status):
        with pytest.raises(StorageError) as refused:
            call(file)
        assert str(refused.value) == (
            f"{file} is mounted alone, without its directory: its write-ahead log would be lost"
            " with this container, and whoever else has the file mounted would have another log, so"
            " the file would be damaged. Mount the directory in which it lies. If this container"
            " alone uses it and you take the risk, set CWSTORE_NETWORK_DISK=1"
        )
    monkeypatch.setenv("CWSTORE_NETWORK_DISK", "1")
    Store.open(file).close()


@pytest.mark.usefixtures("elsewhere")
def test_layers_of_a_system_may_have_devices_of_their_own(file: Path, mounts: Path) -> None:
    Store.open(file).close()
    mount(mounts, "overlay")
    Store.open(file).close()


def test_a_system_without_a_table_of_mounts_refuses_nothing(file: Path, mounts: Path) -> None:
    Store.open(file).close()


def test_a_disk_with_a_device_of_its_own_is_local(
    file: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount(mounts, "nfs")
    monkeypatch.setattr(os, "major", lambda device: 8)
    Store.open(file).close()


# Disks without hard links


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(old: str, new: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), old)

    monkeypatch.setattr(os, "link", refuse)


def test_without_hard_links_a_store_is_made_copied_and_restored(file: Path, no_links: None) -> None:
    copy = file.with_name("copy")
    with Store.open(file) as store:
        store.initiatives.create(name="first")
        store.backup(copy)
        store.initiatives.create(name="second")
    kept = restore(copy, file).kept
    assert kept is not None
    assert [stored(file), stored(Path(kept))] == [["first"], ["first", "second"]]
    file.unlink()
    assert restore(copy, file).kept is None
    assert stored(file) == ["first"]
    assert names_in(file.parent) == sorted({"copy", Path(kept).name, "store.db"})


def stored(file: Path) -> list[str]:
    with Store.open(file) as store:
        return names(store)


def test_without_hard_links_no_name_is_taken_from_anybody(
    file: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(file) as store:
        sync = os.fsync

        def appear(descriptor: int) -> None:
            file.with_name("copy").write_text("theirs")
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", appear)
        with pytest.raises(StorageError, match="exists; choose another name"):
            store.backup(file.with_name("copy"))
    assert file.with_name("copy").read_text() == "theirs"


@pytest.mark.parametrize("call", ["link", "rename"])
def test_a_disk_that_fails_is_not_taken_for_one_without_links(
    call: str, file: Path, tmp_path: Path, no_links: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(file) as store:
        store.backup(tmp_path / "copy")

    def fail(old: str, new: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), old)

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=r"cannot restore .*Input/output error"):
        restore(tmp_path / "copy", file)
    assert stored(file) == []


# Users of one group


def test_what_lies_beside_a_store_has_the_mode_of_the_store(file: Path) -> None:
    Store.open(file).close()
    file.chmod(0o660)
    with Store.open(file) as store:
        store.initiatives.create(name="one")
        modes = {one.name: one.stat().st_mode & 0o777 for one in file.parent.glob("store.db*")}
    assert modes == dict.fromkeys(
        ["store.db", "store.db-shm", "store.db-turn", "store.db-wal"], 0o660
    )


def test_a_lock_that_a_killed_migrator_left_can_be_taken_by_its_group(file: Path) -> None:
    make_old(file, 11)
    file.chmod(0o660)

    def begin() -> str:
        cwstore.migrate(file, on_progress=lambda _: os._exit(0))
        return "ended"

    in_child(begin)()
    assert Path(f"{file}.migrating").stat().st_mode & 0o777 == 0o660


def test_a_file_that_another_made_beside_a_store_keeps_its_mode(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    queue = Path(f"{file}-turn")
    queue.touch(0o640)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 4_000)
    with Store.open(file) as store:
        store.initiatives.create(name="one")
        assert queue.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("allowed", [True, False])
def test_what_root_makes_beside_a_store_belongs_to_the_owner_of_the_store(
    allowed: bool, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    given: list[tuple[int, int]] = []
    stat = os.stat

    def of_another(path: object, **more: object) -> os.stat_result:
        found = stat(path, **more)  # type: ignore[call-overload]
        if path != str(file):
            return found
        return os.stat_result((*found[:4], 4_001, 4_002, *found[6:]))

    def give(descriptor: int, user: int, group: int) -> None:
        given.append((user, group))
        if not allowed:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", give)
    with Store.open(file) as store:
        monkeypatch.setattr(os, "stat", of_another)
        store.initiatives.create(name="one")
        monkeypatch.setattr(os, "stat", stat)
        assert given[:1] == [(4_001, 4_002)]
        assert Path(f"{file}-turn").stat().st_size == TURN_BYTES  # it is used all the same


def test_a_service_with_the_group_of_the_store_may_use_it() -> None:
    """As a program with the set-group-ID bit: the user who started it is of another group."""
    if os.geteuid() != 0:
        pytest.skip("takes root, which may be of any group")
    with TemporaryDirectory() as place:
        file = Path(place) / "store.db"
        Store.open(file).close()
        os.chown(file, 4_003, 4_001)
        os.chown(place, 4_003, 4_001)
        file.chmod(0o660)
        Path(place).chmod(0o770)

        def work() -> str:
            os.setgroups([])
            os.setresgid(4_002, 4_001, 4_001)
            give_up_rights()
            with Store.open(file) as store:
                store.initiatives.create(name="ours")
                return ",".join(names(store))

        assert in_child(work)() == "ours"


# Two copies of SQLite

BY_BOTH = """
import sqlite3, sys
from cwstore.errors import StorageError
from cwstore.store import Store

file = sys.argv[1]
other = sqlite3.connect(file)
other.execute("SELECT count(*) FROM sqlite_schema").fetchall()
try:
    Store.open(file)
except StorageError as error:
    print(error)
other.close()
with Store.open(file) as store, Store.open(file):
    print(store.check().ok)
"""


def test_a_file_that_this_process_has_open_by_another_sqlite_is_refused(file: Path) -> None:
    Store.open(file).close()
    with Other(BY_BOTH, file) as other:
        said = other.end()
    assert said[0] == (
        f"{file} is open in this process past apsw, by Python's sqlite3 or as a plain file: whoever"
        " closes it there drops the locks of this store, and the file would be damaged. Close it"
        " first; for SQL of your own use `store.query` or apsw"
    )
    assert said[1:] == ["True"]


def test_a_file_that_is_just_being_closed_is_waited_for(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store.open(file).close()
    monkeypatch.setitem(sys.modules, "_sqlite3", sys)
    # As if no test before this one had left a connection of its own to be freed.
    monkeypatch.setattr(fork.apsw, "connections", list[object])
    held = file.open("rb")
    looks = 0

    def pause(seconds: float) -> None:
        nonlocal looks
        looks += 1
        held.close()

    monkeypatch.setattr(fork.time, "sleep", pause)
    Store.open(file).close()
    assert looks == 1


def test_what_is_no_file_is_refused_for_that_though_it_is_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "_sqlite3", sys)
    with Path(os.devnull).open("rb"), pytest.raises(StorageError, match="is not a regular file"):
        Store.open(os.devnull)


def test_what_the_application_has_open_by_apsw_is_no_other_copy(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "_sqlite3", sys)
    Store.open(file).close()
    connection = apsw.Connection(str(file))
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    Store.open(file).close()
    connection.close()


# Other systems

WITHOUT_LOCKS = """
import sys
sys.modules["fcntl"] = None
import cwstore
try:
    cwstore.Store.open(sys.argv[1])
except cwstore.StorageError as error:
    print(error)
"""


def test_a_system_without_file_locks_is_told_so(file: Path) -> None:
    with Other(WITHOUT_LOCKS, file) as other:
        (said,) = other.end()
    assert said == (
        "this system has no file locks of the kind that cwstore needs (Python's fcntl): use Linux,"
        " macOS, or on Windows the Windows Subsystem for Linux"
    )
