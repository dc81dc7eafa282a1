"""Refuse a database on a disk that another machine also uses, or without its directory.

All who have a database in WAL mode open share memory through `<file>-shm`. Two machines share none:
each sees an index of its own, and one removes the log of the other. Users of other programs report
damaged files from NFS and SMB, and from directories of the host in a virtual machine or a container
(9p, virtiofs), also where one machine alone wrote.

A container may be given the file alone (`docker run -v app.db:/data/app.db`). The log beside it is
then the container's own: it goes with the container, and two containers have two logs of one file.

Linux alone tells what a directory lies on, in its table of mounts. A disk whose kind is not listed
here is taken for a local one.
"""

import os

from cwstore.errors import StorageError

ALLOWED = "CWSTORE_NETWORK_DISK"  # in the environment, 1: whoever mounts it knows what he does

_MOUNTS = "/proc/self/mountinfo"
_DESCRIPTORS = "/proc/self/fdinfo"
# Those of FUSE are called "fuse.NAME". Desktop programs for containers have fakeowner, grpcfuse and
# osxfs; virtual machines have prl_fs, vboxsf, vmhgfs and drvfs.
_KINDS = frozenset(
    {
        *("9p", "afs", "beegfs", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cifs", "coda"),
        *("curlftpfs", "davfs", "drvfs", "fakeowner", "gcsfuse", "glusterfs", "goofys", "gpfs"),
        *("grpcfuse", "juicefs", "lustre", "mfs", "mount-s3", "mountpoint-s3", "ncpfs", "nfs"),
        *("nfs4", "orangefs", "osxfs", "prl_fs", "pvfs2", "rclone", "s3fs", "seaweedfs"),
        *("smb3", "smbfs", "smbnetfs", "sshfs", "vboxsf", "virtiofs", "vmhgfs", "vmhgfs-fuse"),
    }
)
# The sandboxes gVisor and Kata have their whole system on such a disk: then it is their own.
_SANDBOXES = ("9p", "virtiofs")


def refuse_network_disk(file: str) -> None:
    """Raise StorageError if the file, or the directory of its log, lies on such a disk.

    Likewise if the file lies elsewhere than that directory.
    """
    devices: list[int] = []
    for path in (os.path.dirname(file), file):
        try:
            device = os.stat(path).st_dev
        except OSError:  # it is not there yet; or whoever opens it is told
            continue
        devices.append(device)
        # What is shared has no device of its own, so its number begins with 0.
        if os.major(device) == 0:
            kind, place = _mounted(device, path)
            if kind.removeprefix("fuse.") in _KINDS and os.environ.get(ALLOWED) != "1":
                raise StorageError(
                    f"{file} lies on a network disk ({kind}, mounted at {place}): what shares a"
                    " write-ahead log must share memory, and two machines share none, so the file"
                    " would be damaged. Keep it on a local disk; a backup may lie on this one. If"
                    f" this machine alone uses it and you take the risk, set {ALLOWED}=1"
                )
    # Layers of a container's own system may have other numbers than their directories.
    apart = len({*devices}) == 2 or (len(devices) == 2 and _is_other_mount(file))
    alone = apart and file in [place for _, place, _ in _mounts()]
    if alone and os.environ.get(ALLOWED) != "1":
        raise StorageError(
            f"{file} is mounted alone, without its directory: its write-ahead log would be lost"
            " with this container, and whoever else has the file mounted would have another log, so"
            " the file would be damaged. Mount the directory in which it lies. If this container"
            f" alone uses it and you take the risk, set {ALLOWED}=1"
        )


def _is_other_mount(file: str) -> bool:
    """Whether it is mounted apart from its directory, if only from the same disk: 8 µs."""
    return _mount_of(file) != _mount_of(os.path.dirname(file))


def _mount_of(path: str) -> bytes:
    """The line that numbers the mount on which it lies; b"" if nobody tells.

    It is opened as a place alone (O_PATH): whoever closes that drops no lock.
    """
    try:
        place = os.open(path, os.O_PATH)
        try:
            lines = os.open(f"{_DESCRIPTORS}/{place}", os.O_RDONLY)
            try:
                return os.read(lines, 1_000).partition(b"mnt_id:")[2].partition(b"\n")[0]
            finally:
                os.close(lines)
        finally:
            os.close(place)
    except (AttributeError, OSError):  # not Linux; or no descriptors are left
        return b""


def _mounts() -> list[tuple[str, str, str]]:
    """Number of the device, place and kind of each; nothing if nobody tells."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
            return [_read(line) for line in table]
    except OSError:  # not Linux
        return []


def _mounted(device: int, path: str) -> tuple[str, str]:
    """The kind of the file system, and where it is mounted; nothing if nobody tells."""
    mounts = _mounts()
    number = f"{os.major(device)}:{os.minor(device)}"
    here = [one for one in mounts if one[0] == number]
    if not here:
        # Some file systems number their parts themselves: there the longest name tells.
        above = [one for one in mounts if f"{path}/".startswith(f"{one[1].rstrip('/')}/")]
        here = sorted(above, key=lambda one: -len(one[1]))
    _, place, kind = here[0] if here else ("", "", "")
    roots = [one[2] for one in mounts if one[1] == "/"]  # the last one covers the others
    if kind in _SANDBOXES and [kind] == roots[-1:]:
        return "", ""
    return kind, place


def _read(line: str) -> tuple[str, str, str]:
    """Number of the device, place and kind, as in `22 27 0:21 / /mnt rw - nfs4 host:/ rw`."""
    left, _, right = line.partition(" - ")
    _, _, number, _, place, *_ = left.split(" ")
    return number, place.replace(r"\040", " "), right.split(" ")[0]
